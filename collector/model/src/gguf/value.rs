//! Values of GGUF metadata. Scalars and strings are kept; arrays can be megabytes, so only their place is.

/// One value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any of the unsigned integers.
    Unsigned(u64),
    /// Any of the signed integers.
    Signed(i64),
    /// Either of the floating-point numbers.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array of strings.
    Strings {
        /// Offset of the first element in the file, in bytes.
        at: usize,
        /// Number of elements.
        count: u64,
    },
    /// An array of scalars.
    Scalars {
        /// What they are.
        kind: Scalar,
        /// Offset of the first element in the file, in bytes.
        at: usize,
        /// Number of elements.
        count: u64,
    },
}

impl Value {
    /// The value as a number that counts something.
    pub fn integer(&self) -> Option<u64> {
        match *self {
            Value::Unsigned(n) => Some(n),
            Value::Signed(n) => u64::try_from(n).ok(),
            _ => None,
        }
    }

    /// The value as a number.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Value::Unsigned(n) => Some(n as f64),
            Value::Signed(n) => Some(n as f64),
            Value::Float(n) => Some(n),
            _ => None,
        }
    }

    /// The value as text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A type of fixed size, as `gguf_type` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are GGUF's own")]
pub enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

impl Scalar {
    pub(super) fn from_gguf(id: u32) -> Option<Scalar> {
        use Scalar::*;
        Some(match id {
            0 => U8,
            1 => I8,
            2 => U16,
            3 => I16,
            4 => U32,
            5 => I32,
            6 => F32,
            7 => Bool,
            10 => U64,
            11 => I64,
            12 => F64,
            _ => return None,
        })
    }

    /// Size in bytes.
    pub fn bytes(self) -> usize {
        use Scalar::*;
        match self {
            U8 | I8 | Bool => 1,
            U16 | I16 => 2,
            U32 | I32 | F32 => 4,
            U64 | I64 | F64 => 8,
        }
    }

    /// The value that `bytes`, of just this type's size, hold.
    pub(super) fn read(self, bytes: &[u8]) -> Value {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(wide);
        match self {
            Scalar::U8 | Scalar::U16 | Scalar::U32 | Scalar::U64 => Value::Unsigned(unsigned),
            Scalar::I8 => Value::Signed(i64::from(unsigned as i8)),
            Scalar::I16 => Value::Signed(i64::from(unsigned as i16)),
            Scalar::I32 => Value::Signed(i64::from(unsigned as i32)),
            Scalar::I64 => Value::Signed(unsigned as i64),
            Scalar::F32 => Value::Float(f64::from(f32::from_bits(unsigned as u32))),
            Scalar::F64 => Value::Float(f64::from_bits(unsigned)),
            Scalar::Bool => Value::Bool(unsigned != 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_sign_and_width() {
        assert_eq!(Scalar::I8.read(&[0xff]), Value::Signed(-1));
        assert_eq!(Scalar::U8.read(&[0xff]), Value::Unsigned(255));
        assert_eq!(Scalar::I32.read(&(-7_i32).to_le_bytes()), Value::Signed(-7));
        assert_eq!(Scalar::F32.read(&1.5_f32.to_le_bytes()), Value::Float(1.5));
        assert_eq!(Scalar::F64.read(&(-2.5_f64).to_le_bytes()), Value::Float(-2.5));
        assert_eq!(Value::Signed(-7).integer(), None);
    }
}
