//! What a filter lets through, as evaluations and places: an execution is wanted if its evaluation and its place in the
//! layout are. Only a filter by time has to look at single executions.

use super::plan::{Layout, NONE};
use super::{BLOCK, Header, Piece, Table};
use crate::filter::{Filter, Memory, Phase};
use ggscope_trace::Trace;
use globset::GlobMatcher;

/// Places of a layout with their columns.
pub(crate) type Columns = Vec<(u32, u32)>;

/// Evaluations and places that a filter lets through.
pub(crate) struct Selection<'t> {
    /// The trace.
    pub trace: &'t Trace,
    /// Its table.
    pub table: &'t Table,
    /// The filter.
    pub filter: &'t Filter,
    /// Ordinals of wanted evaluations by layout, ascending.
    evaluations: Vec<Vec<u32>>,
    /// Wanted places by layout, ascending; empty for a layout without a wanted evaluation.
    places: Vec<Vec<u32>>,
    /// Whether each evaluation is wanted.
    takes: Vec<bool>,
}

/// What a glob says of each text, asked once.
struct Globbed<'a> {
    glob: Option<&'a GlobMatcher>,
    known: Vec<Option<bool>>,
}

impl Globbed<'_> {
    fn takes(&mut self, table: &Table, text: u32) -> bool {
        let Some(glob) = self.glob else { return true };
        let Some(known) = self.known.get_mut(text as usize) else { return false };
        *known.get_or_insert_with(|| glob.is_match(table.text(text)))
    }
}

impl<'t> Selection<'t> {
    /// Works out what `filter` lets through whatever its time.
    pub fn new(trace: &'t Trace, table: &'t Table, filter: &'t Filter) -> Selection<'t> {
        Selection::among(trace, table, filter, |_| true)
    }

    /// The same among the evaluations that `wanted` says.
    pub fn among(
        trace: &'t Trace,
        table: &'t Table,
        filter: &'t Filter,
        wanted: impl Fn(&Header) -> bool,
    ) -> Selection<'t> {
        let layouts = table.plans().layouts();
        let mut evaluations = vec![vec![]; layouts.len()];
        let mut takes = vec![false; table.len()];
        for (seq, header) in table.headers(0) {
            let Some(plan) = table.plan(header) else { continue };
            if wanted(header) && header.choose(filter).is_some() {
                evaluations[plan.layout as usize].push(seq as u32);
                takes[seq] = true;
            }
        }
        let n_texts = table.plans().texts().len();
        let globbed = |glob: &'t Option<GlobMatcher>| Globbed { glob: glob.as_ref(), known: vec![None; n_texts] };
        let (mut ops, mut names) = (globbed(&filter.op), globbed(&filter.name));
        let tensor = filter.tensor.as_ref().map(|name| table.plans().text_number(name));
        let places = layouts.iter().zip(&evaluations).map(|(layout, evaluations)| {
            let all = 0..if evaluations.is_empty() { 0 } else { layout.len() as u32 };
            let taken = all.filter(|&place| {
                let i = place as usize;
                takes_place(filter, layout, i)
                    && tensor
                        .is_none_or(|t| t.is_some_and(|t| layout.name[i] == t || layout.sources_of(i).contains(&t)))
                    && ops.takes(table, layout.op[i])
                    && names.takes(table, layout.name[i])
            });
            taken.collect()
        });
        let places = places.collect();
        Selection { trace, table, filter, evaluations, places, takes }
    }

    /// The layouts of which something is wanted.
    pub fn layouts(&self) -> impl Iterator<Item = (u32, &'t Layout)> {
        let of = |number: usize| (!self.places[number].is_empty()).then(|| self.table.layout(number as u32));
        (0..self.places.len()).filter_map(move |number| Some((number as u32, of(number)?)))
    }

    /// Ordinals of the wanted evaluations of a layout, ascending.
    pub fn evaluations(&self, layout: u32) -> &[u32] {
        &self.evaluations[layout as usize]
    }

    /// Ordinals of all wanted evaluations with executed operators, ascending.
    pub fn all_evaluations(&self) -> impl Iterator<Item = usize> {
        self.takes.iter().enumerate().filter(|(_, taken)| **taken).map(|(seq, _)| seq)
    }

    /// The wanted places of a layout, ascending.
    pub fn places(&self, layout: u32) -> &[u32] {
        &self.places[layout as usize]
    }

    /// Number and phase of the first token of an evaluation that the filter lets through.
    pub fn token(&self, seq: usize) -> (Option<u64>, Phase) {
        let chosen = self.table.header(seq).and_then(|h| h.choose(self.filter));
        chosen.unwrap_or((None, Phase::Prompt))
    }

    /// The wanted places of a layout with a time of their own.
    pub fn columns(&self, layout: u32) -> Columns {
        self.columns_among(layout, self.places(layout))
    }

    /// Those of `places` with a time of their own.
    pub fn columns_among(&self, layout: u32, places: &[u32]) -> Columns {
        let columns = &self.table.layout(layout).column;
        let column = |&place: &u32| Some((place, columns[place as usize])).filter(|c| c.1 != NONE);
        places.iter().filter_map(column).collect()
    }

    /// Calls `f` with the times of all wanted evaluations and places, whether the filter lets these times through or
    /// not, and `untimed` with layout and ordinal of evaluations whose times are damaged.
    pub fn scan(&self, f: impl FnMut(&Piece<'_>), untimed: impl FnMut(u32, u32)) {
        let columns: Vec<Columns> = (0..self.places.len()).map(|layout| self.columns(layout as u32)).collect();
        self.scan_columns(|layout| Some(&columns[layout as usize]), f, untimed);
    }

    /// The same for the columns that `wanted` says, by layout.
    pub fn scan_columns<'c>(
        &self,
        wanted: impl Fn(u32) -> Option<&'c [(u32, u32)]>,
        mut f: impl FnMut(&Piece<'_>),
        mut untimed: impl FnMut(u32, u32),
    ) {
        for (block, takes) in self.takes.chunks(BLOCK).enumerate() {
            if !takes.contains(&true) {
                continue;
            }
            let times = self.table.times_of(self.trace, block, false);
            let taken = |seq: u32| self.takes.get(seq as usize) == Some(&true);
            times.pieces(&wanted, taken, &mut f);
            times.untimed(|layout, seqs| seqs.iter().filter(|&&s| taken(s)).for_each(|&s| untimed(layout, s)));
        }
    }
}

/// What a filter says of a place, but for texts.
fn takes_place(filter: &Filter, layout: &Layout, place: usize) -> bool {
    let layer = layout.layer[place];
    filter.layers.is_none_or(|n| layer != NONE && n.contains(u64::from(layer)))
        && filter.node.is_none_or(|node| node == layout.nodes[place])
        && filter.source.is_none_or(|source| match source {
            Memory::Disk => layout.disk[place],
            Memory::Buffer => layout.buffer[place],
        })
}
