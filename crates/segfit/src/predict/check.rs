//! How well the candidate models predict data sets that they have not seen.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::candidates::{Fitted, HalfWidths, HeldOut, ModelKind, SMALLEST_STAKE, choose, leave_one_out, mean_error};
use super::record::Record;
use super::samples::{Samples, SetSamples};
use super::table::align;
use crate::error::{Error, Result};

/// `format` of check files.
pub const CHECK_FORMAT: &str = "segfit-check/1";

/// Scores of one model over data sets held out, without the reference network (whose retention is 1 by definition).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelScore {
    /// `shipped` or the name of a candidate. `shipped` is the whole procedure: chosen anew without the held-out data set.
    pub model: String,
    /// Mean absolute error of retention; smaller is better.
    pub mae: Option<f64>,
    /// Kendall's tau-b between predicted and measured retention across data sets, mean over the sizes; 1 is best. `None` when
    /// no size has differing predictions and measurements of three data sets.
    pub tau_across_sets: Option<f64>,
    /// Kendall's tau-b across the non-uniform networks of a data set, mean over data sets; `None` without such records.
    pub tau_across_shapes: Option<f64>,
    /// Share of measured retentions inside the 90% intervals.
    pub coverage90: Option<f64>,
    /// Mean full width of the 90% intervals of retention; smaller is better.
    pub width90: Option<f64>,
    /// Error that a perfect model would have, from the spread between seeds; `None` without repeated seeds.
    pub noise_floor: Option<f64>,
    /// Why there are no scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// Scores of all models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// [`CHECK_FORMAT`].
    pub format: String,
    /// Data sets used.
    pub data_sets: Vec<String>,
    /// Data sets that could not be used, with the reason.
    pub left_out: Vec<String>,
    /// `shipped`, then the candidates.
    pub models: Vec<ModelScore>,
}

/// Checks all candidates and the shipped procedure by nested leave-one-data-set-out: for every data set, model choice,
/// penalties and interval widths come from the others alone.
///
/// # Errors
/// [`Error::Calibration`] when the records do not belong together or fewer than four data sets can be used.
pub fn check(records: &[Record]) -> Result<Check> {
    let samples = Samples::of(records)?;
    let sets: Vec<&SetSamples> = samples.sets.iter().collect();
    if sets.len() < 4 {
        let reason = format!("{} data sets can be used, a check needs at least 4", sets.len());
        return Err(Error::Calibration { reason: [vec![reason], samples.left_out].concat().join("; ") });
    }
    let floor = noise_floor(&sets);
    let folds: Vec<Vec<Fold>> = (0..sets.len()).into_par_iter().map(|i| folds_of(&sets, i)).collect();
    let score = |m: usize, name: &str| {
        let of_model: Vec<&Fold> = folds.iter().map(|f| &f[m]).collect();
        score(name, &of_model, floor)
    };
    let mut models = vec![score(ModelKind::ALL.len(), "shipped")];
    models.extend(ModelKind::ALL.iter().enumerate().map(|(m, kind)| score(m, kind.name())));
    let data_sets = samples.sets.iter().map(|s| s.name.clone()).collect();
    Ok(Check { format: CHECK_FORMAT.into(), data_sets, left_out: samples.left_out, models })
}

/// Predictions of a held-out data set with half widths of retention, or why there are none.
type Fold = std::result::Result<Vec<(HeldOut, f64)>, String>;

/// One fold per candidate, then that of the shipped procedure.
fn folds_of(sets: &[&SetSamples], held: usize) -> Vec<Fold> {
    let rest: Vec<&SetSamples> = sets.iter().enumerate().filter(|(j, _)| *j != held).map(|(_, s)| *s).collect();
    let mut inner = Vec::new();
    let mut folds: Vec<Fold> = Vec::new();
    for kind in ModelKind::ALL {
        let fold = leave_one_out(kind, &rest).and_then(|residuals| {
            let fitted = Fitted::fit(kind, &rest)?;
            let halves = HalfWidths::of(&residuals, &fitted.grid);
            inner.push((kind, residuals));
            let with_half = |h: HeldOut| {
                let half = halves.at(fitted.grid.nearest_depth(h.size.depth), h.size.log2_width);
                let around = half.skill * h.estimate.stake.max(SMALLEST_STAKE);
                (h, around)
            };
            Ok(HeldOut::of(&fitted, held, sets[held]).into_iter().map(with_half).collect())
        });
        folds.push(fold.map_err(|e| e.to_string()));
    }
    let shipped = match choose(&inner) {
        Some(kind) => folds[kind as usize].clone(),
        None => Err("no model can be fitted".into()),
    };
    folds.push(shipped);
    folds
}

fn score(name: &str, folds: &[&Fold], noise_floor: Option<f64>) -> ModelScore {
    let mut held: Vec<(HeldOut, f64)> = Vec::new();
    for fold in folds {
        match fold {
            Ok(fold) => held.extend(fold.iter().filter(|(h, _)| !h.is_reference).cloned()),
            Err(reason) => {
                let empty = ModelScore { unavailable: Some(reason.clone()), noise_floor, ..blank(name) };
                return empty;
            }
        }
    }
    let n = held.len() as f64;
    let inside = |(h, half): &&(HeldOut, f64)| (h.retention - h.estimate.retention).abs() <= *half;
    let points: Vec<HeldOut> = held.iter().map(|(h, _)| h.clone()).collect();
    ModelScore {
        mae: Some(mean_error(&points)),
        tau_across_sets: tau_across_sets(&points),
        tau_across_shapes: tau_across_shapes(&points),
        coverage90: Some(held.iter().filter(inside).count() as f64 / n),
        width90: Some(held.iter().map(|(_, half)| 2.0 * half).sum::<f64>() / n),
        noise_floor,
        ..blank(name)
    }
}

fn blank(name: &str) -> ModelScore {
    ModelScore {
        model: name.into(),
        mae: None,
        tau_across_sets: None,
        tau_across_shapes: None,
        coverage90: None,
        width90: None,
        noise_floor: None,
        unavailable: None,
    }
}

fn tau_across_sets(held: &[HeldOut]) -> Option<f64> {
    let mut sizes: Vec<(usize, f64)> = Vec::new();
    for h in held {
        let same = |s: &(usize, f64)| s.0 == h.size.depth && (s.1 - h.size.log2_width).abs() < 1e-6;
        if !sizes.iter().any(same) {
            sizes.push((h.size.depth, h.size.log2_width));
        }
    }
    mean_tau(sizes.iter().map(|&(depth, width)| {
        held.iter().filter(|h| h.size.depth == depth && (h.size.log2_width - width).abs() < 1e-6).collect()
    }))
}

fn tau_across_shapes(held: &[HeldOut]) -> Option<f64> {
    let shaped = |h: &&HeldOut| h.size.slope.abs() > 0.1 || h.size.decoder_ratio.abs() > 0.1;
    let sets = held.iter().map(|h| h.set + 1).max().unwrap_or(0);
    mean_tau((0..sets).map(|i| held.iter().filter(|h| h.set == i).filter(shaped).collect()))
}

fn mean_tau<'a>(groups: impl Iterator<Item = Vec<&'a HeldOut>>) -> Option<f64> {
    let taus: Vec<f64> = groups
        .filter(|g| g.len() >= 3)
        .filter_map(|g| tau_b(&g.iter().map(|h| (h.estimate.retention, h.retention)).collect::<Vec<_>>()))
        .collect();
    (!taus.is_empty()).then(|| taus.iter().sum::<f64>() / taus.len() as f64)
}

/// Kendall's tau-b (Kendall 1945): concordant minus discordant pairs over the geometric mean of the pairs that are not tied
/// in one and in the other variable; `None` when all are tied in one of them.
fn tau_b(pairs: &[(f64, f64)]) -> Option<f64> {
    let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
    for (i, a) in pairs.iter().enumerate() {
        for b in &pairs[..i] {
            let sign = |d: f64| if d.abs() < 1e-12 { 0.0 } else { d.signum() };
            let (x, y) = (sign(a.0 - b.0), sign(a.1 - b.1));
            sum += x * y;
            first += x * x;
            second += y * y;
        }
    }
    (first > 0.0 && second > 0.0).then(|| sum / f64::sqrt(first * second))
}

/// Expected |mean over the seeds - true value| of retention: sqrt(2 / pi) times the standard error, averaged over the
/// networks with repeated seeds; the error of D_ref counts where the reference was repeated.
fn noise_floor(sets: &[&SetSamples]) -> Option<f64> {
    let mut floors = Vec::new();
    for set in sets {
        let error = |p: &super::Point| p.deviation.map(|d| d / (p.seeds as f64).sqrt() / set.reference_dice);
        let reference = set.points.iter().find(|p| p.is_reference).and_then(error).unwrap_or(0.0);
        for point in set.points.iter().filter(|p| !p.is_reference) {
            if let Some(own) = error(point) {
                let both = (own.powi(2) + (set.retention(point.dice) * reference).powi(2)).sqrt();
                floors.push((2.0 / std::f64::consts::PI).sqrt() * both);
            }
        }
    }
    (!floors.is_empty()).then(|| floors.iter().sum::<f64>() / floors.len() as f64)
}

impl Check {
    /// The scores as aligned text; `-` where there is none.
    #[must_use]
    pub fn table(&self) -> String {
        let heading = ["model", "MAE", "tau sets", "tau shapes", "coverage 90%", "width 90%", "noise floor"];
        let number = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{v:.4}"));
        let mut rows = vec![heading.map(String::from).to_vec()];
        for m in &self.models {
            let values = [m.mae, m.tau_across_sets, m.tau_across_shapes, m.coverage90, m.width90, m.noise_floor];
            rows.push(std::iter::once(m.model.clone()).chain(values.map(number)).collect());
        }
        let mut text = align(&rows);
        text.push_str(&format!("retention, {} data sets, each predicted from the others\n", self.data_sets.len()));
        for m in &self.models {
            m.unavailable.iter().for_each(|r| text.push_str(&format!("{}: {r}\n", m.model)));
        }
        self.left_out.iter().for_each(|r| text.push_str(&format!("left out: {r}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::synthetic::{World, records};

    #[test]
    fn tau_b_by_hand() {
        assert_eq!(tau_b(&[(1.0, 1.0), (2.0, 3.0), (3.0, 2.0)]), Some(1.0 / 3.0), "two concordant, one discordant");
        assert_eq!(tau_b(&[(1.0, 1.0), (1.0, 3.0), (3.0, 4.0)]), Some(2.0 / 6.0_f64.sqrt()), "one tie in x");
        assert_eq!(tau_b(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn a_planted_dependence_is_ranked_and_covered() {
        let world = World { sets: 12, effect: 1.0, noise: 0.003, seeds: 2, ..World::default() };
        let check = check(&records(&world)).unwrap();
        let model = |name: &str| check.models.iter().find(|m| m.model == name).unwrap();
        let (shipped, mean) = (model("shipped"), model("mean_curve"));
        assert!(shipped.mae.unwrap() < 0.6 * mean.mae.unwrap(), "{}", check.table());
        assert!(shipped.tau_across_sets.unwrap() > 0.7 && shipped.coverage90.unwrap() > 0.8, "{}", check.table());
        assert!(shipped.width90.unwrap() < mean.width90.unwrap());
        assert_eq!(shipped.tau_across_shapes, None);
        let floor = shipped.noise_floor.unwrap();
        assert!(floor > 0.0005 && floor < 0.01, "{floor}");
    }

    #[test]
    fn a_model_that_cannot_be_fitted_is_named_with_the_reason() {
        let mut all = records(&World { sets: 5, noise: 0.01, ..World::default() });
        all.iter_mut().for_each(|r| r.measures.retain(|name, _| name != "blob_density"));
        let check = check(&all).unwrap();
        let paper = check.models.iter().find(|m| m.model == "paper_form").unwrap();
        assert!(paper.mae.is_none() && paper.unavailable.as_ref().unwrap().contains("blob_density"));
        let json = serde_json::to_value(&check).unwrap();
        for key in ["mae", "tau_across_sets", "tau_across_shapes", "coverage90", "width90", "noise_floor"] {
            assert!(json["models"][0].get(key).is_some(), "{key} is present, null or not");
        }
        assert!(json["models"][0]["noise_floor"].is_null(), "no repeated seeds");
        assert!(check.table().contains("paper_form: calibration:"));
    }
}
