//! `ggscope open`: serves what is in traces, until Ctrl-C.

use super::say;
use crate::server::{Server, Sessions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  # Ask for the ten slowest operators of layer 5
  ggscope open run.ggtrace
  curl 'http://127.0.0.1:7437/api/v1/sessions/0/operators?layer=5&sort=-duration&limit=10'

  # Let other machines ask who know the secret
  ggscope open run.ggtrace other.ggtrace --listen 0.0.0.0:7437 --token \"$SECRET\"

/api/v1/openapi.json describes all questions; /metrics is for Prometheus.
";

/// Options of `ggscope open`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The traces
    #[arg(required = true)]
    file: Vec<PathBuf>,
    /// Where to answer; if the port is taken, the system chooses another
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7437")]
    listen: SocketAddr,
    /// A secret that has to come with every request; any address but loopback needs one
    #[arg(long, value_name = "SECRET", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    token: Option<String>,
}

/// Serves the traces.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let sessions = Sessions::open(&args.file)?;
    for warning in sessions.warnings() {
        say::line(format_args!("{warning}"));
    }
    let server = Server::bind(args.listen, args.token)?;
    let address = server.address();
    if args.listen.port() != 0 && address.port() != args.listen.port() {
        say::line(format_args!("port {} is taken: port {} is used", args.listen.port(), address.port()));
    }
    say::line(format_args!("answering at http://{address}/api/v1/sessions (Ctrl-C ends it)"));
    server.run(sessions)?;
    Ok(ExitCode::SUCCESS)
}
