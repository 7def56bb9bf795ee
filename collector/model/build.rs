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
    let parts = [("src", "llama"), ("ggml/src", "ggml"), ("ggml/src", "ggml-cpu"), ("ggml/src", "ggml-base")];
    let folders = parts.map(|(dir, name)| build.join(dir).join(format!("CMakeFiles/{name}.dir")));
    let objects: Vec<PathBuf> = folders.iter().flat_map(|dir| objects(dir)).collect();
    let whole = folders.iter().all(|dir| dir.is_dir());
    // Without a static libc the program needs this machine's libraries, and without llama.cpp's objects those of llama.cpp.
    let libraries = ["-fopenmp", "-pthread", "-ldl", "-lm"];
    let with = |first: &[&str]| link(vendor, to, &objects, &[first, &libraries].concat()).is_ok();
    let linked = whole && (with(&["-static"]) || with(&[]));
    if linked {
        return;
    }
    let bin = build.join("bin").canonicalize().unwrap_or_else(|e| panic!("cannot find {}/bin: {e}", build.display()));
    let (folder, run_path) = (format!("-L{}", bin.display()), format!("-Wl,-rpath,{}", bin.display()));
    if let Err(why) = link(vendor, to, &[], &[&folder, &run_path, "-lllama", "-lggml", "-lggml-cpu", "-lggml-base"]) {
        eprintln!("error: cannot link llama.cpp's loader: {why}");
        std::process::exit(1);
    }
}

/// Compiles `ffi/loader.cpp` and links it with `objects` and `libraries`.
fn link(vendor: &Path, to: &Path, objects: &[PathBuf], libraries: &[&str]) -> Result<(), String> {
    let compiler = cc::Build::new().cpp(true).opt_level(1).debug(false).get_compiler();
    let mut command = compiler.to_command();
    command.args(["-std=c++17", "-s", "-o"]).arg(to).arg("ffi/loader.cpp");
    for include in ["include", "ggml/include"] {
        command.arg("-I").arg(vendor.join("llama.cpp").join(include));
    }
    let linked = command.args(objects).args(libraries).output().map_err(|e| format!("cannot run the compiler: {e}"))?;
    let why = || String::from_utf8_lossy(&linked.stderr).into_owned();
    if linked.status.success() { Ok(()) } else { Err(why()) }
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
