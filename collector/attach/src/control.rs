//! Changes what is captured of a process that is attached. A change waits here until the shim has taken the one before; of
//! several that wait only the last is sent.

use ggscope_format::capture::Capture;
use ggscope_format::session::{MAX_CHANGE_BYTES, frame};
use parking_lot::Mutex;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// Whoever holds it can say what is to be captured.
#[derive(Debug, Default)]
pub struct Control {
    waits: Mutex<Option<Capture>>,
    /// The last change of all, whether the shim was told or not.
    asked: Mutex<Option<Capture>>,
}

impl Control {
    /// Something else is to be captured.
    ///
    /// # Errors
    /// When it is too long to be said.
    pub fn capture(&self, capture: Capture) -> Result<(), String> {
        let bytes = frame(&capture).len() - 4;
        if bytes > MAX_CHANGE_BYTES as usize {
            return Err(format!("it takes {bytes} bytes to say, and {MAX_CHANGE_BYTES} are the most"));
        }
        *self.asked.lock() = Some(capture.clone());
        *self.waits.lock() = Some(capture);
        Ok(())
    }

    /// What is to be captured, as somebody said last; the shim may have taken it or not.
    pub fn asked(&self) -> Option<Capture> {
        self.asked.lock().clone()
    }

    /// Tells the shim, if there is something to tell and it has taken what it was told before: then all of it fits into
    /// the socket, and nobody waits.
    pub(super) fn send(&self, stream: &UnixStream) {
        let mut waits = self.waits.lock();
        let Some(capture) = waits.as_ref().filter(|_| all_was_read(stream)) else { return };
        let message = frame(capture);
        // SAFETY: initialised bytes. Neither does this wait, nor does a shim that is gone end us with SIGPIPE.
        let sent = unsafe {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            libc::send(stream.as_raw_fd(), message.as_ptr().cast(), message.len(), flags)
        };
        // A session whose shim is gone is about to end, and nobody takes the change.
        if usize::try_from(sent).is_ok_and(|sent| sent == message.len()) {
            *waits = None;
        }
    }
}

/// Whether the other side has read all that was written.
fn all_was_read(stream: &UnixStream) -> bool {
    let mut unread: libc::c_int = 0;
    // SAFETY: an open descriptor, and a number that the call writes to.
    let status = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    status == 0 && unread == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::record::decode;
    use std::io::Read;

    #[test]
    fn of_several_changes_the_last_is_said_when_the_first_was_taken() {
        let (ours, mut shim) = UnixStream::pair().unwrap();
        let control = Control::default();
        let mut heard = || {
            let mut head = [0; 4];
            shim.read_exact(&mut head).unwrap();
            let mut message = vec![0; u32::from_le_bytes(head) as usize];
            shim.read_exact(&mut message).unwrap();
            decode::<Capture>(&message).unwrap().names
        };
        control.send(&ours);
        for name in ["first", "second", "third"] {
            control.capture(Capture::named([name])).unwrap();
            control.send(&ours);
        }
        assert_eq!(control.waits.lock().as_ref().unwrap().names, ["third"]);
        assert_eq!(heard(), ["first"]);
        control.send(&ours);
        assert_eq!((heard(), control.waits.lock().clone()), (vec!["third".to_owned()], None));
        assert_eq!(control.asked().unwrap().names, ["third"], "which may not be taken yet");
    }

    #[test]
    fn what_is_too_long_to_be_said_is_refused() {
        let long = Capture::named((0..1000).map(|i| format!("{i:0100}")));
        assert!(Control::default().capture(long).unwrap_err().contains("65536 are the most"));
    }
}
