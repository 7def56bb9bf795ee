//! Running programs: the socket that shims attach to, the sessions that begin there, and how `ggscope record` starts a
//! program so that it attaches. What a session says goes to [`crate::ingest`].

mod arguments;
mod collector;
mod control;
mod elf;
mod handshake;
pub mod ingest;
mod launch;
mod listener;
mod output;
mod private_dir;
mod process;
mod segment;
mod session;
mod shim;
mod signals;

pub use collector::{Collector, Event};
pub use control::Control;
pub use elf::{Untraceable, carries_ggml, why_untraceable};
pub use handshake::{HandshakeError, RecordOptions};
pub use launch::{LaunchError, Launched, find_program, spawn};
pub use listener::{ListenError, Listener};
pub use output::{Output, default_name};
pub use private_dir::PrivateDir;
pub use segment::{MappedSegment, SegmentNameError};
pub use session::{Ended, SessionError};
pub use shim::{ShimError, find_shim};
pub use signals::{Blocked, Signal, die_by};
