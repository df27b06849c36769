//! Spatial frequency: how fine the structures are that hold the image's power.

use std::cell::RefCell;
use std::collections::HashMap;
use std::f64::consts::{FRAC_1_SQRT_2, TAU};
use std::rc::Rc;

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
    /// Squared magnitude at the horizontal frequencies 0 to width / 2, times the number of times that the frequency occurs
    /// in the whole plane (the other half is the mirror image of this one); column by column, `height` values each.
    half: Vec<f64>,
    places: Rc<Places>,
}

/// Where the frequencies of the half plane of one size count, in the order of the powers.
#[derive(Debug)]
struct Places {
    /// Cycles per pixel.
    radii: Vec<f64>,
    /// Bins of the median.
    bins: Vec<u16>,
    /// Rings of one cycle per smaller side, by the nearest radius.
    rings: Vec<u32>,
}

impl Places {
    fn new(height: usize, width: usize) -> Self {
        let (rows, columns) = (squared_frequencies(height), squared_frequencies(width));
        let n = height.min(width);
        let radii: Vec<f64> =
            columns[..=width / 2].iter().flat_map(|fx| rows.iter().map(move |fy| (fy + fx).sqrt())).collect();
        let bin = |r: &f64| ((r / FRAC_1_SQRT_2 * BINS as f64) as usize).min(BINS - 1) as u16;
        let ring = |r: &f64| ((r * n as f64).round() as usize).min(n) as u32;
        Self { bins: radii.iter().map(bin).collect(), rings: radii.iter().map(ring).collect(), radii }
    }
}

impl PowerSpectrum {
    /// `None` below 8 x 8 and for a constant image.
    pub fn of(gray: &[f32], height: usize, width: usize) -> Option<Self> {
        if height.min(width) < 8 || gray.len() != height * width {
            return None;
        }
        if gray.iter().all(|&v| v == gray[0]) {
            return None;
        }
        TABLES.with_borrow_mut(|tables| {
            window(gray, height, width, &mut tables.rows);
            let half = tables.half_power(height, width);
            Some(Self { height, width, half, places: tables.places(height, width) })
        })
    }

    /// The sum of the power in rings, and the number of frequencies in them, both over the whole plane. With n the smaller
    /// side, ring k holds the frequencies whose radius is nearest to k / n cycles per pixel; k is 0 to n, the last takes
    /// what is beyond.
    pub fn rings(&self) -> Vec<(f64, f64)> {
        let mut rings = vec![(0.0, 0.0); self.height.min(self.width) + 1];
        let columns = self.half.chunks(self.height).zip(self.places.rings.chunks(self.height));
        for (x, (powers, places)) in columns.enumerate() {
            let copies = copies(x, self.width);
            for (power, &ring) in powers.iter().zip(places) {
                let (sum, count) = &mut rings[ring as usize];
                *sum += power;
                *count += copies;
            }
        }
        rings
    }
}

/// How often the frequencies of a column of the half plane occur in the whole plane.
fn copies(x: usize, width: usize) -> f64 {
    if x == 0 || 2 * x == width { 1.0 } else { 2.0 }
}

pub(super) fn summary(spectrum: &PowerSpectrum) -> Option<Spectrum> {
    let mut bins = vec![0.0; BINS];
    let mut weighted = 0.0;
    let places = &spectrum.places;
    for ((power, radius), &bin) in spectrum.half.iter().zip(&places.radii).zip(&places.bins) {
        bins[usize::from(bin)] += power;
        weighted += power * radius;
    }
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

/// The image times the window, with zero sum; two rows at a time, as the real and the imaginary part of a row of complex
/// values (an odd last row beside zeros).
fn window(gray: &[f32], height: usize, width: usize, out: &mut Vec<Complex64>) {
    let (rows, columns) = (hann(height), hann(width));
    let mut sums = vec![0.0; width];
    for (row, r) in gray.chunks(width).zip(&rows) {
        sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += r * f64::from(v));
    }
    let weights = rows.iter().sum::<f64>() * columns.iter().sum::<f64>();
    let mean = sums.iter().zip(&columns).map(|(sum, c)| sum * c).sum::<f64>() / weights;
    let zeros = vec![0.0; width];
    out.clear();
    for (pair, r) in gray.chunks(2 * width).zip(rows.chunks(2)) {
        let (upper, lower) = pair.split_at(width);
        let (lower, weight) = if lower.is_empty() { (&zeros[..], 0.0) } else { (lower, r[1]) };
        out.extend(upper.iter().zip(lower).zip(&columns).map(|((&a, &b), c)| {
            Complex64::new((f64::from(a) - mean) * (r[0] * c), (f64::from(b) - mean) * (weight * c))
        }));
    }
}

/// Tables by size, computed once per thread, and planes that are kept from image to image.
struct Tables {
    planner: FftPlanner<f64>,
    places: HashMap<(usize, usize), Rc<Places>>,
    /// The image, see [`window`].
    rows: Vec<Complex64>,
    /// Its transform along the rows, by column.
    columns: Vec<Complex64>,
}

/// The places of at most so many sizes are kept: several pyramids.
const SIZES: usize = 32;

impl Tables {
    /// Squared magnitude of the two-dimensional Fourier transform at the horizontal frequencies 0 to width / 2, times their
    /// [`copies`]; column by column, `height` values each.
    fn half_power(&mut self, height: usize, width: usize) -> Vec<f64> {
        let (row_fft, column_fft) = (self.planner.plan_fft_forward(width), self.planner.plan_fft_forward(height));
        let zero = Complex64::new(0.0, 0.0);
        let mut scratch = vec![zero; row_fft.get_inplace_scratch_len().max(column_fft.get_inplace_scratch_len())];
        let stride = height + GAP;
        self.columns.resize(stride * (width / 2 + 1), zero);
        for (y, row) in self.rows.chunks_mut(width).enumerate() {
            row_fft.process_with_scratch(row, &mut scratch);
            for (x, column) in self.columns.chunks_mut(stride).enumerate() {
                // Row a + ib has the transform A + iB, with A and B those of real rows: A(-x) is the conjugate of A(x).
                let (right, left) = (row[x], row[if x == 0 { 0 } else { width - x }].conj());
                let (a, b) = ((right + left) * 0.5, (right - left) * 0.5);
                // Below an odd last row is the gap.
                column[2 * y] = a;
                column[2 * y + 1] = Complex64::new(b.im, -b.re);
            }
        }
        let mut half = Vec::with_capacity(height * (width / 2 + 1));
        for (x, column) in self.columns.chunks_mut(stride).enumerate() {
            column_fft.process_with_scratch(&mut column[..height], &mut scratch);
            half.extend(column[..height].iter().map(|z| z.norm_sqr() * copies(x, width)));
        }
        half
    }

    fn places(&mut self, height: usize, width: usize) -> Rc<Places> {
        if self.places.len() >= SIZES && !self.places.contains_key(&(height, width)) {
            self.places.clear();
        }
        Rc::clone(self.places.entry((height, width)).or_insert_with(|| Rc::new(Places::new(height, width))))
    }
}

thread_local! {
    static TABLES: RefCell<Tables> = RefCell::new(Tables {
        planner: FftPlanner::new(),
        places: HashMap::new(),
        rows: Vec::new(),
        columns: Vec::new(),
    });
}

/// Between the columns in memory, so that those of 2^k rows do not compete for the same lines of the cache.
const GAP: usize = 4;

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
