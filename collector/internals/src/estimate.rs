//! About how many bytes a capture will take of a token, from the hyperparameters in the model's file, before anything runs.
//! What tensors a model really has is known when it computes; this is what models of its kind have.

use ggscope_format::capture::{Capture, Set};
use ggscope_format::value::Statistics;
use ggscope_model::gguf::{Gguf, is_gguf};
use ggscope_model::inspect::Architecture;
use std::path::{Path, PathBuf};

/// Bytes of what llama.cpp's caches hold if nothing else is asked for.
const F16: u64 = 2;
/// What a place of a row takes.
const PLACE: u64 = 8;
/// Statistics of one row, and the tensor's histogram.
const STATISTICS: u64 = Statistics::ROW_BYTES + 44;

/// About what a capture takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The sets, and the bytes that each takes of a token.
    pub sets: Vec<(Set, u64)>,
    /// Bytes for each token that attention looks back at: its mask.
    pub per_key: u64,
    /// Whether there are globs, of which nothing is known yet.
    pub globs: bool,
    /// How many layers the model has, if the capture's limits leave out all of them.
    pub left_out: Option<usize>,
}

/// The estimate for a command, if it names a model's file (`-m FILE`, or wherever it stands) and there are sets.
pub fn of_command(capture: &Capture, arguments: &[PathBuf], cwd: &Path) -> Option<Estimate> {
    let value = |arg: &PathBuf| {
        let text = arg.to_string_lossy();
        text.split_once('=').filter(|(flag, _)| flag.starts_with('-')).map(|(_, value)| PathBuf::from(value))
    };
    let paths = arguments.iter().map(|arg| cwd.join(value(arg).unwrap_or_else(|| arg.clone())));
    let model = paths.into_iter().find(|path| is_gguf(path))?;
    let (architecture, _) = Architecture::of(&Gguf::open(&model).ok()?);
    Estimate::of(capture, &architecture)
}

/// What is said of a capture of globs alone; `None` of any other.
pub fn of_globs(capture: &Capture) -> Option<&'static str> {
    capture.globs().next().filter(|_| capture.sets().next().is_none())?;
    let takes_all = capture.globs().any(|glob| glob.bytes().all(|b| b == b'*'));
    Some(if takes_all {
        "all that is computed will be captured: how much that is of a token cannot be estimated, and is said after the first \
         tokens"
    } else {
        "what the globs take of a token is said after the first tokens"
    })
}

impl Estimate {
    /// The estimate for a model. `None` if no set is captured.
    pub fn of(capture: &Capture, model: &Architecture) -> Option<Estimate> {
        let sets: Vec<(Set, u64)> = capture.sets().map(|set| (set, of_set(set, capture, model))).collect();
        let layers = || model.main_layers().filter(|layer| capture.layers.has(layer.index.into()));
        let attends = layers().any(|layer| layer.attention.is_some());
        let per_key = if capture.has(Set::Attention) && attends { F16 } else { 0 };
        let left_out = layers().next().is_none().then(|| model.main_layers().count());
        (!sets.is_empty()).then(|| Estimate { sets, per_key, globs: capture.globs().next().is_some(), left_out })
    }

    /// All sets together.
    pub fn bytes(&self) -> u64 {
        self.sets.iter().map(|set| set.1).sum()
    }
}

fn of_set(set: Set, capture: &Capture, model: &Architecture) -> u64 {
    let number = if capture.as_f16 { 2 } else { 4 };
    // A tensor of one row a token.
    let row = |elements: u64| if capture.statistics { STATISTICS } else { elements * number };
    let hidden = u64::from(model.hidden);
    let layers = || model.main_layers().filter(|layer| capture.layers.has(layer.index.into()));
    let attention = || layers().filter_map(|layer| layer.attention.as_ref());
    match set {
        Set::Attention => {
            let of_layer = attention().map(|a| {
                let heads = (0..u64::from(a.heads)).filter(|&head| capture.heads.has(head)).count() as u64;
                heads * u64::from(a.head_k) * number + u64::from(a.kv_heads) * u64::from(a.head_k) * F16
            });
            of_layer.sum::<u64>() + if attention().next().is_some() { PLACE } else { 0 }
        }
        Set::Values => attention().map(|a| u64::from(a.kv_heads) * u64::from(a.head_v) * F16).sum(),
        Set::Layers => {
            let of_layer = layers().map(|layer| {
                // Of the norms, the sub-blocks and the streams behind them.
                let of_attention = layer
                    .attention
                    .as_ref()
                    .map_or(0, |a| row(u64::from(a.heads) * u64::from(a.head_v)) + 2 * row(hidden));
                let of_network = layer.feed_forward.as_ref().map_or(0, |_| 3 * row(hidden));
                of_attention + of_network + row(hidden) + if layer.state.is_some() { 2 * row(hidden) } else { 0 }
            });
            // Into the first layer, and behind the last norm.
            of_layer.sum::<u64>() + 2 * row(hidden)
        }
        Set::Logits => row(model.vocabulary),
        Set::Experts => {
            let experts = layers().filter_map(|layer| layer.feed_forward.as_ref()?.experts.as_ref());
            experts.map(|e| 2 * row(e.count.into()) + 2 * row(e.used.into()) + u64::from(e.count) * 4).sum()
        }
    }
}

/// `81 KiB` of so many bytes.
fn amount(bytes: u64) -> String {
    match bytes {
        0 => "nothing".into(),
        1..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sets: Vec<String> = self.sets.iter().map(|(set, n)| format!("{} {}", set.name(), amount(*n))).collect();
        let about = if self.bytes() > 0 { "about " } else { "" };
        write!(f, "{about}{} will be captured of a token", amount(self.bytes()))?;
        if self.sets.len() > 1 {
            write!(f, " ({})", sets.join(", "))?;
        }
        if self.per_key > 0 {
            write!(f, ", and {} for each token of the context", amount(self.per_key))?;
        }
        if let Some(n) = self.left_out {
            write!(f, "; none of the model's {n} layers (0 to {}) is to be captured", n.saturating_sub(1))?;
        }
        if self.globs {
            f.write_str("; what the globs take is said after the first tokens")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::capture::Ranges;
    use ggscope_model::testing;

    fn of(capture: &Capture) -> Option<Estimate> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        testing::llama(testing::LLAMA_8B, false).write(&path);
        of_command(capture, &["-p".into(), "text".into(), "-m".into(), path], dir.path())
    }

    #[test]
    fn sets_take_what_their_shapes_say() {
        let names = ["attention", "values", "logits", "experts"];
        let found = of(&Capture::named(names)).unwrap();
        // 32 layers, 32 heads of 128, 8 of them for keys and values.
        let attention = 32 * (32 * 128 * 4 + 8 * 128 * 2) + 8;
        assert_eq!(found.sets[..2], [(Set::Attention, attention), (Set::Values, 32 * 8 * 128 * 2)]);
        assert_eq!(found.sets[3], (Set::Experts, 0));
        assert_eq!(found.per_key, 2);
        assert!(found.to_string().starts_with("about "), "{found}");
    }

    #[test]
    fn limits_and_halves_take_less() {
        let all = of(&Capture::named(["layers"])).unwrap().bytes();
        let halves = of(&Capture { as_f16: true, ..Capture::named(["layers"]) }).unwrap().bytes();
        let statistics = of(&Capture { statistics: true, ..Capture::named(["layers"]) }).unwrap().bytes();
        let one = of(&Capture { layers: Ranges::parse("7").unwrap(), ..Capture::named(["layers"]) }).unwrap().bytes();
        assert_eq!(halves * 2, all);
        assert!(statistics * 50 < all && one * 15 < all, "{all} {statistics} {one}");
    }

    #[test]
    fn a_limit_that_leaves_out_all_layers_and_a_set_that_the_model_has_nothing_of_are_said() {
        let beyond = Capture { layers: Ranges::parse("99").unwrap(), ..Capture::named(["attention"]) };
        let said = of(&beyond).unwrap().to_string();
        assert_eq!(
            said,
            "nothing will be captured of a token; none of the model's 32 layers (0 to 31) is to be captured"
        );
        let said = of(&Capture::named(["layers", "experts"])).unwrap().to_string();
        assert!(said.contains("experts nothing)") && !said.contains("none of"), "{said}");
    }

    #[test]
    fn of_globs_alone_it_is_said_that_nothing_is_known_yet_and_that_a_star_is_everything() {
        let of = |names: &[&str]| of_globs(&Capture::named(names.iter().copied()));
        assert!(of(&["*"]).unwrap().starts_with("all that is computed"));
        assert!(of(&["l_out-*"]).unwrap().starts_with("what the globs take"));
        assert_eq!((of(&["layers", "*"]), of(&["layers"]), of(&[])), (None, None, None));
    }

    #[test]
    fn without_sets_or_a_model_nothing_is_estimated() {
        assert_eq!(of(&Capture::named(["l_out-*"])), None);
        assert_eq!(of_command(&Capture::named(["layers"]), &["-m".into(), "none.gguf".into()], Path::new("/")), None);
    }
}
