//! The host's own ggml: every function of it that the shim calls, found in the object that defines it.
//!
//! `dlsym(RTLD_NEXT)` does not see a ggml that was opened with `RTLD_LOCAL`, as language bindings do, so the loaded
//! objects are searched instead. In a `static-wrap` build the linker has bound the functions already.

use crate::ggml;
use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

/// `ggml_tensor`, only ever reached through [`crate::abi::Layout`].
pub type Tensor = c_void;
/// `ggml_cgraph`.
pub type CGraph = c_void;
/// `ggml_backend_t`.
pub type Backend = *mut c_void;
/// `ggml_backend_sched_t`.
pub type Sched = *mut c_void;
/// `ggml_backend_buffer_t`.
pub type Buffer = *mut c_void;
/// `ggml_backend_buffer_type_t`.
pub type BufferType = *mut c_void;
/// `ggml_backend_dev_t`.
pub type Device = *mut c_void;
/// `ggml_backend_reg_t`.
pub type Reg = *mut c_void;
/// `ggml_abort_callback`.
pub type AbortCallback = Option<unsafe extern "C" fn(*mut c_void) -> bool>;
/// `ggml_backend_set_abort_callback_t`.
pub type SetAbortCallback = unsafe extern "C" fn(Backend, AbortCallback, *mut c_void);

/// `ggml_backend_sched_reserve_size`.
pub type ReserveSize = unsafe extern "C" fn(Sched, *mut CGraph, *mut usize);

/// Declares the functions once: a table of pointers, how to fill it, and a check against the vendored headers.
macro_rules! host_functions {
    (@declare hooked $name:ident ($($ty:ty),*) $(-> $ret:ty)?) => {
        unsafe extern "C" {
            #[link_name = concat!("__real_", stringify!($name))]
            fn $name($(_: $ty),*) $(-> $ret)?;
        }
    };
    (@declare $name:ident ($($ty:ty),*) $(-> $ret:ty)?) => {
        unsafe extern "C" { fn $name($(_: $ty),*) $(-> $ret)?; }
    };
    ($($(#[$kind:ident])? fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {
        /// Pointers to the host's functions, named as in ggml.
        #[allow(missing_docs)]
        #[derive(Clone, Copy)]
        pub struct Host {
            $(pub $name: unsafe extern "C" fn($($ty),*) $(-> $ret)?,)*
            /// Only newer releases have it.
            pub ggml_backend_sched_reserve_size: Option<ReserveSize>,
            /// The library that all of it was found in.
            pub library: &'static str,
            /// A function that the library does not have. Then only calls of the program itself may be made: those are
            /// of functions that it has.
            pub missing: Option<&'static str>,
        }

        impl Host {
            /// Fills the table.
            #[cfg(not(feature = "static-wrap"))]
            fn load(object: &Object) -> Host {
                let mut missing = None;
                Host { $($name: {
                    let name = concat!(stringify!($name), "\0");
                    let found = object.symbol(name).unwrap_or_else(|| {
                        missing.get_or_insert(stringify!($name));
                        absent as extern "C" fn() as *mut c_void
                    });
                    // SAFETY: the symbol of this name has this C signature in every ggml that has it: pointers and
                    // scalars only, checked against the vendored headers below.
                    unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($ty),*) $(-> $ret)?>(found) }
                },)*
                ggml_backend_sched_reserve_size: object.symbol("ggml_backend_sched_reserve_size\0").map(|found| {
                    // SAFETY: as above.
                    unsafe { std::mem::transmute::<*mut c_void, ReserveSize>(found) }
                }),
                library: String::leak(object.path.clone()),
                missing,
                }
            }

            #[cfg(feature = "static-wrap")]
            fn linked() -> Host {
                $(host_functions!(@declare $($kind)? $name ($($ty),*) $(-> $ret)?);)*
                Host { $($name,)* ggml_backend_sched_reserve_size: None, library: "linked statically", missing: None }
            }
        }

        /// The header's functions, so that one that is renamed or gone does not compile.
        #[allow(unused_imports)]
        mod header_check { $(use super::ggml::$name;)* }
    };
}

/// The context size, memory and no-allocation flag of `ggml_init`, passed by value. Unchanged since ggml's first
/// release; a host where it differs fails the ABI proof.
#[repr(C)]
pub struct InitParams {
    /// Bytes.
    pub mem_size: usize,
    /// Null: ggml allocates.
    pub mem_buffer: *mut c_void,
    /// Whether tensors get no data.
    pub no_alloc: bool,
}

const _: () = assert!(std::mem::size_of::<InitParams>() == std::mem::size_of::<ggml::ggml_init_params>());

host_functions! {
    fn ggml_init(params: InitParams) -> *mut c_void;
    fn ggml_free(ctx: *mut c_void);
    fn ggml_tensor_overhead() -> usize;
    fn ggml_new_tensor_3d(ctx: *mut c_void, ty: c_int, ne0: i64, ne1: i64, ne2: i64) -> *mut Tensor;
    fn ggml_view_1d(ctx: *mut c_void, a: *mut Tensor, ne0: i64, offset: usize) -> *mut Tensor;
    fn ggml_mul_mat(ctx: *mut c_void, a: *mut Tensor, b: *mut Tensor) -> *mut Tensor;
    fn ggml_scale(ctx: *mut c_void, a: *mut Tensor, s: f32) -> *mut Tensor;
    fn ggml_set_input(t: *mut Tensor);
    fn ggml_set_output(t: *mut Tensor);
    fn ggml_set_name(t: *mut Tensor, name: *const c_char) -> *mut Tensor;
    fn ggml_get_name(t: *const Tensor) -> *const c_char;
    fn ggml_get_data(t: *const Tensor) -> *mut c_void;
    fn ggml_nbytes(t: *const Tensor) -> usize;
    fn ggml_is_contiguous(t: *const Tensor) -> bool;
    fn ggml_op_desc(t: *const Tensor) -> *const c_char;
    fn ggml_op_name(op: c_int) -> *const c_char;
    fn ggml_type_name(ty: c_int) -> *const c_char;
    fn ggml_type_size(ty: c_int) -> usize;
    fn ggml_blck_size(ty: c_int) -> i64;
    fn ggml_new_graph(ctx: *mut c_void) -> *mut CGraph;
    fn ggml_graph_overhead() -> usize;
    fn ggml_build_forward_expand(graph: *mut CGraph, t: *mut Tensor);
    fn ggml_graph_n_nodes(graph: *mut CGraph) -> c_int;
    fn ggml_graph_node(graph: *mut CGraph, i: c_int) -> *mut Tensor;
    fn ggml_backend_name(backend: Backend) -> *const c_char;
    fn ggml_backend_get_device(backend: Backend) -> Device;
    fn ggml_backend_dev_type(device: Device) -> c_int;
    fn ggml_backend_dev_backend_reg(device: Device) -> Reg;
    fn ggml_backend_tensor_get(t: *const Tensor, data: *mut c_void, offset: usize, size: usize);
    fn ggml_backend_tensor_alloc(buffer: Buffer, t: *mut Tensor, addr: *mut c_void) -> c_int;
    fn ggml_backend_cpu_buffer_type() -> BufferType;
    fn ggml_backend_buffer_name(buffer: Buffer) -> *const c_char;
    fn ggml_backend_buffer_get_base(buffer: Buffer) -> *mut c_void;
    fn ggml_backend_buffer_get_size(buffer: Buffer) -> usize;
    fn ggml_backend_buffer_get_usage(buffer: Buffer) -> c_int;
    fn ggml_backend_buffer_is_host(buffer: Buffer) -> bool;
    fn ggml_backend_sched_get_n_splits(sched: Sched) -> c_int;
    #[hooked] fn ggml_backend_sched_new(backends: *mut Backend, bufts: *mut BufferType, n_backends: c_int, graph_size: usize, parallel: bool, op_offload: bool) -> Sched;
    #[hooked] fn ggml_backend_sched_free(sched: Sched);
    #[hooked] fn ggml_backend_sched_reserve(sched: Sched, graph: *mut CGraph) -> bool;
    #[hooked] fn ggml_backend_sched_alloc_graph(sched: Sched, graph: *mut CGraph) -> bool;
    #[hooked] fn ggml_backend_sched_graph_compute(sched: Sched, graph: *mut CGraph) -> c_int;
    #[hooked] fn ggml_backend_sched_graph_compute_async(sched: Sched, graph: *mut CGraph) -> c_int;
    #[hooked] fn ggml_backend_sched_synchronize(sched: Sched);
    #[hooked] fn ggml_backend_graph_compute(backend: Backend, graph: *mut CGraph) -> c_int;
    #[hooked] fn ggml_backend_graph_compute_async(backend: Backend, graph: *mut CGraph) -> c_int;
    #[hooked] fn ggml_backend_synchronize(backend: Backend);
    #[hooked] fn ggml_backend_tensor_copy(src: *mut Tensor, dst: *mut Tensor);
    #[hooked] fn ggml_backend_tensor_set(tensor: *mut Tensor, data: *const c_void, offset: usize, size: usize);
    #[hooked] fn ggml_backend_free(backend: Backend);
    #[hooked] fn ggml_backend_reg_get_proc_address(reg: Reg, name: *const c_char) -> *mut c_void;
    #[hooked] fn ggml_backend_buft_alloc_buffer(buft: BufferType, size: usize) -> Buffer;
    #[hooked] fn ggml_backend_dev_buffer_from_host_ptr(device: Device, ptr: *mut c_void, size: usize, max_tensor_size: usize) -> Buffer;
    #[hooked] fn ggml_backend_buffer_free(buffer: Buffer);
}

/// The function that an object must define to be the one that holds ggml's scheduler.
#[cfg(not(feature = "static-wrap"))]
const LANDMARK: &str = "ggml_backend_sched_graph_compute_async\0";

/// Stands where the host has no function; see [`Host::missing`].
#[cfg(not(feature = "static-wrap"))]
extern "C" fn absent() {
    std::process::abort();
}

static HOST: OnceLock<Host> = OnceLock::new();

impl Host {
    /// The host's ggml.
    ///
    /// # Errors
    /// When there is no ggml in the process (yet).
    pub fn get() -> Result<&'static Host, String> {
        if let Some(host) = HOST.get() {
            return Ok(host);
        }
        let found = Host::find()?;
        Ok(HOST.get_or_init(|| found))
    }

    /// Whether the host was found, and found to lack a function that tracing needs.
    pub fn is_incomplete() -> bool {
        HOST.get().is_some_and(|host| host.missing.is_some())
    }

    #[cfg(feature = "static-wrap")]
    fn find() -> Result<Host, String> {
        Ok(Host::linked())
    }

    #[cfg(not(feature = "static-wrap"))]
    fn find() -> Result<Host, String> {
        let object = Object::all()
            .into_iter()
            .find(|object| object.defines(LANDMARK))
            .ok_or("no loaded library defines ggml's scheduler")?;
        Ok(Host::load(&object))
    }
}

/// The function that sets the abort callback of the CPU backends of a registration, where looking it up has led to `found`:
/// to nothing in older releases, and where it led to the hook of this library, that stands in the function's place.
#[cfg(not(feature = "static-wrap"))]
pub fn cpu_setter(reg: Reg, found: *mut c_void) -> Option<SetAbortCallback> {
    const NAME: &str = "ggml_backend_cpu_set_abort_callback\0";
    let found = if found.is_null() || objects::is_own(found) {
        Object::holding(reg).filter(|object| object.defines(NAME))?.symbol(NAME)?
    } else {
        found
    };
    // SAFETY: ggml documents the function under either name to have this type.
    Some(unsafe { std::mem::transmute::<*mut c_void, SetAbortCallback>(found) })
}

/// In static links the function that is looked up is the backend's own.
#[cfg(feature = "static-wrap")]
pub fn cpu_setter(_: Reg, found: *mut c_void) -> Option<SetAbortCallback> {
    // SAFETY: ggml documents the function under this name to have this type.
    (!found.is_null()).then(|| unsafe { std::mem::transmute::<*mut c_void, SetAbortCallback>(found) })
}

#[cfg(not(feature = "static-wrap"))]
pub use objects::{Object, loads};

#[cfg(not(feature = "static-wrap"))]
mod objects {
    //! The objects that the dynamic linker has loaded.

    use std::ffi::{CStr, CString, c_int, c_void};

    /// A loaded library, opened once more so that its symbols can be asked for. It stays loaded.
    pub struct Object {
        /// As the dynamic linker knows it.
        pub path: String,
        base: u64,
        handle: *mut c_void,
    }

    impl Object {
        /// All loaded libraries but this one; the program itself is not one of them.
        pub fn all() -> Vec<Object> {
            let own = base_of(Object::all as fn() -> Vec<Object> as *const c_void);
            let mut found: Vec<(String, u64)> = vec![];
            // SAFETY: the callback gets `found`, alive and not used by anybody else, and does not unwind.
            unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut found).cast()) };
            let open = |(path, base): (String, u64)| {
                let name = CString::new(path.as_str()).ok()?;
                // SAFETY: NOLOAD only finds what is loaded already; no initialiser runs.
                let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY) };
                (!handle.is_null()).then_some(Object { path, base, handle })
            };
            found.into_iter().filter(|(path, base)| !path.is_empty() && Some(*base) != own).filter_map(open).collect()
        }

        /// The library whose code or data is at the address.
        pub fn holding(addr: *const c_void) -> Option<Object> {
            let base = base_of(addr)?;
            Object::all().into_iter().find(|object| object.base == base)
        }

        /// The address of the function of the given NUL-terminated name, in this object or one that it depends on,
        /// but never in this library.
        pub fn symbol(&self, name: &'static str) -> Option<*mut c_void> {
            debug_assert!(name.ends_with('\0'));
            // SAFETY: the handle is open and the name ends with NUL.
            let found = unsafe { libc::dlsym(self.handle, name.as_ptr().cast()) };
            let own = base_of(Object::all as fn() -> Vec<Object> as *const c_void);
            (!found.is_null() && base_of(found) != own).then_some(found)
        }

        /// Start of the object that holds the address.
        pub fn base_of(addr: *const c_void) -> Option<u64> {
            base_of(addr)
        }

        /// Whether the object begins there.
        pub fn is_at(&self, base: u64) -> bool {
            self.base == base
        }

        /// Whether the object itself, not one that it depends on, defines the function.
        pub fn defines(&self, name: &'static str) -> bool {
            self.symbol(name).is_some_and(|found| base_of(found) == Some(self.base))
        }
    }

    /// How many objects the dynamic linker has loaded so far: changes when one is loaded.
    pub fn loads() -> u64 {
        /// # Safety
        /// Only `dl_iterate_phdr` calls it, with a `u64` as `data`.
        unsafe extern "C" fn first(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
            // SAFETY: the dynamic linker passes a valid `info`; `data` is the number below.
            unsafe { *data.cast::<u64>() = (*info).dlpi_adds };
            1
        }
        let mut loads = 0_u64;
        // SAFETY: the callback gets `loads`, alive and not used by anyone else, and does not unwind.
        unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut loads).cast()) };
        loads
    }

    /// Whether the address is in this library.
    pub fn is_own(addr: *const c_void) -> bool {
        base_of(addr) == base_of(Object::all as fn() -> Vec<Object> as *const c_void)
    }

    /// Start of the object that holds the address.
    fn base_of(addr: *const c_void) -> Option<u64> {
        // SAFETY: all-zero is a valid `Dl_info`, and `dladdr` takes any address.
        unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            (libc::dladdr(addr, &mut info) != 0).then_some(info.dli_fbase as u64)
        }
    }

    /// # Safety
    /// Only `dl_iterate_phdr` calls it, with the vector of `all` as `data`.
    unsafe extern "C" fn collect(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
        // SAFETY: the dynamic linker passes a valid `info` with a NUL-terminated name; `data` is the vector of `all`.
        let (info, found) = unsafe { (&*info, &mut *data.cast::<Vec<(String, u64)>>()) };
        if !info.dlpi_name.is_null() && info.dlpi_phnum > 0 {
            // SAFETY: as above; the headers are `dlpi_phnum` long.
            let (name, headers) = unsafe {
                (
                    CStr::from_ptr(info.dlpi_name),
                    std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)),
                )
            };
            let first = headers.iter().filter(|h| h.p_type == libc::PT_LOAD).map(|h| h.p_vaddr & !0xfff).min();
            let base = info.dlpi_addr.wrapping_add(first.unwrap_or(0));
            found.push((name.to_string_lossy().into_owned(), base));
        }
        0
    }
}

/// The host's string behind a pointer, lossily, or empty for null.
///
/// # Safety
/// `text` is null or leads to a NUL-terminated string.
pub unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
