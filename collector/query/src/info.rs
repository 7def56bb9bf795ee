//! What a trace is of, in numbers: the summary. It reads the head of the file and its index, and the evaluations only
//! where devices worked on after the host had counted them.

use super::buffers::{BufferLife, buffers};
use super::causes;
use super::context_totals::{speed_of, totals_of};
use super::contexts::{Context, Contexts, TokensPerSecond};
use super::dump::{run_ends, whole_run};
use super::ending::{Ended, ended};
use super::requests::{Request, with_contexts};
use ggscope_format::FORMAT_VERSION;
use ggscope_trace::analysis::timing::Plans;
use ggscope_trace::{Losses, ModelId, OperatorTotal, Remark, Select, Totals, Trace};
use serde::Serialize;
use std::ops::ControlFlow;
use utoipa::ToSchema;

/// Requests in a summary, at most.
pub const MAX_REQUESTS: usize = 1000;

/// The summary of a trace.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Info {
    /// Version of the trace format.
    pub format: u32,
    /// Whether the recording ended in order and all of the file is there.
    pub complete: bool,
    /// How the session ended; null if it goes on, or if the trace does not say.
    pub ending: Option<Ended>,
    /// Version of the ggscope that recorded it.
    pub ggscope: String,
    /// The traced process.
    pub process: Process,
    /// Its first model that has a vocabulary.
    pub model: Option<Model>,
    /// Further models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_models: Vec<Model>,
    /// Contexts, each of which computes one model.
    pub contexts: Vec<Context>,
    /// How much was recorded.
    pub level: &'static str,
    /// Sets and globs of captured tensors, of the whole recording.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capture: Vec<String>,
    /// What was captured, from which evaluation on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub captures: Vec<Capture>,
    /// Graphs.
    pub graphs: u64,
    /// Evaluations.
    pub evaluations: u64,
    /// Executed operators.
    pub operators: u64,
    /// How many of them have a time of their own.
    pub timed_operators: u64,
    /// Tokens by phase.
    pub tokens: Tokens,
    /// Requests: prompts with their answers, the latest [`MAX_REQUESTS`] in the order in which they began.
    pub requests: Vec<Request>,
    /// How many requests there are in all.
    pub n_requests: u64,
    /// Times.
    pub time: Time,
    /// Tokens a second of compute time; null where tokens of the phase are of several contexts, each of which has its own.
    pub tokens_per_second: TokensPerSecond,
    /// Page faults of the process during evaluations.
    pub page_faults: PageFaults,
    /// Times by kind of operator, longest first; empty if the file was cut.
    pub operators_by_time: Vec<ByOperator>,
    /// Devices that work asynchronously, and are timed as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// What was lost.
    pub dropped: Dropped,
    /// What was not captured because it would have gone beyond the budget.
    pub left_out: LeftOut,
    /// Sizes.
    pub size: Size,
    /// Buffers that were allocated or released meanwhile.
    pub buffers: Vec<BufferLife>,
    /// What the shim and the collector remarked while they recorded.
    pub notes: Vec<String>,
    /// What is wrong with the file.
    pub warnings: Vec<String>,
}

/// The traced process.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Path of the program.
    pub exe: String,
    /// Command line.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// When it was attached to, nanoseconds since 1970.
    pub started_ns: u64,
    /// What the operator clock was.
    pub clock: String,
    /// Path of the library that ggml was found in.
    pub ggml: String,
}

/// A model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Model {
    /// Its number within the session.
    pub id: u32,
    /// The GGUF file.
    pub path: String,
    /// `general.name`.
    pub name: String,
    /// `general.architecture`.
    pub arch: String,
    /// Layers.
    pub n_layer: u32,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// Contexts that compute it.
    pub contexts: Vec<u32>,
}

/// Tokens by phase.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tokens {
    /// Of prompts.
    pub prompt: u64,
    /// Of answers.
    pub generate: u64,
    /// Of neither, as far as is known: which sequence they belong to could not be found out.
    #[serde(skip_serializing_if = "is_zero")]
    pub unknown: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Times in nanoseconds; points in time by `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Time {
    /// Begin of the first evaluation.
    pub first_ns: u64,
    /// End of the last evaluation.
    pub last_ns: u64,
    /// Sum of the lengths of all evaluations.
    pub compute_ns: u64,
    /// Part of it for prompts.
    pub prompt_ns: u64,
    /// Part of it for answers.
    pub generate_ns: u64,
}

/// Page faults.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PageFaults {
    /// Without a read.
    pub minor: u64,
    /// With a read from disk.
    pub major: u64,
}

/// One kind of operator.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ByOperator {
    /// Its name in ggml.
    pub op: String,
    /// Executions.
    pub count: u64,
    /// Sum of the attributed times, nanoseconds.
    pub ns: u64,
}

/// What a device computed without telling the times of its operators.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Device {
    /// Its name in ggml.
    pub name: String,
    /// How often it was given a part of a graph.
    pub runs: u64,
    /// Operators in them.
    pub operators: u64,
    /// Sum of their times, each until the host saw it done.
    pub ns: u64,
}

/// What was lost.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Dropped {
    /// Records.
    pub records: u64,
    /// Bytes of records that the rings had no room for.
    pub bytes: u64,
    /// How many of the records were lost for which cause; null if the recording does not say.
    pub causes: Option<Losses>,
}

/// What was captured from an evaluation on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Capture {
    /// The first evaluation of which it is so.
    pub from_eval: u64,
    /// Sets and globs, and their limits, in words.
    pub what: String,
}

/// What was not captured because it would have gone beyond the budget.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LeftOut {
    /// Evaluations whose values were left out.
    pub evaluations: u64,
    /// Bytes of those values.
    pub bytes: u64,
}

/// Sizes in bytes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Size {
    /// Of the file.
    pub file_bytes: u64,
    /// Of the file by generated tokens; null without any.
    pub bytes_per_generated_token: Option<f64>,
    /// Of captured values, before compression.
    pub value_bytes: u64,
}

/// The summary of `trace`, or of one of its contexts: what is lost, captured and remarked is the process's.
pub fn info(trace: &Trace, context: Option<u32>) -> Info {
    let recording = trace.recording();
    let (mut totals, operators) = match context {
        None => (trace.totals().clone(), trace.operators().to_vec()),
        Some(context) => totals_of(trace, context),
    };
    let (mut all, mut requests) = with_contexts(trace);
    let devices = count_devices(trace, context, &mut totals, &mut all);
    let hello = &recording.hello;
    let contexts_of = |model: ModelId| all.iter().filter(|c| c.model == Some(model.0)).map(|c| c.context).collect();
    let own = context.and_then(|context| all.get(context)).and_then(|context| context.model).map(ModelId);
    let first = own.or(trace.model().map(|model| model.id));
    let (model, more_models): (Vec<Model>, Vec<Model>) = trace
        .models()
        .iter()
        .filter(|m| own.is_none_or(|own| own == m.id))
        .map(|m| Model {
            id: m.id.0,
            path: m.path.clone(),
            name: m.name.clone(),
            arch: m.arch.clone(),
            n_layer: m.n_layer,
            file_bytes: m.file_bytes,
            contexts: contexts_of(m.id),
        })
        .partition(|m| Some(ModelId(m.id)) == first);
    requests.retain(|request| context.is_none_or(|context| context == request.context));
    let contexts: Vec<Context> =
        all.iter().filter(|c| context.is_none_or(|context| context == c.context)).cloned().collect();
    let (mut names, mut captures) = (vec![], vec![]);
    for change in trace.captures().into_iter().filter(|c| !c.capture.is_empty() || c.from.0 > 0) {
        let what = if change.capture.is_empty() { "nothing".into() } else { change.capture.to_string() };
        captures.push(Capture { from_eval: change.from.0, what });
        let more = change.capture.names.into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>();
        names.extend(more);
    }
    let text = |remark| if let Remark::Note(text) = remark { Some(text) } else { None };
    let notes = trace.notes().into_iter().filter_map(text).collect();
    Info {
        format: FORMAT_VERSION,
        complete: trace.complete(),
        ending: ended(trace, false),
        ggscope: recording.ggscope.clone(),
        process: Process {
            pid: hello.pid,
            exe: hello.exe.clone(),
            argv: hello.argv.clone(),
            cwd: hello.cwd.clone(),
            started_ns: hello.realtime_ns,
            clock: hello.clock.clone(),
            ggml: hello.ggml.clone(),
        },
        model: model.into_iter().next(),
        more_models,
        tokens_per_second: speed_of(&contexts, &totals),
        contexts,
        level: recording.level.name(),
        capture: names,
        captures,
        graphs: totals.graphs,
        evaluations: totals.evaluations,
        operators: totals.operators,
        timed_operators: totals.timed_operators,
        tokens: Tokens {
            prompt: totals.prompt_tokens,
            generate: totals.generated_tokens,
            unknown: totals.unknown_tokens,
        },
        n_requests: requests.len() as u64,
        requests: requests.split_off(requests.len().saturating_sub(MAX_REQUESTS)),
        time: Time {
            first_ns: totals.first_ns,
            last_ns: totals.last_ns,
            compute_ns: totals.compute_ns,
            prompt_ns: totals.prompt_ns,
            generate_ns: totals.generate_ns,
        },
        page_faults: PageFaults { minor: totals.minor_faults, major: totals.major_faults },
        operators_by_time: operators.iter().map(by_operator).collect(),
        devices,
        dropped: Dropped { records: totals.dropped_records, bytes: totals.dropped_bytes, causes: trace.losses() },
        left_out: LeftOut { evaluations: totals.left_out_evaluations, bytes: totals.left_out_bytes },
        size: size(&totals),
        buffers: buffers(trace),
        notes,
        // Last, because reading can find something wrong.
        warnings: warnings(trace),
    }
}

/// What asynchronous devices did, and until when: adds the times after the host had come back to `totals`.
/// Of one context alone if it is given; the contexts are all of the trace.
fn count_devices(trace: &Trace, context: Option<u32>, totals: &mut Totals, contexts: &mut Contexts) -> Vec<Device> {
    let ends = run_ends(trace);
    let (mut devices, mut plans): (Vec<Device>, Plans) = Default::default();
    if ends.is_empty() {
        return devices;
    }
    trace.for_each_evaluation(&Select::default(), false, |row| {
        let e = &row.evaluation;
        if context.is_some_and(|context| context != e.context) {
            return ControlFlow::Continue(());
        }
        let asynchronous = |&r: &usize| ends.contains_key(&(e.eval.0, r as u32));
        let runs: Vec<usize> = (0..e.runs.len()).filter(asynchronous).collect();
        let Ok(stored) = trace.graph(e.graph) else { return ControlFlow::Continue(()) };
        if runs.is_empty() {
            return ControlFlow::Continue(());
        }
        let plan = plans.of(&stored.graph, e);
        let mut operators = vec![0; e.runs.len()];
        plan.executed_nodes().filter_map(|id| plan.run(id)).for_each(|r| operators[r] += 1);
        let mut end = e.end.0;
        for (r, run) in runs.into_iter().filter_map(|r| Some((r, whole_run(&row, r, &ends)?))) {
            let name = stored.graph.devices.get(usize::from(e.runs[r].device)).map_or("?", String::as_str);
            let at = devices.iter().position(|d| d.name == name).unwrap_or_else(|| {
                devices.push(Device { name: name.to_owned(), runs: 0, operators: 0, ns: 0 });
                devices.len() - 1
            });
            let device = &mut devices[at];
            device.runs += 1;
            device.operators += operators[r];
            device.ns = device.ns.saturating_add(run.dur_ns);
            end = end.max(run.t_ns.saturating_add(run.dur_ns));
        }
        totals.lasted(&row, end);
        contexts.lasted(&row, end);
        ControlFlow::Continue(())
    });
    devices
}

fn by_operator(total: &OperatorTotal) -> ByOperator {
    ByOperator { op: total.op.clone(), count: total.count, ns: total.ns }
}

fn size(totals: &Totals) -> Size {
    let generated = totals.generated_tokens;
    Size {
        file_bytes: totals.file_bytes,
        bytes_per_generated_token: (generated > 0).then(|| totals.file_bytes as f64 / generated as f64),
        value_bytes: totals.value_bytes,
    }
}

fn warnings(trace: &Trace) -> Vec<String> {
    let totals = trace.totals();
    let mut warnings = trace.warnings();
    match trace.losses() {
        Some(losses) => warnings.extend(causes::losses(&losses)),
        None => warnings.push(format!("{} records were lost while it was recorded", totals.dropped_records)),
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::Nanos;
    use ggscope_format::record::RunEnd;
    use ggscope_trace::TraceWriter;
    use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording, write};
    use ggscope_trace::testing_contexts::contexts;

    #[test]
    fn the_summary_has_every_field_that_was_promised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let mut writer = write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9);
        writer.note("a remark".into()).unwrap();
        writer.dropped(Losses { full: 2, ..Losses::default() }, 99);
        writer.finish().unwrap();
        let json = serde_json::to_value(info(&Trace::open(&path).unwrap(), None)).unwrap();
        for (pointer, value) in [
            ("/format", FORMAT_VERSION.into()),
            ("/complete", true.into()),
            ("/process/pid", 4242.into()),
            ("/process/exe", "/usr/bin/llama-server".into()),
            ("/process/argv/0", "llama-server".into()),
            ("/model/path", "/models/Smol LM2 ü.gguf".into()),
            ("/model/name", "SmolLM2 135M Instruct".into()),
            ("/model/arch", "llama".into()),
            ("/model/n_layer", 30.into()),
            ("/level", "ops".into()),
            ("/graphs", 2.into()),
            ("/evaluations", 10.into()),
            ("/operators", 440.into()),
            ("/tokens/prompt", 5.into()),
            ("/tokens/generate", 9.into()),
            ("/dropped/records", 2.into()),
            ("/dropped/bytes", 99.into()),
            ("/notes/0", "a remark".into()),
        ] {
            assert_eq!(json.pointer(pointer), Some(&value), "{pointer}");
        }
        assert_eq!(json.get("devices"), None, "all was computed before the host came back");
        let number = |pointer: &str| json.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap();
        assert!(number("/time/first_ns") < number("/time/last_ns"));
        assert!(number("/time/compute_ns") > 0.0 && number("/tokens_per_second/generate") > 0.0);
        let file = std::fs::metadata(&path).unwrap().len() as f64;
        assert_eq!(number("/size/file_bytes"), file);
        assert_eq!(number("/size/bytes_per_generated_token"), file / 9.0);
        assert!(json["warnings"][0].as_str().unwrap().contains("2 records were lost because the ring was full"));
    }

    #[test]
    fn contexts_have_speeds_of_their_own_and_none_in_common() {
        let recorded = contexts(&[(0, 0, 3), (1, 1, 2), (0, 0, 1), (1, 1, 1), (0, 0, 1)]);
        let trace = &recorded.trace;
        let (all, target, draft) = (info(trace, None), info(trace, Some(0)), info(trace, Some(1)));
        assert_eq!(all.tokens_per_second, TokensPerSecond::default(), "both have a prompt and an answer");
        assert_eq!(all.contexts.iter().map(|c| c.prompt_tokens + c.generated_tokens).collect::<Vec<_>>(), [5, 3]);
        for (own, of) in [(&target, &all.contexts[0]), (&draft, &all.contexts[1])] {
            assert_eq!((&own.tokens_per_second, &own.contexts[..]), (&of.tokens_per_second, std::slice::from_ref(of)));
            let expected = own.tokens.generate as f64 * 1e9 / own.time.generate_ns as f64;
            assert_eq!(own.tokens_per_second.generate, Some(expected));
            assert!(own.more_models.is_empty() && own.requests.iter().all(|r| r.context == of.context));
        }
        assert_eq!((target.evaluations, draft.evaluations, all.evaluations), (3, 2, 5));
        assert_eq!(target.operators + draft.operators, all.operators);
        assert_eq!(target.time.compute_ns + draft.time.compute_ns, all.time.compute_ns);
        let ns = |info: &Info| info.operators_by_time.iter().map(|op| op.ns).sum::<u64>();
        assert_eq!(ns(&target) + ns(&draft), ns(&all));
        assert_eq!((target.model.unwrap().id, draft.model.unwrap().id), (0, 1));
    }

    #[test]
    fn what_a_device_did_after_the_host_came_back_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let shape = Shape { n_layer: 2, ..Shape::default() };
        let mut stored = llama(0, shape);
        stored.graph.devices = vec!["CUDA0".into()];
        let mut e = evaluation(&stored, 0, 0, &mut Random(1));
        e.durations.clear();
        (e.runs[0].clocked, e.runs[0].n_calls, e.runs[0].duration) = (false, 0, 7_000);
        let (begin, length) = (e.start.0 + e.runs[0].start, e.end.0 - e.start.0);
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.graph(stored).unwrap();
        writer.evaluation(e.clone()).unwrap();
        writer.run_end(RunEnd { eval: e.eval, run: 0, end: Nanos(e.end.0 + 500) }).unwrap();
        writer.finish().unwrap();
        let info = info(&Trace::open(&path).unwrap(), None);
        assert_eq!((info.time.compute_ns, info.time.last_ns), (length + 500, e.end.0 + 500));
        assert_eq!(info.time.prompt_ns + info.time.generate_ns, info.time.compute_ns);
        let device = serde_json::to_value(&info.devices).unwrap();
        let ns = e.end.0 + 500 - begin;
        assert_eq!(device, serde_json::json!([{ "name": "CUDA0", "runs": 1, "operators": 44, "ns": ns }]));
    }
}
