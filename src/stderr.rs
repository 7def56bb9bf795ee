//! One line on stderr, when the user must know. Nothing is ever written to stdout.

/// Writes `ggscope: TEXT` with one system call, so that lines of several threads do not mix.
pub fn say(text: &str) {
    let line = format!("ggscope: {text}\n");
    // SAFETY: a plain write of initialised bytes; a failure (closed stderr) is of no consequence.
    unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
}
