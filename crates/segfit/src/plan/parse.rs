//! Shares, counts, bytes and times as people write them.

use super::budget::option;
use crate::error::Result;

/// The share that `text` says: `95%` or `0.95`. `what` is the option's name, for messages.
///
/// # Errors
/// [`crate::Error::Option`] when it is not a share above 0 up to 1.
///
/// ```
/// assert_eq!(segfit::plan::parse_share("--keep", "95%").unwrap(), 0.95);
/// ```
pub fn parse_share(what: &str, text: &str) -> Result<f64> {
    let (digits, divisor) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (text.trim(), 1.0),
    };
    let share = plain_number(digits).map(|v| v / divisor);
    share.filter(|v| *v > 0.0 && *v <= 1.0).ok_or_else(|| option(what, "a share such as 95% or 0.95", text))
}

/// The count that `text` says: `7784`, `7_784`, `250k`, `1.5M`, `2G`; k, M and G are powers of 1000.
///
/// # Errors
/// [`crate::Error::Option`] when it is not a count of at least 1.
pub fn parse_count(what: &str, text: &str) -> Result<u64> {
    let units = [("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)];
    parse_scaled(text, &units).ok_or_else(|| option(what, "a count such as 250k, 1.5M or 250000", text))
}

/// The bytes that `text` says: `4MiB` (powers of 1024), `4MB` or `4M` (powers of 1000), `4096` or `4096B`.
///
/// # Errors
/// [`crate::Error::Option`] when it is not at least one byte.
pub fn parse_bytes(what: &str, text: &str) -> Result<u64> {
    let units = [
        ("KiB", 1024.0),
        ("MiB", 1024.0 * 1024.0),
        ("GiB", 1024.0 * 1024.0 * 1024.0),
        ("kB", 1e3),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("k", 1e3),
        ("K", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("B", 1.0),
    ];
    parse_scaled(text, &units).ok_or_else(|| option(what, "bytes such as 4MiB, 4MB or 4194304", text))
}

/// The milliseconds that `text` says: `20ms`, `0.5s`, `800us`, or `20`.
///
/// # Errors
/// [`crate::Error::Option`] when it is not a time above 0.
///
/// ```
/// assert_eq!(segfit::plan::parse_milliseconds("--max-latency", "0.5s").unwrap(), 500.0);
/// ```
pub fn parse_milliseconds(what: &str, text: &str) -> Result<f64> {
    let units = [("ms", 1.0), ("us", 1e-3), ("s", 1e3)];
    let unit = units.iter().find_map(|(unit, factor)| Some((text.trim().strip_suffix(unit)?, *factor)));
    let (digits, factor) = unit.unwrap_or((text.trim(), 1.0));
    let time = plain_number(digits.trim_end()).map(|v| v * factor).filter(|v| *v > 0.0 && *v <= 1e9);
    time.ok_or_else(|| option(what, "a time such as 20ms, 0.5s or 20 (milliseconds)", text))
}

/// The first unit that fits; whole numbers of 1 up to 2^53 only.
fn parse_scaled(text: &str, units: &[(&str, f64)]) -> Option<u64> {
    let text = text.trim();
    let unit = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = unit.unwrap_or((text, 1.0));
    let value = plain_number(digits.trim_end())? * factor;
    let whole = value.round();
    let is_whole = (value - whole).abs() <= 1e-9 * whole.abs() || factor > 1.0;
    (is_whole && (1.0..=9.007_199_254_740_992e15).contains(&whole)).then_some(whole as u64)
}

/// Digits with at most one point; `_` may group them.
fn plain_number(text: &str) -> Option<f64> {
    let digits: String = text.chars().filter(|&c| c != '_').collect();
    let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.') && digits.contains(|c: char| c.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read() {
        for (text, share) in [("95%", 0.95), ("0.95", 0.95), ("100 %", 1.0), (" 1 ", 1.0)] {
            assert!((parse_share("--keep", text).unwrap() - share).abs() < 1e-12, "{text}");
        }
        for text in ["95", "0", "-5%", "101%", "nan", "", "%", "1e-1"] {
            let error = parse_share("--keep", text).unwrap_err();
            assert_eq!(error.to_string(), format!("--keep: expected a share such as 95% or 0.95, got {text}"));
        }
    }

    #[test]
    fn counts_are_read() {
        let cases = [("250k", 250_000), ("1.5M", 1_500_000), ("500M", 500_000_000), ("7784", 7784), ("7_784", 7784)];
        for (text, count) in cases {
            assert_eq!(parse_count("--max-params", text).unwrap(), count, "{text}");
        }
        for text in ["0", "1.5", "-3", "k", "3 apples", "1e6", "inf", "99999999T"] {
            assert!(parse_count("--max-params", text).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_are_read() {
        let cases =
            [("4MiB", 4 << 20), ("4MB", 4_000_000), ("4M", 4_000_000), ("1.5KiB", 1536), ("10B", 10), ("10", 10)];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes("--max-memory", text).unwrap(), bytes, "{text}");
        }
        assert!(parse_bytes("--max-memory", "4 MiBit").is_err());
    }

    #[test]
    fn times_are_read() {
        for (text, ms) in [("20ms", 20.0), ("20", 20.0), ("0.5s", 500.0), ("800 us", 0.8)] {
            assert!((parse_milliseconds("--max-latency", text).unwrap() - ms).abs() < 1e-12, "{text}");
        }
        for text in ["0", "-1ms", "ms", "1h", "inf"] {
            assert!(parse_milliseconds("--max-latency", text).is_err(), "{text}");
        }
    }
}
