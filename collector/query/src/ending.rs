//! How a session ended, in one line that says what the trace has of it.

use ggscope_trace::{Ending, Trace};
use serde::Serialize;
use std::path::Path;
use utoipa::ToSchema;

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Ended {
    /// `exited`; `killed`; `gone`: nobody knows how; `left`: it runs on without ggscope; `let_go`: the collector was told
    /// to end, and it ran on; `cut`: the trace ends before the session did.
    pub how: &'static str,
    /// Exit code of a process that exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it, such as `SIGKILL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Whether somebody would want to know of it: it did not exit with code 0 nor was let go.
    pub unexpected: bool,
    /// All of it as a sentence.
    pub text: String,
}

/// How the session of a trace ended; `None` if it goes on, or if the trace does not say. `is_cut`: nobody writes the
/// trace, and it has no end.
pub fn ended(trace: &Trace, is_cut: bool) -> Option<Ended> {
    let told = match trace.ending() {
        Some(ending) => of_process(&trace.recording().hello.exe, ending),
        None if is_cut => {
            let text = "the recording was cut: ggscope was ended by force, or the disk was full".to_owned();
            Ended { how: "cut", code: None, signal: None, unexpected: true, text }
        }
        None => return None,
    };
    let text = format!("{}; {}", told.text, recorded(trace));
    Some(Ended { text, ..told })
}

/// How the process that runs the program `exe` ended, without what there is of it.
pub fn of_process(exe: &str, ending: Ending) -> Ended {
    let name = Path::new(exe).file_name().map_or("the program".into(), |name| name.to_string_lossy());
    let told = |how, unexpected, text| Ended { how, code: None, signal: None, unexpected, text };
    match ending {
        Ending::Exited(code) => {
            Ended { code: Some(code), ..told("exited", code != 0, format!("{name} exited with code {code}")) }
        }
        Ending::Killed(number) => {
            let signal = signal_name(number);
            let verb = if CRASHES.contains(&number) { "crashed with" } else { "was killed by" };
            Ended { signal: Some(signal.clone()), ..told("killed", true, format!("{name} {verb} {signal}")) }
        }
        Ending::Gone => told("gone", true, format!("{name} is gone, and the system does not say how it ended")),
        Ending::Left => {
            told("left", true, format!("{name} has closed its connection to ggscope and runs on without it"))
        }
        Ending::LetGo => told("let_go", false, format!("ggscope was told to end, and {name} ran on")),
    }
}

/// Signals that a process brings upon itself.
const CRASHES: [i32; 6] = [libc::SIGILL, libc::SIGABRT, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];

/// What there is of the session.
fn recorded(trace: &Trace) -> String {
    let totals = trace.totals();
    let tokens = totals.tokens();
    let lost = match totals.dropped_records {
        0 => String::new(),
        1 => " but one record that was lost".to_owned(),
        n => format!(" but {n} records that were lost"),
    };
    match (totals.evaluations, tokens) {
        (1.., _) if trace.damage().is_some() => "parts of the trace are damaged, and missing here".to_owned(),
        (0, _) => format!("it had computed nothing{lost}"),
        (n, 0) => format!("the trace has all of {n} evaluations{lost}"),
        (_, tokens) => format!("the trace has everything up to token {}{lost}", tokens - 1),
    }
}

/// The name of a signal.
fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(number).ok().and_then(|n| NAMES.get(n.checked_sub(1)?));
    name.map_or_else(|| format!("signal {number}"), |name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_trace::testing::{Shape, recording, write};
    use ggscope_trace::{Losses, TraceWriter};

    #[test]
    fn one_line_says_how_it_ended_and_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let of = |ending: Option<Ending>, dropped: u64| {
            let _ = std::fs::remove_file(&path);
            let mut writer = write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9);
            writer.dropped(Losses { full: dropped, ..Losses::default() }, dropped);
            if let Some(ending) = ending {
                writer.ended(ending).unwrap();
            }
            writer.finish().unwrap();
            let trace = Trace::open(&path).unwrap();
            assert_eq!(trace.ending(), ending);
            ended(&trace, false).map(|e| (e.how, e.unexpected, e.text))
        };
        let everything = "the trace has everything up to token 13";
        for (ending, dropped, how, unexpected, text) in [
            (Ending::Exited(0), 0, "exited", false, format!("llama-server exited with code 0; {everything}")),
            (Ending::Exited(3), 0, "exited", true, format!("llama-server exited with code 3; {everything}")),
            (Ending::Killed(9), 0, "killed", true, format!("llama-server was killed by SIGKILL; {everything}")),
            (
                Ending::Killed(libc::SIGSEGV),
                2,
                "killed",
                true,
                format!("llama-server crashed with SIGSEGV; {everything} but 2 records that were lost"),
            ),
            (Ending::Killed(40), 0, "killed", true, format!("llama-server was killed by signal 40; {everything}")),
            (
                Ending::LetGo,
                0,
                "let_go",
                false,
                format!("ggscope was told to end, and llama-server ran on; {everything}"),
            ),
        ] {
            assert_eq!(of(Some(ending), dropped), Some((how, unexpected, text)));
        }
        assert_eq!(of(None, 0), None, "an older trace does not say");
        assert_eq!(signal_name(libc::SIGSYS), "SIGSYS");
    }

    #[test]
    fn nothing_computed_and_a_cut_file_are_said_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.ended(Ending::Killed(9)).unwrap();
        // The writer dies before the index is written.
        drop(writer);
        let trace = Trace::open(&path).unwrap();
        let text = ended(&trace, true).unwrap().text;
        assert_eq!(text, "llama-server was killed by SIGKILL; it had computed nothing");
        write(&path.with_extension("b"), Shape { n_layer: 2, ..Shape::default() }, 5, 9).flush().unwrap();
        let trace = Trace::open(&path.with_extension("b")).unwrap();
        assert_eq!(ended(&trace, false), None, "it may still be written");
        let cut = ended(&trace, true).unwrap();
        assert_eq!((cut.how, cut.unexpected), ("cut", true));
        assert!(
            cut.text.starts_with("the recording was cut: ") && cut.text.ends_with(" up to token 13"),
            "{}",
            cut.text
        );
    }

    #[test]
    fn a_damaged_trace_is_not_said_to_have_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let mut writer = write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9);
        writer.ended(Ending::Exited(0)).unwrap();
        writer.finish().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        // Inside a chunk: the index at the end is whole, and says that there are evaluations.
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let trace = Trace::open(&path).unwrap();
        trace.verify(u64::MAX);
        assert!(trace.complete(), "its end is there");
        let text = ended(&trace, false).unwrap().text;
        assert_eq!(text, "llama-server exited with code 0; parts of the trace are damaged, and missing here");
    }
}
