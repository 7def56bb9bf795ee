//! Compiles the part of the vendored ggml that turns rows of bytes into numbers and back, and generates its bindings.

#[path = "../../ffi/vendored_ggml.rs"]
mod vendored_ggml;

use std::path::PathBuf;

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=ffi");
    println!("cargo::rerun-if-changed=../../ffi/vendored_ggml.rs");
    let ggml = vendored_ggml::ggml_dir(&here.join("../.."));
    let include = [ggml.join("include"), ggml.join("src"), out.clone()];
    // CMake makes this header from a template; what it says is printed nowhere.
    let version = out.join("ggml-version.h");
    std::fs::write(&version, "#define GGML_VERSION \"vendored\"\n#define GGML_COMMIT \"vendored\"\n")
        .unwrap_or_else(|e| panic!("cannot write {}: {e}", version.display()));
    vendored_ggml::write_bindings(
        vendored_ggml::bindings("ffi/ggml_rows.h", &include)
            .clang_arg("-DGGML_COMMON_DECL_C")
            .allowlist_function("ggml_get_type_traits|ggml_quantize_(chunk|requires_imatrix)|dequantize_row_q8_K")
            .allowlist_function("ggscope_.*")
            .allowlist_type("block_.*")
            .allowlist_var("GGML_TYPE_.*|ggscope_.*")
            .prepend_enum_name(false),
    );
    cc::Build::new()
        .files(["ggml.c", "ggml-quants.c"].map(|file| ggml.join("src").join(file)))
        .file("ffi/ggml_rows.c")
        .includes(&include)
        .define("_GNU_SOURCE", None)
        // As in a release of ggml: what `assert` says is checked before the calls.
        .define("NDEBUG", None)
        .opt_level(3)
        .debug(false)
        // A product and a sum are rounded one by one on every machine, as on x86-64.
        .flag("-ffp-contract=off")
        .flag("-fvisibility=hidden")
        .warnings(false)
        .compile("ggml_rows");
}
