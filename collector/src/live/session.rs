//! One session: from the connection of a shim to the end of its process, and the file that comes of it.

use super::handshake::{Handshake, HandshakeError, Wanted};
use super::output::Output;
use super::segment::{MappedSegment, SegmentNameError};
use crate::ingest::{self, Outcome, Progress, Sink, Trouble};
use crate::trace::{Growing, TraceError, TraceWriter};
use ggscope_format::session::Hello;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// While somebody looks on, what the host has said is fetched after this time at the latest.
const WATCHED_PAUSE: Duration = Duration::from_millis(40);

/// Why a process that connected is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It did not say what it should.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Its shared memory is not as it should be.
    #[error(transparent)]
    Segment(#[from] SegmentNameError),
    /// The file cannot be created.
    #[error(transparent)]
    File(#[from] TraceError),
}

/// A session that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Whose it was.
    pub hello: Hello,
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub outcome: Outcome,
}

/// A process that is attached and has its file.
pub(super) struct Session {
    pub(super) hello: Hello,
    pub(super) path: PathBuf,
    pub(super) growing: Arc<Growing>,
    writer: TraceWriter,
    tokens: bool,
    segment: MappedSegment,
    host: Host,
}

impl Session {
    /// Does the handshake with whoever connected.
    pub(super) fn attach(stream: UnixStream, wanted: &Wanted, output: &Output) -> Result<Session, SessionError> {
        let (mut handshake, hello, pid) = Handshake::begin(stream)?;
        let segment = MappedSegment::open(&handshake.ask(wanted)?)?;
        // Before the shim hears that it is attached: without a file there is nothing to attach to.
        let mut writer = output.create(&wanted.recording(hello.clone()))?;
        let path = writer.path().to_owned();
        let attached =
            writer.share().map_err(SessionError::from).and_then(|growing| Ok((growing, handshake.attach()?)));
        match attached {
            Ok((growing, stream)) => {
                let host = Host::new(stream, pid);
                Ok(Session { hello, path, growing, writer, tokens: wanted.tokens, segment, host })
            }
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Records until the process ends or `stop` is set.
    pub(super) fn run(self, progress: &Progress, stop: &AtomicBool, report: &(dyn Fn(Trouble) + Sync)) -> Ended {
        let Session { hello, path, growing, writer, tokens, segment, mut host } = self;
        // Whoever wants to see it keeps it; if nobody does, it need not be shown.
        let seen = Arc::downgrade(&growing);
        drop(growing);
        let sink = Sink { writer, hello: &hello, tokens, progress, report };
        let wait = |pause: Duration| {
            let watched = seen.upgrade().is_some_and(|growing| growing.is_watched());
            let pause = if watched { pause.min(WATCHED_PAUSE) } else { pause };
            stop.load(Ordering::Relaxed) || host.ended_within(pause)
        };
        let outcome = ingest::run(segment.segment(), sink, wait);
        Ended { hello, path, outcome }
    }
}

/// The traced process, seen from outside.
struct Host {
    stream: UnixStream,
    /// Readable when the process has ended. The connection alone can outlive it, in a child that has inherited it.
    process: Option<File>,
}

impl Host {
    fn new(stream: UnixStream, pid: u32) -> Host {
        // The socket is only listened to from here on, and never waited for without poll.
        let _ = stream.set_nonblocking(true);
        let process = (pid > 0).then(|| {
            // SAFETY: plain numbers in, a new descriptor or -1 out.
            let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
            // SAFETY: the descriptor is new and nobody else's.
            (fd >= 0).then(|| unsafe { File::from_raw_fd(fd as i32) })
        });
        Host { stream, process: process.flatten() }
    }

    /// Sleeps for at most `pause`, and returns whether the process has ended or hung up.
    fn ended_within(&mut self, pause: Duration) -> bool {
        let watch = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // A negative descriptor is passed over.
        let process = self.process.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let mut watched = [watch(self.stream.as_raw_fd()), watch(process)];
        // SAFETY: two valid entries.
        unsafe { libc::poll(watched.as_mut_ptr(), 2, pause.as_millis() as i32) };
        watched[1].revents != 0 || (watched[0].revents != 0 && self.hung_up())
    }

    /// Whether the connection has ended; what is said on it after the handshake means nothing.
    fn hung_up(&mut self) -> bool {
        let mut ignored = [0; 4096];
        match self.stream.read(&mut ignored) {
            Ok(n) => n == 0,
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted),
        }
    }
}
