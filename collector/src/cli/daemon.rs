//! `ggscope daemon`: waits for programs that attach by themselves, and records each to a file of its own.

use super::options;
use super::say;
use super::serving::Options;
use anyhow::{Context, bail};
use crossbeam::channel::Receiver;
use ggscope_attach::{Blocked, Collector, Event, Listener, Output, find_shim};
use ggscope_format::session::{SOCKET_ENV, socket_path};
use ggscope_query::ending::of_process;
use ggscope_server::Sessions;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const EXAMPLES: &str = "\
EXAMPLES
  # In one terminal
  ggscope daemon -d traces

  # In others: these stream to the daemon, or run untraced if there is none
  LD_PRELOAD=/usr/local/lib/libggscope.so llama-server -m model.gguf

What they compute is shown while they compute it, at the address that is said at the start (--no-serve: it is not).
Ctrl-C lets go of all programs, which run on, and finishes their files.
";

/// Options of `ggscope daemon`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where the traces go, each named after its program and the time
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    capture: options::Options,
    /// Only record: no page, and no answers over HTTP
    #[arg(long, conflicts_with_all = ["listen", "token", "allow_host"])]
    no_serve: bool,
    #[command(flatten)]
    serving: Options,
}

/// Collects until a signal ends it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let wanted = args.capture.wanted_for_a_page()?;
    let dir = std::path::absolute(&args.dir).with_context(|| format!("cannot write to {}", args.dir.display()))?;
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // SAFETY: takes nothing and always succeeds.
    let socket = socket_path(unsafe { libc::getuid() });
    let signals = Blocked::block().context("cannot block signals")?;
    let listener = Listener::bind(&socket)?;
    let bound = if args.no_serve { None } else { Some(args.serving.bind()?) };
    let sessions = bound.is_some().then(|| Arc::new(args.serving.prepare(Sessions::default())));
    let mut collector =
        Collector::start(listener, wanted, Output::directory(dir.clone())).context("cannot start to listen")?;
    say::line(format_args!("traces go to {}, the socket is {}", dir.display(), socket.display()));
    // Holds a copy of the shim if there is no better place for one, as long as we run.
    let mut private = None;
    match find_shim(&mut private) {
        Ok(shim) => say::line(format_args!(
            "programs attach with: {}export LD_PRELOAD={}",
            socket_export(&socket),
            shim.display()
        )),
        Err(error) => say::line(format_args!("programs attach if libggscope.so is loaded into them, but: {error}")),
    }
    let serving = match (bound, &sessions) {
        (Some(bound), Some(sessions)) => {
            Some(bound.start(sessions.clone(), false, "it shows what programs compute")?)
        }
        _ => None,
    };
    let events = collector.events().clone();
    let reporter =
        std::thread::Builder::new().name("report".into()).spawn(move || report(&events, sessions.as_deref()));
    let reporter = reporter.context("cannot start a thread")?;
    signals.await_end();
    collector.stop_accepting();
    collector.stop_sessions();
    while collector.open_sessions() > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop((collector, serving, private));
    if reporter.join().is_err() {
        bail!("the thread that reports has failed; the traces are complete");
    }
    Ok(ExitCode::SUCCESS)
}

/// What else a program's environment needs to find a socket that is not where shims look.
fn socket_export(socket: &std::path::Path) -> String {
    match std::env::var_os(SOCKET_ENV) {
        Some(_) => format!("export {SOCKET_ENV}={} ", socket.display()),
        None => String::new(),
    }
}

fn report(events: &Receiver<Event>, sessions: Option<&Sessions>) {
    for event in events {
        match event {
            Event::Attached { hello, path, growing, control, .. } => {
                if let Some(sessions) = sessions {
                    sessions.add(growing, control);
                }
                say::line(format_args!("{} (pid {}) attached, to {}", hello.exe, hello.pid, path.display()));
            }
            Event::Refused(error) if error.is_hang_up() => {}
            Event::Refused(error) => {
                say::line(format_args!("a program did not attach: {error}"));
                if let Some(sessions) = sessions {
                    sessions.notice(format!("A program did not attach: {error}."));
                }
            }
            Event::Trouble { path, trouble } => say::trouble(&path, &trouble),
            Event::Ended(ended) => {
                say::line(format_args!("{} (pid {}) detached", ended.hello.exe, ended.hello.pid));
                let told = ended.outcome.ending.map(|ending| of_process(&ended.hello.exe, ending));
                if let Some(told) = told.filter(|told| told.unexpected) {
                    say::line(format_args!("{}; what it had computed until then is in the trace", told.text));
                }
                say::summary(&ended);
                say::unmatched(&ended.path);
            }
        }
    }
}
