//! Weights as colours: the light theme of the page's heatmaps, so that a picture and the page say the same.

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// A number that is none.
pub const NAN: Rgb = [216, 50, 20];
/// A key that the token does not see.
pub const UNSEEN: Rgb = [255, 255, 255];
/// Behind everything.
pub const PAPER: Rgb = [255, 255, 255];
/// Around panels and swatches.
pub const FRAME: Rgb = [138, 148, 160];

const STOPS: [(f32, [f32; 3]); 5] = [
    (0.0, [236.0, 241.0, 246.0]),
    (0.25, [178.0, 212.0, 234.0]),
    (0.5, [96.0, 164.0, 210.0]),
    (0.75, [16.0, 100.0, 166.0]),
    (1.0, [10.0, 32.0, 74.0]),
];

/// A weight as a part of the scale: its root, which tells small weights apart that would all be next to nothing.
pub fn part(weight: f32) -> f32 {
    weight.clamp(0.0, 1.0).sqrt()
}

/// The colour of a part of the scale.
pub fn of_part(part: f32) -> Rgb {
    // One of 256, as the page has them.
    let at = (part.clamp(0.0, 1.0) * 255.0).round() / 255.0;
    let next = STOPS.iter().position(|stop| stop.0 >= at).unwrap_or(STOPS.len() - 1).max(1);
    let ((from, a), (to, b)) = (STOPS[next - 1], STOPS[next]);
    let f = (at - from) / (to - from);
    std::array::from_fn(|c| (a[c] + f * (b[c] - a[c])).round() as u8)
}

/// The colour of a weight.
pub fn of(weight: f32) -> Rgb {
    if weight.is_finite() { of_part(part(weight)) } else { NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_darker_and_what_is_no_number_is_on_no_scale() {
        let light = |weight: f32| of(weight).iter().map(|&c| u32::from(c)).sum::<u32>();
        let weights = [0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 1.0];
        assert!(weights.windows(2).all(|two| light(two[0]) > light(two[1])));
        assert_eq!([of(0.0), of(1.0), of(0.25)], [[236, 241, 246], [10, 32, 74], [95, 163, 210]]);
        assert_eq!([of(f32::NAN), of(f32::INFINITY)], [NAN; 2]);
        assert!((0..=1000).all(|n| ![NAN, UNSEEN, FRAME].contains(&of(n as f32 / 1000.0))));
    }
}
