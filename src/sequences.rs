//! For whom an evaluation is computed: its context, and the sequences of its tokens where no batch names them.

use crate::evaluation::Target;
use crate::inputs::Inputs;
use crate::llama::call::Found;
use crate::registry;
use crate::session::Session;
use ggscope_format::record::{Evaluation, MemoryOp};

/// Where no batch says which sequences the tokens belong to, the cells of the cache may. Their numbers are others: a
/// context whose batches were seen once is not asked again. Returns how its memory must have changed before.
///
/// # Safety
/// The inputs are live tensors of the graph that is about to be computed.
pub unsafe fn find(session: &Session, target: Target, inputs: Inputs, record: &mut Evaluation) -> Vec<MemoryOp> {
    let cells = registry::with(|r| r.known(target.key())?.cells.take());
    let (Some(mut cells), true) = (cells, record.sequences.is_empty()) else { return vec![] };
    // SAFETY: promised by the caller.
    let changes = inputs.cells.map_or(vec![], |inputs| unsafe { cells.note(session, inputs, record) });
    registry::with(|r| {
        if let Some(scheduler) = r.known(target.key()) {
            scheduler.cells = Some(cells);
        }
    });
    changes
}

/// Number of the context that is evaluated.
///
/// # Safety
/// What was found is of the call that the thread is in.
pub unsafe fn context(target: Target, found: &Found) -> u32 {
    let memory = |owner: usize| {
        if !registry::with(|r| r.is_new_context(owner)) {
            return 0;
        }
        #[cfg(not(feature = "static-wrap"))]
        // SAFETY: the program is calling llama.cpp with this context.
        return unsafe { crate::llama::memory::of_context(owner, found.caller as *const _) };
        #[cfg(feature = "static-wrap")]
        0
    };
    let owner = found.context.map(|owner| (owner, memory(owner)));
    registry::with(|r| r.context(target.key(), owner))
}
