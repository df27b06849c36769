//! A Gaussian process over complexity and size for the log deficit.
//!
//! ln d of a data set of complexity z at effective width u is m (the mean at its size) + f(z, u) + h(u) + noise; f is shared and
//! smooth in z, h belongs to one data set alone: it says that networks of one data set err together, so that five widths
//! are not five pieces of evidence. k_f = s_f exp(-|z - z'|^2 / (2 n l^2)) c(u - u'), k_h = s_h c(u - u'), with n measures and
//! c(x) = exp(-x^2 / (2 L^2)). The variances and l maximise the marginal likelihood over a small grid; L is 2 octaves.
//!
//! Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5.

use serde::{Deserialize, Serialize};

use super::{FEATURES, Model, Traits};
use crate::error::{Error, Result};
use crate::predict::grid::{Grid, Spot};
use crate::predict::linear::Feature;
use crate::predict::problem::Problem;
use crate::predict::samples::SetSamples;

/// Octaves of width over which the process stays alike.
const OCTAVES: f64 = 2.0;

/// Shares of the explained part of the variance that all data sets have in common.
const SHARED: [f64; 4] = [0.0, 0.3, 0.6, 0.9];

/// Shares of the variance that are noise.
const NOISE: [f64; 3] = [0.1, 0.3, 0.6];

/// Length scales l of the standardised measures.
const LENGTHS: [f64; 3] = [0.7, 1.5, 3.0];

/// The process, conditioned on the records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gaussian {
    features: Vec<Feature>,
    log_deficit: Vec<f64>,
    centre: f64,
    /// s_f and l.
    variance: f64,
    length: f64,
    /// z of every data set.
    sets: Vec<Vec<f64>>,
    /// Every training point: its data set, u_c - u, and its weight K^-1 y.
    points: Vec<(usize, f64, f64)>,
}

impl Gaussian {
    /// # Errors
    /// When there is no measure that all data sets have.
    pub(crate) fn fit(sets: &[&SetSamples], grid: &Grid) -> Result<Self> {
        let problem = Problem::new(sets, grid, &FEATURES);
        if problem.features.is_empty() {
            let reason = format!("the Gaussian process needs one of the measures {}", FEATURES.join(", "));
            return Err(Error::Calibration { reason });
        }
        let z: Vec<Vec<f64>> = problem.sets.iter().map(|s| s.z.clone()).collect();
        let (mut at, mut y) = (Vec::new(), Vec::new());
        for (i, set) in problem.sets.iter().enumerate() {
            for (tilt, residual) in problem.residuals(set) {
                at.push((i, tilt));
                y.push(residual);
            }
        }
        let total = y.iter().map(|v| v * v).sum::<f64>() / y.len().max(1) as f64;
        let mut best: Option<(f64, Vec<f64>, f64, f64)> = None;
        for (shared, noise, length) in candidates() {
            let explained = total.max(1e-9) * (1.0 - noise);
            let variances = [explained * shared, explained * (1.0 - shared), total.max(1e-9) * noise];
            let covariance = covariance(&at, &z, variances, length);
            let Some((likelihood, weights)) = condition(covariance, &y) else { continue };
            if best.as_ref().is_none_or(|b| likelihood > b.0 + 1e-9) {
                best = Some((likelihood, weights, variances[0], length));
            }
        }
        let Some((_, weights, variance, length)) = best else {
            return Err(Error::Calibration { reason: "the covariance of the Gaussian process is singular".into() });
        };
        Ok(Self {
            features: problem.features,
            log_deficit: problem.log_deficit,
            centre: problem.centre,
            variance,
            length,
            sets: z,
            points: at.into_iter().zip(weights).map(|((set, tilt), weight)| (set, tilt, weight)).collect(),
        })
    }
}

impl Model for Gaussian {
    fn retention(&self, grid: &Grid, of: &Traits<'_>, at: &Spot) -> f64 {
        let z: Vec<f64> = self.features.iter().map(|f| f.value(of.measures)).collect();
        let alike: Vec<f64> = self.sets.iter().map(|s| alike(&z, s, self.length)).collect();
        let shift = |tilt: f64| {
            let terms = self.points.iter().map(|&(set, t, weight)| alike[set] * along(tilt - t) * weight);
            self.variance * terms.sum::<f64>()
        };
        let curve = grid.curve(at, |i, knot| 1.0 - (self.log_deficit[i] + shift(self.centre - knot.log2_width)).exp());
        (1.0 - (1.0 - curve.at(at.log2_width)) * of.stake).max(0.0)
    }

    fn measures(&self) -> Vec<&str> {
        self.features.iter().map(|f| f.name.as_str()).collect()
    }
}

/// Shares of shared variance and noise, and length scales, the plainest first; without shared variance the length is moot.
fn candidates() -> Vec<(f64, f64, f64)> {
    let mut all = Vec::new();
    for shared in SHARED {
        for noise in NOISE {
            let lengths = if shared == 0.0 { &LENGTHS[..1] } else { &LENGTHS[..] };
            all.extend(lengths.iter().map(|&length| (shared, noise, length)));
        }
    }
    all
}

fn alike(a: &[f64], b: &[f64], length: f64) -> f64 {
    let square: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (-square / (2.0 * a.len().max(1) as f64 * length * length)).exp()
}

fn along(octaves: f64) -> f64 {
    (-octaves * octaves / (2.0 * OCTAVES * OCTAVES)).exp()
}

fn covariance(at: &[(usize, f64)], z: &[Vec<f64>], [shared, own, noise]: [f64; 3], length: f64) -> Vec<Vec<f64>> {
    let between: Vec<Vec<f64>> = z.iter().map(|a| z.iter().map(|b| alike(a, b, length)).collect()).collect();
    let entry = |i: usize, j: usize| {
        let ((s, x), (t, y)) = (at[i], at[j]);
        let own = if s == t { own } else { 0.0 };
        (shared * between[s][t] + own) * along(x - y) + if i == j { noise } else { 0.0 }
    };
    (0..at.len()).map(|i| (0..=i).map(|j| entry(i, j)).collect()).collect()
}

/// Log marginal likelihood (up to a constant) and K^-1 y, from the lower triangle of K; `None` when K is singular.
fn condition(mut k: Vec<Vec<f64>>, y: &[f64]) -> Option<(f64, Vec<f64>)> {
    let n = y.len();
    let mut log_determinant = 0.0;
    for i in 0..n {
        for j in 0..=i {
            let (head, tail) = k.split_at_mut(i);
            let row = &mut tail[0];
            let other: &[f64] = if j < i { &head[j] } else { &[] };
            let dot: f64 = if j < i {
                row[..j].iter().zip(other).map(|(a, b)| a * b).sum()
            } else {
                row[..j].iter().map(|a| a * a).sum()
            };
            let value = row[j] - dot;
            if j < i {
                row[j] = value / head[j][j];
            } else if value > 1e-12 {
                row[j] = value.sqrt();
                log_determinant += row[j].ln();
            } else {
                return None;
            }
        }
    }
    let mut w = y.to_vec();
    for i in 0..n {
        let dot: f64 = k[i][..i].iter().zip(&w).map(|(a, b)| a * b).sum();
        w[i] = (w[i] - dot) / k[i][i];
    }
    let fit: f64 = w.iter().map(|v| v * v).sum();
    for i in (0..n).rev() {
        w[i] /= k[i][i];
        let value = w[i];
        for j in 0..i {
            w[j] -= k[i][j] * value;
        }
    }
    Some((-0.5 * fit - log_determinant, w))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditioning_solves_the_system_and_knows_the_determinant() {
        // K = [[4, 2], [2, 3]], det 8; K^-1 (10, 9) = (1.5, 2); y'K^-1 y = 33.
        let (likelihood, w) = condition(vec![vec![4.0], vec![2.0, 3.0]], &[10.0, 9.0]).unwrap();
        assert!((w[0] - 1.5).abs() < 1e-12 && (w[1] - 2.0).abs() < 1e-12);
        assert!((likelihood + 16.5 + 0.5 * 8.0_f64.ln()).abs() < 1e-12);
        assert!(condition(vec![vec![1.0], vec![1.0, 1.0]], &[1.0, 1.0]).is_none());
    }

    #[test]
    fn points_of_one_data_set_are_more_alike_than_those_of_two() {
        let k = covariance(&[(0, 0.0), (0, 1.0), (1, 0.0)], &[vec![0.0], vec![1.0]], [0.5, 0.3, 0.2], 1.0);
        assert!((k[0][0] - 1.0).abs() < 1e-12);
        assert!(k[1][0] > k[2][0] && k[2][0] > k[2][1]);
    }
}
