//! Batches of older calls (`llama_batch`), which a program passes by value: read from where the caller put them, without
//! knowing how large the struct is in the host's release. Its beginning has been the same since sequences exist:
//!
//! ```text
//! int32_t n_tokens; llama_token * token; float * embd; llama_pos * pos; int32_t * n_seq_id; llama_seq_id ** seq_id; int8_t * logits;
//! ```
//!
//! The kernel checks every address: a pointer that leads nowhere reads as nothing.

use crate::llama::entry::Entry;
use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// No batch has more tokens.
const MAX_TOKENS: usize = 1 << 20;
/// No token is in more sequences (`LLAMA_MAX_SEQ` is 256).
const MAX_SEQUENCES: i32 = 1 << 12;

/// The beginning of `llama_batch`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Head {
    n_tokens: i32,
    token: usize,
    embd: usize,
    pos: usize,
    n_seq_id: usize,
    seq_id: usize,
    logits: usize,
}

impl Head {
    /// Reads it from `addr`.
    pub fn read(addr: usize) -> Option<Head> {
        let [head] = numbers::<[usize; 7]>(addr, 1)?[..] else { return None };
        let [n_tokens, token, embd, pos, n_seq_id, seq_id, logits] = head;
        // The number of tokens is followed by padding.
        let head = Head { n_tokens: n_tokens as u32 as i32, token, embd, pos, n_seq_id, seq_id, logits };
        (1..=MAX_TOKENS as i32).contains(&head.n_tokens).then_some(head)
    }

    /// The tokens, as llama.cpp reads them: without sequences it is sequence 0, without a list of outputs it is the last.
    pub fn entries(&self) -> Option<Vec<Entry>> {
        let n = self.n_tokens as usize;
        let (ids, positions) = (optional::<i32>(self.token, n)?, optional::<i32>(self.pos, n)?);
        let outputs = optional::<i8>(self.logits, n)?;
        let sequences = match (optional::<i32>(self.n_seq_id, n)?, optional::<usize>(self.seq_id, n)?) {
            (Some(counts), Some(lists)) => sequences(&counts, &lists)?,
            _ => vec![vec![0]; n],
        };
        let entry = |(i, own): (usize, Vec<i32>)| {
            let mut entry = Entry {
                id: ids.as_ref().map(|ids| ids[i]),
                position: positions.as_ref().map(|positions| positions[i]),
                is_output: outputs.as_ref().map_or(i + 1 == n, |outputs| outputs[i] != 0),
                ..Entry::default()
            };
            own.into_iter().for_each(|sequence| entry.add_sequence(sequence));
            entry
        };
        Some(sequences.into_iter().enumerate().map(entry).collect())
    }
}

/// `Some(None)` for what is not given, `None` for what cannot be read.
fn optional<T: Plain>(addr: usize, n: usize) -> Option<Option<Vec<T>>> {
    if addr == 0 { Some(None) } else { numbers(addr, n).map(Some) }
}

/// The lists of all tokens. Mostly each has one number: they are read together.
fn sequences(counts: &[i32], lists: &[usize]) -> Option<Vec<Vec<i32>>> {
    let mut out: Vec<Vec<i32>> = vec![];
    for &count in counts {
        if !(1..=MAX_SEQUENCES).contains(&count) {
            return None;
        }
        out.push(vec![0; count as usize]);
    }
    let places = lists.iter().zip(&mut out).map(|(&addr, own)| (addr, as_bytes(own)));
    read_all(places).then_some(out)
}

/// Types of which every sequence of bytes is a value.
trait Plain: Copy + Default {}
impl Plain for i8 {}
impl Plain for i32 {}
impl Plain for usize {}
impl Plain for [usize; 7] {}

fn as_bytes<T: Plain>(numbers: &mut [T]) -> &mut [u8] {
    // SAFETY: the numbers are so many bytes, and any bytes are numbers.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers)) }
}

fn numbers<T: Plain>(addr: usize, n: usize) -> Option<Vec<T>> {
    let mut numbers = vec![T::default(); n];
    read_all(std::iter::once((addr, as_bytes(&mut numbers)))).then_some(numbers)
}

/// Copies from this process's own memory, without touching it: `false` if an address leads nowhere.
fn read_all<'a>(places: impl Iterator<Item = (usize, &'a mut [u8])>) -> bool {
    /// `IOV_MAX`.
    const MOST: usize = 1024;
    let (mut to, mut from): (Vec<libc::iovec>, Vec<libc::iovec>) = (vec![], vec![]);
    for (addr, out) in places {
        to.push(libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() });
        from.push(libc::iovec { iov_base: addr as *mut c_void, iov_len: out.len() });
    }
    to.chunks(MOST).zip(from.chunks(MOST)).all(|(to, from)| {
        let wanted: usize = to.iter().map(|part| part.iov_len).sum();
        // SAFETY: `to` describes exclusive slices; the kernel checks what `from` describes.
        let read = unsafe {
            let (n_to, n_from) = (to.len() as libc::c_ulong, from.len() as libc::c_ulong);
            libc::process_vm_readv(libc::getpid(), to.as_ptr(), n_to, from.as_ptr(), n_from, 0)
        };
        read == wanted as isize || (read < 0 && to.iter().zip(from).all(|(to, from)| read_file(to, from)))
    })
}

/// The same where the kernel or a container forbids the call: through `/proc/self/mem`.
fn read_file(to: &libc::iovec, from: &libc::iovec) -> bool {
    static MEMORY: OnceLock<(u64, Option<std::fs::File>)> = OnceLock::new();
    let generation = crate::fork::generation();
    let (of, file) = MEMORY.get_or_init(|| (generation, std::fs::File::open("/proc/self/mem").ok()));
    // In a forked child the file is the parent's memory.
    let Some(file) = file.as_ref().filter(|_| *of == generation) else { return false };
    // SAFETY: `to` describes an exclusive slice; reading a file checks the place.
    let read = unsafe { libc::pread(file.as_raw_fd(), to.iov_base, to.iov_len, from.iov_base as libc::off_t) };
    read == to.iov_len as isize
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Batch {
        tokens: Vec<i32>,
        positions: Vec<i32>,
        counts: Vec<i32>,
        lists: Vec<Vec<i32>>,
        outputs: Vec<i8>,
    }

    fn batch() -> Batch {
        Batch {
            tokens: vec![11, 12, 13],
            positions: vec![4, 5, 0],
            counts: vec![1, 2, 1],
            lists: vec![vec![3], vec![3, 0], vec![1]],
            outputs: vec![0, 1, 1],
        }
    }

    fn head(b: &Batch, lists: &[usize]) -> Head {
        Head {
            n_tokens: b.tokens.len() as i32,
            token: b.tokens.as_ptr() as usize,
            embd: 0,
            pos: b.positions.as_ptr() as usize,
            n_seq_id: b.counts.as_ptr() as usize,
            seq_id: lists.as_ptr() as usize,
            logits: b.outputs.as_ptr() as usize,
        }
    }

    #[test]
    fn a_batch_is_read_from_where_the_caller_put_it() {
        let b = batch();
        let lists: Vec<usize> = b.lists.iter().map(|list| list.as_ptr() as usize).collect();
        let head = head(&b, &lists);
        let entries = Head::read(&raw const head as usize).unwrap().entries().unwrap();
        let of = |e: &Entry| (e.id, e.position, e.is_output, e.sequences().collect::<Vec<_>>());
        let wanted = [
            (Some(11), Some(4), false, vec![3]),
            (Some(12), Some(5), true, vec![3, 0]),
            (Some(13), Some(0), true, vec![1]),
        ];
        assert_eq!(entries.iter().map(of).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn what_is_not_given_is_what_llama_cpp_takes_instead() {
        let b = batch();
        let head = Head { pos: 0, n_seq_id: 0, seq_id: 0, logits: 0, ..head(&b, &[]) };
        let entries = head.entries().unwrap();
        let of = |e: &Entry| (e.position, e.is_output, e.sequences().collect::<Vec<_>>());
        let wanted = [(None, false, vec![0]), (None, false, vec![0]), (None, true, vec![0])];
        assert_eq!(entries.iter().map(of).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn pointers_that_lead_nowhere_and_numbers_that_make_no_sense_are_no_batch() {
        let b = batch();
        let lists: Vec<usize> = b.lists.iter().map(|list| list.as_ptr() as usize).collect();
        let good = head(&b, &lists);
        let nowhere = 16;
        assert!(Head::read(nowhere).is_none());
        for bad in [
            Head { token: nowhere, ..good },
            Head { seq_id: nowhere, ..good },
            Head { n_seq_id: b.outputs.as_ptr() as usize, ..good },
        ] {
            assert!(bad.entries().is_none(), "{bad:?}");
        }
        for n_tokens in [0, -1, i32::MAX] {
            let bad = Head { n_tokens, ..good };
            assert!(Head::read(&raw const bad as usize).is_none(), "{n_tokens} tokens");
        }
    }
}
