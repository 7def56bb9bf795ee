//! The command line: one file a command, which holds its options, its help and what it does.

mod analytics;
mod arch;
mod attention;
mod contexts;
mod daemon;
mod diff;
mod dump;
mod experts;
mod export;
mod generate;
mod graph;
mod heads;
mod info;
mod inspect;
mod layers;
mod leaves;
mod open;
mod options;
mod output;
mod quant;
mod record;
mod say;
mod serving;
mod suggest;
mod terminal;
mod text;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  # Record a server until it stops or Ctrl-C, then look at what it did
  ggscope record -o run.ggtrace -- llama-server -m model.gguf --port 8080
  ggscope info run.ggtrace
  ggscope dump run.ggtrace --token 12 --layer 5 --op MUL_MAT

  # Watch it while it runs, in a browser
  ggscope record --serve -- llama-server -m model.gguf --port 8080

  # Record every program that attaches by itself
  ggscope daemon -d traces
  LD_PRELOAD=/usr/local/lib/libggscope.so llama-cli -m model.gguf -p Hello
";

/// See what a llama.cpp process really does: every operator of every token.
#[derive(Debug, Parser)]
#[command(name = "ggscope", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a program and record what it computes
    Record(record::Args),
    /// Record every program that attaches by itself
    Daemon(daemon::Args),
    /// Summarize a trace
    Info(info::Args),
    /// Show what a model is and costs, from its GGUF file alone
    Inspect(inspect::Args),
    /// Show a model's architecture as a graph, with graph analytics
    Arch(arch::Args),
    /// Show what quantisation did to a model's tensors
    Quant(quant::Args),
    /// Print every operator that ran
    Dump(dump::Args),
    /// List inputs, caches and weights, and the operators that use them
    Leaves(leaves::Args),
    /// Show what a token looked at, head by head
    Attention(attention::Args),
    /// Measure what each head does over a real text
    Heads(heads::Args),
    /// Show hidden states layer by layer, and the model's answer at each
    Layers(layers::Args),
    /// Show which experts tokens use, and what a cache of them would hit
    Experts(experts::Args),
    /// Print a computation graph, or one layer of it
    Graph(graph::Args),
    /// Write a trace in the format of another program
    Export(export::Args),
    /// Compare what a token costs in two traces
    Diff(diff::Args),
    /// Show traces and models in a browser and over HTTP
    Open(open::Args),
    /// Write shell completions and man pages
    #[command(hide = true)]
    Generate(generate::Args),
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        terminal::error_lines(&format!("ggscope: thread {}: {panic}", thread.name().unwrap_or("unnamed")));
    }));
    let cli = Cli::try_parse().unwrap_or_else(|error| refuse(&error));
    let done = match cli.command {
        Command::Record(args) => record::run(args),
        Command::Daemon(args) => daemon::run(args),
        Command::Info(args) => info::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Arch(args) => arch::run(args),
        Command::Quant(args) => quant::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Leaves(args) => leaves::run(args),
        Command::Attention(args) => attention::run(args),
        Command::Heads(args) => heads::run(args),
        Command::Layers(args) => layers::run(args),
        Command::Experts(args) => experts::run(args),
        Command::Graph(args) => graph::run(args),
        Command::Export(args) => export::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Open(args) => open::run(args),
        Command::Generate(args) => generate::run(&args),
    };
    done.unwrap_or_else(|error| {
        if terminal::is_closed() {
            return ExitCode::SUCCESS;
        }
        say::line(format_args!("{}", with_causes(&error)));
        ExitCode::FAILURE
    })
}

/// The error and its causes, except those that the one before has told already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Ends a call that makes no sense, with what is wrong with it. It repeats what was given, which may be anything.
fn refuse(error: &clap::Error) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    let args: Vec<_> = std::env::args_os().collect();
    let hint = suggest::hint(&args, error).map_or(String::new(), |hint| format!("\n\nhint: {hint}"));
    terminal::error_lines(&format!("{}{hint}", error.render().to_string().trim_end()));
    std::process::exit(error.exit_code());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_each_cause_once() {
        let absent = std::io::Error::other("no such file");
        let told = ggscope_trace::TraceError::Open { doing: "open", path: "a.ggtrace".into(), source: absent };
        assert_eq!(with_causes(&told.into()), "cannot open a.ggtrace: no such file");
        let context = anyhow::anyhow!("no such file").context("cannot write b");
        assert_eq!(with_causes(&context), "cannot write b: no such file");
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_first_line_of_every_help_fits_and_is_no_sentence() {
        use clap::CommandFactory;
        for command in Cli::command().get_subcommands() {
            let about = command.get_about().unwrap_or_else(|| panic!("{} has no help", command.get_name())).to_string();
            assert!(about.len() <= 72 && !about.ends_with('.') && !about.contains('\n'), "{about}");
        }
    }

    #[test]
    fn options_that_would_have_no_effect_are_refused() {
        use clap::Parser;
        let is_taken = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(is_taken("ggscope attention a.ggtrace --vectors --json"));
        for other in ["--csv", "--png", "--json --tokens 0..9", "--json --against b.ggtrace"] {
            assert!(!is_taken(&format!("ggscope attention a.ggtrace --vectors {other}")), "{other}");
        }
        assert!(is_taken("ggscope experts a.ggtrace --cache 8,16") && !is_taken("ggscope experts a.ggtrace --cache 0"));
    }
}
