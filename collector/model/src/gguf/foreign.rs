//! What a file is that is not GGUF: those that are most often taken for one are named.

/// So many bytes at the beginning tell one from another.
pub(super) const LOOKED_AT: u64 = 32;

/// Says what `bytes`, which are no GGUF file, look like.
pub(super) fn describe(bytes: &[u8]) -> String {
    let known: [(&[u8], &str); 9] = [
        (b"GGTRACE\0", "a trace that ggscope recorded: `ggscope info` summarizes it, `ggscope open` shows it"),
        (b"FUGG", "its first four bytes are turned around"),
        (b"tjgg", "a GGJT file, llama.cpp's format of 2023; convert the model again"),
        (b"fmgg", "a GGMF file, llama.cpp's format of 2023; convert the model again"),
        (b"lmgg", "a GGML file, llama.cpp's format of 2023; convert the model again"),
        (b"ggla", "a LoRA adapter in llama.cpp's format of 2023; convert it again"),
        (b"version https://git-lfs", "a Git LFS pointer, not the file itself: `git lfs pull` gets it"),
        (b"PK\x03\x04", "a zip archive, such as PyTorch writes; convert_hf_to_gguf.py makes a GGUF file of a model"),
        (b"<", "a web page or XML"),
    ];
    if let Some((_, what)) = known.iter().find(|(start, _)| bytes.starts_with(start)) {
        return format!("not a GGUF file but {what}");
    }
    // safetensors: a length, then JSON.
    if bytes.len() > 9 && bytes[8] == b'{' && bytes[4..8] == [0; 4] {
        return "not a GGUF file but safetensors; convert_hf_to_gguf.py makes a GGUF file of a model".into();
    }
    format!("not a GGUF file: it begins with {:02x?}", &bytes[..bytes.len().min(4)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_taken_for_models_are_named() {
        assert!(describe(b"version https://git-lfs.github.com/spec/v1\n").contains("Git LFS"));
        assert!(describe(b"\x40\x00\x00\x00\x00\x00\x00\x00{\"a\":").contains("safetensors"));
        assert_eq!(describe(b"GG"), "not a GGUF file: it begins with [47, 47]");
        assert!(describe(b"GGTRACE\0\x02").contains("`ggscope info`"));
        assert_eq!(describe(b"<html>"), "not a GGUF file but a web page or XML");
    }
}
