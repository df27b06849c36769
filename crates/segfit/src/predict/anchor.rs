//! An *anchor*: one run on the user's own data shifts the predictions for all sizes.
//!
//! On the data sets left out, the errors of one model at two sizes go together: where the Dice of one network was better than
//! predicted, that of the others was, too. So the error seen at the anchor, e_a (logit Dice), predicts the error e at another
//! size: e = b e_a with b = sum e e_a / (sum e_a^2 + mean e_a^2) over the data sets left out, which is the posterior mean under
//! normal errors of covariance as measured, with the weight of one more data set drawing b to 0.

use super::candidates::{Estimate, logit};
use super::grid::{Grid, Spot};
use super::half_widths::{HalfWidths, Residual};
use super::monotone::Monotone;
use crate::network::NetworkSpec;

/// A network that was trained on the data set of a prediction, and what it reached.
#[derive(Clone, Copy, Debug)]
pub struct KnownRun<'a> {
    /// The network.
    pub network: &'a NetworkSpec,
    /// Its mean test Dice, 0 to 1.
    pub dice: f64,
}

/// What an anchor changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Anchored {
    /// Shift of retention at every knot.
    retention: Vec<f64>,
    /// Shift of logit Dice at every knot.
    logit: Vec<f64>,
    /// The intervals that held on the data sets left out after each was anchored by its own network of the anchor's size.
    pub half_widths: HalfWidths,
}

impl Anchored {
    /// For an anchor at `anchor` whose logit Dice was `surprise` above the prediction. Retention, and Dice, keep their
    /// predictions and intervals when anchoring does not make the intervals narrower on the data sets left out.
    pub(crate) fn new(residuals: &[Residual], grid: &Grid, anchor: &Spot, surprise: f64, plain: &HalfWidths) -> Self {
        let sets = residuals.iter().map(|r| r.set + 1).max().unwrap_or(0);
        let at_anchor: Vec<Option<f64>> = (0..sets).map(|s| error_at(residuals, s, anchor, |r| r.logit)).collect();
        let slope = |error: fn(&Residual) -> f64, spot: &Spot, without: Option<usize>| {
            let pairs = (0..sets)
                .filter(|s| Some(*s) != without)
                .filter_map(|s| Some((error_at(residuals, s, spot, error)?, at_anchor[s]?)));
            shrunk_slope(&pairs.collect::<Vec<_>>())
        };
        let adjusted = |r: &Residual| {
            let seen = at_anchor[r.set].unwrap_or(0.0);
            let retention =
                if r.is_reference { 0.0 } else { r.retention - slope(|r| r.retention, &r.spot, Some(r.set)) * seen };
            Residual { retention, logit: r.logit - slope(|r| r.logit, &r.spot, Some(r.set)) * seen, ..*r }
        };
        let adjusted: Vec<Residual> = residuals.iter().map(adjusted).collect();
        let mut half_widths = HalfWidths::of(&adjusted, grid);
        let all: Vec<&Residual> = residuals.iter().collect();
        let inner: Vec<&Residual> = residuals.iter().filter(|r| !r.is_reference).collect();
        let shifts = |error: fn(&Residual) -> f64| -> Vec<f64> {
            grid.knots.iter().map(|k| surprise * slope(error, &k.spot(), None)).collect()
        };
        let (mut retention, mut logit) = (shifts(|r| r.retention), shifts(|r| r.logit));
        if half_widths.retention.mean(&inner, grid) >= plain.retention.mean(&inner, grid) {
            half_widths.retention = plain.retention.clone();
            retention.fill(0.0);
        }
        if half_widths.logit.mean(&all, grid) >= plain.logit.mean(&all, grid) {
            half_widths.logit = plain.logit.clone();
            logit.fill(0.0);
        }
        Self { retention, logit, half_widths }
    }

    /// Retention and logit Dice at `spot`, where `plain` is the prediction without the anchor; both rise with the width.
    pub(crate) fn shifted(&self, grid: &Grid, spot: &Spot, plain: &dyn Fn(&Spot) -> Estimate) -> (f64, f64) {
        let retention = if self.retention.iter().all(|s| *s == 0.0) {
            plain(spot).retention
        } else {
            let curve = grid.curve(spot, |i, knot| plain(&knot.spot()).retention + self.retention[i]);
            curve.at(spot.log2_width).max(0.0)
        };
        let row = grid.row(spot.family, spot.depth);
        let knots = row.map(|(i, k)| (k.log2_width, logit(plain(&k.spot()).dice()) + self.logit[i], 1.0));
        let curve = Monotone::fit(knots.collect());
        // Below the first knot a logit may fall further, by the slope of its prediction.
        let first = grid.width_range(spot).0;
        let below = if spot.log2_width < first {
            logit(plain(spot).dice()) - logit(plain(&Spot { log2_width: first, ..*spot }).dice())
        } else {
            0.0
        };
        (retention, curve.at(spot.log2_width.max(first)) + below.min(0.0))
    }
}

/// sum x y / (sum y^2 + mean y^2); 0 without pairs.
fn shrunk_slope(pairs: &[(f64, f64)]) -> f64 {
    let squares: f64 = pairs.iter().map(|(_, y)| y * y).sum();
    let products: f64 = pairs.iter().map(|(x, y)| x * y).sum();
    if squares == 0.0 { 0.0 } else { products / (squares * (1.0 + 1.0 / pairs.len() as f64)) }
}

/// Error of a data set at a size: linear between its own networks of that family and depth, constant outside; `None` when it has
/// none.
fn error_at(residuals: &[Residual], set: usize, spot: &Spot, error: fn(&Residual) -> f64) -> Option<f64> {
    let here = |r: &&Residual| r.set == set && (r.spot.family, r.spot.depth) == (spot.family, spot.depth);
    let own = || residuals.iter().filter(here);
    let x = |r: &&Residual| r.spot.log2_width;
    let below = own().filter(|r| x(r) <= spot.log2_width + 1e-9).max_by(|a, b| x(a).total_cmp(&x(b)));
    let above = own().filter(|r| x(r) >= spot.log2_width - 1e-9).min_by(|a, b| x(a).total_cmp(&x(b)));
    match (below, above) {
        (Some(a), Some(b)) if x(&b) - x(&a) > 1e-9 => {
            let t = (spot.log2_width - x(&a)) / (x(&b) - x(&a));
            Some(error(a) + t * (error(b) - error(a)))
        }
        (Some(one), _) | (None, Some(one)) => Some(error(one)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::families::{self, unet};
    use crate::predict::mapping::Mapping;
    use crate::predict::synthetic::{World, measures, records};

    fn net(base_width: usize) -> NetworkSpec {
        unet(&families::Options { in_channels: 1, classes: 2, base_width, depth: 4, ..families::Options::default() })
            .unwrap()
    }

    #[test]
    fn the_slope_is_drawn_to_zero_by_one_more_data_set() {
        assert_eq!(shrunk_slope(&[(1.0, 1.0), (2.0, 2.0), (-1.0, -1.0)]), 0.75);
        assert_eq!(shrunk_slope(&[]), 0.0);
    }

    /// Data sets differ in a way that no measure explains; an anchor tells which kind this one is.
    fn world() -> World {
        World { sets: 16, unexplained: 0.8, noise: 0.002, seed: 3, ..World::default() }
    }

    #[test]
    fn a_run_narrows_the_interval_of_dice_and_shifts_it() {
        let mapping = Mapping::fit(&records(&world())).unwrap();
        let (z, d0) = (measures(0.0), 0.4);
        let before = mapping.predict(&z, d0, &net(2), 128).unwrap();
        let at_anchor = mapping.predict(&z, d0, &net(4), 128).unwrap().dice.mean;
        let with = |dice: f64| mapping.anchored(&z, d0, &KnownRun { network: &net(4), dice }).unwrap();
        let (better, worse) = (with(at_anchor + 0.05), with(at_anchor - 0.05));
        let dice = |m: &Mapping, w: usize| m.predict(&z, d0, &net(w), 128).unwrap().dice;
        assert!(dice(&better, 2).mean > before.dice.mean && dice(&worse, 2).mean < before.dice.mean);
        let width = |i: crate::predict::Interval| i.high - i.low;
        assert!(width(dice(&better, 4)) < 0.7 * width(mapping.predict(&z, d0, &net(4), 128).unwrap().dice));
        assert!((dice(&better, 4).mean - at_anchor - 0.05).abs() < 0.02, "near what was measured, shrunk a little");
        for m in [&better, &worse] {
            let curve: Vec<f64> = [1, 2, 3, 4, 6, 8, 12, 16, 32].map(|w| dice(m, w).mean).to_vec();
            assert!(curve.windows(2).all(|p| p[0] <= p[1] + 1e-12), "{curve:?}");
        }
    }

    #[test]
    fn a_run_as_predicted_changes_no_mean() {
        let mapping = Mapping::fit(&records(&world())).unwrap();
        let (z, d0) = (measures(0.0), 0.4);
        let before = mapping.predict(&z, d0, &net(4), 128).unwrap().dice.mean;
        let anchored = mapping.anchored(&z, d0, &KnownRun { network: &net(4), dice: before }).unwrap();
        for width in [1, 2, 4, 8, 16] {
            let [a, b] = [&mapping, &anchored].map(|m| m.predict(&z, d0, &net(width), 128).unwrap());
            assert!((a.dice.mean - b.dice.mean).abs() < 1e-9 && (a.retention.mean - b.retention.mean).abs() < 1e-9);
        }
        assert!(mapping.anchored(&z, d0, &KnownRun { network: &net(4), dice: 1.5 }).is_err());
    }
}
