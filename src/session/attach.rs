//! How a session begins: the shim looks for a collector, says whose process it is, and makes the shared memory.

use super::{Current, Mapping, PATIENCE, Session, compiled};
use crate::abi::{self, Layout};
use crate::clock::{self, Conversion};
use crate::host::Host;
use crate::stderr::say;
use ggscope_format::FORMAT_VERSION;
use ggscope_format::capture::Capture;
use ggscope_format::segment::{self, Segment};
use ggscope_format::session::{self as protocol, Announce, Attached, Hello, Level, Welcome};
use parking_lot::{Condvar, Mutex};
use shared_memory::{Shmem, ShmemConf, ShmemError};
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
/// `Ok(None)`: no collector listens. `Err`: the host cannot be traced.
pub(super) fn attach(number: u64) -> Result<Option<Session>, String> {
    // SAFETY: no preconditions.
    let uid = unsafe { libc::getuid() };
    let Ok(socket) = UnixStream::connect(protocol::socket_path(uid)) else { return Ok(None) };
    if peer_uid(&socket) != Some(uid) {
        return Err("the collector belongs to another user".into());
    }
    match traceable() {
        Ok((host, layout)) => Ok(greet(socket, number, host, layout)),
        Err(reason) => {
            // The collector says why nothing was recorded. That it may not hear it changes nothing.
            let refusal = Some(reason.clone());
            let _ = send(&socket, &Hello { refusal, ..hello(Host::get().ok()) });
            Err(reason)
        }
    }
}

/// The host's ggml and how its tensors are laid out, or why it cannot be traced.
fn traceable() -> Result<(&'static Host, &'static Layout), String> {
    static LAYOUT: OnceLock<Result<Layout, String>> = OnceLock::new();
    let host = Host::get()?;
    if let Some(name) = host.missing {
        return Err(format!("{} has no function {name}", host.library));
    }
    let layout = LAYOUT.get_or_init(|| abi::prove(host)).as_ref();
    let layout = layout.map_err(|e| format!("the tensors of {} have an unknown layout: {e}", host.library))?;
    Ok((host, layout))
}

/// `None` when the collector goes away or does not keep to the protocol: it is looked for again later.
fn greet(socket: UnixStream, number: u64, host: &'static Host, layout: &'static Layout) -> Option<Session> {
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    let conversion = Conversion::begin();
    send(&socket, &hello(Some(host)))?;
    let welcome: Welcome = receive(&socket)?;
    if welcome.version != FORMAT_VERSION {
        say(&format!("the collector speaks format {}, this shim {FORMAT_VERSION}: not traced", welcome.version));
        return None;
    }
    let (memory, segment, name) = match make_segment(&welcome) {
        Ok(made) => made,
        Err(reason) => {
            say(&format!("not traced: {reason}"));
            let _ = send(&socket, &Announce { refusal: Some(reason), ..Announce::default() });
            return None;
        }
    };
    send(&socket, &Announce { segment: name, bytes: memory.len() as u64, refusal: None })?;
    receive::<Attached>(&socket)?;
    let capture = if welcome.level >= Level::Tensors { welcome.capture } else { Capture::default() };
    Some(Session {
        number,
        generation: crate::fork::generation(),
        level: welcome.level,
        tokens: welcome.tokens,
        conversion,
        host,
        layout,
        caches: Mutex::default(),
        told: Mutex::default(),
        pace: Mutex::default(),
        current: Mutex::new(Current {
            wanted: Arc::new(compiled(capture, 0)),
            next_eval: 0,
            running: vec![],
            untold: None,
        }),
        graphs: Mutex::default(),
        free_rings: Mutex::new((0..segment.n_rings()).rev().collect()),
        ring_returned: Condvar::new(),
        segment,
        socket,
        _memory: Mapping(memory),
    })
}

fn hello(host: Option<&Host>) -> Hello {
    let lossy =
        |p: std::io::Result<std::path::PathBuf>| p.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let argv = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let argv = argv.strip_suffix(&[0]).unwrap_or(&argv);
    Hello {
        version: FORMAT_VERSION,
        pid: std::process::id(),
        exe: lossy(std::fs::read_link("/proc/self/exe")),
        argv: argv.split(|&b| b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect(),
        cwd: lossy(std::env::current_dir()),
        realtime_ns: clock::realtime().0,
        monotonic_ns: clock::monotonic().0,
        clock: clock::name().into(),
        ggml: host.map_or("", |host| host.library).into(),
        refusal: None,
    }
}

fn make_segment(welcome: &Welcome) -> Result<(Shmem, Segment, String), String> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let (n_rings, ring_bytes) = (welcome.n_rings, welcome.ring_bytes);
    let sound = (1..=segment::MAX_RINGS).contains(&n_rings)
        && segment::RING_BYTES_RANGE.contains(&ring_bytes)
        && ring_bytes.is_power_of_two();
    if !sound {
        return Err(format!("the collector asks for {n_rings} rings of {ring_bytes} bytes"));
    }
    let size = segment::segment_bytes(n_rings, ring_bytes);
    loop {
        let name = format!("/ggscope-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        match ShmemConf::new().size(size).os_id(&name).create() {
            Ok(memory) => {
                reserve(&name, size)?;
                // SAFETY: the mapping is new, zeroed, page-aligned, of this size, and kept in the session.
                let segment = unsafe { Segment::create(memory.as_ptr(), n_rings, ring_bytes) };
                return Ok((memory, segment, name));
            }
            // Left over by a process of the same number.
            Err(ShmemError::MappingIdExists) => continue,
            Err(e) => return Err(format!("cannot create shared memory of {size} bytes: {e}")),
        }
    }
}

/// Makes sure that the memory is really there: touching a page that the file system has no room for would end the host.
fn reserve(name: &str, size: usize) -> Result<(), String> {
    let path = CString::new(name).expect("the name is made of letters and digits");
    // SAFETY: opens, sizes and closes an object of this process's own.
    let result = unsafe {
        let fd = libc::shm_open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC, 0);
        if fd < 0 {
            return Err(format!("cannot open shared memory {name} again"));
        }
        let result = libc::posix_fallocate(fd, 0, size as libc::off_t);
        libc::close(fd);
        result
    };
    if result == 0 {
        return Ok(());
    }
    let why = std::io::Error::from_raw_os_error(result);
    Err(format!("no room for {size} bytes of shared memory in /dev/shm ({why}); try a smaller --ring-size"))
}

fn peer_uid(socket: &UnixStream) -> Option<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` and `len` are valid for writing and fit each other.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut peer).cast(), &raw mut len)
    };
    (result == 0).then_some(peer.uid)
}

fn send<T: serde::Serialize>(socket: &UnixStream, message: &T) -> Option<()> {
    let mut bytes = &protocol::frame(message)[..];
    while !bytes.is_empty() {
        // SAFETY: initialised bytes; NOSIGNAL: a collector that is gone must not end the host with SIGPIPE.
        let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        bytes = &bytes[usize::try_from(sent).ok().filter(|&n| n > 0)?..];
    }
    Some(())
}

pub(super) fn receive<T: serde::de::DeserializeOwned>(mut socket: &UnixStream) -> Option<T> {
    use std::io::Read;
    let mut len = [0; 4];
    socket.read_exact(&mut len).ok()?;
    let len = u32::from_le_bytes(len);
    if len > protocol::MAX_MESSAGE_BYTES {
        return None;
    }
    let mut bytes = vec![0; len as usize];
    socket.read_exact(&mut bytes).ok()?;
    ggscope_format::record::decode(&bytes).ok()
}
