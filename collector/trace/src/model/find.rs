//! Opens the models that a process reads, by the names that its command line gives and by the files that it maps. A model
//! is opened by the name that the user knows it by: the kernel names what a link leads to, and in a hub's cache that is a
//! number, from which the other files of a split model are not found.

use super::Opened;
use ggscope_format::record::MappedFile;
use ggscope_format::session::Hello;
use ggscope_model::gguf::{Gguf, is_gguf};
use ggscope_model::mapped::{FileId, Stamp};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// No more arguments of a command line than these are tried as paths.
const MAX_ARGUMENTS: usize = 4096;
/// Links of a hub's cache that are looked at.
const MAX_LINKS: usize = 4096;

/// What was found by which name. Numbers are places in the list of opened models.
#[derive(Debug)]
pub(super) struct Found {
    /// The process's own tree of files.
    root: PathBuf,
    /// It is another one than that of this process, as in a container.
    is_elsewhere: bool,
    /// Paths that the command line names and that may be models.
    named: Vec<PathBuf>,
    of_names: Option<Vec<usize>>,
    /// `None` if it cannot be read.
    by_mapped: HashMap<MappedFile, Option<usize>>,
    by_file: HashMap<FileId, (usize, String)>,
    /// The same by what the kernel shows of a mapping: device and inode.
    by_mapping: HashMap<(u64, u64), (usize, String)>,
}

impl Found {
    /// Looks at the command line; opens nothing yet.
    pub(super) fn new(hello: &Hello) -> Found {
        let arguments = arguments(hello);
        let values =
            arguments.iter().skip(1).take(MAX_ARGUMENTS).map(|arg| match arg.iter().position(|&b| b == b'=') {
                Some(at) if arg.starts_with(b"-") => &arg[at + 1..],
                _ => &arg[..],
            });
        let cwd = cwd(hello);
        let named = values.filter(|v| !v.is_empty()).map(|v| cwd.join(OsStr::from_bytes(v))).collect();
        let process = Path::new("/proc").join(hello.pid.to_string());
        let is_elsewhere = hello.pid > 0 && is_elsewhere(&process);
        let root = process.join("root");
        let (by_mapped, by_file, by_mapping) = Default::default();
        Found { root, is_elsewhere, named, of_names: None, by_mapped, by_file, by_mapping }
    }

    /// The models that the command line names, each once. An argument that is no path is not worth a note.
    pub(super) fn named(&mut self, opened: &mut Vec<Opened>, notes: &mut Vec<String>) -> Vec<usize> {
        if let Some(known) = &self.of_names {
            return known.clone();
        }
        let mut models = vec![];
        for path in self.named.clone() {
            let model = self.reachable(&path).and_then(|path| self.open(&path, opened, notes));
            models.extend(model.filter(|model| !models.contains(model)));
        }
        self.of_names = Some(models.clone());
        models
    }

    /// The model that a mapped file belongs to. The file gets the name that the model was opened by. A file that is not there
    /// any more is worth a note.
    pub(super) fn mapped(
        &mut self,
        file: &mut MappedFile,
        opened: &mut Vec<Opened>,
        notes: &mut Vec<String>,
    ) -> Option<usize> {
        let known = match self.by_mapped.get(file) {
            Some(known) => *known,
            None => {
                let found = self.find(file, opened, notes);
                self.by_mapped.insert(file.clone(), found);
                found
            }
        };
        let of_mapping = self.by_mapping.get(&(file.device, file.inode));
        if let Some((_, path)) = of_mapping.or_else(|| self.by_file.get(&self.identity(file)?)) {
            file.path.clone_from(path);
        }
        known
    }

    fn find(&mut self, file: &MappedFile, opened: &mut Vec<Opened>, notes: &mut Vec<String>) -> Option<usize> {
        if let Some((model, _)) = self.by_mapping.get(&(file.device, file.inode)) {
            return Some(*model);
        }
        let Some(id) = self.identity(file) else {
            let path = Path::new(&file.path);
            notes.push(match self.reachable(path) {
                Some(_) => format!(
                    "the model {} was replaced after it was mapped; token texts and layers of the one that runs are missing",
                    path.display()
                ),
                None => format!("the model {} is mapped but cannot be opened any more", path.display()),
            });
            return None;
        };
        if let Some((model, _)) = self.by_file.get(&id) {
            return Some(*model);
        }
        let path = self.reachable(Path::new(&file.path))?;
        if is_gguf(&path) { self.open(&path, opened, notes) } else { None }
    }

    /// Which file it is, if its path still leads to the one that was mapped.
    fn identity(&self, file: &MappedFile) -> Option<FileId> {
        let path = self.reachable(Path::new(&file.path))?;
        let id = Stamp::of_path(&path).ok()?.file();
        let same = (file.device, file.inode) == (0, 0)
            || FileId::as_mapped(&path).is_none_or(|now| now == (file.device, file.inode));
        same.then_some(id)
    }

    /// The path as this process reaches it, if something is there.
    fn reachable(&self, path: &Path) -> Option<PathBuf> {
        let path = match path.strip_prefix("/") {
            Ok(inside) if self.is_elsewhere => self.root.join(inside),
            _ => path.to_owned(),
        };
        path.exists().then_some(path)
    }

    /// Opens the model at `path`, if it is one and was not opened under another name.
    fn open(&mut self, path: &Path, opened: &mut Vec<Opened>, notes: &mut Vec<String>) -> Option<usize> {
        let id = Stamp::of_path(path).ok()?.file();
        if let Some((model, _)) = self.by_file.get(&id) {
            return Some(*model);
        }
        if !is_gguf(path) {
            return None;
        }
        let by_link = links_to(path, id).iter().find_map(|link| Gguf::open(link).ok());
        let gguf = by_link.map_or_else(|| Gguf::open(path), Ok);
        match gguf {
            Ok(gguf) => {
                let number = opened.len();
                let name = |path: &Path| match path.strip_prefix(&self.root) {
                    Ok(inside) => Path::new("/").join(inside).to_string_lossy().into_owned(),
                    Err(_) => path.to_string_lossy().into_owned(),
                };
                let files = || gguf.files().iter().map(|file| (file, (number, name(file.path()))));
                let by_file = files().filter_map(|(file, known)| Some((file.stamp()?.file(), known)));
                let by_mapping = files().filter_map(|(file, known)| Some((FileId::as_mapped(file.path())?, known)));
                let (by_file, by_mapping): (Vec<_>, Vec<_>) = (by_file.collect(), by_mapping.collect());
                opened.push(Opened::new(gguf, name));
                self.by_file.extend(by_file);
                self.by_mapping.extend(by_mapping);
                Some(number)
            }
            Err(error) => {
                notes.push(format!("{error}; token texts and origins of weights are missing"));
                None
            }
        }
    }
}

/// The arguments of a process. What it said of them is text, and paths need not be: they are read again if that is lost.
fn arguments(hello: &Hello) -> Vec<Vec<u8>> {
    let said: Vec<Vec<u8>> = hello.argv.iter().map(|arg| arg.clone().into_bytes()).collect();
    if !hello.argv.iter().any(|arg| arg.contains(char::REPLACEMENT_CHARACTER)) {
        return said;
    }
    let read = std::fs::read(format!("/proc/{}/cmdline", hello.pid)).unwrap_or_default();
    let read = read.strip_suffix(&[0]).unwrap_or(&read).split(|&byte| byte == 0);
    let read: Vec<Vec<u8>> = read.map(<[u8]>::to_vec).collect();
    let same = read.iter().map(|arg| String::from_utf8_lossy(arg)).eq(hello.argv.iter().map(String::as_str));
    if same { read } else { said }
}

/// The working directory of a process, likewise.
fn cwd(hello: &Hello) -> PathBuf {
    let link = || std::fs::read_link(format!("/proc/{}/cwd", hello.pid)).ok();
    let is_lost = hello.cwd.contains(char::REPLACEMENT_CHARACTER);
    let read = if is_lost { link().filter(|read| read.to_string_lossy() == hello.cwd) } else { None };
    read.unwrap_or_else(|| PathBuf::from(&hello.cwd))
}

/// Whether a process has another tree of files than this one.
fn is_elsewhere(process: &Path) -> bool {
    let link = |of: &Path, name: &str| std::fs::read_link(of.join(name)).ok();
    let own = Path::new("/proc/self");
    ["root", "ns/mnt"].iter().any(|name| link(process, name).is_some_and(|theirs| Some(theirs) != link(own, name)))
}

/// Names in a hub's cache that lead to one of its files: `blobs/NUMBER` is `snapshots/REVISION/NAME`.
fn links_to(path: &Path, id: FileId) -> Vec<PathBuf> {
    let Some(repository) = path.parent().filter(|dir| dir.ends_with("blobs")).and_then(Path::parent) else {
        return vec![];
    };
    let entries = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let links = entries(repository.join("snapshots")).flat_map(entries).take(MAX_LINKS);
    links.filter(|link| Stamp::of_path(link).is_ok_and(|stamp| stamp.file() == id)).collect()
}
