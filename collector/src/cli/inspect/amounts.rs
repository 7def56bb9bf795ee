//! Amounts as people write and read them.

/// Reads `8GiB`, `8G` (the same), `8GB` (powers of ten) or a number of bytes.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| "not a size such as 8GiB".to_owned())?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        other => return Err(format!("unknown unit {other}: use KiB, MiB, GiB or TiB")),
    };
    Ok((number * factor as f64) as u64)
}

/// Reads a positive number.
pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("not a positive number".to_owned()) }
}

/// `134515008` is `134.5 M`.
pub(in crate::cli) fn short(n: f64) -> String {
    const UNITS: [&str; 7] = ["", " k", " M", " G", " T", " P", " E"];
    let mut size = n;
    let mut unit = 0;
    while size.abs() >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{size:.0}") } else { format!("{size:.1}{}", UNITS[unit]) }
}

/// `8192` is `8k`, `1000` stays: lengths of contexts.
pub(super) fn tokens(n: u32) -> String {
    match n {
        0..1024 => n.to_string(),
        _ if n.is_multiple_of(1 << 20) => format!("{}M", n >> 20),
        _ if n.is_multiple_of(1024) => format!("{}k", n >> 10),
        _ => super::super::say::thousands(n.into()),
    }
}

/// A bar of up to `width` characters for a share from 0 to 1.
pub(in crate::cli) fn bar(share: f64, width: usize) -> String {
    "█".repeat((share.clamp(0.0, 1.0) * width as f64).round() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_bytes("8GiB"), Ok(8 << 30));
        assert_eq!(parse_bytes("8G"), Ok(8 << 30));
        assert_eq!(parse_bytes("1.5gb"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert!(parse_bytes("8 apples").is_err() && parse_bytes("GiB").is_err() && parse_bytes("").is_err());
        assert!(parse_rate("0").is_err() && parse_rate("nan").is_err() && parse_rate("12.5") == Ok(12.5));
    }

    #[test]
    fn amounts_read_well() {
        assert_eq!(
            [short(134_515_008.0), short(999.0), short(999_960.0), short(0.0)],
            ["134.5 M", "999", "1.0 M", "0"]
        );
        assert_eq!([tokens(512), tokens(8192), tokens(1 << 20), tokens(5000)], ["512", "8k", "1M", "5,000"]);
        assert_eq!((bar(0.5, 10), bar(7.0, 3), bar(-1.0, 3)), ("█████".into(), "███".into(), String::new()));
    }
}
