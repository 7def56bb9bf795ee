//! One block, written out.

use super::decode::Parts;
use super::{QuantError, Scheme, Tensor};
use serde::Serialize;
use utoipa::ToSchema;

/// A block as it is in the file.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Block {
    /// Name of the tensor.
    pub tensor: String,
    /// Name of its type.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// Which block of the tensor, from 0.
    pub index: u64,
    /// How many it has.
    pub of: u64,
    /// Place of its first element in the tensor, in each dimension.
    pub at: [u64; 4],
    /// Path of the file.
    pub file: String,
    /// Offset of its first byte in the file in bytes.
    pub offset: u64,
    /// Its bytes in hexadecimal.
    pub bytes: String,
    /// How it becomes numbers.
    pub scheme: Scheme,
    /// Its scale, if it has one above those of its sub-blocks or just one.
    pub d: Option<f32>,
    /// Scale of its minimums, or its minimum.
    pub dmin: Option<f32>,
    /// Its sub-blocks.
    pub sub_blocks: Vec<SubBlock>,
    /// The points of its codebook that it names, in the order of its elements; empty for types without one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grid: Vec<GridPoint>,
    /// The value of each element, dequantised by ggml; none if ggml cannot.
    pub values: Option<Vec<f32>>,
}

/// A sub-block.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SubBlock {
    /// Stored scale, if it is an integer that `d` is multiplied with.
    pub scale_code: Option<i16>,
    /// Stored minimum, if it is an integer that `dmin` is multiplied with.
    pub min_code: Option<i16>,
    /// What quants are multiplied with.
    pub scale: f32,
    /// What is added then.
    pub min: Option<f32>,
    /// The quant of each of its elements, as it is multiplied.
    pub quants: Vec<i8>,
}

/// A point of a codebook's grid.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct GridPoint {
    /// Its index in the grid.
    pub index: u16,
    /// Signs of its quants, a bit each, lowest first, 1 for negative; none where the grid has them.
    pub signs: Option<u8>,
    /// What is added to its quants before they are multiplied (iq1).
    pub shift: Option<f32>,
}

/// Block `index` of a tensor, from 0.
///
/// # Errors
/// When the tensor's type has no blocks, or it has fewer, or the file has changed.
pub fn block(tensor: &Tensor<'_>, index: u64) -> Result<Block, QuantError> {
    let (name, ty) = (tensor.info.name.to_string(), tensor.ty);
    let Some(scheme) = Scheme::of(ty) else { return Err(QuantError::NoBlocks { tensor: name, ty }) };
    if index >= tensor.blocks() {
        return Err(QuantError::NoSuchBlock { tensor: name, index, blocks: tensor.blocks() });
    }
    let first = index * ty.block_size();
    let range = first..first + ty.block_size();
    let bytes = tensor.bytes_of(range.clone());
    let mut parts = Parts::default();
    parts.fill(ty, bytes);
    let mut values = vec![];
    let values = match ty.can_dequantize() {
        true => tensor.dequantize(range, &mut values).map(|()| Some(values)).map_err(|e| tensor.unconvertible(e))?,
        false => None,
    };
    let hexadecimal = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    tensor.still()?;
    let each = parts.elements / parts.sub_blocks;
    let sub_block = |i: usize| SubBlock {
        scale_code: parts.scale_codes.map(|codes| codes[i]),
        min_code: parts.min_codes.map(|codes| codes[i]),
        scale: parts.scales[i],
        min: parts.mins.map(|mins| mins[i]),
        quants: parts.quants[i * each..(i + 1) * each].to_vec(),
    };
    let point = |p: &super::decode::Point| GridPoint { index: p.index, signs: p.signs, shift: p.shift };
    Ok(Block {
        tensor: name,
        type_name: ty.name(),
        index,
        of: tensor.blocks(),
        at: place(first, tensor.info.ne),
        file: tensor.path().display().to_string(),
        offset: tensor.info.offset + index * ty.type_size(),
        bytes: hexadecimal,
        scheme,
        d: parts.d,
        dmin: parts.dmin,
        sub_blocks: (0..parts.sub_blocks).map(sub_block).collect(),
        grid: parts.grid[..parts.points].iter().map(point).collect(),
        values,
    })
}

/// Where element `i` of a tensor of shape `ne` is.
fn place(mut i: u64, ne: [i64; 4]) -> [u64; 4] {
    ne.map(|n| {
        let n = n.max(1) as u64;
        let at = i % n;
        i /= n;
        at
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ModelFile, q4_k};
    use super::*;
    use crate::ggml::GgmlType;
    use crate::ggml::testing::Noise;

    #[test]
    fn a_block_is_written_out_with_its_place() {
        let values = Noise::new(9).normals(3 * 512);
        let mut file = ModelFile::new();
        file.quantized("w", q4_k(), &[512, 3], &values);
        let model = file.open();
        let tensor = Tensor::find(&model, "w").unwrap();
        let found = block(&tensor, 3).unwrap();
        assert_eq!((found.type_name, found.index, found.of, found.at), ("q4_K", 3, 6, [256, 1, 0, 0]));
        assert_eq!(found.offset, tensor.info.offset + 3 * 144);
        assert_eq!(found.sub_blocks.len(), 8);
        // The formula that it states, with what it states.
        let written = found.sub_blocks.iter().flat_map(|s| {
            let (d, dmin) = (found.d.unwrap(), found.dmin.unwrap());
            let (code, min) = (f32::from(s.scale_code.unwrap()), f32::from(s.min_code.unwrap()));
            s.quants.iter().map(move |&q| d * code * f32::from(q) - dmin * min)
        });
        assert_eq!(written.collect::<Vec<f32>>(), found.values.unwrap());
        let start = found.offset as usize;
        let bytes = std::fs::read(file.path()).unwrap()[start..start + 144].to_vec();
        assert_eq!(found.bytes, bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
    }

    #[test]
    fn points_of_a_codebook_are_told() {
        let iq3_s = GgmlType::from_name("iq3_s").unwrap();
        let mut file = ModelFile::new();
        file.quantized("w", iq3_s, &[256], &Noise::new(4).normals(256));
        let model = file.open();
        let found = block(&Tensor::find(&model, "w").unwrap(), 0).unwrap();
        assert_eq!((found.grid.len(), found.sub_blocks.len()), (64, 8));
        for (point, quants) in found.grid.iter().zip(found.sub_blocks.iter().flat_map(|s| s.quants.chunks(4))) {
            let negative = quants.iter().rev().fold(0, |signs, q| signs << 1 | u8::from(*q < 0));
            assert_eq!(point.signs, Some(negative));
            assert!(point.index < 512);
        }
    }

    #[test]
    fn blocks_that_are_not_there_are_errors() {
        let mut file = ModelFile::new();
        file.quantized("w", q4_k(), &[256], &[1.0; 256]).quantized("norm", GgmlType::F32, &[5], &[1.0; 5]);
        let model = file.open();
        let error = block(&Tensor::find(&model, "w").unwrap(), 1).unwrap_err().to_string();
        assert_eq!(error, "the tensor w has no block 1: it has 1, counted from 0");
        let error = block(&Tensor::find(&model, "norm").unwrap(), 0).unwrap_err().to_string();
        assert_eq!(error, "the tensor norm is f32, which has no blocks: every element stands for itself");
    }

    #[test]
    fn a_type_that_ggml_cannot_dequantise_still_has_its_quants() {
        let q8_1 = GgmlType::from_name("q8_1").unwrap();
        let mut file = ModelFile::new();
        let bytes = [&0x3c00_u16.to_le_bytes()[..], &[0; 2], &[7; 32]].concat();
        file.raw("w", q8_1.id(), &[32], bytes);
        let model = file.open();
        let found = block(&Tensor::find(&model, "w").unwrap(), 0).unwrap();
        assert_eq!((found.d, &found.sub_blocks[0].quants, found.values), (Some(1.0), &vec![7; 32], None));
    }
}
