//! The Unix socket that shims connect to. Only processes of the same user may; a socket that a dead collector left is
//! replaced, a living one's is not.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why no socket can be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another collector lives there.
    #[error("another ggscope daemon listens on {0}: stop it first, or choose another socket with GGSCOPE_SOCKET")]
    Taken(PathBuf),
    /// Somebody else could replace the socket.
    #[error("will not listen in {0}: the directory belongs to another user or others may write to it")]
    Unsafe(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A listening socket, removed when dropped.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens on `path`; a missing directory is made, for this user only.
    ///
    /// # Errors
    /// When another collector listens there, or the place is not safe, or the system refuses.
    pub fn bind(path: &Path) -> Result<Listener, ListenError> {
        let io_error = |source| ListenError::Io { path: path.to_owned(), source };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error)?;
            check_directory(dir).map_err(io_error)?.then_some(()).ok_or_else(|| ListenError::Unsafe(dir.to_owned()))?;
        }
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if UnixStream::connect(path).is_ok() {
                    return Err(ListenError::Taken(path.to_owned()));
                }
                std::fs::remove_file(path).and_then(|()| UnixListener::bind(path))
            }
            bound => bound,
        };
        let socket = socket.map_err(io_error)?;
        socket.set_nonblocking(true).map_err(io_error)?;
        Ok(Listener { socket, path: path.to_owned() })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether nobody but us (and root) can replace files in `dir`; a sticky directory like `/tmp` is fine.
fn check_directory(dir: &Path) -> io::Result<bool> {
    let metadata = std::fs::metadata(dir)?;
    let sticky = metadata.mode() & libc::S_ISVTX != 0;
    let ours = metadata.uid() == uid() || metadata.uid() == 0;
    Ok(sticky || (ours && metadata.mode() & 0o022 == 0))
}

/// Our user id.
pub(super) fn uid() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::getuid() }
}

/// User and process at the other end of a connection, as the kernel knows them.
pub(super) fn peer(stream: &UnixStream) -> io::Result<libc::ucred> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the buffer is a `ucred` of just the stated length.
    let status = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    if status == 0 { Ok(credentials) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_living_collectors_socket_is_left_alone_and_a_dead_ones_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/daemon.sock");
        let first = Listener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(ListenError::Taken(_))));
        // As kill -9 leaves it: the socket file without a listener.
        let dead = dir.path().join("dead.sock");
        drop(UnixListener::bind(&dead).unwrap());
        assert!(dead.exists());
        let replaced = Listener::bind(&dead).unwrap();
        assert!(UnixStream::connect(&dead).is_ok());
        drop(replaced);
        assert!(!dead.exists());
        assert!(UnixStream::connect(first.path()).is_ok());
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Listener::bind(&open.join("sock")), Err(ListenError::Unsafe(_))));
    }

    #[test]
    fn the_kernel_says_who_connects() {
        let (a, _b) = UnixStream::pair().unwrap();
        let credentials = peer(&a).unwrap();
        assert_eq!((credentials.uid, credentials.pid as u32), (uid(), std::process::id()));
    }
}
