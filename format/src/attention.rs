//! Where attention is in a graph: softmax(scale · Q · Kᵀ + mask), as the flash attention operator or as the operators
//! that it stands for. Found by what feeds what, never by names or numbers, by the same rule in the host's own graph and
//! in the record of it.

/// A graph whose tensors can be asked about.
pub trait Nodes {
    /// A tensor of the graph.
    type Tensor: Copy + PartialEq;
    /// Name of its operator, as `ggml_op_desc` gives it; `NONE` for a leaf.
    fn op(&self, tensor: Self::Tensor) -> &str;
    /// Its source `i`.
    fn src(&self, tensor: Self::Tensor, i: usize) -> Option<Self::Tensor>;
    /// The tensor that it is a view of.
    fn viewed(&self, tensor: Self::Tensor) -> Option<Self::Tensor>;
}

/// The flash attention operator.
pub const FLASH_ATTN_EXT: &str = "FLASH_ATTN_EXT";
/// The operator that ends attention where flash attention is off.
pub const SOFT_MAX: &str = "SOFT_MAX";
/// The operator that writes rows into a cache: source 0 is the rows, source 1 their places.
pub const SET_ROWS: &str = "SET_ROWS";
/// No release has more operators between the product and the softmax.
const MOST_BETWEEN: usize = 8;

/// One attention of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attention<T> {
    /// `FLASH_ATTN_EXT` or `SOFT_MAX`.
    pub node: T,
    /// Queries, `[n_embd_head, n_tokens, n_head, n_stream]`.
    pub q: T,
    /// Keys, `[n_embd_head, n_kv, n_head_kv, n_stream]`.
    pub k: T,
    /// Mask, `[n_kv, n_tokens, 1 or n_head, n_stream]`.
    pub mask: Option<T>,
    /// One logit for each head that takes a share of the softmax and belongs to no key, `[n_head]`.
    pub sinks: Option<T>,
    /// What is done to Q · Kᵀ before the softmax where flash attention is off, in order (`SCALE`, `TANH`, `ADD`).
    pub between: Vec<T>,
}

impl<T: Copy + PartialEq> Attention<T> {
    /// The attention that ends with `node`, if one does. A softmax over anything else, such as a router's, is none: in
    /// attention both factors of the product are looks at other tensors, put in order head by head.
    pub fn ending(graph: &impl Nodes<Tensor = T>, node: T) -> Option<Attention<T>> {
        let src = |i| graph.src(node, i);
        match graph.op(node) {
            FLASH_ATTN_EXT => {
                Some(Attention { node, q: src(0)?, k: src(1)?, mask: src(3), sinks: src(4), between: vec![] })
            }
            SOFT_MAX => {
                let mut between = vec![];
                let mut at = src(0)?;
                while matches!(graph.op(at), "SCALE" | "TANH" | "ADD") {
                    between.insert(0, at);
                    at = graph.src(at, 0).filter(|_| between.len() <= MOST_BETWEEN)?;
                }
                if graph.op(at) != "MUL_MAT" {
                    return None;
                }
                let (k, q) = (graph.src(at, 0)?, graph.src(at, 1)?);
                let is_look = |t| graph.viewed(t).is_some();
                (is_look(k) && is_look(q)).then_some(Attention { node, q, k, mask: src(1), sinks: src(2), between })
            }
            _ => None,
        }
    }
}

/// What the attention that ends with `node` weighs: `V`. Where flash attention is off, that is the other factor of the
/// product that takes the softmax, which is looked for among `nodes`.
pub fn values<G: Nodes>(graph: &G, node: G::Tensor, nodes: impl IntoIterator<Item = G::Tensor>) -> Option<G::Tensor> {
    if graph.op(node) == FLASH_ATTN_EXT {
        return graph.src(node, 2);
    }
    let takes = |&product: &G::Tensor| graph.src(product, 1) == Some(node) && graph.op(product) == "MUL_MAT";
    nodes.into_iter().find(takes).and_then(|product| graph.src(product, 0))
}

/// The tensor that holds a tensor's bytes: what it is a view of, or itself.
pub fn root<G: Nodes>(graph: &G, tensor: G::Tensor) -> G::Tensor {
    graph.viewed(tensor).unwrap_or(tensor)
}

impl Nodes for crate::record::Graph {
    type Tensor = crate::TensorId;

    fn op(&self, tensor: Self::Tensor) -> &str {
        self.tensor(tensor).map_or("?", |t| crate::record::Graph::op(self, t))
    }

    fn src(&self, tensor: Self::Tensor, i: usize) -> Option<Self::Tensor> {
        self.tensor(tensor)?.src.get(i).copied().flatten()
    }

    fn viewed(&self, tensor: Self::Tensor) -> Option<Self::Tensor> {
        self.tensor(tensor)?.view.map(|(root, _)| root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operator, sources, and what it is a view of, by number.
    struct Small(Vec<(&'static str, Vec<usize>, Option<usize>)>);

    impl Nodes for Small {
        type Tensor = usize;
        fn op(&self, t: usize) -> &str {
            self.0[t].0
        }
        fn src(&self, t: usize, i: usize) -> Option<usize> {
            self.0[t].1.get(i).copied()
        }
        fn viewed(&self, t: usize) -> Option<usize> {
            self.0[t].2
        }
    }

    fn looks(rest: Vec<(&'static str, Vec<usize>, Option<usize>)>) -> Small {
        let mut all = vec![
            ("ROPE", vec![], None),
            ("NONE", vec![], None),
            ("PERMUTE", vec![0], Some(0)),
            ("PERMUTE", vec![1], Some(1)),
            ("NONE", vec![], None),
        ];
        all.extend(rest);
        Small(all)
    }

    #[test]
    fn flash_attention_and_what_it_stands_for_are_the_same_attention() {
        let flash = looks(vec![("FLASH_ATTN_EXT", vec![2, 3, 3, 4], None)]);
        let plain = looks(vec![
            ("MUL_MAT", vec![3, 2], None),
            ("SCALE", vec![5], None),
            ("TANH", vec![6], None),
            ("SCALE", vec![7], None),
            ("SOFT_MAX", vec![8, 4], None),
        ]);
        let (flash, plain) = (Attention::ending(&flash, 5).unwrap(), Attention::ending(&plain, 9).unwrap());
        assert_eq!((flash.q, flash.k, flash.mask), (2, 3, Some(4)));
        assert_eq!((plain.q, plain.k, plain.mask), (2, 3, Some(4)));
        assert_eq!(plain.between, [6, 7, 8]);
    }

    #[test]
    fn values_are_what_the_softmax_is_multiplied_with() {
        let flash = looks(vec![("FLASH_ATTN_EXT", vec![2, 3, 4], None)]);
        assert_eq!(values(&flash, 5, []), Some(4));
        let plain = looks(vec![
            ("MUL_MAT", vec![3, 2], None),
            ("SOFT_MAX", vec![5, 4], None),
            ("MUL_MAT", vec![1, 2], None),
            ("MUL_MAT", vec![4, 6], None),
        ]);
        assert_eq!(values(&plain, 6, 0..9), Some(4));
        assert_eq!(values(&plain, 6, 0..8), None);
    }

    #[test]
    fn a_routers_softmax_is_no_attention() {
        let router = looks(vec![("MUL_MAT", vec![1, 0], None), ("SOFT_MAX", vec![5], None)]);
        assert_eq!(Attention::ending(&router, 6), None);
        assert_eq!(Attention::ending(&router, 5), None);
    }
}
