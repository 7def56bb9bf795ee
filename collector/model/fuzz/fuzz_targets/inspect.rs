//! Any bytes as a GGUF file: the header, and everything that `ggscope inspect` derives from it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ggscope_model::testing::exercise(bytes));
