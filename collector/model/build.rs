//! Compiles the part of the vendored ggml that turns rows of bytes into numbers and back, and generates its
//! bindings. Links llama.cpp's loader into a program that the crate carries.

#[path = "../../ffi/vendored_ggml.rs"]
mod vendored_ggml;

use std::path::{Path, PathBuf};

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
    link_loader(&here.join("../../vendor"), &out.join("loader"));
}

/// Links the program that loads models with llama.cpp's own code, of the objects that the shared libraries were made of.
fn link_loader(vendor: &Path, to: &Path) {
    let build = vendor.join("build");
    let library = build.join("bin/libllama.so");
    if !library.exists() {
        eprintln!("error: llama.cpp is not built at {}: run `make vendor` first", build.display());
        std::process::exit(1);
    }
    println!("cargo::rerun-if-changed={}", library.display());
    let compiler = cc::Build::new().cpp(true).opt_level(1).debug(false).get_compiler();
    let mut link = compiler.to_command();
    link.args(["-std=c++17", "-s", "-o"]).arg(to).arg("ffi/loader.cpp");
    for include in ["include", "ggml/include"] {
        link.arg("-I").arg(vendor.join("llama.cpp").join(include));
    }
    let parts = [("src", "llama"), ("ggml/src", "ggml"), ("ggml/src", "ggml-cpu"), ("ggml/src", "ggml-base")];
    let folders = parts.map(|(dir, name)| build.join(dir).join(format!("CMakeFiles/{name}.dir")));
    let objects: Vec<PathBuf> = folders.iter().flat_map(|dir| objects(dir)).collect();
    if folders.iter().all(|dir| dir.is_dir()) {
        link.args(objects).args(["-static", "-fopenmp", "-pthread", "-ldl", "-lm"]);
    } else {
        // A llama.cpp of one's own may have come without its objects.
        let bin = build.join("bin");
        let run_path = format!("-Wl,-rpath,{}", bin.canonicalize().unwrap_or_else(|_| bin.clone()).display());
        link.arg("-L").arg(&bin).arg(run_path).args(["-lllama", "-lggml", "-lggml-cpu", "-lggml-base"]);
    }
    let linked = link.output().unwrap_or_else(|e| panic!("cannot run the C++ compiler: {e}"));
    if !linked.status.success() {
        eprintln!("error: cannot link llama.cpp's loader: {}", String::from_utf8_lossy(&linked.stderr));
        std::process::exit(1);
    }
}

/// The object files in a folder and in those inside it.
fn objects(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries
        .flat_map(|path| match path.is_dir() {
            true => objects(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|e| e == "o"))
        .collect();
    found.sort();
    found
}
