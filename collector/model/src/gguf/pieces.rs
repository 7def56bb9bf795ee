//! What a token's notation stands for, byte for byte as llama.cpp reads it. Its readers are lenient, and so are these: a
//! vocabulary with odd tokens runs all the same, and then its texts are the odd ones.

/// `▁` is a space.
pub(super) fn with_spaces(written: &[u8]) -> Vec<u8> {
    const SPACE: &[u8] = "▁".as_bytes();
    let mut out = Vec::with_capacity(written.len());
    let mut rest = written;
    while let Some(&byte) = rest.first() {
        match rest.strip_prefix(SPACE) {
            Some(after) => {
                out.push(b' ');
                rest = after;
            }
            None => {
                out.push(byte);
                rest = &rest[1..];
            }
        }
    }
    out
}

/// Backslash escapes: `\t`, `\n`, `\r`, two digits after `\x`, and any other character for itself.
pub(super) fn unescaped(written: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(written.len());
    let mut bytes = written.iter().copied();
    // A digit that is none gives some number, as there.
    let digit = |c: u8| if (b'a'..0x80).contains(&c) { c - b'a' + 10 } else { c.wrapping_sub(b'0') };
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b't') => out.push(b'\t'),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b'x') => {
                if let (Some(high), Some(low)) = (bytes.next(), bytes.next()) {
                    out.push((digit(high) << 4).wrapping_add(digit(low)));
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// `<0x0A>` is byte 10.
pub(super) fn byte_token(written: &[u8]) -> Option<u8> {
    let [high, low] = written.strip_prefix(b"<0x")?.strip_suffix(b">")? else { return None };
    let digit = |c: &u8| (*c as char).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// The byte of a token of the kind BYTE: the number that its fourth and fifth byte are, as `strtol` reads it.
pub(super) fn byte_anywhere(written: &[u8]) -> Option<u8> {
    let mut digits = &written.get(3..)?[..written.len().min(5) - 3];
    while let Some((b' ' | 9..=13, rest)) = digits.split_first() {
        digits = rest;
    }
    let negative = digits.first() == Some(&b'-');
    if let Some((b'+' | b'-', rest)) = digits.split_first() {
        digits = rest;
    }
    let digits = digits.iter().map_while(|&c| (c as char).to_digit(16));
    let number = digits.fold(0, |number: u8, digit| (number << 4).wrapping_add(digit as u8));
    Some(if negative { number.wrapping_neg() } else { number })
}

/// Undoes GPT-2's table: each character is a byte. What is in no table is shown as llama.cpp shows it.
pub(super) fn from_characters(written: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(written.len());
    let mut rest = written;
    while !rest.is_empty() {
        let (code, len) = character(rest).unwrap_or((0xfffd, 1));
        rest = &rest[len..];
        match byte_of(code) {
            Some(byte) => out.push(byte),
            None => {
                out.extend(b"[UNK_BYTE_0x");
                encoded(code).iter().for_each(|byte| out.extend(format!("{byte:02x}").bytes()));
                out.extend(written);
                out.push(b']');
            }
        }
    }
    out
}

/// The first character and its length, also if it is written longer than need be or is half of a pair.
fn character(bytes: &[u8]) -> Option<(u32, usize)> {
    let (first, len) = match bytes[0] {
        first @ 0..=0x7f => return Some((first.into(), 1)),
        first @ 0xc0..=0xdf => (first & 0x1f, 2),
        first @ 0xe0..=0xef => (first & 0x0f, 3),
        first @ 0xf0..=0xf7 => (first & 0x07, 4),
        _ => return None,
    };
    let more = bytes.get(1..len)?;
    let add = |code: u32, byte: &u8| (byte & 0xc0 == 0x80).then(|| code << 6 | u32::from(byte & 0x3f));
    more.iter().try_fold(u32::from(first), add).map(|code| (code, len))
}

/// A character in UTF-8, halves of pairs included.
fn encoded(code: u32) -> Vec<u8> {
    let tail = |shift: u32| 0x80 | (code >> shift & 0x3f) as u8;
    match code {
        0..=0x7f => vec![code as u8],
        0x80..=0x7ff => vec![0xc0 | (code >> 6) as u8, tail(0)],
        0x800..=0xffff => vec![0xe0 | (code >> 12) as u8, tail(6), tail(0)],
        _ => vec![0xf0 | (code >> 18 & 7) as u8, tail(12), tail(6), tail(0)],
    }
}

/// In GPT-2's table printable bytes stand for themselves, and the others follow each other from U+0100.
fn byte_of(code: u32) -> Option<u8> {
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_byte_has_just_one_character() {
        let bytes: Vec<u8> = (0..0x200).filter_map(byte_of).collect();
        assert_eq!((bytes.len(), bytes.iter().collect::<BTreeSet<_>>().len()), (256, 256));
    }

    #[test]
    fn characters_become_the_bytes_they_stand_for() {
        assert_eq!(from_characters("Ġthe".as_bytes()), b" the");
        assert_eq!(from_characters("Ċ".as_bytes()), b"\n");
        assert_eq!(from_characters("Ã©".as_bytes()), "é".as_bytes());
        assert_eq!(from_characters("a b".as_bytes()), b"a[UNK_BYTE_0x20a b]b");
        assert_eq!(from_characters(b"\xff"), b"[UNK_BYTE_0xefbfbd\xff]");
    }

    #[test]
    fn spaces_and_escapes_are_undone_in_bytes_that_are_no_text_too() {
        assert_eq!(with_spaces("▁▁the".as_bytes()), b"  the");
        assert_eq!(with_spaces(b"\xe2\x96\xe2\x96\x81"), b"\xe2\x96 ");
        assert_eq!(unescaped(br"\x0a\n\\\'\xe4\q\x4"), b"\n\n\\'\xe4q");
    }

    #[test]
    fn byte_tokens_are_read_as_leniently_as_there() {
        assert_eq!((byte_token(b"<0x0A>"), byte_token(b"<0x0G>"), byte_token(b"<0x0A")), (Some(10), None, None));
        let read = ["<0x0A>", "<0xG1>", "abcf", "abc", "ab", "abc-1", "abc 7", "<0xfF> and more"];
        let expected = [Some(10), Some(0), Some(15), Some(0), None, Some(255), Some(7), Some(255)];
        assert_eq!(read.map(|text| byte_anywhere(text.as_bytes())), expected);
    }
}
