//! Opens the device that the user wants, with compiled kernels kept in the user's cache.

use crate::{Compute, Device, Error};
use std::ffi::OsString;
use std::path::PathBuf;

/// Opens the device. `avoid`: processes that are traced; `auto` takes no GPU that one of them uses.
///
/// # Errors
/// When a GPU was asked for that is not there.
pub fn open_device(device: Device, avoid: &[u32]) -> Result<Compute, Error> {
    Compute::open(device, avoid, cache(|name| std::env::var_os(name)).as_deref())
}

/// The folder for compiled kernels, as the XDG Base Directory Specification has it.
fn cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(home.join("ggscope/kernels"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_kernels_are_in_the_users_cache() {
        let of = |variables: &[(&str, &str)]| {
            let found = |name: &str| variables.iter().find(|v| v.0 == name).map(|v| OsString::from(v.1));
            cache(found).map(|path| path.display().to_string())
        };
        let both = [("XDG_CACHE_HOME", "/c"), ("HOME", "/home/a")];
        assert_eq!(of(&both).as_deref(), Some("/c/ggscope/kernels"));
        assert_eq!(of(&both[1..]).as_deref(), Some("/home/a/.cache/ggscope/kernels"));
        assert_eq!(of(&[("XDG_CACHE_HOME", "relative"), ("HOME", "")]), None);
    }
}
