//! Where a command's file goes: stdout, a pipe, or a file that is there as a whole or not at all.

use super::terminal;
use anyhow::{Context, bail};
use ggscope_attach::{Blocked, die_by};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where it goes.
pub(super) enum Output {
    Stdout,
    /// A pipe or a device: written as it is.
    Device(PathBuf),
    /// Written under another name, and renamed when it is whole.
    File(PathBuf, Replace),
}

/// Whether a file that is there already may be replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    Never,
    Force,
}

impl Replace {
    pub(super) fn forced(force: bool) -> Replace {
        if force { Replace::Force } else { Replace::Never }
    }
}

impl Output {
    /// The place that was asked for; `-` is stdout.
    ///
    /// # Errors
    /// When it is a directory, or a file that may not be replaced.
    pub(super) fn at(path: &Path, replace: Replace) -> anyhow::Result<Output> {
        if path.as_os_str() == "-" {
            return Ok(Output::Stdout);
        }
        match path.metadata() {
            Ok(of) if of.is_dir() => bail!("{}: it is a directory", cannot_write(path)),
            Ok(of) if !of.is_file() => Ok(Output::Device(path.to_owned())),
            Ok(_) if replace == Replace::Never => bail!(exists(path)),
            _ => Ok(Output::File(path.to_owned(), replace)),
        }
    }

    /// The same, unless it is the file that is read: `--force` is not meant for that one.
    ///
    /// # Errors
    /// When it is.
    pub(super) fn beside(self, input: &Path) -> anyhow::Result<Output> {
        if let Output::File(path, _) = &self
            && let (Ok(to), Ok(from)) = (path.metadata(), input.metadata())
            && (to.dev(), to.ino()) == (from.dev(), from.ino())
        {
            bail!("{}: it is the file that is read: choose another name", cannot_write(path));
        }
        Ok(self)
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// As `write` says, or when there is no place for it. Then there is no file.
    pub(super) fn write<T, E>(&self, write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, E>) -> anyhow::Result<T>
    where
        E: From<io::Error> + std::error::Error + Send + Sync + 'static,
    {
        match self {
            Output::Stdout => through(terminal::data(io::stdout()), write).context("cannot write to stdout"),
            Output::Device(path) => {
                let file = OpenOptions::new().write(true).open(path).map_err(E::from);
                file.and_then(|file| through(terminal::data(file), write)).with_context(|| cannot_write(path))
            }
            Output::File(path, replace) => whole_file(path, *replace, write).with_context(|| cannot_write(path)),
        }
    }

    /// The file, if it is one, and its size now.
    pub(super) fn file(&self) -> Option<(&Path, u64)> {
        match self {
            Output::File(path, _) => Some((path, path.metadata().map_or(0, |m| m.len()))),
            _ => None,
        }
    }
}

/// Writes all of it to `out`.
fn through<T, E: From<io::Error>>(
    mut out: impl Write + Send,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, E>,
) -> Result<T, E> {
    let written = write(&mut out)?;
    out.flush()?;
    Ok(written)
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn exists(path: &Path) -> String {
    format!("{} exists already: choose another name with -o, or replace it with --force", path.display())
}

/// Without the name of the temporary file, which nobody has asked for; the number of the error is lost in it.
fn plain(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StorageFull => {
            error.kind().into()
        }
        _ => error,
    }
}

/// Writes a file beside the one that is wanted, and gives it that one's name when all of it is there.
fn whole_file<T, E: From<io::Error>>(
    path: &Path,
    replace: Replace,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, E>,
) -> Result<T, E> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    dir.metadata()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut builder = tempfile::Builder::new();
    // As any new file: what others may do with it is for the umask to say.
    builder.prefix(&*name).suffix(".part").permissions(Permissions::from_mode(0o666));
    // Before the file is there, so that none is left behind by whoever ends us.
    let signals = Blocked::block()?;
    let mut part = builder.tempfile_in(dir).map_err(plain)?;
    let unfinished = part.path().to_owned();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let signal = signals.await_end();
        let _ = std::fs::remove_file(unfinished);
        die_by(signal.number)
    })?;
    let written = write(part.as_file_mut())?;
    let persisted: Result<File, _> = match replace {
        Replace::Force => part.persist(path),
        Replace::Never => part.persist_noclobber(path),
    };
    persisted.map_err(|error| error.error)?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_missing_is_told_of_without_the_temporary_file() {
        let out = Output::at(Path::new("/nonexistent/x.png"), Replace::Never).unwrap();
        let error = out.write(|to| to.write_all(b"x")).unwrap_err();
        assert_eq!(format!("{error:#}"), "cannot write /nonexistent/x.png: No such file or directory (os error 2)");
    }
}
