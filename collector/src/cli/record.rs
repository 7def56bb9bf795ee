//! `ggscope record`: runs a program and records it, as strace runs and traces one. The program's output, exit code and
//! signals are its own; what ggscope has to say goes to stderr, in whole lines.

use super::options;
use super::say;
use super::serving::Options;
use anyhow::{Context, bail};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use ggscope_attach::ingest::Progress;
use ggscope_attach::{
    Blocked, Collector, Ended, Event, LaunchError, Listener, Output, PrivateDir, Untraceable, carries_ggml,
    default_name, die_by, find_program, find_shim, spawn, why_untraceable,
};
use ggscope_internals::estimate::{of_command, of_globs};
use ggscope_server::Sessions;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
EXAMPLES
  # A server, until it stops or Ctrl-C
  ggscope record -o run.ggtrace -- llama-server -m model.gguf --port 8080

  # A benchmark; the file is named after program and time
  ggscope record -- llama-bench -m model.gguf -p 64 -n 64

  # Watched while it runs, in a browser
  ggscope record --serve -- llama-server -m model.gguf --port 8080

  # With the hidden state after every layer
  ggscope record --capture 'l_out-*' -- llama-cli -m model.gguf -p Hello

The exit code is the program's. Programs that it starts are recorded too, each to a file of its own. With --serve, the
page stays when the program has ended, until Ctrl-C or SIGTERM; a signal that ends the program through ggscope ends both.
";

/// How often the progress line is drawn.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether sessions that outlive the program are over.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// After this long a session that outlives the program is worth a line.
const WAIT_QUIETLY: Duration = Duration::from_secs(1);

/// Options of `ggscope record`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where the trace goes [default: <PROGRAM>-<time>.ggtrace]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    capture: options::Options,
    /// Say nothing but what is wrong
    #[arg(short, long)]
    quiet: bool,
    /// Show what the program computes while it computes it, on a page and over HTTP
    #[arg(long)]
    serve: bool,
    #[command(flatten)]
    serving: Options,
    /// Do not open a browser
    #[arg(long, requires = "serve")]
    no_open: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// Runs the program and records it. The exit code is the program's; if a signal ended it, this does not return.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let wanted = if args.serve { args.capture.wanted_for_a_page() } else { args.capture.wanted() }?;
    let captures = !wanted.capture.is_empty();
    let (name, arguments) = args.command.split_first().context("no program was given")?;
    let program = match find_program(name) {
        Ok(program) => program,
        Err(error) => return Ok(refused(&error)),
    };
    let output = output(&args, &program)?;
    // Before any thread is started, so that all of them leave signals to this one, and before there is anything that
    // has to be removed.
    let signals = Blocked::block().context("cannot block signals")?;
    let private = PrivateDir::create().context("cannot create a temporary directory for the socket")?;
    let socket = private.path().join("sock");
    let mut private = Some(private);
    let shim = match find_shim(&mut private) {
        Ok(shim) => shim,
        Err(error) => return Ok(refused(&error.into())),
    };
    let untraceable = why_untraceable(&program);
    if let Some(why) = untraceable {
        say::line(format_args!("{} {why}; it runs untraced", program.display()));
    }
    if args.serving.is_given() && !args.serve {
        bail!("--listen, --auth-token and --allow-host say how the page is served: give --serve too");
    }
    let bound = if args.serve { Some(args.serving.bind()?) } else { None };
    let listener = Listener::bind(&socket)?;
    let estimated = wanted.capture.clone();
    let mut collector = Collector::start(listener, wanted, output).context("cannot start to listen")?;
    let sessions = Arc::new(args.serving.prepare(Sessions::default()));
    let serving = match bound {
        Some(bound) => Some(bound.start(sessions.clone(), !args.no_open, "Ctrl-C ends the program")?),
        None => None,
    };
    let reporter = {
        let shown = serving.is_some().then_some(sessions.clone());
        let reporter = Reporter::new(collector.events().clone(), args.quiet, captures, shown);
        std::thread::Builder::new()
            .name("report".into())
            .spawn(move || reporter.run())
            .context("cannot start a thread")?
    };
    if captures && !args.quiet {
        let cwd = std::env::current_dir().unwrap_or_default();
        let arguments: Vec<_> = arguments.iter().map(PathBuf::from).collect();
        let estimate = of_command(&estimated, &arguments, &cwd).map(|estimate| estimate.to_string());
        if let Some(estimate) = estimate.or_else(|| of_globs(&estimated).map(str::to_owned)) {
            say::line(format_args!("{estimate}"));
        }
    }
    let mut launched = match spawn(&program, name, arguments, &shim, &socket, signals) {
        Ok(launched) => launched,
        Err(error) => return Ok(refused(&error)),
    };
    let (status, asked_to_end) =
        launched.wait(&signals).with_context(|| format!("cannot wait for {}", program.display()))?;
    if status.signal().is_some_and(|signal| !asked_to_end && signal != libc::SIGINT) {
        say::line(format_args!(
            "the program did not end by itself ({status}); what it had computed until then is in the trace"
        ));
    }
    let asked_to_end = await_sessions(&mut collector, &signals, args.quiet) || asked_to_end;
    launched.forget();
    drop(collector);
    let (ended, refusals) = reporter.join().unwrap_or_default();
    conclude(&ended, args.quiet);
    if ended.is_empty() {
        let why = nothing_recorded(&program, untraceable, &refusals);
        if !args.quiet {
            say::line(format_args!("{why}"));
        }
        sessions.notice(format!("{why}. It has ended ({status})."));
    }
    if let Some(serving) = serving.filter(|_| !asked_to_end) {
        say::line(format_args!("the program has ended; the page stays until Ctrl-C"));
        signals.await_end();
        drop(serving);
    }
    // Whoever dies by a signal drops nothing.
    drop(private);
    Ok(exit_like(status))
}

fn refused(error: &LaunchError) -> ExitCode {
    say::line(format_args!("{error}"));
    ExitCode::from(error.exit_code())
}

/// The trace file, checked before anything runs: it would be a pity to notice afterwards.
fn output(args: &Args, program: &Path) -> anyhow::Result<Output> {
    let path = match &args.output {
        Some(path) => path.clone(),
        None => default_name(&program.to_string_lossy()).into(),
    };
    if path.is_dir() {
        bail!("cannot write {}: it is a directory", path.display());
    }
    let there = path.symlink_metadata().is_ok();
    match path.metadata() {
        Ok(of) if !of.is_file() => bail!("cannot write {}: it is not a regular file", path.display()),
        Err(_) if there => bail!("cannot write {}: it is a link to a file that does not exist", path.display()),
        _ => {}
    }
    if there && !args.force && args.output.is_some() {
        bail!("{} exists already: choose another name with -o, or replace it with --force", path.display());
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let must_be_writable = if there { &path } else { dir };
    writable(must_be_writable).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Output::file(path, args.force))
}

fn writable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a valid C string.
    let status = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) };
    if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Waits for sessions that go on after the program's end, those of programs that it started, until they end or a
/// signal says that it is enough. Returns whether one was sent to us alone that says so.
fn await_sessions(collector: &mut Collector, signals: &Blocked, quiet: bool) -> bool {
    let begin = Instant::now();
    let mut asked = false;
    let mut said = quiet;
    loop {
        if collector.open_sessions() == 0 {
            // Whoever has connected in this moment is still let in.
            collector.stop_accepting();
            if collector.open_sessions() == 0 {
                return asked;
            }
        }
        if !said && begin.elapsed() > WAIT_QUIETLY {
            said = true;
            let n = collector.open_sessions();
            say::line(format_args!("the program has ended; {n} that it started run on (Ctrl-C ends the recording)"));
        }
        if let Some(signal) = signals.next(LOOK_EVERY).filter(|s| s.number != libc::SIGCHLD) {
            asked |= signal.asks_to_end() && !signal.to_all;
            collector.stop_sessions();
        }
    }
}

/// Says what was recorded, and what was not although it was wanted: that is said in any case.
fn conclude(sessions: &[Ended], quiet: bool) {
    for ended in sessions {
        if !quiet || ended.outcome.cut.is_some() {
            say::summary(ended);
        }
        say::unmatched(&ended.path);
    }
}

/// Why there is no trace.
fn nothing_recorded(program: &Path, untraceable: Option<Untraceable>, refusals: &[String]) -> String {
    if !refusals.is_empty() {
        return format!("nothing was recorded: {}", refusals.join("; "));
    }
    let program_name = program.display();
    if let Some(why) = untraceable {
        return format!("nothing was recorded: {program_name} {why}");
    }
    let hint = if carries_ggml(program) {
        " (it has ggml inside rather than in a library: docs/linking.md says how to link ggscope in)"
    } else {
        ""
    };
    format!("{program_name} made no ggml call that ggscope can see; nothing was recorded{hint}")
}

fn exit_like(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::from(code as u8),
        (None, Some(signal)) => die_by(signal),
        (None, None) => ExitCode::FAILURE,
    }
}

/// Says what happens while the program runs, and draws the progress line.
///
/// The line is drawn on a terminal that the program does not write its answers to, because those come in pieces of a
/// line. The cursor stays at its beginning, so that what the program writes to stderr takes its place.
struct Reporter {
    events: Receiver<Event>,
    quiet: bool,
    draws: bool,
    /// Whether it is still to be said how much is captured of a token.
    captures: bool,
    sessions: Vec<Arc<Progress>>,
    /// Why programs were not recorded.
    refusals: Vec<String>,
    /// Where sessions are shown, if they are.
    shown: Option<Arc<Sessions>>,
}

impl Reporter {
    fn new(events: Receiver<Event>, quiet: bool, captures: bool, shown: Option<Arc<Sessions>>) -> Reporter {
        let draws = !quiet && std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
        Reporter { events, quiet, draws, captures: captures && !quiet, sessions: vec![], refusals: vec![], shown }
    }

    /// Returns the sessions that were recorded, and why others were not, when all are over.
    fn run(mut self) -> (Vec<Ended>, Vec<String>) {
        let mut ended = vec![];
        loop {
            let event = if self.draws || self.captures {
                self.events.recv_timeout(PROGRESS_EVERY)
            } else {
                self.events.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match event {
                Ok(Event::Ended(session)) => ended.push(*session),
                Ok(event) => self.say(event),
                Err(RecvTimeoutError::Timeout) => {
                    self.say_captured();
                    self.draw();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.clear();
        self.say_captured();
        (ended, self.refusals)
    }

    fn say(&mut self, event: Event) {
        self.clear();
        match &event {
            Event::Attached { hello, path, .. } if !self.sessions.is_empty() && !self.quiet => {
                say::line(format_args!("{} (pid {}) is recorded to {}", hello.exe, hello.pid, path.display()));
            }
            Event::Refused(error) if error.is_known() || error.is_hang_up() => {}
            Event::Refused(error) => say::line(format_args!("a program is not recorded: {error}")),
            Event::Trouble { path, trouble } => say::trouble(path, trouble),
            Event::Attached { .. } | Event::Ended(_) => {}
        }
        if let Event::Refused(error) = &event {
            let why = error.to_string();
            if let Some(shown) = self.shown.as_ref().filter(|_| !error.is_hang_up()) {
                shown.notice(format!("A program is not recorded: {why}."));
            }
            if !self.refusals.contains(&why) {
                self.refusals.push(why);
            }
        }
        if let Event::Attached { progress, growing, control, .. } = event {
            self.sessions.push(progress);
            if let Some(shown) = &self.shown {
                shown.add(growing, control);
            }
        }
    }

    /// What a token really takes, as soon as it is known.
    fn say_captured(&mut self) {
        let bytes = |session: &Arc<Progress>| session.captured_of_token.load(Ordering::Relaxed);
        if let Some(bytes) = self.sessions.iter().map(bytes).find(|&bytes| self.captures && bytes > 0) {
            self.captures = false;
            self.clear();
            say::line(format_args!("captured {} of one token", say::bytes(bytes)));
        }
    }

    fn draw(&self) {
        if !self.draws {
            return;
        }
        let sum = |count: fn(&Progress) -> &AtomicU64| -> u64 {
            self.sessions.iter().map(|session| count(session).load(Ordering::Relaxed)).sum()
        };
        if !self.sessions.is_empty() {
            say::progress(format_args!(
                "{} tokens, {} evaluations, {}",
                say::thousands(sum(|p| &p.tokens)),
                say::thousands(sum(|p| &p.evaluations)),
                say::bytes(sum(|p| &p.file_bytes))
            ));
        }
    }

    fn clear(&self) {
        if self.draws && !self.sessions.is_empty() {
            say::clear_progress();
        }
    }
}
