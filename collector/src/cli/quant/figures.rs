//! Numbers and small pictures of them, as the reports of `ggscope quant` show them.

/// Eight heights of a bar.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A number in at most ten characters: four digits after the point, or three and an exponent.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.001..1000.0 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

/// A number that may be missing.
pub(super) fn maybe(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), number)
}

/// Counts as heights, in `width` characters at most; what is there at all can be seen.
pub(super) fn heights(counts: &[u64], width: usize) -> String {
    let each = counts.len().div_ceil(width.max(1)).max(1);
    let sums: Vec<u64> = counts.chunks(each).map(|counts| counts.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let height = |count: u64| match count {
        0 => ' ',
        _ => HEIGHTS[((count as f64 / most as f64) * 8.0).ceil().clamp(1.0, 8.0) as usize - 1],
    };
    sums.into_iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_sizes_are_short() {
        let texts = [0.0, -0.0123456, 999.9, 1000.0, -1.5e-7, f64::MAX].map(number);
        assert_eq!(texts, ["0", "-0.0123", "999.9000", "1.00e3", "-1.50e-7", "1.80e308"]);
        assert!(texts.iter().all(|text| text.len() <= 10));
        assert_eq!(maybe(None), "-");
    }

    #[test]
    fn what_is_there_has_a_height() {
        assert_eq!(heights(&[0, 1, 1000, 500], 4), " ▁█▄");
        assert_eq!(heights(&[1, 1, 3, 1], 2), "▄█");
        assert_eq!((heights(&[], 4), heights(&[0, 0], 4)), (String::new(), "  ".to_owned()));
    }
}
