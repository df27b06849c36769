//! How well the candidate models predict data sets that they have not seen.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::candidates::{Fitted, HeldOut, ModelKind, choose, leave_one_out, originals, without};
use super::choices::Choices;
use super::decision::{Decision, Predicted, error_at_choices, margin};
use super::half_widths::{HalfWidths, Residual};
use super::interval::Interval;
use super::noise::Noise;
use super::record::Record;
use super::samples::{Point, Samples, SetSamples};
use super::scores::ModelScore;
use crate::error::{Error, Result};

/// `format` of check files.
pub const CHECK_FORMAT: &str = "segfit-check/2";

/// What to check.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckOptions {
    /// Check also with variants and synthetic data sets in the training.
    pub variants: bool,
    /// Share of the reference network's Dice that the decisions are to keep.
    pub keep: f64,
    /// What other methods chose, to be compared with.
    pub others: Vec<Choices>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { variants: false, keep: 0.95, others: Vec::new() }
    }
}

/// Scores of all models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// [`CHECK_FORMAT`].
    pub format: String,
    /// Data sets used and scored.
    pub data_sets: Vec<String>,
    /// Data sets that could not be used, with the reason.
    pub left_out: Vec<String>,
    /// `shipped`, then the candidates, fitted to original data sets only.
    pub models: Vec<ModelScore>,
    /// Which candidate `shipped` was for each data set.
    pub shipped_was: Vec<ModelKind>,
    /// Variants and synthetic data sets in the records.
    pub variants: Vec<String>,
    /// The models fitted to those, too, and scored on the same data sets; empty when not asked for or without variants.
    pub models_with_variants: Vec<ModelScore>,
    /// What no prediction can get below.
    pub noise: Noise,
    /// The choice of a size.
    pub decision: Decision,
    /// What the shipped procedure, without the data set, predicted for every network but the reference.
    pub predictions: Vec<LeftOut>,
}

/// A network of a data set left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The data set.
    pub data_set: String,
    /// Network family.
    pub family: String,
    /// Base width, for naming.
    pub base_width: usize,
    /// Poolings.
    pub depth: usize,
    /// Whether no group was narrowed or widened.
    pub uniform: bool,
    /// Trained parameters.
    pub params: u64,
    /// Measured retention.
    pub measured: f64,
    /// Its prediction with the 90% interval.
    pub predicted: Interval,
    /// Measured Dice.
    pub dice: f64,
    /// Its prediction.
    pub predicted_dice: f64,
}

/// [`check_with`] the default options.
///
/// # Errors
/// As [`check_with`].
pub fn check(records: &[Record]) -> Result<Check> {
    check_with(records, &CheckOptions::default())
}

/// Checks all candidates and the shipped procedure by nested leave-one-data-set-out: for every original data set, everything
/// that is chosen (model, features, penalties, weights of the levels, units and widths of intervals) comes from the others
/// alone; variants are left out together with their parent.
///
/// # Errors
/// [`Error::Calibration`] when the records do not belong together or fewer than four data sets can be used;
/// [`Error::Option`] for a share to keep that is not above 0 and at most 1.
pub fn check_with(records: &[Record], options: &CheckOptions) -> Result<Check> {
    if !(options.keep > 0.0 && options.keep <= 1.0) {
        let (what, expected) = ("share to keep".into(), "above 0 and at most 1".into());
        return Err(Error::Option { what, expected, got: options.keep.to_string() });
    }
    let samples = Samples::of(records)?;
    let sets = samples.training(false);
    if sets.len() < 4 {
        let reason = format!("{} data sets can be used, a check needs at least 4", sets.len());
        return Err(Error::Calibration { reason: [vec![reason], samples.left_out].concat().join("; ") });
    }
    let plain = Folds::of(&sets)?;
    let variants: Vec<String> = samples.sets.iter().filter(|s| !s.is_original()).map(|s| s.name.clone()).collect();
    let noise = Noise::of(&sets);
    let scores = |folds: &Folds| folds.scores(&sets, &samples.family, options.keep, noise.floor_seeds);
    let models_with_variants = if options.variants && !variants.is_empty() {
        scores(&Folds::of(&samples.training(true))?)
    } else {
        Vec::new()
    };
    let predicted: Vec<Predicted> = plain
        .folds
        .iter()
        .zip(plain.shipped())
        .map(|(fold, predictions)| Predicted {
            points: predictions.iter().map(|p| (p.1.mean, p.1.low)).collect(),
            margin: margin(&fold.residuals, options.keep),
            paper: fold.candidates[ModelKind::PaperForm as usize]
                .as_ref()
                .map(|own| own.iter().map(|p| p.1.mean).collect())
                .map_err(Clone::clone),
        })
        .collect();
    let predictions = sets.iter().zip(plain.shipped()).flat_map(|(set, fold)| left_out(set, fold)).collect();
    Ok(Check {
        format: CHECK_FORMAT.into(),
        data_sets: sets.iter().map(|s| s.name.clone()).collect(),
        left_out: samples.left_out.clone(),
        models: scores(&plain),
        shipped_was: plain.folds.iter().map(|f| f.shipped).collect(),
        variants,
        models_with_variants,
        noise,
        decision: Decision::of(&sets, &samples.family, &predicted, &options.others, options.keep),
        predictions,
    })
}

fn left_out(set: &SetSamples, fold: &Predictions) -> Vec<LeftOut> {
    let one = |(point, (held, predicted)): (&Point, &(HeldOut, Interval))| LeftOut {
        data_set: set.name.clone(),
        family: point.family.clone(),
        base_width: point.base_width,
        depth: point.size.depth,
        uniform: point.is_uniform,
        params: point.params,
        measured: held.retention,
        predicted: *predicted,
        dice: held.dice,
        predicted_dice: held.estimate.dice(),
    };
    set.points.iter().zip(fold).filter(|(p, _)| !p.is_reference).map(one).collect()
}

/// Predictions of a held-out data set with intervals of retention, in the order of its points.
pub(crate) type Predictions = Vec<(HeldOut, Interval)>;

/// One data set left out.
struct Fold {
    /// Of every candidate, or why there are none.
    candidates: Vec<std::result::Result<Predictions, String>>,
    /// What the procedure chose without the data set.
    shipped: ModelKind,
    /// Errors of that candidate on the other data sets, each left out in turn.
    residuals: Vec<Residual>,
}

struct Folds {
    folds: Vec<Fold>,
}

impl Folds {
    /// One for every original data set of `sets`.
    fn of(sets: &[&SetSamples]) -> Result<Self> {
        let folds: Result<Vec<Fold>> = originals(sets).into_par_iter().map(|i| Fold::of(sets, i)).collect();
        Ok(Self { folds: folds? })
    }

    fn shipped(&self) -> impl Iterator<Item = &Predictions> {
        self.folds.iter().filter_map(|f| f.candidates[f.shipped as usize].as_ref().ok())
    }

    /// `shipped`, then the candidates.
    fn scores(&self, sets: &[&SetSamples], family: &str, keep: f64, floor: Option<f64>) -> Vec<ModelScore> {
        let of_kind = |kind: ModelKind| -> std::result::Result<Vec<&Predictions>, String> {
            self.folds.iter().map(|f| f.candidates[kind as usize].as_ref().map_err(Clone::clone)).collect()
        };
        let baselines: Vec<(&str, Vec<&Predictions>)> = [ModelKind::MeanCurve, ModelKind::MedianCurve]
            .into_iter()
            .filter_map(|kind| Some((kind.name(), of_kind(kind).ok()?)))
            .collect();
        let score = |name: &str, folds: std::result::Result<Vec<&Predictions>, String>| match folds {
            Ok(folds) => {
                let means: Vec<Vec<f64>> = folds.iter().map(|f| f.iter().map(|p| p.1.mean).collect()).collect();
                let chosen = error_at_choices(sets, family, &means, keep);
                ModelScore::of(name, &folds, &baselines, chosen, floor)
            }
            Err(reason) => ModelScore::unavailable(name, reason, floor),
        };
        let mut scores = vec![score("shipped", Ok(self.shipped().collect()))];
        scores.extend(ModelKind::ALL.map(|kind| score(kind.name(), of_kind(kind))));
        scores
    }
}

impl Fold {
    fn of(sets: &[&SetSamples], held: usize) -> Result<Self> {
        let rest = without(sets, sets[held].root());
        let (mut inner, mut residuals) = (Vec::new(), Vec::new());
        let mut candidates = Vec::new();
        for kind in ModelKind::ALL {
            let predictions = leave_one_out(kind, &rest).and_then(|left_out| {
                let fitted = Fitted::fit(kind, &rest)?;
                let errors = Residual::of(&left_out, &fitted.grid);
                let widths = HalfWidths::of(&errors, &fitted.grid);
                residuals.push((kind, errors));
                inner.push((kind, left_out));
                let with_interval = |h: HeldOut| {
                    let spot = fitted.grid.spot(&h.family, &h.size);
                    let interval = widths.interval(&fitted.grid, &spot, &h.estimate);
                    (h, interval)
                };
                Ok(HeldOut::of(&fitted, held, sets[held]).into_iter().map(with_interval).collect())
            });
            candidates.push(predictions.map_err(|e| e.to_string()));
        }
        let none = || Error::Calibration { reason: "no model can be fitted to these records".into() };
        let shipped = choose(&inner).ok_or_else(none)?;
        let residuals = residuals.into_iter().find(|r| r.0 == shipped).map(|r| r.1).unwrap_or_default();
        Ok(Self { candidates, shipped, residuals })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::synthetic::{World, records};

    fn model<'a>(check: &'a Check, name: &str) -> &'a ModelScore {
        check.models.iter().find(|m| m.model == name).unwrap()
    }

    #[test]
    fn a_planted_dependence_is_ranked_and_covered() {
        let world = World { sets: 12, effect: 1.0, noise: 0.003, seeds: 2, ..World::default() };
        let check = check(&records(&world)).unwrap();
        let (shipped, mean) = (model(&check, "shipped"), model(&check, "mean_curve"));
        assert!(shipped.mae.unwrap() < 0.6 * mean.mae.unwrap(), "{}", check.table());
        assert!(shipped.mae_from2.unwrap() < shipped.mae.unwrap() && shipped.mae_dice.is_some());
        assert!(shipped.tau_across_sets.unwrap() > 0.7 && shipped.coverage90.unwrap() > 0.8, "{}", check.table());
        assert!(shipped.width90.unwrap() < mean.width90.unwrap());
        assert_eq!(shipped.tau_across_shapes, None);
        let floor = shipped.noise_floor.unwrap();
        assert!(floor > 0.0005 && floor < 0.01, "{floor}");
        let paired = shipped.paired.iter().find(|p| p.baseline == "mean_curve").unwrap();
        assert!(paired.better >= 9 && paired.wilcoxon.unwrap() < 0.05, "{paired:?}");
    }

    #[test]
    fn measures_that_mean_nothing_do_not_lower_the_reported_error() {
        // The same trainings, with 30 random measures to select from and with none: were the selection seen by the data set left
        // out, the best of 30 would seem to help on twelve sets.
        let error = |noise_measures: usize| -> f64 {
            let of_seed = |seed| {
                let world =
                    World { sets: 12, unexplained: 0.5, noise: 0.003, noise_measures, seed, ..World::default() };
                let mut all = records(&world);
                all.iter_mut().for_each(|r| r.measures.retain(|name, _| name.starts_with("noise")));
                model(&check(&all).unwrap(), "selected").mae.unwrap()
            };
            (0..4).map(of_seed).sum()
        };
        let (without, with) = (error(0), error(30));
        assert!(with >= without - 1e-9, "{without} {with}");
    }

    #[test]
    fn intervals_hold_for_about_nine_new_data_sets_of_ten() {
        let (mut inside, mut sets) = (0, 0);
        for seed in 0..6 {
            let world = World { sets: 14, effect: 0.6, unexplained: 0.4, noise: 0.004, seed, ..World::default() };
            let check = check(&records(&world)).unwrap();
            let shipped = model(&check, "shipped");
            inside += shipped.sets_inside.unwrap();
            sets += check.data_sets.len();
        }
        let share = inside as f64 / sets as f64;
        assert!((0.83..=0.99).contains(&share), "{inside} of {sets}");
    }

    #[test]
    fn variants_and_synthetic_data_sets_are_never_scored() {
        let mut all = records(&World { sets: 9, effect: 0.8, noise: 0.01, ..World::default() });
        for record in &mut all {
            match record.dataset.name.as_str() {
                "set07" => record.parent = Some("set06".into()),
                "set08" => record.synthetic = true,
                _ => {}
            }
        }
        let plain = check(&all).unwrap();
        assert_eq!((plain.data_sets.len(), plain.variants.len()), (7, 2));
        assert!(plain.models_with_variants.is_empty());
        let both = check_with(&all, &CheckOptions { variants: true, ..CheckOptions::default() }).unwrap();
        assert_eq!(both.models, plain.models, "the plain table stays");
        assert_eq!(both.models_with_variants.len(), plain.models.len());
        assert_ne!(both.models_with_variants, plain.models);
        let kept: Vec<Record> = all.iter().filter(|r| r.parent.is_none() && !r.synthetic).cloned().collect();
        assert_eq!(check(&kept).unwrap().models, plain.models);
    }

    #[test]
    fn a_model_that_cannot_be_fitted_is_named_with_the_reason() {
        let mut all = records(&World { sets: 5, noise: 0.01, ..World::default() });
        all.iter_mut().for_each(|r| r.measures.retain(|name, _| name != "blob_density"));
        let check = check(&all).unwrap();
        let paper = model(&check, "paper_form");
        assert!(paper.mae.is_none() && paper.unavailable.as_ref().unwrap().contains("blob_density"));
        let json = serde_json::to_value(&check).unwrap();
        for key in ["mae", "tau_across_sets", "tau_across_shapes", "coverage90", "width90", "noise_floor"] {
            assert!(json["models"][0].get(key).is_some(), "{key} is present, null or not");
        }
        assert!(json["models"][0]["noise_floor"].is_null(), "no repeated seeds");
        assert!(check.table().contains("paper_form: calibration:"));
        let bad = CheckOptions { keep: 95.0, ..CheckOptions::default() };
        assert!(check_with(&all, &bad).is_err());
    }
}
