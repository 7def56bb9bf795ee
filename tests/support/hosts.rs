//! Compiles the host programs of `tests/hosts/` on demand into `target/tests-hosts/`. The name holds a hash of
//! everything that goes into the program, and a finished program is renamed into place: test processes that run at
//! the same time share one result without a lock.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::vendored;

/// Linked with libllama: `generate MODEL N [options]`; the options are listed in its source.
pub fn generate() -> PathBuf {
    linked_with_llama("generate")
}

/// Linked with libllama: `two_contexts MODEL N [THREADS_PER_CONTEXT]`.
pub fn two_contexts() -> PathBuf {
    linked_with_llama("two_contexts")
}

/// Linked with libllama: `two_models MODEL_0 MODEL_1 N WHICH [nommap]`.
pub fn two_models() -> PathBuf {
    linked_with_llama("two_models")
}

/// Linked with libllama: `pool MODEL N_PREDICT N_THREADS N_CONTEXTS [new]`.
pub fn pool() -> PathBuf {
    linked_with_llama("pool")
}

/// Linked with libllama: `sequences MODEL old|ext UNIFIED N_UBATCH SCENARIO`; its source lists the scenarios.
pub fn sequences() -> PathBuf {
    linked_with_llama("sequences")
}

/// Linked with libllama: `feed MODEL N`; needs no vocabulary.
pub fn feed() -> PathBuf {
    linked_with_llama("feed")
}

/// As `feed`, but the graph's inputs have no names.
pub fn feed_unnamed() -> PathBuf {
    linked_with_llama("feed_unnamed")
}

/// Linked with libggml: `unnamed N [ignored…]`; its tensors have no names of their own.
pub fn unnamed() -> PathBuf {
    linked_with_llama("unnamed")
}

/// Linked with libllama: `pieces MODEL`; loads the vocabulary only.
pub fn pieces() -> PathBuf {
    linked_with_llama("pieces")
}

/// Linked with libggml: `reused_address`; another thread gets the address of a backend that is being freed.
pub fn reused_address() -> PathBuf {
    linked_with_llama("reused_address")
}

/// Linked with libggml: `fork_with_runs early|late|often`; forks while a device computes.
pub fn fork_with_runs() -> PathBuf {
    linked_with_llama("fork_with_runs")
}

/// Linked with libllama: `load_only MODEL N_CTX N_SEQ UNIFIED N_UBATCH TYPE_K TYPE_V MMAP`; computes nothing.
pub fn load_only() -> PathBuf {
    linked_with_llama("load_only")
}

/// Linked with libllama: `verdicts`, which reads paths from stdin and says of each whether llama.cpp loads it.
pub fn verdicts() -> PathBuf {
    in_cpp("verdicts", &[])
}

/// Headers of models of every architecture, by llama.cpp's own test generator: `arch_headers FOLDER`.
pub fn arch_headers() -> PathBuf {
    in_cpp("arch_headers", &[vendored::llama_cpp().join("tests/test-llama-archs.cpp")])
}

/// Small models with random weights of every architecture of llama.cpp's own test generator; its source lists the commands.
pub fn archs() -> PathBuf {
    in_cpp("archs", &[vendored::llama_cpp().join("tests/test-llama-archs.cpp")])
}

/// A program in C++ that uses what llama.cpp keeps to itself; it also changes with `inputs`.
fn in_cpp(name: &str, inputs: &[PathBuf]) -> PathBuf {
    let (tree, bin) = (vendored::llama_cpp(), vendored::bin());
    let mut flags: Vec<String> = ["", "include", "ggml/include", "common", "src", "vendor", "tests"]
        .iter()
        .map(|dir| format!("-I{}", tree.join(dir).display()))
        .collect();
    flags.extend([format!("-L{}", bin.display()), format!("-Wl,-rpath,{}", bin.display())]);
    flags.extend(["-lllama-common", "-lllama", "-lggml", "-lggml-base"].map(String::from));
    let program = source(&format!("{name}.cpp"));
    build(name, &[inputs, std::slice::from_ref(&program)].concat(), |out| {
        compile("c++", &["-std=c++17", "-O1"], out.join(name), &[program], &flags);
    })
    .join(name)
}

/// Linked with nothing of llama.cpp: `dlopen_local LIBLLAMA MODEL N [THREADS] [BACKENDS_DIR]`.
pub fn dlopen_local() -> PathBuf {
    let mut parts = Vec::new();
    include_folders(&mut parts);
    let dir = build("dlopen_local", &sources("", &["dlopen_local.c"]), |out| {
        cc(out.join("dlopen_local"), &[source("dlopen_local.c")], &parts);
    });
    dir.join("dlopen_local")
}

/// A statically linked program that has nothing to do with llama.cpp.
pub fn static_hello() -> PathBuf {
    let dir = build("static_hello", &sources("", &["static_hello.c"]), |out| {
        cc(out.join("static_hello"), &[source("static_hello.c")], &["-static"]);
    });
    dir.join("static_hello")
}

/// A program on a `libggml-base.so` with a foreign tensor layout; prints `fake host ran` and exits with 7.
pub fn wrong_abi() -> PathBuf {
    fake_host("wrong_abi", &[])
}

/// The same on a `libggml-base.so` that has only the functions that the program calls.
pub fn few_functions() -> PathBuf {
    fake_host("few_functions", &["-DLACKS_FUNCTIONS"])
}

fn fake_host(name: &str, defines: &[&str]) -> PathBuf {
    let names = ["fake_ggml.c", "fake_host.c"];
    let dir = build(name, &sources("wrong_abi", &names), |out| {
        cc(
            out.join("libggml-base.so"),
            &[source("wrong_abi/fake_ggml.c")],
            &[&["-shared", "-fPIC", "-Wl,-soname,libggml-base.so"], defines].concat(),
        );
        let library_folder = format!("-L{}", out.display());
        cc(
            out.join("fake_host"),
            &[source("wrong_abi/fake_host.c")],
            &[&library_folder, "-lggml-base", "-Wl,-rpath,$ORIGIN"],
        );
    });
    dir.join("fake_host")
}

fn linked_with_llama(name: &str) -> PathBuf {
    let bin = vendored::bin();
    let mut flags = Vec::new();
    include_folders(&mut flags);
    flags.push(format!("-L{}", bin.display()));
    flags.push(format!("-Wl,-rpath,{}", bin.display()));
    // RUNPATH, not RPATH: LD_LIBRARY_PATH can then put another build of llama.cpp under the same program.
    flags.push("-Wl,--enable-new-dtags".into());
    flags.extend(["-lllama", "-lggml", "-lggml-base", "-lpthread", "-rdynamic"].map(String::from));

    let file = format!("{name}.c");
    let inputs = sources("", &[&file, "greedy.h", "small_graph.h", "feed.c"]);
    build(name, &inputs, |out| cc(out.join(name), &[source(&file)], &flags)).join(name)
}

fn include_folders(flags: &mut Vec<String>) {
    let tree = vendored::llama_cpp();
    flags.push(format!("-I{}", tree.join("include").display()));
    flags.push(format!("-I{}", tree.join("ggml/include").display()));
    flags.push(format!("-I{}", tree.join("ggml/src").display()));
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts").join(file)
}

fn sources(folder: &str, files: &[&str]) -> Vec<PathBuf> {
    files.iter().map(|file| source(&Path::new(folder).join(file).to_string_lossy())).collect()
}

/// Returns the folder that holds what `compile` writes, calling it only when no earlier call with the same inputs did.
fn build(name: &str, inputs: &[PathBuf], compile: impl FnOnce(&Path)) -> PathBuf {
    let root = hosts_folder();
    let finished = root.join(format!("{name}-{:016x}", fingerprint(inputs)));
    if finished.exists() {
        return finished;
    }
    let unfinished = root.join(format!("{name}-{}", unique()));
    fs::create_dir_all(&unfinished).unwrap_or_else(|e| panic!("cannot create {}: {e}", unfinished.display()));
    compile(&unfinished);
    if let Err(error) = fs::rename(&unfinished, &finished) {
        // Another test process was faster: its result is as good as ours.
        assert!(finished.exists(), "cannot rename {} to {}: {error}", unfinished.display(), finished.display());
        let _ = fs::remove_dir_all(&unfinished);
    }
    finished
}

/// `target/tests-hosts`, wherever cargo's target folder is.
fn hosts_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo's tmp folder lies inside its target folder")
        .join("tests-hosts")
}

/// Changes with the sources, with how they are compiled (this file) and with the llama.cpp they are compiled against.
fn fingerprint(inputs: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    include_str!("hosts.rs").hash(&mut hasher);
    let llama_h = vendored::llama_cpp().join("include/llama.h");
    for path in inputs.iter().chain([&llama_h]) {
        read(path).hash(&mut hasher);
    }
    hasher.finish()
}

fn unique() -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let thread = std::thread::current().id();
    format!("unfinished-{}-{thread:?}-{nanos}", std::process::id())
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

fn cc(output: PathBuf, inputs: &[PathBuf], flags: &[impl AsRef<OsStr>]) {
    compile("cc", &["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra"], output, inputs, flags);
}

fn compile(compiler: &str, options: &[&str], output: PathBuf, inputs: &[PathBuf], flags: &[impl AsRef<OsStr>]) {
    let mut command = Command::new(compiler);
    command.args(options);
    command.arg("-o").arg(&output).args(inputs).args(flags);
    let result = command.output().unwrap_or_else(|e: io::Error| {
        panic!("cannot run {compiler}: {e}; install a C and C++ compiler (Debian: build-essential)")
    });
    assert!(
        result.status.success(),
        "{compiler} could not build {}:\n{}",
        output.display(),
        String::from_utf8_lossy(&result.stderr)
    );
}
