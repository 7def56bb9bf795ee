//! The way through a graph from the logits back to the embeddings, along the residual stream. A sum's older half is the
//! stream: what is added was computed from it.

use super::{Added, From, Head, Part, Plain, Point, Step, Stream};
use crate::names::{Named, named};

/// Blocks that run beside each other.
const MOST_BESIDE: usize = 4;

/// Where the stream ends, and how it becomes logits from there.
struct End {
    at: u32,
    head: Option<Head>,
}

/// One step down the stream.
struct Down {
    from: From,
    /// The place before.
    next: Option<u32>,
    /// Whether rows were chosen on the way there.
    crossed: bool,
}

impl Plain {
    pub(super) fn stream(&self) -> Stream {
        let logits = self.logits();
        let Some(End { at, head }) = self.end(logits) else { return Stream { logits, ..self.by_name() } };
        let (mut points, mut head) = (self.walk(at), head);
        points.reverse();
        let mut selected = false;
        for (point, crossed) in &mut points {
            // `crossed` says that rows were chosen on the way from the point before.
            selected |= *crossed;
            point.selected = selected;
        }
        let mut points: Vec<Point> = points.into_iter().map(|(point, _)| point).collect();
        if let [.., before, last] = &points[..]
            && last.from == From::Unknown
            && (self.width(before.tensor) != self.width(last.tensor)
                || self.layer_between(last.tensor, before.tensor).is_none())
        {
            // Several streams side by side, or states of several layers, which the head brings together.
            points.pop();
            head = None;
        }
        self.number(&mut points);
        let elements = |id: u32| self.tensor(id).map_or(0, |t| t.ne.iter().product::<i64>());
        let embeddings = points.first().map_or(0, |first| elements(first.tensor));
        if points.iter().any(|p| elements(p.tensor) > embeddings) {
            // Several streams side by side are mixed in every layer, which a sum does not show.
            points.iter_mut().filter(|p| matches!(p.from, From::Added(_))).for_each(|p| p.from = From::Unknown);
        }
        if points.iter().all(|p| p.layer.is_none()) {
            return Stream { logits, ..self.by_name() };
        }
        let (norms, units) = (self.norms(&points), self.units(&points));
        Stream { points, norms, units, head, logits, stack: self.stack() }
    }

    /// Where the shape of the graph is not understood: what llama.cpp names `l_out`, the last of each layer.
    fn by_name(&self) -> Stream {
        let mut points: Vec<Point> = vec![];
        let rows = |id: u32| self.tensor(id).map_or(0, |t| t.ne[1..].iter().product::<i64>());
        for id in self.nodes().filter(|&id| self.name(id).starts_with("l_out-") && !self.is_look(id)) {
            let Named::Layer(layer) = named(self.name(id)) else { continue };
            points.retain(|p| p.layer != Some(layer));
            let selected = points.last().is_some_and(|before| rows(before.tensor) > rows(id));
            points.push(Point { tensor: id, layer: Some(layer), selected, from: From::Unknown });
        }
        Stream { points, stack: self.stack(), ..Stream::default() }
    }

    /// Elements of a token, if the first dimension and those that do not vary with tokens are as usual.
    fn width(&self, id: u32) -> Option<(i64, bool)> {
        self.tensor(id).map(|t| (t.ne[0], t.ne[2] > 1))
    }

    /// The points from the last to the first, each with whether rows were chosen since the one before it.
    fn walk(&self, end: u32) -> Vec<(Point, bool)> {
        let mut points = vec![];
        let (mut at, mut dominators) = (end, None);
        // Every step goes to a node with a smaller number, so the walk ends.
        loop {
            // A choice of rows that lies above is counted with the point that was found before.
            let tensor = self.beneath(at).0;
            let Down { from, next, mut crossed } = self.down(tensor).unwrap_or_else(|| {
                let start = Down { from: From::Start, next: None, crossed: false };
                if self.is_embedding(tensor) {
                    // Nothing that a token becomes comes before it.
                    return start;
                }
                let dominators = dominators.get_or_insert_with(|| self.dominators());
                match self.state_before(tensor, dominators) {
                    Some(next) => {
                        let mut crossed = false;
                        self.descends(tensor, next, &mut |at| crossed |= self.chooses_rows(at));
                        Down { from: From::Unknown, next: Some(next), crossed }
                    }
                    None => start,
                }
            });
            let point = Point { tensor, layer: None, selected: false, from };
            let Some(next) = next.filter(|&next| self.beneath(next).0 < tensor) else {
                points.push((Point { from: From::Start, ..point }, crossed));
                return points;
            };
            crossed |= self.beneath(next).1;
            points.push((point, crossed));
            at = next;
        }
    }

    /// How a tensor of the stream came from the place before; `None` if that is not understood.
    fn down(&self, tensor: u32) -> Option<Down> {
        let (mut id, mut crossed) = (tensor, false);
        // What is only a bias or a scale behind a norm belongs to it, and a bias behind a sum to the sum.
        while let Some((next, weight)) = self.through_constant(id) {
            let (under, chosen) = self.beneath(next);
            if self.is_from_outside(id, under, weight) {
                if id != tensor {
                    break;
                }
                let of = Added::alone(Part::ControlVector, id);
                return Some(Down { from: From::Added(vec![of]), next: Some(next), crossed });
            }
            if self.op(id) == "MUL" && !self.is_behind_norm(under) {
                return Some(Down { from: self.changed(next), next: Some(next), crossed });
            }
            (id, crossed) = (under, crossed | chosen);
        }
        let (from, next) = match self.op(id) {
            "ADD" => self.sum(id)?,
            "SCALE" => (self.changed(self.src(id, 0)?), self.src(id, 0)?),
            _ if self.is_norm(id) => (From::Normed, self.src(id, 0)?),
            _ => return None,
        };
        Some(Down { from, next: Some(next), crossed })
    }

    /// A scaled state is normed in place; scaled embeddings are where the stream starts.
    fn changed(&self, next: u32) -> From {
        let mut at = self.beneath(next).0;
        while let ("SCALE", Some(under)) = (self.op(at), self.src(at, 0)) {
            at = self.beneath(under).0;
        }
        if self.is_embedding(at) { From::Start } else { From::Normed }
    }

    /// Whether a constant that is added to `under` is none of the model's own: it has no name in a file, and stands on the
    /// stream itself, where models have no bias.
    fn is_from_outside(&self, id: u32, under: u32, weight: u32) -> bool {
        let has_no_name = named(self.name(weight)) == Named::Nothing;
        self.op(id) == "ADD" && has_no_name && !self.is_behind_norm(under)
    }

    fn is_behind_norm(&self, mut id: u32) -> bool {
        while let Some((next, _)) = self.through_constant(id) {
            id = self.beneath(next).0;
        }
        self.is_norm(id)
    }

    /// What was added in a sum of two computed tensors, and to what.
    fn sum(&self, id: u32) -> Option<(From, u32)> {
        let added = |kind, tensor| vec![Added::alone(kind, tensor)];
        if let Some((base, adapter)) = self.adapted(id) {
            let of = Added { rest: true, ..Added::adapter(&adapter) };
            return self.is_embedding(self.beneath(base).0).then(|| (From::Added(vec![of]), base));
        }
        let (a, b) = (self.src(id, 0)?, self.src(id, 1)?);
        if let Some((stream, part)) = self.stream_of(a, b) {
            if self.leads_to(part, self.beneath(stream).0) {
                return Some((From::Added(added(Part::Earlier, stream)), part));
            }
            return Some((From::Added(self.parts(part, self.origin(part, stream))), stream));
        }
        let (stream, other) = match (self.has_blocks(a), self.has_blocks(b)) {
            (true, false) => (a, b),
            (false, true) => (b, a),
            _ => return None,
        };
        let kind = if self.has_embeddings(other) { Part::Earlier } else { Part::Input };
        Some((From::Added(added(kind, other)), stream))
    }

    /// Which of two summands is the stream: the one that the other was made of. In models whose blocks run beside each
    /// other neither is, but one is itself a sum with the stream that both were made of.
    fn stream_of(&self, a: u32, b: u32) -> Option<(u32, u32)> {
        if self.is_from(b, self.unscaled(a)) {
            return Some((a, b)).filter(|_| !self.is_slice(a));
        }
        if self.is_from(a, self.unscaled(b)) {
            return Some((b, a)).filter(|_| !self.is_slice(b));
        }
        match (self.state_within(a, b), self.state_within(b, a)) {
            (Some(_), None) => Some((a, b)),
            (None, Some(_)) => Some((b, a)),
            _ => None,
        }
    }

    /// The earlier state of the stream, a summand of `sum` or of the sums in it, that `other` was made of.
    fn state_within(&self, sum: u32, other: u32) -> Option<u32> {
        let mut at = self.beneath(sum).0;
        for _ in 0..MOST_BESIDE {
            let (a, b) = (self.src(at, 0)?, self.src(at, 1)?);
            if self.op(at) != "ADD" || self.adapted(at).is_some() {
                return None;
            }
            if let Some(state) = [a, b].into_iter().find(|&s| self.is_node(s) && self.is_from(other, s)) {
                return Some(state).filter(|&state| !self.is_slice(state));
            }
            at = if self.is_from(b, a) {
                self.beneath(a).0
            } else if self.is_from(a, b) {
                self.beneath(b).0
            } else {
                return None;
            };
        }
        None
    }

    /// What an added tensor was made of: the stream, or, of blocks beside each other, what the stream was before the other.
    fn origin(&self, added: u32, stream: u32) -> u32 {
        let unscaled = self.unscaled(stream);
        if self.is_from(added, unscaled) { unscaled } else { self.state_within(stream, added).unwrap_or(stream) }
    }

    /// What a state was before it was scaled.
    fn unscaled(&self, mut id: u32) -> u32 {
        while let ("SCALE", Some(under)) = (self.op(self.beneath(id).0), self.src(self.beneath(id).0, 0)) {
            id = under;
        }
        id
    }

    /// Whether a tensor is a part of a wider one: one of several streams, and no state.
    fn is_slice(&self, mut id: u32) -> bool {
        let elements = |id: u32| self.tensor(id).map_or(0, |t| t.ne.iter().product::<i64>());
        while let Some(source) = self.src(id, 0).filter(|&s| self.is_node(s) && self.is_look(id)) {
            if elements(source) > elements(id) {
                return true;
            }
            id = source;
        }
        false
    }

    /// Whether what was added to `stream` is a stream of its own that began there: then `stream` is what was added.
    fn leads_to(&self, mut at: u32, stream: u32) -> bool {
        let mut sums = 0;
        loop {
            at = self.beneath(at).0;
            if at <= stream {
                return at == stream && sums > 0;
            }
            at = if let Some((next, _)) = self.through_constant(at) {
                next
            } else if self.is_norm(at) {
                let Some(next) = self.src(at, 0) else { return false };
                next
            } else if let ("ADD", None, Some(a), Some(b)) =
                (self.op(at), self.adapted(at), self.src(at, 0), self.src(at, 1))
            {
                let Some((older, _)) = self.stream_of(a, b) else { return false };
                sums += 1;
                if [a, b].iter().any(|&half| self.beneath(half).0 == stream) {
                    return true;
                }
                older
            } else {
                return false;
            };
        }
    }

    /// Whether a tensor was made with matrices of layers.
    fn has_blocks(&self, id: u32) -> bool {
        let mut found = false;
        self.ancestors(id, &mut |at| found |= self.is_of_block(at));
        found
    }

    fn has_embeddings(&self, id: u32) -> bool {
        let mut found = false;
        self.ancestors(id, &mut |at| found |= self.is_embedding(at));
        found
    }

    /// The layer of the weights that are between a place and the one before.
    fn layer_between(&self, place: u32, before: u32) -> Option<u32> {
        let mut layer = None;
        self.descends(place, before, &mut |at| layer = layer.max(self.weight_layer(at)));
        layer
    }

    /// The tensor with the logits: behind the last product with a matrix that has a row for each token of the vocabulary.
    /// What a release calls so is one.
    fn logits(&self) -> Option<u32> {
        let embeddings = self.nodes().filter(|&id| self.is_embedding(id)).filter_map(|id| self.product(id));
        let rows = |table: u32| self.tensor(table).map_or(0, |t| t.ne[1]);
        let vocabularies: Vec<i64> = embeddings.map(|(table, _)| rows(table)).collect();
        let is_output = |&id: &u32| {
            let matrix = self.product(id).filter(|_| self.op(id) == "MUL_MAT").map(|(matrix, _)| matrix);
            let is_of_adapter = || self.consumers(id).iter().any(|&next| self.low_rank(next).is_some());
            matrix
                .is_some_and(|m| self.weight_layer(m).is_none() && vocabularies.contains(&rows(m)) && !is_of_adapter())
        };
        let called_so = self.nodes().rfind(|&id| self.name(id) == "result_output");
        let Some(product) = self.nodes().rev().find(is_output) else { return called_so };
        if let Some(called_so) = called_so.filter(|&id| id == product || self.descends(id, product, &mut |_| ())) {
            return Some(called_so);
        }
        let next = |&id: &u32| match *self.consumers(id) {
            [next] if Step::of(self, next).is_some_and(|(_, row)| self.beneath(row).0 == id) => Some(next),
            [a, b] => [a, b].into_iter().find(|&sum| self.adapted(sum).is_some_and(|(base, _)| base == id)),
            _ => None,
        };
        std::iter::successors(Some(product), next).last()
    }

    /// Where the stream ends: back from the logits to the first sum of two computed tensors. Without an output matrix, as
    /// embedding models are, it is the last tensor of a layer.
    fn end(&self, logits: Option<u32>) -> Option<End> {
        let (mut steps, mut is_understood, mut of_layer) = (vec![], true, None);
        let mut at = logits.or_else(|| self.nodes().rev().find(|&id| self.is_result(id)))?;
        let mut dominators = None;
        loop {
            if of_layer.is_none() && self.layer_of_weights(at).is_some() {
                of_layer = Some(at);
            }
            let next = match Step::of(self, at) {
                _ if self.is_look(at) || self.op(at) == "GET_ROWS" => self.src(at, 0)?,
                Some((Step::Add(weight), row)) if self.is_from_outside(at, self.beneath(row).0, weight) => break,
                // A norm behind the last block is of its layer.
                Some((Step::Mul(weight) | Step::Add(weight), _)) if self.weight_layer(weight).is_some() => break,
                Some((step, next)) => {
                    steps.push(step);
                    next
                }
                None if self.op(at) == "ADD" => break,
                None => {
                    is_understood = false;
                    let mut computed = self.sources(at).filter(|&s| self.is_node(s));
                    let only = computed.next().filter(|first| computed.all(|s| s == *first));
                    match only {
                        Some(only) => only,
                        None => {
                            let dominators = dominators.get_or_insert_with(|| self.dominators());
                            at = self.state_before(at, dominators)?;
                            break;
                        }
                    }
                }
            };
            if next >= at {
                return None;
            }
            at = next;
        }
        steps.reverse();
        let Some(logits) = logits else { return Some(End { at: of_layer.unwrap_or(at), head: None }) };
        let is_whole = is_understood && steps.iter().any(|step| matches!(step, Step::Matrix(_)));
        Some(End { at, head: is_whole.then_some(Head { steps, logits }) })
    }

    /// Whether a node is nothing's source, and does not write into a cache.
    fn is_result(&self, id: u32) -> bool {
        let writes = self.tensor(id).and_then(|t| t.view).is_some_and(|root| !self.is_node(root));
        self.consumers(id).is_empty() && !writes
    }

    /// Gives each point its layer: that of the weights between it and the point before. Where layers share weights, and so
    /// come in no order, names say which is which; where those say nothing either, layers are counted.
    fn number(&self, points: &mut [Point]) {
        let between = |i: usize, of: &dyn Fn(u32) -> Option<u32>| {
            let mut layer = None;
            if i > 0 {
                self.descends(points[i].tensor, points[i - 1].tensor, &mut |at| layer = layer.max(of(at)));
            }
            layer
        };
        let by_weights = |at: u32| self.weight_layer(at);
        let by_names = |at: u32| match named(self.name(at)) {
            Named::Layer(layer) => Some(layer),
            _ => None,
        };
        let carried = |layers: Vec<Option<u32>>| {
            let mut last = None;
            layers
                .into_iter()
                .map(|layer| {
                    last = layer.or(last);
                    last
                })
                .collect::<Vec<_>>()
        };
        let of_weights = carried((0..points.len()).map(|i| between(i, &by_weights)).collect());
        let found = if of_weights.is_sorted() && of_weights.iter().any(Option::is_some) {
            of_weights
        } else {
            let of_names = carried((0..points.len()).map(|i| between(i, &by_names)).collect());
            if of_names.is_sorted() { of_names } else { counted(&of_weights) }
        };
        for (point, layer) in points.iter_mut().zip(found) {
            point.layer = layer;
        }
    }
}

/// Counts how often the layer changes.
fn counted(layers: &[Option<u32>]) -> Vec<Option<u32>> {
    let (mut count, mut last) = (None, None);
    let of = |&layer: &Option<u32>| {
        if layer != last {
            count = Some(count.map_or(0, |n: u32| n + 1));
            last = layer;
        }
        count
    };
    layers.iter().map(of).collect()
}
