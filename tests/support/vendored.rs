//! Where `make vendor` puts llama.cpp and the demo model. Every path is checked, so that a fresh clone gets one clear
//! message instead of a compiler error.

use std::path::PathBuf;

/// The root of the llama.cpp source tree.
pub fn llama_cpp() -> PathBuf {
    existing("vendor/llama.cpp")
}

/// The folder of the built programs and shared libraries.
pub fn bin() -> PathBuf {
    existing("vendor/build/bin")
}

/// One built program, e.g. `llama-server`, or library, e.g. `libllama.so`.
pub fn built(name: &str) -> PathBuf {
    existing(&format!("vendor/build/bin/{name}"))
}

/// SmolLM2-135M-Instruct Q4_1: real trained weights, 30 layers.
pub fn demo_model() -> PathBuf {
    existing("vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf")
}

fn existing(relative: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative);
    assert!(path.exists(), "{} is missing: run `make vendor` first", path.display());
    path
}
