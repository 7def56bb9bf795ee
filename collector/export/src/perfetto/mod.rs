//! Perfetto's own format, for ui.perfetto.dev: the process, in it its threads, in these a track a context with its
//! evaluations, and below that counters, devices that compute runs as a whole, and a track a layer with its operators.

mod packets;
mod proto;

use super::labels;
use super::lanes::Lanes;
use ggscope_format::GraphId;
use ggscope_query::dump::Filter;
use ggscope_query::{DeviceRun, FilteredEvaluation, Timed, walk};
use ggscope_trace::Trace;
use packets::{Arg, Packets};
use proto::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, COUNTER, CounterDescriptor, DebugAnnotation, ORDER_EXPLICIT, ProcessDescriptor,
    SLICE_BEGIN, SLICE_END, ThreadDescriptor, TrackDescriptor, TrackEvent, UNIT_COUNT, UNIT_SIZE_BYTES,
};
use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// The track of the process.
const PROCESS: u64 = 1;
/// Graphs whose events are kept.
const KEPT: usize = 64;

/// Writes the timeline of what the filter lets through, and returns how many operators are in it.
pub fn write(trace: &Trace, filter: &Filter, out: &mut (dyn Write + Send)) -> io::Result<u64> {
    let hello = &trace.recording().hello;
    let mut timeline = Timeline {
        packets: Packets::new(out, CLOCK_MONOTONIC),
        pid: hello.pid as i32,
        tracks: HashMap::new(),
        lanes: Lanes::new(),
        graphs: HashMap::new(),
        generation: 0,
        operators: 0,
    };
    timeline.packets.clocks(&[(CLOCK_MONOTONIC, hello.monotonic_ns), (CLOCK_REALTIME, hello.realtime_ns)])?;
    timeline.packets.track(TrackDescriptor {
        uuid: Some(PROCESS),
        process: Some(ProcessDescriptor {
            pid: Some(timeline.pid),
            cmdline: hello.argv.clone(),
            process_name: Some(hello.exe.rsplit('/').next().unwrap_or_default().to_owned()),
        }),
        ..TrackDescriptor::default()
    })?;
    let mut done = Ok(());
    walk(trace, filter, |evaluated| {
        done = timeline.evaluation(&evaluated);
        if done.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    done?;
    timeline.packets.finish()?;
    Ok(timeline.operators)
}

/// What has a track of its own.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Track {
    Thread(u32),
    /// Context and thread.
    Context(u32, u32),
    /// Below a context's track.
    Counter(u64, Counter),
    Device(u64, String, usize),
    Layer(u64, Option<u32>),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Counter {
    Disk,
    Buffer,
    Minor,
    Major,
    Speed,
}

impl Counter {
    fn name(self) -> &'static str {
        match self {
            Counter::Disk => "bytes read from DISK",
            Counter::Buffer => "bytes read from BUFFER",
            Counter::Minor => "minor page faults",
            Counter::Major => "major page faults",
            Counter::Speed => "tokens a second",
        }
    }

    fn unit(self) -> CounterDescriptor {
        let (unit, unit_name) = match self {
            Counter::Disk | Counter::Buffer => (Some(UNIT_SIZE_BYTES), None),
            Counter::Minor | Counter::Major => (Some(UNIT_COUNT), None),
            Counter::Speed => (None, Some("tokens/s".to_owned())),
        };
        CounterDescriptor { unit, unit_name }
    }
}

/// What is the same for all slices of a node.
#[derive(Clone)]
struct NodeEvent {
    name_iid: u64,
    layer: Option<u32>,
    arguments: Vec<DebugAnnotation>,
}

struct Timeline<'o> {
    packets: Packets<'o>,
    pid: i32,
    tracks: HashMap<Track, u64>,
    lanes: Lanes<(u64, String)>,
    graphs: HashMap<GraphId, HashMap<u32, NodeEvent>>,
    /// That of the strings in `graphs`.
    generation: u64,
    operators: u64,
}

impl Timeline<'_> {
    fn track(&mut self, track: Track) -> io::Result<u64> {
        if let Some(&uuid) = self.tracks.get(&track) {
            return Ok(uuid);
        }
        let parent = match track {
            Track::Thread(_) => PROCESS,
            Track::Context(_, thread) => self.track(Track::Thread(thread))?,
            Track::Counter(context, _) | Track::Device(context, ..) | Track::Layer(context, _) => context,
        };
        let uuid = PROCESS + 1 + self.tracks.len() as u64;
        let mut descriptor = TrackDescriptor { uuid: Some(uuid), parent_uuid: Some(parent), ..Default::default() };
        match &track {
            Track::Thread(thread) => {
                let (tid, name) = (Some(i64::from(*thread)), Some(format!("thread {thread}")));
                descriptor.thread = Some(ThreadDescriptor { pid: Some(self.pid), tid, thread_name: name });
            }
            Track::Context(context, _) => {
                descriptor.name = Some(format!("context {context}"));
                descriptor.child_ordering = Some(ORDER_EXPLICIT);
            }
            Track::Counter(_, counter) => {
                descriptor.name = Some(counter.name().into());
                descriptor.counter = Some(counter.unit());
                descriptor.sibling_order_rank = Some(*counter as i32);
            }
            Track::Device(_, device, _) => {
                descriptor.name = Some(device.clone());
                descriptor.sibling_order_rank = Some(10);
            }
            Track::Layer(_, layer) => {
                descriptor.name = Some(labels::layer(*layer));
                let rank = layer.map_or(0, |l| i32::try_from(l).unwrap_or(i32::MAX - 20).saturating_add(1));
                descriptor.sibling_order_rank = Some(rank.saturating_add(11));
            }
        }
        self.packets.track(descriptor)?;
        self.tracks.insert(track, uuid);
        Ok(uuid)
    }

    fn slice(&mut self, track: u64, (start, dur): (u64, u64), begin: TrackEvent) -> io::Result<()> {
        let on = |r#type: i32| TrackEvent { r#type: Some(r#type), track_uuid: Some(track), ..TrackEvent::default() };
        let begin = TrackEvent { r#type: Some(SLICE_BEGIN), track_uuid: Some(track), ..begin };
        self.packets.event(start, begin)?;
        self.packets.event(start.saturating_add(dur), on(SLICE_END))
    }

    fn evaluation(&mut self, evaluated: &FilteredEvaluation<'_>) -> io::Result<()> {
        let generation = self.packets.generation();
        if generation != self.generation || self.graphs.len() >= KEPT {
            self.graphs.clear();
            self.generation = generation;
        }
        let e = evaluated.evaluation();
        let context = self.track(Track::Context(e.context, e.thread))?;
        let requests = labels::requests(evaluated);
        let arguments = [
            ("eval", Arg::Number(e.eval.0)),
            ("graph", Arg::Number(e.graph.0.into())),
            ("status", Arg::Signed(e.status.into())),
            ("first_token", Arg::Number(evaluated.row.first_token)),
            ("n_tokens", Arg::Number(e.n_tokens.into())),
            ("requests", Arg::Text(&requests)),
            ("minor_faults", Arg::Number(e.minor_faults.into())),
            ("major_faults", Arg::Number(e.major_faults.into())),
            ("disk_bytes", Arg::Number(evaluated.reads.disk)),
            ("buffer_bytes", Arg::Number(evaluated.reads.buffer)),
        ];
        let begin = TrackEvent {
            name: Some(labels::evaluation(evaluated)),
            categories: evaluated.phase.iter().map(|phase| phase.name().to_owned()).collect(),
            debug_annotations: arguments.into_iter().map(|(name, value)| self.packets.argument(name, value)).collect(),
            ..TrackEvent::default()
        };
        self.slice(context, (e.start.0, e.end.0.saturating_sub(e.start.0)), begin)?;
        self.counters(context, evaluated)?;
        evaluated.operators.iter().try_for_each(|operator| self.operator(context, evaluated, operator))?;
        evaluated.runs.iter().try_for_each(|run| self.run(context, run))
    }

    fn counters(&mut self, context: u64, evaluated: &FilteredEvaluation<'_>) -> io::Result<()> {
        let e = evaluated.evaluation();
        let whole = |n: u64| Some(i64::try_from(n).unwrap_or(i64::MAX));
        for (counter, value) in [
            (Counter::Disk, whole(evaluated.reads.disk)),
            (Counter::Buffer, whole(evaluated.reads.buffer)),
            (Counter::Minor, whole(e.minor_faults.into())),
            (Counter::Major, whole(e.major_faults.into())),
            (Counter::Speed, None),
        ] {
            let track_uuid = Some(self.track(Track::Counter(context, counter))?);
            let speed = value.is_none().then(|| labels::tokens_per_second(evaluated));
            for (time, counter_value, double_counter_value) in
                [(e.start.0, value, speed), (e.end.0, value.map(|_| 0), speed.map(|_| 0.0))]
            {
                let of = TrackEvent { r#type: Some(COUNTER), track_uuid, ..TrackEvent::default() };
                self.packets.event(time, TrackEvent { counter_value, double_counter_value, ..of })?;
            }
        }
        Ok(())
    }

    fn operator(&mut self, context: u64, evaluated: &FilteredEvaluation<'_>, operator: &Timed) -> io::Result<()> {
        let Some(NodeEvent { name_iid, layer, mut arguments }) = self.node(evaluated, operator) else { return Ok(()) };
        if !operator.fused.is_empty() {
            let fused = labels::fused(evaluated.view, &operator.fused);
            arguments.push(self.packets.argument("with", Arg::Text(&fused)));
        }
        self.operators += 1 + operator.fused.len() as u64;
        let track = self.track(Track::Layer(context, layer))?;
        let begin = TrackEvent { name_iid: Some(name_iid), debug_annotations: arguments, ..TrackEvent::default() };
        self.slice(track, (operator.start_ns, operator.dur_ns), begin)
    }

    /// What is the same for all slices of an operator's node.
    fn node(&mut self, evaluated: &FilteredEvaluation<'_>, operator: &Timed) -> Option<NodeEvent> {
        let (view, id) = (evaluated.view, operator.node);
        let graph = &view.stored.graph;
        if let Some(event) = self.graphs.get(&graph.graph).and_then(|events| events.get(&id.0)) {
            return Some(event.clone());
        }
        let node = graph.tensor(id)?;
        let (wrote, read) = (labels::shape(view, node), labels::sources(view, node));
        let arguments = [
            ("name", Arg::Text(&node.name)),
            ("node", Arg::Number(id.0.into())),
            ("wrote", Arg::Text(&wrote)),
            ("bytes", Arg::Number(node.bytes.0)),
            ("read", Arg::Text(&read)),
        ];
        let arguments = arguments.into_iter().map(|(name, value)| self.packets.argument(name, value)).collect();
        let name_iid = self.packets.event_name(graph.op(node));
        let event = NodeEvent { name_iid, layer: view.layers.layer(id), arguments };
        self.graphs.entry(graph.graph).or_default().insert(id.0, event.clone());
        Some(event)
    }

    fn run(&mut self, context: u64, run: &DeviceRun<'_>) -> io::Result<()> {
        let device = run.device.to_owned();
        let lane = self.lanes.place((context, device.clone()), run.start_ns, run.dur_ns);
        let track = self.track(Track::Device(context, device, lane))?;
        self.operators += run.operators;
        let arguments = [("run", run.number as u64), ("operators", run.operators)];
        let begin = TrackEvent {
            name: Some(format!("run {}", run.number)),
            debug_annotations: arguments.map(|(name, n)| self.packets.argument(name, Arg::Number(n))).into(),
            ..TrackEvent::default()
        };
        self.slice(track, (run.start_ns, run.dur_ns), begin)
    }
}

#[cfg(test)]
mod tests;
