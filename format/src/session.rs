//! The handshake between a shim and a collector on a Unix stream socket.
//!
//! ```text
//! shim  → Hello      who I am
//! coll. → Welcome    what to record, and how large the rings are to be
//! shim  → Announce   the name of the segment
//! coll. → Attached   it is mapped
//! coll. → Capture    what to capture from now on: now and then, or never; the end of the connection is the host's end
//! ```
//!
//! Each message is a little-endian `u32` length and that many bytes of postcard. A shim that cannot trace its process says
//! why in place of going on.

use crate::capture::Capture;
use crate::record::RecordError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// No message is longer than this; a longer one is refused unread.
pub const MAX_MESSAGE_BYTES: u32 = 1 << 20;

/// Nor is a change of what is captured: it has to lie in the socket whole, where the shim looks at it without waiting.
pub const MAX_CHANGE_BYTES: u32 = 64 << 10;

/// Environment variable: path of the collector's socket.
pub const SOCKET_ENV: &str = "GGSCOPE_SOCKET";

/// How much is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What ran, on what.
    Graph,
    /// And how many nanoseconds each operator took.
    #[default]
    Ops,
    /// And the values of chosen tensors.
    Tensors,
}

impl Level {
    /// The name on the command line and in `info`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Graph => "graph",
            Level::Ops => "ops",
            Level::Tensors => "tensors",
        }
    }
}

/// Who the traced process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::FORMAT_VERSION`] of the shim.
    pub version: u32,
    /// Process id.
    pub pid: u32,
    /// Path of the program.
    pub exe: String,
    /// Its command line.
    pub argv: Vec<String>,
    /// Its working directory.
    pub cwd: String,
    /// Wall-clock time at `monotonic_ns`, nanoseconds since 1970.
    pub realtime_ns: u64,
    /// `CLOCK_MONOTONIC` at `realtime_ns`, nanoseconds.
    pub monotonic_ns: u64,
    /// What the operator clock is: `tsc` or `clock_gettime`.
    pub clock: String,
    /// Path of the library that ggml was found in.
    pub ggml: String,
    /// Why the process cannot be traced, if it cannot: then nothing follows.
    pub refusal: Option<String>,
}

impl Hello {
    /// The version of the writer of these bytes, which stands first in every one.
    ///
    /// # Errors
    /// When the bytes do not begin with a number.
    pub fn version_of(bytes: &[u8]) -> Result<u32, RecordError> {
        let version = postcard::take_from_bytes(bytes);
        version.map(|(version, _)| version).map_err(|source| RecordError::Decode { len: bytes.len(), source })
    }
}

/// What the collector wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`crate::FORMAT_VERSION`] of the collector.
    pub version: u32,
    /// How much to record.
    pub level: Level,
    /// What to capture, if `level` is [`Level::Tensors`].
    pub capture: Capture,
    /// Whether token ids may be recorded.
    pub tokens: bool,
    /// Data bytes of a ring, a power of two.
    pub ring_bytes: u64,
    /// Number of rings.
    pub n_rings: u32,
}

/// Where the segment is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// Name for `shm_open`.
    pub segment: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Why there is no segment, if there is none: then nothing follows.
    pub refusal: Option<String>,
}

/// The collector has mapped the segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached;

/// Writes a message with its length.
pub fn frame<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = vec![0; 4];
    crate::record::encode(message, &mut out);
    let len = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&len.to_le_bytes());
    out
}

/// Where `ggscope daemon` listens and where shims look for it: `$GGSCOPE_SOCKET`, else
/// `$XDG_RUNTIME_DIR/ggscope/daemon.sock`, else `/tmp/ggscope-<uid>/daemon.sock`.
pub fn socket_path(uid: u32) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    if let Some(path) = set(SOCKET_ENV) {
        return path.into();
    }
    match set("XDG_RUNTIME_DIR") {
        Some(dir) => PathBuf::from(dir).join("ggscope/daemon.sock"),
        None => PathBuf::from(format!("/tmp/ggscope-{uid}/daemon.sock")),
    }
}
