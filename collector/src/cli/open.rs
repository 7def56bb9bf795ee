//! `ggscope open`: shows what is in traces and models, until Ctrl-C.

use super::say;
use super::serving::Options;
use anyhow::{Context, bail};
use ggscope_attach::Blocked;
use ggscope_model::gguf::is_gguf;
use ggscope_server::Sessions;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

const EXAMPLES: &str = "\
EXAMPLES
  # Look at a trace in a browser; one that is still being written grows there
  ggscope open run.ggtrace

  # What is in a model: architecture, memory, quantisation; with a trace also what a run did with each part
  ggscope open model.gguf
  ggscope open run.ggtrace --model model.gguf

  # Ask for the ten slowest operators of layer 5
  ggscope open run.ggtrace --no-open
  curl 'http://127.0.0.1:7437/api/v1/sessions/0/operators?layer=5&sort=-duration&limit=10'

  # Let other machines ask who know the secret
  ggscope open run.ggtrace other.ggtrace --listen 0.0.0.0:7437 --auth-token \"$SECRET\"

  # The same under a name that is not this machine's own
  ggscope open run.ggtrace --listen 0.0.0.0:7437 --auth-token \"$SECRET\" --allow-host traces.example

/api/v1/openapi.json describes all questions; /metrics is for Prometheus.
";

/// Options of `ggscope open`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Traces, and GGUF files of models
    #[arg(required = true)]
    file: Vec<PathBuf>,
    #[command(flatten)]
    serving: Options,
    /// Do not open a browser
    #[arg(long)]
    no_open: bool,
    /// A GGUF file that a trace is of: the page shows what is in it, and which parts are in memory now; can be given more
    /// than once
    #[arg(long, value_name = "FILE")]
    model: Vec<PathBuf>,
}

/// Serves the traces.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(other) = args.model.iter().find(|model| !is_gguf(model)) {
        bail!("--model {}: there is no GGUF file", other.display());
    }
    let (named, traces): (Vec<PathBuf>, Vec<PathBuf>) = args.file.into_iter().partition(|path| is_gguf(path));
    let models = named.into_iter().chain(args.model).collect();
    let sessions = args.serving.prepare(Sessions::open(&traces)?.with_models(models));
    for warning in sessions.warnings() {
        say::line(format_args!("{warning}"));
    }
    let bound = args.serving.bind()?;
    // Before any thread is started, so that all of them leave signals to this one.
    let signals = Blocked::block().context("cannot block signals")?;
    let serving = bound.start(Arc::new(sessions), !args.no_open, "Ctrl-C ends it")?;
    signals.await_end();
    drop(serving);
    Ok(ExitCode::SUCCESS)
}
