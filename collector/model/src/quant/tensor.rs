//! One tensor: found by name, read a piece at a time, and told by its distributions.

use super::decode::Parts;
use super::distribution::{Distribution, FirstLook, SecondLook};
use super::levels::{LevelCounts, Levels};
use super::stream::{PIECE, pieces};
use super::{QuantError, Scheme, TensorMix};
use crate::ggml::{ConvertError, GgmlType};
use crate::gguf::{Gguf, GgufFile, TensorInfo};
use crate::mapped::Stamp;
use serde::Serialize;
use std::ops::Range;
use std::path::Path;
use utoipa::ToSchema;

/// So many names are proposed for one that is not there.
const NEAREST: usize = 3;

/// A tensor whose bytes are there.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Its entry in the tensor table.
    pub info: &'a TensorInfo,
    /// Its type.
    pub ty: GgmlType,
    pub(super) file: &'a GgufFile,
    bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// The tensor of `model` with the name.
    ///
    /// # Errors
    /// When there is none, or its bytes are not all there, or its type is unknown.
    pub fn find(model: &'a Gguf, name: &str) -> Result<Tensor<'a>, QuantError> {
        match model.tensors().find(|(_, info)| info.name == name) {
            Some((file, info)) => Tensor::new(file, info),
            None => Err(QuantError::NoSuchTensor {
                name: name.to_owned(),
                path: model.first().path().to_owned(),
                nearest: nearest(name, model.tensors().map(|(_, info)| info.name.as_str())),
            }),
        }
    }

    /// The tensor that `info`, an entry of `file`'s table, is of.
    ///
    /// # Errors
    /// When its bytes are not all there, or its type is unknown.
    pub fn new(file: &'a GgufFile, info: &'a TensorInfo) -> Result<Tensor<'a>, QuantError> {
        let bytes = file.weights(info)?;
        let ty = info.ggml_type().expect("weights are given out of known types only");
        Ok(Tensor { info, ty, file, bytes })
    }

    /// The same, if ggml can turn it into floats.
    ///
    /// # Errors
    /// When it cannot.
    pub fn dequantizable(self) -> Result<Tensor<'a>, QuantError> {
        if self.ty.can_dequantize() {
            Ok(self)
        } else {
            Err(self.unconvertible(ConvertError::NotDequantizable(self.ty)))
        }
    }

    /// Path of its file.
    pub fn path(&self) -> &'a Path {
        self.file.path()
    }

    /// What shows that its file is another one; none for bytes that are no file.
    pub fn stamp(&self) -> Option<Stamp> {
        self.file.stamp()
    }

    /// Number of its elements.
    pub fn elements(&self) -> u64 {
        self.info.elements()
    }

    /// Number of its blocks, one after the other in the order of its elements; that of elements for types without.
    pub fn blocks(&self) -> u64 {
        self.bytes.len() as u64 / self.ty.type_size()
    }

    /// The bytes of the blocks that elements `range` are in, which must be whole ones.
    pub(super) fn bytes_of(&self, range: Range<u64>) -> &'a [u8] {
        let place = |element: u64| (element / self.ty.block_size() * self.ty.type_size()) as usize;
        &self.bytes[place(range.start)..place(range.end)]
    }

    /// Its bytes in the file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Dequantises elements `range`, whole blocks, into `out`, which becomes just as long.
    ///
    /// # Errors
    /// When ggml cannot.
    pub fn dequantize(&self, range: Range<u64>, out: &mut Vec<f32>) -> Result<(), ConvertError> {
        out.resize((range.end - range.start) as usize, 0.0);
        self.ty.dequantize(self.bytes_of(range), out)
    }

    /// Whether all that was read of it until now was what the file had when it was opened: to be asked when the numbers
    /// are made, and before anyone gets them.
    ///
    /// # Errors
    /// When the file has changed meanwhile, or cannot be read any more.
    pub fn still(&self) -> Result<(), QuantError> {
        Ok(self.file.still(self.info)?)
    }

    pub(super) fn unconvertible(&self, source: ConvertError) -> QuantError {
        QuantError::Convert { tensor: self.info.name.to_string(), source }
    }
}

/// The names most like `name`, most alike first.
fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut alike: Vec<(f64, &str)> =
        names.map(|n| (strsim::jaro_winkler(name, n), n)).filter(|(alike, _)| *alike > 0.8).collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    alike.into_iter().take(NEAREST).map(|(_, n)| n.to_owned()).collect()
}

/// One tensor's distributions.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TensorReport {
    /// What and where it is.
    pub tensor: TensorMix,
    /// Path of its file.
    pub file: String,
    /// Its elements, dequantised.
    pub values: Distribution,
    /// What its blocks store; none for types without blocks.
    pub blocks: Option<BlockDistributions>,
}

/// What the blocks of a tensor store.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct BlockDistributions {
    /// Number of blocks.
    pub count: u64,
    /// Blocks without any scale but 0, so that all elements are equal.
    pub without_scale: u64,
    /// How a block becomes numbers.
    pub scheme: Scheme,
    /// The blocks' scales, where a block has one above those of its sub-blocks or just one.
    pub d: Option<Distribution>,
    /// Scales of the minimums, or the minimums themselves where a block has one.
    pub dmin: Option<Distribution>,
    /// Stored scales of the sub-blocks, as integers.
    pub scale_codes: Option<Levels>,
    /// Stored minimums of the sub-blocks, as integers.
    pub min_codes: Option<Levels>,
    /// Scales of the sub-blocks; of the blocks where they have just one.
    pub scales: Distribution,
    /// What is added to the elements of a sub-block, or of a block.
    pub mins: Option<Distribution>,
    /// The elements' quants, as they are multiplied.
    pub quants: Levels,
}

/// Looks at all of a tensor.
///
/// # Errors
/// When ggml cannot turn it into floats.
pub fn report(tensor: &Tensor<'_>) -> Result<TensorReport, QuantError> {
    let tensor = &tensor.dequantizable()?;
    let first = pieces(tensor.elements(), First::default, |state, piece, range| state.add(tensor, piece, range));
    let first = first.into_iter().reduce(First::merge).unwrap_or_default();
    let new = || Second { looks: first.looks.each_ref().map(SecondLook::after), streams: Streams::default() };
    let second = pieces(tensor.elements(), new, |state, _, range| {
        state.streams.fill(tensor, range, |_, _| {});
        state.looks.iter_mut().zip(state.streams.all()).for_each(|(look, values)| look.add(values));
    });
    let second = second.into_iter().reduce(|mut a, b| {
        a.looks.iter_mut().zip(&b.looks).for_each(|(a, b)| a.merge(b));
        a
    });
    let second = second.map_or_else(|| first.looks.each_ref().map(SecondLook::after), |second| second.looks);
    let (counts, parts) = (first.counts, first.streams);
    let mut looks = first.looks.into_iter().zip(&second).map(|(first, second)| Distribution::of(first, second));
    let [values, scales, mins, d, dmin] = std::array::from_fn(|_| looks.next().expect("five streams"));
    let some = |distribution: Distribution| (distribution.count > 0).then_some(distribution);
    let blocks = Scheme::of(tensor.ty).and_then(|scheme| {
        Some(BlockDistributions {
            count: tensor.blocks(),
            without_scale: parts.without_scale,
            quants: counts[0].levels(Some(&scheme.levels))?,
            scale_codes: counts[1].levels(None),
            min_codes: counts[2].levels(None),
            d: some(d),
            dmin: some(dmin),
            scales,
            mins: some(mins),
            scheme,
        })
    });
    tensor.still()?;
    let file = tensor.path().display().to_string();
    Ok(TensorReport { tensor: TensorMix::of(tensor.info), file, values, blocks })
}

/// The floats of a piece: values, sub-blocks' scales and minimums, blocks' `d` and `dmin`.
#[derive(Default)]
struct Streams {
    parts: Box<Parts>,
    floats: [Vec<f32>; 5],
    without_scale: u64,
}

impl Streams {
    fn all(&self) -> impl Iterator<Item = &[f32]> {
        self.floats.iter().map(Vec::as_slice)
    }

    /// Reads a piece, and shows each of its blocks to `block` with the number of sub-blocks.
    fn fill(&mut self, tensor: &Tensor<'_>, range: Range<u64>, mut block: impl FnMut(&Parts, usize)) {
        let bytes = tensor.bytes_of(range.clone());
        let [values, scales, mins, d, dmin] = &mut self.floats;
        tensor.dequantize(range, values).expect("`report` has checked that it can be, and pieces are whole blocks");
        for floats in [&mut *scales, &mut *mins, &mut *d, &mut *dmin] {
            floats.clear();
        }
        if !tensor.ty.is_quantized() {
            return;
        }
        for bytes in bytes.chunks_exact(tensor.ty.type_size() as usize) {
            self.parts.fill(tensor.ty, bytes);
            let (parts, n) = (&*self.parts, self.parts.sub_blocks);
            scales.extend(&parts.scales[..n]);
            mins.extend(parts.mins.iter().flat_map(|mins| &mins[..n]));
            d.extend(parts.d);
            dmin.extend(parts.dmin);
            self.without_scale += u64::from(parts.scales[..n].iter().all(|scale| *scale == 0.0));
            block(parts, n);
        }
    }
}

#[derive(Default)]
struct First {
    streams: Streams,
    looks: [FirstLook; 5],
    /// Of quants, scale codes and minimum codes.
    counts: [LevelCounts; 3],
}

impl First {
    fn add(&mut self, tensor: &Tensor<'_>, piece: u64, range: Range<u64>) {
        let [quants, scales, mins] = &mut self.counts;
        self.streams.fill(tensor, range, |parts, n| {
            parts.quants[..parts.elements].iter().for_each(|q| quants.add(i16::from(*q)));
            parts.scale_codes.iter().flat_map(|codes| &codes[..n]).for_each(|code| scales.add(*code));
            parts.min_codes.iter().flat_map(|codes| &codes[..n]).for_each(|code| mins.add(*code));
        });
        self.looks.iter_mut().zip(self.streams.all()).for_each(|(look, values)| look.add(piece, values));
    }

    fn merge(mut self, other: First) -> First {
        self.streams.without_scale += other.streams.without_scale;
        self.looks.iter_mut().zip(other.looks).for_each(|(look, other)| look.merge(other));
        self.counts.iter_mut().zip(&other.counts).for_each(|(counts, other)| counts.merge(other));
        self
    }
}

struct Second {
    streams: Streams,
    looks: [SecondLook; 5],
}

const _: () = assert!(PIECE.is_multiple_of(super::decode::MAX_ELEMENTS));

#[cfg(test)]
mod tests {
    use super::super::testing::{ModelFile, q4_k};
    use super::*;
    use crate::ggml::testing::Noise;

    /// More than a piece, so that threads share it.
    const ROWS: u64 = 300;

    #[test]
    fn distributions_are_those_of_all_blocks_and_values() {
        let values = Noise::new(11).normals(512 * ROWS as usize);
        let mut file = ModelFile::new();
        file.quantized("blk.3.ffn_up.weight", q4_k(), &[512, ROWS], &values);
        let model = file.open();
        let tensor = Tensor::find(&model, "blk.3.ffn_up.weight").unwrap();
        let found = report(&tensor).unwrap();
        let mut all = vec![];
        tensor.dequantize(0..tensor.elements(), &mut all).unwrap();
        let sum: f64 = all.iter().map(|&v| f64::from(v)).sum();
        assert_eq!(found.values.count, all.len() as u64);
        assert!((found.values.mean.unwrap() - sum / all.len() as f64).abs() < 1e-12);
        all.sort_by(f32::total_cmp);
        assert_eq!(found.values.quantiles[4].value, all[all.len() / 2 - 1]);

        let blocks = found.blocks.unwrap();
        assert_eq!((blocks.count, blocks.scheme.sub_blocks, blocks.without_scale), (2 * ROWS, 8, 0));
        assert_eq!(blocks.d.unwrap().count, 2 * ROWS);
        assert_eq!((blocks.scales.count, blocks.mins.unwrap().count), (16 * ROWS, 16 * ROWS));
        assert_eq!(blocks.quants.counts.iter().map(|l| l.count).sum::<u64>(), 512 * ROWS);
        assert!(blocks.quants.used == 16 && (3.0..4.0).contains(&blocks.quants.entropy_bits), "{:?}", blocks.quants);
        let codes = blocks.scale_codes.unwrap();
        assert_eq!(codes.counts.iter().map(|l| l.count).sum::<u64>(), 16 * ROWS);
        assert_eq!(codes.counts.last().unwrap().level, 63);
    }

    #[test]
    fn distributions_do_not_depend_on_which_thread_saw_what() {
        let bytes = Noise::new(12).bytes(2000 * 144);
        let mut file = ModelFile::new();
        file.raw("w", q4_k().id(), &[256, 2000], bytes);
        let model = file.open();
        let tensor = Tensor::find(&model, "w").unwrap();
        let expected = report(&tensor).unwrap();
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| report(&tensor).unwrap()), expected);
        }
        assert!(expected.values.nan > 0 && expected.values.infinite > 0, "random scales are not all numbers");
    }

    #[test]
    fn blocks_without_scale_and_tensors_without_blocks_are_told() {
        let mut values = vec![0.0; 512];
        values[300] = 1.0;
        let mut file = ModelFile::new();
        file.quantized("w", q4_k(), &[512], &values).quantized("b", GgmlType::F32, &[3], &[1.0, 2.0, 6.0]);
        file.quantized("none", GgmlType::F32, &[8, 0], &[]);
        let model = file.open();
        let report = |name| report(&Tensor::find(&model, name).unwrap()).unwrap();
        assert_eq!(report("w").blocks.unwrap().without_scale, 1);
        let plain = report("b");
        assert_eq!((plain.values.mean, plain.blocks), (Some(3.0), None));
        assert_eq!(report("none").values.count, 0);
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest() {
        let mut file = ModelFile::new();
        for name in ["blk.0.attn_q.weight", "blk.0.attn_k.weight", "output.weight"] {
            file.quantized(name, GgmlType::F32, &[1], &[1.0]);
        }
        let model = file.open();
        let error = Tensor::find(&model, "blk.0.attn_q").unwrap_err().to_string();
        let names = "blk.0.attn_q.weight or blk.0.attn_k.weight";
        let path = file.path().display();
        assert_eq!(error, format!("{path} has no tensor blk.0.attn_q; did you mean {names}?"));
        let error = Tensor::find(&model, "zzz").unwrap_err().to_string();
        assert_eq!(error, format!("{path} has no tensor zzz"));
    }

    #[test]
    fn a_tensor_that_cannot_be_read_says_why() {
        let q8_1 = GgmlType::from_name("q8_1").unwrap();
        let mut file = ModelFile::new();
        file.raw("whole", GgmlType::F32.id(), &[8], vec![0; 32])
            .raw("unknown", 99, &[8], vec![0; 32])
            .raw("broken", q4_k().id(), &[100], vec![0; 144])
            .raw("q8_1", q8_1.id(), &[32], vec![0; 36])
            .raw("cut", GgmlType::F32.id(), &[8, 1 << 20], vec![0; 32]);
        let model = file.open();
        let error = |name: &str| Tensor::find(&model, name).and_then(|t| report(&t)).unwrap_err().to_string();
        assert!(error("unknown").ends_with("its type 99 is none that ggml knows"), "{}", error("unknown"));
        assert!(error("broken").contains("rows of 100 are no whole blocks of q4_K"), "{}", error("broken"));
        assert_eq!(error("q8_1"), "cannot look into the tensor q8_1: ggml has no way to dequantise q8_1");
        let (cut, length) = (error("cut"), model.bytes());
        assert!(cut.contains("33554432 bytes from byte") && cut.contains(&format!("the file has {length}")), "{cut}");
        assert!(report(&Tensor::find(&model, "whole").unwrap()).is_ok());
    }
}
