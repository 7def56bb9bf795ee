//! Values of GGUF metadata. Scalars and strings are kept; arrays can be megabytes, so only their place is.

use super::name::Name;

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
    Text(Name),
    /// An array of strings.
    Strings {
        /// Offset of the first element in the file, in bytes.
        at: usize,
        /// Number of elements.
        count: u64,
    },
    /// An array of arrays, which llama.cpp refuses.
    Arrays {
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

    /// The value as text, up to the first NUL, as llama.cpp reads it.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text.as_c_str()),
            _ => None,
        }
    }
}

/// A type of fixed size, as `gguf_type` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are GGUF's own")]
pub enum Scalar {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl Scalar {
    pub(super) fn from_gguf(id: u32) -> Option<Scalar> {
        use Scalar::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, U64, I64, F64].into_iter().find(|&scalar| scalar as u32 == id)
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

    /// Its name in the format's description.
    pub fn name(self) -> &'static str {
        use Scalar::*;
        match self {
            U8 => "u8",
            I8 => "i8",
            U16 => "u16",
            I16 => "i16",
            U32 => "u32",
            I32 => "i32",
            F32 => "f32",
            Bool => "bool",
            U64 => "u64",
            I64 => "i64",
            F64 => "f64",
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
