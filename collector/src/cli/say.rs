//! What `record` and `daemon` say on stderr: one line a fact, each with our name in front, because the traced program
//! speaks there too.

use super::terminal::{self, printable};
use ggscope_attach::Ended;
use ggscope_attach::ingest::{Outcome, Trouble};
use ggscope_query::{captures, causes};
use ggscope_trace::Trace;
use std::fmt::{Arguments, Display};
use std::io::Write;
use std::path::Path;

/// Says one line.
pub(super) fn line(text: Arguments<'_>) {
    terminal::error_line(&format!("ggscope: {text}"));
}

/// Draws a line on a terminal that the next line takes the place of.
pub(super) fn progress(text: Arguments<'_>) {
    let _ = write!(std::io::stderr().lock(), "\r\x1b[Kggscope: {}\r", printable(&text.to_string()));
}

/// Takes away what [`progress`] has drawn.
pub(super) fn clear_progress() {
    let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
}

/// Says what is wrong with a session.
pub(super) fn trouble(path: &Path, trouble: &Trouble) {
    match trouble {
        Trouble::Warning(text) => line(format_args!("{}: {text}", path.display())),
        Trouble::Cut(text) => line(format_args!("{text}; the trace ends here, the program runs on")),
    }
}

/// Says what was recorded.
pub(super) fn summary(ended: &Ended) {
    let Ended { path, outcome: Outcome { totals, lost, cut, .. }, .. } = ended;
    let what = format!(
        "{}, {}, {}",
        counted(totals.tokens(), "token"),
        counted(totals.evaluations, "evaluation"),
        counted(totals.operators, "operator")
    );
    let cut = if cut.is_some() { ", cut: not all of it could be written" } else { "" };
    line(format_args!("{what} → {} ({}{cut})", path.display(), bytes(totals.file_bytes)));
    causes::losses(lost).iter().for_each(|cause| line(format_args!("{cause}")));
    if totals.left_out_evaluations > 0 {
        line(format_args!(
            "values of {} left out ({}) because of --capture-budget",
            counted(totals.left_out_evaluations, "evaluation"),
            bytes(totals.left_out_bytes)
        ));
    }
}

/// Says what was to be captured and was not there.
pub(super) fn unmatched(path: &Path) {
    if let Ok(trace) = Trace::open(path) {
        captures::unmatched(&trace).iter().for_each(|nothing| line(format_args!("{nothing}")));
    }
}

fn counted(n: u64, noun: &str) -> impl Display {
    format!("{} {noun}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// `76032` is `76,032`.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `123904` is `121 KiB`.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut size = n as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if size < 10.0 { format!("{size:.1} {}", UNITS[unit]) } else { format!("{size:.0} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 76_032, 1_234_567].map(thousands), ["0", "999", "1,000", "76,032", "1,234,567"]);
        assert_eq!([0, 1023, 1024, 123_904, 5 << 20].map(bytes), ["0 B", "1023 B", "1.0 KiB", "121 KiB", "5.0 MiB"]);
        assert_eq!(counted(1, "token").to_string(), "1 token");
    }
}
