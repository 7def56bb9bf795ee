//! A device for tests (of this crate, and with the feature `testing` of others) that is the CPU: the kernels' own source, compiled as C++ behind `kernels/host_shim.h`.

use super::backend::{Arguments, Backend, Module, Product};
use crate::error::Error;
#[cfg(test)]
use crate::statistics::Encoding;
use libloading::Library;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Every value that a kernel reads from encoded blocks, to be looked at one by one.
const VALUES: &str = "extern \"C\" void values_of(u32 type, const u8 *bytes, u64 count, float *values) {
    for (u64 i = 0; i < count; i++) values[i] = value_of(type, bytes, i);
}
";

type Launch = unsafe extern "C" fn(u32, u32, *mut *mut c_void, i32) -> i32;

/// Runs blocks and threads in ascending order, or backwards.
pub(crate) struct Emulated {
    libraries: [OnceLock<Library>; Module::ALL.len()],
    pub backwards: bool,
    folder: tempfile::TempDir,
}

impl Emulated {
    pub fn new() -> Emulated {
        Emulated { libraries: Default::default(), backwards: false, folder: tempfile::tempdir().unwrap() }
    }

    fn library(&self, module: Module) -> &Library {
        self.libraries[module as usize].get_or_init(|| {
            let library = compile(module, self.folder.path());
            // SAFETY: compiled just now; nothing runs when it is loaded.
            unsafe { Library::new(library) }.unwrap()
        })
    }

    /// What kernels read from encoded blocks.
    #[cfg(test)]
    pub fn values(&self, encoding: Encoding, bytes: &[u8], count: usize) -> Vec<f32> {
        let (values, size) = encoding.block();
        assert!(bytes.len() >= count.div_ceil(values) * size);
        let mut all = vec![0.0; count];
        type Values = unsafe extern "C" fn(u32, *const u8, u64, *mut f32);
        let library = self.library(Module::Statistics);
        // SAFETY: the type that `VALUES` gives the symbol.
        let values_of = unsafe { library.get::<Values>(b"values_of") }.unwrap();
        // SAFETY: `bytes` holds so many values, and `all` has room for them.
        unsafe { values_of(encoding as u32, bytes.as_ptr(), count as u64, all.as_mut_ptr()) };
        all
    }
}

/// The names of the kernels in a source.
pub(super) fn kernels(source: &str) -> Vec<&str> {
    let after = source.split("extern \"C\" __global__ void ").skip(1);
    after.map(|rest| rest.split('(').next().unwrap()).collect()
}

fn compile(module: Module, folder: &Path) -> PathBuf {
    let shim = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/host_shim.h");
    let mut source = module.source().to_owned();
    for kernel in kernels(module.source()) {
        source += &format!(
            "extern \"C\" int launch_{kernel}(unsigned grid, unsigned size, void **values, int backwards) \
             {{ return shim::launch({kernel}, grid, size, values, backwards); }}\n"
        );
    }
    if module == Module::Statistics {
        source += VALUES;
    }
    let (file, library) = (folder.join(module.file()), folder.join(module.file()).with_extension("so"));
    std::fs::write(&file, source).unwrap();
    let flags = ["-std=c++20", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-Wall", "-Werror", "-x", "c++"];
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let mut command = Command::new(compiler);
    // Where the compiler fortifies by itself (Ubuntu's does), longjmp would refuse to go to a thread of a block.
    command.args(flags).arg("-U_FORTIFY_SOURCE").arg("-include").arg(shim).arg(&file).arg("-o").arg(&library);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}: {}", module.file(), String::from_utf8_lossy(&output.stderr));
    library
}

/// Memory that kernels write to through its address.
pub(crate) struct Memory {
    words: *mut [u64],
}

// SAFETY: owned, and read or written only by who has it and by kernels, which run one at a time.
unsafe impl Send for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw` in `allocate`, dropped once.
        drop(unsafe { Box::from_raw(self.words) });
    }
}

impl Backend for Emulated {
    type Memory = Memory;

    fn allocate(&self, bytes: usize) -> Result<Memory, Error> {
        Ok(Memory { words: Box::into_raw(vec![0; bytes.div_ceil(8)].into()) })
    }

    fn write(&self, to: &mut Memory, at: usize, bytes: &[u8]) -> Result<(), Error> {
        // SAFETY: alive as long as `to`, and no kernel runs now.
        let words = unsafe { &mut *to.words };
        bytemuck::cast_slice_mut(words)[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, from: &Memory, bytes: &mut [u8]) -> Result<(), Error> {
        // SAFETY: alive as long as `from`, and no kernel runs now.
        let words = unsafe { &*from.words };
        bytes.copy_from_slice(&bytemuck::cast_slice(words)[..bytes.len()]);
        Ok(())
    }

    fn address(&self, memory: &Memory) -> u64 {
        memory.words.cast::<u64>() as u64
    }

    unsafe fn launch(&self, module: Module, kernel: &str, blocks: u32, arguments: &Arguments) -> Result<(), Error> {
        let library = self.library(module);
        // SAFETY: the type that `compile` gives the symbol.
        let launch = unsafe { library.get::<Launch>(format!("launch_{kernel}").as_bytes()) }.unwrap();
        let mut pointers: Vec<*mut c_void> =
            arguments.values().iter().map(|value| std::ptr::from_ref(value).cast_mut().cast()).collect();
        // SAFETY: the caller's promise about the arguments; pointers are to 8 bytes each, alive until the kernel ends.
        let good = unsafe { launch(blocks, super::backend::THREADS, pointers.as_mut_ptr(), i32::from(self.backwards)) };
        assert!(good != 0, "{kernel}: a barrier that not all threads of a block reach, see above");
        Ok(())
    }

    unsafe fn multiply(&self, shape: Product, weights: &Memory, x: &Memory, out: &Memory) -> Result<(), Error> {
        let Product { columns, rows, inner } = shape;
        // SAFETY: alive as long as the memory, as long as the shape says, and no kernel runs now.
        let of = |memory: &Memory, len| unsafe { std::slice::from_raw_parts(memory.words.cast::<f32>(), len) };
        let (weights, x) = (of(weights, columns * inner), of(x, rows * inner));
        // SAFETY: the same; the caller's promise that it is neither of the others.
        let out = unsafe { std::slice::from_raw_parts_mut(out.words.cast::<f32>(), rows * columns) };
        crate::lens::multiply(weights, x, inner, out);
        Ok(())
    }
}
