//! NVRTC, CUDA's compiler at run time: a library that comes with CUDA (or from the Python package nvidia-cuda-nvrtc), loaded
//! when it is first needed. It needs no GPU. Its few functions are called directly.

use super::backend::Module;
use super::library::{first, function};
use crate::error::Error;
use libloading::{Library, Symbol};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

type Program = *mut c_void;

/// Success of every function.
const OK: c_int = 0;

/// What to compile to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Machine code for devices of this compute capability, times 10: what runs with any driver of the same CUDA release.
    Machine(u32),
    /// PTX, which the driver turns into machine code for any device from this capability on.
    Ptx(u32),
}

/// The loaded library.
pub(crate) struct Nvrtc {
    library: Library,
    pub version: (i32, i32),
    /// The capabilities that it compiles for, ascending.
    pub capabilities: Vec<u32>,
}

impl Nvrtc {
    /// Loads the first that is there; why not, in words, if there is none.
    pub fn load() -> Result<Nvrtc, String> {
        let names = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so"];
        first("GGSCOPE_NVRTC", &names, Nvrtc::open).map_err(|why| {
            format!(
                "libnvrtc.so, CUDA's compiler, is not there ({why}); install CUDA's nvrtc, or name the file in GGSCOPE_NVRTC"
            )
        })
    }

    /// Loads this file.
    pub fn open(path: &Path) -> Result<Nvrtc, String> {
        // SAFETY: NVRTC has no initialisers that ask anything of us; the file is NVIDIA's or one that the user names.
        let library = unsafe { Library::new(path) }.map_err(|e| e.to_string())?;
        let mut nvrtc = Nvrtc { library, version: (0, 0), capabilities: Vec::new() };
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: nvrtc.h, since CUDA 7: nvrtcResult nvrtcVersion(int *, int *).
        let version =
            unsafe { nvrtc.function::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(c"nvrtcVersion") }?;
        // SAFETY: two places to write to.
        if unsafe { version(&mut major, &mut minor) } != OK {
            return Err(format!("{}: nvrtcVersion failed", path.display()));
        }
        nvrtc.version = (major, minor);
        type Numbers = unsafe extern "C" fn(*mut c_int) -> c_int;
        // SAFETY: nvrtc.h, since CUDA 11.2: nvrtcResult nvrtcGetNumSupportedArchs(int *).
        let number = unsafe { nvrtc.function::<Numbers>(c"nvrtcGetNumSupportedArchs") }?;
        // SAFETY: nvrtc.h, since CUDA 11.2: nvrtcResult nvrtcGetSupportedArchs(int *).
        let list = unsafe { nvrtc.function::<Numbers>(c"nvrtcGetSupportedArchs") }?;
        // SAFETY: a place to write to.
        let mut result = unsafe { number(&mut count) };
        let mut all = vec![0; usize::try_from(count).unwrap_or(0)];
        if result == OK {
            // SAFETY: as many places as it has said.
            result = unsafe { list(all.as_mut_ptr()) };
        }
        if result != OK || all.is_empty() {
            return Err(format!("{}: no list of what it compiles for", path.display()));
        }
        nvrtc.capabilities = all.into_iter().map(|capability: c_int| capability as u32).collect();
        nvrtc.capabilities.sort_unstable();
        Ok(nvrtc)
    }

    /// # Safety
    /// `F` must be the type of the function.
    unsafe fn function<F>(&self, name: &CStr) -> Result<Symbol<'_, F>, String> {
        // SAFETY: the caller's promise.
        unsafe { function(&self.library, name, "CUDA 11.2") }
    }

    /// The best that this version can do for devices of a capability.
    pub fn target(&self, capability: u32) -> Target {
        match self.capabilities.iter().rev().find(|&&c| c <= capability) {
            Some(&same) if same == capability => Target::Machine(capability),
            Some(&lower) => Target::Ptx(lower),
            None => Target::Machine(capability),
        }
    }

    /// Compiles a file of kernels.
    pub fn compile(&self, module: Module, target: Target) -> Result<Vec<u8>, Error> {
        self.compile_source(module.file(), module.source(), target)
            .map_err(|reason| Error::Compile { file: module.file(), reason })
    }

    fn compile_source(&self, name: &str, source: &str, target: Target) -> Result<Vec<u8>, String> {
        type Create = unsafe extern "C" fn(
            *mut Program,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
        let text = |text: &str| CString::new(text).map_err(|e| e.to_string());
        let (name, source) = (text(name)?, text(source)?);
        let options: Vec<CString> = options(target).iter().map(|option| text(option)).collect::<Result<_, _>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();

        // SAFETY: nvrtc.h, unchanged since CUDA 7.
        let create = unsafe { self.function::<Create>(c"nvrtcCreateProgram") }?;
        // SAFETY: nvrtc.h, unchanged since CUDA 7.
        let compile = unsafe { self.function::<Compile>(c"nvrtcCompileProgram") }?;
        // SAFETY: nvrtc.h: nvrtcResult nvrtcDestroyProgram(nvrtcProgram *).
        let destroy = unsafe { self.function::<unsafe extern "C" fn(*mut Program) -> c_int>(c"nvrtcDestroyProgram") }?;
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: strings that end in 0 and outlive the program; no headers.
        let created =
            unsafe { create(&mut program, source.as_ptr(), name.as_ptr(), 0, std::ptr::null(), std::ptr::null()) };
        if created != OK {
            return Err(format!("nvrtcCreateProgram returned {created}"));
        }
        // SAFETY: the program was created above; as many options as are said.
        let compiled = unsafe { compile(program, pointers.len() as c_int, pointers.as_ptr()) };
        let result = if compiled == OK {
            let names = match target {
                Target::Machine(_) => (c"nvrtcGetCUBINSize", c"nvrtcGetCUBIN"),
                Target::Ptx(_) => (c"nvrtcGetPTXSize", c"nvrtcGetPTX"),
            };
            self.output(program, names)
        } else {
            let log = self.output(program, (c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            Err(format!("nvrtcCompileProgram returned {compiled}: {}", log.trim_end_matches(['\0', '\n'])))
        };
        // SAFETY: created above, not used after this.
        unsafe { destroy(&mut program) };
        result
    }

    /// What a pair of functions, one for the size and one for the bytes, gives.
    fn output(&self, program: Program, (size_of, get): (&CStr, &CStr)) -> Result<Vec<u8>, String> {
        // SAFETY: nvrtc.h: nvrtcResult nvrtcGet…Size(nvrtcProgram, size_t *), of all three pairs.
        let size_of = unsafe { self.function::<unsafe extern "C" fn(Program, *mut usize) -> c_int>(size_of) }?;
        // SAFETY: nvrtc.h: nvrtcResult nvrtcGet…(nvrtcProgram, char *), of all three pairs.
        let get = unsafe { self.function::<unsafe extern "C" fn(Program, *mut c_char) -> c_int>(get) }?;
        let mut size = 0;
        // SAFETY: a program that exists, and a place to write to.
        if unsafe { size_of(program, &mut size) } != OK {
            return Err("NVRTC does not give the size of what it has compiled".into());
        }
        let mut bytes = vec![0_u8; size];
        // SAFETY: as many bytes as it has said.
        if unsafe { get(program, bytes.as_mut_ptr().cast()) } != OK {
            return Err("NVRTC does not give what it has compiled".into());
        }
        Ok(bytes)
    }
}

/// How kernels are compiled: no fused multiply-add, so that sums are those of the CPU.
pub(crate) fn options(target: Target) -> [String; 3] {
    let arch = match target {
        Target::Machine(capability) => format!("--gpu-architecture=sm_{capability}"),
        Target::Ptx(capability) => format!("--gpu-architecture=compute_{capability}"),
    };
    [arch, "--fmad=false".into(), "--std=c++14".into()]
}
