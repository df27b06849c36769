//! Budgets and how people write them.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::predict::SizeRow;

/// Which end of the predicted retention must reach the share to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The prediction itself.
    #[default]
    Mean,
    /// The lower end of its 90% interval: the cautious choice.
    Low,
}

/// Limits that a network must respect; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budgets {
    /// Share of the reference network's Dice to keep, above 0 to 1.
    pub keep: Option<f64>,
    /// What is compared with `keep`.
    #[serde(default)]
    pub keep_bound: Bound,
    /// Most trained values.
    pub max_params: Option<u64>,
    /// Most multiply-accumulates for one image.
    pub max_macs: Option<u64>,
    /// Most bytes of activations and weights at inference, batch 1.
    pub max_memory: Option<u64>,
}

/// One budget, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Keep,
    Params,
    Macs,
    Memory,
}

impl Budgets {
    /// The budgets that `size` misses, each with the factor by which it misses (above 1), in a fixed order.
    pub(super) fn missed(&self, size: &SizeRow) -> Vec<(Limit, f64)> {
        let over = |limit, have: u64, most: Option<u64>| {
            most.filter(|&most| have > most).map(|most| (limit, have as f64 / most.max(1) as f64))
        };
        let kept = self.kept(size);
        let keep = self.keep.filter(|&k| kept < k).map(|k| (Limit::Keep, k / kept.max(1e-6)));
        let all = [
            keep,
            over(Limit::Params, size.params, self.max_params),
            over(Limit::Macs, size.macs, self.max_macs),
            over(Limit::Memory, size.memory_bytes, self.max_memory),
        ];
        all.into_iter().flatten().collect()
    }

    /// The value that is compared with `keep`.
    pub(super) fn kept(&self, size: &SizeRow) -> f64 {
        match self.keep_bound {
            Bound::Mean => size.retention.mean,
            Bound::Low => size.retention.low,
        }
    }

    /// Refuses shares outside of 0 to 1 and limits of zero.
    ///
    /// # Errors
    /// [`Error::Option`] naming the option.
    pub fn validate(&self) -> Result<()> {
        if let Some(keep) = self.keep.filter(|k| !(*k > 0.0 && *k <= 1.0)) {
            return Err(option("--keep", "a share above 0 to 1", &keep.to_string()));
        }
        let limits =
            [("--max-params", self.max_params), ("--max-macs", self.max_macs), ("--max-memory", self.max_memory)];
        match limits.into_iter().find(|(_, limit)| *limit == Some(0)) {
            Some((what, _)) => Err(option(what, "at least 1", "0")),
            None => Ok(()),
        }
    }
}

fn option(what: &str, expected: &str, got: &str) -> Error {
    Error::Option { what: what.into(), expected: expected.into(), got: got.into() }
}

/// The share that `text` says: `95%` or `0.95`. `what` is the option's name, for messages.
///
/// # Errors
/// [`Error::Option`] when it is not a share above 0 up to 1.
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
/// [`Error::Option`] when it is not a count of at least 1.
pub fn parse_count(what: &str, text: &str) -> Result<u64> {
    let units = [("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)];
    parse_scaled(text, &units).ok_or_else(|| option(what, "a count such as 250k, 1.5M or 250000", text))
}

/// The bytes that `text` says: `4MiB` (powers of 1024), `4MB` or `4M` (powers of 1000), `4096` or `4096B`.
///
/// # Errors
/// [`Error::Option`] when it is not at least one byte.
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
    fn budgets_out_of_range_are_named() {
        let error = Budgets { keep: Some(1.2), ..Budgets::default() }.validate().unwrap_err();
        assert!(error.to_string().starts_with("--keep"));
        let error = Budgets { max_macs: Some(0), ..Budgets::default() }.validate().unwrap_err();
        assert!(error.to_string().starts_with("--max-macs"));
        assert!(Budgets { keep: Some(f64::NAN), ..Budgets::default() }.validate().is_err());
    }
}
