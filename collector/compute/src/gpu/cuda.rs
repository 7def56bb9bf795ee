//! A GPU, through cudarc and NVIDIA's driver, which is loaded when it is first asked for.

use super::backend::{Arguments, Backend, Module, Product, THREADS};
use super::blas::Blas;
use super::nvrtc::Nvrtc;
use super::{busy, cache};
use crate::error::Error;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError, LaunchConfig, PushKernelArg,
    result, sys,
};
use cudarc::nvrtc::Ptx;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A GPU that is ready to run kernels.
pub(crate) struct Cuda {
    stream: Arc<CudaStream>,
    /// Number and name.
    pub name: String,
    capability: u32,
    nvrtc: Nvrtc,
    cache: Option<PathBuf>,
    modules: [OnceLock<Result<Arc<CudaModule>, Error>>; Module::ALL.len()],
    /// Opened for the first product of matrices.
    blas: OnceLock<Result<Blas, String>>,
}

/// The number of GPUs, after loading the driver; why there is none, in words.
fn count() -> Result<u32, String> {
    // SAFETY: loads NVIDIA's driver library, or finds that it is not there.
    if !unsafe { sys::is_culib_present() } {
        return Err("libcuda.so.1, NVIDIA's driver, is not there".into());
    }
    let failed = |doing: &str, error: DriverError| format!("NVIDIA's driver is there, but {doing} failed: {error}");
    result::init().map_err(|e| failed("cuInit", e))?;
    match result::device::get_count().map_err(|e| failed("cuDeviceGetCount", e))? {
        0 => Err("NVIDIA's driver knows of no GPU".into()),
        count => Ok(count as u32),
    }
}

/// The number of the first GPU that none of the processes uses; why there is none, in words.
pub(crate) fn free_device(processes: &[u32]) -> Result<u32, String> {
    let count = count()?;
    let uuids: Vec<String> = (0..count).map(|number| uuid(number).unwrap_or_default()).collect();
    let in_use = busy::in_use(processes, &uuids);
    match in_use.iter().position(|used| !used) {
        Some(free) => Ok(free as u32),
        None => Err(format!("the traced program uses the GPU ({count} there)")),
    }
}

/// As NVML writes it. Found without a context, which would take memory on the GPU.
fn uuid(number: u32) -> Option<String> {
    let device = result::device::get(number as i32).ok()?;
    let bytes = result::device::get_uuid(device).ok()?.bytes;
    let hex = |range: std::ops::Range<usize>| -> String {
        bytes[range].iter().map(|byte| format!("{:02x}", *byte as u8)).collect()
    };
    Some(format!("GPU-{}-{}-{}-{}-{}", hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16)))
}

impl Cuda {
    /// Gets a GPU ready. `cache`: folder for compiled kernels.
    pub fn open(number: u32, cache: Option<&Path>) -> Result<Cuda, String> {
        let count = count()?;
        if number >= count {
            return Err(format!("there are only {count} GPUs (they count from 0)"));
        }
        let nvrtc = Nvrtc::load()?;
        let failed = |doing: &str, error: DriverError| format!("{doing} failed: {error}");
        let context = CudaContext::new(number as usize).map_err(|e| failed("making a context", e))?;
        let name = context.name().map_err(|e| failed("asking for its name", e))?;
        let (major, minor) = context.compute_capability().map_err(|e| failed("asking what it can do", e))?;
        Ok(Cuda {
            stream: context.default_stream(),
            name: format!("cuda:{number} ({name})"),
            capability: (major * 10 + minor) as u32,
            nvrtc,
            cache: cache.map(Path::to_owned),
            modules: Default::default(),
            blas: OnceLock::new(),
        })
    }

    fn error(&self, doing: String) -> impl FnOnce(DriverError) -> Error {
        move |error| Error::Cuda { device: self.name.clone(), doing, reason: error.to_string() }
    }

    fn function(&self, module: Module, kernel: &str) -> Result<CudaFunction, Error> {
        let place = &self.modules[module as usize];
        let loaded = place.get_or_init(|| self.load(module)).clone()?;
        loaded.load_function(kernel).map_err(self.error(format!("looking for {kernel} in {}", module.file())))
    }

    fn load(&self, module: Module) -> Result<Arc<CudaModule>, Error> {
        let target = self.nvrtc.target(self.capability);
        let compile = || {
            let compiled = cache::compiled(&self.nvrtc, self.cache.as_deref(), module, target)?;
            let context = self.stream.context();
            context.load_module(Ptx::from_binary(compiled)).map_err(self.error(format!("loading {}", module.file())))
        };
        compile().or_else(|_| {
            // Whole, but not what the driver takes: once more from the source.
            cache::forget(&self.nvrtc, self.cache.as_deref(), module, target);
            compile()
        })
    }
}

impl Backend for Cuda {
    type Memory = CudaSlice<u8>;

    fn allocate(&self, bytes: usize) -> Result<CudaSlice<u8>, Error> {
        self.stream.alloc_zeros(bytes).map_err(self.error(format!("allocating {bytes} bytes")))
    }

    fn write(&self, to: &mut CudaSlice<u8>, at: usize, bytes: &[u8]) -> Result<(), Error> {
        let mut view = to.slice_mut(at..at + bytes.len());
        let copied = self.stream.memcpy_htod(bytes, &mut view).and_then(|()| self.stream.synchronize());
        copied.map_err(self.error(format!("copying {} bytes to it", bytes.len())))
    }

    fn read(&self, from: &CudaSlice<u8>, bytes: &mut [u8]) -> Result<(), Error> {
        let doing = format!("copying {} bytes from it", bytes.len());
        let view = from.slice(..bytes.len());
        self.stream.memcpy_dtoh(&view, bytes).and_then(|()| self.stream.synchronize()).map_err(self.error(doing))
    }

    fn address(&self, memory: &CudaSlice<u8>) -> u64 {
        memory.device_ptr(&self.stream).0
    }

    unsafe fn launch(&self, module: Module, kernel: &str, blocks: u32, arguments: &Arguments) -> Result<(), Error> {
        let function = self.function(module, kernel)?;
        let mut launch = self.stream.launch_builder(&function);
        for value in arguments.values() {
            launch.arg(value);
        }
        let config = LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the caller's promise about the arguments. Everything is on one stream, so in order, and memory is freed
        // in that order too.
        unsafe { launch.launch(config) }.map(drop).map_err(self.error(format!("starting {kernel}")))
    }

    unsafe fn multiply(
        &self,
        shape: Product,
        weights: &CudaSlice<u8>,
        x: &CudaSlice<u8>,
        out: &CudaSlice<u8>,
    ) -> Result<(), Error> {
        let doing = || format!("multiplying {} rows with {} of {} elements", shape.rows, shape.columns, shape.inner);
        let error = |reason: String| Error::Cuda { device: self.name.clone(), doing: doing(), reason };
        // cuBLAS works in the context of the thread that calls it, which may not be the one that opened it.
        self.stream.context().bind_to_thread().map_err(self.error(doing()))?;
        let blas =
            self.blas.get_or_init(|| Blas::open(self.stream.clone())).as_ref().map_err(|why| error(why.clone()))?;
        // SAFETY: the caller's promise. It is on the stream on which everything is.
        unsafe { blas.multiply(shape, self.address(weights), self.address(x), self.address(out)) }.map_err(error)
    }
}
