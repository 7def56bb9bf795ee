//! Accepts shims and runs one thread for each, until told to stop. It prints nothing: what happens goes out as
//! [`Event`]s, and `ggscope record` and `ggscope daemon` say it in their own words.

use super::control::Control;
use super::handshake::RecordOptions;
use super::listener::Listener;
use super::output::Output;
use super::session::{Ended, Session, SessionError};
use crate::ingest::{Progress, Trouble};
use crossbeam::channel::{Receiver, Sender, unbounded};
use ggscope_format::session::Hello;
use ggscope_trace::Growing;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// What happens to sessions.
#[derive(Debug)]
pub enum Event {
    /// A process attached.
    Attached {
        /// Who it is.
        hello: Hello,
        /// Its file.
        path: PathBuf,
        /// How far it is.
        progress: Arc<Progress>,
        /// What is in the file and on its way there.
        growing: Arc<Growing>,
        /// Changes what is captured of it.
        control: Arc<Control>,
    },
    /// A process that connected is not recorded.
    Refused(SessionError),
    /// Something is wrong with a session.
    Trouble {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        trouble: Trouble,
    },
    /// A session is over and its file complete.
    Ended(Box<Ended>),
}

struct Shared {
    wanted: RecordOptions,
    output: Output,
    events: Sender<Event>,
    stop: AtomicBool,
    open: AtomicUsize,
}

/// A collector that accepts and records.
pub struct Collector {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    accepting: Option<(UnixStream, JoinHandle<()>)>,
}

impl Collector {
    /// Begins to accept on `listener`.
    ///
    /// # Errors
    /// When the system has no thread or descriptor left.
    pub fn start(listener: Listener, wanted: RecordOptions, output: Output) -> io::Result<Collector> {
        let (sender, events) = unbounded();
        let shared = Arc::new(Shared {
            wanted,
            output,
            events: sender,
            stop: AtomicBool::new(false),
            open: AtomicUsize::new(0),
        });
        let (bell, heard) = UnixStream::pair()?;
        let for_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("accept".into())
            .spawn(move || accept_until_rung(&listener, &heard, &for_thread))?;
        Ok(Collector { shared, events, accepting: Some((bell, thread)) })
    }

    /// What happens, in order.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// How many sessions are going on, handshakes included.
    pub fn open_sessions(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Accepts whoever has connected already, and then nobody. Removes the socket.
    pub fn stop_accepting(&mut self) {
        if let Some((bell, thread)) = self.accepting.take() {
            drop(bell);
            // A panic there has been printed already.
            let _ = thread.join();
        }
    }

    /// Lets go of all sessions: their files are finished with what is there now.
    pub fn stop_sessions(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop_accepting();
        self.stop_sessions();
    }
}

/// The other end of `bell` is dropped when it is time to stop.
fn accept_until_rung(listener: &Listener, bell: &UnixStream, shared: &Arc<Shared>) {
    loop {
        let watch = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut watched = [watch(listener.socket.as_raw_fd()), watch(bell.as_raw_fd())];
        // SAFETY: two valid entries.
        unsafe { libc::poll(watched.as_mut_ptr(), 2, -1) };
        loop {
            match listener.socket.accept() {
                Ok((stream, _)) => begin_session(stream, shared),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Out of descriptors or memory: what is waiting stays there until some are free.
                Err(_) => {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                    break;
                }
            }
        }
        if watched[1].revents != 0 {
            return;
        }
    }
}

fn begin_session(stream: UnixStream, shared: &Arc<Shared>) {
    shared.open.fetch_add(1, Ordering::AcqRel);
    let open = Open(shared.clone());
    // When no thread can be had, the connection is dropped with the closure, and the program runs untraced.
    let started = std::thread::Builder::new().name("session".into()).spawn(move || session(stream, &open.0));
    if let Err(error) = started {
        let _ = shared.events.send(Event::Refused(SessionError::Thread(error)));
    }
}

/// One of the open sessions, counted until its thread ends, however that happens.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

fn session(stream: UnixStream, shared: &Shared) {
    // Nobody listens to the events any more when the collector is being dropped; nothing is lost with them.
    let tell = |event| {
        let _ = shared.events.send(event);
    };
    match Session::attach(stream, &shared.wanted, &shared.output) {
        Ok(session) => {
            let progress = Arc::new(Progress::default());
            let path = session.path.clone();
            let (hello, growing, control) = (session.hello.clone(), session.growing.clone(), session.control.clone());
            tell(Event::Attached { hello, path: path.clone(), progress: progress.clone(), growing, control });
            let report = |trouble| tell(Event::Trouble { path: path.clone(), trouble });
            let ended = session.run(&progress, &shared.stop, &report);
            tell(Event::Ended(Box::new(ended)));
        }
        Err(error) => tell(Event::Refused(error)),
    }
}
