//! The JSON of the Chrome trace viewer, which Perfetto and Speedscope read too: a thread a context, on which an
//! evaluation holds its layers and a layer its operators; one for each device that computes runs as a whole; counters.

use super::labels;
use super::lanes::Lanes;
use ggscope_format::{GraphId, TensorId};
use ggscope_query::dump::Filter;
use ggscope_query::{DeviceRun, FilteredEvaluation, Timed, walk};
use ggscope_trace::Trace;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

/// A complete event, or one without a length. Times are microseconds.
#[derive(Serialize)]
struct Event<'a, A> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cat: &'a str,
    ph: &'static str,
    pid: u32,
    tid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    args: &'a A,
}

/// Arguments of an operator's slice.
#[derive(Serialize)]
struct OperatorArgs<'a> {
    node: u32,
    name: &'a str,
    layer: Option<u32>,
    wrote: &'a str,
    bytes: u64,
    read: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    with: Option<String>,
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// Writes the timeline of what the filter lets through, and returns how many operators are in it.
pub fn write(trace: &Trace, filter: &Filter, out: &mut (dyn Write + Send)) -> io::Result<u64> {
    let hello = &trace.recording().hello;
    let process = hello.exe.rsplit('/').next().unwrap_or_default();
    let mut timeline = Timeline {
        out: BufWriter::with_capacity(1 << 16, out),
        pid: hello.pid,
        tracks: HashMap::new(),
        lanes: Lanes::new(),
        labels: HashMap::new(),
        operators: 0,
        begun: false,
    };
    timeline.out.write_all(b"{\"displayTimeUnit\":\"ns\",\"otherData\":")?;
    let (model, argv) = (trace.model().map(|m| m.name.as_str()), &hello.argv);
    let facts = json!({ "ggscope": trace.recording().ggscope, "model": model, "argv": argv,
        "clock": "CLOCK_MONOTONIC", "realtime_ns": hello.realtime_ns, "monotonic_ns": hello.monotonic_ns });
    serde_json::to_writer(&mut timeline.out, &facts)?;
    timeline.out.write_all(b",\"traceEvents\":[\n")?;
    timeline.name("process_name", 0, process)?;
    let mut done = Ok(());
    walk(trace, filter, |evaluated| {
        done = timeline.evaluation(&evaluated);
        if done.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    done?;
    timeline.out.write_all(b"\n]}\n")?;
    timeline.out.flush()?;
    Ok(timeline.operators)
}

/// What has a track of its own.
#[derive(PartialEq, Eq, Hash)]
enum Track {
    /// Context and thread.
    Context(u32, u32),
    /// Context, device, lane.
    Device(u32, String, usize),
}

/// Graphs whose labels are kept.
const KEPT: usize = 64;

struct Timeline<'o> {
    out: BufWriter<&'o mut (dyn Write + Send)>,
    pid: u32,
    tracks: HashMap<Track, u64>,
    lanes: Lanes<(u32, String)>,
    /// What each node of a graph wrote and read.
    labels: HashMap<GraphId, HashMap<TensorId, (String, String)>>,
    operators: u64,
    begun: bool,
}

impl Timeline<'_> {
    fn event(&mut self, event: &Event<'_, impl Serialize>) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            self.out.write_all(b",\n")?;
        }
        Ok(serde_json::to_writer(&mut self.out, event)?)
    }

    fn name(&mut self, what: &str, tid: u64, name: &str) -> io::Result<()> {
        let (pid, args) = (self.pid, json!({ "name": name }));
        self.event(&Event { name: what, cat: "", ph: "M", pid, tid, ts: None, dur: None, args: &args })
    }

    fn slice(
        &mut self,
        tid: u64,
        (cat, name): (&str, &str),
        (start, dur): (u64, u64),
        args: &impl Serialize,
    ) -> io::Result<()> {
        let (ts, dur, pid) = (Some(micros(start)), Some(micros(dur)), self.pid);
        self.event(&Event { name, cat, ph: "X", pid, tid, ts, dur, args })
    }

    fn counter(&mut self, tid: u64, name: &str, at: u64, args: &Value) -> io::Result<()> {
        let (ts, pid) = (Some(micros(at)), self.pid);
        self.event(&Event { name, cat: "", ph: "C", pid, tid, ts, dur: None, args })
    }

    fn track(&mut self, track: Track, name: impl FnOnce() -> String) -> io::Result<u64> {
        if let Some(&tid) = self.tracks.get(&track) {
            return Ok(tid);
        }
        let tid = self.tracks.len() as u64 + 1;
        self.tracks.insert(track, tid);
        self.name("thread_name", tid, &name())?;
        Ok(tid)
    }

    fn evaluation(&mut self, evaluated: &FilteredEvaluation<'_>) -> io::Result<()> {
        let e = evaluated.evaluation();
        let (context, thread) = (e.context, e.thread);
        let tid = self.track(Track::Context(context, thread), || format!("context {context} (thread {thread})"))?;
        let args = json!({
            "eval": e.eval.0, "graph": e.graph.0, "thread": thread, "status": e.status, "first_token": evaluated.row.first_token,
            "n_tokens": e.n_tokens, "requests": labels::requests(evaluated), "minor_faults": e.minor_faults, "major_faults": e.major_faults,
            "disk_bytes": evaluated.reads.disk, "buffer_bytes": evaluated.reads.buffer,
        });
        let phase = evaluated.phase.map_or("", |phase| phase.name());
        let whole = (e.start.0, e.end.0.saturating_sub(e.start.0));
        self.slice(tid, (phase, &labels::evaluation(evaluated)), whole, &args)?;
        self.counters(evaluated)?;
        let layer_of = |o: &Timed| evaluated.view.layers.layer(o.node);
        for of_layer in evaluated.operators.chunk_by(|a, b| layer_of(a) == layer_of(b)) {
            let (Some(first), Some(last)) = (of_layer.first(), of_layer.last()) else { continue };
            let end = last.start_ns.saturating_add(last.dur_ns);
            let span = (first.start_ns, end.saturating_sub(first.start_ns));
            self.slice(tid, ("layer", &labels::layer(layer_of(first))), span, &json!({}))?;
            of_layer.iter().try_for_each(|operator| self.operator(tid, evaluated, operator))?;
        }
        evaluated.runs.iter().try_for_each(|run| self.run(context, e.eval.0, run))
    }

    fn counters(&mut self, evaluated: &FilteredEvaluation<'_>) -> io::Result<()> {
        let e = evaluated.evaluation();
        let name = |what| format!("context {}: {what}", e.context);
        let reads = evaluated.reads;
        let rate = labels::tokens_per_second(evaluated);
        for (name, value, nothing) in [
            (
                name("bytes read"),
                json!({ "DISK": reads.disk, "BUFFER": reads.buffer }),
                json!({ "DISK": 0, "BUFFER": 0 }),
            ),
            (
                name("page faults"),
                json!({ "minor": e.minor_faults, "major": e.major_faults }),
                json!({ "minor": 0, "major": 0 }),
            ),
            (name("tokens a second"), json!({ "tokens/s": rate }), json!({ "tokens/s": 0 })),
        ] {
            self.counter(0, &name, e.start.0, &value)?;
            self.counter(0, &name, e.end.0, &nothing)?;
        }
        Ok(())
    }

    fn operator(&mut self, tid: u64, evaluated: &FilteredEvaluation<'_>, operator: &Timed) -> io::Result<()> {
        let view = evaluated.view;
        let graph = &view.stored.graph;
        let Some(node) = graph.tensor(operator.node) else { return Ok(()) };
        if self.labels.len() >= KEPT && !self.labels.contains_key(&graph.graph) {
            self.labels.clear();
        }
        let labels = self.labels.entry(graph.graph).or_default();
        let (wrote, read) = labels
            .entry(operator.node)
            .or_insert_with(|| (labels::shape(view, node), labels::sources(view, node)))
            .clone();
        let args = OperatorArgs {
            node: operator.node.0,
            name: &node.name,
            layer: view.layers.layer(operator.node),
            wrote: &wrote,
            bytes: node.bytes.0,
            read: &read,
            with: (!operator.fused.is_empty()).then(|| labels::fused(view, &operator.fused)),
        };
        self.operators += 1 + operator.fused.len() as u64;
        self.slice(tid, ("operator", graph.op(node)), (operator.start_ns, operator.dur_ns), &args)
    }

    fn run(&mut self, context: u32, eval: u64, run: &DeviceRun<'_>) -> io::Result<()> {
        let device = run.device.to_owned();
        let name = format!("context {context} on {device}");
        let lane = self.lanes.place((context, device.clone()), run.start_ns, run.dur_ns);
        let tid = self.track(Track::Device(context, device, lane), || name)?;
        let args = json!({ "eval": eval, "run": run.number, "operators": run.operators });
        self.operators += run.operators;
        self.slice(tid, ("run", &format!("run {}", run.number)), (run.start_ns, run.dur_ns), &args)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HOSTILE, answer, dumped, exported, hostile};
    use super::super::{ExportOptions, Format};
    use super::*;

    fn read(trace: &Trace) -> Vec<Value> {
        let wanted = ExportOptions { format: Format::Chrome, tokens: None, layers: None, graph: None, context: None };
        let all: Value = serde_json::from_slice(&exported(trace, wanted)).unwrap();
        all["traceEvents"].as_array().unwrap().clone()
    }

    fn slices<'e>(events: &'e [Value], cat: &str) -> Vec<&'e Value> {
        events.iter().filter(|e| e["ph"] == "X" && e["cat"] == cat).collect()
    }

    fn end(event: &Value) -> f64 {
        event["ts"].as_f64().unwrap() + event["dur"].as_f64().unwrap()
    }

    #[test]
    fn every_operator_with_a_time_is_a_slice_with_that_time() {
        let (_dir, trace) = answer();
        let events = read(&trace);
        let timed: Vec<Value> =
            dumped(&trace, &Filter::default()).into_iter().filter(|o| o["dur_ns"].is_u64()).collect();
        let operators = slices(&events, "operator");
        assert_eq!(operators.len(), timed.len());
        for (slice, operator) in operators.iter().zip(&timed) {
            assert_eq!((&slice["name"], &slice["args"]["name"]), (&operator["op"], &operator["name"]));
            let ns = |field: &str| (slice[field].as_f64().unwrap() * 1e3).round() as u64;
            assert_eq!((json!(ns("ts")), json!(ns("dur"))), (operator["t_ns"].clone(), operator["dur_ns"].clone()));
        }
        let fused = operators.iter().filter(|o| o["args"]["with"].is_string()).count();
        assert_eq!(operators.len() + fused, 440, "a fused operator is named where its time is");
    }

    #[test]
    fn slices_lie_inside_each_other() {
        let (_dir, trace) = answer();
        let events = read(&trace);
        let mut open: Vec<&Value> = vec![];
        for event in events.iter().filter(|e| e["ph"] == "X") {
            while open.last().is_some_and(|outer| end(outer) <= event["ts"].as_f64().unwrap() + 1e-4) {
                open.pop();
            }
            assert!(open.last().is_none_or(|outer| end(event) <= end(outer) + 1e-4), "{event}");
            open.push(event);
        }
        let prompt = slices(&events, "PROMPT");
        assert_eq!((prompt.len(), &prompt[0]["name"]), (1, &json!("prompt: 5 tokens")));
        assert_eq!(slices(&events, "GENERATE").len(), 9);
        assert!(slices(&events, "GENERATE")[0]["name"].as_str().unwrap().starts_with("token 5: \" t"));
        assert_eq!(slices(&events, "layer").iter().filter(|e| e["name"] == "layer 1").count(), 10);
    }

    #[test]
    fn counters_show_what_was_read_and_fall_to_nothing() {
        let (_dir, trace) = answer();
        let events = read(&trace);
        let reads: Vec<&Value> =
            events.iter().filter(|e| e["ph"] == "C" && e["name"] == "context 0: bytes read").collect();
        assert_eq!(reads.len(), 20);
        let evaluation = &slices(&events, "PROMPT")[0]["args"];
        assert_eq!(reads[0]["args"], json!({ "DISK": evaluation["disk_bytes"], "BUFFER": evaluation["buffer_bytes"] }));
        assert_eq!(reads[1]["args"], json!({ "DISK": 0, "BUFFER": 0 }));
    }

    #[test]
    fn hostile_names_come_back_as_they_were() {
        let (_dir, trace) = hostile();
        let events = read(&trace);
        let operators = slices(&events, "operator");
        assert_eq!(operators.iter().map(|o| o["args"]["name"].as_str().unwrap()).collect::<Vec<_>>(), HOSTILE);
        assert!(operators[0]["args"]["read"].as_str().unwrap().contains(HOSTILE[2]), "the file's name");
    }
}
