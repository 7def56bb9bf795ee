//! Generates Rust types from the vendored ggml headers and checks that `ffi/ggscope.h` is valid C.
//!
//! The types only check our declarations at compile time; at run time the layout is proven on the host's own ggml.

#[path = "ffi/vendored_ggml.rs"]
mod vendored_ggml;

use std::path::PathBuf;

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let include = vendored_ggml::ggml_dir(&root).join("include");
    println!("cargo::rerun-if-changed=ffi");
    vendored_ggml::write_bindings(
        vendored_ggml::bindings("ffi/host.h", &[include])
            .allowlist_function("ggml_.*")
            .allowlist_type("ggml_.*")
            .allowlist_var("GGML_MAX_.*")
            .blocklist_function(".*(printf|fprint|quantize|long_double).*"),
    );
    compile_header_check();
}

fn compile_header_check() {
    cc::Build::new()
        .file("ffi/header_check.c")
        .include("ffi")
        .warnings(true)
        .warnings_into_errors(true)
        .compile("ggscope_header_check");
}
