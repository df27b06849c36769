//! Spatial frequency: how fine the structures are that hold the image's power.

use std::cell::RefCell;
use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;

use super::{Measure, Pyramid, pyramid};

/// Radial bins from 0 to the corner frequency, sqrt(1/2) cycles per pixel.
const BINS: usize = 1024;

pub(super) const MEDIAN_FREQUENCY: Measure = Measure {
    name: "median_frequency",
    unit: "cycles per pixel",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s)?.spectrum().map(|f| f.median),
};

pub(super) const MEAN_FREQUENCY: Measure = Measure {
    name: "mean_frequency",
    unit: "cycles per pixel",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s)?.spectrum().map(|f| f.mean),
};

/// Where the power of an image lies, in cycles per pixel of the image as given (0 to 0.707).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spectrum {
    /// Half of the power lies at lower radial frequencies.
    pub median: f64,
    /// Mean radial frequency, weighted by power.
    pub mean: f64,
}

/// Median and mean radial frequency of the power spectrum. Larger is finer, hence more complex.
///
/// The image's mean is removed, the rest multiplied by a separable Hann window
/// w(i) = sin^2(pi (i + 1/2) / n), its weighted mean removed as well, and transformed. The power at (fy, fx), in cycles per
/// pixel within [-1/2, 1/2], counts at radius sqrt(fy^2 + fx^2); the zero frequency does not count. The median is
/// interpolated within radial bins of 0.0007 cycles per pixel. `None` below 8 x 8 and for a constant image.
///
/// A grating of period 8 pixels has 1/8; see the tests. Source: Khan, Naqvi, Meijering, Leveraging image complexity in
/// macro-level neural network design for medical image segmentation, 2022 (median spatial frequency); the window is ours.
#[must_use]
pub fn spectrum(gray: &[f32], height: usize, width: usize) -> Option<Spectrum> {
    summary(&PowerSpectrum::of(gray, height, width)?)
}

/// Power at all frequencies, of the windowed image without its mean.
#[derive(Debug)]
pub(super) struct PowerSpectrum {
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// Squared magnitude at the horizontal frequencies 0 to width / 2; column by column, `height` values each.
    half: Vec<f64>,
}

impl PowerSpectrum {
    /// `None` below 8 x 8 and for a constant image.
    pub fn of(gray: &[f32], height: usize, width: usize) -> Option<Self> {
        if height.min(width) < 8 || gray.len() != height * width {
            return None;
        }
        let half = half_power(&windowed(gray, height, width)?, height, width);
        Some(Self { height, width, half })
    }

    /// Calls `take(power, radius, copies)` for every frequency of the half plane: its radius in cycles per pixel, and how
    /// often it occurs in the whole plane (the other half is the mirror image of this one).
    pub fn for_each(&self, mut take: impl FnMut(f64, f64, f64)) {
        let (rows, columns) = (squared_frequencies(self.height), squared_frequencies(self.width));
        for (x, column) in self.half.chunks(self.height).enumerate() {
            let copies = if x == 0 || 2 * x == self.width { 1.0 } else { 2.0 };
            for (&power, fy) in column.iter().zip(&rows) {
                take(power, (fy + columns[x]).sqrt(), copies);
            }
        }
    }
}

pub(super) fn summary(spectrum: &PowerSpectrum) -> Option<Spectrum> {
    let mut bins = vec![0.0; BINS];
    let mut weighted = 0.0;
    spectrum.for_each(|power, radius, copies| {
        bins[((radius / FRAC_1_SQRT_2 * BINS as f64) as usize).min(BINS - 1)] += copies * power;
        weighted += copies * power * radius;
    });
    let total: f64 = bins.iter().sum();
    (total > 0.0).then(|| Spectrum { median: median(&bins, total), mean: weighted / total })
}

/// The frequency below which half of the power lies.
fn median(bins: &[f64], total: f64) -> f64 {
    let mut below = 0.0;
    for (i, &p) in bins.iter().enumerate() {
        if below + p >= total / 2.0 {
            let within = (total / 2.0 - below) / p;
            return (i as f64 + within) * FRAC_1_SQRT_2 / BINS as f64;
        }
        below += p;
    }
    FRAC_1_SQRT_2
}

fn squared_frequencies(n: usize) -> Vec<f64> {
    (0..n).map(|k| (k.min(n - k) as f64 / n as f64).powi(2)).collect()
}

fn hann(n: usize) -> Vec<f64> {
    (0..n).map(|i| (TAU / 2.0 * (i as f64 + 0.5) / n as f64).sin().powi(2)).collect()
}

/// The image times the window, with zero sum; `None` for a constant image.
fn windowed(gray: &[f32], height: usize, width: usize) -> Option<Vec<f64>> {
    let (rows, columns) = (hann(height), hann(width));
    let window: Vec<f64> = rows.iter().flat_map(|r| columns.iter().map(move |c| r * c)).collect();
    let first = gray[0];
    if gray.iter().all(|&v| v == first) {
        return None;
    }
    let sum: f64 = gray.iter().zip(&window).map(|(&v, w)| f64::from(v) * w).sum();
    let mean = sum / window.iter().sum::<f64>();
    Some(gray.iter().zip(&window).map(|(&v, w)| (f64::from(v) - mean) * w).collect())
}

thread_local! {
    static PLANNER: RefCell<FftPlanner<f64>> = RefCell::new(FftPlanner::new());
}

/// Squared magnitude of the two-dimensional Fourier transform at the horizontal frequencies 0 to width / 2; column by
/// column, `height` values each.
fn half_power(plane: &[f64], height: usize, width: usize) -> Vec<f64> {
    let (row_fft, column_fft) = PLANNER.with(|planner| {
        let mut planner = planner.borrow_mut();
        (planner.plan_fft_forward(width), planner.plan_fft_forward(height))
    });
    let mut rows: Vec<Complex64> = plane.iter().map(|&v| Complex64::new(v, 0.0)).collect();
    row_fft.process(&mut rows);
    let column = |x: usize| rows.iter().skip(x).step_by(width);
    let mut columns: Vec<Complex64> = (0..=width / 2).flat_map(column).copied().collect();
    column_fft.process(&mut columns);
    columns.iter().map(Complex64::norm_sqr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grating(height: usize, width: usize, fy: f64, fx: f64) -> Vec<f32> {
        let phase = |i: usize| TAU * (fy * (i / width) as f64 + fx * (i % width) as f64);
        (0..height * width).map(|i| (0.5 + 0.4 * phase(i).cos()) as f32).collect()
    }

    #[test]
    fn a_grating_has_its_own_frequency() {
        // To half of the distance of two discrete frequencies, 1 / (2 * 41).
        for (h, w, fy, fx, truth) in
            [(64, 64, 0.0, 0.125, 0.125), (48, 80, 0.25, 0.0, 0.25), (64, 64, 0.15, 0.2, 0.25), (37, 41, 0.0, 0.3, 0.3)]
        {
            let s = spectrum(&grating(h, w, fy, fx), h, w).unwrap();
            assert!((s.median - truth).abs() < 0.0122, "{h} {w}: {} against {truth}", s.median);
            assert!((s.mean - truth).abs() < 0.0122, "{h} {w}: {} against {truth}", s.mean);
        }
    }

    #[test]
    fn white_noise_has_the_median_of_the_frequency_square() {
        // A disc of area 1/2 in the unit square of frequencies has radius sqrt(1 / (2 pi)) = 0.399.
        let mut s = crate::random::Stream::new(&[1]);
        let gray: Vec<f32> = (0..128 * 128).map(|_| s.unit()).collect();
        let f = spectrum(&gray, 128, 128).unwrap();
        assert!((f.median - 0.3989).abs() < 0.01, "{}", f.median);
        assert!((f.mean - 0.3826).abs() < 0.01, "mean radius of the unit square, {}", f.mean);
    }

    #[test]
    fn brightness_and_contrast_change_nothing_and_a_constant_image_has_none() {
        let gray = grating(32, 32, 0.1, 0.1);
        let other: Vec<f32> = gray.iter().map(|v| 0.3 + 0.5 * v).collect();
        let (a, b) = (spectrum(&gray, 32, 32).unwrap(), spectrum(&other, 32, 32).unwrap());
        assert!((a.median - b.median).abs() < 1e-6 && (a.mean - b.mean).abs() < 1e-5);
        assert_eq!(spectrum(&[0.5; 1024], 32, 32), None);
        assert_eq!(spectrum(&[0.5; 49], 7, 7), None);
    }
}
