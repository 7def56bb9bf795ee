//! Puts the page into the crate, so that one installed file is enough. `GGSCOPE_EMBED_UI` names the folder that Vite has
//! built; without it the server says in place of a page how to build one.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    embed_page(&out);
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

/// Copies the page to `$OUT_DIR/ui`, which is there in any case.
fn embed_page(out: &Path) {
    let ui = out.join("ui");
    let _ = std::fs::remove_dir_all(&ui);
    std::fs::create_dir_all(&ui).unwrap_or_else(|error| panic!("cannot create {}: {error}", ui.display()));
    match path_of("GGSCOPE_EMBED_UI") {
        Some(from) => {
            if let Err(error) = copy(&from, &ui) {
                println!("cargo::warning=not all of the page is carried inside: {}: {error}", from.display());
            }
        }
        None if is_release() => {
            println!("cargo::warning=no page is carried inside, as GGSCOPE_EMBED_UI is not set; `make` sets it");
        }
        None => {}
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&to)?;
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
