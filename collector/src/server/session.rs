//! The traces that a server shows: opened once, at the start, by the paths on the command line. A request names a
//! session by its number, never a file.

use super::problem::Problem;
use crate::query::cost::{Cost, costs};
use crate::query::memory::{Region, Wanted, memory};
use crate::query::table::{DEFAULT_MEMORY, Table};
use crate::trace::{Trace, TraceError};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// A trace, and the table of its evaluations.
pub(super) struct Session {
    pub id: String,
    /// Name of the file, without its folders.
    pub name: String,
    pub trace: Arc<Trace>,
    table: OnceLock<Arc<Table>>,
}

impl Session {
    pub(super) fn trace(&self) -> Arc<Trace> {
        Arc::clone(&self.trace)
    }

    pub(super) fn table(&self) -> Arc<Table> {
        Arc::clone(self.table.get_or_init(|| Arc::new(Table::new(&self.trace, DEFAULT_MEMORY))))
    }

    /// Times by operator and layer, and what was read.
    pub(super) fn costs(&self) -> (Vec<Cost>, Vec<Region>) {
        let table = self.table();
        (costs(&self.trace, &table), memory(&self.trace, &table, &Wanted::default()))
    }
}

/// The sessions of a server.
pub struct Sessions(Vec<Session>);

impl Sessions {
    /// Opens traces; their numbers are their places in `paths`.
    ///
    /// # Errors
    /// When a file cannot be read or is not a trace.
    pub fn open(paths: &[PathBuf]) -> Result<Sessions, TraceError> {
        let open = |(number, path): (usize, &PathBuf)| {
            Ok(Session {
                id: number.to_string(),
                name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
                trace: Arc::new(Trace::open(path)?),
                table: OnceLock::new(),
            })
        };
        paths.iter().enumerate().map(open).collect::<Result<_, _>>().map(Sessions)
    }

    pub(super) fn all(&self) -> &[Session] {
        &self.0
    }

    pub(super) fn get(&self, id: &str) -> Result<&Session, Problem> {
        self.0.iter().find(|s| s.id == id).ok_or_else(|| {
            Problem::missing("id", format!("there is no session {id}"), "/api/v1/sessions lists those that there are")
        })
    }

    /// What was found wrong with the traces so far, with their names.
    pub fn warnings(&self) -> Vec<String> {
        self.0.iter().flat_map(|s| s.trace.warnings().into_iter().map(|w| format!("{}: {w}", s.name))).collect()
    }
}
