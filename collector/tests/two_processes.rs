//! The ring between two real processes under load: what was pushed comes out whole, once and in order, or is counted as
//! dropped, and the producer never waits for the consumer.

mod support;

use ggscope_format::ring::Consumer;
use ggscope_format::segment::{Segment, segment_bytes};
use shared_memory::ShmemConf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Set in the second process: name of the segment.
const SEGMENT_ENV: &str = "GGSCOPE_TEST_SEGMENT";
const RINGS: u32 = 3;
const RING_BYTES: u64 = 64 << 10;
const RECORDS: u64 = 200_000;

/// A record says its number and nothing else, in a length that depends on it.
fn record(number: u64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&number.to_le_bytes());
    let len = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 300;
    out.extend((0..len).map(|i| (number ^ i) as u8));
}

/// The second process: not a test, but what [`traffic`] runs.
#[test]
fn producer() {
    let Ok(name) = std::env::var(SEGMENT_ENV) else { return };
    let memory = ShmemConf::new().os_id(name).open().unwrap();
    // SAFETY: the mapping is that long and is kept until the threads have ended.
    let segment = unsafe { Segment::open(memory.as_ptr(), memory.len()) }.unwrap();
    std::thread::scope(|scope| {
        for ring in 0..RINGS {
            scope.spawn(move || {
                let mut bytes = vec![];
                for number in 0..RECORDS {
                    record(number, &mut bytes);
                    // A new lease now and then, as when evaluations come from changing threads.
                    let ring = segment.ring(ring);
                    assert!(ring.lease().map(|mut lease| lease.producer.push(&bytes)).is_some());
                }
            });
        }
    });
}

/// Lets the second process push, reads with a pause of `pause` between passes, and returns for each ring how many
/// records came and how many were dropped.
fn traffic(name: &str, pause: Duration) -> Vec<(u64, u64)> {
    let name = format!("/ggscope-{}-{name}", std::process::id());
    let memory = ShmemConf::new().os_id(&name).size(segment_bytes(RINGS, RING_BYTES)).create().unwrap();
    // SAFETY: a fresh mapping of that size, kept until the end.
    let segment = unsafe { Segment::create(memory.as_ptr(), RINGS, RING_BYTES) };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "producer", "--nocapture"])
        .env(SEGMENT_ENV, &name)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // SAFETY: the only consumers.
    let mut consumers: Vec<_> = (0..RINGS).map(|i| unsafe { Consumer::new(segment.ring(i)) }).collect();
    let mut last = vec![None; RINGS as usize];
    let mut came = vec![0; RINGS as usize];
    let (mut out, mut expected) = (vec![], vec![]);
    let mut ended = false;
    loop {
        let mut quiet = true;
        for (i, consumer) in consumers.iter_mut().enumerate() {
            while consumer.pop(&mut out).unwrap() {
                quiet = false;
                let number = u64::from_le_bytes(out[..8].try_into().unwrap());
                record(number, &mut expected);
                assert_eq!(out, expected, "record {number} of ring {i} is not whole");
                assert!(last[i] < Some(number), "ring {i}: {number} after {:?}", last[i]);
                last[i] = Some(number);
                came[i] += 1;
            }
        }
        if ended && quiet {
            break;
        }
        ended = ended || child.try_wait().unwrap().is_some();
        std::thread::sleep(pause);
    }
    assert!(child.wait().unwrap().success());
    (0..RINGS).map(|i| (came[i as usize], segment.ring(i).dropped().0)).collect()
}

#[test]
fn every_record_comes_out_whole_and_in_order_or_is_counted() {
    for (came, dropped) in traffic("fast", Duration::ZERO) {
        assert_eq!(came + dropped, RECORDS);
        assert!(came > 0);
    }
}

#[test]
fn a_slow_reader_costs_records_but_not_the_producer() {
    for (came, dropped) in traffic("slow", Duration::from_millis(20)) {
        assert_eq!(came + dropped, RECORDS);
        assert!(dropped > 0, "nothing was dropped: the test does not test what it says");
    }
}
