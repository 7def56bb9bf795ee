//! The traced process, seen from outside: when it ends, and how. Its exit code belongs to its parent, so where that is
//! somebody else it is looked for where the system leaves it: in `/proc` until the parent has fetched it, and in the
//! descriptor of the process afterwards.

use ggscope_trace::Ending;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A process that ends closes its connection a moment before it is gone.
const GONE_WITHIN: Duration = Duration::from_millis(250);
/// How long it is looked for how a process has ended, and how often.
const TOLD_WITHIN: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A traced process.
pub(super) struct TracedProcess {
    stream: UnixStream,
    process: Option<Process>,
}

impl TracedProcess {
    /// The process `pid` at the other end of `stream`; 0 if nobody knows its number.
    pub(super) fn new(stream: UnixStream, pid: u32) -> TracedProcess {
        // The socket is only listened to from here on, and never waited for without poll.
        let _ = stream.set_nonblocking(true);
        TracedProcess { stream, process: Process::open(pid) }
    }

    /// The connection.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sleeps for at most `pause`; how the process ended if it has, or has hung up.
    pub(super) fn ended_within(&mut self, pause: Duration) -> Option<Ending> {
        let watch = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // A negative descriptor is passed over.
        let process = self.process.as_ref().map_or(-1, |p| p.descriptor.as_raw_fd());
        let mut watched = [watch(self.stream.as_raw_fd()), watch(process)];
        // SAFETY: two valid entries.
        unsafe { libc::poll(watched.as_mut_ptr(), 2, pause.as_millis() as i32) };
        let has_ended = watched[1].revents != 0;
        if !has_ended && (watched[0].revents == 0 || !self.hung_up()) {
            return None;
        }
        let Some(process) = &self.process else { return Some(Ending::Gone) };
        let is_gone = has_ended || process.is_gone_within(GONE_WITHIN);
        Some(if is_gone { process.how().unwrap_or(Ending::Gone) } else { Ending::Left })
    }

    /// Whether the connection has ended; what is said on it after the handshake means nothing.
    fn hung_up(&mut self) -> bool {
        let mut ignored = [0; 4096];
        match self.stream.read(&mut ignored) {
            Ok(n) => n == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

/// A process, whose number may be another's as soon as it is gone.
struct Process {
    pid: u32,
    /// Readable when the process has ended. The connection alone can outlive it, in a child that has inherited it.
    descriptor: File,
}

impl Process {
    fn open(pid: u32) -> Option<Process> {
        if pid == 0 {
            return None;
        }
        // SAFETY: plain numbers in, a new descriptor or -1 out.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
        // SAFETY: the descriptor is new and nobody else's.
        (fd >= 0).then(|| Process { pid, descriptor: unsafe { File::from_raw_fd(fd as i32) } })
    }

    fn is_gone_within(&self, patience: Duration) -> bool {
        let mut watched = libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        unsafe { libc::poll(&raw mut watched, 1, patience.as_millis() as i32) };
        watched.revents != 0
    }

    /// How it ended, if the system tells.
    fn how(&self) -> Option<Ending> {
        let begin = Instant::now();
        loop {
            let status = self.status_of_child().or_else(|| self.status_in_proc()).or_else(|| self.status_kept());
            match status {
                Some(status) => return of_status(status),
                // Between the two places it is nowhere.
                None if begin.elapsed() < TOLD_WITHIN => std::thread::sleep(LOOK_EVERY),
                None => return None,
            }
        }
    }

    /// Of a child of ours, which stays for whoever waits for it.
    fn status_of_child(&self) -> Option<i32> {
        // SAFETY: `info` is plain data, and the call writes only to it; its fields are those of a child's end.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            let fd = self.descriptor.as_raw_fd() as libc::id_t;
            let waited = libc::waitid(libc::P_PIDFD, fd, &raw mut info, options);
            if waited != 0 || info.si_pid() == 0 {
                return None;
            }
            let status = info.si_status();
            Some(if info.si_code == libc::CLD_EXITED { (status & 0xff) << 8 } else { status & 0x7f })
        }
    }

    /// Of a process that its parent has not waited for yet: the last number of `/proc/PID/stat`.
    fn status_in_proc(&self) -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name of the program may have spaces and brackets.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let is_over = fields.next() == Some("Z");
        let status = fields.next_back()?.parse().ok()?;
        (is_over && self.has_its_number()).then_some(status)
    }

    /// Whether the number is still this process's.
    fn has_its_number(&self) -> bool {
        let fd = self.descriptor.as_raw_fd();
        // SAFETY: an open descriptor; signal 0 only asks.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, 0, std::ptr::null::<libc::siginfo_t>(), 0) == 0 }
    }

    /// Of a process that its parent has waited for, since Linux 6.15.
    fn status_kept(&self) -> Option<i32> {
        /// `struct pidfd_info` of `linux/pidfd.h` in its first version.
        #[repr(C)]
        #[derive(Default)]
        struct Info {
            mask: u64,
            cgroup: u64,
            numbers: [u32; 11],
            exit_code: i32,
        }
        const INFO_EXIT: u64 = 1 << 3;
        const GET_INFO: libc::Ioctl = libc::_IOWR::<Info>(0xff, 11);
        let mut info = Info { mask: INFO_EXIT, ..Info::default() };
        // SAFETY: an open descriptor, and a struct of the size that the number of the call says.
        let status = unsafe { libc::ioctl(self.descriptor.as_raw_fd(), GET_INFO, &raw mut info) };
        (status == 0 && info.mask & INFO_EXIT != 0).then_some(info.exit_code)
    }
}

/// What a status says as `wait` has it.
fn of_status(status: i32) -> Option<Ending> {
    if libc::WIFEXITED(status) {
        Some(Ending::Exited(libc::WEXITSTATUS(status)))
    } else {
        libc::WIFSIGNALED(status).then(|| Ending::Killed(libc::WTERMSIG(status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Waits for the end of `process`, connected by a socket that is open as long as `ours` is.
    fn ending(pid: u32, ours: UnixStream, theirs: UnixStream) -> Ending {
        let mut host = TracedProcess::new(theirs, pid);
        assert_eq!(host.ended_within(Duration::ZERO), None);
        drop(ours);
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < Duration::from_secs(20));
            if let Some(ending) = host.ended_within(Duration::from_millis(10)) {
                return ending;
            }
        }
    }

    #[test]
    fn the_end_of_a_child_is_told_and_left_to_whoever_waits_for_it() {
        for (script, expected) in [
            ("read x; exit 7", Ending::Exited(7)),
            ("read x; kill -9 $$", Ending::Killed(9)),
            ("read x; kill -SEGV $$", Ending::Killed(libc::SIGSEGV)),
        ] {
            let mut child = shell(script);
            let (ours, theirs) = UnixStream::pair().unwrap();
            let pid = child.id();
            let waiting = std::thread::spawn(move || ending(pid, ours, theirs));
            std::thread::sleep(Duration::from_millis(20));
            drop(child.stdin.take());
            assert_eq!(waiting.join().unwrap(), expected, "{script}");
            let status = child.wait().unwrap();
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(of_status(status.into_raw()), Some(expected));
        }
    }

    #[test]
    fn the_end_of_somebody_elses_child_is_told() {
        // The shell between us and the process tells its number, and waits for it or has better things to do.
        for wait in ["wait $p; sleep 1", "sleep 1; wait $p"] {
            let mut parent = shell(&format!("exec 3<&0; (read x <&3; exit 9) & p=$!; echo $p; exec 3<&-; {wait}"));
            let mut said = std::io::BufReader::new(parent.stdout.take().unwrap());
            let mut number = String::new();
            std::io::BufRead::read_line(&mut said, &mut number).unwrap();
            let process = Process::open(number.trim().parse().unwrap()).unwrap();
            assert_eq!(process.how(), None, "it runs");
            drop(parent.stdin.take());
            assert!(process.is_gone_within(Duration::from_secs(20)));
            let kept = process.how();
            // Who waits takes the code away from `/proc`; before Linux 6.15 it may then be nowhere.
            let may_be_lost = wait.starts_with("wait") && kept.is_none();
            assert!(kept == Some(Ending::Exited(9)) || may_be_lost, "{wait}: {kept:?}");
            parent.wait().unwrap();
        }
    }

    #[test]
    fn a_process_that_hangs_up_and_runs_on_has_left() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert_eq!(ending(std::process::id(), ours, theirs), Ending::Left);
    }
}
