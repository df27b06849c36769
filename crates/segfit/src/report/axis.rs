//! [`Axis`]: where values lie in a figure, and which of them are written beside it.

use serde::Serialize;

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// Evenly.
    Linear,
    /// Evenly in their logarithm; values are above 0.
    Log,
}

/// An axis from `low` at `from` pixels to `high` at `to` pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    spread: Spread,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

/// A line of the grid with its label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Tick {
    /// Pixels.
    pub at: f64,
    /// Text.
    pub label: String,
}

impl Axis {
    /// An axis that holds all `values`, rounded outward to where ticks are; without values from 0 to 1.
    pub(super) fn around(spread: Spread, values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let (mut low, mut high) =
            values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            (low, high) = if spread == Spread::Log { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        match spread {
            Spread::Log => {
                let low = low.max(f64::MIN_POSITIVE);
                Self { spread, low: low / 1.15, high: high.max(low) * 1.15, from, to }
            }
            Spread::Linear => {
                let step = step((high - low).max(1e-9 * high.abs()).max(1e-12), 5.0);
                let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
                Self { spread, low, high: if high > low { high } else { low + step }, from, to }
            }
        }
    }

    /// Exactly from `low` to `high`.
    pub(super) fn between(low: f64, high: f64, (from, to): (f64, f64)) -> Self {
        Self { spread: Spread::Linear, low, high, from, to }
    }

    /// Pixels of a value, to a tenth; values outside are drawn at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.spread == Spread::Log { v.max(f64::MIN_POSITIVE).ln() } else { v };
        let (low, high) = (scale(self.low), scale(self.high));
        let share = ((scale(value.clamp(self.low, self.high)) - low) / (high - low)).clamp(0.0, 1.0);
        (10.0 * (self.from + share * (self.to - self.from))).round() / 10.0
    }

    /// The values at both ends.
    pub(super) fn ends(&self) -> [f64; 2] {
        [self.low, self.high]
    }

    /// At most about `most` round values with their places, labelled by `label`.
    pub(super) fn ticks(&self, most: usize, label: impl Fn(f64) -> String) -> Vec<Tick> {
        let values = match self.spread {
            Spread::Linear => {
                let step = step(self.high - self.low, most as f64);
                let first = (self.low / step - 1e-6).ceil() as i64;
                let last = (self.high / step + 1e-6).floor() as i64;
                (first..=last).map(|i| i as f64 * step).collect()
            }
            Spread::Log => self.round_logs(most),
        };
        values.into_iter().map(|v| Tick { at: self.at(v), label: label(v) }).collect()
    }

    /// Powers of ten, with twice and five times as much where there is room.
    fn round_logs(&self, most: usize) -> Vec<f64> {
        let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
        let of = |factors: &[f64]| -> Vec<f64> {
            let all = decades.clone().flat_map(|d| factors.iter().map(move |f| f * 10_f64.powi(d)));
            all.filter(|v| (self.low..=self.high).contains(v)).collect()
        };
        let fine = of(&[1.0, 2.0, 5.0]);
        if fine.len() <= most { fine } else { of(&[1.0]) }
    }
}

/// 1, 2 or 5 times a power of ten, so that about `count` of them make `range`.
fn step(range: f64, count: f64) -> f64 {
    let raw = range / count.max(1.0);
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= raw * 0.999).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_ends_at_round_values() {
        let axis = Axis::around(Spread::Linear, [0.63, 0.91].into_iter(), (0.0, 100.0));
        let labels: Vec<String> = axis.ticks(6, |v| format!("{v:.1}")).into_iter().map(|t| t.label).collect();
        assert_eq!(labels, ["0.6", "0.7", "0.8", "0.9", "1.0"]);
        assert_eq!((axis.at(0.6), axis.at(0.8), axis.at(7.0)), (0.0, 50.0, 100.0));
    }

    #[test]
    fn a_logarithmic_axis_has_decades() {
        let axis = Axis::around(Spread::Log, [500.0, 3e7].into_iter(), (0.0, 700.0));
        let labels: Vec<String> = axis.ticks(8, |v| format!("{v:.0}")).into_iter().map(|t| t.label).collect();
        assert_eq!(labels, ["1000", "10000", "100000", "1000000", "10000000"]);
        let short = Axis::around(Spread::Log, [9.0, 60.0].into_iter(), (0.0, 700.0));
        assert_eq!(short.ticks(8, |v| format!("{v:.0}")).len(), 3, "10, 20, 50");
    }

    #[test]
    fn no_value_and_one_value_make_an_axis() {
        for values in [vec![], vec![0.5], vec![0.0], vec![f64::NAN]] {
            for spread in [Spread::Linear, Spread::Log] {
                let axis = Axis::around(spread, values.clone().into_iter(), (0.0, 10.0));
                assert!(axis.at(0.5).is_finite());
                assert!(axis.ticks(5, |v| v.to_string()).len() <= 12);
            }
        }
    }
}
