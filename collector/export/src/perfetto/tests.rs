//! The promises of the Perfetto format, on the decoded packets: every operator is a slice on its layer's track.

use super::super::testing::{HOSTILE, answer, dumped, exported, hostile};
use super::super::{ExportOptions, Format};
use super::proto::{INCREMENTAL_STATE_CLEARED, InternedData, TracePacket};
use super::*;
use ggscope_trace::TraceWriter;
use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording};
use prost::Message;
use std::collections::BTreeMap;

/// A slice as a viewer would show it.
#[derive(Debug)]
struct Slice {
    track: u64,
    name: String,
    start: u64,
    dur: u64,
    arguments: BTreeMap<String, String>,
}

struct Viewer {
    tracks: HashMap<u64, TrackDescriptor>,
    slices: Vec<Slice>,
    counters: Vec<(u64, u64, i64)>,
}

/// Reads a trace as Perfetto does: strings by their numbers, which hold until the state is cleared.
fn view(trace: &Trace) -> Viewer {
    let wanted = ExportOptions { format: Format::Perfetto, tokens: None, layers: None, graph: None, context: None };
    let packets = proto::Trace::decode(&exported(trace, wanted)[..]).unwrap().packet;
    let mut viewer = Viewer { tracks: HashMap::new(), slices: vec![], counters: vec![] };
    let (mut known, mut open) = (InternedData::default(), HashMap::<u64, Vec<usize>>::new());
    assert_eq!(packets[0].sequence_flags, Some(INCREMENTAL_STATE_CLEARED));
    assert_eq!(packets[0].trace_packet_defaults.as_ref().unwrap().timestamp_clock_id, Some(CLOCK_MONOTONIC));
    for TracePacket { timestamp, track_event, interned_data, sequence_flags, track_descriptor, .. } in packets {
        if sequence_flags == Some(INCREMENTAL_STATE_CLEARED) {
            known = InternedData::default();
        }
        let new = interned_data.unwrap_or_default();
        known.event_names.extend(new.event_names);
        known.debug_annotation_names.extend(new.debug_annotation_names);
        known.debug_annotation_string_values.extend(new.debug_annotation_string_values);
        if let Some(track) = track_descriptor {
            let known_parent = track.parent_uuid.is_none_or(|parent| viewer.tracks.contains_key(&parent));
            assert!(known_parent && viewer.tracks.insert(track.uuid.unwrap(), track).is_none());
        }
        let Some(event) = track_event else { continue };
        let (track, time) = (event.track_uuid.unwrap(), timestamp.unwrap());
        assert!(viewer.tracks.contains_key(&track), "an event before its track");
        match event.r#type.unwrap() {
            SLICE_BEGIN => {
                open.entry(track).or_default().push(viewer.slices.len());
                let name = event.name.clone().unwrap_or_else(|| name_of(&known.event_names, event.name_iid));
                let arguments = event.debug_annotations.iter().map(|a| argument(&known, a)).collect();
                viewer.slices.push(Slice { track, name, start: time, dur: 0, arguments });
            }
            SLICE_END => {
                let slice = &mut viewer.slices[open.get_mut(&track).unwrap().pop().unwrap()];
                slice.dur = time - slice.start;
            }
            _ => viewer.counters.push((track, time, event.counter_value.unwrap_or_default())),
        }
    }
    assert!(open.values().all(Vec::is_empty), "every slice ends");
    viewer
}

fn name_of(names: &[proto::Name], iid: Option<u64>) -> String {
    names.iter().find(|name| name.iid == iid).and_then(|name| name.name.clone()).unwrap()
}

fn argument(known: &InternedData, annotation: &DebugAnnotation) -> (String, String) {
    let text = |iid| {
        let found = known.debug_annotation_string_values.iter().find(|s| s.iid == Some(iid)).unwrap();
        String::from_utf8(found.str.clone().unwrap()).unwrap()
    };
    let number = annotation.uint_value.map(|n| n.to_string()).or(annotation.int_value.map(|n| n.to_string()));
    let value = number.or(annotation.string_value_iid.map(text)).unwrap();
    (name_of(&known.debug_annotation_names, annotation.name_iid), value)
}

impl Viewer {
    fn name(&self, track: u64) -> &str {
        self.tracks[&track].name.as_deref().unwrap_or_default()
    }

    fn on(&self, track: &str) -> Vec<&Slice> {
        self.slices.iter().filter(|slice| self.name(slice.track) == track).collect()
    }
}

#[test]
fn every_operator_with_a_time_is_a_slice_on_its_layers_track() {
    let (_dir, trace) = answer();
    let viewer = view(&trace);
    let all = dumped(&trace, &Filter::default());
    let timed: Vec<_> = all.iter().filter(|o| o["dur_ns"].is_u64()).collect();
    let operators: Vec<_> = viewer.slices.iter().filter(|s| s.arguments.contains_key("wrote")).collect();
    assert_eq!(operators.len(), timed.len());
    for (slice, operator) in operators.iter().zip(&timed) {
        assert_eq!(
            (slice.name.as_str(), slice.arguments["name"].as_str()),
            (operator["op"].as_str().unwrap(), operator["name"].as_str().unwrap())
        );
        assert_eq!((Some(slice.start), Some(slice.dur)), (operator["t_ns"].as_u64(), operator["dur_ns"].as_u64()));
        let layer = operator["layer"].as_u64().map_or("no layer".into(), |l| format!("layer {l}"));
        assert_eq!(viewer.name(slice.track), layer);
        assert_eq!(slice.arguments["bytes"], operator["dst"]["bytes"].to_string());
        for source in operator["src"].as_array().unwrap() {
            assert!(slice.arguments["read"].contains(source["name"].as_str().unwrap()));
        }
    }
    let fused = operators.iter().filter(|s| s.arguments.contains_key("with")).count();
    assert_eq!(operators.len() + fused, all.len(), "a fused operator is named where its time is");
    assert!(
        operators
            .iter()
            .any(|s| s.arguments["read"].contains("blk.1.attn_q.weight q4_1[576×576] DISK /models/Smol LM2 ü.gguf@"))
    );
}

#[test]
fn evaluations_are_slices_of_their_context_and_tracks_lie_in_the_process() {
    let (_dir, trace) = answer();
    let viewer = view(&trace);
    let evaluations = viewer.on("context 0");
    let names: Vec<&str> = evaluations.iter().map(|s| s.name.as_str()).collect();
    assert_eq!((names.len(), names[0]), (10, "prompt: 5 tokens"));
    assert!(names[1].starts_with("token 5: \" t"), "{names:?}");
    let process = viewer.tracks[&PROCESS].process.clone().unwrap();
    assert_eq!((process.pid, process.process_name.as_deref()), (Some(4242), Some("llama-server")));
    let context = &viewer.tracks[&evaluations[0].track];
    let thread = &viewer.tracks[&context.parent_uuid.unwrap()];
    assert_eq!((thread.thread.clone().unwrap().tid, thread.parent_uuid), (Some(4711), Some(PROCESS)));
    for layer in viewer.tracks.values().filter(|t| t.name.as_deref().is_some_and(|n| n.starts_with("layer"))) {
        assert_eq!(layer.parent_uuid, context.uuid);
    }
}

#[test]
fn counters_show_what_was_read_and_fall_to_nothing() {
    let (_dir, trace) = answer();
    let viewer = view(&trace);
    for (counter, argument) in [("bytes read from DISK", "disk_bytes"), ("bytes read from BUFFER", "buffer_bytes")] {
        let of: Vec<i64> = viewer.counters.iter().filter(|c| viewer.name(c.0) == counter).map(|c| c.2).collect();
        let read = viewer.on("context 0").into_iter().map(|s| s.arguments[argument].parse().unwrap());
        assert_eq!(of, read.flat_map(|bytes: i64| [bytes, 0]).collect::<Vec<_>>());
    }
}

#[test]
fn hostile_names_come_back_as_they_were() {
    let (_dir, trace) = hostile();
    let viewer = view(&trace);
    let operators = viewer.on("no layer").into_iter().chain(viewer.on("layer 0"));
    let mut names: Vec<(String, String)> =
        operators.map(|s| (s.arguments["node"].clone(), s.arguments["name"].clone())).collect();
    names.sort();
    assert_eq!(names.iter().map(|n| n.1.as_str()).collect::<Vec<_>>(), HOSTILE);
    assert!(viewer.slices.iter().any(|s| s.arguments.get("read").is_some_and(|r| r.contains(HOSTILE[2]))));
}

#[test]
fn runs_of_a_device_that_overlap_get_tracks_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut stored = llama(0, Shape { n_layer: 1, n_tokens: 1, n_outputs: 1, n_kv: 32 });
    stored.graph.devices = vec!["CUDA0".into()];
    let mut e = evaluation(&stored, 0, 0, &mut Random(1));
    e.durations.clear();
    let whole = e.runs.remove(0);
    for half in [0, whole.n_nodes / 2] {
        let first = ggscope_format::TensorId(half);
        let n_nodes = whole.n_nodes / 2;
        e.runs.push(ggscope_format::record::Run {
            first,
            n_nodes,
            clocked: false,
            n_calls: 0,
            start: u64::from(half),
            duration: 9_000,
            ..whole.clone()
        });
    }
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    writer.graph(stored).unwrap();
    writer.evaluation(e).unwrap();
    writer.finish().unwrap();
    let viewer = view(&Trace::open(&path).unwrap());
    let runs = viewer.on("CUDA0");
    assert_eq!(runs.iter().map(|s| (s.name.as_str(), s.dur)).collect::<Vec<_>>(), [("run 0", 9_000), ("run 1", 9_000)]);
    assert_ne!(runs[0].track, runs[1].track);
}
