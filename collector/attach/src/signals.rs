//! Signals, taken one at a time by the thread that waits for them instead of by handlers. They are blocked before any
//! other thread exists; a program that is started gets its mask back as it was.

use std::io;
use std::time::Duration;

/// The signals that are taken, all of which would end us otherwise, and the one that says a child has ended.
const TAKEN: [i32; 7] =
    [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD];

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number.
    pub number: i32,
    /// The kernel sent it for the terminal: to the whole foreground, not to us alone.
    pub to_all: bool,
}

impl Signal {
    /// Whether it says that this process is to end.
    pub fn asks_to_end(&self) -> bool {
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT].contains(&self.number)
    }
}

/// The taken signals are blocked in this process.
#[derive(Clone, Copy)]
pub struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    /// Blocks them in the calling thread and in those that it starts from now on.
    ///
    /// # Errors
    /// When the system refuses, which it should not.
    pub fn block() -> io::Result<Blocked> {
        // SAFETY: signal sets are plain data, and all calls write only to what they are given. Nothing handles SIGCHLD.
        unsafe {
            // Whoever started us may ignore it, and then children end unnoticed.
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            let mut before: libc::sigset_t = std::mem::zeroed();
            match libc::pthread_sigmask(libc::SIG_BLOCK, &taken(), &raw mut before) {
                0 => Ok(Blocked { before }),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// Gives the calling thread the mask back that it had before. Safe between fork and exec.
    pub(super) fn restore(&self) -> io::Result<()> {
        // SAFETY: `before` came from the system.
        match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Waits until somebody wants this process to end.
    pub fn await_end(&self) -> Signal {
        loop {
            if let Some(signal) = self.next(Duration::from_secs(3600)).filter(Signal::asks_to_end) {
                return signal;
            }
        }
    }

    /// The next signal, or `None` if there is none within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Signal> {
        let timeout =
            libc::timespec { tv_sec: patience.as_secs() as libc::time_t, tv_nsec: patience.subsec_nanos().into() };
        // SAFETY: plain data; the call writes only to `info`.
        let (number, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            (libc::sigtimedwait(&taken(), &raw mut info, &raw const timeout), info)
        };
        (number > 0).then_some(Signal { number, to_all: info.si_code == libc::SI_KERNEL })
    }
}

fn taken() -> libc::sigset_t {
    // SAFETY: a signal set is plain data, and the numbers are signals.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in TAKEN {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Ends this process by `signal`, without a core file: the traced program has left its own.
pub fn die_by(signal: i32) -> ! {
    // SAFETY: plain numbers and data; nothing of ours is needed any more.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(signal);
    }
    // Not every signal ends a process.
    std::process::exit(128 + signal);
}
