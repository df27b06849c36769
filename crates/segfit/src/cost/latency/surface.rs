//! [`Surface`]: the time of a step over its input and output channels.
//!
//! **Interpolation** is linear in the logarithms of both channel counts and of the time, which is exact where time is a power of
//! the channels, and at the grid's own points.
//!
//! **Smoothing.** Networks that are measured give scattered points. [`Surface::through`] first fits
//! `c0 + c1 i + c2 o + c3 i o` with coefficients that are not negative: the call, the transport of inputs and outputs, the products. What
//! the points differ from that, as a logarithm, is then averaged around every grid point with Gaussian weights, narrower along the
//! outputs, in whose blocks kernels work, than along the inputs. Far from all points the fit alone remains. At last the grid is made to
//! rise with both channel counts, as the mean of the smallest such grid above it and the largest below it, because the planner searches by bisection.

use serde::{Deserialize, Serialize};

/// Octaves over which points are averaged, along the inputs and along the outputs.
const REACH: [f64; 2] = [0.4, 0.15];
/// Weight of the fit beside the points, in points.
const TRUST_IN_FIT: f64 = 0.1;
/// Channels beyond the grid's last that are still extrapolated to, as a factor.
const BEYOND: f64 = 1.25;

/// A measured step: input channels, output channels, microseconds.
pub(super) type Point = [f64; 3];

/// Microseconds on a grid of input and output channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Surface {
    /// Input channels of the grid, rising.
    pub inputs: Vec<usize>,
    /// Output channels of the grid, rising.
    pub outputs: Vec<usize>,
    /// Microseconds, a row for every number of input channels.
    pub us: Vec<Vec<f64>>,
}

impl Surface {
    /// Microseconds at these channels: interpolated inside of the grid, that of the edge below it, extrapolated to 1.25 times its
    /// largest channels, `None` beyond.
    #[must_use]
    pub fn at(&self, inputs: usize, outputs: usize) -> Option<f64> {
        let (i, u) = place(&self.inputs, inputs)?;
        let (o, v) = place(&self.outputs, outputs)?;
        let log = |i: usize, o: usize| self.us[i][o].ln();
        let along = |i: usize| if v == 0.0 { log(i, o) } else { (1.0 - v) * log(i, o) + v * log(i, o + 1) };
        Some(if u == 0.0 { along(i) } else { (1.0 - u) * along(i) + u * along(i + 1) }.exp())
    }

    /// What is wrong with a surface that was read from a file.
    pub(super) fn flaw(&self) -> Option<String> {
        let rising = |axis: &[usize]| axis.first().is_some_and(|&a| a > 0) && axis.windows(2).all(|w| w[0] < w[1]);
        if !rising(&self.inputs) || !rising(&self.outputs) {
            return Some("its channels must be above 0 and rise".into());
        }
        if self.us.len() != self.inputs.len() || self.us.iter().any(|row| row.len() != self.outputs.len()) {
            return Some(format!("it must have {} rows of {} times", self.inputs.len(), self.outputs.len()));
        }
        let bad = self.us.iter().flatten().find(|us| !(**us > 0.0 && us.is_finite()));
        bad.map(|us| format!("a time must be above 0, got {us}"))
    }

    /// The surface through measured points, of which there must be one.
    pub(super) fn through(points: &[Point]) -> Self {
        let fit = Fit::of(points);
        let (inputs, outputs) = (axis(points.iter().map(|p| p[0])), axis(points.iter().map(|p| p[1])));
        let row = |&i: &usize| outputs.iter().map(|&o| fit.at(points, i as f64, o as f64)).collect();
        let us = rising(&inputs.iter().map(row).collect::<Vec<Vec<f64>>>());
        Self { inputs, outputs, us: us.iter().map(|row| row.iter().map(|&us| short(us)).collect()).collect() }
    }
}

/// The grid point at or below `channels` and the share of the way to the next one, in logarithms.
fn place(axis: &[usize], channels: usize) -> Option<(usize, f64)> {
    let last = axis.len() - 1;
    if channels <= axis[0] {
        return Some((0, 0.0));
    }
    if channels as f64 > axis[last] as f64 * BEYOND {
        return None;
    }
    if last == 0 {
        return Some((0, 0.0));
    }
    let i = (axis.partition_point(|&a| a <= channels) - 1).min(last - 1);
    let (low, high) = ((axis[i] as f64).ln(), (axis[i + 1] as f64).ln());
    let share = ((channels as f64).ln() - low) / (high - low);
    Some(if share == 1.0 { (i + 1, 0.0) } else { (i, share) })
}

/// Four grid points to an octave from 4 on, all numbers below, and the ends of the range.
fn axis(values: impl Iterator<Item = f64>) -> Vec<usize> {
    let (low, high) = values.fold((usize::MAX, 1), |(low, high), v| (low.min(v as usize), high.max(v as usize)));
    let octaves = (0..usize::BITS - 4).flat_map(|k| (4..8).map(move |m: usize| m << k));
    let mut axis: Vec<usize> = octaves.take_while(|&v| v < high).chain(1..4).chain([low, high]).collect();
    axis.retain(|v| (low..=high).contains(v));
    axis.sort_unstable();
    axis.dedup();
    axis
}

/// Four digits: more are noise, and the file is read by people, too.
fn short(us: f64) -> f64 {
    let scale = 10_f64.powi(3 - us.log10().floor() as i32);
    (us * scale).round() / scale
}

/// The fit and what each point differs from it.
struct Fit {
    coefficients: [f64; 4],
    /// Logarithm of time over fit, by point.
    rest: Vec<f64>,
}

fn features(inputs: f64, outputs: f64) -> [f64; 4] {
    [1.0, inputs, outputs, inputs * outputs]
}

fn dot(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Fit {
    fn of(points: &[Point]) -> Self {
        let relative = |p: &Point| features(p[0], p[1]).map(|f| f / p[2]);
        let coefficients = non_negative(&points.iter().map(relative).collect::<Vec<_>>());
        let rest = |p: &Point| (p[2] / dot(&coefficients, &features(p[0], p[1]))).ln();
        Self { rest: points.iter().map(rest).collect(), coefficients }
    }

    fn at(&self, points: &[Point], inputs: f64, outputs: f64) -> f64 {
        let (mut sum, mut weight) = (0.0, TRUST_IN_FIT);
        for (p, rest) in points.iter().zip(&self.rest) {
            let away = [(p[0] / inputs).log2() / REACH[0], (p[1] / outputs).log2() / REACH[1]];
            let w = (-0.5 * (away[0] * away[0] + away[1] * away[1])).exp();
            sum += w * rest;
            weight += w;
        }
        dot(&self.coefficients, &features(inputs, outputs)) * (sum / weight).exp()
    }
}

/// The coefficients, none negative, whose product with every row is as near to 1 as can be in the sum of squares, by coordinate
/// descent.
fn non_negative(rows: &[[f64; 4]]) -> [f64; 4] {
    const SWEEPS: usize = 400;
    let norms: [f64; 4] = std::array::from_fn(|j| rows.iter().map(|r| r[j] * r[j]).sum::<f64>().sqrt());
    let scaled: Vec<[f64; 4]> = rows.iter().map(|r| std::array::from_fn(|j| r[j] / norms[j])).collect();
    let gram: [[f64; 4]; 4] =
        std::array::from_fn(|i| std::array::from_fn(|j| scaled.iter().map(|r| r[i] * r[j]).sum()));
    let target: [f64; 4] = std::array::from_fn(|j| scaled.iter().map(|r| r[j]).sum());
    let mut x = [0.0; 4];
    for _ in 0..SWEEPS {
        for j in 0..4 {
            x[j] = f64::max(0.0, x[j] + target[j] - dot(&gram[j], &x));
        }
    }
    std::array::from_fn(|j| x[j] / norms[j])
}

/// The mean, in logarithms, of the smallest grid above `us` that rises in both directions and the largest below it.
fn rising(us: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let (rows, columns) = (us.len(), us[0].len());
    let (mut above, mut below) = (us.to_vec(), us.to_vec());
    for i in 0..rows {
        for o in 0..columns {
            let before = [i.checked_sub(1).map(|i| above[i][o]), o.checked_sub(1).map(|o| above[i][o])];
            above[i][o] = before.into_iter().flatten().fold(above[i][o], f64::max);
        }
    }
    for i in (0..rows).rev() {
        for o in (0..columns).rev() {
            let behind = [below.get(i + 1).map(|row| row[o]), below[i].get(o + 1).copied()];
            below[i][o] = behind.into_iter().flatten().fold(below[i][o], f64::min);
        }
    }
    let mean = |(above, below): (&f64, &f64)| (above * below).sqrt();
    above.iter().zip(&below).map(|(a, b)| a.iter().zip(b).map(mean).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hand_made() -> Surface {
        Surface {
            inputs: vec![1, 4, 16],
            outputs: vec![2, 8],
            us: vec![vec![1.0, 4.0], vec![2.0, 9.0], vec![8.0, 36.0]],
        }
    }

    #[test]
    fn the_grids_points_are_exact_and_between_them_it_is_a_power() {
        let surface = hand_made();
        for (i, &inputs) in surface.inputs.iter().enumerate() {
            for (o, &outputs) in surface.outputs.iter().enumerate() {
                assert!((surface.at(inputs, outputs).unwrap() / surface.us[i][o] - 1.0).abs() < 1e-12);
            }
        }
        // Half-way from 1 to 4 and from 2 to 8, in logarithms: the geometric mean of 1, 4, 2 and 9.
        assert!((surface.at(2, 4).unwrap() - 72_f64.powf(0.25)).abs() < 1e-12);
        assert_eq!(surface.at(1, 1), Some(1.0), "below the grid: its edge");
        assert!((surface.at(20, 8).unwrap() - 45.0).abs() < 1e-9, "beyond it, in proportion: 36 * 20 / 16");
        assert_eq!((surface.at(21, 8), surface.at(4, 11)), (None, None), "but not far beyond");
    }

    #[test]
    fn what_a_file_must_not_hold_is_named() {
        let flaw = |change: fn(&mut Surface)| {
            let mut surface = hand_made();
            change(&mut surface);
            surface.flaw()
        };
        assert_eq!(flaw(|_| ()), None);
        assert!(flaw(|s| s.inputs[2] = 4).unwrap().contains("rise"));
        assert!(flaw(|s| s.outputs.clear()).unwrap().contains("rise"));
        assert!(flaw(|s| s.us[1].push(3.0)).unwrap().contains("3 rows of 2"));
        assert!(flaw(|s| s.us[1][0] = 0.0).unwrap().contains("above 0"));
        assert!(flaw(|s| s.us[1][0] = f64::NAN).unwrap().contains("above 0"));
    }

    #[test]
    fn a_smooth_cost_is_found_again_between_the_points_and_far_from_them() {
        let cost = |i: f64, o: f64| 3.0 + 0.2 * i + 0.5 * o + 0.01 * i * o;
        let points: Vec<Point> = (0..40)
            .map(|k| ((k * 7) % 64 + 1, (k * 13) % 48 + 1))
            .map(|(i, o)| [f64::from(i), f64::from(o)])
            .map(|[i, o]| [i, o, cost(i, o)])
            .collect();
        let surface = Surface::through(&points);
        for (i, o) in [(1, 1), (9, 30), (60, 3), (64, 48)] {
            let (have, expected) = (surface.at(i, o).unwrap(), cost(i as f64, o as f64));
            assert!((have / expected - 1.0).abs() < 0.02, "{i} to {o}: {have}, expected {expected}");
        }
    }

    #[test]
    fn a_surface_rises_with_both_channel_counts_whatever_was_measured() {
        let points: Vec<Point> = (1..60)
            .map(|k| [f64::from(k * 5 % 31 + 1), f64::from(k * 3 % 17 + 1), f64::from(k * 7 % 11 + 1)])
            .collect();
        let surface = Surface::through(&points);
        for i in 1..31 {
            for o in 1..17 {
                let [here, right, down] = [(i, o), (i, o + 1), (i + 1, o)].map(|(i, o)| surface.at(i, o).unwrap());
                assert!(here <= right * (1.0 + 1e-12) && here <= down * (1.0 + 1e-12), "{i} to {o}");
            }
        }
    }

    #[test]
    fn a_jump_at_a_block_of_channels_is_kept() {
        let cost = |o: usize| if o <= 8 { 10.0 } else { 20.0 };
        let points: Vec<Point> = (1..=24).flat_map(|o| [4.0, 16.0].map(|i| [i, o as f64, cost(o)])).collect();
        let surface = Surface::through(&points);
        assert!(surface.at(8, 7).unwrap() < 12.0 && surface.at(8, 10).unwrap() > 17.0, "{surface:?}");
    }
}
