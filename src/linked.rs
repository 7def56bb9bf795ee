//! The public C interface of `ffi/ggscope.h`.

use crate::interpose::ours;
use crate::session;
use ggscope_format::record::Record;
use std::ffi::{CStr, c_char};

const MAX_NOTE_BYTES: usize = 4096;

/// See `ffi/ggscope.h`.
#[unsafe(no_mangle)]
pub extern "C" fn ggscope_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// See `ffi/ggscope.h`.
#[unsafe(no_mangle)]
pub extern "C" fn ggscope_attach() -> bool {
    ours(session::current).flatten().is_some()
}

/// See `ffi/ggscope.h`.
#[unsafe(no_mangle)]
pub extern "C" fn ggscope_attached() -> bool {
    ours(session::attached).unwrap_or(false)
}

/// See `ffi/ggscope.h`.
///
/// # Safety
/// `text` is null or leads to a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ggscope_note(text: *const c_char) {
    if text.is_null() {
        return;
    }
    // SAFETY: promised by the caller.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes();
    ours(|| {
        if let Some(session) = session::current() {
            let text = String::from_utf8_lossy(&text[..text.len().min(MAX_NOTE_BYTES)]);
            session.push(&Record::Note(text.replace(['\n', '\r'], " ")));
        }
    });
}
