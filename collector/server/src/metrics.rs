//! `/metrics`: sums over each session in Prometheus' text format 0.0.4.

use super::api::{App, beside, bounded};
use super::problem::Problem;
use super::session::Session;
use super::sessions::Sessions;
use axum::extract::State as Extract;
use axum::response::Response;
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
        let totals = s.totals();
        let of = |phase: &str, n: u64| (vec![("phase", phase.to_owned())], n.to_string());
        let known = [of("PROMPT", totals.prompt_tokens), of("GENERATE", totals.generated_tokens)];
        let unknown = (totals.unknown_tokens > 0).then(|| of("UNKNOWN", totals.unknown_tokens));
        known.into_iter().chain(unknown).collect()
    }),
    ("ggscope_evaluations_total", "Evaluations of graphs.", |s| plain(s.totals().evaluations)),
    ("ggscope_operators_total", "Executed operators, by kind and layer.", |s| costs(s, |c| c.count.to_string())),
    ("ggscope_operator_seconds_total", "Attributed time of operators, by kind and layer.", |s| {
        costs(s, |c| seconds(c.ns))
    }),
    ("ggscope_compute_seconds_total", "Time inside evaluations.", |s| vec![(vec![], seconds(s.totals().compute_ns))]),
    ("ggscope_read_bytes_total", "Bytes that operators read, by file or buffer.", read_bytes),
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

/// Of sessions that go on and have captured values.
fn behind(session: &Session) -> Vec<Sample> {
    let live = session.state() == State::Live;
    let found = if live { session.behind().ok().flatten() } else { None };
    found.map_or(vec![], |behind| plain(behind.tokens))
}

fn operator(op: &str, layer: Option<u32>) -> Vec<(&'static str, String)> {
    vec![("op", op.to_owned()), ("layer", layer.map_or(String::new(), |l| l.to_string()))]
}

fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// A line an operator and layer; none if the trace is not there any more.
fn costs(session: &Session, value: impl Fn(&Cost) -> String) -> Vec<Sample> {
    let Ok(sums) = session.sums() else { return vec![] };
    sums.costs.iter().map(|c| (operator(&c.op, c.layer), value(c))).collect()
}

fn read_bytes(session: &Session) -> Vec<Sample> {
    let Ok(sums) = session.sums() else { return vec![] };
    let sample = |((memory, place), bytes): (&(&str, String), &u64)| {
        (vec![("memory", (*memory).to_owned()), ("place", place.clone())], bytes.to_string())
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
        assert_eq!(value("ggscope_tokens_total", ",phase=\"GENERATE\""), "9");
        assert_eq!(value("ggscope_session_state", ",state=\"ended\""), "1");
        assert_eq!(value("ggscope_session_state", ",state=\"live\""), "0");
        assert_eq!(value("ggscope_evaluations_total", ""), "10");
        assert_eq!(value("ggscope_operators_total", ",op=\"FLASH_ATTN_EXT\",layer=\"1\""), "10");
        assert_eq!(value("ggscope_dropped_records_total", ""), "2");
        assert_eq!(value("ggscope_captured_bytes_total", ""), "4");
        assert!(!text.contains("ggscope_values_behind_tokens{"), "nobody waits for what has ended");
        let ns = sessions.all()[0].totals().compute_ns;
        assert_eq!(value("ggscope_compute_seconds_total", ""), seconds(ns));
        let disk = ",memory=\"DISK\",place=\"/models/Smol LM2 ü.gguf\"";
        assert!(value("ggscope_read_bytes_total", disk).parse::<u64>().unwrap() > 0);
        assert_eq!(seconds(1_000_000_007), "1.000000007");
    }
}
