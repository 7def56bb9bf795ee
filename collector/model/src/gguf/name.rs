//! Keys, names and texts of a GGUF file. The format wants UTF-8, but nothing keeps a file to it: the bytes are what is
//! compared and measured, and what a reader sees has those that are no UTF-8 escaped as `\xff`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// A key, a name or a text of a file. As a `str` it is what a reader sees; it is equal to another with the same bytes.
#[derive(Clone, Default)]
pub struct Name {
    shown: Box<str>,
    /// The bytes, where they are no UTF-8.
    bytes: Option<Box<[u8]>>,
}

impl Name {
    /// The name with these bytes.
    pub fn of(bytes: &[u8]) -> Name {
        match shown(bytes) {
            Cow::Borrowed(text) => Name { shown: text.into(), bytes: None },
            Cow::Owned(text) => Name { shown: text.into(), bytes: Some(bytes.into()) },
        }
    }

    /// Its bytes in the file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.shown.as_bytes())
    }

    /// What a reader sees.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// What llama.cpp sees of it: in C a text ends at the first NUL.
    pub fn as_c_str(&self) -> &str {
        self.shown.split('\0').next().unwrap_or_default()
    }

    /// Its bytes up to the first NUL, by which llama.cpp finds keys.
    pub(super) fn c_bytes(&self) -> &[u8] {
        self.bytes().split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// Whether its bytes are UTF-8.
    pub fn is_utf8(&self) -> bool {
        self.bytes.is_none()
    }
}

/// Bytes as text: those that are no UTF-8 are escaped as `\xff`.
pub fn shown(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.utf8_chunks().fold(String::new(), |mut out, chunk| {
            out.push_str(chunk.valid());
            chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
            out
        })),
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.shown
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Name {}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl PartialEq<String> for Name {
    fn eq(&self, other: &String) -> bool {
        *self == **other
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name { shown: text.into(), bytes: None }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.shown, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_their_bytes_however_they_are_shown() {
        let (a, b) = (Name::of(b"x\xff"), Name::of(b"x\xfe\xc3"));
        assert_eq!((a.as_str(), b.as_str()), ("x\\xff", "x\\xfe\\xc3"));
        assert_eq!((a.bytes(), a.is_utf8()), (&b"x\xff"[..], false));
        assert_ne!(a, b);
        // The text that looks like it is another name.
        assert_ne!(a, Name::from("x\\xff"));
        let accented = Name::from("é");
        assert!(a != "x\\xff" && accented == "é" && Name::of("é".as_bytes()).is_utf8());
        let cut = Name::of(b"x\0\xff");
        assert_eq!((cut.as_c_str(), cut.c_bytes(), cut.bytes().len()), ("x", &b"x"[..], 3));
        let (first, second) = (Name::from("a"), Name::from("b"));
        assert!(b < a && first < second);
    }
}
