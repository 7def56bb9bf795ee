//! Starts a program so that it attaches, passes signals on to it and waits for its end. The program keeps our terminal,
//! process group, standard streams and everything else it would have without us.

use super::signals::Blocked;
use crate::shim::ShimError;
use ggscope_format::session::SOCKET_ENV;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

const PRELOAD_ENV: &str = "LD_PRELOAD";
/// As execvp has it when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Why a program is not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It is not there.
    #[error("cannot start {}: no such program", .0.display())]
    NotFound(PathBuf),
    /// It is there, but cannot be executed.
    #[error("cannot start {program}: {source}")]
    NotExecutable {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is nothing to put into it.
    #[error(transparent)]
    Shim(#[from] ShimError),
}

impl LaunchError {
    /// What a shell would exit with.
    pub fn exit_code(&self) -> u8 {
        match self {
            LaunchError::NotFound(_) => 127,
            LaunchError::NotExecutable { .. } => 126,
            LaunchError::Shim(_) => 1,
        }
    }
}

/// Finds the program as execvp does: along `PATH` unless its name has a slash.
///
/// # Errors
/// When it is not there or cannot be executed.
pub fn find_program(name: &OsStr) -> Result<PathBuf, LaunchError> {
    if name.is_empty() {
        return Err(LaunchError::NotFound(name.into()));
    }
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(LaunchError::NotFound(path))
            }
            Err(source) => Err(LaunchError::NotExecutable { program: path, source }),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut refused = None;
    for dir in std::env::split_paths(&path) {
        let candidate = if dir.as_os_str().is_empty() { Path::new(".").join(name) } else { dir.join(name) };
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                refused.get_or_insert(LaunchError::NotExecutable { program: candidate, source });
            }
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| LaunchError::NotFound(name.into())))
}

fn executable(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a valid C string.
    let status = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A program that runs.
#[derive(Debug)]
pub struct Launched(Child);

/// Starts the program at `path` under the name `name`, with the shim in front of what is preloaded anyway.
///
/// # Errors
/// When the system does not start it.
pub fn spawn(
    path: &Path,
    name: &OsStr,
    args: &[OsString],
    shim: &Path,
    socket: &Path,
    signals: Blocked,
) -> Result<Launched, LaunchError> {
    let mut preload = shim.as_os_str().to_owned();
    if let Some(others) = std::env::var_os(PRELOAD_ENV).filter(|others| !others.is_empty()) {
        preload.push(":");
        preload.push(others);
    }
    let mut command = Command::new(path);
    command.arg0(name).args(args).env(PRELOAD_ENV, preload).env(SOCKET_ENV, socket);
    // SAFETY: between fork and exec it only sets the signal mask, which is async-signal-safe.
    unsafe { command.pre_exec(move || signals.restore()) };
    match command.spawn() {
        Ok(child) => Ok(Launched(child)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LaunchError::NotFound(path.to_owned())),
        Err(source) => Err(LaunchError::NotExecutable { program: path.to_owned(), source }),
    }
}

impl Launched {
    /// Waits for the program's end. What the terminal sends (Ctrl-C, Ctrl-\, a hang-up) reaches the program without us;
    /// what is sent to us alone is passed on. Returns with its status whether it was asked to end in that way. Others can
    /// still ask how it ended, until [`Launched::forget`].
    ///
    /// # Errors
    /// When the system cannot say how it ended.
    pub fn wait(&mut self, signals: &Blocked) -> io::Result<(ExitStatus, bool)> {
        let mut asked = false;
        loop {
            // Another child's SIGCHLD can hide that of this one, so it is asked for once in a while too.
            let signal = signals.next(Duration::from_secs(1)).filter(|s| s.number != libc::SIGCHLD && !s.to_all);
            asked |= signal.is_some_and(|signal| signal.asks_to_end());
            // Before passing anything on: while it is not reaped, its number is nobody else's.
            if let Some(status) = self.status()? {
                return Ok((status, asked));
            }
            if let Some(signal) = signal {
                // SAFETY: plain numbers.
                unsafe { libc::kill(self.0.id() as libc::pid_t, signal.number) };
            }
        }
    }

    /// How it has ended, if it has.
    fn status(&self) -> io::Result<Option<ExitStatus>> {
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `info` is plain data, and the call writes only to it.
        let (waited, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            (libc::waitid(libc::P_PID, self.0.id(), &raw mut info, options), info)
        };
        if waited != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: these are the fields of a child's end, zero if there was none.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        let dumped = if info.si_code == libc::CLD_DUMPED { 0x80 } else { 0 };
        let raw = if info.si_code == libc::CLD_EXITED { (status & 0xff) << 8 } else { status | dumped };
        Ok((pid != 0).then(|| ExitStatus::from_raw(raw)))
    }

    /// Lets the system forget a program that has ended.
    pub fn forget(mut self) {
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        assert!(find_program(OsStr::new("sh")).unwrap().ends_with("sh"));
        assert_eq!(find_program(OsStr::new("/bin/sh")).unwrap(), Path::new("/bin/sh"));
        for absent in ["no-such-program-anywhere", "/no/such", "/etc/passwd/x", ""] {
            assert_eq!(find_program(OsStr::new(absent)).unwrap_err().exit_code(), 127, "{absent}");
        }
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "text").unwrap();
        std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
        for path in [plain.as_os_str(), dir.path().as_os_str()] {
            assert_eq!(find_program(path).unwrap_err().exit_code(), 126, "{path:?}");
        }
    }
}
