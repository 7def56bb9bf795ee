//! A shim of the tests' own: it attaches to a collector as the real one does, and says what a test wants it to say.
#![allow(dead_code, reason = "each test binary uses its own part")]

use ggscope_format::FORMAT_VERSION;
use ggscope_format::record::{Evaluation, Graph, Record};
use ggscope_format::segment::{Segment, segment_bytes};
use ggscope_format::session::{Announce, Attached, Hello, Welcome, frame};
use ggscope_trace::testing::{Random, Shape, evaluation, llama};
use shared_memory::{Shmem, ShmemConf};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static SESSIONS: AtomicU32 = AtomicU32::new(0);

/// An attached process that is not one.
pub struct FakeShim {
    pub welcome: Welcome,
    pub segment: Segment,
    pub segment_name: String,
    pub stream: UnixStream,
    pub memory: Shmem,
}

impl FakeShim {
    /// Attaches, or says at which step the collector hung up.
    pub fn attach(socket: &Path) -> Result<FakeShim, &'static str> {
        let mut stream = UnixStream::connect(socket).map_err(|_| "connect")?;
        stream.write_all(&frame(&hello())).map_err(|_| "hello")?;
        let welcome: Welcome = receive(&mut stream).ok_or("welcome")?;
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let segment_name = format!("/ggscope-{}-{number}", std::process::id());
        let bytes = segment_bytes(welcome.n_rings, welcome.ring_bytes);
        let memory = ShmemConf::new().os_id(&segment_name).size(bytes).create().map_err(|_| "segment")?;
        // SAFETY: a fresh mapping of that size, kept as long as the segment.
        let segment = unsafe { Segment::create(memory.as_ptr(), welcome.n_rings, welcome.ring_bytes) };
        let announce = Announce { segment: segment_name.clone(), bytes: bytes as u64, refusal: None };
        stream.write_all(&frame(&announce)).map_err(|_| "announce")?;
        receive::<Attached>(&mut stream).ok_or("attached")?;
        Ok(FakeShim { welcome, segment, segment_name, stream, memory })
    }

    /// Puts a record on a ring; false if there was no room.
    pub fn push(&self, ring: u32, record: &Record) -> bool {
        let mut bytes = vec![];
        record.encode(&mut bytes);
        self.push_bytes(ring, &bytes)
    }

    /// Puts any bytes on a ring.
    pub fn push_bytes(&self, ring: u32, bytes: &[u8]) -> bool {
        self.segment.ring(ring).lease().expect("the only writer").producer.push(bytes)
    }

    /// Says a graph and evaluations of it, waiting for room.
    pub fn compute(&self, ring: u32, graph: &Graph, evaluations: &[Evaluation]) {
        compute(&self.segment, ring, graph, evaluations);
    }
}

/// Says a graph and evaluations of it on a ring, waiting for room.
pub fn compute(segment: &Segment, ring: u32, graph: &Graph, evaluations: &[Evaluation]) {
    let wait_for = |record: &Record| {
        let mut bytes = vec![];
        record.encode(&mut bytes);
        let mut lease = segment.ring(ring).lease().expect("the only writer");
        until("room on the ring", || lease.producer.fits_all([bytes.len()].into_iter()));
        assert!(lease.producer.push(&bytes));
    };
    wait_for(&Record::Graph(graph.clone()));
    for e in evaluations {
        wait_for(&Record::Evaluation(e.clone()));
    }
}

pub fn hello() -> Hello {
    Hello {
        version: FORMAT_VERSION,
        pid: std::process::id(),
        exe: "/usr/bin/fake-server".into(),
        argv: vec!["fake-server".into()],
        cwd: "/".into(),
        clock: "clock_gettime".into(),
        ..Hello::default()
    }
}

pub fn receive<T: serde::de::DeserializeOwned>(stream: &mut UnixStream) -> Option<T> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).ok()?;
    let mut message = vec![0; u32::from_le_bytes(len) as usize];
    stream.read_exact(&mut message).ok()?;
    ggscope_format::record::decode(&message).ok()
}

/// A graph and evaluations of it, numbered from `first`.
pub fn computation(graph: u32, first: u64, n: u64) -> (Graph, Vec<Evaluation>) {
    let stored = llama(graph, Shape { n_layer: 2, ..Shape::default() });
    let mut random = Random(7 + u64::from(graph));
    let evaluations = (first..first + n).map(|i| evaluation(&stored, i, i as i32, &mut random)).collect();
    (stored.graph, evaluations)
}

/// Waits for something that has to come.
///
/// # Panics
/// When it does not come within twenty seconds.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(20), "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}
