//! A trace file that another process may still be writing: looked at again when somebody asks and some time has passed,
//! and read on from where it ended before.

use super::lock as file_lock;
use super::reader::{map, open_file};
use super::{State, Trace, TraceError, scan};
use crate::analysis::timing::Plans;
use parking_lot::Mutex;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A file is not looked at more often.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A file that somebody writes without the lock that says so, as from another machine, and that has not grown for so
/// long, is taken for cut. Its writer puts down what it has every five seconds.
const GROWS_WITHIN: Duration = Duration::from_secs(15);

/// A trace file, whoever writes it.
pub struct Followed {
    file: Arc<Opened>,
    now: Mutex<Now>,
}

/// The file, and how many look on.
struct Opened {
    file: File,
    following: Mutex<usize>,
}

/// Somebody looks on: whoever writes the file does not let it wait for long.
pub struct Following(Arc<Opened>);

impl Drop for Following {
    fn drop(&mut self) {
        let mut following = self.0.following.lock();
        *following -= 1;
        if *following == 0 {
            file_lock::follows(&self.0.file, false);
        }
    }
}

struct Now {
    trace: Arc<Trace>,
    /// Where its last chunk ends.
    end: u64,
    /// Bytes of the file at the last look.
    bytes: u64,
    looked: Instant,
    /// Whether its writer was there at the last look.
    written: bool,
    /// When it grew last without a writer to be seen, as the file says.
    grown: Option<SystemTime>,
    plans: Plans,
}

impl Followed {
    /// Opens a trace as [`Trace::open`] does.
    ///
    /// # Errors
    /// As [`Trace::open`].
    pub fn open(path: &Path) -> Result<Followed, TraceError> {
        let file = open_file(path)?;
        // Before it is read: what a writer has left that is gone now is all there will be.
        let written = file_lock::is_written(&file);
        let mut plans = Plans::default();
        let (trace, end) = Trace::open_up_to(path, &file, &mut plans, true)?;
        let bytes = trace.map.len() as u64;
        let now = Now { trace: Arc::new(trace), end, bytes, looked: Instant::now(), written, grown: None, plans };
        Ok(Followed { file: Arc::new(Opened { file, following: Mutex::new(0) }), now: Mutex::new(now) })
    }

    /// What there is now.
    pub fn trace(&self) -> Arc<Trace> {
        let mut now = self.now.lock();
        if !now.trace.complete() && now.looked.elapsed() >= LOOK_EVERY {
            now.look(&self.file.file);
        }
        now.trace.clone()
    }

    /// Whether it is being written, and if not, how it ended.
    pub fn state(&self) -> State {
        let trace = self.trace();
        let now = self.now.lock();
        // A file from the future grows, as far as anybody can say.
        let grows = now.grown.is_some_and(|grown| grown.elapsed().map_or(true, |since| since < GROWS_WITHIN));
        if trace.complete() {
            State::Ended
        } else if now.written || grows {
            State::Live
        } else {
            State::Cut
        }
    }

    /// Somebody looks on until the result is dropped.
    pub fn follow(&self) -> Following {
        let mut following = self.file.following.lock();
        if *following == 0 {
            file_lock::follows(&self.file.file, true);
        }
        *following += 1;
        Following(self.file.clone())
    }
}

impl Now {
    /// Looks whether the file has grown. What cannot be looked at stays as it was.
    fn look(&mut self, file: &File) {
        self.looked = Instant::now();
        let was_written = std::mem::replace(&mut self.written, file_lock::is_written(file));
        let Ok(meta) = file.metadata() else { return };
        let before = std::mem::replace(&mut self.bytes, meta.len());
        let grew = meta.len() > before;
        // The last words of a writer that is gone are no sign of one.
        if grew && !was_written && !self.written {
            self.grown = meta.modified().ok();
        }
        // What was held back as half written is whole if nothing was added since.
        if meta.len() < before || (!grew && self.end >= self.trace.map.len() as u64) {
            return;
        }
        let Ok(map) = map(self.trace.path(), file) else { return };
        let (contents, shared) = (self.trace.contents.clone(), self.trace.shared.clone());
        let mut trace = Trace::new(self.trace.path().to_owned(), map, contents, shared);
        match trace.read_index() {
            Ok(()) => self.trace = Arc::new(trace),
            Err(why) => {
                let end = scan::extend(&mut trace, self.end, &mut self.plans, &why, grew);
                if end > self.end || grew {
                    (self.trace, self.end) = (Arc::new(trace), end);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TraceWriter;
    use crate::testing::{Random, Shape, evaluation, llama, recording};
    use ggscope_format::chunk::ChunkKind;
    use std::io::Write;
    use std::ops::ControlFlow;

    const SMALL: Shape = Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 32 };

    /// The bytes of a trace with five evaluations in each of three chunks, and where its chunks end.
    fn recorded(dir: &Path) -> Vec<u8> {
        let path = dir.join("whole.ggtrace");
        let stored = llama(0, SMALL);
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.graph(stored.clone()).unwrap();
        let mut random = Random(3);
        for eval in 0..15 {
            writer.evaluation(evaluation(&stored, eval, eval as i32, &mut random)).unwrap();
            if eval % 5 == 4 {
                writer.flush().unwrap();
            }
        }
        writer.finish().unwrap();
        std::fs::read(path).unwrap()
    }

    fn look(followed: &Followed) -> Arc<Trace> {
        followed.now.lock().look(&followed.file.file);
        followed.now.lock().trace.clone()
    }

    fn evaluations(trace: &Trace) -> Vec<(u64, bool)> {
        let mut found = vec![];
        trace.for_each_evaluation_from(0, true, |seq, row| {
            assert_eq!(seq, row.evaluation.eval.0);
            found.push((seq, row.evaluation.durations.is_empty()));
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn a_file_that_grows_byte_after_byte_is_followed_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = recorded(dir.path());
        let whole = Trace::open(&dir.path().join("whole.ggtrace")).unwrap();
        let path = dir.path().join("grows.ggtrace");
        let first = whole.contents.chunks[1].offset as usize;
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&bytes[..first]).unwrap();
        let followed = Followed::open(&path).unwrap();
        assert_eq!((followed.state(), followed.trace().totals().evaluations), (State::Cut, 0), "nobody writes it");
        let mut seen = vec![0];
        for piece in bytes[first..].chunks(97) {
            file.write_all(piece).unwrap();
            let trace = look(&followed);
            assert!(trace.complete() || followed.state() == State::Live, "but it grows");
            let found = evaluations(&trace);
            assert!(found.iter().all(|(_, without_times)| !without_times), "evaluations come with their times");
            assert_eq!(found.len() as u64, trace.totals().evaluations);
            seen.push(found.len());
        }
        seen.dedup();
        assert_eq!(seen, [0, 5, 10, 15], "each chunk is seen once it is whole");
        let trace = followed.trace();
        assert_eq!((followed.state(), trace.complete(), trace.totals()), (State::Ended, true, whole.totals()));
        assert!(trace.warnings().is_empty(), "{:?}", trace.warnings());
    }

    #[test]
    fn a_writer_that_is_gone_leaves_a_file_that_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = recorded(dir.path());
        let whole = Trace::open(&dir.path().join("whole.ggtrace")).unwrap();
        let path = dir.path().join("cut.ggtrace");
        // The times of the last evaluations are missing.
        let times = whole.contents.chunks.iter().rev().find(|e| e.kind == ChunkKind::Durations).unwrap();
        std::fs::write(&path, &bytes[..times.offset as usize + 5]).unwrap();
        let followed = Followed::open(&path).unwrap();
        assert_eq!(evaluations(&followed.trace()).len(), 10);
        let found = evaluations(&look(&followed));
        assert_eq!((found.len(), found[14]), (15, (14, true)), "nothing more came: they are without times for good");
        assert_eq!(followed.state(), State::Cut, "as new as it is");
    }

    #[test]
    fn a_writer_is_known_to_be_there_and_to_be_gone_at_once_and_knows_who_looks_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let stored = llama(0, SMALL);
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.graph(stored.clone()).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        let followed = Followed::open(&path).unwrap();
        assert_eq!((followed.state(), writer.is_followed()), (State::Live, false), "however long it has not grown");
        let eyes = [followed.follow(), followed.follow()];
        assert!(writer.is_followed());
        drop(eyes);
        assert!(!writer.is_followed());
        writer.evaluation(evaluation(&stored, 0, 0, &mut Random(3))).unwrap();
        writer.flush().unwrap();
        // As kill -9 has it: its files are closed, and nothing more is written.
        drop(writer);
        assert_eq!(look(&followed).totals().evaluations, 1);
        assert_eq!(followed.state(), State::Cut, "although it grew just now");
    }
}
