//! Generates Rust types from the vendored ggml headers and checks that `ffi/ggscope.h` is valid C.
//!
//! The types only check our declarations at compile time; at run time the layout is proven on the host's own ggml.

use std::path::{Path, PathBuf};

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let include = root.join("vendor/llama.cpp/ggml/include");
    if !include.join("ggml.h").exists() {
        eprintln!(
            "error: ggml's headers are not at {}: run `make vendor` first (it fetches llama.cpp into the cache)",
            include.display()
        );
        std::process::exit(1);
    }
    println!("cargo::rerun-if-changed=ffi");
    println!("cargo::rerun-if-changed={}", include.join("ggml.h").display());
    generate_types(&include);
    compile_header_check();
}

fn generate_types(include: &Path) {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("ggml.rs");
    bindgen::Builder::default()
        .header("ffi/host.h")
        .clang_arg(format!("-I{}", include.display()))
        .clang_args(gcc_include())
        .allowlist_function("ggml_.*")
        .allowlist_type("ggml_.*")
        .allowlist_var("GGML_MAX_.*")
        .blocklist_function(".*(printf|fprint|quantize|long_double).*")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .layout_tests(false)
        .generate_comments(false)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .generate()
        .unwrap_or_else(|e| {
            eprintln!("error: bindgen cannot read ggml's headers in {}: {e}", include.display());
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

fn compile_header_check() {
    cc::Build::new()
        .file("ffi/header_check.c")
        .include("ffi")
        .warnings(true)
        .warnings_into_errors(true)
        .compile("ggscope_header_check");
}
