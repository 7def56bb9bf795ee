//! How a recording came to its end, as far as the system tells: the last remark of a trace.

use serde::{Deserialize, Serialize};

/// How a recording came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The process exited with this code.
    Exited(i32),
    /// This signal ended the process.
    Killed(i32),
    /// The process is gone, and how it ended is not known.
    Gone,
    /// The process has closed its connection and runs on: it runs another program now, or has let go of ggscope.
    Left,
    /// The collector was told to end, and the process ran on.
    LetGo,
}
