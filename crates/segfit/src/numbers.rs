//! Numbers as people write them.

/// 1234567 as `1,234,567`.
#[must_use]
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Counts with three digits: `950`, `12.3k`, `4.56M`, `7.89G`.
#[must_use]
pub fn short(n: u64) -> String {
    scaled(n, 1000.0, &["", "k", "M", "G", "T"])
}

/// Bytes with three digits: `512 B`, `4.00 KiB`, `1.50 MiB`.
#[must_use]
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
#[must_use]
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
    fn numbers_are_written_as_people_do() {
        assert_eq!(thousands(31_045_506), "31,045,506");
        assert_eq!(thousands(7), "7");
        assert_eq!([950, 1000, 12_345, 4_560_000].map(short), ["950", "1.00k", "12.3k", "4.56M"]);
        assert_eq!((bytes(512), bytes(1023), bytes(4 << 20)), ("512 B".into(), "0.999 KiB".into(), "4.00 MiB".into()));
    }

    #[test]
    fn three_digits_are_significant_and_no_exponent_is_written() {
        assert_eq!(three_digits(0.012_34), "0.0123");
        assert_eq!(three_digits(0.0), "0");
        assert_eq!(three_digits(9.999), "10.0", "rounded before digits are counted");
        assert_eq!(three_digits(1234.6), "1235");
    }
}
