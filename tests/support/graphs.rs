//! The vendored ggml in the test's own process, to build graphs with.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use ggscope::abi::{self, Layout};
use ggscope::host::{Host, InitParams, Tensor};

/// Numbers of types in ggml.
pub const F32: c_int = 0;
/// See [`F32`].
pub const I32: c_int = 26;

/// A tensor of a graph.
pub type Node = *mut Tensor;

/// The vendored ggml, loaded into this process.
pub struct Ggml {
    pub host: &'static Host,
    pub layout: Layout,
    pub handle: usize,
}

pub fn ggml() -> &'static Ggml {
    static GGML: OnceLock<Ggml> = OnceLock::new();
    GGML.get_or_init(|| {
        let library = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor/build/bin/libggml-base.so\0");
        // SAFETY: the path ends with NUL; ggml's initialisers have no preconditions.
        let handle = unsafe { libc::dlopen(library.as_ptr().cast(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "run `make vendor` first");
        let host = Host::get().expect("it was just loaded");
        Ggml { host, layout: abi::prove(host).expect("the vendored ggml is known"), handle: handle as usize }
    })
}

/// Calls a function of ggml that the shim itself has no use for.
macro_rules! call {
    ($name:ident($($arg:expr => $ty:ty),*) $(-> $ret:ty)?) => {{
        let name = concat!(stringify!($name), "\0");
        // SAFETY: the library is open, and the function has this C signature.
        unsafe {
            let found = libc::dlsym($crate::graphs::ggml().handle as *mut std::ffi::c_void, name.as_ptr().cast());
            assert!(!found.is_null(), "{name}");
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($ty),*) $(-> $ret)?>(found)($($arg),*)
        }
    }};
}
pub(crate) use call;

/// A context of ggml whose tensors have no data: in memory of its own, or in `memory`, where those of the next one will have
/// the same addresses.
pub fn context(memory: Option<&mut [u64]>) -> *mut c_void {
    let (mem_size, mem_buffer) = match memory {
        Some(memory) => (size_of_val(memory), memory.as_mut_ptr().cast::<c_void>()),
        None => (1 << 20, std::ptr::null_mut()),
    };
    // SAFETY: ggml's documented use; the memory is the caller's for as long as it uses the context.
    unsafe { (ggml().host.ggml_init)(InitParams { mem_size, mem_buffer, no_alloc: true }) }
}
