//! How tables show what is in a trace. Names are escaped here already, so that columns stay aligned and a name that has a
//! line break stays in its line.

pub(super) use super::terminal::printable;
use std::path::Path;

/// `[64×9]`; trailing ones are left out.
pub(super) fn shape(ne: &[i64; 4]) -> String {
    let n = ne.iter().rposition(|&e| e != 1).map_or(1, |last| last + 1);
    let dims: Vec<String> = ne[..n].iter().map(i64::to_string).collect();
    format!("[{}]", dims.join("×"))
}

/// `DISK model.gguf@4096` or `BUFFER KV cache (CPU)`.
pub(super) fn place(memory: &str, file: Option<&str>, offset: Option<u64>, buffer: Option<&str>) -> String {
    match (memory, file, offset) {
        ("DISK", Some(file), Some(offset)) => {
            let name = Path::new(file).file_name().map_or(file.into(), |f| f.to_string_lossy());
            format!("DISK {}@{offset}", printable(&name))
        }
        _ => format!("BUFFER {}", printable(buffer.unwrap_or("none"))),
    }
}

/// Nanoseconds in a unit that suits them.
pub(super) fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// `0-29` or `0,2-4`: numbers that follow each other as stretches.
pub(super) fn stretches(numbers: &[u32]) -> String {
    let mut stretches: Vec<(u32, u32)> = vec![];
    for &n in numbers {
        match stretches.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(n) => *last = n,
            _ => stretches.push((n, n)),
        }
    }
    let said = |&(a, b): &(u32, u32)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    stretches.iter().map(said).collect::<Vec<String>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_places_and_times_read_well() {
        assert_eq!([shape(&[64, 9, 1, 1]), shape(&[1, 1, 1, 1]), shape(&[1, 1, 5, 1])], ["[64×9]", "[1]", "[1×1×5]"]);
        assert_eq!(place("DISK", Some("/m/a b.gguf"), Some(4096), None), "DISK a b.gguf@4096");
        assert_eq!(place("BUFFER", None, None, Some("KV cache (CPU)")), "BUFFER KV cache (CPU)");
        assert_eq!([999, 1_500, 2_500_000, 3_000_000_000].map(duration), ["999 ns", "1.5 µs", "2.5 ms", "3.00 s"]);
    }

    #[test]
    fn numbers_that_follow_each_other_are_a_stretch() {
        assert_eq!(stretches(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(stretches(&[u32::MAX, 0]), format!("{},0", u32::MAX));
    }
}
