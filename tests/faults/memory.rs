//! Shared memory that is not what it should be: one side writes nonsense, and the other does not care.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use ggscope_format::FORMAT_VERSION;
use ggscope_format::capture::Capture;
use ggscope_format::segment::{HEADER_BYTES, Segment, segment_bytes};
use ggscope_format::session::{Announce, Attached, Hello, Level, Welcome, frame};
use serde::de::DeserializeOwned;
use shared_memory::{Shmem, ShmemConf};

use crate::stage::{Done, Process, Stage, assert_whole, info, run, until};

const RING_BYTES: u64 = 64 << 10;
const N_RINGS: u32 = 8;

fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> Option<T> {
    let mut len = [0; 4];
    stream.read_exact(&mut len).ok()?;
    let mut message = vec![0; u32::from_le_bytes(len) as usize];
    stream.read_exact(&mut message).ok()?;
    ggscope_format::record::decode(&message).ok()
}

/// Random numbers; other ones in every run.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let seed = RandomState::new().build_hasher().finish();
        eprintln!("random seed {seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    }
}

/// The bytes of a segment, which another process writes too.
fn bytes_of(memory: &Shmem) -> &[AtomicU8] {
    // SAFETY: inside the mapping, and kept as long as it; atomics may be written by anybody at any time.
    unsafe { std::slice::from_raw_parts(memory.as_ptr().cast(), memory.len()) }
}

/// Writes bytes to random places of `range`, many a millisecond, until `stop`.
fn write_garbage(memory: &[AtomicU8], range: std::ops::Range<usize>, stop: &AtomicBool) {
    let mut random = Random::new();
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..2000 {
            let at = range.start + random.next() as usize % range.len();
            // Where the control blocks are, as often as anywhere else.
            let stride = (segment_bytes(2, RING_BYTES) - segment_bytes(1, RING_BYTES)).max(1);
            let control = HEADER_BYTES + at % N_RINGS as usize * stride + random.next() as usize % 256;
            for at in [at, control].into_iter().filter(|at| range.contains(at)) {
                memory[at].store(random.next() as u8, Ordering::Relaxed);
            }
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Plays a collector that accepts a program, and then does `mischief` with its segment until `stop`.
fn hostile_collector(listener: &UnixListener, stop: &AtomicBool, mischief: impl Fn(&[AtomicU8], &AtomicBool)) -> u32 {
    listener.set_nonblocking(true).unwrap();
    let mut attached = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        let welcome = Welcome {
            version: FORMAT_VERSION,
            level: Level::Tensors,
            capture: Capture::named(["l_out-*"]),
            tokens: true,
            ring_bytes: RING_BYTES,
            n_rings: N_RINGS,
        };
        let Some(_) = receive::<Hello>(&mut stream) else { continue };
        stream.write_all(&frame(&welcome)).unwrap();
        let Some(announce) = receive::<Announce>(&mut stream) else { continue };
        let mut memory = ShmemConf::new().os_id(&announce.segment).open().unwrap();
        // Its name goes with the mapping.
        memory.set_owner(true);
        stream.write_all(&frame(&Attached)).unwrap();
        attached += 1;
        mischief(bytes_of(&memory), stop);
    }
    attached
}

/// Runs a program under a hostile collector. Returns what it printed, and how often it attached.
fn under_a_hostile_collector(stage: &Stage, mischief: impl Fn(&[AtomicU8], &AtomicBool) + Send) -> (Done, u32) {
    std::fs::create_dir(stage.socket().parent().unwrap()).unwrap();
    let listener = UnixListener::bind(stage.socket()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn({
            let (listener, stop) = (&listener, &stop);
            move || hostile_collector(listener, stop, mischief)
        });
        let host = Process::start(stage.preloaded(stage.generate(1500, &["--delay-ms", "1"])));
        let done = host.done();
        stop.store(true, Ordering::Relaxed);
        (done, collector.join().unwrap())
    })
}

#[test]
fn a_program_survives_a_collector_that_writes_garbage_over_the_rings() {
    let stage = Stage::new();
    let expected = stage.untraced(1500, &[]);
    let end = segment_bytes(N_RINGS, RING_BYTES);
    let (done, attached) = under_a_hostile_collector(&stage, |memory, stop| {
        write_garbage(memory, HEADER_BYTES..end, stop);
    });
    assert_eq!((done.code(), done.signal(), &done.stdout), (Some(0), None, &expected), "{}", done.stderr);
    assert_eq!(attached, 1);
}

#[test]
fn a_program_survives_a_collector_that_writes_garbage_over_the_whole_segment() {
    let stage = Stage::new();
    let expected = stage.untraced(1500, &[]);
    let end = segment_bytes(N_RINGS, RING_BYTES);
    let (done, attached) = under_a_hostile_collector(&stage, |memory, _| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| write_garbage(memory, 0..end, &stop));
            std::thread::sleep(Duration::from_millis(500));
            stop.store(true, Ordering::Relaxed);
        });
    });
    assert_eq!((done.code(), done.signal(), &done.stdout), (Some(0), None, &expected), "{}", done.stderr);
    // The word that the collector has gone is among what is overwritten, so that it is looked for again.
    assert!(attached >= 1);
}

#[test]
fn a_program_survives_a_collector_that_talks_nonsense() {
    let stage = Stage::new();
    let expected = stage.untraced(600, &[]);
    std::fs::create_dir(stage.socket().parent().unwrap()).unwrap();
    let listener = UnixListener::bind(stage.socket()).unwrap();
    let host = Process::start(stage.preloaded(stage.generate(600, &["--delay-ms", "5"])));
    let wrong =
        |n_rings, ring_bytes| frame(&Welcome { version: FORMAT_VERSION, n_rings, ring_bytes, ..Welcome::default() });
    let nonsense: [&[u8]; 3] = [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[wrong(8, 1 << 62), wrong(u32::MAX, 1 << 16), wrong(0, 0)].concat(),
    ];
    for words in nonsense {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(words);
    }
    drop(listener);
    let done = host.done();
    assert_eq!((done.code(), &done.stdout), (Some(0), &expected), "{}", done.stderr);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
}

/// A process that attaches to a daemon and is none that computes.
struct FakeShim {
    segment: Segment,
    memory: Shmem,
    _stream: UnixStream,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl FakeShim {
    fn attach(stage: &Stage) -> FakeShim {
        let mut stream = UnixStream::connect(stage.socket()).unwrap();
        let hello = Hello {
            version: FORMAT_VERSION,
            pid: std::process::id(),
            exe: "/usr/bin/fake".into(),
            argv: vec!["fake".into()],
            ..Hello::default()
        };
        stream.write_all(&frame(&hello)).unwrap();
        let welcome: Welcome = receive(&mut stream).unwrap();
        let name = format!("/ggscope-{}-fault{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let bytes = segment_bytes(welcome.n_rings, welcome.ring_bytes);
        let mut memory = ShmemConf::new().os_id(&name).size(bytes).create().unwrap();
        memory.set_owner(false);
        // SAFETY: a fresh mapping of that size, kept as long as the segment.
        let segment = unsafe { Segment::create(memory.as_ptr(), welcome.n_rings, welcome.ring_bytes) };
        stream.write_all(&frame(&Announce { segment: name, bytes: bytes as u64, refusal: None })).unwrap();
        receive::<Attached>(&mut stream).unwrap();
        FakeShim { segment, memory, _stream: stream }
    }
}

#[test]
fn a_daemon_survives_a_program_that_writes_garbage_says_so_and_others_are_not_hurt() {
    let stage = Stage::new();
    let expected = stage.untraced(800, &[]);
    let daemon = stage.daemon(&["--ring-size", "64KiB"]);
    let fake = FakeShim::attach(&stage);
    daemon.wait_for_attached(1);
    let host = Process::start(stage.preloaded(stage.generate(800, &["--delay-ms", "1"])));
    daemon.wait_for_attached(2);
    // Nonsense in good order first, then disorder.
    for bytes in [&b"nonsense"[..], b"", &[0xff; 1000]] {
        fake.segment.ring(0).lease().expect("nobody else writes").producer.push(bytes);
    }
    until("the word of it", || daemon.said().contains("a record was lost"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let memory = bytes_of(&fake.memory);
        scope.spawn(|| write_garbage(memory, HEADER_BYTES..segment_bytes(N_RINGS, RING_BYTES), &stop));
        let done = host.done();
        stop.store(true, Ordering::Relaxed);
        assert_eq!((done.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(0), expected.as_str(), ""));
    });
    drop(fake);
    daemon.wait_for_detached(2);
    let said = daemon.stop().stderr;
    let traces = stage.traces();
    assert_eq!(traces.len(), 2);
    assert_whole(&traces[1], &expected);
    let nonsense = info(&traces[0]);
    assert_eq!((&nonsense["complete"], &nonsense["evaluations"]), (&true.into(), &0.into()), "{nonsense:#}");
    let notes = nonsense["notes"].to_string();
    assert!(notes.contains("a record was lost") && notes.contains("corrupt"), "{notes}");
    assert!(said.contains("a record was lost") && said.contains("corrupt"), "{said}");
    // As much as one has to know, and not a line for every byte of it.
    assert!(said.lines().count() < 100, "{said}");
}

#[test]
fn a_daemon_survives_words_that_make_no_sense_and_goes_on() {
    let stage = Stage::new();
    let expected = stage.untraced(20, &[]);
    let daemon = stage.daemon(&[]);
    let right = frame(&Hello { version: FORMAT_VERSION, ..Hello::default() });
    let announce = |segment: &str| {
        [right.clone(), frame(&Announce { segment: segment.into(), bytes: 1 << 40, refusal: None })].concat()
    };
    for words in [
        b"".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 10_000],
        frame(&Hello { version: 999, ..Hello::default() }),
        announce("/ggscope-0-absent"),
        announce("/../../etc/passwd"),
    ] {
        let mut stream = UnixStream::connect(stage.socket()).unwrap();
        let _ = stream.write_all(&words);
        if !words.is_empty() {
            // Until it hangs up.
            let _ = stream.read_to_end(&mut vec![]);
        }
    }
    until("the refusals", || daemon.said().matches("did not attach").count() == 5);
    let done = run(stage.preloaded(stage.generate(20, &[])));
    assert_eq!((done.code(), &done.stdout), (Some(0), &expected));
    daemon.wait_for_detached(1);
    daemon.stop();
    assert_eq!(stage.traces().len(), 1);
    assert_whole(&stage.traces()[0], &expected);
}

#[test]
fn a_daemon_survives_a_program_that_takes_its_segment_away() {
    let stage = Stage::new();
    let expected = stage.untraced(300, &[]);
    let daemon = stage.daemon(&[]);
    let mut stream = UnixStream::connect(stage.socket()).unwrap();
    stream.write_all(&frame(&Hello { version: FORMAT_VERSION, exe: "/bin/thief".into(), ..Hello::default() })).unwrap();
    let welcome: Welcome = receive(&mut stream).unwrap();
    let name = format!("/ggscope-{}-thief", std::process::id());
    let bytes = segment_bytes(welcome.n_rings, welcome.ring_bytes);
    let file =
        std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(format!("/dev/shm{name}")).unwrap();
    file.set_len(bytes as u64).unwrap();
    let mut memory = ShmemConf::new().os_id(&name).open().unwrap();
    memory.set_owner(false);
    // SAFETY: a fresh mapping of that size, only touched here.
    unsafe { Segment::create(memory.as_ptr(), welcome.n_rings, welcome.ring_bytes) };
    stream.write_all(&frame(&Announce { segment: name, bytes: bytes as u64, refusal: None })).unwrap();
    receive::<Attached>(&mut stream).unwrap();
    let host = Process::start(stage.preloaded(stage.generate(300, &["--delay-ms", "1"])));
    daemon.wait_for_attached(2);
    // What is mapped is gone: whoever touches it gets SIGBUS.
    file.set_len(0).unwrap();
    let done = host.done();
    assert_eq!((done.code(), &done.stdout), (Some(0), &expected));
    drop(stream);
    daemon.wait_for_detached(2);
    daemon.stop();
    assert_whole(&stage.traces()[1], &expected);
}
