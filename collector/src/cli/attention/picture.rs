//! `ggscope attention --png`: tokens × keys as a picture, of one head or of all heads of a layer.

use super::Args;
use crate::cli::contexts::say_chosen;
use crate::cli::output::{Output, Replace};
use crate::cli::say;
use anyhow::bail;
use ggscope_export::heatmap::{Heading, png};
use ggscope_internals::attention::first_layer;
use ggscope_internals::picture::{AttentionMatrix, Followers, matrix};
use ggscope_query::contexts::Contexts;
use ggscope_trace::Trace;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

/// Tokens of a picture if nothing is said: more cannot be read.
const DEFAULT_TOKENS: u64 = 1024;

/// Draws the picture.
pub(super) fn run(trace: &Trace, args: &Args) -> anyhow::Result<ExitCode> {
    let file = args.png.clone().flatten();
    if file.is_some() && args.output.is_some() {
        bail!("--png and -o both name a file: say one");
    }
    let layer = args.layer.unwrap_or_else(|| first_layer(trace));
    let output = output(args, file.as_ref().or(args.output.as_ref()), layer)?.beside(&args.file)?;
    let contexts = Contexts::of(trace);
    let asked = args.tokens.map(|tokens| tokens.range());
    let context = contexts.choose(trace, args.context, asked.as_ref()).map_err(anyhow::Error::msg)?.unwrap_or(0);
    say_chosen(&contexts, args.context, context);
    let end = contexts.get(context).and_then(|of| of.last_token).map_or(0, |last| last + 1);
    let tokens = asked.unwrap_or(end.saturating_sub(DEFAULT_TOKENS)..end);
    if args.tokens.is_none() && tokens.start > 0 {
        say::line(format_args!("the last {DEFAULT_TOKENS} tokens are drawn; --tokens chooses others"));
    }
    let mut found = matrix(trace, &mut Followers::default(), (context, &tokens), layer, args.head)?;
    only_captured(trace, &mut found)?;
    let bytes = png(&found, &heading(trace, args, &found, &contexts)).map_err(|why| anyhow::anyhow!("--png: {why}"))?;
    output.write(|to| to.write_all(&bytes).and_then(|()| to.flush()))?;
    if let Some((path, bytes)) = output.file() {
        let (rows, heads) = (found.rows.len() as u64, found.heads.len());
        let (rows, s) = (say::thousands(rows), if heads == 1 { "" } else { "s" });
        say::line(format_args!("{rows} tokens of {heads} head{s} → {} ({})", path.display(), say::bytes(bytes)));
    }
    for refused in &found.refused {
        let (tokens, layer) = (say::thousands(refused.tokens), refused.layer);
        say::line(format_args!("layer {layer}: the attention of {tokens} tokens cannot be computed: {}", refused.why));
    }
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The place that was asked for.
fn output(args: &Args, file: Option<&PathBuf>, layer: u32) -> anyhow::Result<Output> {
    let replace = Replace::forced(args.force);
    match file {
        Some(path) => Output::at(path, replace),
        None if !io::stdout().is_terminal() => Ok(Output::Stdout),
        None => {
            let stem = args.file.file_stem().unwrap_or(args.file.as_os_str()).to_string_lossy();
            let head = args.head.map_or(String::new(), |head| format!(".head{head}"));
            Output::at(&PathBuf::from(format!("{stem}.layer{layer}{head}.png")), replace)
        }
    }
}

/// Leaves out heads that were never captured: their weights are not known, which is not the same as no numbers.
fn only_captured(trace: &Trace, found: &mut AttentionMatrix) -> anyhow::Result<()> {
    let captures = trace.captures();
    let asked = found.heads.first().map_or(0, |head| head.head);
    found.heads.retain(|head| captures.iter().any(|change| change.capture.heads.has(head.head as u64)));
    if found.heads.is_empty() && !found.rows.is_empty() {
        bail!("head {asked} was not captured (--capture-heads)");
    }
    Ok(())
}

fn heading(trace: &Trace, args: &Args, found: &AttentionMatrix, contexts: &Contexts) -> Heading {
    let what = match &found.heads[..] {
        [one] => format!("head {} of {}", one.head, found.n_head),
        all if all.len() == found.n_head => format!("all {} heads", all.len()),
        several => format!("{} of {} heads", several.len(), found.n_head),
    };
    let model = contexts.get(found.context).and_then(|of| of.model_name.clone().or(Some(trace.model()?.name.clone())));
    let model = model.filter(|name| !name.is_empty()).map_or(String::new(), |name| format!("{name}, "));
    let context = match contexts.others(found.context)[..] {
        [] => String::new(),
        _ => format!("context {}, ", found.context),
    };
    let tokens = match (found.rows.first(), found.rows.last()) {
        (Some(first), Some(last)) => format!("tokens {} to {}, ", first.token, last.token),
        _ => String::new(),
    };
    let trace = args.file.file_name().unwrap_or(args.file.as_os_str()).to_string_lossy();
    Heading {
        title: format!("Attention in layer {}, {what}", found.layer),
        about: format!("{model}{context}{tokens}{trace}"),
    }
}
