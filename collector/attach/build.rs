//! Puts the shim into the crate, so that one installed file is enough. `GGSCOPE_EMBED_SHIM` names the `libggscope.so` to
//! carry; without it the collector looks for the shim next to itself.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    embed_shim(&out);
}

/// The value of a variable, and cargo's attention to it.
fn path_of(name: &str) -> Option<PathBuf> {
    println!("cargo::rerun-if-env-changed={name}");
    let path = std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = &path {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    path
}

fn is_release() -> bool {
    std::env::var("PROFILE").is_ok_and(|profile| profile == "release")
}

fn embed_shim(out: &Path) {
    let shim = path_of("GGSCOPE_EMBED_SHIM");
    let mut content = None;
    if shim.is_none() && is_release() {
        println!("cargo::warning=no shim is carried inside, as GGSCOPE_EMBED_SHIM is not set; `make` sets it");
    }
    if let Some(path) = &shim {
        match std::fs::read(path) {
            Ok(bytes) => content = Some(bytes),
            Err(error) => println!("cargo::warning=no shim is carried inside: {}: {error}", path.display()),
        }
    }
    let hash = xxhash_rust::xxh3::xxh3_64(content.as_deref().unwrap_or_default());
    let code = match &content {
        Some(_) => format!("Some((include_bytes!(concat!(env!(\"OUT_DIR\"), \"/shim.so\")), {hash:#x}))"),
        None => "None".to_owned(),
    };
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(out.join(name), bytes).unwrap_or_else(|error| panic!("cannot write {name} to OUT_DIR: {error}"));
    };
    write("shim.so", content.as_deref().unwrap_or_default());
    write("shim.rs", code.as_bytes());
}
