//! The `ggscope` program; what it does is in [`ggscope_collector::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ggscope_collector::cli::main()
}
