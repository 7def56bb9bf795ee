//! Which pages of a model's file are in memory now, as the kernel says (`mincore`). A request can name no other file
//! than a model that is in use here or that the user has named.

use super::app::{App, answer};
use super::params::{Params, Path as At};
use super::problem::Problem;
use super::session::Session;
use super::sessions::Sessions;
use axum::extract::State;
use axum::response::Response;
use ggscope_model::gguf::{is_gguf, open_regular};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Runs of pages in an answer; where there are more, the nearest are made one.
const MAX_RUNS: usize = 100_000;
/// Pages that the kernel is asked about at a time.
const PAGES_AT_ONCE: usize = 1 << 16;
/// Graphs of a session that are looked at for files.
const MAX_GRAPHS: usize = 16;

/// Which file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ResidencyParams {
    /// Path of the GGUF file, as `place` of a region of memory has it
    #[param(required = true)]
    place: Option<String>,
}

/// Pages of a file that are in memory.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Residency {
    /// The file.
    place: String,
    /// Bytes in a page.
    page_bytes: usize,
    /// Pages of the file.
    pages: usize,
    /// How many of them are in memory.
    resident_pages: usize,
    /// Runs of pages that are in memory: number of the first, and how many. Of more than 100000 runs those with the
    /// smallest gaps between them are joined.
    resident: Vec<(usize, usize)>,
}

/// Which pages of a model's file are in memory now
#[utoipa::path(get, path = "/sessions/{id}/residency",
    params(("id" = String, Path, description = "The session"), ResidencyParams),
    responses(
        (status = 200, body = Residency), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn residency(
    State(app): State<Arc<App>>,
    At(id): At<String>,
    Params(p, ..): Params<ResidencyParams>,
) -> Result<Response, Problem> {
    let missing = || Problem::bad("place", "place is missing", "give the path of a GGUF file as place=PATH");
    let place = p.place.ok_or_else(missing)?;
    answer(app, move |sessions| {
        let path = file_of(sessions, &*sessions.get(&id)?, &place)?;
        let unknown = |error: io::Error| {
            let error = format!("which pages of {place} are in memory cannot be told: {error}");
            Problem::missing("place", error, "the file has to be there, and this user's own or writable for it")
        };
        let file = open_regular(&path).map_err(unknown)?;
        may_know(&file).map_err(unknown)?;
        let (pages, runs) = resident(&file).map_err(unknown)?;
        let resident_pages = runs.iter().map(|run| run.1).sum();
        let resident = joined(runs, MAX_RUNS);
        Ok(Residency { place, page_bytes: page_bytes(), pages, resident_pages, resident })
    })
    .await
}

/// The file that `place` names, if it may be asked for.
fn file_of(sessions: &Sessions, session: &Session, place: &str) -> Result<PathBuf, Problem> {
    let path = Path::new(place);
    let given = sessions.named_models().iter().find(|model| {
        // A trace from another machine has the model elsewhere.
        *model == path || model.canonicalize().is_ok_and(|m| m == path) || model.file_name() == path.file_name()
    });
    if let Some(model) = given {
        return Ok(model.clone());
    }
    let refused = |error: String, help: &str| Err(Problem::missing("place", error, help));
    if !session.is_recorded_here() {
        let error = format!("session {} is not recorded here, so its files may have changed", session.id);
        return refused(
            error,
            "name the model with `ggscope open --model FILE` to see which of its pages are in memory",
        );
    }
    let trace = session.trace()?;
    let of_graph = |id| trace.graph(id).is_ok_and(|g| g.graph.files.iter().any(|file| file.path == place));
    let is_used = trace.models().iter().any(|m| m.path == place) || trace.graphs().take(MAX_GRAPHS).any(of_graph);
    if is_used && is_gguf(path) {
        return Ok(path.to_owned());
    }
    let help = "ask for the `place` of a region of memory that is DISK";
    refused(format!("{place} is no GGUF file of session {}", session.id), help)
}

fn page_bytes() -> usize {
    // SAFETY: plain numbers. A failure, which there is none of, would be -1.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The kernel says of a file that belongs to somebody else that all of it is in memory.
fn may_know(file: &File) -> io::Result<()> {
    // SAFETY: always succeeds.
    let own = unsafe { libc::geteuid() };
    let path = format!("/proc/self/fd/{}\0", file.as_raw_fd());
    // SAFETY: a C string.
    let writable = unsafe { libc::access(path.as_ptr().cast(), libc::W_OK) } == 0;
    if own == 0 || file.metadata()?.uid() == own || writable {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"))
}

/// Pages of a file, and runs of those that are in memory: the first, and how many.
fn resident(file: &File) -> io::Result<(usize, Vec<(usize, usize)>)> {
    if file.metadata()?.len() == 0 {
        return Ok((0, vec![]));
    }
    // SAFETY: only its pages are asked about; no byte of it is read.
    let map = unsafe { Mmap::map(file) }?;
    let page = page_bytes();
    let pages = map.len().div_ceil(page);
    let mut runs: Vec<(usize, usize)> = vec![];
    let mut in_memory = vec![0_u8; PAGES_AT_ONCE];
    for first in (0..pages).step_by(PAGES_AT_ONCE) {
        let n = PAGES_AT_ONCE.min(pages - first);
        let bytes = (n * page).min(map.len() - first * page);
        // SAFETY: the range begins at a page inside the map and ends in it, and there is room for a byte a page.
        let status = unsafe {
            let begin = map.as_ptr().add(first * page).cast_mut().cast();
            libc::mincore(begin, bytes, in_memory.as_mut_ptr())
        };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
        for at in (0..n).filter(|&i| in_memory[i] & 1 == 1).map(|i| first + i) {
            match runs.last_mut() {
                Some((begin, len)) if *begin + *len == at => *len += 1,
                _ => runs.push((at, 1)),
            }
        }
    }
    Ok((pages, runs))
}

/// At most `max` runs that cover all of `runs`, with as little between them as can be.
fn joined(runs: Vec<(usize, usize)>, max: usize) -> Vec<(usize, usize)> {
    if runs.len() <= max {
        return runs;
    }
    let gap = |pair: &[(usize, usize)]| pair[1].0 - (pair[0].0 + pair[0].1);
    let mut gaps: Vec<usize> = runs.windows(2).map(gap).collect();
    let kept = max - 1;
    // All gaps up to this one are closed, so that no more than `kept` are left.
    let closed = *gaps.select_nth_unstable(runs.len() - 2 - kept).1;
    let mut out: Vec<(usize, usize)> = vec![];
    for (begin, len) in runs {
        match out.last_mut() {
            Some(last) if begin - (last.0 + last.1) <= closed => last.1 = begin + len - last.0,
            _ => out.push((begin, len)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn pages_that_were_just_written_are_in_memory() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(resident(file.as_file()).unwrap(), (0, vec![]));
        file.write_all(&vec![1; 10 * page_bytes() + 1]).unwrap();
        let (pages, runs) = resident(file.as_file()).unwrap();
        assert_eq!((pages, runs), (11, vec![(0, 11)]));
        may_know(file.as_file()).unwrap();
    }

    #[test]
    fn too_many_runs_become_fewer_that_cover_the_same_pages() {
        let runs = vec![(0, 2), (3, 1), (10, 5), (16, 1), (100, 1)];
        assert_eq!(joined(runs.clone(), 5), runs);
        assert_eq!(joined(runs.clone(), 3), [(0, 4), (10, 7), (100, 1)]);
        assert_eq!(joined(runs.clone(), 1), [(0, 101)]);
    }
}
