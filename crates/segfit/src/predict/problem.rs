//! [`Problem`]: the log deficits of all data sets around their mean curve, and what features explain of them.
//!
//! With deficit d = max(1 - k, floor) of the skill k and m the mean of ln d over the data sets at a size,
//! `ln d = m + a.z + (u_c - u) b.z`, where z are standardised measures, u the effective log2 width and u_c the mean of the
//! calibrated ones. a and b are penalised; with a large penalty the (geometric) mean curve of the deficit remains.

use super::Measures;
use super::axis::mean_and_error;
use super::grid::{Grid, Spot};
use super::linear::{Feature, PENALTIES, solve, strongest_of_the_best};
use super::samples::SetSamples;

/// Smaller deficits are not told apart: about the noise between seeds.
pub(crate) const FLOOR: f64 = 0.01;

/// Penalty while features are compared.
const SELECTION_PENALTY: f64 = 0.1;

/// Features that are chosen at most.
const MOST: usize = 3;

/// Standard errors, over data sets, by which a feature must lower the error to be taken.
const STEP: f64 = 1.0;

/// One network on one data set.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    around: [(usize, f64); 2],
    /// u_c - u.
    tilt: f64,
    /// ln d.
    log_deficit: f64,
    stake: f64,
}

/// One data set.
#[derive(Clone, Debug)]
pub(crate) struct SetRows {
    /// Which data sets it is left out together with.
    group: usize,
    original: bool,
    /// Standardised measures.
    pub z: Vec<f64>,
    pub rows: Vec<Row>,
}

/// The data sets as a regression sees them.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub features: Vec<Feature>,
    pub sets: Vec<SetRows>,
    /// m at every knot, from all data sets.
    pub log_deficit: Vec<f64>,
    /// u_c.
    pub centre: f64,
    /// m without each group.
    without: Vec<Vec<f64>>,
}

/// m at the knots, and a and b of each feature in turn.
type Fit<'a> = (&'a [f64], Vec<f64>);

impl Problem {
    /// From the measures `names` that all the data sets have.
    pub(crate) fn new(sets: &[&SetSamples], grid: &Grid, names: &[&str]) -> Self {
        let measures: Vec<&Measures> = sets.iter().map(|s| &s.measures).collect();
        let features = Feature::fit(names, &measures);
        let mut roots: Vec<&str> = sets.iter().map(|s| s.root()).collect();
        roots.sort_unstable();
        roots.dedup();
        let centre = grid.knots.iter().map(|k| k.log2_width).sum::<f64>() / grid.knots.len().max(1) as f64;
        let rows = |set: &&SetSamples| {
            let row = |p: &super::Point| {
                let spot = grid.spot(&p.family, &p.size);
                let (around, tilt) = (grid.around(&spot), centre - spot.log2_width);
                Row { around, tilt, log_deficit: log_deficit(set.skill(p)), stake: set.stake(p) }
            };
            SetRows {
                group: roots.binary_search(&set.root()).unwrap_or(0),
                original: set.is_original(),
                z: features.iter().map(|f| f.value(&set.measures)).collect(),
                rows: set.inner().map(row).collect(),
            }
        };
        let rows: Vec<SetRows> = sets.iter().map(rows).collect();
        let mean = |without: Option<&str>| {
            let used = sets.iter().filter(|s| without != Some(s.root()));
            grid.means(used.flat_map(|s| s.inner().map(|p| (p, log_deficit(s.skill(p))))))
        };
        let without = roots.iter().map(|root| mean(Some(root))).collect();
        Self { features, sets: rows, log_deficit: mean(None), centre, without }
    }

    /// ln d minus m of a data set's networks, each with its effective width relative to u_c.
    pub(crate) fn residuals(&self, set: &SetRows) -> Vec<(f64, f64)> {
        set.rows.iter().map(|r| (r.tilt, r.log_deficit - between(&self.log_deficit, r))).collect()
    }

    /// a and b of each of `chosen` (indices of features) in turn, from all data sets.
    pub(crate) fn coefficients(&self, chosen: &[usize], penalty: f64) -> Vec<f64> {
        self.fit(chosen, penalty, None).1
    }

    fn fit(&self, chosen: &[usize], penalty: f64, held: Option<usize>) -> Fit<'_> {
        let n = 2 * chosen.len();
        let (mut a, mut b) = (vec![vec![0.0; n]; n], vec![0.0; n]);
        let means = held.map_or(&self.log_deficit, |group| &self.without[group]);
        let mut count = 0.0;
        for set in self.sets.iter().filter(|s| Some(s.group) != held) {
            // All rows of a data set have the same z: sums over sizes first.
            let (mut t, mut q) = ([0.0; 3], [0.0; 2]);
            for row in &set.rows {
                let y = row.log_deficit - between(means, row);
                t = [t[0] + 1.0, t[1] + row.tilt, t[2] + row.tilt * row.tilt];
                q = [q[0] + y, q[1] + y * row.tilt];
            }
            count += t[0];
            for (i, &f) in chosen.iter().enumerate() {
                b[2 * i] += set.z[f] * q[0];
                b[2 * i + 1] += set.z[f] * q[1];
                for (j, &g) in chosen.iter().enumerate() {
                    let zz = set.z[f] * set.z[g];
                    a[2 * i][2 * j] += zz * t[0];
                    a[2 * i][2 * j + 1] += zz * t[1];
                    a[2 * i + 1][2 * j] += zz * t[1];
                    a[2 * i + 1][2 * j + 1] += zz * t[2];
                }
            }
        }
        (0..n).for_each(|i| a[i][i] += penalty * count);
        (means, solve(a, b))
    }

    /// Mean |error| of retention on every original data set, left out together with its variants.
    pub(crate) fn errors(&self, chosen: &[usize], penalty: f64) -> Vec<f64> {
        let originals = self.sets.iter().filter(|s| s.original && !s.rows.is_empty());
        let error = |set: &SetRows| {
            let (means, coefficients) = self.fit(chosen, penalty, Some(set.group));
            let one = |row: &Row| {
                let terms = chosen.iter().zip(coefficients.chunks(2));
                let shift: f64 = terms.map(|(&f, c)| set.z[f] * (c[0] + row.tilt * c[1])).sum();
                row.stake * ((between(means, row) + shift).exp() - row.log_deficit.exp()).abs()
            };
            set.rows.iter().map(one).sum::<f64>() / set.rows.len() as f64
        };
        originals.map(error).collect()
    }

    /// The penalty with the smallest error.
    pub(crate) fn best_penalty(&self, chosen: &[usize]) -> f64 {
        strongest_of_the_best(&PENALTIES, |penalty| self.errors(chosen, penalty).iter().sum())
    }

    /// Forward selection: the feature that lowers the error most is taken, up to three times, as long as it does so by more
    /// than the standard error, over data sets, of the difference.
    pub(crate) fn select(&self) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::new();
        let mut errors = self.errors(&chosen, SELECTION_PENALTY);
        while chosen.len() < MOST && errors.len() >= 3 {
            let mut best: Option<(f64, usize, Vec<f64>)> = None;
            for feature in (0..self.features.len()).filter(|f| !chosen.contains(f)) {
                let tried: Vec<usize> = chosen.iter().copied().chain([feature]).collect();
                let errors = self.errors(&tried, SELECTION_PENALTY);
                let sum: f64 = errors.iter().sum();
                if best.as_ref().is_none_or(|b| sum < b.0) {
                    best = Some((sum, feature, errors));
                }
            }
            let Some((_, feature, new)) = best else { break };
            let gains: Vec<f64> = errors.iter().zip(&new).map(|(a, b)| a - b).collect();
            let (mean, standard_error) = mean_and_error(&gains);
            if mean <= STEP * standard_error {
                break;
            }
            chosen.push(feature);
            errors = new;
        }
        chosen
    }
}

fn log_deficit(skill: f64) -> f64 {
    (1.0 - skill).max(FLOOR).ln()
}

fn between(knots: &[f64], row: &Row) -> f64 {
    row.around.iter().map(|&(i, w)| w * knots[i]).sum()
}

/// Shift of ln d that the features explain: a.z + (u_c - u) b.z.
pub(crate) fn shift(z: &[f64], coefficients: &[f64], centre: f64, at: &Spot) -> f64 {
    let tilt = centre - at.log2_width;
    z.iter().zip(coefficients.chunks(2)).map(|(z, c)| z * (c[0] + tilt * c[1])).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::samples::Samples;
    use crate::predict::synthetic::{World, records};

    fn chosen(world: &World, names: &[&str]) -> Vec<String> {
        let samples = Samples::of(&records(world)).unwrap();
        let sets = samples.training(false);
        let problem = Problem::new(&sets, &Grid::of(&sets), names);
        problem.select().into_iter().map(|i| problem.features[i].name.clone()).collect()
    }

    #[test]
    fn the_measure_that_counts_is_selected_among_noise() {
        let world = World { sets: 12, effect: 1.0, noise: 0.003, noise_measures: 20, ..World::default() };
        let mut names: Vec<String> = (0..20).map(|i| format!("noise{i:02}")).collect();
        names.push("edge".into());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(chosen(&world, &names)[0], "edge");
    }

    #[test]
    fn the_coefficients_are_those_of_the_plain_regression() {
        let world = World { sets: 6, effect: 0.7, noise: 0.01, ..World::default() };
        let samples = Samples::of(&records(&world)).unwrap();
        let sets = samples.training(false);
        let problem = Problem::new(&sets, &Grid::of(&sets), &["edge", "foreground"]);
        let (mut rows, mut y) = (Vec::new(), Vec::new());
        for set in &problem.sets {
            for (tilt, residual) in problem.residuals(set) {
                rows.push(set.z.iter().flat_map(|z| [*z, z * tilt]).collect::<Vec<f64>>());
                y.push(residual);
            }
        }
        let plain = crate::predict::linear::ridge(&rows, &y, 0.3);
        for (a, b) in problem.coefficients(&[0, 1], 0.3).iter().zip(plain) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }

    #[test]
    fn a_variant_does_not_help_to_predict_its_parent() {
        // set01 becomes a copy of set00: leaving out both gives the error that leaving out one alone had without the copy.
        let world = World { sets: 6, effect: 0.7, noise: 0.01, ..World::default() };
        let all = records(&world);
        let errors = |copy: bool| {
            let mut all = all.clone();
            if copy {
                let copies = all.iter().filter(|r| r.dataset.name == "set00").cloned().collect::<Vec<_>>();
                all.extend(copies.into_iter().map(|mut r| {
                    (r.dataset.name, r.parent) = ("copy".into(), Some("set00".into()));
                    r.job += "copy";
                    r
                }));
            }
            let samples = Samples::of(&all).unwrap();
            let sets = samples.training(true);
            let grid = Grid::of(&samples.training(false));
            Problem::new(&sets, &grid, &[]).errors(&[], 0.1)
        };
        let (without, with) = (errors(false), errors(true));
        assert_eq!((without.len(), with.len()), (6, 6), "the copy is not scored");
        assert!((without[0] - with[0]).abs() < 1e-9 && (without[1] - with[1]).abs() > 1e-6);
    }
}
