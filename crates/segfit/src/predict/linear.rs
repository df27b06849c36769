//! Ridge regression on few standardised features.

use serde::{Deserialize, Serialize};

use super::Measures;

/// A measure standardised over the calibrated data sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub(crate) struct Feature {
    /// Name of the measure.
    pub name: String,
    mean: f64,
    deviation: f64,
    low: f64,
    high: f64,
}

/// A feature as it lies in a file, where it need not make sense.
#[derive(Deserialize)]
struct Stored {
    name: String,
    mean: f64,
    deviation: f64,
    low: f64,
    high: f64,
}

impl TryFrom<Stored> for Feature {
    type Error = String;

    fn try_from(Stored { name, mean, deviation, low, high }: Stored) -> std::result::Result<Self, String> {
        if low > high || deviation <= 0.0 {
            return Err(format!("{name} runs from {low} to {high} with deviation {deviation}"));
        }
        Ok(Self { name, mean, deviation, low, high })
    }
}

impl Feature {
    /// Those of `names` that every data set has and that vary between them.
    pub(crate) fn fit(names: &[&str], sets: &[&Measures]) -> Vec<Self> {
        names.iter().filter_map(|name| Self::fit_one(name, sets)).collect()
    }

    fn fit_one(name: &str, sets: &[&Measures]) -> Option<Self> {
        let values = sets.iter().map(|m| m.get(name).copied()).collect::<Option<Vec<f64>>>()?;
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (deviation > 1e-9 * mean.abs().max(1e-9)).then(|| Self { name: name.into(), mean, deviation, low, high })
    }

    /// The standardised value, after clipping to the calibrated range (a linear term must not run away); 0, the average,
    /// when the measure is missing.
    pub(crate) fn value(&self, measures: &Measures) -> f64 {
        measures.get(&self.name).map_or(0.0, |v| (v.clamp(self.low, self.high) - self.mean) / self.deviation)
    }
}

/// Penalties that leave-one-data-set-out chooses from, the strongest first.
pub(crate) const PENALTIES: [f64; 7] = [1e6, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03];

/// The first of `penalties` (strongest first) whose error no other undercuts.
pub(crate) fn strongest_of_the_best(penalties: &[f64], error: impl Fn(f64) -> f64) -> f64 {
    let mut best = (penalties[0], error(penalties[0]));
    for &penalty in &penalties[1..] {
        let error = error(penalty);
        if error < best.1 - 1e-12 {
            best = (penalty, error);
        }
    }
    best.0
}

/// Minimises sum (y - x b)^2 + `penalty` * rows * |b|^2; all columns are penalised, so y and the columns should be centred.
pub(crate) fn ridge(rows: &[Vec<f64>], y: &[f64], penalty: f64) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    let mut a = vec![vec![0.0; columns]; columns];
    let mut b = vec![0.0; columns];
    for (row, &y) in rows.iter().zip(y) {
        for i in 0..columns {
            b[i] += row[i] * y;
            for j in 0..columns {
                a[i][j] += row[i] * row[j];
            }
        }
    }
    for (i, row) in a.iter_mut().enumerate() {
        row[i] += penalty * rows.len() as f64;
    }
    solve(a, b)
}

/// Solves the symmetric positive definite system by Cholesky; a direction without information gets 0.
pub(crate) fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    let scale = (0..n).map(|i| a[i][i]).fold(0.0, f64::max);
    for j in 0..n {
        let pivot = a[j][j] - (0..j).map(|k| a[j][k] * a[j][k]).sum::<f64>();
        let usable = pivot > 1e-12 * scale;
        a[j][j] = if usable { pivot.sqrt() } else { f64::INFINITY };
        for i in j + 1..n {
            let dot: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            a[i][j] = if usable { (a[i][j] - dot) / a[j][j] } else { 0.0 };
        }
    }
    for i in 0..n {
        b[i] = (b[i] - (0..i).map(|k| a[i][k] * b[k]).sum::<f64>()) / a[i][i];
    }
    for i in (0..n).rev() {
        b[i] = (b[i] - (i + 1..n).map(|k| a[k][i] * b[k]).sum::<f64>()) / a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_and_a_repeated_column_does_no_harm() {
        let x = solve(vec![vec![4.0, 2.0], vec![2.0, 3.0]], vec![10.0, 9.0]);
        assert!((x[0] - 1.5).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12);
        let x = solve(vec![vec![1.0, 1.0], vec![1.0, 1.0]], vec![2.0, 2.0]);
        assert!((x[0] + x[1] - 2.0).abs() < 1e-12, "{x:?}");
    }

    #[test]
    fn the_penalty_shrinks_by_the_textbook_factor() {
        // One column, sum x^2 = 2, sum xy = 4: 4 / (2 + 0.5 * 2).
        let rows = [vec![1.0], vec![-1.0]];
        assert!((ridge(&rows, &[2.0, -2.0], 0.0)[0] - 2.0).abs() < 1e-12);
        assert!((ridge(&rows, &[2.0, -2.0], 0.5)[0] - 4.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn features_are_standardised_and_clipped() {
        let sets: Vec<Measures> = [1.0, 3.0].iter().map(|&v| [("jpeg".to_string(), v)].into()).collect();
        let features = Feature::fit(&["jpeg", "absent"], &sets.iter().collect::<Vec<_>>());
        assert_eq!(features.len(), 1);
        let value = |v: f64| features[0].value(&[("jpeg".to_string(), v)].into());
        assert_eq!((value(1.0), value(2.0), value(99.0)), (-1.0, 0.0, 1.0));
        assert_eq!(features[0].value(&Measures::new()), 0.0);
    }

    #[test]
    fn a_file_with_an_empty_range_is_refused() {
        let read = |low: f64, deviation: f64| {
            let text = format!(r#"{{"name":"jpeg","mean":0,"deviation":{deviation},"low":{low},"high":1}}"#);
            serde_json::from_str::<Feature>(&text).map(|f| f.value(&[("jpeg".to_string(), 9.0)].into()))
        };
        assert_eq!(read(-1.0, 2.0).unwrap(), 0.5);
        assert!(read(1.5, 2.0).unwrap_err().to_string().contains("jpeg runs from 1.5 to 1"));
        assert!(read(-1.0, 0.0).is_err());
    }
}
