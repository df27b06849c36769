//! The candidate models as one type, and leave-one-data-set-out: which model ships.

use serde::{Deserialize, Serialize};

use super::Measures;
use super::grid::{Grid, Spot};
use super::models::{
    Deficit, Features, Gaussian, MeanCurve, MedianCurve, Model, PaperForm, ParamsOnly, Probe, Reference, Traits,
};
use super::samples::{Point, SetSamples};
use super::size::SizeFeatures;
use crate::error::Result;

/// A candidate model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Mean retention over data sets at every size; complexity plays no part.
    MeanCurve,
    /// Median retention over data sets at every size; complexity plays no part.
    MedianCurve,
    /// The number of parameters alone.
    ParamsOnly,
    /// Linear in J and B at every size, the form of the paper.
    PaperForm,
    /// The Dice of a linear pixel classifier shifts and tilts the log deficit of retention.
    Probe,
    /// Five fixed measures shift and tilt the log deficit of skill.
    Ridge,
    /// Up to three measures, selected on the data sets it is fitted to, shift and tilt the log deficit.
    Selected,
    /// A Gaussian process over five fixed measures and size.
    Gaussian,
}

impl ModelKind {
    /// All candidates, the simplest first.
    pub const ALL: [Self; 8] = [
        Self::MeanCurve,
        Self::MedianCurve,
        Self::ParamsOnly,
        Self::PaperForm,
        Self::Probe,
        Self::Ridge,
        Self::Selected,
        Self::Gaussian,
    ];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanCurve => "mean_curve",
            Self::MedianCurve => "median_curve",
            Self::ParamsOnly => "params_only",
            Self::PaperForm => "paper_form",
            Self::Probe => "probe",
            Self::Ridge => "ridge",
            Self::Selected => "selected",
            Self::Gaussian => "gaussian",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AnyModel {
    MeanCurve(MeanCurve),
    MedianCurve(MedianCurve),
    ParamsOnly(ParamsOnly),
    PaperForm(PaperForm),
    Probe(Probe),
    Deficit(Deficit),
    Gaussian(Gaussian),
}

impl AnyModel {
    fn fit(kind: ModelKind, sets: &[&SetSamples], grid: &Grid) -> Result<Self> {
        Ok(match kind {
            ModelKind::MeanCurve => Self::MeanCurve(MeanCurve::fit(sets, grid)),
            ModelKind::MedianCurve => Self::MedianCurve(MedianCurve::fit(sets, grid)),
            ModelKind::ParamsOnly => Self::ParamsOnly(ParamsOnly::fit(sets)),
            ModelKind::PaperForm => Self::PaperForm(PaperForm::fit(sets, grid)?),
            ModelKind::Probe => Self::Probe(Probe::fit(sets, grid)?),
            ModelKind::Ridge => Self::Deficit(Deficit::fit(sets, grid, Features::Fixed)?),
            ModelKind::Selected => Self::Deficit(Deficit::fit(sets, grid, Features::Selected)?),
            ModelKind::Gaussian => Self::Gaussian(Gaussian::fit(sets, grid)?),
        })
    }

    fn model(&self) -> &dyn Model {
        match self {
            Self::MeanCurve(m) => m,
            Self::MedianCurve(m) => m,
            Self::ParamsOnly(m) => m,
            Self::PaperForm(m) => m,
            Self::Probe(m) => m,
            Self::Deficit(m) => m,
            Self::Gaussian(m) => m,
        }
    }
}

/// A candidate fitted together with the model of D_ref.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fitted {
    pub grid: Grid,
    model: AnyModel,
    reference: Reference,
}

/// Point predictions for one network on one data set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Estimate {
    /// D / D_ref.
    pub retention: f64,
    /// D_ref.
    pub reference: f64,
    /// 1 - D0 / D_ref: how much retention a unit of skill is.
    pub stake: f64,
}

impl Estimate {
    /// D, at most 1.
    pub(crate) fn dice(&self) -> f64 {
        (self.retention * self.reference).min(1.0)
    }
}

impl Fitted {
    /// Fits to at least one data set. Everything that is chosen (features, penalties, weights of the levels) is chosen on these
    /// data sets alone.
    pub(crate) fn fit(kind: ModelKind, sets: &[&SetSamples]) -> Result<Self> {
        Self::on(kind, sets, Grid::of(sets))
    }

    fn on(kind: ModelKind, sets: &[&SetSamples], grid: Grid) -> Result<Self> {
        Ok(Self { model: AnyModel::fit(kind, sets, &grid)?, reference: Reference::fit(sets, &grid), grid })
    }

    /// Predicts a network that lies at `spot`.
    pub(crate) fn estimate(&self, measures: &Measures, constant_dice: f64, spot: &Spot) -> Estimate {
        let reference = self.reference.dice(measures, constant_dice, spot.family);
        let stake = (reference - constant_dice) / reference;
        let retention = self.model.model().retention(&self.grid, &Traits { measures, stake }, spot);
        Estimate { retention, reference, stake }
    }

    /// Measures that the prediction depends on, without repetition.
    pub(crate) fn measures(&self) -> Vec<&str> {
        let mut names = self.model.model().measures();
        names.extend(self.reference.measures());
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Measured against predicted by a model that has not seen the data set.
#[derive(Clone, Debug)]
pub(crate) struct HeldOut {
    /// Index of the data set.
    pub set: usize,
    pub family: String,
    pub size: SizeFeatures,
    pub is_reference: bool,
    pub is_uniform: bool,
    pub retention: f64,
    pub dice: f64,
    pub estimate: Estimate,
}

impl HeldOut {
    /// Every network of the data set `set`, predicted by `fitted`.
    pub(crate) fn of(fitted: &Fitted, set: usize, samples: &SetSamples) -> Vec<Self> {
        let one = |p: &Point| {
            let spot = fitted.grid.spot(&p.family, &p.size);
            Self {
                set,
                family: p.family.clone(),
                size: p.size.clone(),
                is_reference: p.is_reference,
                is_uniform: p.is_uniform,
                retention: p.retention(),
                dice: p.dice,
                estimate: fitted.estimate(&samples.measures, samples.constant_dice, &spot),
            }
        };
        samples.points.iter().map(one).collect()
    }

    /// |error| of retention.
    pub(crate) fn error(&self) -> f64 {
        (self.retention - self.estimate.retention).abs()
    }

    /// Error of logit Dice.
    pub(crate) fn logit_error(&self) -> f64 {
        logit(self.dice) - logit(self.estimate.dice())
    }
}

/// ln(d / (1 - d)), with d kept .001 away from 0 and 1.
pub(crate) fn logit(dice: f64) -> f64 {
    let dice = dice.clamp(0.001, 0.999);
    (dice / (1.0 - dice)).ln()
}

/// Indices of the original data sets, the ones that errors are measured on.
pub(crate) fn originals(sets: &[&SetSamples]) -> Vec<usize> {
    (0..sets.len()).filter(|&i| sets[i].is_original()).collect()
}

/// All data sets but the one named and those made from it.
pub(crate) fn without<'a>(sets: &[&'a SetSamples], root: &str) -> Vec<&'a SetSamples> {
    sets.iter().filter(|s| s.root() != root).copied().collect()
}

/// Predictions of every original data set by one candidate fitted to the others.
pub(crate) fn leave_one_out(kind: ModelKind, sets: &[&SetSamples]) -> Result<Vec<HeldOut>> {
    let mut all = Vec::new();
    for i in originals(sets) {
        all.extend(HeldOut::of(&Fitted::fit(kind, &without(sets, &sets[i].name))?, i, sets[i]));
    }
    Ok(all)
}

/// Mean absolute error of retention without the reference networks, whose retention is 1 by definition; every data set has
/// the same weight.
pub(crate) fn mean_error(held: &[HeldOut]) -> f64 {
    let errors = errors_by_set(held);
    errors.iter().sum::<f64>() / errors.len().max(1) as f64
}

/// Mean absolute error of retention on every data set that has networks other than the reference, in the order of the sets.
pub(crate) fn errors_by_set(held: &[HeldOut]) -> Vec<f64> {
    let mut sums: std::collections::BTreeMap<usize, (f64, f64)> = std::collections::BTreeMap::new();
    for h in held.iter().filter(|h| !h.is_reference) {
        let sum = sums.entry(h.set).or_default();
        *sum = (sum.0 + h.error(), sum.1 + 1.0);
    }
    sums.into_values().map(|(sum, n)| sum / n).collect()
}

/// The candidate that ships: the one with the smallest leave-one-data-set-out error, the simpler one on a tie. (The regressions
/// contain the plain mean curve as their strongest penalty, so that there is little to guard against; the one-standard-error rule
/// of Breiman et al. 1984 was tried and made the choice, not the models, the largest source of error.)
pub(crate) fn choose(candidates: &[(ModelKind, Vec<HeldOut>)]) -> Option<ModelKind> {
    let mut best: Option<(ModelKind, f64)> = None;
    for (kind, held) in candidates {
        let error = mean_error(held);
        if best.is_none_or(|b| error < b.1 - 1e-12) {
            best = Some((*kind, error));
        }
    }
    best.map(|b| b.0)
}
