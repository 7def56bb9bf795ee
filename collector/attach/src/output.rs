//! Which file a session is written to: the one that the user named (and `.2`, `.3`, … for further processes), or one
//! named after the program and the time.

use ggscope_trace::{Recording, TraceError, TraceWriter};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};

/// Where sessions go.
#[derive(Debug)]
pub struct Output {
    place: Place,
    /// Files that sessions have; they must not replace each other's where replacing is allowed.
    taken: Mutex<Vec<PathBuf>>,
}

#[derive(Debug)]
enum Place {
    File { path: PathBuf, force: bool },
    Directory(PathBuf),
}

impl Output {
    /// All sessions of `ggscope record`: the first to `path`, and the others beside it. Existing files are replaced
    /// only with `force`.
    pub fn file(path: PathBuf, force: bool) -> Output {
        Output { place: Place::File { path, force }, taken: Mutex::default() }
    }

    /// All sessions of a daemon, each in a file of its own.
    pub fn directory(dir: PathBuf) -> Output {
        Output { place: Place::Directory(dir), taken: Mutex::default() }
    }

    /// Creates the file of one session.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(&self, recording: &Recording) -> Result<TraceWriter, TraceError> {
        let (first, force) = match &self.place {
            Place::File { path, force } => (path.clone(), *force),
            Place::Directory(dir) => (dir.join(default_name(&recording.hello.exe)), false),
        };
        let mut taken = self.taken.lock();
        let mut number = 1;
        loop {
            let path = numbered(&first, number);
            number += 1;
            if taken.contains(&path) {
                continue;
            }
            match TraceWriter::create(&path, force, recording) {
                // The named file was checked before the program was started: who has it now came in between.
                Err(TraceError::Exists(_)) if number < 10_000 => {}
                created => {
                    if force {
                        taken.push(path);
                    }
                    return created;
                }
            }
        }
    }
}

/// `run.ggtrace`, `run.2.ggtrace`, `run.3.ggtrace`, ….
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    match path.extension() {
        Some(extension) => path.with_extension(format!("{number}.{}", extension.to_string_lossy())),
        None => path.with_extension(number.to_string()),
    }
}

/// `<program>-<YYYYmmdd-HHMMSS>.ggtrace`, local time.
pub fn default_name(program: &str) -> String {
    let name = Path::new(program).file_name().map_or_else(|| "program".into(), |name| name.to_string_lossy());
    let mut now = 0;
    // SAFETY: `tm` is plain data, and both calls only write to what they are given.
    let t = unsafe {
        let mut t: libc::tm = std::mem::zeroed();
        libc::time(&raw mut now);
        libc::localtime_r(&raw const now, &raw mut t);
        t
    };
    let (year, month) = (t.tm_year + 1900, t.tm_mon + 1);
    let (day, hour, minute, second) = (t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
    format!("{name}-{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}.ggtrace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_processes_get_files_beside_the_first() {
        assert_eq!(numbered(Path::new("a/run.ggtrace"), 1), Path::new("a/run.ggtrace"));
        assert_eq!(numbered(Path::new("a/run.ggtrace"), 2), Path::new("a/run.2.ggtrace"));
        assert_eq!(numbered(Path::new("a/run"), 3), Path::new("a/run.3"));
        assert_eq!(numbered(Path::new("a/v1.5.ggtrace"), 2), Path::new("a/v1.5.2.ggtrace"));
    }

    #[test]
    fn two_sessions_never_share_a_file_and_none_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.ggtrace");
        std::fs::write(dir.path().join("run.2.ggtrace"), "keep me").unwrap();
        let output = Output::file(path.clone(), false);
        let names: Vec<PathBuf> =
            (0..2).map(|_| output.create(&Recording::default()).unwrap().path().to_owned()).collect();
        assert_eq!(names, [path, dir.path().join("run.3.ggtrace")]);
        assert_eq!(std::fs::read(dir.path().join("run.2.ggtrace")).unwrap(), b"keep me");
        let forced = Output::file(dir.path().join("run.ggtrace"), true);
        forced.create(&Recording::default()).unwrap();
        assert_eq!(forced.create(&Recording::default()).unwrap().path(), dir.path().join("run.2.ggtrace"));
    }

    #[test]
    fn a_default_name_says_what_and_when() {
        let name = default_name("/usr/bin/llama-server");
        let digits: String = name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(digits, "llama-server-00000000-000000.ggtrace");
    }
}
