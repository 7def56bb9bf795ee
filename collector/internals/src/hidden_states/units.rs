//! Units that do nothing in a run: dead ones, that are next to nothing for every token, and those whose gate never lets them
//! do anything but one thing.

use super::stream::Gate;
use serde::Serialize;
use utoipa::ToSchema;

/// A unit is dead if it stays below this share of the root mean square of all units over all tokens.
pub const DEAD_SHARE: f64 = 0.01;
/// A gate is closed below this, and open above 1 minus it.
pub const GATE_EDGE: f64 = 0.01;

const CLOSED: u8 = 1;
const BETWEEN: u8 = 2;
const OPEN: u8 = 4;

/// Units of one layer, over all tokens of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct UnitCounts {
    /// Units.
    pub units: u32,
    /// Tokens that were looked at.
    pub tokens: u64,
    /// Units whose magnitude stays below 1 % of the root mean square of all, for every token.
    pub dead: u32,
    /// Saturated: units whose gate is open for every token, so that they are linear; null without the gate's input.
    pub always_open: Option<u32>,
    /// Saturated: units whose gate is closed for every token; null without the gate's input.
    pub always_closed: Option<u32>,
}

/// What is kept of the units of one layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    largest: Vec<f32>,
    squares: f64,
    values: u64,
    tokens: u64,
    gates: Vec<u8>,
}

impl Seen {
    /// Takes in the units of one token.
    pub fn activation(&mut self, x: &[f32]) {
        self.largest.resize(self.largest.len().max(x.len()), 0.0);
        for (largest, value) in self.largest.iter_mut().zip(x).filter(|(_, v)| v.is_finite()) {
            *largest = largest.max(value.abs());
            self.squares += f64::from(*value) * f64::from(*value);
            self.values += 1;
        }
        self.tokens += 1;
    }

    /// Takes in what goes into the gates of one token.
    pub fn gate(&mut self, x: &[f32], gate: Gate) {
        self.gates.resize(self.gates.len().max(x.len()), 0);
        for (seen, &value) in self.gates.iter_mut().zip(x) {
            let opening = opening(gate, f64::from(value));
            *seen |= match opening {
                o if o < GATE_EDGE => CLOSED,
                o if o > 1.0 - GATE_EDGE => OPEN,
                _ => BETWEEN,
            };
        }
    }

    /// The counts; `None` if nothing was seen.
    pub fn counts(&self) -> Option<UnitCounts> {
        if self.values == 0 {
            return None;
        }
        let least = DEAD_SHARE * (self.squares / self.values as f64).sqrt();
        let of = |wanted: u8| {
            let count = self.gates.iter().filter(|&&seen| seen == wanted).count() as u32;
            (!self.gates.is_empty()).then_some(count)
        };
        Some(UnitCounts {
            units: self.largest.len() as u32,
            tokens: self.tokens,
            dead: self.largest.iter().filter(|&&l| f64::from(l) < least).count() as u32,
            always_open: of(OPEN),
            always_closed: of(CLOSED),
        })
    }
}

/// How far a gate is open: the factor of its input in SiLU(x) = x·σ(x), GELU(x) = x·Φ(x), ReLU(x) = x·[x > 0].
fn opening(gate: Gate, x: f64) -> f64 {
    match gate {
        Gate::Silu => 1.0 / (1.0 + (-x).exp()),
        // Φ by the tanh that GELU itself is computed with (Hendrycks and Gimpel 2016, arXiv 1606.08415).
        Gate::Gelu => 0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        Gate::Relu => f64::from(u8::from(x > 0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_dead_if_no_token_wakes_it() {
        let mut seen = Seen::default();
        seen.activation(&[1.0, 0.001, 0.0, -1.0]);
        seen.activation(&[1.0, 0.002, 0.5, 1.0]);
        let counts = seen.counts().unwrap();
        assert_eq!((counts.units, counts.tokens, counts.dead), (4, 2, 1));
        assert_eq!((counts.always_open, counts.always_closed), (None, None));
        assert_eq!(Seen::default().counts(), None);
    }

    #[test]
    fn a_gate_is_saturated_if_it_is_at_the_same_end_for_every_token() {
        for gate in [Gate::Silu, Gate::Gelu, Gate::Relu] {
            let mut seen = Seen::default();
            for token in [[9.0, -9.0, 9.0], [8.0, -8.0, -9.0]] {
                seen.activation(&token);
                seen.gate(&token, gate);
            }
            let counts = seen.counts().unwrap();
            assert_eq!((counts.always_open, counts.always_closed), (Some(1), Some(1)), "{gate:?}");
        }
        assert!((opening(Gate::Silu, 0.0) - 0.5).abs() < 1e-12 && (opening(Gate::Gelu, 0.0) - 0.5).abs() < 1e-12);
    }
}
