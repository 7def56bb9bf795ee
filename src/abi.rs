//! Where `ggml_tensor` has its fields in the host's ggml: found by building small tensors there, never assumed.
//!
//! The struct and the numbering of operators change between releases. The proof makes tensors whose field values are
//! known and looks for them; a host in which a field cannot be found without doubt is not traced.

use crate::host::{Host, InitParams, Tensor};
use std::ffi::{CStr, c_int, c_void};

/// Byte offsets of the fields of `ggml_tensor` in the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Layout {
    pub dtype: usize,
    pub buffer: usize,
    pub ne: usize,
    pub nb: usize,
    pub op: usize,
    pub op_params: usize,
    pub flags: usize,
    pub src: usize,
    pub view_src: usize,
    pub view_offs: usize,
    pub data: usize,
    pub name: usize,
    /// Number of places for sources.
    pub n_src: usize,
    /// Number of `i32`s in `op_params`.
    pub n_op_params: usize,
    /// Bytes of the name field.
    pub name_bytes: usize,
    /// Whether nodes that the host is to compute carry [`FLAG_COMPUTE`] (newer releases).
    pub marks_computed: bool,
}

/// `GGML_TENSOR_FLAG_INPUT`, `_OUTPUT` and `_COMPUTE`. Input and output are proven at attach.
pub const FLAG_INPUT: i32 = 1;
/// See [`FLAG_INPUT`].
pub const FLAG_OUTPUT: i32 = 2;
/// See [`FLAG_INPUT`].
pub const FLAG_COMPUTE: i32 = 16;

/// `GGML_TYPE_F32` has been 0 since ggml's first release; the proof checks its name.
const TYPE_F32: c_int = 0;
const NAME: &CStr = c"ggscope proves the layout";

/// A tensor of the host, read through a proven layout.
#[derive(Clone, Copy)]
pub struct TensorRef<'a> {
    tensor: *mut Tensor,
    layout: &'a Layout,
}

impl<'a> TensorRef<'a> {
    /// # Safety
    /// `tensor` is a live tensor of the host that `layout` was proven on, for as long as the value is used.
    pub unsafe fn new(tensor: *mut Tensor, layout: &'a Layout) -> Self {
        TensorRef { tensor, layout }
    }

    /// The host's pointer.
    pub fn ptr(self) -> *mut Tensor {
        self.tensor
    }

    fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the tensor is live (promise of `new`) and the proof found a field of this type at the offset.
        unsafe { self.tensor.cast::<u8>().add(offset).cast::<T>().read_unaligned() }
    }

    /// Operator number of the host.
    pub fn op(self) -> i32 {
        self.read(self.layout.op)
    }
    /// Type number of the host.
    pub fn dtype(self) -> i32 {
        self.read(self.layout.dtype)
    }
    /// Elements in each dimension.
    pub fn ne(self) -> [i64; 4] {
        self.read(self.layout.ne)
    }
    /// Strides in bytes.
    pub fn nb(self) -> [u64; 4] {
        self.read(self.layout.nb)
    }
    /// `GGML_TENSOR_FLAG_*`.
    pub fn flags(self) -> i32 {
        self.read(self.layout.flags)
    }
    /// Source `i`, null if there is none.
    pub fn src(self, i: usize) -> *mut Tensor {
        self.read(self.layout.src + i * size_of::<usize>())
    }
    /// The sources up to the last one that is there.
    pub fn sources(self) -> impl DoubleEndedIterator<Item = *mut Tensor> {
        let n = (0..self.layout.n_src).rev().find(|&i| !self.src(i).is_null()).map_or(0, |i| i + 1);
        (0..n).map(move |i| self.src(i))
    }
    /// The tensor that this one is a view of, or null.
    pub fn view_src(self) -> *mut Tensor {
        self.read(self.layout.view_src)
    }
    /// Offset of a view in bytes.
    pub fn view_offs(self) -> usize {
        self.read(self.layout.view_offs)
    }
    /// Address of the data, or null.
    pub fn data(self) -> *mut c_void {
        self.read(self.layout.data)
    }
    /// The buffer, or null.
    pub fn buffer(self) -> *mut c_void {
        self.read(self.layout.buffer)
    }
    /// Operator parameter `i`.
    pub fn op_param(self, i: usize) -> i32 {
        self.read(self.layout.op_params + i * 4)
    }
    /// The name's bytes up to its end.
    pub fn name(self) -> &'a [u8] {
        // SAFETY: the proof found the name field and its length; the tensor outlives the value.
        let field = unsafe {
            std::slice::from_raw_parts(self.tensor.cast::<u8>().add(self.layout.name), self.layout.name_bytes)
        };
        field.split(|&b| b == 0).next().unwrap_or_default()
    }
    /// Sets `GGML_TENSOR_FLAG_OUTPUT`, which makes the allocator keep the tensor's memory.
    pub fn set_output(self, host: &Host) {
        // SAFETY: the tensor is live; ggml's own setter.
        unsafe { (host.ggml_set_output)(self.tensor) };
    }
}

/// Builds tensors with the host's ggml and finds their fields.
///
/// # Errors
/// Says which field could not be found.
pub fn prove(host: &Host) -> Result<Layout, String> {
    // SAFETY: all calls follow ggml's documented use, on objects made here, freed at the end.
    unsafe {
        let size = (host.ggml_tensor_overhead)() * 12 + (host.ggml_graph_overhead)() + (1 << 12);
        let ctx = (host.ggml_init)(InitParams { mem_size: size, mem_buffer: std::ptr::null_mut(), no_alloc: true });
        if ctx.is_null() {
            return Err("ggml_init gives no context".into());
        }
        let proof = prove_in(host, ctx);
        (host.ggml_free)(ctx);
        proof
    }
}

/// Bytes of a tensor that the proof reads: what ggml allocates for one less its bookkeeping before it. Every release
/// so far has 32 bytes of that.
const OBJECT_BYTES: usize = 32;

/// Finds the fields in tensors made in a context.
///
/// # Safety
/// `ctx` is a live `ggml_context` of `host` without allocation, with room for the tensors that are made here.
unsafe fn prove_in(host: &Host, ctx: *mut c_void) -> Result<Layout, String> {
    // SAFETY: the context is alive and large enough for everything made here; every pointer is checked before it is
    // read, and reading stays inside the bytes that ggml allocated for a tensor.
    unsafe {
        let size = (host.ggml_tensor_overhead)().checked_sub(OBJECT_BYTES).filter(|s| (128..=4096).contains(s));
        let size = size.ok_or("a tensor has an impossible size")?;
        let bytes = |t: *mut Tensor| std::slice::from_raw_parts(t.cast::<u8>(), size).to_vec();
        let a = (host.ggml_new_tensor_3d)(ctx, TYPE_F32, 56, 5, 3);
        let b = (host.ggml_new_tensor_3d)(ctx, TYPE_F32, 56, 2, 3);
        if a.is_null() || b.is_null() {
            return Err("ggml_new_tensor_3d gives no tensor".into());
        }

        (host.ggml_set_name)(a, NAME.as_ptr());
        let name = ((host.ggml_get_name)(a) as usize).wrapping_sub(a as usize);
        let has_name = name < size && bytes(a)[name..].starts_with(NAME.to_bytes_with_nul());
        if !has_name {
            return Err("the name is not inside the tensor".into());
        }

        let ne = only(&bytes(a), &words(&[56, 5, 3, 1]), "ne")?;
        let nb = only(&bytes(a), &words(&[4, 224, 1120, 3360]), "nb")?;

        let product = (host.ggml_mul_mat)(ctx, a, b);
        let view = (host.ggml_view_1d)(ctx, a, 3, 1128);
        if product.is_null() || view.is_null() {
            return Err("ggml_mul_mat or ggml_view_1d gives no tensor".into());
        }
        let src = only(&bytes(product), &words(&[a as u64, b as u64]), "src")?;
        // A view has its source twice: as `src[0]` and as `view_src`, which the offset follows.
        let view_src = only(&bytes(view), &words(&[a as u64, 1128]), "view_src")?;
        let view_offs = view_src + 8;
        if view_src <= src || name <= view_src {
            return Err("fields are not in the order that every known release has".into());
        }
        let n_src = (view_src - src) / 8;

        let before = bytes(a);
        (host.ggml_set_input)(a);
        let flags = changed(&before, &bytes(a), FLAG_INPUT, "flags (input)")?;
        let before = bytes(a);
        (host.ggml_set_output)(a);
        if changed(&before, &bytes(a), FLAG_INPUT | FLAG_OUTPUT, "flags (output)")? != flags {
            return Err("input and output flags are in different places".into());
        }

        let scale = 1234.5_f32;
        let scaled = (host.ggml_scale)(ctx, b, scale);
        let op_params = only(&bytes(scaled), &scale.to_bits().to_le_bytes(), "op_params")?;
        if flags <= op_params || !(flags - op_params).is_multiple_of(4) {
            return Err("op_params does not lie before flags".into());
        }
        let n_op_params = (flags - op_params) / 4;

        let op = named(&bytes(product), &bytes(view), |v| op_name(host, v), ["MUL_MAT", "VIEW"], "op")?;
        let dtype = 0;
        let type_name = crate::host::text((host.ggml_type_name)(TYPE_F32));
        if bytes(a)[..4] != TYPE_F32.to_le_bytes() || type_name != "f32" {
            return Err("the type is not the first field".into());
        }

        let (buffer, data) = prove_buffer(host, b, &bytes)?;
        let graph = (host.ggml_new_graph)(ctx);
        if graph.is_null() {
            return Err("ggml_new_graph gives no graph".into());
        }
        (host.ggml_build_forward_expand)(graph, product);
        if (host.ggml_graph_n_nodes)(graph) != 1 || (host.ggml_graph_node)(graph, 0) != product {
            return Err("a graph of one node does not have that node".into());
        }
        let marks = i32::from_le_bytes(bytes(product)[flags..flags + 4].try_into().expect("4 bytes"));
        let layout = Layout {
            dtype,
            buffer,
            ne,
            nb,
            op,
            op_params,
            flags,
            src,
            view_src,
            view_offs,
            data,
            name,
            n_src,
            n_op_params,
            name_bytes: (size - name).min(64),
            marks_computed: marks & FLAG_COMPUTE != 0,
        };
        let fits = layout.n_src <= 64 && layout.n_op_params <= 64 && layout.name_bytes >= 32;
        if fits { Ok(layout) } else { Err(format!("the fields do not fit together: {layout:?}")) }
    }
}

/// Finds the offsets of `buffer` and `data`.
///
/// # Safety
/// `tensor` is a live tensor of `host` without a buffer, and `bytes` reads only what ggml allocated for it.
unsafe fn prove_buffer(
    host: &Host,
    tensor: *mut Tensor,
    bytes: &impl Fn(*mut Tensor) -> Vec<u8>,
) -> Result<(usize, usize), String> {
    // SAFETY: as in `prove_in`; the buffer is released before the tensor that points to it.
    unsafe {
        let buffer = (host.ggml_backend_buft_alloc_buffer)((host.ggml_backend_cpu_buffer_type)(), 1 << 14);
        if buffer.is_null() {
            return Err("the CPU gives no buffer".into());
        }
        let base = (host.ggml_backend_buffer_get_base)(buffer).cast::<u8>().add(1024);
        let status = (host.ggml_backend_tensor_alloc)(buffer, tensor, base.cast());
        let found = bytes(tensor);
        (host.ggml_backend_buffer_free)(buffer);
        if status != 0 {
            return Err("ggml_backend_tensor_alloc fails".into());
        }
        let buffer = only(&found, &(buffer as u64).to_le_bytes(), "buffer")?;
        let data = only(&found, &(base as u64).to_le_bytes(), "data")?;
        Ok((buffer, data))
    }
}

fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The one aligned place where `pattern` stands.
fn only(bytes: &[u8], pattern: &[u8], field: &str) -> Result<usize, String> {
    let step = pattern.len().min(8);
    let mut places =
        (0..=bytes.len().saturating_sub(pattern.len())).step_by(step).filter(|&i| bytes[i..].starts_with(pattern));
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (None, _) => Err(format!("field {field} is not found")),
        (Some(_), Some(_)) => Err(format!("field {field} is found more than once")),
    }
}

/// The one aligned `i32` that changed, and now is `value`.
fn changed(before: &[u8], after: &[u8], value: i32, field: &str) -> Result<usize, String> {
    let mut places = (0..before.len() / 4 * 4).step_by(4).filter(|&i| before[i..i + 4] != after[i..i + 4]);
    match (places.next(), places.next()) {
        (Some(i), None) if after[i..i + 4] == value.to_le_bytes() => Ok(i),
        _ => Err(format!("field {field} is not found")),
    }
}

/// The one aligned `i32` that `name` calls by the first name in `a` and the second in `b`.
fn named(a: &[u8], b: &[u8], name: impl Fn(i32) -> String, names: [&str; 2], field: &str) -> Result<usize, String> {
    let at = |bytes: &[u8], i: usize| i32::from_le_bytes(bytes[i..i + 4].try_into().expect("4 bytes"));
    let fits = |&i: &usize| name(at(a, i)) == names[0] && name(at(b, i)) == names[1];
    let mut places = (0..a.len() / 4 * 4).step_by(4).filter(fits);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        _ => Err(format!("field {field} is not found")),
    }
}

/// Name of an operator number, empty if it cannot be one. `ggml_op_name` reads a table unchecked, so the number is
/// bounded first: no release has fewer operators than this or a number of a real one above it.
fn op_name(host: &Host, op: i32) -> String {
    const KNOWN_IN_ALL_RELEASES: i32 = 60;
    if !(1..KNOWN_IN_ALL_RELEASES).contains(&op) {
        return String::new();
    }
    // SAFETY: the number is inside every release's table of names.
    unsafe { crate::host::text((host.ggml_op_name)(op)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_stands_twice_is_not_proven() {
        let bytes = words(&[1, 7, 2, 7]);
        assert_eq!(only(&bytes, &words(&[2, 7]), "x"), Ok(16));
        assert!(only(&bytes, &words(&[7]), "x").unwrap_err().contains("more than once"));
        assert!(only(&bytes, &words(&[9]), "x").unwrap_err().contains("not found"));
    }

    #[test]
    fn a_flag_is_where_exactly_one_word_changed_to_the_right_value() {
        let before = words(&[1, 2]);
        let mut after = before.clone();
        after[8] = 3;
        assert_eq!(changed(&before, &after, 3, "x"), Ok(8));
        assert!(changed(&before, &after, 1, "x").is_err());
        after[0] = 9;
        assert!(changed(&before, &after, 3, "x").is_err());
    }
}
