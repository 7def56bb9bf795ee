//! Which tensors of a graph say what it computes: token ids, embeddings in their place, positions, and the tokens that
//! have an output. Decided by what reads them, because only some releases name them. Names break ties.

use crate::abi::{FLAG_COMPUTE, TensorRef};
use crate::cells::{self, CellInputs};
use crate::graph::GraphRef;
use crate::host::{Host, Tensor};
use std::collections::HashSet;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// `GGML_BACKEND_BUFFER_USAGE_WEIGHTS`.
const WEIGHTS: i32 = 1;

/// The inputs of a graph that say which tokens it computes, before the scheduler puts copies in their place. Addresses of
/// tensors, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// How many tokens the graph computes.
    pub n_tokens: i64,
    /// Token ids, `i32 [n_tokens]`: they choose rows of the token embedding.
    pub tokens: usize,
    /// What the program passes instead of ids: `f32 [n_embd, n_tokens]`.
    pub embeddings: usize,
    /// Positions, `i32 [n_tokens * n_pos_per_token]`: RoPE reads them, or they choose rows of the position embedding.
    pub positions: usize,
    /// Which tokens have output rows, `i32 [n_outputs]`: they choose rows of what was computed for all tokens.
    pub outputs: usize,
    /// Which cells of the cache tokens are written to and see.
    pub cells: Option<CellInputs>,
}

/// The operators that tell inputs apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Op {
    Other = 1,
    GetRows,
    SetRows,
    Rope,
    Product,
    Sum,
}

impl Op {
    const ALL: [Op; 6] = [Op::Other, Op::GetRows, Op::SetRows, Op::Rope, Op::Product, Op::Sum];

    fn named(name: &[u8]) -> Op {
        match name {
            b"GET_ROWS" => Op::GetRows,
            b"SET_ROWS" => Op::SetRows,
            b"ROPE" => Op::Rope,
            b"MUL_MAT" | b"MUL_MAT_ID" => Op::Product,
            b"ADD" => Op::Sum,
            _ => Op::Other,
        }
    }

    /// What a node is. The host is asked once for each number.
    fn of(host: &Host, node: TensorRef<'_>) -> Op {
        static KNOWN: [AtomicU8; 256] = [const { AtomicU8::new(0) }; 256];
        let known = usize::try_from(node.op()).ok().and_then(|number| KNOWN.get(number));
        let number = known.map_or(0, |known| known.load(Ordering::Relaxed));
        if let Some(&op) = Op::ALL.iter().find(|&&op| op as u8 == number) {
            return op;
        }
        // SAFETY: the node is live; the name is a constant of the host.
        let op = Op::named(unsafe { CStr::from_ptr((host.ggml_op_desc)(node.ptr())) }.to_bytes());
        if let Some(known) = known {
            known.store(op as u8, Ordering::Relaxed);
        }
        op
    }
}

/// A node that chooses rows by the numbers in an input.
#[derive(Clone, Copy)]
struct Choice<'a> {
    node: TensorRef<'a>,
    rows: TensorRef<'a>,
    ids: TensorRef<'a>,
}

struct Finder<'a> {
    graph: GraphRef<'a>,
    choices: Vec<Choice<'a>>,
    /// Nodes that rotate by position, and the positions.
    rotations: Vec<(TensorRef<'a>, TensorRef<'a>)>,
    sums: Vec<TensorRef<'a>>,
    /// What is written row by row.
    written: Vec<usize>,
    /// The first and the last matrix of the model that something is multiplied with.
    products: Option<(TensorRef<'a>, TensorRef<'a>)>,
}

/// Finds the inputs of a graph. To be called before the scheduler replaces sources by copies.
pub fn inputs(graph: GraphRef<'_>) -> Inputs {
    let finder = Finder::new(graph);
    // What multiplies with nothing of a model computes no tokens: it moves the rows of a cache, for example.
    let Some((first, last)) = finder.products else { return Inputs::default() };
    let tokens = finder.tokens(last);
    let positions = finder.positions(tokens);
    let n_tokens = tokens.map(|c| c.ids.ne()[0]).or(positions.map(|(_, n)| n));
    let embeddings = if tokens.is_some() { None } else { finder.embeddings(first, n_tokens) };
    let Some(n_tokens) = n_tokens.or(embeddings.map(|e| e.ne()[1])) else { return Inputs::default() };
    if tokens.is_none() && embeddings.is_none() {
        return Inputs::default();
    }
    let address = |tensor: Option<TensorRef<'_>>| tensor.map_or(0, |t| t.ptr() as usize);
    Inputs {
        n_tokens,
        tokens: address(tokens.map(|choice| choice.ids)),
        embeddings: address(embeddings),
        positions: address(positions.filter(|&(_, n)| n == n_tokens).map(|(ids, _)| ids)),
        outputs: address(finder.outputs(n_tokens)),
        cells: cells::inputs(graph),
    }
}

impl<'a> Finder<'a> {
    fn new(graph: GraphRef<'a>) -> Self {
        let mut finder =
            Finder { graph, choices: vec![], rotations: vec![], sums: vec![], written: vec![], products: None };
        let marks = graph.layout().marks_computed;
        let mut products = vec![];
        for node in (0..graph.n_nodes).map(|i| graph.node(i)) {
            let op = Op::of(graph.host(), node);
            // What the program did not choose among several inputs is in its graph, but is not computed.
            if op == Op::Other || (marks && node.flags() & FLAG_COMPUTE == 0) {
                continue;
            }
            let (Some(a), Some(b)) = (finder.src(node, 0), finder.src(node, 1)) else { continue };
            match op {
                Op::GetRows if finder.is_list(b) => finder.choices.push(Choice { node, rows: a, ids: b }),
                Op::Rope if finder.is_list(b) => finder.rotations.push((node, b)),
                Op::SetRows => finder.written.push(a.ptr() as usize),
                Op::Sum => finder.sums.push(node),
                Op::Product if is_leaf(a) => products.push(a),
                _ => {}
            }
        }
        let mut of_model = products.iter().filter(|&&matrix| finder.is_weight(matrix)).copied();
        finder.products = of_model.next().map(|first| (first, of_model.next_back().unwrap_or(first)));
        finder
    }

    fn src(&self, node: TensorRef<'a>, i: usize) -> Option<TensorRef<'a>> {
        let source = node.src(i);
        // SAFETY: a source of a node of the live graph.
        (!source.is_null()).then(|| unsafe { TensorRef::new(source, self.graph.layout()) })
    }

    /// What holds a tensor's bytes.
    fn root(&self, tensor: TensorRef<'a>) -> TensorRef<'a> {
        let root = tensor.view_src();
        // SAFETY: a view keeps its source alive.
        if root.is_null() { tensor } else { unsafe { TensorRef::new(root, self.graph.layout()) } }
    }

    fn has_type(&self, tensor: TensorRef<'a>, name: &CStr) -> bool {
        // SAFETY: the number is a tensor's type, so the host knows it; the name is a constant of the host.
        let found = unsafe { (self.graph.host().ggml_type_name)(tensor.dtype()) };
        // SAFETY: as above.
        !found.is_null() && unsafe { CStr::from_ptr(found) } == name
    }

    /// Whether the tensor is part of the model. Hosts that do not say what their buffers are for have none.
    fn is_weight(&self, tensor: TensorRef<'a>) -> bool {
        let tensor = self.root(tensor);
        // SAFETY: the buffer of a live tensor.
        let usage = |buffer| unsafe { (self.graph.host().ggml_backend_buffer_get_usage)(buffer) };
        is_leaf(tensor) && !tensor.buffer().is_null() && usage(tensor.buffer()) == WEIGHTS
    }

    /// Whether the program fills the tensor before the graph runs, with one number after the other. A scheduler's copy for
    /// another device (`CUDA0#inp_pos#0`) is filled later.
    fn is_list(&self, tensor: TensorRef<'a>) -> bool {
        let [_, n1, n2, n3] = tensor.ne();
        let is_filled = is_leaf(tensor) && !tensor.name().contains(&b'#');
        is_filled && [n1, n2, n3] == [1; 3] && self.has_type(tensor, c"i32") && !self.is_weight(tensor)
    }

    /// The choice of rows of the token embedding.
    fn tokens(&self, last: TensorRef<'a>) -> Option<Choice<'a>> {
        let is_position = |ids: TensorRef<'a>| self.rotations.iter().any(|(_, positions)| same(*positions, ids));
        let of_model = self.choices.iter().filter(|choice| {
            let goes_aside = self.written.contains(&(choice.node.ptr() as usize));
            self.is_weight(choice.rows) && !goes_aside && !is_position(choice.ids)
        });
        let candidates: Vec<Choice<'a>> = of_model.copied().collect();
        if let [one] = candidates[..] {
            return Some(one).filter(|&one| !self.is_added_to_others(one));
        }
        // The output matrix is the embedding, or has its shape, where there is one; a vocabulary is larger than anything else.
        let rank = |choice: &Choice<'a>| {
            let is_named = choice.rows.name() == b"token_embd.weight";
            (same(choice.rows, last), is_named, choice.rows.ne() == last.ne(), choice.rows.ne()[1])
        };
        let best = candidates.iter().map(rank).max()?;
        candidates.into_iter().find(|choice| rank(choice) == best)
    }

    /// Whether the chosen rows are added to something that knows nothing of the same numbers: so are positions, to embeddings
    /// that the program has passed itself or to the patches of an image.
    fn is_added_to_others(&self, choice: Choice<'a>) -> bool {
        let others = self.sums.iter().filter_map(|&sum| {
            let (a, b) = (self.src(sum, 0)?, self.src(sum, 1)?);
            let other = if same(a, choice.node) { b } else { a };
            (same(a, choice.node) || same(b, choice.node)).then_some(other)
        });
        others.into_iter().any(|other| !self.is_weight(other) && !self.comes_from(other, choice.ids))
    }

    fn comes_from(&self, tensor: TensorRef<'a>, origin: TensorRef<'a>) -> bool {
        let (mut open, mut seen) = (vec![tensor], HashSet::new());
        while let Some(at) = open.pop() {
            if same(at, origin) {
                return true;
            }
            let sources = (0..self.graph.layout().n_src).filter_map(|i| self.src(at, i));
            open.extend(sources.filter(|source| seen.insert(source.ptr() as usize)));
        }
        false
    }

    /// The positions, and of how many tokens they are.
    fn positions(&self, tokens: Option<Choice<'a>>) -> Option<(TensorRef<'a>, i64)> {
        // There may be several for each token, all first ones before all second ones. What is rotated by other numbers is
        // not what was computed of the tokens, such as keys that stand for several of them.
        let fits = |n: i64| tokens.is_none_or(|tokens| tokens.ids.ne()[0] == n);
        let uses = |ids| self.rotations.iter().filter(|(_, other)| same(*other, ids)).count();
        let rotations = self.rotations.iter().map(|&(node, ids)| (ids, node.ne()[2])).filter(|&(_, n)| fits(n));
        // The first of those that are used most.
        if let Some(found) = rotations.rev().max_by_key(|&(ids, _)| uses(ids)) {
            return Some(found);
        }
        let is_tokens = |choice: &Choice<'a>| tokens.is_some_and(|tokens| same(tokens.ids, choice.ids));
        let is_added = |choice: &Choice<'a>| {
            let is_summand = |sum: &TensorRef<'a>| (0..2).any(|i| sum.src(i) == choice.node.ptr());
            self.sums.iter().any(is_summand)
        };
        let of_model = self.choices.iter().filter(|choice| self.is_weight(choice.rows) && !is_tokens(choice));
        let mut added = of_model.filter(|choice| is_added(choice));
        added.next().map(|choice| (choice.ids, choice.ids.ne()[0]))
    }

    /// What the program passes in place of token ids: a row for each token, to which the results of the first block are
    /// added. What only goes into a matrix, such as the patches of an image, is none.
    fn embeddings(&self, first: TensorRef<'a>, n_tokens: Option<i64>) -> Option<TensorRef<'a>> {
        let summands = self.sums.iter().flat_map(|&sum| (0..2).filter_map(move |i| self.src(sum, i)));
        let fits = |leaf: &TensorRef<'a>| {
            let [_, n, n2, n3] = leaf.ne();
            let has_rows = [n2, n3] == [1; 2] && n_tokens.is_none_or(|n_tokens| n == n_tokens);
            has_rows && self.has_type(*leaf, c"f32") && !self.is_weight(*leaf)
        };
        let leaves: Vec<TensorRef<'a>> = summands.filter_map(|summand| self.start(summand)).filter(fits).collect();
        // Usually as wide as the first matrix takes.
        let is_as_wide = |leaf: &&TensorRef<'a>| leaf.ne()[0] == first.ne()[0];
        leaves.iter().find(is_as_wide).or(leaves.first().filter(|_| n_tokens.is_some())).copied()
    }

    /// The leaf that a tensor was made of without a matrix.
    fn start(&self, mut at: TensorRef<'a>) -> Option<TensorRef<'a>> {
        loop {
            let root = self.root(at);
            if is_leaf(root) {
                return Some(root);
            }
            let goes_on = Op::of(self.graph.host(), root) != Op::Product;
            at = self.src(root, 0).filter(|_| goes_on)?;
        }
    }

    /// Which tokens have an output: rows that are chosen of what was computed for all tokens. Embeddings that are pooled
    /// choose rows, too, but after that and only once.
    fn outputs(&self, n_tokens: i64) -> Option<TensorRef<'a>> {
        let of_tokens = self.choices.iter().filter(|choice| {
            let [_, n, n2, n3] = choice.rows.ne();
            let is_computed = !is_leaf(self.root(choice.rows));
            is_computed && [n, n2, n3] == [n_tokens, 1, 1] && choice.ids.ne()[0] <= n_tokens
        });
        let candidates: Vec<TensorRef<'a>> = of_tokens.map(|choice| choice.ids).collect();
        let uses = |ids: TensorRef<'a>| candidates.iter().filter(|other| same(**other, ids)).count();
        let is_named = |ids: TensorRef<'a>| matches!(ids.name(), b"out_ids" | b"inp_out_ids");
        // A model that keeps states chooses rows in every layer, by other ids; those of output rows come last.
        candidates.iter().copied().max_by_key(|&ids| (is_named(ids), uses(ids).min(2)))
    }
}

/// Whether the tensor was there before the graph ran. Operator 0 is NONE in every release.
fn is_leaf(tensor: TensorRef<'_>) -> bool {
    tensor.op() == 0
}

fn same(a: TensorRef<'_>, b: TensorRef<'_>) -> bool {
    std::ptr::eq(a.ptr() as *const Tensor, b.ptr() as *const Tensor)
}
