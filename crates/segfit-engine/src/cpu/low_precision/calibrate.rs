//! How far the values of a tensor reach, and where to cut them off for 8 bits.
//!
//! Values that are spread evenly over the steps of width s err by s^2 / 12 on average; those beyond the limit err by their
//! distance from it. The limit with the smallest sum is chosen, as in the search for "minimal mean squared error" ranges
//! (Nagel et al. 2021, arXiv 2106.08295, section 3.1).

use crate::cpu::planes::Planes;

/// Bins from 0 to the current reach.
const BINS: usize = 4096;

/// Reach of an empty histogram, a power of two.
const SMALLEST_REACH: f32 = 1.0 / 1_048_576.0;

/// Steps of an int8 activation.
const STEPS: f64 = 255.0;

/// Magnitudes of all values of a tensor but its zeros, which are exact in any case.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper end of the last bin, a power of two.
    reach: f32,
    counts: Vec<u64>,
    largest: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { reach: SMALLEST_REACH, counts: vec![0; BINS], largest: 0.0 }
    }
}

impl Histogram {
    /// Adds the pixels of all planes.
    pub fn add(&mut self, x: &Planes) {
        for (image, channel) in (0..x.batch).flat_map(|i| (0..x.channels).map(move |c| (i, c))) {
            for row in 0..x.layout.height {
                // SAFETY: one row of pixels, which nobody writes now.
                self.add_values(unsafe { std::slice::from_raw_parts(x.row(image, channel, row), x.layout.width) });
            }
        }
    }

    /// Adds values. What is not finite counts as the largest number, so that the range says it.
    pub fn add_values(&mut self, values: &[f32]) {
        let most = values.iter().fold(0.0_f32, |m, v| if m.is_nan() || v.abs() <= m { m } else { v.abs() });
        if !most.is_finite() {
            self.largest = f32::INFINITY;
            return;
        }
        self.largest = self.largest.max(most);
        while self.reach <= most {
            self.widen();
        }
        let per_unit = BINS as f32 / self.reach;
        for v in values {
            if *v != 0.0 {
                self.counts[((v.abs() * per_unit) as usize).min(BINS - 1)] += 1;
            }
        }
    }

    /// Doubles the reach.
    fn widen(&mut self) {
        for bin in 0..BINS / 2 {
            self.counts[bin] = self.counts[2 * bin] + self.counts[2 * bin + 1];
        }
        self.counts[BINS / 2..].fill(0);
        self.reach *= 2.0;
    }

    /// The limit with the smallest squared error; infinite when a value was not finite.
    #[must_use]
    pub fn range(&self) -> f32 {
        if !self.largest.is_finite() || self.largest == 0.0 {
            return self.largest;
        }
        let width = f64::from(self.reach) / BINS as f64;
        let largest = f64::from(self.largest);
        // Candidates are the ends of the bins and the largest value. From above: sums over the bins beyond the limit.
        let mut best = (f64::INFINITY, largest);
        let (mut beyond, mut sum, mut squares) = (0.0, 0.0, 0.0);
        let total: u64 = self.counts.iter().sum();
        for bin in (0..BINS).rev() {
            let limit = ((bin + 1) as f64 * width).min(largest);
            let cut: f64 = squares - 2.0 * limit * sum + limit * limit * beyond;
            let error = cut + (total as f64 - beyond) * (limit / STEPS).powi(2) / 12.0;
            if error < best.0 {
                best = (error, limit);
            }
            let (count, centre) = (self.counts[bin] as f64, (bin as f64 + 0.5) * width);
            beyond += count;
            sum += count * centre;
            squares += count * centre * centre;
        }
        best.1 as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenly_spread_values_keep_their_whole_range() {
        let mut histogram = Histogram::default();
        let values: Vec<f32> = (0..=10_000_u16).map(|i| f32::from(i) / 10_000.0).collect();
        histogram.add_values(&values);
        assert!((histogram.range() - 1.0).abs() < 0.02, "{}", histogram.range());
    }

    #[test]
    fn one_value_far_away_is_cut_off() {
        let mut histogram = Histogram::default();
        let values: Vec<f32> = (0..100_000_u32).map(|i| (i % 1000) as f32 / 1000.0).chain([4.0]).collect();
        histogram.add_values(&values);
        // The least of (4 - t)^2 + n * (t / 255)^2 / 12 for n = 100001 values is at t = 4 / (1 + n / 780300).
        assert!((histogram.range() - 3.546).abs() < 0.01, "{}", histogram.range());
        let mut few = Histogram::default();
        few.add_values(&[-4.0, 0.0, 1.0]);
        assert!((few.range() - 4.0).abs() < 0.05, "one of two values is no outlier, {}", few.range());
    }

    #[test]
    fn the_order_of_small_and_large_values_does_not_matter() {
        let (mut a, mut b) = (Histogram::default(), Histogram::default());
        a.add_values(&[0.001, 0.01]);
        a.add_values(&[3.0, 100.0]);
        b.add_values(&[100.0, 3.0]);
        b.add_values(&[0.01, 0.001]);
        assert_eq!(a, b);
    }

    #[test]
    fn zeros_have_no_range_and_nan_is_told() {
        let mut histogram = Histogram::default();
        histogram.add_values(&[0.0, 0.0]);
        assert_eq!(histogram.range(), 0.0);
        histogram.add_values(&[f32::NAN, 1.0]);
        assert_eq!(histogram.range(), f32::INFINITY);
    }
}
