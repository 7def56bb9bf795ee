//! The host's backend buffers, numbered, so that an address can be named in a trace.

use crate::host::{Buffer, Host};
use ggscope_format::record::{Buffer as BufferRecord, BufferUsage};
use ggscope_format::{BufferId, Bytes};
use std::collections::HashMap;

/// Buffers that are alive.
#[derive(Default)]
pub struct Buffers {
    ids: HashMap<usize, BufferId>,
    next: u32,
    epoch: u64,
}

impl Buffers {
    /// The number of a buffer, given on first sight.
    pub fn id(&mut self, buffer: Buffer) -> BufferId {
        *self.ids.entry(buffer as usize).or_insert_with(|| {
            self.next += 1;
            BufferId(self.next - 1)
        })
    }

    /// A buffer was allocated or released: addresses may mean something else from now on.
    pub fn changed(&mut self) {
        self.epoch += 1;
    }

    /// How often [`Buffers::changed`] was called.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the buffer has a number.
    pub fn is_known(&self, buffer: Buffer) -> bool {
        self.ids.contains_key(&(buffer as usize))
    }

    /// A buffer is about to go. Its number is not used again.
    pub fn forget(&mut self, buffer: Buffer) -> BufferId {
        let id = self.id(buffer);
        self.ids.remove(&(buffer as usize));
        self.changed();
        id
    }
}

/// Asks the host about a buffer.
///
/// # Safety
/// The buffer is live.
pub unsafe fn describe(host: &Host, buffer: Buffer, id: BufferId) -> BufferRecord {
    // SAFETY: the buffer is live.
    unsafe {
        BufferRecord {
            id,
            name: crate::host::text((host.ggml_backend_buffer_name)(buffer)),
            base: (host.ggml_backend_buffer_get_base)(buffer) as u64,
            size: Bytes((host.ggml_backend_buffer_get_size)(buffer) as u64),
            usage: match (host.ggml_backend_buffer_get_usage)(buffer) {
                0 => BufferUsage::Any,
                1 => BufferUsage::Weights,
                2 => BufferUsage::Compute,
                _ => BufferUsage::Other,
            },
            host: (host.ggml_backend_buffer_is_host)(buffer),
        }
    }
}
