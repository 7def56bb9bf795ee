//! Runs llama.cpp's own loader on a file, in a child process: what `ffi/loader.cpp` prints, and how it ended. The child has
//! limits of memory and time, because the file may be hostile and llama.cpp believes more of it than ggscope does.

use crate::gguf::shown;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The program, which build.rs makes of `ffi/loader.cpp` and the vendored llama.cpp.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/loader"));

/// Seconds of processor time that a load may take. A vocabulary of 256 k tokens takes less than one.
const SECONDS: u64 = 60;
/// Bytes that are read of what the loader says.
const MOST_SAID: u64 = 1 << 20;

/// How a load went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// The errors that llama.cpp logged, one line each.
    pub(super) errors: Vec<String>,
    /// Tensors that it did not ask for.
    pub(super) unused: Vec<String>,
    /// The model was loaded.
    pub(super) loaded: bool,
    /// A context was made for it.
    pub(super) ready: bool,
    /// The signal that ended the loader.
    pub(super) signal: Option<i32>,
    /// It said so and ended in order.
    pub(super) answered: bool,
}

/// What a file is loaded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// A model, with a context for it.
    Model,
    /// A tokenizer.
    Vocabulary,
    /// A file of the format.
    Header,
}

impl As {
    fn name(self) -> &'static str {
        match self {
            As::Model => "model",
            As::Vocabulary => "vocabulary",
            As::Header => "header",
        }
    }
}

/// What to load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    /// The file, or the first of several.
    pub(super) path: &'a Path,
    /// What it is.
    pub(super) what: As,
    /// Bytes that it may take.
    pub(super) memory: u64,
    /// The smallest alignment of its files.
    pub(super) alignment: u64,
}

/// Loads a file, or those that a model was split into.
///
/// # Errors
/// When the loader cannot be run.
pub(super) fn load(load: &Load) -> std::io::Result<Report> {
    let mut command = Command::new(format!("/proc/self/fd/{}", program()?.as_raw_fd()));
    command.arg(load.path).args([load.memory, SECONDS, load.alignment].map(|n| n.to_string())).arg(load.what.name());
    // No variable of this process changes what llama.cpp does, and it starts no debugger on itself.
    command.env_clear().env("GGML_NO_BACKTRACE", "1").env("OMP_NUM_THREADS", "1");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut said = vec![];
    let read = child.stdout.take().expect("it is piped").take(MOST_SAID).read_to_end(&mut said);
    if read.is_err() || said.len() as u64 == MOST_SAID {
        child.kill()?;
    }
    let status = child.wait()?;
    read?;
    let mut report = parse(&said);
    report.signal = status.signal();
    report.answered = matches!(status.code(), Some(0..=2));
    Ok(report)
}

fn parse(said: &[u8]) -> Report {
    let mut report = Report::default();
    for line in said.split(|&byte| byte == b'\n').map(shown) {
        let (word, text) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "error" => report.errors.push(text.trim().to_owned()),
            "unused" => report.unused.push(text.to_owned()),
            "loaded" => report.loaded = true,
            "ready" => report.ready = true,
            _ => {}
        }
    }
    report
}

/// The program as an open file that can be executed.
fn program() -> std::io::Result<&'static File> {
    static OPENED: OnceLock<File> = OnceLock::new();
    if let Some(file) = OPENED.get() {
        return Ok(file);
    }
    // SAFETY: the name is a C string, and the result is checked.
    let fd = unsafe { libc::memfd_create(c"ggscope-loader".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nothing else owns it.
    let mut written = unsafe { File::from_raw_fd(fd) };
    written.write_all(PROGRAM)?;
    // Nothing that is open for writing can be executed.
    let opened = File::open(format!("/proc/self/fd/{fd}"))?;
    drop(written);
    Ok(OPENED.get_or_init(|| opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_prints_is_understood() {
        let report = parse(b"error a: b\nunused blk.0.x\nunused x\xff\nloaded \nsomething else\n");
        assert_eq!(report.errors, ["a: b"]);
        assert_eq!(report.unused, ["blk.0.x", "x\\xff"]);
        assert!(report.loaded && !report.ready);
    }

    fn loaded(path: &str, memory: u64) -> Report {
        load(&Load { path: Path::new(path), what: As::Model, memory, alignment: 32 }).unwrap()
    }

    #[test]
    fn the_demo_model_is_loaded_and_this_file_is_not() {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");
        let report = loaded(demo, 1 << 30);
        assert!(report.loaded && report.ready && report.answered, "{report:?}");
        let report = loaded(file!(), 1 << 30);
        assert!(!report.loaded && report.answered && !report.errors.is_empty(), "{report:?}");
    }

    #[test]
    fn a_load_that_needs_more_memory_than_it_may_take_ends() {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");
        let report = loaded(demo, 1 << 20);
        assert!(!report.loaded, "{report:?}");
    }
}
