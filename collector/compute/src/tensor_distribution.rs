//! How the values of a GGUF tensor are distributed, computed on a GPU, which reads them as they lie in the file.

use crate::{Compute, Distribution, DistributionOptions, Encoding, Error, Values};
use ggscope_model::quant::{self, BINS, Histogram, QUANTILES, Quantile, Tensor};

/// How the values of a tensor are distributed, and on which GPU that was found out; `None` where it is work for the CPU.
///
/// # Errors
/// When a GPU that was asked for fails.
pub fn tensor_distribution(
    compute: &Compute,
    tensor: &Tensor<'_>,
) -> Result<Option<(quant::Distribution, String)>, Error> {
    let wanted = DistributionOptions { bins: BINS, quantiles: &QUANTILES };
    let found = with_values(tensor, |values| compute.distribution_on_gpu(values, &wanted))?;
    Ok(found.map(|(distribution, ran)| (of(&distribution), ran.to_string())))
}

fn with_values<T>(tensor: &Tensor<'_>, f: impl FnOnce(Values) -> T) -> T {
    let dequantize = |range: std::ops::Range<usize>, out: &mut [f32]| {
        let mut values = vec![];
        // Whoever asks has made sure that ggml can.
        if tensor.dequantize(range.start as u64..range.end as u64, &mut values).is_ok() {
            out.copy_from_slice(&values);
        }
    };
    f(Values::Encoded {
        count: tensor.elements() as usize,
        bytes: tensor.bytes(),
        encoding: Encoding::from_ggml(tensor.ty.id()),
        dequantize: &dequantize,
    })
}

/// In the words of a tensor's report.
fn of(d: &Distribution) -> quant::Distribution {
    let infinite = d.infinite[0] + d.infinite[1];
    let any = d.count > 0;
    let [min, max] = d.range.map(|value| value + 0.0);
    quant::Distribution {
        count: d.count + d.nan + infinite,
        zeros: d.zeros,
        nan: d.nan,
        infinite,
        min: any.then_some(min),
        max: any.then_some(max),
        mean: any.then_some(d.mean),
        rms: any.then(|| d.deviation.hypot(d.mean)),
        std: any.then_some(d.deviation),
        quantiles: QUANTILES
            .iter()
            .zip(&d.quantiles)
            .filter(|_| any)
            .map(|(&p, &value)| Quantile { p, value: value + 0.0 })
            .collect(),
        histogram: any.then(|| Histogram { from: min, to: max, counts: d.bins.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use ggscope_model::gguf::Gguf;
    use std::path::Path;

    #[test]
    fn a_distribution_says_the_same_in_the_words_of_a_report() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");
        let model = Gguf::open(&model).expect("run `make vendor`");
        let cpu = Compute::open(Device::Cpu, &[], None).unwrap();
        for name in ["blk.3.ffn_down.weight", "token_embd.weight", "output_norm.weight"] {
            let tensor = Tensor::find(&model, name).unwrap();
            let wanted = DistributionOptions { bins: BINS, quantiles: &QUANTILES };
            let (found, _) = with_values(&tensor, |values| cpu.distribution(values, &wanted)).unwrap();
            let (ours, mut report) = (of(&found), quant::report(&tensor).unwrap().values);
            for (a, b) in [(ours.mean, report.mean), (ours.rms, report.rms), (ours.std, report.std)] {
                assert!((a.unwrap() - b.unwrap()).abs() < 1e-9, "{name}: {a:?} {b:?}");
            }
            (report.mean, report.rms, report.std) = (ours.mean, ours.rms, ours.std);
            assert_eq!(ours, report, "{name}");
            assert_eq!(tensor_distribution(&cpu, &tensor).unwrap(), None, "the CPU has the report for it");
        }
    }
}
