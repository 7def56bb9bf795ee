//! What a trace is of, in numbers: the summary. It reads the head of the file and its index, not the evaluations.

use crate::trace::{OperatorTotal, Remark, Totals, Trace};
use ggscope_format::FORMAT_VERSION;
use serde::Serialize;
use utoipa::ToSchema;

/// The summary of a trace.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Info {
    /// Version of the trace format.
    pub format: u32,
    /// Whether the recording ended in order and all of the file is there.
    pub complete: bool,
    /// Version of the ggscope that recorded it.
    pub ggscope: String,
    /// The traced process.
    pub process: Process,
    /// Its first model.
    pub model: Option<Model>,
    /// Further models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_models: Vec<Model>,
    /// How much was recorded.
    pub level: &'static str,
    /// Globs of captured tensors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capture: Vec<String>,
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
    /// Times.
    pub time: Time,
    /// Tokens a second of compute time.
    pub tokens_per_second: TokensPerSecond,
    /// Page faults of the process during evaluations.
    pub page_faults: PageFaults,
    /// Times by kind of operator, longest first; empty if the file was cut.
    pub operators_by_time: Vec<ByOperator>,
    /// What was lost.
    pub dropped: Dropped,
    /// Sizes.
    pub size: Size,
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
}

/// Tokens by phase.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tokens {
    /// Of prompts.
    pub prompt: u64,
    /// Of answers.
    pub generate: u64,
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

/// Tokens a second of compute time; null without tokens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TokensPerSecond {
    /// Of prompts.
    pub prompt: Option<f64>,
    /// Of answers.
    pub generate: Option<f64>,
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

/// What was lost.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Dropped {
    /// Records.
    pub records: u64,
    /// Bytes of records.
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

/// The summary of `trace`.
pub fn info(trace: &Trace) -> Info {
    let (recording, totals) = (trace.recording(), trace.totals());
    let hello = &recording.hello;
    let mut models = trace.models().iter().map(|m| Model {
        path: m.path.clone(),
        name: m.name.clone(),
        arch: m.arch.clone(),
        n_layer: m.n_layer,
        file_bytes: m.file_bytes,
    });
    let text = |remark| if let Remark::Note(text) = remark { Some(text) } else { None };
    let notes = trace.notes().into_iter().filter_map(text).collect();
    Info {
        format: FORMAT_VERSION,
        complete: trace.complete(),
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
        model: models.next(),
        more_models: models.collect(),
        level: recording.level.name(),
        capture: recording.capture.clone(),
        graphs: totals.graphs,
        evaluations: totals.evaluations,
        operators: totals.operators,
        timed_operators: totals.timed_operators,
        tokens: Tokens { prompt: totals.prompt_tokens, generate: totals.generated_tokens },
        time: Time {
            first_ns: totals.first_ns,
            last_ns: totals.last_ns,
            compute_ns: totals.compute_ns,
            prompt_ns: totals.prompt_ns,
            generate_ns: totals.generate_ns,
        },
        tokens_per_second: TokensPerSecond {
            prompt: rate(totals.prompt_tokens, totals.prompt_ns),
            generate: rate(totals.generated_tokens, totals.generate_ns),
        },
        page_faults: PageFaults { minor: totals.minor_faults, major: totals.major_faults },
        operators_by_time: trace.operators().iter().map(by_operator).collect(),
        dropped: Dropped { records: totals.dropped_records, bytes: totals.dropped_bytes },
        size: size(totals),
        notes,
        // Last, because reading can find something wrong.
        warnings: warnings(trace),
    }
}

fn rate(tokens: u64, ns: u64) -> Option<f64> {
    (tokens > 0 && ns > 0).then(|| tokens as f64 * 1e9 / ns as f64)
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
    if totals.dropped_records > 0 {
        warnings.push(format!(
            "{} records ({} bytes) were lost while recording; a larger ring loses fewer (--ring-size)",
            totals.dropped_records, totals.dropped_bytes
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::{Shape, write};

    #[test]
    fn the_summary_has_every_field_that_was_promised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let mut writer = write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9);
        writer.note("a remark".into()).unwrap();
        writer.dropped(2, 99);
        writer.finish().unwrap();
        let json = serde_json::to_value(info(&Trace::open(&path).unwrap())).unwrap();
        for (pointer, value) in [
            ("/format", serde_json::json!(1)),
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
        let number = |pointer: &str| json.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap();
        assert!(number("/time/first_ns") < number("/time/last_ns"));
        assert!(number("/time/compute_ns") > 0.0 && number("/tokens_per_second/generate") > 0.0);
        let file = std::fs::metadata(&path).unwrap().len() as f64;
        assert_eq!(number("/size/file_bytes"), file);
        assert_eq!(number("/size/bytes_per_generated_token"), file / 9.0);
        assert!(json["warnings"][0].as_str().unwrap().contains("2 records (99 bytes) were lost"));
    }
}
