//! `ggscope generate`: shell completions and man pages, for `make install` and packages.

use super::Cli;
use anyhow::Context;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `ggscope generate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder to write `man/` and `completions/` to
    folder: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (man, completions) = (args.folder.join("man"), args.folder.join("completions"));
    for folder in [&man, &completions] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    clap_mangen::generate_to(Cli::command(), &man).with_context(|| cannot_write(&man))?;
    for &shell in Shell::value_variants() {
        clap_complete::generate_to(shell, &mut Cli::command(), "ggscope", &completions)
            .with_context(|| cannot_write(&completions))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cannot_write(folder: &Path) -> String {
    format!("cannot write to {}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_man_page_and_every_shell_its_completions() {
        let folder = tempfile::tempdir().unwrap();
        run(&Args { folder: folder.path().into() }).unwrap();
        let read = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let about = command.get_about().unwrap().to_string();
            let first = about.split(['-', '\'']).next().unwrap();
            assert!(read(&format!("man/ggscope-{name}.1")).contains(first), "{name}: {about}");
            for completions in ["ggscope.bash", "_ggscope", "ggscope.fish"] {
                assert!(read(&format!("completions/{completions}")).contains(name), "{completions} has no {name}");
            }
        }
    }
}
