//! Attention, its measures and divergences on a device against sums in double precision, over everything that a row of
//! attention can be.

use super::backend::Backend;
use super::tests::{OnDevice, on_every_device};
use super::{Resident, attention, divergences};
use crate::attention::{
    Batch, DUPLICATE, Elements, INDUCTION, Keys, LANES, LayerInputs, Marks, Measured, PAGE, PUNCTUATION, Page, Seen,
    Step, Weights,
};
use crate::divergence::{Rows, place};

const HIDDEN: f32 = f32::NEG_INFINITY;
const SCALE: Step = Step::Scale { by: 0.4, add: 0.0 };
const SOFT_CAP: [Step; 3] = [Step::Scale { by: 0.25, add: 0.0 }, Step::Tanh, Step::Scale { by: 3.0, add: 0.0 }];

/// One layer, and what its tokens see: keys, and what the mask adds to each.
struct Case {
    name: &'static str,
    n_embd: usize,
    n_head: usize,
    n_head_kv: usize,
    /// Row of the first page that key 0 is.
    origin: usize,
    n_kv: usize,
    half: bool,
    steps: Vec<Step>,
    max_slope: f32,
    sinks: bool,
    tokens: Vec<Vec<(usize, f32)>>,
    /// An element of the keys, or of the queries, is this.
    odd: Option<(bool, f32)>,
}

fn plain(name: &'static str) -> Case {
    Case {
        name,
        n_embd: 16,
        n_head: 4,
        n_head_kv: 2,
        origin: 0,
        n_kv: 40,
        half: false,
        steps: vec![SCALE],
        max_slope: 1.0,
        sinks: false,
        tokens: causal(5, 40),
        odd: None,
    }
}

fn causal(n: usize, n_kv: usize) -> Vec<Vec<(usize, f32)>> {
    (n_kv - n..n_kv).map(|last| (0..=last).map(|key| (key, 0.0)).collect()).collect()
}

fn cases() -> Vec<Case> {
    let window = |from: usize, n: usize| (from..from + n).map(|key| (key, 0.0)).collect::<Vec<_>>();
    let alibi = |n: usize| (0..n).map(|key| (key, key as f32 - n as f32)).collect::<Vec<_>>();
    let holes = |n: usize, every: usize| (0..n).step_by(every).map(|key| (key, 0.0)).collect::<Vec<_>>();
    vec![
        Case { tokens: vec![], ..plain("no tokens") },
        Case { n_kv: 1, tokens: causal(1, 1), ..plain("one key") },
        Case { n_kv: 700, tokens: causal(20, 700), half: true, ..plain("more keys than threads, f16") },
        Case { n_kv: 1200, origin: 37, tokens: causal(3, 1200), ..plain("keys that begin within a page") },
        Case { n_kv: 400, tokens: (0..12).map(|i| window(i * 30, 33)).collect(), ..plain("sliding window") },
        Case { n_kv: 300, tokens: vec![window(0, 5), window(290, 10), window(3, 2)], ..plain("sequences apart") },
        Case { n_kv: 600, tokens: vec![holes(600, 2), holes(599, 7), window(5, 9), holes(3, 2)], ..plain("holes") },
        Case { steps: SOFT_CAP.to_vec(), half: true, ..plain("soft cap") },
        Case { max_slope: 0.25, tokens: vec![alibi(40), alibi(7)], ..plain("ALiBi") },
        Case { tokens: vec![vec![(0, HIDDEN), (1, -1.5), (2, 0.0), (3, HIDDEN)]], ..plain("a bias, and some hidden") },
        Case { sinks: true, ..plain("sinks") },
        Case { sinks: true, tokens: vec![vec![], window(0, 3)], ..plain("nothing but a sink") },
        Case { tokens: vec![vec![], vec![(3, HIDDEN), (5, HIDDEN)]], ..plain("nothing to see") },
        Case { n_head: 9, n_head_kv: 3, n_embd: 80, ..plain("groups of three") },
        Case { n_head: 24, n_head_kv: 2, n_embd: 1, ..plain("groups of twelve, heads of one element") },
        Case { n_head: 3, n_head_kv: 3, n_embd: 67, ..plain("no groups, odd heads") },
        Case { n_embd: 576, half: true, ..plain("heads longer than shared memory") },
        Case { odd: Some((false, f32::NAN)), ..plain("NaN in a key") },
        Case { odd: Some((false, f32::INFINITY)), ..plain("infinity in a key") },
        Case { odd: Some((true, f32::NAN)), sinks: true, ..plain("NaN in a query") },
        Case { odd: Some((true, HIDDEN)), tokens: vec![vec![(0, HIDDEN), (9, 0.0)]], ..plain("infinity, some hidden") },
    ]
}

/// A half, and what it stands for: multiples of 1/64 below 16.
fn half(x: f32) -> (u16, f32) {
    let x = (x * 64.0).round() / 64.0;
    let bits = x.to_bits();
    let (exponent, mantissa) = ((bits >> 23 & 255) as i32 - 112, bits >> 13 & 1023);
    match x {
        0.0 => (0, 0.0),
        x if x.is_nan() => (0x7e00, x),
        x if x.is_infinite() => (0x7c00 | (bits >> 16 & 0x8000) as u16, x),
        x => ((bits >> 16 & 0x8000) as u16 | (exponent as u16) << 10 | mantissa as u16, x),
    }
}

/// What a case is made of.
struct Made {
    halves: Vec<u16>,
    floats: Vec<f32>,
    /// `[n_embd, n_head_kv, n_kv]`.
    keys: Vec<f32>,
    /// `[n_embd, n_head, n_tokens]`.
    queries: Vec<f32>,
    slopes: Vec<f32>,
    sinks: Vec<f32>,
}

impl Case {
    fn make(&self) -> Made {
        let mut random = fastrand::Rng::with_seed(self.n_kv as u64 + 7);
        let mut number = || half(random.f32() * 4.0 - 2.0).1;
        let mut keys: Vec<f32> = (0..self.n_embd * self.n_head_kv * self.n_kv).map(|_| number()).collect();
        let n = self.n_embd * self.n_head * self.tokens.len();
        let mut queries: Vec<f32> = (0..n).map(|_| number() / (self.n_embd as f32).sqrt()).collect();
        if let Some((in_query, odd)) = self.odd {
            (if in_query { &mut queries[0] } else { &mut keys[0] }).clone_from(&odd);
        }
        let pages = (self.origin + self.n_kv).div_ceil(PAGE);
        let elements = PAGE * self.n_embd * self.n_head_kv;
        let (mut halves, mut floats) = (vec![0; pages * elements], vec![0.0; pages * elements]);
        for (key, head) in (0..self.n_kv).flat_map(|key| (0..self.n_head_kv).map(move |head| (key, head))) {
            let (page, at) = ((self.origin + key) / PAGE, (self.origin + key) % PAGE);
            for d in 0..self.n_embd {
                let x = keys[(key * self.n_head_kv + head) * self.n_embd + d];
                let block = head * (PAGE / LANES) + at / LANES;
                let place = page * elements + (block * self.n_embd + d) * LANES + at % LANES;
                (halves[place], floats[place]) = (half(x).0, x);
            }
        }
        let slopes = (0..self.n_head).map(|head| self.max_slope / (head + 1) as f32).collect();
        let sinks = if self.sinks { (0..self.n_head).map(|head| head as f32 / 2.0).collect() } else { vec![] };
        Made { halves, floats, keys, queries, slopes, sinks }
    }

    /// The batch, with every second token measured.
    fn batch<'a>(&self, made: &'a Made, id: u64, stamp: u64) -> Batch<'a> {
        let n = PAGE * self.n_embd * self.n_head_kv;
        let page = |elements| Some(Page { stamp, elements });
        let pages = match self.half {
            true => made.halves.chunks(n).map(|part| page(Elements::F16(part))).collect(),
            false => made.floats.chunks(n).map(|part| page(Elements::F32(part))).collect(),
        };
        let (n_embd, n_head) = (self.n_embd, self.n_head_kv);
        let keys = Keys { id, again: stamp > 0, n_embd, n_head, first: (3, self.origin), pages };
        let mut batch = Batch::default();
        let (slopes, sinks) = (made.slopes.clone(), made.sinks.clone());
        batch.layer(LayerInputs { keys, n_head: self.n_head, steps: self.steps.clone(), slopes, sinks });
        for (i, token) in self.tokens.iter().enumerate() {
            let keys: Vec<u32> = token.iter().map(|&(key, _)| key as u32).collect();
            let in_a_row = keys.windows(2).all(|two| two[0] + 1 == two[1]);
            let first = keys.first().map_or(0, |&key| key as usize);
            let seen = if in_a_row { Seen::Range { first, n: keys.len() } } else { Seen::List(&keys) };
            let any = token.iter().any(|&(_, bias)| bias != 0.0);
            let bias: Vec<f32> = token.iter().filter(|_| any).map(|&(_, bias)| bias).collect();
            let n = self.n_embd * self.n_head;
            batch.token(seen, &bias, &made.queries[i * n..(i + 1) * n], (i % 2 == 0).then(|| marks(token.len())));
        }
        batch
    }

    /// Weights, sinks and measures, summed up in double precision.
    fn expected(&self, made: &Made) -> (Vec<f64>, Vec<f64>, Vec<Measured>) {
        let (mut weights, mut sinks, mut measured) = (vec![], vec![], vec![]);
        for (i, head) in (0..self.tokens.len()).flat_map(|i| (0..self.n_head).map(move |head| (i, head))) {
            let kv_head = head / (self.n_head / self.n_head_kv);
            let query = &made.queries[(i * self.n_head + head) * self.n_embd..][..self.n_embd];
            let score = |&(key, bias): &(usize, f32)| {
                let key = &made.keys[(key * self.n_head_kv + kv_head) * self.n_embd..][..self.n_embd];
                let product = query.iter().zip(key).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
                let x = self.steps.iter().fold(product, |x, step| match *step {
                    Step::Scale { by, add } => x * f64::from(by) + f64::from(add),
                    Step::Tanh => x.tanh(),
                });
                if bias == HIDDEN { f64::NEG_INFINITY } else { x + f64::from(made.slopes[head]) * f64::from(bias) }
            };
            let scores: Vec<f64> = self.tokens[i].iter().map(score).collect();
            let sink = made.sinks.get(head).map(|&sink| f64::from(sink));
            let most = scores.iter().chain(&sink).copied().fold(f64::NEG_INFINITY, f64::max);
            let exp = |x: f64| if x == f64::NEG_INFINITY { 0.0 } else { (x - most).exp() };
            let sum: f64 = scores.iter().chain(&sink).map(|&x| exp(x)).sum();
            let share = |x: f64| if sum == 0.0 { 0.0 } else { exp(x) / sum };
            let row: Vec<f64> = scores.iter().map(|&x| share(x)).collect();
            sinks.extend(sink.map(share));
            if i % 2 == 0 {
                measured.push(measures(&row, &marks(row.len())));
            }
            weights.extend(row);
        }
        (weights, sinks, measured)
    }
}

fn marks(n: usize) -> Marks {
    let kind = |key: usize| {
        let of = |every: usize, kind| if key % every == 1 { kind } else { 0 };
        of(3, INDUCTION) | of(5, DUPLICATE) | of(7, PUNCTUATION)
    };
    let places = [(n > 2).then_some(1), n.checked_sub(2), n.checked_sub(1)];
    Marks { distance: (0..n).map(|key| (n - key) as f32).collect(), kinds: (0..n).map(kind).collect(), places }
}

fn measures(row: &[f64], marks: &Marks) -> Measured {
    let of = |kind: u8| row.iter().zip(&marks.kinds).filter(|(_, kinds)| *kinds & kind != 0).map(|(w, _)| w).sum();
    Measured {
        total: row.iter().sum(),
        x_ln_x: row.iter().map(|&w| if w == 0.0 { 0.0 } else { w * w.ln() }).sum(),
        distance: row.iter().zip(&marks.distance).map(|(w, &d)| w * f64::from(d)).sum(),
        places: marks.places.map(|place| place.map_or(0.0, |i| row[i])),
        kinds: [of(INDUCTION), of(DUPLICATE), of(PUNCTUATION)],
    }
}

fn numbers(m: &Measured) -> [f64; 9] {
    let ([first, previous, own], [induction, duplicate, punctuation]) = (m.places, m.kinds);
    [m.total, m.x_ln_x, m.distance, first, previous, own, induction, duplicate, punctuation]
}

#[track_caller]
fn near(name: &str, ours: &[f64], exact: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), exact.len(), "{name}");
    for (i, (a, b)) in ours.iter().zip(exact).enumerate() {
        assert!((a - b).abs() <= tolerance || (a.is_nan() && b.is_nan()), "{name}: number {i} is {a:e}, not {b:e}");
    }
}

fn check(name: &str, found: &Weights, (weights, sinks, measured): &(Vec<f64>, Vec<f64>, Vec<Measured>)) {
    let wide = |floats: &[f32]| floats.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    near(name, &wide(&found.weights), weights, 1e-5);
    near(name, &wide(&found.sinks), sinks, 1e-5);
    assert_eq!(found.measured.len(), measured.len(), "{name}");
    for (ours, exact) in found.measured.iter().zip(measured) {
        // Distances are up to 1,200.
        near(name, &numbers(ours), &numbers(exact), 2e-3);
        near(name, &numbers(ours)[..2], &numbers(exact)[..2], 1e-5);
        near(name, &numbers(ours)[3..], &numbers(exact)[3..], 1e-5);
    }
}

struct Attentions;

impl OnDevice for Attentions {
    fn run<B: Backend>(&self, device: &B) {
        let mut kept = Resident::default();
        for case in cases() {
            let made = case.make();
            let found = attention(device, &mut kept, &case.batch(&made, 1, 0)).unwrap();
            check(case.name, &found, &case.expected(&made));
            let again = attention(device, &mut Resident::default(), &case.batch(&made, 1, 0)).unwrap();
            assert_eq!(format!("{found:?}"), format!("{again:?}"), "{}: the same every time", case.name);
        }
    }
}

#[test]
fn attention_on_a_device_is_what_the_formula_says() {
    on_every_device(Attentions);
}

struct Moving;

impl OnDevice for Moving {
    fn run<B: Backend>(&self, device: &B) {
        let mut kept = Resident::default();
        let mut case = Case { n_kv: 100, tokens: causal(2, 100), ..plain("a cache that grows") };
        for (stamp, n_kv) in [(1, 100), (2, 130), (3, 131), (4, 900), (5, 60)] {
            (case.n_kv, case.tokens) = (n_kv, causal(2, n_kv));
            let made = case.make();
            let found = attention(device, &mut kept, &case.batch(&made, 8, stamp)).unwrap();
            check(case.name, &found, &case.expected(&made));
        }
        let (old, new) = (case.make(), Case { n_kv: 60, half: false, ..plain("") }.make());
        assert_ne!(old.queries, new.queries);
        let same = Made { queries: old.queries.clone(), ..case.make() };
        let other = Made { floats: vec![0.0; same.floats.len()], ..same };
        let found = attention(device, &mut kept, &case.batch(&other, 8, 5)).unwrap();
        check("pages with the same stamp are not read again", &found, &case.expected(&old));
        let found = attention(device, &mut kept, &case.batch(&other, 8, 6)).unwrap();
        assert!(found.weights[..60].iter().all(|w| (w - 1.0 / 59.0).abs() < 1e-6 || (w - 1.0 / 60.0).abs() < 1e-6));
    }
}

struct Growing;

impl OnDevice for Growing {
    fn run<B: Backend>(&self, device: &B) {
        let windows = [20, 900].map(|n| (0..n).map(|key| (key, 0.0)).collect::<Vec<_>>());
        let case = Case { n_kv: 900, tokens: windows.to_vec(), ..plain("layers that look at more and more") };
        let made = case.make();
        let whole = case.batch(&made, 9, 7).layers.remove(0);
        let (mut few, mut batch) = (whole.clone(), Batch::default());
        few.keys.pages.truncate(1);
        let (first, second) = made.queries.split_at(made.queries.len() / 2);
        batch.layer(few);
        batch.token(Seen::Range { first: 0, n: 20 }, &[], first, Some(marks(20)));
        batch.layer(whole);
        batch.token(Seen::Range { first: 0, n: 900 }, &[], second, None);
        check(case.name, &attention(device, &mut Resident::default(), &batch).unwrap(), &case.expected(&made));
    }
}

#[test]
fn keys_do_not_move_while_a_batch_looks_at_them() {
    on_every_device(Growing);
}

#[test]
fn keys_stay_on_a_device_until_they_change() {
    on_every_device(Moving);
}

#[test]
fn what_contradicts_itself_does_not_get_to_a_kernel() {
    let case = plain("sound");
    let made = case.make();
    let sound = case.batch(&made, 1, 0);
    assert_eq!(sound.flaw(), None);
    let flaw = |change: &dyn Fn(&mut Batch)| {
        let mut batch = sound.clone();
        change(&mut batch);
        batch.flaw().is_some()
    };
    assert!(flaw(&|batch| batch.tokens[0].seen = 0..65));
    assert!(flaw(&|batch| batch.tokens[0].query += 1_000_000));
    assert!(flaw(&|batch| batch.tokens[0].bias = Some((0, 1))));
    assert!(flaw(&|batch| batch.tokens[0].marks = Some(Marks::default())));
    assert!(flaw(&|batch| batch.layers[0].keys.n_embd += 1));
    assert!(flaw(&|batch| batch.layers[0].keys.first.1 = 63));
    assert!(flaw(&|batch| batch.layers[0].n_head = 3));
    assert!(flaw(&|batch| batch.layers[0].slopes.clear()));
    assert!(flaw(&|batch| batch.weights = usize::MAX));
}

struct Divergences;

impl OnDevice for Divergences {
    fn run<B: Backend>(&self, device: &B) {
        let mut random = fastrand::Rng::with_seed(3);
        for (heads, outcomes) in
            [(0, vec![5]), (1, vec![5]), (2, vec![1, 0]), (37, vec![40, 200, 64]), (16, vec![2000])]
        {
            let mut all: Vec<Vec<f32>> = vec![];
            for &n in &outcomes {
                let mut rows: Vec<f32> = (0..n * heads).map(|_| random.f32().powi(4)).collect();
                rows.chunks_exact_mut(n.max(1)).for_each(|row| {
                    let sum: f32 = row.iter().sum();
                    row.iter_mut().for_each(|w| *w /= sum);
                });
                all.push(rows);
            }
            // The last head has no row of the first token.
            if heads > 2 {
                let n = outcomes[0];
                all[0][(heads - 1) * n..].fill(f32::NAN);
            }
            let tokens: Vec<Rows> = outcomes.iter().zip(&all).map(|(&n, weights)| Rows { n, weights }).collect();
            let found = divergences(device, heads, &tokens).unwrap();
            assert_eq!(found.len(), heads * heads.saturating_sub(1) / 2);
            for (a, b) in (0..heads).flat_map(|a| (a + 1..heads).map(move |b| (a, b))) {
                let row = |rows: &Rows, head: usize| -> Vec<f64> {
                    rows.weights[head * rows.n..][..rows.n].iter().map(|&w| f64::from(w)).collect()
                };
                let js: Vec<f64> = tokens.iter().map(|rows| divergence(&row(rows, a), &row(rows, b))).collect();
                let js: Vec<f64> = js.into_iter().filter(|js| js.is_finite()).collect();
                let exact = js.iter().sum::<f64>() / js.len() as f64;
                let ours = f64::from(found[place(heads, a, b)]);
                let is_near = (ours - exact).abs() < 1e-5 || (ours.is_nan() && exact.is_nan());
                assert!(is_near, "{a}, {b} of {heads}: {ours}, not {exact}");
            }
        }
    }
}

/// By the definition: the mean of what both lose when they are told as their mean. NaN without outcomes.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    if p.is_empty() {
        return f64::NAN;
    }
    let lost = |p: f64, m: f64| if p == 0.0 { 0.0 } else { p * (p / m).ln() };
    p.iter().zip(q).map(|(&p, &q)| (lost(p, (p + q) / 2.0) + lost(q, (p + q) / 2.0)) / 2.0).sum()
}

#[test]
fn divergences_on_a_device_are_what_the_definition_says() {
    on_every_device(Divergences);
}
