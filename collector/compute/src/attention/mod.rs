//! Attention of many tokens: what it is computed from, put together so that a GPU can do it in one go, and the pass over a
//! recording that decides where it is done. [`kernel`] has the CPU's inner loops and [`softmax`] one row stage by stage; the
//! caller runs them on its caches directly.

pub mod kernel;
pub mod softmax;

use crate::compute::{Compute, Place, Ran};
use crate::error::Error;
use crate::gpu::{self, Cuda, Resident};
use std::ops::Range;
use std::sync::Arc;

/// Multiplications that a pass does on the CPU before a GPU is used without being asked for: about a second of two cores. An
/// estimate, never measured on a GPU.
const PRODUCTS: u64 = 20_000_000_000;

/// Rows of a page of keys.
pub const PAGE: usize = 64;
pub use kernel::LANES;

/// Elements of keys, `[LANES, n_embd, PAGE / LANES, n_head]`.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// 16-bit floats, by their bits.
    F16(&'a [u16]),
    /// 32-bit floats.
    F32(&'a [f32]),
}

/// Some rows of keys.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Another number whenever its elements are others.
    pub stamp: u64,
    /// The elements.
    pub elements: Elements<'a>,
}

/// The keys of a layer.
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    /// A number that no others have.
    pub id: u64,
    /// Whether they are looked at again, so that a GPU had better keep them.
    pub again: bool,
    /// Elements of a head.
    pub n_embd: usize,
    /// Heads.
    pub n_head: usize,
    /// Number of the first page, and the row of it that key 0 is.
    pub first: (u64, usize),
    /// The pages. Keys of one that is not there have products of 0.
    pub pages: Vec<Option<Page<'a>>>,
}

/// What is done to a product before the mask is added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// `x * by + add`.
    Scale {
        /// Factor.
        by: f32,
        /// Summand.
        add: f32,
    },
    /// `tanh(x)`: between two scalings it is a soft cap.
    Tanh,
}

/// What is the same for the tokens of a layer.
#[derive(Clone, Debug)]
pub struct LayerInputs<'a> {
    /// The keys.
    pub keys: Keys<'a>,
    /// Heads of the queries: a multiple of those of the keys.
    pub n_head: usize,
    /// What is done to products.
    pub steps: Vec<Step>,
    /// What a head's mask is multiplied with, one a head.
    pub slopes: Vec<f32>,
    /// Logits of the heads' sinks, one a head; empty without sinks.
    pub sinks: Vec<f32>,
}

/// The keys that a token sees.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// One after the other.
    Range {
        /// The first.
        first: usize,
        /// How many.
        n: usize,
    },
    /// These.
    List(&'a [u32]),
}

/// What the keys of a token are to it, for what is measured of its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    /// How far away each key is.
    pub distance: Vec<f32>,
    /// Of each key, [`INDUCTION`], [`DUPLICATE`] and [`PUNCTUATION`].
    pub kinds: Vec<u8>,
    /// Places of the first token, the one before, and the token itself.
    pub places: [Option<usize>; 3],
}

/// The key follows an earlier occurrence of the token.
pub const INDUCTION: u8 = 1;
/// The key is an earlier occurrence of the token.
pub const DUPLICATE: u8 = 2;
/// The key is punctuation.
pub const PUNCTUATION: u8 = 4;

/// Sums over the weights of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Of the weights.
    pub total: f64,
    /// Of w ln w.
    pub x_ln_x: f64,
    /// Of weight times distance.
    pub distance: f64,
    /// Weights at [`Marks::places`].
    pub places: [f64; 3],
    /// Of the weights of keys that are [`INDUCTION`], [`DUPLICATE`] and [`PUNCTUATION`].
    pub kinds: [f64; 3],
}

/// The rows of a token in a layer.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub layer: usize,
    /// Numbers of keys, or places in [`Batch::lists`] beginning at `list`.
    pub seen: Range<usize>,
    pub list: Option<usize>,
    /// Where in [`Batch::biases`] what is added begins, and for how many heads there is.
    pub bias: Option<(usize, usize)>,
    pub query: usize,
    pub weights: usize,
    pub sinks: Option<usize>,
    pub marks: Option<Marks>,
}

/// Tokens whose attention is to be computed.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    pub(crate) layers: Vec<LayerInputs<'a>>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) lists: Vec<u32>,
    pub(crate) biases: Vec<f32>,
    pub(crate) queries: Vec<f32>,
    pub(crate) weights: usize,
    pub(crate) sinks: usize,
}

impl<'a> Batch<'a> {
    /// The tokens that follow are of this layer.
    pub fn layer(&mut self, layer: LayerInputs<'a>) {
        self.layers.push(layer);
    }

    /// A token: what it sees; what the mask adds to that, `[n_seen, some of the heads]`, or nothing; its queries,
    /// `[n_embd, n_head]`; and what its keys are to it, if its rows are to be measured.
    ///
    /// # Panics
    /// Before the first layer.
    pub fn token(&mut self, seen: Seen<'_>, bias: &[f32], queries: &[f32], marks: Option<Marks>) {
        let layer = self.layers.last().expect("a layer comes before its tokens");
        let (n, range, list) = match seen {
            Seen::Range { first, n } => (n, first..first + n, None),
            Seen::List(list) => (list.len(), 0..list.len(), Some(self.lists.len())),
        };
        if let Seen::List(list) = seen {
            self.lists.extend_from_slice(list);
        }
        self.tokens.push(Token {
            layer: self.layers.len() - 1,
            seen: range,
            list,
            bias: bias.len().checked_div(n).filter(|&heads| heads > 0).map(|heads| (self.biases.len(), heads)),
            query: self.queries.len(),
            weights: self.weights,
            sinks: (!layer.sinks.is_empty()).then_some(self.sinks),
            marks,
        });
        self.weights += n * layer.n_head;
        self.sinks += layer.sinks.len();
        self.biases.extend_from_slice(bias);
        self.queries.extend_from_slice(queries);
    }

    /// What of it contradicts itself or is more than kernels can count, so that it must not get to them.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        let most = [self.weights, self.sinks, self.queries.len(), self.biases.len(), self.lists.len()];
        if most.into_iter().any(|n| n >= u32::MAX as usize) {
            return Some("more numbers than kernels can count");
        }
        if !self.layers.iter().all(LayerInputs::is_sound) {
            return Some("a layer whose keys, heads and slopes do not fit each other");
        }
        (!self.tokens.iter().all(|token| self.is_sound(token)))
            .then_some("a token that looks at keys, queries or a mask that are not there")
    }

    fn is_sound(&self, token: &Token) -> bool {
        let (layer, n) = (&self.layers[token.layer], token.seen.len());
        let end = match token.list {
            None => token.seen.end,
            Some(list) => self.lists[list..list + n].iter().map(|&key| key as usize + 1).max().unwrap_or(0),
        };
        end.saturating_add(layer.keys.first.1) <= (layer.keys.pages.len() * PAGE).min(u32::MAX as usize)
            && token.query + layer.n_head * layer.keys.n_embd <= self.queries.len()
            && token.bias.is_none_or(|(begin, heads)| begin + heads * n <= self.biases.len())
            && token.marks.as_ref().is_none_or(|marks| [marks.distance.len(), marks.kinds.len()] == [n; 2])
    }
}

impl LayerInputs<'_> {
    fn is_sound(&self) -> bool {
        let keys = &self.keys;
        let pages = || keys.pages.iter().flatten();
        let is_half = pages().any(|page| matches!(page.elements, Elements::F16(_)));
        let elements = keys.n_embd.saturating_mul(keys.n_head).saturating_mul(PAGE);
        keys.n_head > 0
            && self.n_head.is_multiple_of(keys.n_head)
            && self.slopes.len() == self.n_head
            && [0, self.n_head].contains(&self.sinks.len())
            && pages().all(|page| match page.elements {
                Elements::F16(halves) => halves.len() == elements && is_half,
                Elements::F32(floats) => floats.len() == elements && !is_half,
            })
    }
}

/// The attention of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// `[n_seen, n_head]` for each token.
    pub weights: Vec<f32>,
    /// `[n_head]` for each token of a layer with sinks.
    pub sinks: Vec<f32>,
    /// `[n_head]` for each token that has marks.
    pub measured: Vec<Measured>,
}

/// A pass over a recording: where it is done, and the keys that a GPU has of it.
pub struct Pass {
    compute: Arc<Compute>,
    products: u64,
    /// Why no GPU is tried any more.
    gave_up: Option<String>,
    on_gpu: Resident<Cuda>,
    #[cfg(any(test, feature = "testing"))]
    emulated: Resident<gpu::Emulated>,
}

impl Pass {
    /// Before the first token.
    pub fn new(compute: Arc<Compute>) -> Pass {
        Pass {
            compute,
            products: 0,
            gave_up: None,
            on_gpu: Resident::default(),
            #[cfg(any(test, feature = "testing"))]
            emulated: Resident::default(),
        }
    }

    /// The attention of a batch that takes so many multiplications, if a GPU computes it; without weights where that is left
    /// to the CPU. What a GPU computes is within 1e-5 of the CPU's. With [`crate::Device::Auto`] a GPU is taken once the pass has
    /// turned out to be long.
    ///
    /// # Errors
    /// [`Error::Cuda`] and [`Error::Compile`] if a GPU was asked for.
    pub fn attention<'a>(
        &mut self,
        products: u64,
        batch: impl FnOnce() -> Batch<'a>,
    ) -> Result<(Option<Weights>, Ran), Error> {
        self.products = self.products.saturating_add(products);
        if let Some(why) = &self.gave_up {
            return Ok((None, Ran::Cpu(why.clone())));
        }
        let compute = self.compute.clone();
        let (found, ran) = match compute.place(self.products, PRODUCTS, "multiplications") {
            Err(why) => return Ok((None, Ran::Cpu(why))),
            Ok(Place::Cuda(cuda)) => (gpu::attention(cuda, &mut self.on_gpu, &batch()), Ran::Cuda(cuda.name.clone())),
            #[cfg(any(test, feature = "testing"))]
            Ok(Place::Emulated(host)) => {
                (gpu::attention(&*host, &mut self.emulated, &batch()), Ran::Cuda("emulated".into()))
            }
        };
        match compute.or_cpu(found)? {
            Ok(weights) => Ok((Some(weights), ran)),
            Err(why) => {
                self.gave_up = Some(why.clone());
                Ok((None, Ran::Cpu(why)))
            }
        }
    }
}
