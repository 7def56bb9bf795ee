//! What the list of sessions says of each.

use ggscope_query::ending::{Ended, ended};
use ggscope_trace::{State, Trace};
use serde::Serialize;
use utoipa::ToSchema;

/// How a session ended, by its state and its trace; `None` while it goes on.
pub(super) fn ending(state: State, trace: &Trace) -> Option<Ended> {
    if state == State::Live { None } else { ended(trace, state == State::Cut) }
}

/// A traced process in the list of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct SessionSummary {
    /// Number in the paths of other questions.
    pub id: String,
    /// Name of the trace file.
    pub name: String,
    /// Whether it is being recorded, was ended in order, or ends early.
    pub state: State,
    /// Whether the recording ended in order and all of the file is there.
    pub complete: bool,
    /// How the session ended; null if it goes on, or if the trace does not say.
    pub ending: Option<Ended>,
    /// The traced process.
    pub pid: u32,
    /// Its command line.
    pub argv: Vec<String>,
    /// Path of its program.
    pub exe: String,
    /// Name of its first model.
    pub model: Option<String>,
    /// Layers of that model.
    pub n_layer: Option<u32>,
    /// How much is recorded: `graph`, `ops` or `tensors`.
    pub level: &'static str,
    /// Sets and globs that were captured at any time; the views of values ask for nothing else.
    pub captured: Vec<String>,
    /// Whether this collector records it, and it goes on.
    pub recorded_here: bool,
    /// Tokens of prompts and answers, and those of unknown phase.
    pub tokens: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub generated_tokens: u64,
    /// Tokens of which it is not known whether they are of a prompt or of an answer.
    pub unknown_tokens: u64,
    /// Evaluations.
    pub evaluations: u64,
    /// Executed operators.
    pub operators: u64,
    /// Begin of the first evaluation, nanoseconds of `CLOCK_MONOTONIC`.
    pub first_ns: u64,
    /// End of the last evaluation.
    pub last_ns: u64,
    /// Records that were lost.
    pub dropped_records: u64,
    /// When the process was attached, nanoseconds since 1970.
    pub started_ns: u64,
    /// The first thing that was found wrong with the trace so far besides a missing end; null while it is written.
    pub damage: Option<String>,
}

impl SessionSummary {
    /// Of a session with this id and name. `is_controlled`: this collector records it, as long as it goes on.
    pub(super) fn of((id, name): (&str, &str), is_controlled: bool, state: State, trace: &Trace) -> SessionSummary {
        let (recording, totals) = (trace.recording(), trace.totals());
        SessionSummary {
            id: id.to_owned(),
            name: name.to_owned(),
            state,
            complete: trace.complete(),
            ending: ending(state, trace),
            pid: recording.hello.pid,
            argv: recording.hello.argv.clone(),
            exe: recording.hello.exe.clone(),
            model: trace.model().map(|m| m.name.clone()),
            n_layer: trace.model().map(|m| m.n_layer),
            level: recording.level.name(),
            captured: captured(trace),
            recorded_here: is_controlled && state == State::Live,
            tokens: totals.tokens(),
            prompt_tokens: totals.prompt_tokens,
            generated_tokens: totals.generated_tokens,
            unknown_tokens: totals.unknown_tokens,
            evaluations: totals.evaluations,
            operators: totals.operators,
            first_ns: totals.first_ns,
            last_ns: totals.last_ns,
            dropped_records: totals.dropped_records,
            started_ns: recording.hello.realtime_ns,
            // Of a trace that is being written, parts are not there yet.
            damage: trace.damage().filter(|_| state != State::Live),
        }
    }
}

/// The names of all captures of a trace, each once.
fn captured(trace: &Trace) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for name in trace.captures().into_iter().flat_map(|change| change.capture.names) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
