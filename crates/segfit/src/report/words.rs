//! Numbers and names as the report writes them.

use crate::numbers::{short, thousands};
use crate::plan::Plan;
use crate::predict::Interval;

/// `97%`, `0.4%`, `<0.1%`.
pub(super) fn percent(share: f64) -> String {
    match 100.0 * share {
        p if p > 0.0 && p < 0.1 => "<0.1%".into(),
        p if p.abs() < 9.95 => format!("{p:.1}%"),
        p => format!("{p:.0}%"),
    }
}

/// `97% (94 to 99%)`.
pub(super) fn percents(i: Interval) -> String {
    let whole = |share: f64| format!("{:.0}", 100.0 * share);
    format!("{}% ({} to {}%)", whole(i.mean), whole(i.low), whole(i.high))
}

/// `1,234x` from a large number on, `12x`, `1.5x`.
pub(super) fn factor(full: f64, chosen: f64) -> String {
    match full / chosen.max(f64::MIN_POSITIVE) {
        f if f < 9.95 => format!("{f:.1}x"),
        f => format!("{}x", thousands(f.round() as u64)),
    }
}

/// A count for an axis: `500`, `10k`, `1M`.
pub(super) fn round_count(value: f64) -> String {
    let text = short(value.round() as u64);
    let (digits, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{unit}")
}

/// `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The family as people call it.
pub(super) fn family(name: &str) -> String {
    crate::network::families::FAMILIES
        .iter()
        .find(|f| f.name == name)
        .map_or_else(|| format!("network ({name})"), |f| f.title.to_string())
}

/// The plan in one sentence.
pub(super) fn answer(plan: &Plan) -> String {
    let (network, kept) = (&plan.network, plan.predicted.retention);
    let less = plan.full.params as f64 / network.params.max(1) as f64;
    let smaller = if less >= 1.05 {
        format!(", {} fewer than the full-size one,", factor(plan.full.params as f64, network.params as f64))
    } else {
        " (the full size)".into()
    };
    format!(
        "A {} of {} weights{smaller} should keep {} of the full accuracy on these images.",
        family(&network.family),
        short(network.params),
        percents(kept)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!(percents(Interval { low: 0.944, mean: 0.971, high: 1.02 }), "97% (94 to 102%)");
        assert_eq!((factor(5000.0, 4.0), factor(3.0, 2.0)), ("1,250x".into(), "1.5x".into()));
        assert_eq!([500.0, 1000.0, 20_000.0, 1.5e6].map(round_count), ["500", "1k", "20k", "1.5M"]);
        assert_eq!([0.0004, 0.05, 0.5].map(percent), ["<0.1%", "5.0%", "50%"]);
        assert_eq!([4.25, 59.0, 200.0, 7500.0].map(duration), ["4.2 s", "59 s", "3 min 20 s", "2 h 5 min"]);
        assert_eq!(family("unet"), "U-Net");
    }
}
