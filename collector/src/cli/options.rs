//! Options that `record` and `daemon` share: how much is recorded.

use anyhow::bail;
use ggscope_attach::RecordOptions;
use ggscope_format::Bytes;
use ggscope_format::capture::{Capture, Ranges, Set};
use ggscope_format::segment::{DEFAULT_RING_BYTES, RING_BYTES_RANGE};
use ggscope_format::session::Level;
use ggscope_query::captures;

/// Room for values, if the user does not say: all layers' hidden states of a prompt of some hundred tokens.
const VALUE_RING_BYTES: u64 = 16 << 20;

/// The same for what attention is computed from, queries, keys and values of a prompt's evaluation, and for sets of many
/// tensors.
const SET_RING_BYTES: u64 = 64 << 20;

/// How much is recorded.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Options {
    /// What to record: which operators ran on which tensors (graph), with the time of each (ops, the default), or also
    /// the values of tensors that --capture names (tensors)
    #[arg(long, value_parser = ["graph", "ops", "tensors"])]
    level: Option<String>,
    /// Record values: of the sets `attention` (what `ggscope attention` needs), `values` (V), `layers` (the residual stream
    /// and the norms), `logits` and `experts`, and of tensors with such names, for example 'l_out-*'. Several with commas
    /// between, or given more than once
    #[arg(long, value_name = "SET|GLOB")]
    capture: Vec<String>,
    /// Capture only of these layers, for example 0-3,7; what belongs to no layer is captured all the same
    #[arg(long, value_name = "RANGE,…", value_parser = Ranges::parse, requires = "capture")]
    capture_layers: Option<Ranges>,
    /// Capture only queries of these heads; what is not of one head is captured whole
    #[arg(long, value_name = "RANGE,…", value_parser = Ranges::parse, requires = "capture")]
    capture_heads: Option<Ranges>,
    /// Capture only in evaluations with one of these tokens, counted from 0 through the session
    #[arg(long, value_name = "RANGE,…", value_parser = Ranges::parse, requires = "capture")]
    capture_tokens: Option<Ranges>,
    /// Capture only every N-th token of an answer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "capture")]
    capture_every: Option<u64>,
    /// Capture statistics instead of values: least, greatest, mean, RMS, zeros, NaN and infinities of each row, and a
    /// histogram of each tensor
    #[arg(long, requires = "capture")]
    capture_stats: bool,
    /// Let f32 values travel as f16, where none would become infinite
    #[arg(long, value_name = "TYPE", value_parser = ["f16", "f32"], requires = "capture")]
    capture_as: Option<String>,
    /// Capture no more than this in a second, for example 64MiB/s; what is beyond is left out and counted
    #[arg(long, value_name = "SIZE/s", value_parser = budget, requires = "capture")]
    capture_budget: Option<Bytes>,
    /// Keep token ids and texts out of the trace
    #[arg(long)]
    no_tokens: bool,
    /// Room for what is not written yet, for each computing thread: a power of two, for example 8M
    #[arg(long, value_name = "SIZE", value_parser = ring_bytes)]
    ring_size: Option<u64>,
}

impl Options {
    pub(super) fn wanted(&self) -> anyhow::Result<RecordOptions> {
        let capture = self.described()?;
        let level = match self.level.as_deref() {
            None if self.capture.is_empty() => Level::default(),
            None | Some("tensors") => Level::Tensors,
            Some(level) if !self.capture.is_empty() => {
                bail!("--capture needs --level tensors, and --level {level} was given")
            }
            Some("graph") => Level::Graph,
            Some(_) => Level::Ops,
        };
        Ok(RecordOptions {
            level,
            tokens: !self.no_tokens,
            ring_bytes: self.ring_size.unwrap_or(match level {
                Level::Tensors if needs_room(&capture) => SET_RING_BYTES,
                Level::Tensors => VALUE_RING_BYTES,
                _ => DEFAULT_RING_BYTES,
            }),
            capture,
        })
    }

    /// The same where a page may have more captured while the program runs, for which there is to be room.
    pub(super) fn wanted_for_a_page(&self) -> anyhow::Result<RecordOptions> {
        let wanted = self.wanted()?;
        let room = if self.ring_size.is_some() { 0 } else { VALUE_RING_BYTES };
        Ok(RecordOptions { ring_bytes: wanted.ring_bytes.max(room), ..wanted })
    }

    fn described(&self) -> anyhow::Result<Capture> {
        let names: Vec<String> = self.capture.iter().flat_map(|list| between_commas(list)).collect();
        if names.is_empty() && !self.capture.is_empty() {
            let sets = Set::ALL.map(Set::name).join(", ");
            bail!("--capture names nothing: give sets ({sets}) or globs of tensors' names, for example 'l_out-*'");
        }
        let capture = Capture {
            names,
            layers: self.capture_layers.clone().unwrap_or_default(),
            heads: self.capture_heads.clone().unwrap_or_default(),
            tokens: self.capture_tokens.clone().unwrap_or_default(),
            every: self.capture_every.unwrap_or(1),
            statistics: self.capture_stats,
            as_f16: self.capture_as.as_deref() == Some("f16"),
            budget: self.capture_budget,
        };
        captures::check(&capture).map_err(|why| anyhow::anyhow!("--capture: {why}"))?;
        Ok(capture)
    }
}

/// Whether one evaluation of a prompt may give more than the usual ring has room for.
fn needs_room(capture: &Capture) -> bool {
    !capture.statistics && [Set::Attention, Set::Values, Set::Layers].into_iter().any(|set| capture.has(set))
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
    parts.retain(|part| !part.trim().is_empty());
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

/// Bytes a second: a size, with or without `/s`.
fn budget(text: &str) -> Result<Bytes, String> {
    match size(text.strip_suffix("/s").unwrap_or(text))? {
        0 => Err("nothing would ever be captured".to_owned()),
        bytes => Ok(Bytes(bytes)),
    }
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
    fn limits_are_read_and_what_contradicts_itself_is_refused() {
        use clap::Parser;
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            options: Options,
        }
        let wanted = |line: &str| -> anyhow::Result<RecordOptions> {
            Command::try_parse_from(["x"].into_iter().chain(line.split(' ')))?.options.wanted()
        };
        let all = "--capture attention --capture-layers 0-3,7 --capture-heads 0,5-8 --capture-tokens 0-99 \
                   --capture-every 8 --capture-as f16 --capture-budget 64MiB/s";
        let capture = wanted(all).unwrap().capture;
        assert_eq!(
            capture.to_string(),
            "attention, layers 0-3,7, heads 0,5-8, tokens 0-99, every 8, as f16, at most 67108864 bytes/s"
        );
        for (line, says) in [
            ("--capture attention --capture-layers 3-1", "`3-1` ends before it begins"),
            ("--capture attention --capture-layers a", "`a` is neither"),
            ("--capture attention --capture-every 0", "0 is not in"),
            ("--capture attention --capture-budget 0/s", "nothing would ever be captured"),
            ("--capture attention --capture-budget fast", "unknown unit fast"),
            ("--capture layers --capture-heads 0", "`attention`"),
            ("--capture values --capture-stats", "`values`"),
            ("--capture-stats", "--capture"),
            ("--capture layers --capture-as q4_0", "f16"),
            ("--capture ", "--capture names nothing"),
            ("--capture ,,", "--capture names nothing"),
        ] {
            let error = format!("{:#}", wanted(line).unwrap_err());
            assert!(error.contains(says), "{line}: {error}");
        }
        assert_eq!(wanted("--capture layers").unwrap().ring_bytes, SET_RING_BYTES);
        assert_eq!(wanted("--capture layers --capture-stats").unwrap().ring_bytes, VALUE_RING_BYTES);
    }

    #[test]
    fn capture_implies_the_level_it_needs() {
        let capture = |level: Option<&str>, globs: &[&str]| Options {
            level: level.map(str::to_owned),
            capture: globs.iter().map(|&g| g.to_owned()).collect(),
            ..Options::default()
        };
        assert_eq!(capture(None, &[]).wanted().unwrap().level, Level::Ops);
        let small = Options { ring_size: Some(1 << 20), ..Options::default() };
        assert_eq!(small.wanted_for_a_page().unwrap().ring_bytes, 1 << 20);
        let room = capture(None, &[]).wanted_for_a_page().unwrap().ring_bytes;
        assert_eq!((room, capture(None, &[]).wanted().unwrap().ring_bytes), (VALUE_RING_BYTES, DEFAULT_RING_BYTES));
        assert_eq!(capture(None, &["l_out-*"]).wanted().unwrap().level, Level::Tensors);
        assert_eq!(capture(Some("graph"), &[]).wanted().unwrap().level, Level::Graph);
        assert!(capture(Some("ops"), &["l_out-*"]).wanted().is_err());
        assert!(capture(None, &["l_out-[", "x"]).wanted().is_err());
    }
}
