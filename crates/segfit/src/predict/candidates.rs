//! The candidate models as one type, and leave-one-data-set-out: which model ships and how wide its intervals are.

use serde::{Deserialize, Serialize};

use super::Measures;
use super::interval::half_width;
use super::models::{Grid, MeanCurve, Model as _, PaperForm, Reference, Ridge};
use super::samples::SetSamples;
use super::size::SizeFeatures;
use crate::error::Result;

/// A candidate model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Mean over data sets at every size; complexity plays no part.
    MeanCurve,
    /// Linear in J and B at every size, the form of the paper.
    PaperForm,
    /// Complexity shifts and tilts the log deficit.
    Ridge,
}

impl ModelKind {
    /// All candidates, the simplest first.
    pub const ALL: [Self; 3] = [Self::MeanCurve, Self::PaperForm, Self::Ridge];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanCurve => "mean_curve",
            Self::PaperForm => "paper_form",
            Self::Ridge => "ridge",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AnyModel {
    MeanCurve(MeanCurve),
    PaperForm(PaperForm),
    Ridge(Ridge),
}

/// A candidate fitted together with the model of D_ref.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fitted {
    pub grid: Grid,
    model: AnyModel,
    reference: Reference,
}

/// Point predictions for one network on one data set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    /// D / D_ref.
    pub retention: f64,
    /// D.
    pub dice: f64,
    /// 1 - D0 / D_ref: how much retention a unit of skill is.
    pub stake: f64,
}

impl Fitted {
    /// Fits to at least one data set.
    pub(crate) fn fit(kind: ModelKind, sets: &[&SetSamples]) -> Result<Self> {
        let grid = Grid::of(sets);
        let model = match kind {
            ModelKind::MeanCurve => AnyModel::MeanCurve(MeanCurve::fit(sets, &grid)?),
            ModelKind::PaperForm => AnyModel::PaperForm(PaperForm::fit(sets, &grid)?),
            ModelKind::Ridge => AnyModel::Ridge(Ridge::fit(sets, &grid)?),
        };
        Ok(Self { grid, model, reference: Reference::fit(sets) })
    }

    /// Skill at a depth and effective log2 width.
    pub(crate) fn skill(&self, measures: &Measures, depth: usize, log2_width: f64) -> f64 {
        let depth = self.grid.nearest_depth(depth);
        let curve = match &self.model {
            AnyModel::MeanCurve(m) => m.curve(&self.grid, depth, measures),
            AnyModel::PaperForm(m) => m.curve(&self.grid, depth, measures),
            AnyModel::Ridge(m) => m.curve(&self.grid, depth, measures),
        };
        curve.at(log2_width)
    }

    /// Predicts; depths that were not calibrated are taken for the nearest that was.
    pub(crate) fn estimate(&self, measures: &Measures, constant_dice: f64, size: &SizeFeatures) -> Estimate {
        let skill = self.skill(measures, size.depth, size.log2_width);
        let reference = self.reference.dice(measures, constant_dice);
        let stake = (reference - constant_dice) / reference;
        let retention = (1.0 - (1.0 - skill) * stake).max(0.0);
        Estimate { retention, dice: (retention * reference).min(1.0), stake }
    }
}

/// Measured against predicted by a model that has not seen the data set.
#[derive(Clone, Debug)]
pub(crate) struct HeldOut {
    pub set: usize,
    pub size: SizeFeatures,
    pub is_reference: bool,
    pub retention: f64,
    pub dice: f64,
    pub estimate: Estimate,
}

impl HeldOut {
    /// Every network of the data set `set`, predicted by `fitted`.
    pub(crate) fn of(fitted: &Fitted, set: usize, samples: &SetSamples) -> Vec<Self> {
        let one = |p: &super::Point| Self {
            set,
            size: p.size.clone(),
            is_reference: p.is_reference,
            retention: samples.retention(p.dice),
            dice: p.dice,
            estimate: fitted.estimate(&samples.measures, samples.constant_dice, &p.size),
        };
        samples.points.iter().map(one).collect()
    }

    /// Error of the retention in units of skill, so that data sets with much and little at stake compare.
    fn skill_error(&self) -> f64 {
        (self.retention - self.estimate.retention) / self.estimate.stake.max(SMALLEST_STAKE)
    }

    fn logit_error(&self) -> f64 {
        logit(self.dice) - logit(self.estimate.dice)
    }
}

/// Below this stake, errors are not divided further.
pub(crate) const SMALLEST_STAKE: f64 = 0.05;

/// ln(d / (1 - d)), with d kept .001 away from 0 and 1.
pub(crate) fn logit(dice: f64) -> f64 {
    let dice = dice.clamp(0.001, 0.999);
    (dice / (1.0 - dice)).ln()
}

/// Leave-one-data-set-out predictions of one candidate.
pub(crate) fn leave_one_out(kind: ModelKind, sets: &[&SetSamples]) -> Result<Vec<HeldOut>> {
    let mut all = Vec::new();
    for (i, held) in sets.iter().enumerate() {
        let rest: Vec<&SetSamples> = sets.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, s)| *s).collect();
        all.extend(HeldOut::of(&Fitted::fit(kind, &rest)?, i, held));
    }
    Ok(all)
}

/// Mean absolute error of retention without the reference network, whose retention is 1 by definition.
pub(crate) fn mean_error(held: &[HeldOut]) -> f64 {
    let errors: Vec<f64> =
        held.iter().filter(|h| !h.is_reference).map(|h| (h.retention - h.estimate.retention).abs()).collect();
    errors.iter().sum::<f64>() / errors.len().max(1) as f64
}

/// The candidate that ships: the simplest, unless a more complex one has a smaller leave-one-data-set-out error by more than
/// the standard error, over data sets, of the difference (the one-standard-error rule of Breiman et al. 1984).
pub(crate) fn choose(candidates: &[(ModelKind, Vec<HeldOut>)]) -> Option<ModelKind> {
    let mut best = candidates.first()?;
    for candidate in &candidates[1..] {
        let gains: Vec<f64> =
            errors_by_set(&best.1).iter().zip(errors_by_set(&candidate.1)).map(|(a, b)| a - b).collect();
        let n = gains.len() as f64;
        let mean = gains.iter().sum::<f64>() / n;
        let variance = gains.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        if mean > (variance / n).sqrt() {
            best = candidate;
        }
    }
    Some(best.0)
}

fn errors_by_set(held: &[HeldOut]) -> Vec<f64> {
    let sets = held.iter().map(|h| h.set + 1).max().unwrap_or(0);
    (0..sets).map(|i| mean_error(&held.iter().filter(|h| h.set == i).cloned().collect::<Vec<_>>())).collect()
}

/// Half widths of the 90% intervals at the calibrated sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HalfWidths {
    knots: Vec<HalfWidth>,
    /// Median over the knots without the reference: what an extrapolation has at least.
    pub typical: HalfWidth,
    /// Data sets behind them.
    pub sets: usize,
}

/// Half widths at one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HalfWidth {
    pub depth: usize,
    pub log2_width: f64,
    /// Of skill.
    pub skill: f64,
    /// Of logit Dice.
    pub logit: f64,
}

/// A knot needs this many data sets for its own half width; otherwise all of its depth are pooled.
const SMALLEST_KNOT: usize = 3;

impl HalfWidths {
    /// From leave-one-data-set-out predictions, for the sizes of `grid`.
    pub(crate) fn of(held: &[HeldOut], grid: &Grid) -> Self {
        let mut knots = Vec::new();
        for knot in &grid.knots {
            let mut here: Vec<&HeldOut> = held.iter().filter(|h| knot.is(h.size.depth, h.size.log2_width)).collect();
            if here.len() < SMALLEST_KNOT {
                here = held.iter().filter(|h| h.size.depth == knot.depth && !h.is_reference).collect();
            }
            let half = |error: fn(&HeldOut) -> f64| {
                half_width(&here.iter().map(|h| error(h)).collect::<Vec<_>>()).unwrap_or(f64::MAX)
            };
            let (skill, logit) = (half(HeldOut::skill_error), half(HeldOut::logit_error));
            let skill = if grid.is_reference(knot) { 0.0 } else { skill };
            knots.push(HalfWidth { depth: knot.depth, log2_width: knot.log2_width, skill, logit });
        }
        let inner: Vec<&HalfWidth> = knots.iter().filter(|k| !grid.reference.is(k.depth, k.log2_width)).collect();
        let median = |value: fn(&HalfWidth) -> f64| {
            let mut values: Vec<f64> = inner.iter().map(|k| value(k)).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        let typical = HalfWidth { depth: 0, log2_width: 0.0, skill: median(|k| k.skill), logit: median(|k| k.logit) };
        let sets = held.iter().map(|h| h.set + 1).max().unwrap_or(0);
        Self { knots, typical, sets }
    }

    /// Linear between knots, constant outside.
    pub(crate) fn at(&self, depth: usize, log2_width: f64) -> HalfWidth {
        let mut below: Option<&HalfWidth> = None;
        for knot in self.knots.iter().filter(|k| k.depth == depth) {
            if knot.log2_width >= log2_width {
                let Some(below) = below else { return *knot };
                let t = (log2_width - below.log2_width) / (knot.log2_width - below.log2_width);
                let mix = |a: f64, b: f64| a + t * (b - a);
                let (skill, logit) = (mix(below.skill, knot.skill), mix(below.logit, knot.logit));
                return HalfWidth { depth, log2_width, skill, logit };
            }
            below = Some(knot);
        }
        below.copied().unwrap_or(self.typical)
    }
}
