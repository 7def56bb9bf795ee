//! One session: from the connection of a shim to the end of its process, and the file that comes of it.

use super::control::Control;
use super::handshake::{Handshake, HandshakeError, RecordOptions};
use super::output::Output;
use super::process::TracedProcess;
use super::segment::{MappedSegment, SegmentNameError};
use crate::ingest::{self, Outcome, Progress, Sink, Trouble};
use ggscope_format::session::Hello;
use ggscope_trace::{Ending, Growing, TraceError, TraceWriter};
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
    /// Nothing can serve it.
    #[error("cannot start a thread for it: {0}")]
    Thread(#[source] std::io::Error),
}

impl SessionError {
    /// Whether the process itself has told the user: its shim writes to its stderr.
    pub fn is_known(&self) -> bool {
        matches!(self, SessionError::Handshake(HandshakeError::Untraceable(_)))
    }

    /// Whether the process went away, will try again, or only checked that a collector listens.
    pub fn is_hang_up(&self) -> bool {
        matches!(self, SessionError::Handshake(error) if error.is_hang_up())
    }
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
    pub(super) control: Arc<Control>,
    writer: TraceWriter,
    tokens: bool,
    segment: MappedSegment,
    host: TracedProcess,
}

impl Session {
    /// Does the handshake with whoever connected.
    pub(super) fn attach(stream: UnixStream, wanted: &RecordOptions, output: &Output) -> Result<Session, SessionError> {
        let (mut handshake, hello, pid) = Handshake::begin(stream)?;
        let segment = MappedSegment::open(&handshake.ask(wanted)?)?;
        // Before the shim hears that it is attached: without a file there is nothing to attach to.
        let mut writer = output.create(&wanted.recording(hello.clone()))?;
        let path = writer.path().to_owned();
        let attached =
            writer.share().map_err(SessionError::from).and_then(|growing| Ok((growing, handshake.attach()?)));
        match attached {
            Ok((growing, stream)) => {
                let host = TracedProcess::new(stream, pid);
                let (tokens, control) = (wanted.tokens, Arc::default());
                // In a container the process has another number than the one by which this process reaches it.
                let hello = Hello { pid, ..hello };
                Ok(Session { hello, path, growing, control, writer, tokens, segment, host })
            }
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Records until the process ends or `stop` is set.
    pub(super) fn run(self, progress: &Progress, stop: &AtomicBool, report: &(dyn Fn(Trouble) + Sync)) -> Ended {
        let Session { hello, path, growing, control, writer, tokens, segment, mut host } = self;
        // Whoever wants to see it keeps it; if nobody does, it need not be shown.
        let seen = Arc::downgrade(&growing);
        drop(growing);
        let sink = Sink { writer, hello: &hello, tokens, progress, report };
        let wait = |pause: Duration| {
            control.send(host.stream());
            let watched = seen.upgrade().is_some_and(|growing| growing.is_watched());
            let pause = if watched { pause.min(WATCHED_PAUSE) } else { pause };
            if stop.load(Ordering::Relaxed) { Some(Ending::LetGo) } else { host.ended_within(pause) }
        };
        let outcome = ingest::run(segment.segment(), sink, wait);
        Ended { hello, path, outcome }
    }
}
