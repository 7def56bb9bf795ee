//! What build scripts need to read the vendored ggml: where it is, and a bindgen that finds C's own headers.
//! Not a module of any crate; each `build.rs` names it by its path.

use std::path::{Path, PathBuf};

/// Folder of ggml (`include/`, `src/`) in the workspace `root`. Ends the build with a plain message where it is missing.
pub fn ggml_dir(root: &Path) -> PathBuf {
    let ggml = root.join("vendor/llama.cpp/ggml");
    let header = ggml.join("include/ggml.h");
    if !header.exists() {
        eprintln!(
            "error: ggml's headers are not at {}: run `make vendor` first (it fetches llama.cpp into the cache)",
            ggml.join("include").display()
        );
        std::process::exit(1);
    }
    println!("cargo::rerun-if-changed={}", header.display());
    ggml
}

/// A bindgen for `header` of ours, which includes ggml's from the folders `include`.
pub fn bindings(header: &str, include: &[PathBuf]) -> bindgen::Builder {
    bindgen::Builder::default()
        .header(header)
        .clang_args(include.iter().map(|dir| format!("-I{}", dir.display())))
        .clang_args(gcc_include())
        .default_enum_style(bindgen::EnumVariation::Consts)
        .layout_tests(false)
        .generate_comments(false)
        .rust_edition(bindgen::RustEdition::Edition2024)
}

/// Writes what `bindings` generates to `ggml.rs` in `OUT_DIR`.
pub fn write_bindings(bindings: bindgen::Builder) {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("ggml.rs");
    bindings
        .generate()
        .unwrap_or_else(|e| {
            eprintln!("error: bindgen cannot read ggml's headers: {e}");
            std::process::exit(1);
        })
        .write_to_file(&out)
        .unwrap_or_else(|e| panic!("cannot write {}: {e}", out.display()));
}

/// A libclang without its own headers (as some packages ship it) finds `stddef.h` among gcc's.
fn gcc_include() -> Option<String> {
    let out = std::process::Command::new("gcc").arg("-print-file-name=include").output().ok()?;
    let dir = String::from_utf8(out.stdout).ok()?;
    Some(format!("-idirafter{}", dir.trim()))
}
