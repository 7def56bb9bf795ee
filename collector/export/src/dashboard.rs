//! A model as one page in one file: the template that the build has put inside, with everything that is known of the model
//! in it as JSON. It needs no server and no network. What does not fit is left out, and the page says so.

use ggscope_compute::Compute;
use ggscope_model::arch::{ArchGraph, EdgeKind, Schema};
use ggscope_model::gguf::{Finding, Gguf};
use ggscope_model::inspect::memory::Context;
use ggscope_model::inspect::{Architecture, InspectOptions, Inspection};
use ggscope_model::quant::{self, Block, Mix, Tensor, TensorReport, block, mix};
use ggscope_query::architecture::{ArchitectureGraph, EdgeWeight, architecture, named};
use ggscope_query::graph_report::{GraphReport, report};
use ggscope_query::roofline::Reached;
use ggscope_query::weights::WeightCost;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Name of the template among the files of the page.
pub const TEMPLATE: &str = "dashboard.html";
/// What stands in the template where the model goes.
const PLACE: &str = "\"GGSCOPE_MODEL\"";
/// Tokens of the context that memory is shown for: the model's own, up to this many.
const CONTEXT: u32 = 4096;
/// Tensors whose distributions and blocks go into the file.
const MAX_TENSORS: usize = 400;
/// No distribution is begun after this long.
const TIME: Duration = Duration::from_secs(30);
/// Nodes of a graph that is analysed by more than its edges alone.
const MAX_WEIGHED: usize = 4000;
/// Nodes in lists of the largest.
const TOP: usize = 20;

/// A run of the model.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Run<'a> {
    /// Path of the trace.
    pub trace: &'a str,
    /// What it did with each weight.
    pub weights: &'a [WeightCost],
    /// What its operators reached.
    pub reached: &'a [Reached],
}

/// One analysis of a graph.
#[derive(Debug, Serialize)]
struct Analysed {
    schema: Schema,
    weight: &'static str,
    report: GraphReport,
}

/// All that the page knows.
#[derive(Debug, Serialize)]
struct Data<'a> {
    made_by: String,
    inspection: Inspection,
    graphs: Vec<ArchitectureGraph<'a>>,
    analytics: Vec<Analysed>,
    mix: Mix,
    tensors: Vec<TensorReport>,
    blocks: Vec<Block>,
    run: Option<Run<'a>>,
    left_out: Option<String>,
}

/// The template; none if the page was not put into this program.
pub fn template() -> Option<Cow<'static, [u8]>> {
    ggscope_page::Files::get(TEMPLATE).map(|file| file.data)
}

/// Writes the page of a model.
///
/// # Errors
/// When writing fails, or the template is none.
pub fn write(
    template: &[u8],
    model: &Gguf,
    findings: Vec<Finding>,
    run: Option<Run<'_>>,
    compute: &Compute,
    out: &mut impl Write,
) -> io::Result<()> {
    write_within(TIME, template, model, findings, run, compute, out)
}

fn write_within(
    time: Duration,
    template: &[u8],
    model: &Gguf,
    findings: Vec<Finding>,
    run: Option<Run<'_>>,
    compute: &Compute,
    out: &mut impl Write,
) -> io::Result<()> {
    let place = template.windows(PLACE.len()).position(|part| part == PLACE.as_bytes());
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the template has no place for a model");
    let at = place.ok_or_else(wrong)?;
    let (architecture_facts, _) = Architecture::of(model);
    let made = |schema| ArchGraph::of(model, &architecture_facts, schema).ok();
    let graphs: Vec<ArchGraph> = [Schema::Standard, Schema::Tutorial].into_iter().filter_map(made).collect();
    let data = gather(model, findings, &graphs, run, compute, time);
    out.write_all(&template[..at])?;
    serde_json::to_writer(Escaped(&mut *out), &data)?;
    out.write_all(&template[at + PLACE.len()..])
}

fn gather<'a>(
    model: &Gguf,
    findings: Vec<Finding>,
    graphs: &'a [ArchGraph],
    run: Option<Run<'a>>,
    compute: &Compute,
    time: Duration,
) -> Data<'a> {
    let wanted =
        InspectOptions { context: Context::new(CONTEXT), context_of_model: Some(CONTEXT), vram: None, all: false };
    let (tensors, blocks, left_out) = contents(model, MAX_TENSORS, time);
    Data {
        made_by: format!("ggscope {}", env!("CARGO_PKG_VERSION")),
        inspection: Inspection::of(model, findings, &wanted),
        graphs: graphs.iter().map(|graph| architecture(graph, run.map(|run| run.weights))).collect(),
        analytics: graphs.iter().flat_map(|graph| analyse(graph, run, compute)).collect(),
        mix: mix(model),
        tensors,
        blocks,
        run,
        left_out,
    }
}

fn analyse(graph: &ArchGraph, run: Option<Run<'_>>, compute: &Compute) -> Vec<Analysed> {
    let weights = [
        ("none", EdgeWeight::None),
        ("parameters", EdgeWeight::Parameters),
        ("bytes", EdgeWeight::Bytes),
        ("time", EdgeWeight::Time),
    ];
    let is_large = graph.nodes().count() > MAX_WEIGHED;
    let wanted = weights.into_iter().filter(|&(_, weight)| match weight {
        EdgeWeight::None => true,
        EdgeWeight::Time => run.is_some() && !is_large,
        EdgeWeight::Parameters | EdgeWeight::Bytes => !is_large,
    });
    let one = |(name, weight)| {
        let named = named(graph, &EdgeKind::ALL, weight, run.map(|run| run.weights));
        report(named, TOP, compute).ok().map(|report| Analysed { schema: graph.schema(), weight: name, report })
    };
    wanted.filter_map(one).collect()
}

/// Distributions of tensors and some of their blocks, as many as there is room and time for, and what is missing.
fn contents(model: &Gguf, most: usize, time: Duration) -> (Vec<TensorReport>, Vec<Block>, Option<String>) {
    let begin = Instant::now();
    let names = in_order(model);
    let chosen = &names[..names.len().min(most)];
    let mut unreadable = 0;
    // One after the other: the distribution of one is computed on all cores.
    let of = |name: &String| {
        if begin.elapsed() > time {
            return None;
        }
        let read = Tensor::find(model, name).and_then(|tensor| quant::report(&tensor).map(|report| (tensor, report)));
        let Ok((tensor, report)) = read else {
            unreadable += 1;
            return None;
        };
        let sample: BTreeSet<u64> = [0, tensor.blocks() / 2].into();
        // Types without blocks have none to show.
        let blocks = sample.into_iter().filter_map(|index| block(&tensor, index).ok()).collect::<Vec<Block>>();
        Some((report, blocks))
    };
    let found: Vec<(TensorReport, Vec<Block>)> = chosen.iter().filter_map(of).collect();
    let left_out = (found.len() < names.len()).then(|| {
        let why = if unreadable == 0 {
            "the rest was left out to keep the file small"
        } else if unreadable == names.len() {
            "their weights are not all in the file"
        } else {
            "of the rest some cannot be read"
        };
        format!("Values and blocks of {} of {} tensors are in this file: {why}.", found.len(), names.len())
    });
    let (reports, blocks): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    (reports, blocks.into_iter().flatten().collect(), left_out)
}

/// Names of the tensors, those first that tell most: of no layer, of the first, the last and the middle layer.
fn in_order(model: &Gguf) -> Vec<String> {
    let mix = mix(model);
    let layers: Vec<u32> = mix.tensors.iter().filter_map(|tensor| tensor.role.layer).collect();
    let last = layers.iter().copied().max().unwrap_or(0);
    let rank = |layer: Option<u32>| match layer {
        None => (0, 0),
        Some(0) => (1, 0),
        Some(layer) if layer == last => (2, 0),
        Some(layer) if layer == last / 2 => (3, 0),
        Some(layer) => (4, layer),
    };
    let mut tensors = mix.tensors;
    tensors.sort_by_key(|tensor| rank(tensor.role.layer));
    tensors.into_iter().map(|tensor| tensor.name).collect()
}

/// JSON within a page: no text in it can end the element that it is in.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (i, part) in bytes.split(|&byte| byte == b'<').enumerate() {
            if i > 0 {
                self.0.write_all(b"\\u003c")?;
            }
            self.0.write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value as Json;
    use std::path::Path;

    const PAGE: &[u8] = b"<script type=\"application/json\">\"GGSCOPE_MODEL\"</script><p>end</p>";

    fn demo() -> (Gguf, Vec<Finding>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");
        Gguf::examine(&path).unwrap_or_else(|e| panic!("{e}: run `make vendor`"))
    }

    fn cpu() -> Compute {
        Compute::open(ggscope_compute::Device::Cpu, &[], None).unwrap()
    }

    fn data_of(page: &[u8]) -> Json {
        let text = std::str::from_utf8(page).unwrap();
        let json = text.strip_prefix("<script type=\"application/json\">").unwrap();
        serde_json::from_str(json.strip_suffix("</script><p>end</p>").unwrap()).unwrap()
    }

    #[test]
    fn the_page_holds_the_model_with_every_tensor_and_blocks_of_each() {
        let (model, findings) = demo();
        let mut page = vec![];
        // However busy the machine is.
        write_within(Duration::MAX, PAGE, &model, findings, None, &cpu(), &mut page).unwrap();
        assert!(page.len() < 9 << 20, "{} bytes", page.len());
        let data = data_of(&page);
        let list = |field: &str| data[field].as_array().unwrap().clone();
        assert_eq!(data["inspection"]["parameters"]["total"], 134_515_008);
        assert_eq!((list("graphs").len(), list("analytics").len()), (2, 6));
        assert_eq!((list("tensors").len(), &data["left_out"]), (272, &Json::Null));
        let quantised = list("tensors").iter().filter(|t| !t["blocks"].is_null()).count();
        assert_eq!(list("blocks").len(), 2 * quantised);
        assert!(list("blocks").iter().any(|b| b["index"].as_u64() == b["of"].as_u64().map(|of| of / 2)));
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_that_is_said() {
        let (model, _) = demo();
        let (tensors, _, left_out) = contents(&model, 30, Duration::MAX);
        assert_eq!(tensors.len(), 30);
        assert!(left_out.unwrap().starts_with("Values and blocks of 30 of 272 tensors are in this file"));
        // Tensors of no layer come first, then whole layers.
        assert_eq!(tensors[0].tensor.role.layer, None);
        assert_eq!(tensors.iter().filter(|t| t.tensor.role.layer == Some(29)).count(), 9);
        let (none, _, left_out) = contents(&model, 30, Duration::ZERO);
        assert!(none.is_empty() && left_out.is_some());
    }

    #[test]
    fn names_cannot_end_the_element_that_the_model_is_in() {
        let mut out = vec![];
        serde_json::to_writer(Escaped(&mut out), &["</script><script>alert(1)", "<!--"]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('<'), "{text}");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ["</script><script>alert(1)", "<!--"]);
    }

    #[test]
    fn a_template_without_a_place_is_an_error() {
        let (model, findings) = demo();
        assert!(write(b"<html>", &model, findings, None, &cpu(), &mut vec![]).is_err());
    }
}
