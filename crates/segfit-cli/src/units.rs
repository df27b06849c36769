//! Numbers as people read them.

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
    // The exponent after rounding to three digits, so that 9.999 is written 10.0.
    let exponent = format!("{value:.2e}").rsplit('e').next().and_then(|e| e.parse::<i32>().ok()).unwrap_or(2);
    let decimals = if value == 0.0 { 0 } else { (2 - exponent).clamp(0, 6) };
    format!("{value:.*}", decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(three_digits(9.999), "10.0");
        assert_eq!(three_digits(1234.6), "1235");
    }
}
