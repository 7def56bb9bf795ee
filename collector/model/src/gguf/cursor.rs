//! A place in the bytes of a GGUF file, from which numbers and strings are taken. Every length is checked against what
//! is left before anything is done with it.

use super::holes::Holes;
use super::name::Name;
use super::value::{Scalar, Value};

const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Arrays of arrays are followed this deep. Nobody writes any, and llama.cpp refuses them all.
const MAX_DEPTH: usize = 64;

/// Bytes of a header that may lie in holes of the file. A hole reads as zeros, and no writer makes more of them.
const MOST_IN_HOLES: usize = 16 << 20;

/// Bytes that are not a GGUF header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset in the file in bytes.
    pub at: u64,
    /// What is wrong there.
    pub what: String,
}

/// Where reading has come to.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    holes: &'a Holes,
    in_holes: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize, holes: &'a Holes) -> Cursor<'a> {
        Cursor { bytes, at, holes, in_holes: 0 }
    }

    /// Counts what was read since `start` of things that each take memory.
    pub(super) fn spend(&mut self, start: usize) -> Result<(), Malformed> {
        self.in_holes += self.holes.bytes_in(start..self.at);
        if self.in_holes > MOST_IN_HOLES {
            let what = format!("more than {MOST_IN_HOLES} bytes of the header are holes: the file is sparse here");
            // What lies there is not part of what was read.
            self.at = start;
            return Err(Malformed { at: start as u64, what });
        }
        Ok(())
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn error<T>(&self, what: String) -> Result<T, Malformed> {
        Err(Malformed { at: self.at as u64, what })
    }

    pub(super) fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], Malformed> {
        if len > self.left() {
            return self.error(format!("the file ends inside {what} ({} of {len} bytes are there)", self.left()));
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take(4, what)?.try_into().expect("4 bytes")))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take(8, what)?.try_into().expect("8 bytes")))
    }

    /// A length in bytes that the rest of the file has room for.
    pub(super) fn length(&mut self, what: &str) -> Result<usize, Malformed> {
        let len = self.u64(what)?;
        match usize::try_from(len) {
            Ok(len) if len <= self.left() => Ok(len),
            _ => {
                let left = self.left();
                Err(Malformed {
                    at: self.at as u64 - 8,
                    what: format!("{what} of {len} bytes, but {left} bytes are left"),
                })
            }
        }
    }

    /// The bytes of a string.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a [u8], Malformed> {
        let start = self.at;
        let len = self.length(what)?;
        let bytes = self.take(len, what)?;
        self.spend(start)?;
        Ok(bytes)
    }

    /// A number of things of which each takes `least` bytes or more.
    pub(super) fn count(&mut self, what: &str, least: usize) -> Result<u64, Malformed> {
        let at = self.at as u64;
        let count = self.u64(what)?;
        let room = (self.left() / least) as u64;
        if count > room {
            let what = format!("{what} is {count}, but the {} bytes left have room for {room} at most", self.left());
            return Err(Malformed { at, what });
        }
        Ok(count)
    }

    /// A value of the type with this number.
    pub(super) fn value(&mut self, kind: u32) -> Result<Value, Malformed> {
        match kind {
            STRING => self.string("a string").map(|text| Value::Text(Name::of(text))),
            ARRAY => self.array(),
            _ => match Scalar::from_gguf(kind) {
                Some(scalar) => Ok(scalar.read(self.take(scalar.bytes(), "a value")?)),
                None => Err(Malformed { at: self.at as u64 - 4, what: format!("unknown type of value {kind}") }),
            },
        }
    }

    fn array(&mut self) -> Result<Value, Malformed> {
        let kind = self.u32("the type of an array")?;
        if kind == ARRAY {
            return self.arrays();
        }
        let count = self.elements(kind)?;
        let at = self.at;
        self.skip_elements(kind, count)?;
        Ok(match Scalar::from_gguf(kind) {
            Some(kind) => Value::Scalars { kind, at, count },
            None => Value::Strings { at, count },
        })
    }

    /// Arrays in an array, whose type was read: skipped with a stack of our own, as their depth is the file's choice.
    fn arrays(&mut self) -> Result<Value, Malformed> {
        let count = self.elements(ARRAY)?;
        let at = self.at;
        let mut open = vec![count];
        while let Some(left) = open.last_mut() {
            if *left == 0 {
                open.pop();
                continue;
            }
            *left -= 1;
            let kind = self.u32("the type of an array")?;
            let count = self.elements(kind)?;
            if kind != ARRAY {
                self.skip_elements(kind, count)?;
            } else if open.len() < MAX_DEPTH {
                open.push(count);
            } else {
                return self.error(format!("arrays in arrays, more than {MAX_DEPTH} deep"));
            }
        }
        Ok(Value::Arrays { at, count })
    }

    /// The number of elements of an array, which the rest of the file has room for.
    fn elements(&mut self, kind: u32) -> Result<u64, Malformed> {
        let least = match kind {
            STRING => 8,
            ARRAY => 12,
            _ => match Scalar::from_gguf(kind) {
                Some(scalar) => scalar.bytes(),
                None => {
                    let what = format!("an array of elements of the unknown type {kind}");
                    return Err(Malformed { at: self.at as u64 - 4, what });
                }
            },
        };
        self.count("the length of an array", least)
    }

    fn skip_elements(&mut self, kind: u32, count: u64) -> Result<(), Malformed> {
        match Scalar::from_gguf(kind) {
            // `elements` has checked that they fit.
            Some(scalar) => {
                let start = self.at;
                self.at += count as usize * scalar.bytes();
                self.spend(start)?;
            }
            None => {
                for _ in 0..count {
                    self.string("a string of an array")?;
                }
            }
        }
        Ok(())
    }
}
