//! Attention on a device: tokens become rows, rows that share their keys become groups of which each is a block, and the
//! keys that were there at the last batch stay where they are.

use super::backend::{Arguments, Backend, Buffer, Module, upload, zeros};
use crate::attention::{Batch, Elements, Keys, LayerInputs, Measured, Page, Step, Token, Weights};
use crate::error::Error;
use std::collections::{BTreeMap, HashMap};

/// Rows of a group; known to attention.cu.
const ROWS: usize = 8;
/// Sums of a measured row; known to attention.cu.
const MEASURES: usize = 9;
const NONE: u32 = u32::MAX;

/// The keys that a device has.
pub(crate) struct Resident<B: Backend>(HashMap<u64, Kept<B>>);

struct Kept<B: Backend> {
    memory: B::Memory,
    page_bytes: usize,
    room: usize,
    /// By number of a page: its place, and its stamp.
    places: HashMap<u64, (usize, u64)>,
}

impl<B: Backend> Default for Resident<B> {
    fn default() -> Self {
        Resident(HashMap::new())
    }
}

fn bytes_of<'a>(elements: &Elements<'a>) -> &'a [u8] {
    match *elements {
        Elements::F16(halves) => bytemuck::cast_slice(halves),
        Elements::F32(floats) => bytemuck::cast_slice(floats),
    }
}

/// The pages of some keys that a batch looks at, by their numbers.
#[derive(Default)]
struct PagesOfKeys<'k> {
    again: bool,
    pages: BTreeMap<u64, Page<'k>>,
}

impl<B: Backend> Resident<B> {
    /// Takes all that a batch looks at and that has changed. After that nothing moves until the batch is done.
    fn take(&mut self, device: &B, layers: &[LayerInputs]) -> Result<(), Error> {
        let mut all: BTreeMap<u64, PagesOfKeys<'_>> = BTreeMap::new();
        for keys in layers.iter().map(|layer| &layer.keys) {
            let wanted = all.entry(keys.id).or_default();
            wanted.again = keys.again;
            wanted
                .pages
                .extend((keys.first.0..).zip(&keys.pages).filter_map(|(number, page)| Some((number, (*page)?))));
        }
        for (id, wanted) in all {
            self.take_pages(device, id, &wanted)?;
        }
        Ok(())
    }

    fn take_pages(&mut self, device: &B, id: u64, wanted: &PagesOfKeys<'_>) -> Result<(), Error> {
        let pages = &wanted.pages;
        let page_bytes = pages.values().map(|page| bytes_of(&page.elements).len()).max().unwrap_or(0);
        let fits = |kept: &Kept<B>| {
            let new = pages.keys().filter(|number| !kept.places.contains_key(number)).count();
            kept.page_bytes >= page_bytes && kept.places.len() + new <= kept.room
        };
        let kept = match self.0.remove(&id).filter(fits) {
            Some(kept) => kept,
            None => {
                let room = if wanted.again { (2 * pages.len()).next_power_of_two() } else { pages.len() };
                Kept { memory: device.allocate((room * page_bytes).max(1))?, page_bytes, room, places: HashMap::new() }
            }
        };
        let kept = self.0.entry(id).or_insert(kept);
        let mut changed: Vec<(usize, &[u8])> = vec![];
        for (&number, page) in pages {
            let next = kept.places.len();
            let place = kept.places.entry(number).or_insert((next, 0));
            if place.0 == next || place.1 != page.stamp {
                place.1 = page.stamp;
                changed.push((place.0, bytes_of(&page.elements)));
            }
        }
        changed.sort_unstable_by_key(|(place, _)| *place);
        for together in changed.chunk_by(|a, b| a.0 + 1 == b.0) {
            let bytes: Vec<&[u8]> = together.iter().map(|(_, bytes)| *bytes).collect();
            device.write(&mut kept.memory, together[0].0 * kept.page_bytes, &bytes.concat())?;
        }
        Ok(())
    }

    /// The address of each page, 0 if it is not there.
    fn addresses(&self, device: &B, keys: &Keys) -> Vec<u64> {
        let kept = self.0.get(&keys.id);
        let address = |(number, page): (u64, &Option<Page<'_>>)| {
            let (kept, _) = kept.zip(page.as_ref())?;
            Some(device.address(&kept.memory) + (kept.places.get(&number)?.0 * kept.page_bytes) as u64)
        };
        (keys.first.0..).zip(&keys.pages).map(|page| address(page).unwrap_or(0)).collect()
    }
}

/// What kernels read of groups and rows.
#[derive(Default)]
struct Tables {
    groups: Vec<[u32; 12]>,
    rows: Vec<[u32; 8]>,
    pages: Vec<u64>,
    steps: Vec<f32>,
}

/// Attention of a batch, within 1e-5 of what the CPU computes.
pub(crate) fn attention<B: Backend>(device: &B, kept: &mut Resident<B>, batch: &Batch) -> Result<Weights, Error> {
    if let Some(flaw) = batch.flaw() {
        return Err(Error::Option {
            name: "attention",
            value: flaw.into(),
            wanted: "tokens and layers fit each other",
        });
    }
    kept.take(device, &batch.layers)?;
    let mut tables = Tables::default();
    let mut begin = 0;
    for (i, layer) in batch.layers.iter().enumerate() {
        let n = batch.tokens[begin..].iter().take_while(|token| token.layer == i).count();
        tables.layer(layer, &batch.tokens[begin..begin + n], &kept.addresses(device, &layer.keys));
        begin += n;
    }
    let weights = zeros::<B, f32>(device, batch.weights)?;
    let sinks = zeros::<B, f32>(device, batch.sinks)?;
    let groups = upload(device, &tables.groups)?;
    let rows = upload(device, &tables.rows)?;
    let pages = upload(device, &tables.pages)?;
    let lists = upload(device, &batch.lists)?;
    let queries = upload(device, &batch.queries)?;
    let biases = upload(device, &batch.biases)?;
    let steps = upload(device, &tables.steps)?;
    if !tables.groups.is_empty() {
        let arguments = Arguments::new().buffer(device, &groups).buffer(device, &rows).buffer(device, &pages);
        let arguments = arguments.buffer(device, &lists).buffer(device, &queries).buffer(device, &biases);
        let arguments = arguments.buffer(device, &steps).buffer(device, &weights).buffer(device, &sinks);
        // SAFETY: the arguments of attend, with a group a block. Groups name rows, entries of `pages`, `lists` and `steps` that
        // are there, rows what `Batch::token` has made room for; pages have as many elements as their keys say (checked).
        unsafe { device.launch(Module::Attention, "attend", tables.groups.len() as u32, &arguments)? };
    }
    let measured = measure(device, batch, &weights)?;
    let found = Weights { weights: weights.download(device)?, sinks: sinks.download(device)?, measured };
    // After the last kernel that reads them.
    for layer in batch.layers.iter().filter(|layer| !layer.keys.again) {
        kept.0.remove(&layer.keys.id);
    }
    Ok(found)
}

impl Tables {
    /// Some tokens of a layer, whose keys are in pages at `addresses`.
    fn layer(&mut self, layer: &LayerInputs, tokens: &[Token], addresses: &[u64]) {
        let keys = &layer.keys;
        let page = self.pages.len() as u32;
        self.pages.extend_from_slice(addresses);
        let step = (self.steps.len() / 3) as u32;
        self.steps.extend(layer.steps.iter().flat_map(|step| match *step {
            Step::Scale { by, add } => [0.0, by, add],
            Step::Tanh => [1.0, 0.0, 0.0],
        }));
        let half = keys.pages.iter().flatten().any(|page| matches!(page.elements, Elements::F16(_)));
        let heads = layer.n_head / keys.n_head;
        for head in 0..keys.n_head {
            let mut group: Vec<(&Token, usize)> = vec![];
            let each = tokens.iter().flat_map(|token| (0..heads).map(move |i| (token, head * heads + i)));
            for row in each {
                if group.len() == ROWS || group.last().is_some_and(|last| !are_alike(&group, last.0, row.0)) {
                    self.group(layer, head, (page, half, step), &group);
                    group.clear();
                }
                group.push(row);
            }
            self.group(layer, head, (page, half, step), &group);
        }
    }

    fn group(
        &mut self,
        layer: &LayerInputs,
        head: usize,
        (page, half, step): (u32, bool, u32),
        rows: &[(&Token, usize)],
    ) {
        let Some((first, _)) = rows.first() else { return };
        let row = self.rows.len() as u32;
        self.rows.extend(rows.iter().map(|&(token, head)| row_of(layer, token, head)));
        let seen = || rows.iter().map(|(token, _)| &token.seen).filter(|seen| !seen.is_empty());
        let begin = seen().map(|seen| seen.start).min().unwrap_or(0);
        let end = seen().map(|seen| seen.end).max().unwrap_or(0);
        self.groups.push([
            row,
            rows.len() as u32,
            begin as u32,
            end as u32,
            first.list.map_or(NONE, |list| list as u32),
            page,
            layer.keys.first.1 as u32,
            head as u32,
            layer.keys.n_embd as u32,
            half.into(),
            step,
            layer.steps.len() as u32,
        ]);
    }
}

fn row_of(layer: &LayerInputs, token: &Token, head: usize) -> [u32; 8] {
    let n = token.seen.len();
    [
        token.seen.start as u32,
        token.seen.end as u32,
        (token.query + head * layer.keys.n_embd) as u32,
        token.bias.map_or(NONE, |(begin, heads)| (begin + head % heads * n) as u32),
        token.sinks.map_or(NONE, |begin| (begin + head) as u32),
        (token.weights + head * n) as u32,
        layer.slopes[head].to_bits(),
        layer.sinks.get(head).map_or(0, |logit| logit.to_bits()),
    ]
}

/// Whether another token's row can be computed beside those of a group without looking at many keys in vain.
fn are_alike(group: &[(&Token, usize)], last: &Token, token: &Token) -> bool {
    if std::ptr::eq(last, token) {
        return true;
    }
    if last.list.is_some() || token.list.is_some() {
        return false;
    }
    let all = group.iter().map(|(token, _)| &token.seen).chain([&token.seen]).filter(|seen| !seen.is_empty());
    let (begin, end, longest) = all.fold((usize::MAX, 0, 0), |(begin, end, longest), seen| {
        (begin.min(seen.start), end.max(seen.end), longest.max(seen.len()))
    });
    end.saturating_sub(begin) <= 2 * longest
}

/// What tokens that have marks put where.
fn measure<B: Backend>(device: &B, batch: &Batch, weights: &Buffer<B, f32>) -> Result<Vec<Measured>, Error> {
    let (mut looks, mut blocks): (Vec<[u32; 6]>, Vec<[u32; 2]>) = (vec![], vec![]);
    let (mut distances, mut kinds): (Vec<f32>, Vec<u8>) = (vec![], vec![]);
    for token in &batch.tokens {
        let Some(marks) = &token.marks else { continue };
        let [first, previous, own] = marks.places.map(|place| place.map_or(NONE, |place| place as u32));
        blocks.extend((0..batch.layers[token.layer].n_head as u32).map(|head| [looks.len() as u32, head]));
        looks.push([token.weights as u32, token.seen.len() as u32, distances.len() as u32, first, previous, own]);
        distances.extend(&marks.distance);
        kinds.extend(&marks.kinds);
    }
    if blocks.is_empty() {
        return Ok(vec![]);
    }
    let sums = zeros::<B, f64>(device, MEASURES * blocks.len())?;
    let (looks, places) = (upload(device, &looks)?, upload(device, &blocks)?);
    let (distances, kinds) = (upload(device, &distances)?, upload(device, &kinds)?);
    let arguments = Arguments::new().buffer(device, &looks).buffer(device, &places).buffer(device, weights);
    let arguments = arguments.buffer(device, &distances).buffer(device, &kinds).buffer(device, &sums);
    // SAFETY: the arguments of measure, with a token and a head a block; tokens have as many marks as keys (checked).
    unsafe { device.launch(Module::Attention, "measure", blocks.len() as u32, &arguments)? };
    let sums = sums.download(device)?;
    let of = |s: &[f64; MEASURES]| Measured {
        total: s[0],
        x_ln_x: s[1],
        distance: s[2],
        places: [s[3], s[4], s[5]],
        kinds: [s[6], s[7], s[8]],
    };
    Ok(sums.as_chunks().0.iter().map(of).collect())
}
