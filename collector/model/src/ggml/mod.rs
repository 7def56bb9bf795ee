//! ggml's tensor types: their names and sizes, and how rows of them become floats and floats become rows. All of it is
//! asked of the vendored ggml, which is linked in, so nothing here can differ from what llama.cpp does.

pub(crate) mod blocks;
mod convert;
pub(crate) mod sys;
#[cfg(test)]
pub(crate) mod testing;

pub use convert::ConvertError;

use std::ffi::CStr;

/// A type that a tensor can have: a `ggml_type` that this ggml knows and that has a size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GgmlType(sys::ggml_type);

impl GgmlType {
    /// 32-bit floats.
    pub const F32: GgmlType = GgmlType(sys::GGML_TYPE_F32);
    /// 16-bit floats.
    pub const F16: GgmlType = GgmlType(sys::GGML_TYPE_F16);

    /// Every type, by its number.
    pub fn all() -> impl Iterator<Item = GgmlType> {
        (0..sys::GGML_TYPE_COUNT).filter_map(GgmlType::from_id)
    }

    /// The type with this number in a GGUF file, unless this ggml has none or has taken it out.
    pub fn from_id(id: u32) -> Option<GgmlType> {
        if id >= sys::GGML_TYPE_COUNT {
            return None;
        }
        let traits = traits_of(id);
        (traits.blck_size > 0 && traits.type_size > 0 && !traits.type_name.is_null()).then_some(GgmlType(id))
    }

    /// The type with this name, in any case (llama.cpp's tools write `Q4_K`, ggml prints `q4_K`).
    pub fn from_name(name: &str) -> Option<GgmlType> {
        GgmlType::all().find(|t| t.name().eq_ignore_ascii_case(name))
    }

    /// Its number in a GGUF file.
    pub fn id(self) -> u32 {
        self.0
    }

    /// Its name, as ggml prints it.
    pub fn name(self) -> &'static str {
        // SAFETY: `from_id` has checked that the name is there, and it is a string literal of ggml's.
        unsafe { CStr::from_ptr(self.traits().type_name) }.to_str().unwrap_or("?")
    }

    /// Elements in a block; 1 for types that have no blocks.
    pub fn block_size(self) -> u64 {
        // `from_id` has checked that it is positive.
        self.traits().blck_size as u64
    }

    /// Size of a block in bytes.
    pub fn type_size(self) -> u64 {
        self.traits().type_size as u64
    }

    /// Whether its elements share scales.
    pub fn is_quantized(self) -> bool {
        self.traits().is_quantized
    }

    /// Bits that an element takes, its share of the block's scales included.
    pub fn bits_per_weight(self) -> f64 {
        8.0 * self.type_size() as f64 / self.block_size() as f64
    }

    /// Size in bytes of a row of `elements`: `None` if they fill no whole number of blocks, or overflow.
    pub fn row_size(self, elements: u64) -> Option<u64> {
        if !elements.is_multiple_of(self.block_size()) {
            return None;
        }
        (elements / self.block_size()).checked_mul(self.type_size())
    }

    /// Size in bytes of a tensor of shape `ne`, rows one after the other: `None` if a row fills no whole number of
    /// blocks, a dimension is negative, or the size overflows.
    pub fn nbytes(self, ne: [i64; 4]) -> Option<u64> {
        let mut sizes = [0; 4];
        for (size, n) in sizes.iter_mut().zip(ne) {
            *size = u64::try_from(n).ok()?;
        }
        sizes[1..].iter().try_fold(self.row_size(sizes[0])?, |bytes, &n| bytes.checked_mul(n))
    }

    fn traits(self) -> &'static sys::ggml_type_traits {
        traits_of(self.0)
    }
}

impl std::fmt::Debug for GgmlType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Display for GgmlType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What ggml knows of type `id`, which must be below `GGML_TYPE_COUNT`.
fn traits_of(id: sys::ggml_type) -> &'static sys::ggml_type_traits {
    assert!(id < sys::GGML_TYPE_COUNT, "{id} is no ggml_type");
    // SAFETY: ggml indexes a constant table of GGML_TYPE_COUNT elements with `id`, which is smaller; that table is never
    // written and lives as long as the program.
    unsafe { &*sys::ggml_get_type_traits(id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_what_ggml_says() {
        let q4_k = GgmlType::from_id(12).unwrap();
        assert_eq!((q4_k.name(), q4_k.block_size(), q4_k.type_size()), ("q4_K", 256, 144));
        assert!(q4_k.is_quantized() && !GgmlType::F16.is_quantized());
        assert_eq!(q4_k.bits_per_weight(), 4.5);
        assert_eq!((GgmlType::F32.name(), GgmlType::F32.block_size(), GgmlType::F32.type_size()), ("f32", 1, 4));
        for t in GgmlType::all() {
            assert_eq!((GgmlType::from_id(t.id()), GgmlType::from_name(t.name())), (Some(t), Some(t)));
        }
        assert_eq!(GgmlType::from_name("Q4_K"), Some(q4_k));
        assert!(GgmlType::all().count() >= 35);
    }

    #[test]
    fn numbers_that_are_no_type_are_none() {
        // Q4_2 and Q4_0_4_4 were types once.
        for id in [4, 5, 31, 38, sys::GGML_TYPE_COUNT, 1 << 20, u32::MAX] {
            assert_eq!(GgmlType::from_id(id), None, "{id}");
        }
        assert_eq!(GgmlType::from_name("q9_9"), None);
    }

    #[test]
    fn sizes_are_checked_for_blocks_signs_and_overflow() {
        let q4_0 = GgmlType::from_name("q4_0").unwrap();
        assert_eq!(q4_0.row_size(64), Some(36));
        assert_eq!(q4_0.row_size(33), None);
        assert_eq!(q4_0.nbytes([64, 3, 2, 1]), Some(216));
        assert_eq!(q4_0.nbytes([64, 0, 1, 1]), Some(0));
        assert_eq!(q4_0.nbytes([64, -1, 1, 1]), None);
        assert_eq!(GgmlType::F32.nbytes([i64::MAX, 1, 1, 1]), None);
        assert_eq!(GgmlType::F32.nbytes([1 << 40, 1 << 40, 1, 1]), None);
    }
}
