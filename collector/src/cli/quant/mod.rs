//! `ggscope quant`: what quantisation did to a model: types and bits, blocks as they are in the file, errors.

mod block;
mod errors;
mod figures;
mod mix;
mod tensor;

use super::terminal::{Form, stdout};
use ggscope_compute::Device;
use ggscope_compute::open_device;
use ggscope_model::gguf::Gguf;
use ggscope_model::quant::{self, Tensor, TensorError, TensorReport, TypeError, Unmatched};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  ggscope quant model.gguf                                          # types and bits by part, layer and tensor
  ggscope quant model.gguf blk.0.attn_q.weight                      # how its scales, quants and values are distributed
  ggscope quant model.gguf blk.0.attn_q.weight --block 7            # one block, written out
  ggscope quant model.gguf --reference f16.gguf                     # how far each tensor is off, worst first
  ggscope quant f16.gguf blk.0.attn_q.weight --every-type           # how far it would be off in every type

  # For programs
  ggscope quant model.gguf --json | jq '.tensors[] | [.name, .type, .bits_per_weight]'
";

/// Options of `ggscope quant`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The model; any file of one that is split
    file: PathBuf,
    /// Name of a tensor
    tensor: Option<String>,
    /// Print this block of the tensor, counted from 0
    #[arg(long, value_name = "N", requires = "tensor", conflicts_with_all = ["reference", "every_type"])]
    block: Option<u64>,
    /// The same model in higher precision, to compare with
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Also say how far the tensor would be from itself in every type; takes ggml some seconds to prepare
    #[arg(long, requires = "tensor")]
    every_type: bool,
    /// Print every tensor of a comparison
    #[arg(long, requires = "reference", conflicts_with = "tensor")]
    all: bool,
    /// Where to look at the tensor's values: on a GPU if there are enough of them to pay for the trip (auto), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", requires = "tensor")]
    device: Device,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All that is said of one tensor.
#[derive(Serialize)]
struct TensorAnswer {
    #[serde(flatten)]
    report: TensorReport,
    /// The GPU that the distribution of the values is from; absent if it is from the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    values_from: Option<String>,
    /// With `--reference`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<TensorError>,
    /// With `--every-type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    every_type: Option<Vec<TypeError>>,
}

/// Answers what was asked of the model.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let model = Gguf::open(&args.file)?;
    let reference = args.reference.as_deref().map(Gguf::open).transpose()?;
    let Some(name) = &args.tensor else {
        return match &reference {
            None => print(args.json, &quant::mix(&model), |mix| mix::report(&model, mix)),
            Some(reference) => {
                print(args.json, &quant::errors(&model, reference), |found| errors::report(found, args.all))
            }
        };
    };
    let tensor = Tensor::find(&model, name)?;
    if let Some(index) = args.block {
        return print(args.json, &quant::block(&tensor, index)?, block::report);
    }
    let compute = open_device(args.device, &[])?;
    let mut report = quant::report(&tensor)?;
    let on_gpu = ggscope_compute::tensor_distribution(&compute, &tensor)?;
    tensor.still()?;
    let values_from = on_gpu.map(|(values, gpu)| {
        report.values = values;
        gpu
    });
    let answer = TensorAnswer {
        report,
        values_from,
        error: reference.map(|reference| compared(&tensor, &reference)).transpose()?,
        every_type: args.every_type.then(|| quant::every_type(&tensor)).transpose()?,
    };
    print(args.json, &answer, tensor::report)
}

fn compared(tensor: &Tensor<'_>, reference: &Gguf) -> anyhow::Result<TensorError> {
    quant::tensor_error(tensor, reference).map_err(|Unmatched { name, reason }| {
        let path = reference.first().path().display();
        anyhow::anyhow!("cannot compare the tensor {name} with that of {path}: {reason}")
    })
}

fn print<T: Serialize>(json: bool, answer: &T, text: impl Fn(&T) -> String) -> anyhow::Result<ExitCode> {
    let mut out = stdout(Form::of(json, false));
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(answer)?)?;
    } else {
        out.write_all(text(answer).as_bytes())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
