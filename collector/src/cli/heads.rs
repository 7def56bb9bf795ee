//! `ggscope heads`: what each head does over a real text, which heads behave alike, and where a token's state comes from.

mod text;

use super::contexts::{say_chosen, whose};
use super::say;
use super::terminal::{Form, stdout};
use ggscope_compute::{Device, open_device};
use ggscope_internals::heads::{Flow, Head, Heads, HeadsOptions, flow, heads};
use ggscope_query::contexts::Contexts;
use ggscope_query::dump::Phase;
use ggscope_query::range::Numbers;
use ggscope_trace::Trace;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

const EXAMPLES: &str = "\
EXAMPLES
  ggscope record --capture attention -o run.ggtrace -- llama-server -m model.gguf

  # A map of all heads with what they are, and the clearest of each kind
  ggscope heads run.ggtrace

  # The heads of one layer, over the answer alone
  ggscope heads run.ggtrace --layer 5 --phase generate

  # For other programs: heads.csv, heads.json, the divergence of every two heads
  ggscope heads run.ggtrace --csv > heads.csv
  ggscope heads run.ggtrace --json > heads.json
  ggscope heads run.ggtrace --pairs --csv > pairs.csv

  # Where the last token's state comes from: attention rollout and attention flow
  ggscope heads run.ggtrace --flow
";

/// Options of `ggscope heads`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The trace, recorded with --capture attention
    file: PathBuf,
    /// Print these layers only: `5`, `3..7` [default: all]; their heads are compared with those of all layers
    #[arg(long, value_name = "RANGE")]
    layer: Option<Numbers>,
    /// Print this head of each layer only; it is compared with all heads
    #[arg(long, value_name = "N")]
    head: Option<usize>,
    /// Tokens over which is measured, counted from 0 through the session: `0..99` [default: all]
    #[arg(long, value_name = "RANGE")]
    tokens: Option<Numbers>,
    /// The context that computed the tokens, if the recording has several [default: that of the tokens; else the last one of
    /// the first model]
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Measure over tokens of this phase only
    #[arg(long, value_parser = ["prompt", "generate", "unknown"], ignore_case = true)]
    phase: Option<String>,
    /// The divergence of every two heads, too; needs --json or --csv
    #[arg(long)]
    pairs: bool,
    /// Where the state of a token comes from (the last, if none is said), instead of heads
    #[arg(long, value_name = "TOKEN", num_args = 0..=1, conflicts_with_all = ["layer", "head", "tokens", "phase", "pairs"])]
    flow: Option<Option<u64>>,
    /// Where attention and divergences are computed: on a GPU that no traced program uses if the work is worth the trip
    /// (auto), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Device,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV: a line for each head, with --pairs for each two heads, with --flow for each token
    #[arg(long)]
    csv: bool,
}

impl Args {
    fn wanted(&self) -> anyhow::Result<HeadsOptions> {
        if self.pairs && !self.json && !self.csv {
            anyhow::bail!("--pairs prints a number for every two heads: say --json or --csv");
        }
        let layer = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(HeadsOptions {
            context: self.context,
            tokens: self.tokens.map(|t| t.range()),
            layers: self.layer.map(|l| layer(l.first)..=layer(l.last)),
            head: self.head,
            phase: self.phase.as_deref().and_then(Phase::of_word),
            pairs: self.pairs,
        })
    }
}

/// Prints what heads do, or where a token's state comes from.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let wanted = args.wanted()?;
    let trace = Trace::open(&args.file)?;
    let mut out = stdout(Form::of(args.json, args.csv));
    if let Some(token) = args.flow {
        let found = flow(&trace, args.context, token)?;
        match (args.json, args.csv) {
            (true, _) => writeln!(out, "{}", serde_json::to_string(&found)?)?,
            (_, true) => flow_csv(&mut out, &found)?,
            _ => text::flow(&mut out, &found, &whose(&Contexts::of(&trace), found.context))?,
        }
    } else {
        let found = heads(&trace, &wanted, &Arc::new(open_device(args.device, &[])?))?;
        say_chosen(&Contexts::of(&trace), args.context, found.context);
        match (args.json, args.csv) {
            (true, _) => writeln!(out, "{}", serde_json::to_string(&found)?)?,
            (_, true) if args.pairs => pairs_csv(&mut out, &found)?,
            (_, true) => heads_csv(&mut out, &found.heads)?,
            _ => text::heads(&mut out, &found)?,
        }
        for refused in &found.refused {
            say::line(format_args!("{} rows of layer {} are left out: {}", refused.rows, refused.layer, refused.why));
        }
    }
    out.flush()?;
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Columns of `heads.csv`.
const COLUMNS: [&str; 28] = [
    "layer",
    "head",
    "kind",
    "decided_by",
    "value",
    "threshold",
    "rows",
    "not_finite",
    "entropy",
    "entropy_normalized",
    "distance",
    "first",
    "previous",
    "self",
    "induction",
    "induction_rows",
    "duplicate",
    "punctuation",
    "sink",
    "cluster",
    "pagerank",
    "pagerank_in_layer",
    "nearest_layer",
    "nearest_head",
    "nearest_divergence",
    "twin_layer",
    "twin_head",
    "twin_divergence",
];

fn heads_csv(out: impl Write, heads: &[Head]) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(COLUMNS)?;
    for h in heads {
        let m = h.measures;
        let kind = h.kind.map(|k| (k.name.text(), k.measure, k.value, k.threshold));
        csv.serialize((
            (h.layer, h.head),
            (kind.map(|k| k.0), kind.map(|k| k.1), kind.map(|k| k.2), kind.map(|k| k.3)),
            (h.rows, h.not_finite, m.entropy, m.entropy_normalized, m.distance, m.first, m.previous, m.own),
            (
                m.induction,
                h.induction_rows,
                m.duplicate,
                m.punctuation,
                m.sink,
                h.cluster,
                h.pagerank,
                h.pagerank_in_layer,
            ),
            (h.nearest.map(|n| n.layer), h.nearest.map(|n| n.head), h.nearest.map(|n| n.divergence)),
            (h.twin.map(|n| n.layer), h.twin.map(|n| n.head), h.twin.map(|n| n.divergence)),
        ))?;
    }
    Ok(csv.flush()?)
}

fn pairs_csv(out: impl Write, found: &Heads) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["layer_a", "head_a", "layer_b", "head_b", "divergence"])?;
    let ids: Vec<(u32, usize)> =
        found.uniform.iter().flat_map(|l| (0..l.n_head).map(move |head| (l.layer, head))).collect();
    let all = ids.iter().enumerate().flat_map(|(i, a)| ids[i + 1..].iter().map(move |b| (*a, *b)));
    let told: BTreeSet<(u32, usize)> = found.heads.iter().map(|h| (h.layer, h.head)).collect();
    let all = all.zip(found.divergence.pairs.iter().flatten());
    for ((a, b), js) in all.filter(|((a, b), _)| told.contains(a) || told.contains(b)) {
        csv.serialize((a, b, Some(js).filter(|js| js.is_finite())))?;
    }
    Ok(csv.flush()?)
}

fn flow_csv(out: impl Write, found: &Flow) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["token", "pos", "text", "phase", "rollout", "flow"])?;
    for s in &found.sources {
        csv.serialize((s.token, s.pos, &s.text, s.phase.name(), s.rollout, s.flow))?;
    }
    Ok(csv.flush()?)
}
