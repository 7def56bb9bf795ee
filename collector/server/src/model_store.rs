//! The models of a server: files by number, each read when it is first asked about.

use super::problem::Problem;
use ggscope_model::gguf::{Finding, Gguf};
use ggscope_model::inspect::Architecture;
use ggscope_model::verdict;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

/// A model that has been read.
pub(super) struct Loaded {
    pub gguf: Gguf,
    pub findings: Vec<Finding>,
    pub architecture: Architecture,
}

struct Known {
    path: PathBuf,
    loaded: Option<Arc<Loaded>>,
}

/// The models of a server; they only become more, so that a number stays what it is.
#[derive(Default)]
pub(super) struct Models(Mutex<Vec<Known>>);

impl Models {
    /// Adds files that may be asked about, those that are new.
    pub(super) fn add(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut known = self.0.lock();
        for path in paths {
            if !known.iter().any(|k| k.path == path) {
                known.push(Known { path, loaded: None });
            }
        }
    }

    /// The files, by their numbers.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().iter().map(|k| k.path.clone()).collect()
    }

    /// The model of this number, read unless it was; `None` if there is no such number.
    pub(super) fn load(&self, number: usize) -> Option<Result<Arc<Loaded>, Problem>> {
        let path = {
            let known = self.0.lock();
            let known = known.get(number)?;
            if let Some(loaded) = known.loaded.as_ref().filter(|loaded| !loaded.gguf.replaced()) {
                return Some(Ok(loaded.clone()));
            }
            known.path.clone()
        };
        let read = verdict::examine(&path).map_err(|error| {
            Problem::missing("id", error.to_string(), "`ggscope inspect` says more about a file that is damaged")
        });
        Some(read.map(|(gguf, findings)| {
            let (architecture, _) = Architecture::of(&gguf);
            let loaded = Arc::new(Loaded { gguf, findings, architecture });
            if let Some(known) = self.0.lock().get_mut(number) {
                known.loaded = Some(loaded.clone());
            }
            loaded
        }))
    }
}
