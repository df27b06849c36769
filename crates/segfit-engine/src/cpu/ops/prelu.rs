//! Leaky ReLU with a learned slope (He et al. 2015), equation 1; the gradient of the slope is equation 5.

use super::rows::{Run, sum_rows, write_pieces, zip_rows};
use crate::cpu::ordered::{Slots, assert_same_shape, floats, for_each};
use crate::cpu::planes::Planes;
use crate::cpu::simd::{Isa, Simd};
use crate::dispatch;

/// A PReLU and the sums of its backward pass.
#[derive(Debug)]
pub struct Prelu {
    shared: bool,
    /// Gradient of the slope from every plane.
    sums: Vec<f64>,
}

impl Prelu {
    /// One slope for all channels if `shared`, else one for each channel of `x`.
    pub fn new(shared: bool, x: &Planes, train: bool) -> Self {
        Self { shared, sums: vec![0.0; if train { x.batch * x.channels } else { 0 }] }
    }

    /// Floats of memory.
    pub fn floats(&self) -> usize {
        2 * self.sums.len()
    }

    fn slope(&self, slopes: &[f32], channel: usize) -> f32 {
        slopes[if self.shared { 0 } else { channel }]
    }

    /// y = x where positive, else slope x. `y` may be `x`.
    pub fn forward(&self, isa: Isa, slopes: &[f32], x: &Planes, y: &Planes) {
        assert_same_shape(x, y);
        write_pieces(y, floats(y), |piece| {
            let size = (piece.rows.1 - piece.rows.0, y.layout.width);
            let slope = self.slope(slopes, piece.channel);
            // SAFETY: this piece's rows of y belong to no other piece.
            unsafe { value_rows(isa, size, slope, Run::of(x, piece), Run::of(y, piece)) };
        });
    }

    /// Gradient of the input, if wanted (`dx` may be `dy`), and of the slopes.
    pub fn backward(
        &mut self,
        isa: Isa,
        slopes: &[f32],
        x: &Planes,
        dy: &Planes,
        dx: Option<(&Planes, bool)>,
        d_slopes: &mut [f32],
    ) {
        assert_same_shape(x, dy);
        let sums = Slots::new(&mut self.sums);
        for_each(x.batch * x.channels, floats(x), |k| {
            let [x_run, d_run] = [x, dy].map(|p| Run::of_plane(p, k / x.channels, k % x.channels));
            // SAFETY: slot k belongs to this piece; x and dy are only read.
            unsafe { *sums.at(k) = slope_sum(isa, (x.layout.height, x.layout.width), x_run, d_run) };
        });
        let own = if self.shared { 1 } else { x.channels };
        for (c, d) in d_slopes.iter_mut().enumerate() {
            *d = self.sums.iter().skip(c).step_by(own).sum::<f64>() as f32;
        }
        if let Some((dx, accumulate)) = dx {
            assert_same_shape(x, dx);
            write_pieces(dx, floats(dx), |piece| {
                let size = (piece.rows.1 - piece.rows.0, dx.layout.width);
                let slope = self.slope(slopes, piece.channel);
                let [x, dy, dx] = [x, dy, dx].map(|p| Run::of(p, piece));
                // SAFETY: this piece's rows of dx belong to no other piece.
                unsafe { gradient_rows(isa, size, slope, [x, dy, dx], accumulate) };
            });
        }
    }
}

dispatch!(unsafe fn value_rows = values(size: (usize, usize), slope: f32, x: Run, y: Run));

#[inline(always)]
unsafe fn values<S: Simd>(size: (usize, usize), slope: f32, x: Run, y: Run) {
    // SAFETY: the caller's.
    unsafe { zip_rows(size, [x], y, |[x]| if x > 0.0 { x } else { slope * x }) };
}

dispatch!(unsafe fn gradient_rows = gradients(size: (usize, usize), slope: f32, runs: [Run; 3], accumulate: bool));

#[inline(always)]
unsafe fn gradients<S: Simd>(size: (usize, usize), slope: f32, [x, dy, dx]: [Run; 3], accumulate: bool) {
    let f = |x: f32, d: f32| if x > 0.0 { d } else { slope * d };
    // SAFETY: the caller's.
    unsafe {
        if accumulate {
            zip_rows(size, [x, dy, dx], dx, |[x, d, before]| before + f(x, d));
        } else {
            zip_rows(size, [x, dy], dx, |[x, d]| f(x, d));
        }
    }
}

dispatch!(unsafe fn slope_sum = slope_sums(size: (usize, usize), x: Run, dy: Run) -> f64);

#[inline(always)]
unsafe fn slope_sums<S: Simd>(size: (usize, usize), x: Run, dy: Run) -> f64 {
    // SAFETY: the caller's.
    let [sum] = unsafe { sum_rows(size, [x, dy], |[x, d]| [if x > 0.0 { 0.0 } else { x * d }]) };
    sum
}
