//! `ggscope info`: what a trace is of, on one screen.

use super::contexts::named;
use super::inspect::amounts::bar;
use super::say;
use super::terminal::{Form, stdout};
use super::text::{duration, printable, stretches};
use ggscope_query::contexts::{Context, Contexts, TokensPerSecond};
use ggscope_query::info::{Info, LeftOut, info};
use ggscope_trace::Trace;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  ggscope info run.ggtrace
  ggscope info run.ggtrace --json | jq .tokens
  ggscope info run.ggtrace --context 1                  # of one of several contexts
";

/// Kinds of operators that are listed.
const TOP: usize = 8;

/// Options of `ggscope info`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The trace
    file: PathBuf,
    /// Numbers of this context alone, if the recording has several
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// So much of a file is checked for damage: below a second's work.
const VERIFIED_BYTES: u64 = 1 << 30;

/// Prints the summary of a trace.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let trace = Trace::open(&args.file)?;
    trace.verify(VERIFIED_BYTES);
    if let Some(context) = args.context {
        Contexts::of(&trace).check(context).map_err(anyhow::Error::msg)?;
    }
    let info = info(&trace, args.context);
    let mut out = stdout(Form::of(args.json, false));
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&info)?)?;
    } else {
        out.write_all(summary(&args.file.display().to_string(), &info).as_bytes())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn summary(file: &str, info: &Info) -> String {
    let number = say::thousands;
    let mut lines: Vec<(&str, String)> = vec![];
    lines.push(("trace", format!("{file}, {}, level {}", say::bytes(info.size.file_bytes), info.level)));
    lines.push(("process", format!("{} (pid {})", info.process.argv.join(" "), info.process.pid)));
    if let Some(ending) = &info.ending {
        lines.push(("ended", ending.text.clone()));
    }
    for model in info.model.iter().chain(&info.more_models) {
        let name = if model.name.is_empty() { "unnamed" } else { &model.name };
        let contexts = match &model.contexts[..] {
            _ if info.more_models.is_empty() => String::new(),
            [] => ", of no context".to_owned(),
            [one] => format!(", of context {one}"),
            several => format!(", of contexts {}", stretches(several)),
        };
        lines.push(("model", format!("{name}, {}, {} layers{contexts}", model.arch, model.n_layer)));
        lines.push(("", format!("{} ({})", model.path, say::bytes(model.file_bytes))));
    }
    let speed = |rate: Option<f64>| rate.map_or(String::new(), |r| format!(" at {r:.1} tokens/s"));
    let tokens = &info.tokens;
    lines.push(("prompt", format!("{} tokens{}", number(tokens.prompt), speed(info.tokens_per_second.prompt))));
    lines.push(("answer", format!("{} tokens{}", number(tokens.generate), speed(info.tokens_per_second.generate))));
    if tokens.unknown > 0 {
        let text = format!("{} tokens of unknown sequences, neither prompt nor answer", number(tokens.unknown));
        lines.push(("unknown", text));
    }
    if info.contexts.len() > 1 {
        lines.push(("contexts", number(info.contexts.len() as u64)));
        let line = |context: &Context| {
            let speed = |rate: Option<f64>| rate.map_or(String::new(), |r| format!(" at {r:.1}/s"));
            let TokensPerSecond { prompt, generate } = context.tokens_per_second;
            let (of_prompt, of_answer) = (number(context.prompt_tokens), number(context.generated_tokens));
            let counted = format!("prompt {of_prompt}{}, answer {of_answer}{}", speed(prompt), speed(generate));
            ("", format!("{}, {counted}", named(context)))
        };
        lines.extend(info.contexts.iter().take(LISTED_CONTEXTS).map(line));
        if info.contexts.len() > LISTED_CONTEXTS {
            lines.push(("", "…: all with --json".into()));
        }
    }
    lines.extend(requests(info));
    let span = info.time.last_ns.saturating_sub(info.time.first_ns);
    lines.push((
        "evaluations",
        format!(
            "{} of {} graphs, {} of compute in {}",
            number(info.evaluations),
            number(info.graphs),
            duration(info.time.compute_ns),
            duration(span)
        ),
    ));
    let timed = match info.operators {
        0 => String::new(),
        all => format!(", {:.1}% with a time of their own", info.timed_operators as f64 * 100.0 / all as f64),
    };
    lines.push(("operators", format!("{}{timed}", number(info.operators))));
    for device in &info.devices {
        let (operators, runs) = (number(device.operators), number(device.runs));
        lines.push(("", format!("{operators} on {} in {runs} runs of {} in all", device.name, duration(device.ns))));
    }
    let faults = &info.page_faults;
    lines.push(("page faults", format!("{} minor, {} from disk", number(faults.minor), number(faults.major))));
    if info.size.value_bytes > 0 {
        lines.push(("values", format!("{} of {}", say::bytes(info.size.value_bytes), info.capture.join(" "))));
    }
    if info.captures.len() > 1 {
        let each = info.captures.iter().map(|c| format!("from evaluation {} on: {}", c.from_eval, c.what));
        lines.extend(each.map(|text| ("captured", text)));
    }
    let LeftOut { evaluations, bytes } = info.left_out;
    if evaluations > 0 {
        let text = format!("values of {} evaluations, {}, beyond the budget", number(evaluations), say::bytes(bytes));
        lines.push(("left out", text));
    }
    if let Some(bytes) = info.size.bytes_per_generated_token {
        lines.push(("cost", format!("{} bytes of trace a generated token", number(bytes.round() as u64))));
    }
    let dropped = &info.dropped;
    let lost = format!("{} records, {} bytes", number(dropped.records), number(dropped.bytes));
    lines.push(("lost", if dropped.records == 0 { "nothing".into() } else { lost }));
    let mut out: String = lines.iter().map(|(what, text)| format!("{what:>12}  {}\n", printable(text))).collect();
    out.push_str(&by_time(info));
    let said = [("note", &info.notes), ("warning", &info.warnings)];
    for (what, text) in said.iter().flat_map(|(what, texts)| texts.iter().map(move |t| (what, t))) {
        out.push_str(&format!("{what:>12}  {}\n", printable(text)));
    }
    out
}

fn by_time(info: &Info) -> String {
    let all: u64 = info.operators_by_time.iter().map(|o| o.ns).fold(0, u64::saturating_add);
    if all == 0 {
        return String::new();
    }
    let mut out = String::from("\n    operator             time   share       count\n");
    for op in info.operators_by_time.iter().filter(|o| o.ns > 0).take(TOP) {
        let share = op.ns as f64 / all as f64;
        let bar = bar(share, 30);
        out.push_str(&format!(
            "    {:<16} {:>8}  {:>5.1}%  {:>10}  {bar}\n",
            printable(&op.op),
            duration(op.ns),
            share * 100.0,
            say::thousands(op.count)
        ));
    }
    out.push('\n');
    out
}

/// Contexts that are listed one by one.
const LISTED_CONTEXTS: usize = 16;
/// Requests that are listed one by one.
const LISTED_REQUESTS: usize = 8;

/// A line about the number of requests, and one for each of the first.
fn requests(info: &Info) -> Vec<(&'static str, String)> {
    let number = say::thousands;
    if info.n_requests < 2 {
        return vec![];
    }
    let mut lines = vec![("requests", number(info.n_requests))];
    for r in info.requests.iter().take(LISTED_REQUESTS) {
        let speed = |rate: Option<f64>| rate.map_or(String::new(), |r| format!(" at {r:.1}/s"));
        let mut text = format!("{}: sequence {}", r.id, r.sequence);
        if info.requests.iter().any(|other| other.context != r.context) {
            text = format!("{text} of context {}", r.context);
        }
        text += &format!(", prompt {}{}", number(r.prompt_tokens), speed(r.tokens_per_second.prompt));
        if r.reused_tokens > 0 {
            text += &format!(" after {} reused", number(r.reused_tokens.into()));
        }
        text += &format!(", answer {}{}", number(r.generated_tokens), speed(r.tokens_per_second.generate));
        if r.drafted_tokens > 0 {
            text += &format!(", {} of {} drafted accepted", number(r.accepted_tokens), number(r.drafted_tokens));
        }
        lines.push(("", text));
    }
    if info.n_requests > LISTED_REQUESTS as u64 {
        lines.push(("", "…: all with --json".into()));
    }
    lines
}
