//! The edge at which text leaves this program. Names, keys and texts come from files and from traced programs, and anyone
//! may have made them. What a terminal would obey, or what changes the order in which it shows text, is shown as an
//! escape and never sent. All that the commands write to stdout and stderr goes through here.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that are collected before they are escaped and written.
const BUFFER: usize = 1 << 16;

/// A reader of our output has closed its end: `ggscope dump … | head`.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lines for people. Escapes look like `\u{1b}`.
    Text,
    /// JSON: escapes are those of JSON, so that a reader gets the same text.
    Json,
    /// Bytes that another program reads, such as CSV: written as they are, except to a terminal.
    Data,
}

impl Form {
    /// The form of a command that prints lines, JSON, or CSV.
    pub(super) fn of(json: bool, csv: bool) -> Form {
        match (json, csv) {
            (true, _) => Form::Json,
            (_, true) => Form::Data,
            _ => Form::Text,
        }
    }
}

/// Whether a reader of the output has seen enough. Then a command ends without a word.
pub(super) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Stdout, for output of a form.
pub(super) fn stdout(form: Form) -> BufWriter<Edge<io::Stdout>> {
    let out = io::stdout();
    let is_terminal = out.is_terminal();
    BufWriter::with_capacity(BUFFER, Edge::new(out, form, is_terminal))
}

/// A place that a reader may close, for bytes that another program reads.
pub(super) fn data<W: Write + IsTerminal>(to: W) -> BufWriter<Edge<W>> {
    let is_terminal = to.is_terminal();
    BufWriter::with_capacity(BUFFER, Edge::new(to, Form::Data, is_terminal))
}

/// Writes one line to stderr, in one piece. That stderr is gone is no reason to stop.
pub(super) fn error_line(text: &str) {
    let _ = io::stderr().lock().write_all(format!("{}\n", printable(text)).as_bytes());
}

/// Writes lines to stderr. That stderr is gone is no reason to stop.
pub(super) fn error_lines(text: &str) {
    let lines: Vec<Cow<str>> = text.lines().map(printable).collect();
    let _ = io::stderr().lock().write_all(format!("{}\n", lines.join("\n")).as_bytes());
}

/// The text without characters that do something to a terminal or to its order of text.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hostile(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.into()
}

/// Characters that control a terminal, reorder text, or show nothing where something is. Joiners and variation selectors
/// stay: emoji and several scripts are written with them.
fn is_hostile(c: char) -> bool {
    matches!(c,
        // C0, DEL, C1.
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
        | '\u{ad}' | '\u{61c}' | '\u{180e}'
        // Zero-width space, marks of direction.
        | '\u{200b}' | '\u{200e}' | '\u{200f}'
        // Separators of lines and paragraphs, embeddings and overrides.
        | '\u{2028}'..='\u{202e}'
        // Word joiner, invisible operators, isolates, deprecated formats.
        | '\u{2060}'..='\u{206f}'
        // Byte order mark, interlinear annotations.
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        // Tags.
        | '\u{e0000}'..='\u{e007f}')
}

/// Escapes what passes, as its form says.
pub(super) struct Edge<W: Write> {
    to: W,
    form: Form,
    /// Bytes pass as they are.
    raw: bool,
    /// The beginning of a character whose end has not come yet.
    begun: Vec<u8>,
}

impl<W: Write> Edge<W> {
    fn new(to: W, form: Form, is_terminal: bool) -> Edge<W> {
        Edge { to, form, raw: form == Form::Data && !is_terminal, begun: vec![] }
    }

    fn escaped(&mut self, bytes: &[u8]) -> Vec<u8> {
        let begun = std::mem::take(&mut self.begun);
        let joined = if begun.is_empty() { Cow::Borrowed(bytes) } else { Cow::Owned([&begun, bytes].concat()) };
        let mut out = String::with_capacity(joined.len() + 64);
        let mut rest: &[u8] = &joined;
        while !rest.is_empty() {
            let (text, bad) = match std::str::from_utf8(rest) {
                Ok(text) => (text, 0),
                Err(error) => {
                    let text = std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default();
                    match error.error_len() {
                        Some(bad) => (text, bad),
                        None => {
                            self.begun = rest[text.len()..].to_vec();
                            rest = &rest[..text.len()];
                            (text, 0)
                        }
                    }
                }
            };
            text.chars().for_each(|c| self.push(c, &mut out));
            push_bytes(&rest[text.len()..text.len() + bad], &mut out);
            rest = &rest[text.len() + bad..];
        }
        out.into_bytes()
    }

    fn push(&self, c: char, out: &mut String) {
        match (self.form, c) {
            (_, '\n') => out.push(c),
            (Form::Data, '\t' | '\r') => out.push(c),
            _ if !is_hostile(c) => out.push(c),
            (Form::Json, _) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.extend(c.escape_default()),
        }
    }

    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        noticed(self.to.write_all(bytes))
    }
}

/// Bytes that are no text, one by one.
fn push_bytes(bytes: &[u8], out: &mut String) {
    bytes.iter().for_each(|byte| {
        let _ = write!(out, "\\x{byte:02x}");
    });
}

/// Remembers that the reader is gone.
fn noticed<T>(result: io::Result<T>) -> io::Result<T> {
    result.inspect_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            CLOSED.store(true, Ordering::Relaxed);
        }
    })
}

impl<W: Write> Write for Edge<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let plain = |&b: &u8| (b' '..0x7f).contains(&b) || b == b'\n';
        if self.raw || (self.begun.is_empty() && bytes.iter().all(plain)) {
            self.pass(bytes)?;
        } else {
            let escaped = self.escaped(bytes);
            self.pass(&escaped)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        noticed(self.to.flush())
    }
}

impl<W: Write> Drop for Edge<W> {
    fn drop(&mut self) {
        let mut rest = String::new();
        push_bytes(&self.begun, &mut rest);
        let _ = self.pass(rest.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(form: Form, is_terminal: bool, pieces: &[&[u8]]) -> String {
        let mut out = vec![];
        let mut edge = Edge::new(&mut out, form, is_terminal);
        for piece in pieces {
            edge.write_all(piece).unwrap();
        }
        drop(edge);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_hostile_name_reaches_no_terminal() {
        assert_eq!(printable("blk.0 ü"), "blk.0 ü");
        assert_eq!(printable("\x1b[2Jgone\n\u{9b}"), "\\u{1b}[2Jgone\\n\\u{9b}");
        for c in "\u{7f}\u{85}\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\u{200b}\u{feff}\u{2028}".chars() {
            assert_eq!(printable(&format!("a{c}b")), format!("a{}b", c.escape_default()));
        }
        // A family, a flag, and Persian: joiners and variation selectors make them what they are.
        for text in ["👨\u{200d}👩\u{200d}👧", "❤\u{fe0f}", "می\u{200c}خواهم"] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn text_is_escaped_wherever_it_goes_and_data_only_on_a_terminal() {
        let hostile = "a,\x1b]0;t\x07\t\u{202e}é\n".as_bytes();
        assert_eq!(sent(Form::Text, false, &[hostile]), "a,\\u{1b}]0;t\\u{7}\\t\\u{202e}é\n");
        assert_eq!(sent(Form::Data, false, &[hostile]).as_bytes(), hostile);
        assert_eq!(sent(Form::Data, true, &[hostile]), "a,\\u{1b}]0;t\\u{7}\t\\u{202e}é\n");
    }

    #[test]
    fn json_says_the_same_with_its_own_escapes() {
        let text = "\x7f\u{9b}\u{202e}é\u{e0041}";
        let json = sent(Form::Json, false, &[serde_json::to_string(text).unwrap().as_bytes()]);
        assert_eq!(json, "\"\\u007f\\u009b\\u202eé\\udb40\\udc41\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn a_character_that_is_written_in_pieces_is_one_and_bytes_that_are_no_text_are_shown() {
        let (first, second) = "é\u{9b}".as_bytes().split_at(3);
        assert_eq!(sent(Form::Text, false, &[&first[..1], &first[1..], second, b"z"]), "é\\u{9b}z");
        assert_eq!(sent(Form::Text, false, &[b"a\xff\xfeb\xc3(\n\xe2"]), "a\\xff\\xfeb\\xc3(\n\\xe2");
    }

    #[test]
    fn a_reader_that_is_gone_is_noticed() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(Edge::new(Gone, Form::Data, false).write_all(b"x").is_err() && is_closed());
    }
}
