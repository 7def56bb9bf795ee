//! Options that `record` and `daemon` share: how much is recorded.

use crate::live::Wanted;
use anyhow::{Context, bail};
use ggscope_format::segment::{DEFAULT_RING_BYTES, RING_BYTES_RANGE};
use ggscope_format::session::{ATTENTION, Level};

/// Room for values, if the user does not say: all layers' hidden states of a prompt of some hundred tokens.
const VALUE_RING_BYTES: u64 = 16 << 20;

/// The same for what attention is computed from: queries and keys of a prompt's evaluation.
const ATTENTION_RING_BYTES: u64 = 64 << 20;

/// How much is recorded.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Capture {
    /// What to record: which operators ran on which tensors (graph), with the time of each (ops, the default), or also
    /// the values of tensors that --capture names (tensors)
    #[arg(long, value_parser = ["graph", "ops", "tensors"])]
    level: Option<String>,
    /// Record values: `attention` for what `ggscope attention` needs, or those of tensors with such names, for example
    /// 'l_out-*'. Several with commas between, or given more than once
    #[arg(long, value_name = "SET|GLOB")]
    capture: Vec<String>,
    /// Keep token ids and texts out of the trace
    #[arg(long)]
    no_tokens: bool,
    /// Room for what is not written yet, for each computing thread: a power of two, for example 8M
    #[arg(long, value_name = "SIZE", value_parser = ring_bytes)]
    ring_size: Option<u64>,
}

impl Capture {
    pub(super) fn wanted(&self) -> anyhow::Result<Wanted> {
        let capture: Vec<String> = self.capture.iter().flat_map(|list| between_commas(list)).collect();
        for glob in &capture {
            globset::Glob::new(glob).with_context(|| format!("--capture {glob}"))?;
        }
        let level = match self.level.as_deref() {
            None if self.capture.is_empty() => Level::default(),
            None | Some("tensors") => Level::Tensors,
            Some(level) if !self.capture.is_empty() => {
                bail!("--capture needs --level tensors, and --level {level} was given")
            }
            Some("graph") => Level::Graph,
            Some(_) => Level::Ops,
        };
        Ok(Wanted {
            level,
            tokens: !self.no_tokens,
            ring_bytes: self.ring_size.unwrap_or(match level {
                Level::Tensors if capture.iter().any(|c| c == ATTENTION) => ATTENTION_RING_BYTES,
                Level::Tensors => VALUE_RING_BYTES,
                _ => DEFAULT_RING_BYTES,
            }),
            capture,
        })
    }
}

/// The parts of a list. A comma between braces or brackets belongs to the glob.
fn between_commas(list: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_u32);
    for c in list.chars() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match parts.last_mut() {
            Some(part) if c != ',' || depth > 0 => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// `512K`, `8M`, `8MiB`, `1G` or a number of bytes.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        unit => return Err(format!("unknown unit {unit}: use K, M or G")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a size: for example 512K, 8M or 1G".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "more than any machine has".to_owned())
}

/// Room for what is read of traces.
pub(super) fn memory_bytes(text: &str) -> Result<usize, String> {
    let bytes = usize::try_from(size(text)?).map_err(|_| "more than this machine can have".to_owned())?;
    if bytes < 1 << 20 { Err("give 1M at least".to_owned()) } else { Ok(bytes) }
}

/// Room on a ring.
fn ring_bytes(text: &str) -> Result<u64, String> {
    let bytes = Some(size(text)?).filter(|bytes| RING_BYTES_RANGE.contains(bytes));
    let bytes = bytes.ok_or_else(|| "a ring has from 64K to 1G".to_owned())?;
    if bytes.is_power_of_two() { Ok(bytes) } else { Err("not a power of two".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes_are_read_with_their_units_and_checked() {
        assert_eq!(ring_bytes("8M"), Ok(8 << 20));
        assert_eq!(ring_bytes("64kib"), Ok(64 << 10));
        assert_eq!(ring_bytes("65536"), Ok(1 << 16));
        for wrong in ["", "M", "3M", "32K", "2G", "1X", "-1M", "99999999999G"] {
            assert!(ring_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_has_a_least_and_no_most() {
        assert_eq!(memory_bytes("512M"), Ok(512 << 20));
        assert_eq!(memory_bytes("64G"), Ok(64 << 30));
        for wrong in ["", "0", "1000K", "99999999999999G", "lots"] {
            assert!(memory_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sets_and_globs_are_listed_with_commas() {
        assert_eq!(between_commas("attention,l_out-*"), ["attention", "l_out-*"]);
        assert_eq!(between_commas("l_out-{1,2},x[,]"), ["l_out-{1,2}", "x[,]"]);
        assert_eq!(between_commas("l_out-["), ["l_out-["]);
    }

    #[test]
    fn capture_implies_the_level_it_needs() {
        let capture = |level: Option<&str>, globs: &[&str]| Capture {
            level: level.map(str::to_owned),
            capture: globs.iter().map(|&g| g.to_owned()).collect(),
            ..Capture::default()
        };
        assert_eq!(capture(None, &[]).wanted().unwrap().level, Level::Ops);
        assert_eq!(capture(None, &["l_out-*"]).wanted().unwrap().level, Level::Tensors);
        assert_eq!(capture(Some("graph"), &[]).wanted().unwrap().level, Level::Graph);
        assert!(capture(Some("ops"), &["l_out-*"]).wanted().is_err());
        assert!(capture(None, &["l_out-[", "x"]).wanted().is_err());
    }
}
