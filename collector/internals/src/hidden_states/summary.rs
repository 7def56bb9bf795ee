//! Layers over all tokens: what a table or a chart by layer shows. The middle is the median: the first token of a text is
//! often so much larger than all others that a mean would show only it.

use super::measure::{Element, MASSIVE_LEAST, MASSIVE_TIMES, OUTLIER_DEVIATIONS, median};
use super::origin::{Origin, Parts, Which};
use super::part::Part;
use super::run::{Addition, Cell, Run, TokenRow, without_layer};
use super::stream::Stack;
use super::units::UnitCounts;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Massive activations that are named for one layer.
const MOST_MASSIVE: usize = 16;

/// Some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Spread {
    /// The smallest.
    pub min: f32,
    /// The middle.
    pub median: f32,
    /// The largest.
    pub max: f32,
}

impl StateSummary {
    /// The largest share of the parts of a kind.
    pub fn share(&self, is: fn(Part) -> bool) -> Option<f32> {
        self.added.iter().filter(|a| is(a.origin.part)).filter_map(|a| a.share).reduce(f32::max)
    }
}

impl Spread {
    /// Of numbers; `None` without any.
    pub(super) fn of(numbers: impl Iterator<Item = f32> + Clone) -> Option<Spread> {
        let median = median(numbers.clone())?;
        let (min, max) =
            numbers.filter(|n| !n.is_nan()).fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), n| (a.min(n), b.max(n)));
        Some(Spread { min, median, max })
    }
}

/// An element of the hidden state that is massive for some tokens.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Massive {
    /// Its index; null if only statistics were recorded.
    pub at: Option<u32>,
    /// Tokens for which it is.
    pub tokens: u64,
    /// The largest of its values.
    pub largest: f32,
    /// The token that has it.
    pub token: u64,
}

/// What one part adds in one layer: medians over tokens.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PartSummary {
    /// What it is.
    #[serde(flatten)]
    pub origin: Origin,
    /// Tokens.
    pub tokens: u64,
    /// Norm of what it adds; null if that is finite for no token.
    pub norm: Option<f32>,
    /// That norm by the norm of the stream before; null if both are known of no token.
    pub share: Option<f32>,
    /// Cosine with the stream before.
    pub cosine: Option<f32>,
}

/// What one norm changes: medians over tokens.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct NormSummary {
    /// Its output.
    pub tensor: String,
    /// Root mean square of what goes in; null if that is finite for no token.
    pub rms_in: Option<f32>,
    /// Root mean square of what comes out; null if that is finite for no token.
    pub rms_out: Option<f32>,
    /// Cosine between both.
    pub cosine: Option<f32>,
}

/// The end of a layer, over all tokens.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct StateSummary {
    /// The layer; null for what goes into the first.
    pub layer: Option<u32>,
    /// The stack of an encoder-decoder model that it is of; absent for other models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<Stack>,
    /// The tensor.
    pub tensor: String,
    /// Tokens whose hidden state is known here. In the last layer only those with an output row go on.
    pub tokens: u64,
    /// Norms; null, as are mean, root mean square and largest, if no state has a finite element.
    pub norm: Option<Spread>,
    /// Median of the means.
    pub mean: Option<f32>,
    /// Median of the root mean squares.
    pub rms: Option<f32>,
    /// The element of the largest magnitude of any token, with how many tokens have their largest there.
    pub largest: Option<Massive>,
    /// Outliers of all tokens; null if only statistics were recorded.
    pub outliers: Option<u64>,
    /// Massive activations by element, those of most tokens first, up to 16.
    pub massive: Vec<Massive>,
    /// Massive activations of all tokens; null if only statistics were recorded.
    pub massive_count: Option<u64>,
    /// Tokens that have one; null if only statistics were recorded.
    pub massive_tokens: Option<u64>,
    /// Elements that are NaN, of all tokens.
    pub nan: u64,
    /// Elements that are infinite, of all tokens.
    pub inf: u64,
    /// Median cosine with what entered the layer.
    pub cosine: Option<f32>,
    /// What was added.
    pub added: Vec<PartSummary>,
    /// What norms change.
    pub normed: Vec<NormSummary>,
    /// Elements of the hidden state that do nothing.
    pub elements: Option<UnitCounts>,
    /// Hidden units of the feed-forward network that do nothing; null if they were not captured.
    pub units: Option<UnitCounts>,
}

/// Something that was lost.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Lost {
    /// What.
    pub what: String,
    /// How often.
    pub times: u64,
}

/// What counts as an outlier and as massive.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Rules {
    /// Standard deviations from the mean.
    pub outlier_deviations: f64,
    /// Least magnitude of a massive activation.
    pub massive_least: f32,
    /// Least multiple of the median magnitude.
    pub massive_times: f32,
}

/// Hidden states through all layers.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Layers {
    /// The context that computed the tokens: `/sessions/{id}` says which model that is.
    pub context: u32,
    /// The other contexts of the recording that compute layers.
    pub other_contexts: Vec<u32>,
    /// Elements of a hidden state.
    pub n_embd: usize,
    /// Tokens that were looked at.
    pub tokens: u64,
    /// Those of them of which a hidden state was captured.
    pub with_states: u64,
    /// What goes into the first layer, then each layer.
    pub layers: Vec<StateSummary>,
    /// Mean cosine between any two of `layers`, over tokens.
    pub similarity: Vec<Vec<Option<f32>>>,
    /// What counts as what.
    pub rules: Rules,
    /// Names of tensors that would say more and that nobody asked for, with `*` for the layer.
    pub missing: Vec<String>,
    /// The layers that were captured, as `0-3,7`; null if none were left out.
    pub captured_layers: Option<String>,
    /// What was lost.
    pub lost: Vec<Lost>,
}

/// Sums up a run.
pub fn layers(run: &Run) -> Layers {
    let layer = |(i, (&layer, name)): (usize, (&Option<u32>, &String))| {
        let cells: Vec<(&TokenRow, &Cell)> =
            run.tokens.iter().filter_map(|t| Some((t, t.cells.get(i)?.as_ref()?))).collect();
        StateSummary {
            elements: run.elements.get(i).cloned().flatten(),
            units: run.units.get(i).cloned().flatten(),
            stack: run.stacks.get(i).copied().flatten(),
            ..of_cells(layer, name, &cells)
        }
    };
    Layers {
        context: run.context,
        other_contexts: run.other_contexts.clone(),
        n_embd: run.n_embd,
        tokens: run.tokens.len() as u64,
        with_states: run.tokens.iter().filter(|t| t.cells.iter().any(Option::is_some)).count() as u64,
        layers: run.places.iter().zip(&run.names).enumerate().map(layer).collect(),
        similarity: run.similarity.clone(),
        rules: Rules {
            outlier_deviations: OUTLIER_DEVIATIONS,
            massive_least: MASSIVE_LEAST,
            massive_times: MASSIVE_TIMES,
        },
        missing: run.missing.clone(),
        captured_layers: run.captured_layers.as_ref().map(ToString::to_string),
        lost: run.lost.iter().map(|(what, times)| Lost { what: what.clone(), times: *times }).collect(),
    }
}

fn of_cells(layer: Option<u32>, name: &str, cells: &[(&TokenRow, &Cell)]) -> StateSummary {
    let of = |f: fn(&Cell) -> Option<f32>| cells.iter().filter_map(move |(_, c)| f(c));
    let sum = |f: fn(&Cell) -> u32| cells.iter().map(|(_, c)| u64::from(f(c))).sum();
    let largest = (cells.iter().filter_map(|(t, c)| Some((t.token, c.hidden.largest?))))
        .max_by(|a, b| a.1.value.abs().total_cmp(&b.1.value.abs()));
    let have_it_at = |at| cells.iter().filter(|(_, c)| c.hidden.largest.is_some_and(|l| l.at == at)).count() as u64;
    let massive = massive(cells);
    let looked_at = || cells.iter().filter_map(|(_, c)| c.hidden.massive.as_ref());
    let of_massive = |f: fn(&Vec<Element>) -> usize| looked_at().map(|m| f(m) as u64).reduce(|a, b| a + b);
    StateSummary {
        layer,
        stack: None,
        tensor: if layer.is_some() { without_layer(name, "") } else { name.to_owned() },
        tokens: cells.len() as u64,
        norm: Spread::of(of(|c| c.hidden.norm)),
        mean: median(of(|c| c.hidden.mean)),
        rms: median(of(|c| c.hidden.rms)),
        largest: largest.map(|(token, Element { at, value })| Massive {
            at,
            tokens: have_it_at(at),
            largest: value,
            token,
        }),
        outliers: cells.iter().filter_map(|(_, c)| c.hidden.outliers).map(u64::from).reduce(|a, b| a + b),
        massive_count: of_massive(Vec::len),
        massive_tokens: of_massive(|m| usize::from(!m.is_empty())),
        massive: massive.into_iter().take(MOST_MASSIVE).collect(),
        nan: sum(|c| c.hidden.nan),
        inf: sum(|c| c.hidden.inf),
        cosine: median(cells.iter().filter_map(|(_, c)| c.cosine)),
        added: added(cells),
        normed: normed(cells),
        elements: None,
        units: None,
    }
}

/// Massive activations by element, those of most tokens first.
fn massive(cells: &[(&TokenRow, &Cell)]) -> Vec<Massive> {
    let mut of: BTreeMap<Option<u32>, Massive> = BTreeMap::new();
    for (token, cell) in cells {
        for &Element { at, value } in cell.hidden.massive.iter().flatten() {
            let found = of.entry(at).or_insert(Massive { at, tokens: 0, largest: 0.0, token: token.token });
            found.tokens += 1;
            if value.abs() > found.largest.abs() {
                (found.largest, found.token) = (value, token.token);
            }
        }
    }
    let mut all: Vec<Massive> = of.into_values().collect();
    all.sort_by(|a, b| b.tokens.cmp(&a.tokens).then(b.largest.abs().total_cmp(&a.largest.abs())));
    all
}

fn added(cells: &[(&TokenRow, &Cell)]) -> Vec<PartSummary> {
    let parts = Parts::of(cells.iter().map(|(_, cell)| cell.added.iter().map(|a| &a.origin).collect()));
    let mut found: Vec<Vec<&Addition>> = vec![vec![]; parts.all.len()];
    for (_, cell) in cells {
        let added: Vec<&Arc<Origin>> = cell.added.iter().map(|a| &a.origin).collect();
        for (which, addition) in parts.numbered(&added).iter().zip(&cell.added) {
            let at = parts.all.iter().position(|of| of == which);
            at.into_iter().for_each(|at| found[at].push(addition));
        }
    }
    let of = |((origin, _), found): (&Which, &Vec<&Addition>)| PartSummary {
        origin: origin.as_ref().clone(),
        tokens: found.len() as u64,
        norm: median(found.iter().filter_map(|a| a.norm)),
        share: median(found.iter().filter_map(|a| a.share)),
        cosine: median(found.iter().filter_map(|a| a.cosine)),
    };
    parts.all.iter().zip(&found).map(of).collect()
}

fn normed(cells: &[(&TokenRow, &Cell)]) -> Vec<NormSummary> {
    let mut names: Vec<&str> = vec![];
    for norm in cells.iter().flat_map(|(_, c)| &c.normed) {
        if !names.contains(&norm.tensor.as_str()) {
            names.push(&norm.tensor);
        }
    }
    let of = |name: &str| {
        let found = || cells.iter().filter_map(move |(_, c)| c.normed.iter().find(|n| n.tensor == name));
        NormSummary {
            tensor: name.to_owned(),
            rms_in: median(found().filter_map(|n| n.rms_in)),
            rms_out: median(found().filter_map(|n| n.rms_out)),
            cosine: median(found().filter_map(|n| n.cosine)),
        }
    };
    names.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::origin::AdapterMatrix;
    use super::super::run::run;
    use super::super::testing::{statistics, values};
    use super::*;
    use ggscope_format::capture::{Capture, Ranges};
    use ggscope_query::dump::Phase;
    use ggscope_trace::Trace;

    const NAN_FROM_LAYER_1: [(&str, f32); 6] = [
        ("embd", 1.0),
        ("ffn_inp-0", 2.0),
        ("l_out-0", 3.0),
        ("ffn_inp-1", f32::NAN),
        ("l_out-1", f32::NAN),
        ("attn_norm-2", f32::NAN),
    ];

    fn of(trace: &Trace) -> Layers {
        layers(&run(trace, None, None).unwrap())
    }

    #[test]
    fn a_layer_in_which_nothing_is_finite_has_no_numbers_but_the_count_of_it() {
        let recorded = values(Capture::named(["layers"]), &NAN_FROM_LAYER_1);
        let all = of(&recorded.trace);
        let (first, nan) = (&all.layers[1], &all.layers[2]);
        assert_eq!((first.norm.map(|n| n.median), first.nan), (Some(72.0), 0));
        assert_eq!(first.added.iter().map(|a| a.share).collect::<Vec<_>>(), [Some(1.0), Some(0.5)]);
        assert_eq!((first.outliers, first.massive_count, first.massive_tokens), (Some(0), Some(0), Some(0)));
        assert_eq!((nan.layer, nan.tokens, nan.nan), (Some(1), 3, 3 * 576));
        assert_eq!((nan.norm, nan.mean, nan.rms, &nan.largest), (None, None, None, &None));
        assert_eq!((nan.cosine, nan.outliers, nan.massive_count), (None, None, None));
        assert!(nan.added.iter().all(|a| (a.norm, a.share, a.cosine) == (None, None, None)), "{:?}", nan.added);
        assert_eq!((all.similarity[1][1], all.similarity[2][2]), (Some(1.0), None));
    }

    #[test]
    fn statistics_without_a_finite_element_are_no_numbers_either() {
        let all = of(&statistics(&NAN_FROM_LAYER_1).trace);
        let (first, nan) = (&all.layers[1], &all.layers[2]);
        assert_eq!((first.norm.map(|n| n.median), first.mean), (Some(72.0), Some(3.0)));
        assert_eq!((first.massive_count, first.massive_tokens, first.outliers), (None, None, None), "they need values");
        assert_eq!((nan.norm, nan.mean, nan.rms, &nan.largest, nan.nan), (None, None, None, &None, 3 * 576));
        let normed: Vec<_> = all.layers[3].normed.iter().map(|n| (n.rms_in, n.rms_out)).collect();
        assert!(normed.iter().all(|n| *n == (None, None)), "{normed:?}");
    }

    #[test]
    fn what_adapters_add_is_summed_up_by_adapter_and_matrix() {
        let origin = |part, matrix: &str, address: Option<u64>| {
            let tensor = format!("{matrix}.lora_a");
            let adapter = address.map(|at| AdapterMatrix { tensor, buffer: Some(at as u32), address: Some(at) });
            Arc::new(Origin { part, matrix: Some(matrix.into()), adapter, tensor: None })
        };
        let attention = origin(Part::Attention, "o", None);
        let [first, second, down] =
            [("o", 1), ("o", 2), ("down", 2)].map(|(matrix, at)| origin(Part::Adapter, matrix, Some(at)));
        let cell = |added: &[(&Arc<Origin>, f32)]| Cell {
            added: (added.iter())
                .map(|&(origin, norm)| Addition {
                    origin: origin.clone(),
                    norm: Some(norm),
                    share: Some(norm / 2.0),
                    cosine: None,
                })
                .collect(),
            ..Cell::default()
        };
        let of_tokens = [
            cell(&[(&attention, 1.0)]),
            cell(&[(&attention, 1.0), (&second, 20.0), (&down, 300.0)]),
            cell(&[(&attention, 1.0), (&second, 20.0), (&first, 4.0), (&down, 300.0)]),
            cell(&[(&attention, 1.0), (&second, 20.0), (&down, 300.0)]),
        ];
        let token = TokenRow { token: 0, id: None, text: None, eval: 0, phase: Phase::Prompt, cells: vec![] };
        let cells: Vec<_> = of_tokens.iter().map(|cell| (&token, cell)).collect();
        let found = added(&cells);
        let found: Vec<_> = found.iter().map(|part| (&part.origin, part.tokens, part.norm, part.share)).collect();
        let expected = [(&attention, 4, 1.0), (&second, 3, 20.0), (&first, 1, 4.0), (&down, 3, 300.0)]
            .map(|(origin, tokens, norm)| (origin.as_ref(), tokens, Some(norm), Some(norm / 2.0)));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_layer_that_was_left_out_is_no_name_that_was_not_asked_for() {
        let layers = Ranges::parse("1").unwrap();
        let recorded = values(Capture { layers, ..Capture::named(["layers"]) }, &[("l_out-1", 1.0)]);
        let all = of(&recorded.trace);
        assert_eq!((all.tokens, all.with_states), (3, 3));
        assert_eq!(all.captured_layers.as_deref(), Some("1"));
        assert_eq!(all.missing, ["ffn_gate-*", "ffn_swiglu-*"]);
        let recorded = values(Capture::named(["l_out-*"]), &[("l_out-2", 1.0)]);
        let all = of(&recorded.trace);
        assert_eq!((all.tokens, all.with_states), (3, 1), "only the last one goes through the last layer");
        assert_eq!((all.captured_layers, all.missing.contains(&"ffn_inp-*".to_owned())), (None, true));
    }
}
