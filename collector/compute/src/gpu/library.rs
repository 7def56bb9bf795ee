//! NVIDIA's libraries, loaded when they are first needed, in whatever version there is: cudarc knows the file names of some
//! versions only, and stops the program where it finds none.

use libloading::{Library, Symbol};
use std::ffi::CStr;
use std::path::{Path, PathBuf};

/// Where CUDA is installed; first what the loader finds.
const FOLDERS: [&str; 4] = ["", "/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/opt/cuda/lib64"];

/// Where a library is looked for, best first: only what the environment's `variable` names if it names something, or each of
/// the file names in each folder.
fn candidates(variable: &str, names: &[&str]) -> Vec<PathBuf> {
    match std::env::var_os(variable) {
        Some(own) => vec![own.into()],
        None => FOLDERS.iter().flat_map(|folder| names.iter().map(|name| Path::new(folder).join(name))).collect(),
    }
}

/// Opens the first that can be.
///
/// # Errors
/// What was said of the first: the loader's own words are the clearest there.
pub(super) fn first<T>(variable: &str, names: &[&str], open: impl Fn(&Path) -> Result<T, String>) -> Result<T, String> {
    let mut why = String::new();
    for path in candidates(variable, names) {
        match open(&path) {
            Ok(opened) => return Ok(opened),
            Err(error) if why.is_empty() => why = error,
            Err(_) => {}
        }
    }
    Err(why)
}

/// A function of a library.
///
/// # Errors
/// A name that it does not have, and what has it.
///
/// # Safety
/// `F` must be the type of the function.
pub(super) unsafe fn function<'l, F>(library: &'l Library, name: &CStr, of: &str) -> Result<Symbol<'l, F>, String> {
    // SAFETY: the caller's promise.
    unsafe { library.get(name.to_bytes_with_nul()) }
        .map_err(|_| format!("it has no {}: {of} or newer is needed", name.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_nowhere_is_told_of_in_the_words_for_the_first_place() {
        let looked = std::cell::RefCell::new(vec![]);
        let refuse = |path: &Path| {
            looked.borrow_mut().push(path.to_owned());
            Err::<(), _>(format!("no {}", path.display()))
        };
        assert_eq!(first("GGSCOPE_NO_SUCH_NAME", &["libone.so", "libtwo.so"], refuse), Err("no libone.so".into()));
        assert_eq!(
            looked.borrow()[..3],
            ["libone.so", "libtwo.so", "/usr/local/cuda/lib64/libone.so"].map(PathBuf::from)
        );
        assert_eq!(looked.borrow().len(), 2 * FOLDERS.len());
    }
}
