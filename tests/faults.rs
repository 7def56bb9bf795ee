//! What happens when something goes wrong: every promise of the shim and of the collector under faults and bad input,
//! kept by real processes. The programs that are traced run a tiny model, greedily: what they print untraced is what
//! they must print whatever happens to us.

mod support;

#[path = "faults/stage.rs"]
mod stage;

#[path = "faults/backends.rs"]
mod backends;
#[path = "faults/collectors.rs"]
mod collectors;
#[path = "faults/disks.rs"]
mod disks;
#[path = "faults/files.rs"]
mod files;
#[path = "faults/memory.rs"]
mod memory;
#[path = "faults/programs.rs"]
mod programs;
#[path = "faults/signals.rs"]
mod signals;
#[path = "faults/users.rs"]
mod users;
