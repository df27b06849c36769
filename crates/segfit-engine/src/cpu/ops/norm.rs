//! Normalisation within single images: every channel by itself (Ulyanov et al. 2016), or parts of the channels together (Wu
//! and He 2018). Variances are biased, and there are no running statistics: training and inference do the same.

use super::rows::{Run, sum_rows, write_pieces, zip_rows};
use crate::cpu::ordered::{Slots, assert_same_shape, floats, for_each};
use crate::cpu::planes::Planes;
use crate::cpu::simd::{Isa, Simd};
use crate::dispatch;

/// An instance or group norm, with the statistics of the last forward pass.
#[derive(Debug)]
pub struct PartNorm {
    /// Channels that are normalised together.
    per_part: usize,
    eps: f32,
    affine: bool,
    /// Mean and 1 / sqrt(variance + eps) of the part that each plane belongs to.
    stats: Vec<[f32; 2]>,
    /// Two sums of each plane.
    sums: Vec<[f64; 2]>,
}

impl PartNorm {
    /// A norm of `parts` parts of the channels of `x`, with scale and shift per channel if `affine`.
    pub fn new(parts: usize, eps: f32, affine: bool, x: &Planes) -> Self {
        let planes = x.batch * x.channels;
        let (stats, sums) = (vec![[0.0; 2]; planes], vec![[0.0; 2]; planes]);
        Self { per_part: x.channels / parts, eps, affine, stats, sums }
    }

    /// Floats of memory.
    pub fn floats(&self) -> usize {
        2 * self.stats.len() + 4 * self.sums.len()
    }

    /// Scale and shift of a channel; `own`: the layer's scales, then its shifts.
    fn affine(&self, own: &[f32], channel: usize) -> [f32; 2] {
        if self.affine { [own[channel], own[own.len() / 2 + channel]] } else { [1.0, 0.0] }
    }

    /// y = (x - mean) / sqrt(variance + eps) * scale + shift. `y` may be `x`.
    pub fn forward(&mut self, isa: Isa, own: &[f32], x: &Planes, y: &Planes) {
        assert_same_shape(x, y);
        self.measure(isa, x);
        write_pieces(y, floats(y), |piece| {
            let size = (piece.rows.1 - piece.rows.0, y.layout.width);
            let [mean, inverse] = self.stats[piece.image * x.channels + piece.channel];
            let [scale, shift] = self.affine(own, piece.channel);
            let numbers = [mean, inverse * scale, shift];
            // SAFETY: this piece's rows of y belong to no other piece.
            unsafe { value_rows(isa, size, numbers, Run::of(x, piece), Run::of(y, piece)) };
        });
    }

    /// Mean and variance of every plane, then those of the parts (Chan et al. 1979, equation 2.1).
    fn measure(&mut self, isa: Isa, x: &Planes) {
        let (size, sums) = ((x.layout.height, x.layout.width), Slots::new(&mut self.sums));
        for_each(x.batch * x.channels, 2 * floats(x), |k| {
            let run = Run::of_plane(x, k / x.channels, k % x.channels);
            // SAFETY: slot k belongs to this piece; x is only read.
            unsafe { *sums.at(k) = moments(isa, size, run) };
        });
        let pixels = (size.0 * size.1) as f64;
        for (stats, planes) in self.stats.chunks_mut(self.per_part).zip(self.sums.chunks(self.per_part)) {
            let mean = planes.iter().map(|[m, _]| m).sum::<f64>() / planes.len() as f64;
            let squares: f64 = planes.iter().map(|[m, squares]| squares + pixels * (m - mean).powi(2)).sum();
            let variance = squares / (pixels * planes.len() as f64);
            stats.fill([mean as f32, (1.0 / (variance + f64::from(self.eps)).sqrt()) as f32]);
        }
    }

    /// Gradient of the input, if wanted (`dx` may be `dy`), and of scale and shift; with the statistics of the last forward
    /// pass, which was of this `x`.
    pub fn backward(
        &mut self,
        isa: Isa,
        own: &[f32],
        x: &Planes,
        dy: &Planes,
        dx: Option<(&Planes, bool)>,
        d_own: &mut [f32],
    ) {
        assert_same_shape(x, dy);
        let (size, stats, sums) = ((x.layout.height, x.layout.width), &self.stats, Slots::new(&mut self.sums));
        for_each(x.batch * x.channels, 2 * floats(x), |k| {
            let [x_run, d_run] = [x, dy].map(|p| Run::of_plane(p, k / x.channels, k % x.channels));
            // SAFETY: slot k belongs to this piece; x and dy are only read.
            unsafe { *sums.at(k) = gradient_sums(isa, size, stats[k], x_run, d_run) };
        });
        let (d_scale, d_shift) = d_own.split_at_mut(d_own.len() / 2);
        for (c, (d_scale, d_shift)) in d_scale.iter_mut().zip(d_shift).enumerate() {
            let sum = |which: usize| self.sums.iter().skip(c).step_by(x.channels).map(|s| s[which]).sum::<f64>() as f32;
            (*d_shift, *d_scale) = (sum(0), sum(1));
        }
        if let Some((dx, accumulate)) = dx {
            self.input_gradient(isa, own, x, dy, dx, accumulate);
        }
    }

    /// dx = inverse (scale dy - mean of scale dy - x' mean of scale dy x'), with the normalised x', means over the part.
    fn input_gradient(&mut self, isa: Isa, own: &[f32], x: &Planes, dy: &Planes, dx: &Planes, accumulate: bool) {
        assert_same_shape(x, dx);
        let values = (x.layout.height * x.layout.width * self.per_part) as f64;
        for part in (0..self.sums.len()).step_by(self.per_part) {
            let of = |which: usize| {
                let scaled = |k: usize| f64::from(self.affine(own, k % x.channels)[0]) * self.sums[k][which];
                (part..part + self.per_part).map(scaled).sum::<f64>() / values
            };
            let means = [of(0), of(1)];
            self.sums[part..part + self.per_part].fill(means);
        }
        write_pieces(dx, 2 * floats(dx), |piece| {
            let plane = piece.image * x.channels + piece.channel;
            let ([mean, inverse], [d_mean, d_slope]) = (self.stats[plane], self.sums[plane]);
            let wide = f64::from(inverse);
            let slope = (-wide * wide * d_slope) as f32;
            let numbers = [mean, inverse * self.affine(own, piece.channel)[0], slope, (-wide * d_mean) as f32];
            let size = (piece.rows.1 - piece.rows.0, dx.layout.width);
            let runs = [x, dy, dx].map(|p| Run::of(p, piece));
            // SAFETY: this piece's rows of dx belong to no other piece.
            unsafe { gradient_rows(isa, size, numbers, runs, accumulate) };
        });
    }
}

dispatch!(unsafe fn moments = mean_and_squares(size: (usize, usize), x: Run) -> [f64; 2]);

/// Mean of a plane, and the sum of squared differences from it.
#[inline(always)]
unsafe fn mean_and_squares<S: Simd>(size: (usize, usize), x: Run) -> [f64; 2] {
    // SAFETY: the caller's.
    unsafe {
        let n = (size.0 * size.1) as f64;
        let mean = sum_rows(size, [x], |[x]| [x])[0] / n;
        let rounded = mean as f32;
        let [rest, squares] = sum_rows(size, [x], |[x]| [x - rounded, (x - rounded) * (x - rounded)]);
        // What the rounding left.
        let shift = rest / n;
        [f64::from(rounded) + shift, squares - n * shift * shift]
    }
}

dispatch!(unsafe fn value_rows = values(size: (usize, usize), numbers: [f32; 3], x: Run, y: Run));

#[inline(always)]
unsafe fn values<S: Simd>(size: (usize, usize), [mean, slope, shift]: [f32; 3], x: Run, y: Run) {
    // SAFETY: the caller's.
    unsafe { zip_rows(size, [x], y, |[x]| (x - mean) * slope + shift) };
}

dispatch!(unsafe fn gradient_sums = sums(size: (usize, usize), stats: [f32; 2], x: Run, dy: Run) -> [f64; 2]);

/// Sum of dy, and of dy times the normalised x.
#[inline(always)]
unsafe fn sums<S: Simd>(size: (usize, usize), [mean, inverse]: [f32; 2], x: Run, dy: Run) -> [f64; 2] {
    // SAFETY: the caller's.
    unsafe { sum_rows(size, [x, dy], |[x, d]| [d, d * ((x - mean) * inverse)]) }
}

dispatch!(
    unsafe fn gradient_rows = gradients(size: (usize, usize), numbers: [f32; 4], runs: [Run; 3], accumulate: bool)
);

#[inline(always)]
unsafe fn gradients<S: Simd>(
    size: (usize, usize),
    [mean, factor, slope, shift]: [f32; 4],
    [x, dy, dx]: [Run; 3],
    accumulate: bool,
) {
    let f = |x: f32, d: f32| factor * d + (slope * (x - mean) + shift);
    // SAFETY: the caller's.
    unsafe {
        if accumulate {
            zip_rows(size, [x, dy, dx], dx, |[x, d, before]| before + f(x, d));
        } else {
            zip_rows(size, [x, dy], dx, |[x, d]| f(x, d));
        }
    }
}
