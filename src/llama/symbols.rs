//! llama.cpp's own functions, found in the library that the calling code uses.
//!
//! A process can hold several copies of libllama, for example those of two language bindings. A call must reach the
//! copy that it would have reached without ggscope, so the caller's return address decides where more than one copy
//! defines a function.

use crate::host::{Object, loads};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// What callers find where several copies define a function. Fork handlers take the lock, so that a child finds it in order.
pub static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

/// Addresses by the function's name and the base of the caller's library.
pub type Known = HashMap<(&'static str, u64), usize>;

/// One function of llama.cpp.
pub struct Symbol {
    /// Its name, ending with NUL.
    name: &'static str,
    /// Where it is, if only one loaded library defines it.
    only: AtomicPtr<c_void>,
    /// How many libraries had been loaded when that was found out.
    at: AtomicU64,
}

impl Symbol {
    /// The function of this NUL-terminated name.
    pub const fn new(name: &'static str) -> Symbol {
        Symbol { name, only: AtomicPtr::new(std::ptr::null_mut()), at: AtomicU64::new(u64::MAX) }
    }

    /// The function as code that returns to `caller` would find it; null if no loaded library has it.
    pub fn find(&self, caller: *const c_void) -> *mut c_void {
        let loads = loads();
        if self.at.load(Ordering::Acquire) == loads {
            return self.only.load(Ordering::Relaxed);
        }
        let objects = Object::all();
        let defining: Vec<&Object> = objects.iter().filter(|object| object.defines(self.name)).collect();
        match defining[..] {
            [] => std::ptr::null_mut(),
            [one] => {
                let found = one.symbol(self.name).unwrap_or(std::ptr::null_mut());
                self.only.store(found, Ordering::Relaxed);
                // SYNC POINT: with the acquire load above: who sees the number sees the function.
                self.at.store(loads, Ordering::Release);
                found
            }
            _ => self.of_caller(caller, &objects, defining[0]),
        }
    }

    /// With several copies: the one that the caller's library, or what it depends on, defines.
    fn of_caller(&self, caller: *const c_void, objects: &[Object], first: &Object) -> *mut c_void {
        let base = Object::base_of(caller).unwrap_or(0);
        if let Some(&known) = KNOWN.lock().get_or_insert_default().get(&(self.name, base)) {
            return known as *mut c_void;
        }
        let own = objects.iter().find(|object| object.is_at(base));
        let found = own.and_then(|object| object.symbol(self.name)).or_else(|| next(self.name));
        let found = found.or_else(|| first.symbol(self.name)).unwrap_or(std::ptr::null_mut());
        KNOWN.lock().get_or_insert_default().insert((self.name, base), found as usize);
        found
    }
}

/// What the program itself finds: the next definition in the global scope.
fn next(name: &'static str) -> Option<*mut c_void> {
    debug_assert!(name.ends_with('\0'));
    // SAFETY: the name ends with NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) };
    (!found.is_null()).then_some(found)
}
