//! The collector's side of the handshake (`ggscope_format::session`): who is it, what shall it record, where is its
//! segment. Messages have a size limit, and the whole must be over in two seconds: a shim that hangs is let go.

use super::arguments;
use super::listener::{peer, uid};
use ggscope_format::capture::Capture;
use ggscope_format::session::{Announce, Attached, Hello, Level, MAX_MESSAGE_BYTES, Welcome, frame};
use ggscope_format::{FORMAT_VERSION, record, segment};
use ggscope_trace::Recording;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the user wants to have recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// How much.
    pub level: Level,
    /// What is captured, with level [`Level::Tensors`].
    pub capture: Capture,
    /// Whether token ids and texts may be recorded.
    pub tokens: bool,
    /// Data bytes of a ring, a power of two.
    pub ring_bytes: u64,
}

impl Default for RecordOptions {
    fn default() -> RecordOptions {
        RecordOptions {
            level: Level::default(),
            capture: Capture::default(),
            tokens: true,
            ring_bytes: segment::DEFAULT_RING_BYTES,
        }
    }
}

impl RecordOptions {
    fn welcome(&self) -> Welcome {
        Welcome {
            version: FORMAT_VERSION,
            level: self.level,
            capture: self.capture.clone(),
            tokens: self.tokens,
            ring_bytes: self.ring_bytes,
            // Values come in bursts: fewer and larger rings take no more memory.
            n_rings: if self.level == Level::Tensors { VALUE_RINGS } else { segment::DEFAULT_RINGS },
        }
    }

    /// What the trace file says of itself.
    pub fn recording(&self, hello: Hello) -> Recording {
        Recording {
            hello: if self.tokens { hello } else { without_texts(hello) },
            level: self.level,
            capture: self.capture.clone(),
            tokens: self.tokens,
            ggscope: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Rings of a session that records values.
const VALUE_RINGS: u32 = 2;

fn without_texts(mut hello: Hello) -> Hello {
    arguments::without_texts(&mut hello.argv);
    hello
}

/// Why a process did not attach.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke or took too long.
    #[error("the connection broke while {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Another user.
    #[error("user {0} may not attach to a collector of user {1}")]
    User(u32, u32),
    /// A message that cannot be one.
    #[error("a message of {0} bytes is too long")]
    TooLong(u32),
    /// A message that does not decode.
    #[error("a message does not decode: {0}")]
    Message(#[from] record::RecordError),
    /// The shim cannot trace its process, and said so there.
    #[error("{0}")]
    Untraceable(String),
    /// Another version of the shim.
    #[error(
        "its libggscope.so speaks version {0}, this ggscope speaks version {FORMAT_VERSION}: install both from one release"
    )]
    Version(u32),
}

impl HandshakeError {
    /// Whether the other side simply went away.
    pub fn is_hang_up(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        matches!(self, HandshakeError::Io { source, .. }
            if matches!(source.kind(), BrokenPipe | ConnectionReset | UnexpectedEof))
    }
}

/// One connection in the middle of its handshake.
pub(super) struct Handshake {
    stream: UnixStream,
    end: Instant,
}

impl Handshake {
    /// Begins: checks who it is and reads what it says of itself. Returns the process id that the kernel knows, 0 if it
    /// cannot say.
    pub(super) fn begin(stream: UnixStream) -> Result<(Handshake, Hello, u32), HandshakeError> {
        let mut handshake = Handshake { stream, end: Instant::now() + PATIENCE };
        let stream = &handshake.stream;
        let io_error = |source| HandshakeError::Io { doing: "asking who it is", source };
        stream.set_nonblocking(false).map_err(io_error)?;
        let credentials = peer(stream).map_err(io_error)?;
        if credentials.uid != uid() {
            return Err(HandshakeError::User(credentials.uid, uid()));
        }
        let greeting = handshake.message("waiting for its greeting")?;
        // Before the rest, which another version may write in another way.
        let version = Hello::version_of(&greeting)?;
        if version != FORMAT_VERSION {
            return Err(HandshakeError::Version(version));
        }
        let hello: Hello = record::decode(&greeting)?;
        if let Some(refusal) = hello.refusal {
            return Err(HandshakeError::Untraceable(refusal));
        }
        Ok((handshake, hello, u32::try_from(credentials.pid).unwrap_or(0)))
    }

    /// Says what is wanted, and reads where the segment is.
    pub(super) fn ask(&mut self, wanted: &RecordOptions) -> Result<Announce, HandshakeError> {
        self.send(&wanted.welcome(), "saying what to record")?;
        let announced: Announce = record::decode(&self.message("waiting for its shared memory")?)?;
        match announced.refusal {
            Some(refusal) => Err(HandshakeError::Untraceable(refusal)),
            None => Ok(announced),
        }
    }

    /// Says that the segment is mapped.
    pub(super) fn attach(mut self) -> Result<UnixStream, HandshakeError> {
        self.send(&Attached, "attaching")?;
        Ok(self.stream)
    }

    fn send<T: serde::Serialize>(&mut self, message: &T, doing: &'static str) -> Result<(), HandshakeError> {
        let io_error = |source| HandshakeError::Io { doing, source };
        self.stream.set_write_timeout(Some(self.left().map_err(io_error)?)).map_err(io_error)?;
        self.stream.write_all(&frame(message)).map_err(io_error)
    }

    /// The bytes of a message.
    fn message(&mut self, doing: &'static str) -> Result<Vec<u8>, HandshakeError> {
        let io_error = |source| HandshakeError::Io { doing, source };
        let mut len = [0; 4];
        self.fill(&mut len).map_err(io_error)?;
        let len = u32::from_le_bytes(len);
        if len > MAX_MESSAGE_BYTES {
            return Err(HandshakeError::TooLong(len));
        }
        let mut message = vec![0; len as usize];
        self.fill(&mut message).map_err(io_error)?;
        Ok(message)
    }

    /// Reads just `out.len()` bytes; each read may take only what is left of the time for all.
    fn fill(&mut self, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(out) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => out = &mut out[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a connection on which the shim says `bytes` and hangs up.
    fn said(bytes: &[u8]) -> Result<Hello, HandshakeError> {
        let (shim, collector) = UnixStream::pair().unwrap();
        (&shim).write_all(bytes).unwrap();
        drop(shim);
        Handshake::begin(collector).map(|(_, hello, _)| hello)
    }

    #[test]
    fn a_greeting_arrives_as_it_was_sent() {
        let hello = Hello { version: FORMAT_VERSION, pid: 7, argv: vec!["a b".into()], ..Hello::default() };
        assert_eq!(said(&frame(&hello)).unwrap(), hello);
    }

    #[test]
    fn nonsense_is_refused_and_costs_no_memory() {
        assert!(matches!(said(b""), Err(HandshakeError::Io { .. })));
        assert!(matches!(said(b"\xff\xff\xff\xff"), Err(HandshakeError::TooLong(u32::MAX))));
        assert!(matches!(said(b"\x02\0\0\0\xff\xff"), Err(HandshakeError::Message(_))));
        let mut cut = frame(&Hello { version: FORMAT_VERSION, ..Hello::default() });
        cut.pop();
        assert!(matches!(said(&cut), Err(HandshakeError::Io { .. })));
    }

    #[test]
    fn another_version_is_told_apart_however_it_writes_the_rest() {
        let other = Hello { version: FORMAT_VERSION + 1, ..Hello::default() };
        assert!(matches!(said(&frame(&other)), Err(HandshakeError::Version(_))));
        assert!(matches!(said(&frame(&(FORMAT_VERSION - 1))), Err(HandshakeError::Version(_))));
        assert!(matches!(said(&frame(&())), Err(HandshakeError::Message(_))));
    }

    #[test]
    fn a_shim_that_cannot_trace_its_process_says_why() {
        let refusal = Some("the tensors have an unknown layout".to_owned());
        let hello = Hello { version: FORMAT_VERSION, refusal, ..Hello::default() };
        let error = said(&frame(&hello)).unwrap_err();
        assert!(matches!(error, HandshakeError::Untraceable(_)) && !error.is_hang_up());
        assert_eq!(error.to_string(), "the tensors have an unknown layout");
    }

    #[test]
    fn a_shim_that_hangs_is_let_go() {
        let (_shim, collector) = UnixStream::pair().unwrap();
        let begin = Instant::now();
        assert!(matches!(Handshake::begin(collector), Err(HandshakeError::Io { .. })));
        assert!((PATIENCE..PATIENCE * 2).contains(&begin.elapsed()));
    }

    #[test]
    fn a_prompt_on_the_command_line_is_no_part_of_a_trace_without_tokens() {
        let argv = ["llama-cli", "-p", "my secret", "--prompt=my secret", "-m", "model.gguf", "-my secret"];
        let hello = Hello { argv: argv.map(str::to_owned).to_vec(), ..Hello::default() };
        let without = RecordOptions { tokens: false, ..RecordOptions::default() }.recording(hello.clone());
        assert_eq!(without.hello.argv, ["llama-cli", "-p", "…", "--prompt=…", "-m", "…", "…"]);
        assert_eq!(RecordOptions::default().recording(hello.clone()).hello, hello);
    }
}
