//! What a device must be able to do: hold memory, and run a kernel of a module.

use crate::error::Error;
use bytemuck::Pod;
use std::marker::PhantomData;

/// Threads of a block; kernels count on it.
pub(crate) const THREADS: u32 = 256;

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    PageRank,
    Betweenness,
    Communities,
    Statistics,
    Attention,
    Divergence,
    Lens,
}

impl Module {
    pub const ALL: [Module; 7] = [
        Module::PageRank,
        Module::Betweenness,
        Module::Communities,
        Module::Statistics,
        Module::Attention,
        Module::Divergence,
        Module::Lens,
    ];

    pub fn file(self) -> &'static str {
        match self {
            Module::PageRank => "pagerank.cu",
            Module::Betweenness => "betweenness.cu",
            Module::Communities => "communities.cu",
            Module::Statistics => "statistics.cu",
            Module::Attention => "attention.cu",
            Module::Divergence => "divergence.cu",
            Module::Lens => "lens.cu",
        }
    }

    pub fn source(self) -> &'static str {
        match self {
            Module::PageRank => include_str!("../../kernels/pagerank.cu"),
            Module::Betweenness => include_str!("../../kernels/betweenness.cu"),
            Module::Communities => include_str!("../../kernels/communities.cu"),
            Module::Statistics => {
                concat!(include_str!("../../kernels/values.cuh"), include_str!("../../kernels/statistics.cu"))
            }
            Module::Attention => concat!(
                include_str!("../../kernels/values.cuh"),
                include_str!("../../kernels/curves.cuh"),
                include_str!("../../kernels/attention.cu")
            ),
            Module::Divergence => concat!(
                include_str!("../../kernels/values.cuh"),
                include_str!("../../kernels/curves.cuh"),
                include_str!("../../kernels/divergence.cu")
            ),
            Module::Lens => concat!(
                include_str!("../../kernels/values.cuh"),
                include_str!("../../kernels/curves.cuh"),
                include_str!("../../kernels/lens.cu")
            ),
        }
    }
}

/// A device.
pub(crate) trait Backend {
    /// Memory on the device, freed when dropped.
    type Memory;

    /// Memory of zeros.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory, Error>;
    /// Copies to the memory from byte `at` on, which must be as long.
    fn write(&self, to: &mut Self::Memory, at: usize, bytes: &[u8]) -> Result<(), Error>;
    /// Copies from the beginning of the memory, after everything that was launched has ended.
    fn read(&self, from: &Self::Memory, bytes: &mut [u8]) -> Result<(), Error>;
    /// Where the memory is, as kernels see it.
    fn address(&self, memory: &Self::Memory) -> u64;

    /// Runs a kernel in `blocks` blocks of [`THREADS`] threads, after all that was launched before.
    ///
    /// # Safety
    /// `arguments` are those that the kernel declares, in type and order, and every buffer is as long as the kernel, run in
    /// so many blocks, goes.
    unsafe fn launch(&self, module: Module, kernel: &str, blocks: u32, arguments: &Arguments) -> Result<(), Error>;

    /// `out[i][j] = x[i] · weights[j]`, after all that was launched before: on a GPU by cuBLAS. `weights` is `[inner, columns]`,
    /// `x` `[inner, rows]` and `out` `[columns, rows]`, rows one after the other.
    ///
    /// # Safety
    /// The memory is as long as the shape says, and `out` is neither of the others.
    unsafe fn multiply(
        &self,
        shape: Product,
        weights: &Self::Memory,
        x: &Self::Memory,
        out: &Self::Memory,
    ) -> Result<(), Error>;
}

/// Shape of a product of matrices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub columns: usize,
    pub rows: usize,
    pub inner: usize,
}

/// A product of matrices on a device, see [`Backend::multiply`].
///
/// # Panics
/// If the matrices are smaller than the shape.
pub(crate) fn multiply<B: Backend>(
    device: &B,
    shape: Product,
    weights: &Buffer<B, f32>,
    x: &Buffer<B, f32>,
    out: &mut Buffer<B, f32>,
) -> Result<(), Error> {
    let Product { columns, rows, inner } = shape;
    assert!(columns * inner <= weights.len && rows * inner <= x.len && rows * columns <= out.len, "{shape:?}");
    // SAFETY: just checked, and `out` is borrowed for itself.
    unsafe { device.multiply(shape, &weights.memory, &x.memory, &out.memory) }
}

/// Values of one type on a device.
pub(crate) struct Buffer<B: Backend, T> {
    memory: B::Memory,
    len: usize,
    of: PhantomData<T>,
}

/// Memory of `len` zeros.
pub(crate) fn zeros<B: Backend, T: Pod>(device: &B, len: usize) -> Result<Buffer<B, T>, Error> {
    // At least one byte: there is no memory of none.
    let memory = device.allocate((len * size_of::<T>()).max(1))?;
    Ok(Buffer { memory, len, of: PhantomData })
}

/// A copy of `values` on the device.
pub(crate) fn upload<B: Backend, T: Pod>(device: &B, values: &[T]) -> Result<Buffer<B, T>, Error> {
    let mut buffer = zeros(device, values.len())?;
    if !values.is_empty() {
        device.write(&mut buffer.memory, 0, bytemuck::cast_slice(values))?;
    }
    Ok(buffer)
}

impl<B: Backend, T: Pod> Buffer<B, T> {
    /// A copy of what is on the device.
    pub fn download(&self, device: &B) -> Result<Vec<T>, Error> {
        let mut values = vec![T::zeroed(); self.len];
        if self.len > 0 {
            device.read(&self.memory, bytemuck::cast_slice_mut(&mut values))?;
        }
        Ok(values)
    }
}

/// Arguments of a kernel, 8 bytes each: a smaller one is its lower bytes.
pub(crate) struct Arguments(Vec<u64>);

impl Arguments {
    pub fn new() -> Arguments {
        Arguments(Vec::with_capacity(20))
    }

    pub fn values(&self) -> &[u64] {
        &self.0
    }

    pub fn buffer<B: Backend, T>(mut self, device: &B, buffer: &Buffer<B, T>) -> Arguments {
        self.0.push(device.address(&buffer.memory));
        self
    }

    /// A null pointer if there is no buffer.
    pub fn optional<B: Backend, T>(self, device: &B, buffer: &Option<Buffer<B, T>>) -> Arguments {
        match buffer {
            Some(buffer) => self.buffer(device, buffer),
            None => self.u64(0),
        }
    }

    pub fn u32(self, value: u32) -> Arguments {
        self.u64(u64::from(value))
    }

    pub fn u64(mut self, value: u64) -> Arguments {
        self.0.push(value);
        self
    }

    pub fn f64(self, value: f64) -> Arguments {
        self.u64(value.to_bits())
    }
}

// `u32` as the lower bytes of 8.
const _: () = assert!(cfg!(target_endian = "little"));

/// The edges of a graph as kernels read them.
pub(crate) fn offsets(offsets: &[usize]) -> Vec<u64> {
    offsets.iter().map(|&offset| offset as u64).collect()
}

/// Blocks that have a thread for each of `items`.
pub(crate) fn blocks(items: usize) -> u32 {
    (items as u32).div_ceil(THREADS).max(1)
}
