//! Numbers as people type and read them: `250k`, `4MiB`, `95%`.

/// A count such as `250k`, `1.5M`, `2G` or `31,045,506`: k is a thousand, M a million, G a thousand millions.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let bad = || "expected a number such as 250000, 250k, 1.5M or 2G".to_string();
    let (number, unit) = split(text).ok_or_else(bad)?;
    let factor = decimal(unit).ok_or_else(bad)?;
    whole(number * factor).ok_or_else(bad)
}

/// Bytes such as `4MiB`, `512KiB`, `4MB` or `100000`; KiB is 1024 bytes, kB is 1000.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || "expected bytes such as 4MiB, 512KiB, 4MB or 100000".to_string();
    let (number, unit) = split(text).ok_or_else(bad)?;
    let unit = unit.strip_suffix(['B', 'b']).unwrap_or(unit);
    let factor = match unit.strip_suffix('i') {
        Some("K" | "k") => 1024.0,
        Some("M") => 1024.0 * 1024.0,
        Some("G") => 1024.0 * 1024.0 * 1024.0,
        Some(_) => return Err(bad()),
        None => decimal(unit).ok_or_else(bad)?,
    };
    whole(number * factor).ok_or_else(bad)
}

/// A share such as `95%` or `0.95`, above 0.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let bad = || "expected a share such as 95% or 0.95".to_string();
    let value = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map_err(|_| bad())? / 100.0,
        None => text.trim().parse::<f64>().map_err(|_| bad())?,
    };
    if value > 0.0 && value <= 1.0 { Ok(value) } else { Err(bad()) }
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let digits: String = text[..end].chars().filter(|c| !matches!(c, ',' | '_' | ' ')).collect();
    digits.parse().ok().map(|number| (number, &text[end..]))
}

fn decimal(unit: &str) -> Option<f64> {
    match unit {
        "" => Some(1.0),
        "k" | "K" => Some(1e3),
        "M" => Some(1e6),
        "G" => Some(1e9),
        _ => None,
    }
}

fn whole(value: f64) -> Option<u64> {
    (value >= 1.0 && value < 9e15).then(|| value.round() as u64)
}

/// `31045506` as `31,045,506`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three digits and a decimal unit: `31.0 M`, `122 k`, `998`.
pub fn short(n: u64) -> String {
    scaled(n, 1000.0, &["", " k", " M", " G", " T"])
}

/// Three digits and a binary unit: `4.00 MiB`, `512 KiB`, `40 B`.
pub fn bytes(n: u64) -> String {
    scaled(n, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(n: u64, base: f64, units: &[&str]) -> String {
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    if unit == 0 { format!("{n}{}", units[0]) } else { format!("{}{}", three_digits(value), units[unit]) }
}

/// A number with three significant digits and without an exponent, as `0.0123`, `1.23`, `123` or `12345`.
pub fn three_digits(value: f64) -> String {
    let magnitude = value.abs().log10().floor();
    let decimals = if value == 0.0 || !magnitude.is_finite() { 0.0 } else { (2.0 - magnitude).clamp(0.0, 6.0) };
    format!("{value:.*}", decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_bytes_and_shares_are_read_as_people_write_them() {
        assert_eq!(parse_count("250k"), Ok(250_000));
        assert_eq!(parse_count("1.5M"), Ok(1_500_000));
        assert_eq!(parse_count("31,045,506"), Ok(31_045_506));
        assert_eq!(parse_bytes("4MiB"), Ok(4 << 20));
        assert_eq!(parse_bytes("4 MB"), Ok(4_000_000));
        assert_eq!(parse_bytes("100"), Ok(100));
        assert_eq!(parse_share("95%"), Ok(0.95));
        assert_eq!(parse_share(".9"), Ok(0.9));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["", "k", "-3", "0", "5q", "1e", "nan"] {
            assert!(parse_count(text).is_err(), "{text}");
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        for text in ["95", "0", "-1%", "101%", "nan", "x"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_written_with_units() {
        assert_eq!(count(31_045_506), "31,045,506");
        assert_eq!(count(999), "999");
        assert_eq!(short(122_586), "123 k");
        assert_eq!(short(999), "999");
        assert_eq!(short(999_999), "1.00 M");
        assert_eq!(bytes(4 << 20), "4.00 MiB");
        assert_eq!(bytes(1000), "0.977 KiB");
        assert_eq!(three_digits(0.012_34), "0.0123");
        assert_eq!(three_digits(0.0), "0");
        assert_eq!(three_digits(1234.6), "1235");
    }
}
