//! Operations and bytes of tokens, what a machine can reach with them, and what a recorded run reached.

use super::super::say;
use super::super::text::{duration, printable};
use super::amounts::{bar, short, tokens};
use super::{Limits, Output, names};
use ggscope_model::inspect::{Bound, Costs, Limit, Work};
use ggscope_query::roofline::Reached;
use std::collections::BTreeSet;

/// Kinds of operators of a context that are listed.
const TOP: usize = 10;

/// Work against the length of the sequence, and its parts at the longest that is shown.
pub(super) fn section(costs: &Costs) -> String {
    let mut out = String::new();
    for (what, works) in [("a token after", &costs.generate), ("a prompt of", &costs.prompt)] {
        let Some(last) = works.last() else { continue };
        out.push_str(&format!(
            "\n    {what:<18} {:>10} {:>12} {:>12}  largest parts of the operations\n",
            "FLOPs", "bytes", "FLOPs/byte"
        ));
        for work in works.iter().filter(|work| work.tokens > 1 || std::ptr::eq(*work, last)) {
            out.push_str(&format!(
                "    {:<18} {:>10} {:>12} {:>12.1}  {}\n",
                format!("{} tokens", tokens(work.tokens)),
                short(work.flops),
                say::bytes(work.bytes as u64),
                work.intensity,
                parts(work)
            ));
        }
    }
    out
}

fn parts(work: &Work) -> String {
    let mut parts: Vec<_> = work.parts.iter().filter(|p| p.flops > 0.0).collect();
    parts.sort_by(|a, b| b.flops.total_cmp(&a.flops));
    let share =
        |part: &ggscope_model::inspect::PartWork| format!("{} {:.0}%", part.what, part.flops / work.flops * 100.0);
    parts.into_iter().take(3).map(share).collect::<Vec<_>>().join(", ")
}

/// What the machine can reach, and what a run did.
pub(super) fn machine(output: &Output) -> String {
    let mut out = String::new();
    if let Some(machine) = &output.machine {
        let how = match &output.host {
            Some(host) => format!(", measured with {} threads, {}", host.threads, host.instructions),
            None => String::new(),
        };
        out.push_str(&format!(
            "\n    {:<18} {:.1} GB/s and {:.1} GFLOP/s{how}\n",
            "machine",
            machine.bytes_per_second / 1e9,
            machine.flops_per_second / 1e9
        ));
    }
    for (limits, model) in output.limits.iter().zip(&output.models) {
        let name = (output.limits.len() > 1).then(|| names::name(model));
        out.push_str(&limit_lines(limits, name.as_deref()));
    }
    if let Some(list) = &output.reached {
        let contexts: BTreeSet<u32> = list.iter().map(|r| r.context).collect();
        for &context in &contexts {
            let own: Vec<&Reached> = list.iter().filter(|r| r.context == context).collect();
            let of = if contexts.len() > 1 { format!("context {context} reached") } else { "the run reached".into() };
            out.push_str(&reached(&of, &own));
        }
    }
    out
}

fn limit_lines(limits: &Limits, name: Option<&str>) -> String {
    let mut out = name.map_or(String::new(), |name| format!("    {}\n", printable(name)));
    let line = |list: &[Limit]| {
        let one = |l: &Limit| {
            let bound = if l.bound == Bound::Memory { "memory" } else { "arithmetic" };
            format!("{:.0} at {} ({bound})", l.tokens_per_second, tokens(l.tokens))
        };
        let some: Vec<String> = list.iter().filter(|l| l.tokens > 1).map(one).collect();
        some.join(", ")
    };
    for (what, list) in [("answer, at most", &limits.generate), ("prompt, at most", &limits.prompt)] {
        if !list.is_empty() {
            out.push_str(&format!("    {what:<18} tokens/s: {}\n", line(list)));
        }
    }
    out
}

fn reached(whose: &str, list: &[&Reached]) -> String {
    let mut out = format!("\n    {:<22} {:>10} {:>10} {:>10}  of what is possible\n", whose, "time", "GB/s", "GFLOP/s");
    for r in list.iter().take(TOP) {
        let seconds = r.ns as f64 / 1e9;
        let share = match (r.share, r.bound) {
            (Some(share), Some(bound)) => {
                let bound = if bound == Bound::Memory { "memory" } else { "arithmetic" };
                format!("{:>5.0}%  {:<20} {bound}", share * 100.0, bar(share, 20))
            }
            _ => "unknown: --measure-host or --bandwidth and --flops say it".to_owned(),
        };
        let flops = if r.flops > 0.0 { format!("{:.2}", r.flops / seconds / 1e9) } else { "-".to_owned() };
        let what = format!("{} {}", r.phase.name().to_lowercase(), printable(&r.op));
        let speed = r.bytes as f64 / seconds / 1e9;
        out.push_str(&format!("    {what:<22} {:>10} {speed:>10.2} {flops:>10}  {share}\n", duration(r.ns)));
    }
    out
}
