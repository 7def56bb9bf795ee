//! Durations as one run of bytes: a first byte that says how wide each is (4 or 8), then little-endian numbers. On the
//! host's side this is the one long list that is written for every token, and copying is what costs least.

use serde::{Deserializer, Serializer, de};
use std::cell::RefCell;

thread_local!(static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

fn fill<const N: usize>(bytes: &mut Vec<u8>, durations: &[u64], le: impl Fn(u64) -> [u8; N]) {
    bytes.clear();
    bytes.resize(1 + N * durations.len(), 0);
    bytes[0] = N as u8;
    for (place, &d) in bytes[1..].as_chunks_mut().0.iter_mut().zip(durations) {
        *place = le(d);
    }
}

pub fn serialize<S: Serializer>(durations: &[u64], s: S) -> Result<S::Ok, S::Error> {
    BYTES.with_borrow_mut(|bytes| {
        let all = durations.iter().fold(0, |all, d| all | d);
        if u32::try_from(all).is_ok() {
            fill(bytes, durations, |d| (d as u32).to_le_bytes());
        } else {
            fill(bytes, durations, u64::to_le_bytes);
        }
        s.serialize_bytes(bytes)
    })
}

pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u64>, D::Error> {
    let bytes: &[u8] = serde::Deserialize::deserialize(d)?;
    match bytes.split_first() {
        Some((4, rest)) if rest.len().is_multiple_of(4) => {
            Ok(rest.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b).into()).collect())
        }
        Some((8, rest)) if rest.len().is_multiple_of(8) => {
            Ok(rest.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b)).collect())
        }
        _ => Err(de::Error::custom("durations have no width of 4 or 8")),
    }
}
