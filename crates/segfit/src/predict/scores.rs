//! [`ModelScore`]: what one model is worth on data sets that it has not seen.

use serde::{Deserialize, Serialize};

use super::candidates::{HeldOut, errors_by_set};
use super::check::{Check, Predictions};
use super::statistics::{clopper_pearson, sign_flip, tau_b, wilcoxon};
use super::table::align;

/// Scores of one model over data sets held out, without the reference networks (whose retention is 1 by definition).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelScore {
    /// `shipped` or the name of a candidate. `shipped` is the whole procedure: chosen anew without the held-out data set.
    pub model: String,
    /// Mean absolute error of retention, every data set with the same weight; smaller is better.
    pub mae: Option<f64>,
    /// The same for networks of effective width 2 and more.
    pub mae_from2: Option<f64>,
    /// The same at the sizes that this model chooses to keep the share asked for; choices of the reference do not count.
    pub mae_chosen: Option<f64>,
    /// Mean absolute error of Dice, where D_ref is predicted too.
    pub mae_dice: Option<f64>,
    /// The same for networks of effective width 2 and more.
    pub mae_dice_from2: Option<f64>,
    /// Kendall's tau-b between predicted and measured retention across data sets, mean over the uniform sizes; 1 is best.
    /// `None` when no size has differing predictions and measurements of three data sets.
    pub tau_across_sets: Option<f64>,
    /// Kendall's tau across networks of one data set whose parameters differ by at most a factor of 1.4, at least one of each pair
    /// not uniform; mean over data sets. `None` without such records.
    pub tau_across_shapes: Option<f64>,
    /// Share of measured retentions inside the 90% intervals, every data set with the same weight.
    pub coverage90: Option<f64>,
    /// Data sets all of whose retentions are inside.
    pub sets_inside: Option<usize>,
    /// 95% range of the share of data sets wholly inside (Clopper-Pearson).
    pub sets_inside_range: Option<[f64; 2]>,
    /// Mean full width of the 90% intervals of retention, every data set with the same weight; smaller is better.
    pub width90: Option<f64>,
    /// Error that a perfect model would have, from the spread between seeds; `None` without repeated seeds.
    pub noise_floor: Option<f64>,
    /// Against models without complexity, data set by data set.
    pub paired: Vec<Paired>,
    /// Mean absolute error of retention on every data set.
    pub mae_by_set: Vec<f64>,
    /// Why there are no scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// The mean absolute errors of a model and of a baseline on each data set, compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Name of the other model.
    pub baseline: String,
    /// Its mean error minus ours; positive when ours is better.
    pub gain: f64,
    /// Data sets on which ours is better.
    pub better: usize,
    /// Two-sided p of Wilcoxon's signed-rank test, exact.
    pub wilcoxon: Option<f64>,
    /// Two-sided p of the mean difference under random signs, exact.
    pub sign_flip: Option<f64>,
}

impl ModelScore {
    /// Of one fold per data set.
    pub(crate) fn of(
        name: &str,
        folds: &[&Predictions],
        baselines: &[(&str, Vec<&Predictions>)],
        mae_chosen: Option<f64>,
        noise_floor: Option<f64>,
    ) -> Self {
        let inner: Vec<Predictions> =
            folds.iter().map(|f| f.iter().filter(|(h, _)| !h.is_reference).cloned().collect()).collect();
        let held: Vec<HeldOut> = inner.iter().flatten().map(|p| p.0.clone()).collect();
        let from2 = |h: &HeldOut| h.size.log2_width >= 1.0 - 1e-6;
        let dice_error = |h: &HeldOut| (h.dice - h.estimate.dice()).abs();
        let over_sets = |value: &dyn Fn(&HeldOut, f64, bool) -> Option<f64>| {
            let of_set = |fold: &Predictions| {
                let values = fold.iter().filter_map(|(h, i)| value(h, i.high - i.low, i.contains(h.retention)));
                mean(values.collect())
            };
            mean(inner.iter().filter_map(of_set).collect())
        };
        let whole = |fold: &&Predictions| !fold.is_empty() && fold.iter().all(|(h, i)| i.contains(h.retention));
        let sets_inside = inner.iter().filter(|f| whole(f)).count();
        let mae_by_set = errors_by_set(&held);
        Self {
            model: name.into(),
            mae: over_sets(&|h, _, _| Some(h.error())),
            mae_from2: over_sets(&|h, _, _| from2(h).then(|| h.error())),
            mae_chosen,
            mae_dice: over_sets(&|h, _, _| Some(dice_error(h))),
            mae_dice_from2: over_sets(&|h, _, _| from2(h).then(|| dice_error(h))),
            tau_across_sets: tau_across_sets(&held),
            tau_across_shapes: tau_across_shapes(&inner),
            coverage90: over_sets(&|_, _, inside| Some(if inside { 1.0 } else { 0.0 })),
            sets_inside: Some(sets_inside),
            sets_inside_range: Some(clopper_pearson(sets_inside, inner.len())),
            width90: over_sets(&|_, width, _| Some(width)),
            noise_floor,
            paired: baselines.iter().filter(|b| b.0 != name).map(|b| Paired::of(b.0, &b.1, &mae_by_set)).collect(),
            mae_by_set,
            unavailable: None,
        }
    }

    /// Of a model that could not be fitted.
    pub(crate) fn unavailable(name: &str, reason: String, noise_floor: Option<f64>) -> Self {
        Self { model: name.into(), noise_floor, unavailable: Some(reason), ..Self::default() }
    }
}

impl Paired {
    fn of(baseline: &str, folds: &[&Predictions], ours: &[f64]) -> Self {
        let held: Vec<HeldOut> = folds.iter().flat_map(|f| f.iter().map(|p| p.0.clone())).collect();
        let gains: Vec<f64> = errors_by_set(&held).iter().zip(ours).map(|(theirs, ours)| theirs - ours).collect();
        Self {
            baseline: baseline.into(),
            gain: gains.iter().sum::<f64>() / gains.len().max(1) as f64,
            better: gains.iter().filter(|g| **g > 1e-12).count(),
            wilcoxon: wilcoxon(&gains),
            sign_flip: sign_flip(&gains),
        }
    }
}

fn mean(values: Vec<f64>) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn tau_across_sets(held: &[HeldOut]) -> Option<f64> {
    let same = |a: &HeldOut, b: &HeldOut| {
        (&a.family, a.size.depth) == (&b.family, b.size.depth) && (a.size.log2_width - b.size.log2_width).abs() < 1e-6
    };
    let uniform: Vec<&HeldOut> = held.iter().filter(|h| h.is_uniform).collect();
    let mut sizes: Vec<&HeldOut> = Vec::new();
    for h in &uniform {
        if !sizes.iter().any(|s| same(s, h)) {
            sizes.push(h);
        }
    }
    let tau = |size: &&HeldOut| {
        let here = uniform.iter().filter(|h| same(h, size));
        let pairs: Vec<(f64, f64)> = here.map(|h| (h.estimate.retention, h.retention)).collect();
        if pairs.len() >= 3 { tau_b(&pairs) } else { None }
    };
    mean(sizes.iter().filter_map(tau).collect())
}

/// Octaves of parameters within which two networks count as equally large.
const EQUAL_PARAMS: f64 = 0.5;

fn tau_across_shapes(folds: &[Predictions]) -> Option<f64> {
    let comparable = |a: &HeldOut, b: &HeldOut| {
        let octaves = (a.size.log2_params - b.size.log2_params).abs();
        a.family == b.family && !(a.is_uniform && b.is_uniform) && octaves <= EQUAL_PARAMS
    };
    let tau = |fold: &Predictions| {
        let (mut sum, mut count) = (0.0, 0.0);
        for (i, (a, _)) in fold.iter().enumerate() {
            for (b, _) in fold[..i].iter().filter(|(b, _)| comparable(a, b)) {
                let sign = |d: f64| if d.abs() < 1e-12 { 0.0 } else { d.signum() };
                sum += sign(a.estimate.retention - b.estimate.retention) * sign(a.retention - b.retention);
                count += 1.0;
            }
        }
        (count >= 3.0).then(|| sum / count)
    };
    mean(folds.iter().filter_map(tau).collect())
}

impl Check {
    /// The scores as aligned text; `-` where there is none.
    #[must_use]
    pub fn table(&self) -> String {
        let sets = self.data_sets.len();
        let mut text = format!("retention on {sets} data sets, each predicted from the others, reference left out\n");
        text.push_str(&table_of(&self.models, sets));
        let names: Vec<&str> = self.shipped_was.iter().map(|kind| kind.name()).collect();
        let mut counts: Vec<(usize, &str)> = Vec::new();
        for name in names {
            match counts.iter_mut().find(|c| c.1 == name) {
                Some(count) => count.0 += 1,
                None => counts.push((1, name)),
            }
        }
        let counts: Vec<String> = counts.iter().map(|(n, name)| format!("{name} {n} times")).collect();
        text.push_str(&format!("shipped was {}\n", counts.join(", ")));
        if !self.models_with_variants.is_empty() {
            text.push_str(&format!("\nlearned from {} variants and synthetic sets, too\n", self.variants.len()));
            text.push_str(&table_of(&self.models_with_variants, sets));
        } else if !self.variants.is_empty() {
            text.push_str(&format!("{} variants and synthetic sets were not used\n", self.variants.len()));
        }
        text.push_str(&format!("\nagainst models without complexity, data set by data set\n{}", self.paired_table()));
        text.push_str(&format!("\nnoise\n{}", self.noise_table()));
        text.push_str(&format!("\n{}", self.decision.table()));
        for m in self.models.iter().chain(&self.models_with_variants) {
            m.unavailable.iter().for_each(|r| text.push_str(&format!("{}: {r}\n", m.model)));
        }
        self.left_out.iter().for_each(|r| text.push_str(&format!("left out: {r}\n")));
        text
    }

    fn paired_table(&self) -> String {
        let heading = ["model", "against", "gain", "better on", "p Wilcoxon", "p sign flip"];
        let mut rows = vec![heading.map(String::from).to_vec()];
        for (model, paired) in self.models.iter().flat_map(|m| m.paired.iter().map(move |p| (m, p))) {
            rows.push(vec![
                model.model.clone(),
                paired.baseline.clone(),
                format!("{:+.4}", paired.gain),
                format!("{} of {}", paired.better, self.data_sets.len()),
                number(paired.wilcoxon, 3),
                number(paired.sign_flip, 3),
            ]);
        }
        align(&rows)
    }

    fn noise_table(&self) -> String {
        let noise = &self.noise;
        let rows = [
            ["standard deviation", "Dice", "retention"].map(String::from).to_vec(),
            vec!["between seeds".into(), number(noise.seed_sd_dice, 4), number(noise.seed_sd_retention, 4)],
            vec!["between test sources".into(), number(noise.source_sd_dice, 4), number(noise.source_sd_retention, 4)],
            vec!["MAE of a perfect model, seeds".into(), "-".into(), number(noise.floor_seeds, 4)],
            vec!["MAE of a perfect model, test sources".into(), "-".into(), number(noise.floor_sources, 4)],
        ];
        align(&rows)
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_string(), |v| format!("{v:.digits$}"))
}

fn table_of(models: &[ModelScore], sets: usize) -> String {
    let heading = [
        "model",
        "MAE",
        "w >= 2",
        "chosen",
        "Dice",
        "Dice w >= 2",
        "tau sets",
        "tau shapes",
        "coverage",
        "sets inside",
        "width",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for m in models {
        let inside = m.sets_inside.zip(m.sets_inside_range).map_or("-".to_string(), |(n, [low, high])| {
            format!("{n} of {sets} ({:.0} to {:.0}%)", 100.0 * low, 100.0 * high)
        });
        let errors = [m.mae, m.mae_from2, m.mae_chosen, m.mae_dice, m.mae_dice_from2].map(|v| number(v, 4));
        let taus = [m.tau_across_sets, m.tau_across_shapes].map(|v| number(v, 2));
        let mut row = vec![m.model.clone()];
        row.extend(errors.into_iter().chain(taus).chain([number(m.coverage90, 3), inside, number(m.width90, 3)]));
        rows.push(row);
    }
    align(&rows)
}
