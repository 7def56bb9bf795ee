//! Numbers and bytes for the tests: the same at every run, and rows of the kinds that upset quantisers.

/// A xorshift generator (Marsaglia, "Xorshift RNGs", 2003).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| (self.next() >> 32) as u8).collect()
    }

    /// Near enough to normally distributed, deviation 1: the sum of twelve uniform numbers.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (0..12).map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0).collect()
    }
}

/// Rows of `n` finite values, each with the name of its kind.
pub fn kinds_of_rows(n: usize) -> Vec<(&'static str, Vec<f32>)> {
    let normals = Noise::new(1).normals(n);
    let scaled = |factor: f32| normals.iter().map(|v| v * factor).collect::<Vec<_>>();
    let one_at = |at: usize, value: f32| (0..n).map(|i| if i == at { value } else { 0.0 }).collect::<Vec<_>>();
    vec![
        ("normal", normals.clone()),
        ("zeros", vec![0.0; n]),
        ("negative zeros", vec![-0.0; n]),
        ("all the same", vec![0.1; n]),
        ("all the largest", vec![65_504.0; n]),
        ("all the most negative", vec![-65_504.0; n]),
        ("large", scaled(10_000.0)),
        ("small", scaled(1e-12)),
        ("smaller", scaled(1e-25)),
        ("about the smallest", scaled(1e-30)),
        ("subnormal", scaled(1e-42)),
        ("one large", one_at(5, 65_504.0)),
        ("one small", one_at(n - 1, -1e-20)),
        ("alternating", (0..n).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect()),
        ("rising", (0..n).map(|i| i as f32 / n as f32).collect()),
        ("all positive", normals.iter().map(|v| v.abs()).collect()),
        ("all negative", normals.iter().map(|v| -v.abs()).collect()),
        ("of all magnitudes", (0..n).map(|i| (2.0_f32).powi((i % 56) as i32 - 40)).collect()),
        ("large and subnormal", (0..n).map(|i| if i % 3 == 0 { 60_000.0 } else { 1e-40 }).collect()),
    ]
}
