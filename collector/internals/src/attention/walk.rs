//! The attention of a whole recording in one pass: caches are kept as the run had them and moved on evaluation by
//! evaluation, and every captured value is read once. Memory is that of the caches and of a few tiles of scores, however
//! long the recording is.

use crate::arrivals::Arrivals;
use crate::attention::cache_rows::Rows;
use crate::attention::error::{AttentionError, captured};
use crate::attention::evaluated::{AttentionEvaluation, Each};
use crate::attention::layer::{Caches, Lacks, LayerState, Whole};
use crate::attention::limits::left_out;
use crate::attention::on_gpu::{Marker, OnGpu};
use crate::attention::owners::Owners;
use crate::attention::plan::{CacheKey, Plan, Source};
use crate::attention::row::{Span, TokenRow, Walked};
use crate::attention::tile::MeasuredHeads;
use crate::attention::transposed::{put_told, put_written};
use ggscope_compute::Compute;
use ggscope_format::GraphId;
use ggscope_format::capture::{Capture, CaptureChange, Set};
use ggscope_format::columns::Row;
use ggscope_format::record::Value;
use ggscope_query::GraphView;
use ggscope_query::causes::Causes;
use ggscope_query::values::Stretches;
use ggscope_trace::{Select, Trace};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;

/// Graphs whose plans are kept.
const KEPT: usize = 256;

/// Calls `f` for every token of the span and every layer, evaluation by evaluation and layer by layer, until it breaks.
///
/// # Errors
/// When the trace has no captures of attention. What was lost is in the result.
pub fn for_each_row(
    trace: &Trace,
    span: &Span,
    mut f: impl FnMut(&TokenRow<'_>) -> ControlFlow<()>,
) -> Result<Walked, AttentionError> {
    walk(trace, span, Walker::new(span.layers.clone()), None, |row, _| f(row))
}

/// The same, computed on a device.
///
/// # Errors
/// As [`for_each_row`], and when a GPU that was asked for fails.
pub fn for_each_row_on(
    trace: &Trace,
    span: &Span,
    device: &Arc<Compute>,
    mut f: impl FnMut(&TokenRow<'_>) -> ControlFlow<()>,
) -> Result<Walked, AttentionError> {
    walk(trace, span, Walker::new(span.layers.clone()).on(device), None, |row, _| f(row))
}

/// The same with what a GPU measured of a row, given what keys are to a token.
pub(crate) fn for_each_look(
    trace: &Trace,
    span: &Span,
    device: &Arc<Compute>,
    marker: &Marker<'_>,
    f: impl FnMut(&TokenRow<'_>, Option<&MeasuredHeads>) -> ControlFlow<()>,
) -> Result<Walked, AttentionError> {
    walk(trace, span, Walker::new(span.layers.clone()).on(device), Some(marker), f)
}

fn walk(
    trace: &Trace,
    span: &Span,
    mut walker: Walker,
    marker: Option<&Marker<'_>>,
    mut f: impl Each,
) -> Result<Walked, AttentionError> {
    captured(trace)?;
    trace.for_each_evaluation(&Select::default(), false, |row| {
        if row.first_token >= span.tokens.end {
            return ControlFlow::Break(());
        }
        // Another scheduler of the same program may have filled the cache that is looked at: evaluations of others move
        // caches on, too.
        let is_wanted = span.context.is_none_or(|context| context == row.evaluation.context);
        match walker.move_on(trace, &row).filter(|_| is_wanted) {
            Some(plan) => walker.compute(trace, &plan, &row, &span.tokens, marker, &mut f),
            None => ControlFlow::Continue(()),
        }
    });
    walker.on_gpu.and_then(|on_gpu| on_gpu.failed).map_or(Ok(walker.walked), |error| Err(error.into()))
}

/// The state of all caches after an evaluation. Of one recording, evaluations are to be given in the order of the file.
#[derive(Default)]
pub struct Walker {
    layers: Option<RangeInclusive<u32>>,
    plans: Plans,
    arrivals: Arrivals,
    caches: Caches,
    whole: Whole,
    /// Transposed caches that are told themselves where the program changes them.
    told: HashSet<CacheKey>,
    walked: Walked,
    on_gpu: Option<OnGpu>,
    values: bool,
    /// What was captured, as it was known when the file had so many bytes.
    captures: (u64, Vec<CaptureChange>),
    /// What the trace knew of what it lacks when the file had so many bytes.
    causes: Option<(u64, Arc<Causes>)>,
}

#[derive(Default)]
struct Plans(HashMap<GraphId, Option<Arc<Plan>>>);

/// Which layers are wanted, and whether what they weigh is.
type WantedLayers<'a> = (Option<&'a RangeInclusive<u32>>, bool);

impl Plans {
    fn of(&mut self, trace: &Trace, graph: GraphId, wanted: WantedLayers<'_>) -> Option<Arc<Plan>> {
        if self.0.len() >= KEPT && !self.0.contains_key(&graph) {
            self.0.clear();
        }
        let plan = || match trace.graph(graph) {
            Ok(stored) => Some(Arc::new(Plan::of(&GraphView::new(stored), wanted.0, wanted.1))),
            Err(error) => {
                trace.warn(format!("attention is left out: {error}"));
                None
            }
        };
        self.0.entry(graph).or_insert_with(plan).clone()
    }
}

impl Walker {
    /// Before the first evaluation. Of other layers than these nothing is kept.
    pub fn new(layers: Option<RangeInclusive<u32>>) -> Walker {
        Walker { layers, ..Walker::default() }
    }

    /// The same, computed on a device.
    fn on(self, device: &Arc<Compute>) -> Walker {
        Walker { on_gpu: Some(OnGpu::new(device.clone())), ..self }
    }

    /// The same, keeping what attention weighs as well.
    pub(crate) fn with_values(layers: Option<RangeInclusive<u32>>) -> Walker {
        Walker { layers, values: true, ..Walker::default() }
    }

    /// What was computed so far, and what could not be.
    pub fn walked(&self) -> &Walked {
        &self.walked
    }

    /// Moves on to an evaluation, and calls `f` for those of its tokens that are wanted, until it breaks.
    pub fn advance(
        &mut self,
        trace: &Trace,
        row: &Row,
        tokens: &Range<u64>,
        mut f: impl FnMut(&TokenRow<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self.move_on(trace, row) {
            Some(plan) => {
                self.compute(trace, &plan, row, tokens, None, &mut |row: &TokenRow<'_>, _: Option<&MeasuredHeads>| {
                    f(row)
                })
            }
            None => ControlFlow::Continue(()),
        }
    }

    /// The same for the evaluation that was moved on to last, once more.
    pub fn again(
        &mut self,
        trace: &Trace,
        row: &Row,
        tokens: &Range<u64>,
        mut f: impl FnMut(&TokenRow<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self.plan(trace, row.evaluation.graph) {
            Some(plan) => {
                self.compute(trace, &plan, row, tokens, None, &mut |row: &TokenRow<'_>, _: Option<&MeasuredHeads>| {
                    f(row)
                })
            }
            None => ControlFlow::Continue(()),
        }
    }

    /// About how many bytes its caches take: of what one evaluation needs, little is kept.
    pub fn bytes(&self) -> usize {
        let rows: usize = self.caches.rows.values().flatten().map(Rows::bytes).sum();
        let owners: usize = self.caches.owners.values().map(Owners::bytes).sum();
        rows + owners
    }

    fn compute(
        &mut self,
        trace: &Trace,
        plan: &Plan,
        row: &Row,
        tokens: &Range<u64>,
        marker: Option<&Marker<'_>>,
        f: &mut impl Each,
    ) -> ControlFlow<()> {
        let n_tokens = row.evaluation.n_tokens as usize;
        let at = |token: u64| (token.max(row.first_token) - row.first_token).min(n_tokens as u64) as usize;
        let wanted = at(tokens.start)..at(tokens.end);
        if wanted.is_empty() || plan.layers.is_empty() {
            return ControlFlow::Continue(());
        }
        if self.whole.is_empty() && !self.is_captured(trace, row) {
            self.walked.uncaptured += (wanted.len() * plan.layers.len()) as u64;
            return ControlFlow::Continue(());
        }
        let capture = self.capture_of(trace, row).cloned();
        let causes = self.causes(trace);
        let mut evaluated =
            AttentionEvaluation::new((row, causes.clone()), &mut self.walked, self.on_gpu.as_mut(), marker);
        let mut flow = ControlFlow::Continue(());
        for (layer, planned) in &plan.layers {
            let found = planned.as_ref().map_err(Lacks::from);
            let found = found.and_then(|p| LayerState::new(p, n_tokens, &self.whole, &self.caches));
            flow = match found {
                Ok(found) => evaluated.layer(found, &wanted, f),
                Err(why) => {
                    let n = wanted.len() as u64;
                    if capture.as_ref().is_some_and(|capture| !capture.layers.has(u64::from(*layer))) {
                        evaluated.leave_out(n);
                    } else {
                        let limit = capture.as_ref().and_then(|c| left_out(c, row, *layer, plan.n_head(*layer)));
                        evaluated.refuse(*layer, limit.unwrap_or_else(|| why.said(&causes, row)), n);
                    }
                    ControlFlow::Continue(())
                }
            };
            if flow.is_break() {
                break;
            }
        }
        if flow.is_continue() {
            flow = evaluated.hand_on(f);
        }
        if evaluated.computed() {
            self.walked.tokens += wanted.len() as u64;
        }
        flow
    }

    /// What the trace knows of what it lacks.
    fn causes(&mut self, trace: &Trace) -> Arc<Causes> {
        let now = trace.totals().file_bytes;
        match &self.causes {
            Some((then, causes)) if *then == now => causes.clone(),
            _ => self.causes.insert((now, Arc::new(Causes::of(trace)))).1.clone(),
        }
    }

    /// What was to be captured of an evaluation, as far as it is known.
    fn capture_of(&mut self, trace: &Trace, row: &Row) -> Option<&Capture> {
        if self.captures.0 != trace.totals().file_bytes || self.captures.1.is_empty() {
            self.captures = (trace.totals().file_bytes, trace.captures());
        }
        let change = self.captures.1.iter().rfind(|change| change.from <= row.evaluation.eval);
        change.map(|change| &change.capture)
    }

    /// Whether all attention of an evaluation was to be captured.
    fn is_captured(&mut self, trace: &Trace, row: &Row) -> bool {
        let last = row.first_token + u64::from(row.evaluation.n_tokens).saturating_sub(1);
        self.capture_of(trace, row).is_none_or(|capture| {
            let is_limited = capture.every > 1 || capture.budget.is_some();
            capture.has(Set::Attention) && !is_limited && capture.tokens.has_any(row.first_token..=last)
        })
    }

    /// A layer of the evaluation that was moved on to last.
    ///
    /// # Errors
    /// Says what is missing.
    pub(crate) fn layer<'a>(
        &'a self,
        plan: &'a Plan,
        layer: u32,
        n_tokens: usize,
    ) -> Option<Result<LayerState<'a>, Lacks>> {
        let (_, planned) = plan.layers.iter().find(|(number, _)| *number == layer)?;
        let planned = planned.as_ref().map_err(Lacks::from);
        Some(planned.and_then(|p| LayerState::new(p, n_tokens, &self.whole, &self.caches)))
    }

    /// What a layer of that evaluation weighs.
    ///
    /// # Errors
    /// Says why it is not known.
    pub(crate) fn values_of<'a>(&'a self, layer: &LayerState<'a>) -> Result<Cow<'a, Rows>, Lacks> {
        layer.values(&self.whole, &self.caches)
    }

    /// The plan of a graph, unless it cannot be read.
    pub(crate) fn plan(&mut self, trace: &Trace, graph: GraphId) -> Option<Arc<Plan>> {
        self.plans.of(trace, graph, (self.layers.as_ref(), self.values))
    }

    /// Takes what was captured up to an evaluation. `None` if its graph cannot be read.
    pub(crate) fn move_on(&mut self, trace: &Trace, row: &Row) -> Option<Arc<Plan>> {
        let Walker { plans, arrivals, .. } = self;
        let (eval, wanted) = (row.evaluation.eval, (self.layers.as_ref(), self.values));
        let plan = plans.of(trace, row.evaluation.graph, wanted)?;
        let values = arrivals.up_to(trace, eval, plan.context, |value| {
            let plan = plans.of(trace, value.graph, wanted)?;
            let is_wanted = plan.caches.contains_key(&value.tensor)
                || plan.transposed.contains(&value.tensor)
                || plan.places.contains_key(&value.tensor)
                || plan.whole.contains(&value.tensor);
            is_wanted.then_some(plan.context)
        });
        let (own, earlier): (Vec<Value>, Vec<Value>) = values.into_iter().partition(|value| value.eval == eval);
        // Of evaluations that were lost themselves.
        for values in earlier.chunk_by(|a, b| a.eval == b.eval) {
            if let Some(plan) = self.plans.of(trace, values[0].graph, (self.layers.as_ref(), self.values)) {
                self.take(&plan, values.to_vec(), None);
            }
        }
        self.take(&plan, own, Some(row.first_token));
        Some(plan)
    }

    /// Takes the values of one evaluation, whose tokens are counted from `first_token` on if that is known.
    fn take(&mut self, plan: &Plan, values: Vec<Value>, first_token: Option<u64>) {
        let Walker { caches, whole, told, .. } = self;
        let mut transposed = Whole::new();
        whole.clear();
        for (key, shape) in plan.shapes() {
            let all = caches.rows.entry(key).or_default();
            if all.iter().all(|rows| rows.shape != shape) {
                all.extend(Rows::new(shape));
            }
            all.iter_mut().for_each(Rows::begin);
        }
        let key_caches = || plan.places.values().flatten();
        key_caches().for_each(|key| caches.owners.entry(*key).or_default().begin());
        let mut placed: HashMap<CacheKey, Vec<u64>> = HashMap::new();
        for value in values {
            if let Some(key) = plan.caches.get(&value.tensor) {
                let all = caches.rows.get_mut(key).into_iter().flatten();
                all.for_each(|rows| rows.take(value.offset, &value.bytes));
            }
            if let Some(keys) = plan.places.get(&value.tensor) {
                // No release that has the operator writes other places than `i64`.
                let places = value.bytes.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b));
                for (i, place) in (value.offset / 8..).zip(places) {
                    let token = first_token.and_then(|first| first.checked_add(i));
                    for key in keys {
                        caches.owners.entry(*key).or_default().place(place, token);
                        placed.entry(*key).or_default().push(place);
                    }
                }
            }
            if plan.whole.contains(&value.tensor) {
                whole.entry(value.tensor).or_default().add(value);
            } else if plan.transposed.contains(&value.tensor) {
                transposed.entry(value.tensor).or_default().add(value);
            }
        }
        let mut ended: HashMap<CacheKey, Vec<u64>> = HashMap::new();
        for key in key_caches().filter(|key| !placed.contains_key(key)).copied().collect::<Vec<_>>() {
            placed.insert(key, vec![]);
        }
        for key in placed.keys() {
            let told = caches.rows.get(key).and_then(|all| all.first()).map_or(&[][..], Rows::told);
            ended.insert(*key, caches.owners.entry(*key).or_default().end(told));
        }
        for (_, layer) in &plan.layers {
            if let Ok(layer) = layer
                && let (Source::Cache(k), Some(Ok(values))) = (layer.k_source, &layer.values)
                && let (Source::Cache(v), Some(written)) = (values.source, values.written)
            {
                let all = caches.rows.get_mut(&v).into_iter().flatten();
                let Some(rows) = all.into_iter().find(|rows| rows.shape == values.shape) else { continue };
                match transposed.get(&values.look.root) {
                    Some(stretches) => {
                        told.insert(v);
                        put_told(rows, &values.look, stretches);
                    }
                    // Of those that are, what is not told again is as it was, as values are after a context shift.
                    None if told.contains(&v) => {}
                    None => ended.get(&k).into_iter().flatten().for_each(|&row| rows.forget(row)),
                }
                let bytes = whole.get(&written).and_then(Stretches::whole).unwrap_or_default();
                put_written(rows, bytes, placed.get(&k).map_or(&[], Vec::as_slice));
            }
        }
        if first_token.is_none() {
            whole.clear();
        }
    }
}
