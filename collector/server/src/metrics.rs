//! `/metrics`: sums over each session in Prometheus' text format 0.0.4. What a context computed is labelled with it.

use super::app::{App, beside, bounded};
use super::problem::Problem;
use super::session::Session;
use super::sessions::Sessions;
use axum::extract::State as Extract;
use axum::response::Response;
use ggscope_query::contexts::Context;
use ggscope_query::cost::Cost;
use ggscope_trace::State;
use std::fmt::Write;
use std::sync::Arc;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Sums over each session for Prometheus
#[utoipa::path(get, path = "/metrics",
    responses((status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(Extract(app): Extract<Arc<App>>) -> Result<Response, Problem> {
    let text = beside(app, |sessions| Ok(text(sessions)));
    bounded(CONTENT_TYPE, text.await?.into_bytes())
}

/// Labels and value of one line.
type Sample = (Vec<(&'static str, String)>, String);

fn text(sessions: &Sessions) -> String {
    let mut out = String::new();
    let all = sessions.all();
    for (name, help, samples) in FAMILIES {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for session in &all {
            for (labels, value) in samples(session) {
                let own = [("session", session.id.clone()), ("file", session.name.clone())];
                let labels: Vec<String> =
                    own.iter().chain(&labels).map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
                let _ = writeln!(out, "{name}{{{}}} {value}", labels.join(","));
            }
        }
    }
    out
}

/// Name, help and lines of each metric.
type Family = (&'static str, &'static str, fn(&Session) -> Vec<Sample>);

const FAMILIES: [Family; 13] = [
    ("ggscope_session_state", "1 for the state that the session is in: live, ended or cut.", |s| {
        let now = s.state();
        let of = |(name, state): (&str, State)| (vec![("state", name.to_owned())], u8::from(state == now).to_string());
        [("live", State::Live), ("ended", State::Ended), ("cut", State::Cut)].map(of).into()
    }),
    ("ggscope_tokens_total", "Tokens that were evaluated.", |s| {
        each_context(s, |c| {
            let of = |phase: &str, n: u64| (vec![("phase", phase.to_owned())], n.to_string());
            let known = [of("PROMPT", c.prompt_tokens), of("GENERATE", c.generated_tokens)];
            let unknown = (c.unknown_tokens > 0).then(|| of("UNKNOWN", c.unknown_tokens));
            known.into_iter().chain(unknown).collect()
        })
    }),
    ("ggscope_evaluations_total", "Evaluations of graphs.", |s| each_context(s, |c| plain(c.evaluations))),
    ("ggscope_operators_total", "Executed operators, by context, kind and layer.", |s| {
        costs(s, |c| c.count.to_string())
    }),
    ("ggscope_operator_seconds_total", "Attributed time of operators, by context, kind and layer.", |s| {
        costs(s, |c| seconds(c.ns))
    }),
    ("ggscope_compute_seconds_total", "Time inside evaluations.", |s| {
        each_context(s, |c| vec![(vec![], seconds(c.compute_ns))])
    }),
    ("ggscope_read_bytes_total", "Bytes that operators read, by context, file or buffer.", read_bytes),
    ("ggscope_page_faults_total", "Page faults of the process during evaluations.", |s| {
        let totals = s.totals();
        let of = |kind: &str, n: u64| (vec![("kind", kind.to_owned())], n.to_string());
        vec![of("minor", totals.minor_faults), of("major", totals.major_faults)]
    }),
    ("ggscope_dropped_records_total", "Records that were lost.", |s| plain(s.totals().dropped_records)),
    ("ggscope_dropped_bytes_total", "Bytes of records that were lost.", |s| plain(s.totals().dropped_bytes)),
    ("ggscope_captured_bytes_total", "Bytes of captured values.", |s| plain(s.totals().value_bytes)),
    ("ggscope_left_out_evaluations_total", "Evaluations whose values were left out for the budget's sake.", |s| {
        plain(s.totals().left_out_evaluations)
    }),
    ("ggscope_values_behind_tokens", "Tokens after the newest one that captured values have come of.", behind),
];

fn plain(n: u64) -> Vec<Sample> {
    vec![(vec![], n.to_string())]
}

/// The lines of each context; none if the trace is not there any more.
fn each_context(session: &Session, samples: impl Fn(&Context) -> Vec<Sample>) -> Vec<Sample> {
    let Ok(sums) = session.sums() else { return vec![] };
    let of = |c: &Context| -> Vec<Sample> {
        let own = ("context", c.context.to_string());
        samples(c).into_iter().map(|(labels, value)| ([vec![own.clone()], labels].concat(), value)).collect()
    };
    sums.contexts.iter().flat_map(of).collect()
}

/// Of sessions that go on and have captured values.
fn behind(session: &Session) -> Vec<Sample> {
    let live = session.state() == State::Live;
    let found = if live { session.behind().ok().flatten() } else { None };
    found.map_or(vec![], |behind| plain(behind.tokens))
}

fn operator(c: &Cost) -> Vec<(&'static str, String)> {
    let layer = c.layer.map_or(String::new(), |layer| layer.to_string());
    vec![("context", c.context.to_string()), ("op", c.op.clone()), ("layer", layer)]
}

fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// A line a context, operator and layer; none if the trace is not there any more.
fn costs(session: &Session, value: impl Fn(&Cost) -> String) -> Vec<Sample> {
    let Ok(sums) = session.sums() else { return vec![] };
    sums.costs.iter().map(|c| (operator(c), value(c))).collect()
}

fn read_bytes(session: &Session) -> Vec<Sample> {
    let Ok(sums) = session.sums() else { return vec![] };
    let sample = |((context, memory, place), bytes): (&(u32, &str, String), &u64)| {
        let labels = [("context", context.to_string()), ("memory", (*memory).to_owned()), ("place", place.clone())];
        (labels.to_vec(), bytes.to_string())
    };
    sums.reads.iter().map(sample).collect()
}

/// The value of a label, as the format writes it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::capture::{Capture, CaptureChange};
    use ggscope_format::value::Value;
    use ggscope_format::{Bytes, EvalId, GraphId};
    use ggscope_trace::Losses;
    use ggscope_trace::testing::{Shape, write};
    use ggscope_trace::testing_contexts::contexts;

    #[test]
    fn what_two_contexts_computed_is_never_one_sum() {
        let recorded = contexts(&[(0, 0, 3), (1, 1, 2), (0, 0, 1)]);
        let sessions = Sessions::open(&[recorded.trace.path().to_owned()]).unwrap();
        let text = text(&sessions);
        let values = |metric: &str, label: &str| -> Vec<String> {
            let of_metric =
                text.lines().filter(|line| line.starts_with(&format!("{metric}{{")) && line.contains(label));
            of_metric.filter_map(|line| line.rsplit(' ').next()).map(str::to_owned).collect()
        };
        for (metric, label) in [
            ("ggscope_evaluations_total", ""),
            ("ggscope_compute_seconds_total", ""),
            ("ggscope_operators_total", "op=\"FLASH_ATTN_EXT\",layer=\"0\""),
            ("ggscope_tokens_total", "phase=\"PROMPT\""),
        ] {
            assert_eq!(values(metric, label).len(), 2, "{metric}: one of each context");
        }
        assert_eq!(values("ggscope_evaluations_total", ""), ["2", "1"]);
        assert_eq!(values("ggscope_operators_total", "context=\"1\",op=\"FLASH_ATTN_EXT\",layer=\"0\""), ["1"]);
        assert!(values("ggscope_operators_total", "context=\"1\",op=\"FLASH_ATTN_EXT\",layer=\"1\"").is_empty());
    }

    #[test]
    fn sums_are_those_of_the_trace_and_names_are_escaped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a\"\\\n.ggtrace");
        let mut writer = write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9);
        writer.dropped(Losses { full: 2, ..Losses::default() }, 99);
        let capture = Capture::named(["l_out-*"]);
        writer.capture(CaptureChange { from: EvalId(0), capture }).unwrap();
        // Values of the third token of the answer, of nine.
        let value =
            Value { eval: EvalId(3), graph: GraphId(1), total: Bytes(4), bytes: vec![0; 4], ..Value::default() };
        writer.value(value).unwrap();
        writer.finish().unwrap();
        let sessions = Sessions::open(&[path]).unwrap();
        let behind = sessions.all()[0].behind().unwrap().unwrap();
        assert_eq!((behind.token, behind.tokens), (7, 6), "5 tokens of the prompt, and of the answer the last 6 of 9");
        let text = text(&sessions);
        let value = |metric: &str, labels: &str| {
            let start = format!("{metric}{{session=\"0\",file=\"a\\\"\\\\\\n.ggtrace\"{labels}}} ");
            let found = text.lines().find_map(|line| line.strip_prefix(start.as_str()));
            found.unwrap_or_else(|| panic!("{start} is missing:\n{text}")).to_owned()
        };
        assert_eq!(value("ggscope_tokens_total", ",context=\"0\",phase=\"GENERATE\""), "9");
        assert_eq!(value("ggscope_session_state", ",state=\"ended\""), "1");
        assert_eq!(value("ggscope_session_state", ",state=\"live\""), "0");
        assert_eq!(value("ggscope_evaluations_total", ",context=\"0\""), "10");
        assert_eq!(value("ggscope_operators_total", ",context=\"0\",op=\"FLASH_ATTN_EXT\",layer=\"1\""), "10");
        assert_eq!(value("ggscope_dropped_records_total", ""), "2");
        assert_eq!(value("ggscope_captured_bytes_total", ""), "4");
        assert!(!text.contains("ggscope_values_behind_tokens{"), "nobody waits for what has ended");
        let ns = sessions.all()[0].totals().compute_ns;
        assert_eq!(value("ggscope_compute_seconds_total", ",context=\"0\""), seconds(ns));
        let disk = ",context=\"0\",memory=\"DISK\",place=\"/models/Smol LM2 ü.gguf\"";
        assert!(value("ggscope_read_bytes_total", disk).parse::<u64>().unwrap() > 0);
        assert_eq!(seconds(1_000_000_007), "1.000000007");
    }
}
