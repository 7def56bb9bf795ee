//! cuBLAS through cudarc: a library that comes with CUDA, loaded for the first product of matrices. What needs none runs
//! without it.

use super::backend::Product;
use cudarc::cublas::sys::{cublasOperation_t, is_culib_present};
use cudarc::cublas::{CudaBlas, result};
use cudarc::driver::CudaStream;
use std::ffi::c_int;
use std::sync::Arc;

/// cuBLAS on one stream.
pub(super) struct Blas(CudaBlas);

impl Blas {
    /// Loads it; why not, in words.
    pub fn open(stream: Arc<CudaStream>) -> Result<Blas, String> {
        // SAFETY: loads NVIDIA's library, or finds that it is not there. cudarc would stop the program where it is not.
        if !unsafe { is_culib_present() } {
            return Err("libcublas.so, CUDA's linear algebra, is not there; install CUDA's cuBLAS".into());
        }
        CudaBlas::new(stream).map(Blas).map_err(|e| format!("getting cuBLAS ready failed: {e}"))
    }

    /// See `Backend::multiply`; addresses are of memory on the device. In full single precision: TF32 is only used when it
    /// is asked for.
    ///
    /// # Safety
    /// The memory is as long as the shape says.
    pub unsafe fn multiply(&self, shape: Product, weights: u64, x: u64, out: u64) -> Result<(), String> {
        let size = |n: usize| c_int::try_from(n).map_err(|_| format!("{n} is more than cuBLAS takes"));
        let (columns, rows, inner) = (size(shape.columns)?, size(shape.rows)?, size(shape.inner)?);
        let (turned, straight) = (cublasOperation_t::CUBLAS_OP_T, cublasOperation_t::CUBLAS_OP_N);
        let (one, zero) = (1.0_f32, 0.0_f32);
        // cuBLAS has columns one after the other: what is `out` to us is its transpose there, so weights are turned.
        // SAFETY: the caller's promise; factors are read before it returns, as pointers are to the host by default.
        let done = unsafe {
            result::sgemm(
                *self.0.handle(),
                turned,
                straight,
                columns,
                rows,
                inner,
                &one,
                weights as *const f32,
                inner,
                x as *const f32,
                inner,
                &zero,
                out as *mut f32,
                columns,
            )
        };
        done.map_err(|e| e.to_string())
    }
}
