//! cuBLAS: a library that comes with CUDA (or from the Python package nvidia-cublas), loaded for the first product of
//! matrices. What needs none runs without it. Types are cudarc's; its loader does not look for the library of CUDA 13.

use super::backend::Product;
use super::library::{first, function};
use cudarc::cublas::sys::{cublasHandle_t, cublasOperation_t};
use cudarc::driver::CudaStream;
use libloading::Library;
use std::ffi::{CStr, c_int, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;

type Create = unsafe extern "C" fn(*mut cublasHandle_t) -> c_int;
type SetStream = unsafe extern "C" fn(cublasHandle_t, *mut c_void) -> c_int;
type Destroy = unsafe extern "C" fn(cublasHandle_t) -> c_int;
type Sgemm = unsafe extern "C" fn(
    cublasHandle_t,
    cublasOperation_t,
    cublasOperation_t,
    c_int,
    c_int,
    c_int,
    *const f32,
    *const f32,
    c_int,
    *const f32,
    c_int,
    *const f32,
    *mut f32,
    c_int,
) -> c_int;

/// cuBLAS on one stream.
pub(super) struct Blas {
    handle: cublasHandle_t,
    sgemm: Sgemm,
    destroy: Destroy,
    /// On which everything is; it outlives the handle.
    _stream: Arc<CudaStream>,
    /// Where the functions are.
    _library: Library,
}

// SAFETY: NVIDIA allows a handle to be used by any thread, though not to be set up by several at once: nothing is set after
// `Blas::open`, and products that two threads ask for at once are put on one stream.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: a handle of this library, not used after this.
        unsafe { (self.destroy)(self.handle) };
    }
}

/// An error of which number, unless it is 0, as success is.
fn told(doing: &str, status: c_int) -> Result<(), String> {
    if status == 0 {
        Ok(())
    } else {
        Err(format!("{doing} returned {status} (see cublasStatus_t in CUDA's documentation)"))
    }
}

impl Blas {
    /// Loads it; why not, in words. The stream's context is the calling thread's.
    pub fn open(stream: Arc<CudaStream>) -> Result<Blas, String> {
        let names = ["libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "libcublas.so"];
        let library = first("GGSCOPE_CUBLAS", &names, load).map_err(|why| {
            format!(
                "libcublas.so, CUDA's linear algebra, is not there ({why}); install CUDA's cuBLAS, or name the file in \
                 GGSCOPE_CUBLAS"
            )
        })?;
        // SAFETY: cublas_v2.h, unchanged since CUDA 4.
        let create = *unsafe { of::<Create>(&library, c"cublasCreate_v2") }?;
        // SAFETY: as above; a `cudaStream_t` is a pointer.
        let set_stream = *unsafe { of::<SetStream>(&library, c"cublasSetStream_v2") }?;
        // SAFETY: as above.
        let sgemm = *unsafe { of::<Sgemm>(&library, c"cublasSgemm_v2") }?;
        // SAFETY: as above.
        let destroy = *unsafe { of::<Destroy>(&library, c"cublasDestroy_v2") }?;
        let mut handle: cublasHandle_t = null_mut();
        // SAFETY: a place to write to.
        told("cublasCreate", unsafe { create(&mut handle) })?;
        let blas = Blas { handle, sgemm, destroy, _stream: stream.clone(), _library: library };
        // SAFETY: both exist as long as `blas`. A stream of the driver is one of the runtime.
        told("cublasSetStream", unsafe { set_stream(blas.handle, stream.cu_stream().cast()) })?;
        Ok(blas)
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
        let status = unsafe {
            (self.sgemm)(
                self.handle,
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
        told("cublasSgemm", status)
    }
}

fn load(path: &Path) -> Result<Library, String> {
    // SAFETY: cuBLAS has no initialisers that ask anything of us; the file is NVIDIA's or one that the user names.
    unsafe { Library::new(path) }.map_err(|e| e.to_string())
}

/// # Safety
/// `F` must be the type of the function.
unsafe fn of<'l, F>(library: &'l Library, name: &CStr) -> Result<libloading::Symbol<'l, F>, String> {
    // SAFETY: the caller's promise.
    unsafe { function(library, name, "CUDA 11") }
}
