//! What an evaluation is of: its tokens with their positions, which of them have an output, and which experts its routers
//! chose for them. Read from the host's tensors, before and after it computes.

use crate::abi::TensorRef;
use crate::capture::{self, CompiledCapture};
use crate::graph::GraphInfo;
use crate::host::Tensor;
use crate::inputs::Inputs;
use crate::session::Session;
use ggscope_format::record::{Evaluation, Experts};
use ggscope_format::session::Level;

/// More tokens than this in one evaluation are not believed.
const MAX_TOKENS: i64 = 1 << 22;

/// Reads positions and outputs into `record`, and the tokens' ids into `ids`: none if the input is embeddings.
///
/// # Safety
/// The inputs are live tensors.
pub unsafe fn read_tokens(session: &Session, inputs: Inputs, record: &mut Evaluation, ids: &mut Vec<i32>) {
    ids.clear();
    let tensor = |addr: usize| {
        // SAFETY: promised by the caller.
        (addr != 0).then(|| unsafe { TensorRef::new(addr as *mut Tensor, session.layout) })
    };
    let n_tokens = inputs.n_tokens;
    if !(0..=MAX_TOKENS).contains(&n_tokens) {
        return;
    }
    record.n_tokens = n_tokens as u32;
    let read = |addr: usize, n: usize, out: &mut Vec<i32>| {
        let Some(input) = tensor(addr) else { return false };
        let n = n.min(input.ne()[0].max(0) as usize);
        out.resize(n, 0);
        // SAFETY: a vector of `i32` is as many bytes; the input is `i32` and has at least `n` elements.
        let there = unsafe {
            let bytes = std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<u8>(), n * 4);
            capture::read(session.host, session.layout, input.ptr(), 0, bytes)
        };
        if !there {
            out.clear();
        }
        there
    };
    let n = n_tokens as usize;
    read(inputs.tokens, n, ids);
    if ids.len() != n {
        ids.clear();
    }
    read(inputs.positions, n, &mut record.positions);
    if record.positions.len() != n {
        record.positions.clear();
    }
    let mut outputs = vec![];
    if read(inputs.outputs, n, &mut outputs) {
        outputs.retain(|&i| i >= 0 && (i as usize) < n);
        record.outputs = Some(outputs);
    }
}

/// Reads which experts were chosen.
///
/// # Safety
/// The evaluation has ended, and its graph is live.
pub unsafe fn read_experts(session: &Session, wanted: &CompiledCapture, info: &GraphInfo, record: &mut Evaluation) {
    let Session { host, layout, .. } = *session;
    for &(id, addr) in &info.experts {
        // SAFETY: a tensor of the live graph.
        let ids = unsafe { TensorRef::new(addr as *mut Tensor, layout) };
        let ([n_used, n_tokens, ..], [_, row, ..]) = (ids.ne(), ids.nb());
        if ids.buffer().is_null() || n_used <= 0 || !(0..=MAX_TOKENS).contains(&n_tokens) {
            continue;
        }
        // SAFETY: the buffer of a live tensor.
        let on_device = !unsafe { (host.ggml_backend_buffer_is_host)(ids.buffer()) };
        if on_device && session.level < Level::Tensors && wanted.is_empty() {
            // A read for every layer of every token is what a program is not to wait for unless it was asked for.
            continue;
        }
        let mut experts = Experts { tensor: id, n_used: n_used as u32, ids: vec![0; (n_used * n_tokens) as usize] };
        for (t, row_ids) in experts.ids.chunks_mut(n_used as usize).enumerate() {
            // SAFETY: the row lies in the tensor, which is `i32 [n_used, n_tokens]`; so many `i32`s are so many bytes.
            unsafe {
                let bytes = std::slice::from_raw_parts_mut(row_ids.as_mut_ptr().cast::<u8>(), size_of_val(row_ids));
                capture::read(host, layout, ids.ptr(), t * row as usize, bytes);
            }
        }
        record.experts.push(experts);
    }
}
