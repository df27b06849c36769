//! Register tile of the 2x2 transposed convolution with stride 2 on packed planes.
//!
//! Output row 2i + a holds, side by side, the products of input row i with the weights (a, 0) and (a, 1): the tile computes both
//! for the same channels, packs them and stores them interleaved.

use super::dot::Dot;
use super::packed_tile::{Finish, pack_element};
use crate::dispatch_dot;

/// One element of output channels of one output row.
#[derive(Clone, Copy, Debug)]
pub struct UpRun {
    /// Pixel 0 of the input's row in its first plane.
    pub x: *const u32,
    /// Elements from one plane of the input to the next.
    pub plane_stride: usize,
    /// Planes of the input.
    pub groups: usize,
    /// Weights `[groups][column of the kernel][channel of the element]`, each of [`Dot::WEIGHT_WORDS`] words.
    pub weights: *const u32,
    /// Pixel 0 of the output's row.
    pub y: *mut u32,
    /// Pixels of the input's row.
    pub width: usize,
    /// Scale and bias of the element's channels; always packed.
    pub finish: Finish,
}

dispatch_dot! {
    /// Computes one run.
    ///
    /// # Safety
    /// The rows lie inside valid memory, a line behind the input's row may be read; nobody else touches the output's row.
    pub unsafe fn up_packed = up(run: &UpRun)
}

#[inline(always)]
unsafe fn up<D: Dot>(run: &UpRun) {
    // SAFETY: the caller's.
    unsafe {
        if D::SLOTS == 4 && D::REGISTERS >= 32 {
            sweep::<D, 4, 3>(run);
        } else if D::SLOTS == 4 {
            sweep::<D, 4, 1>(run);
        } else if D::REGISTERS >= 32 {
            sweep::<D, 2, 5>(run);
        } else {
            sweep::<D, 2, 2>(run);
        }
    }
}

#[inline(always)]
unsafe fn sweep<D: Dot, const SLOTS: usize, const WV: usize>(run: &UpRun) {
    let mut q = 0;
    // SAFETY: stores stay inside the row.
    unsafe {
        while q + WV * D::LANES <= run.width {
            tile::<D, SLOTS, WV>(run, q);
            q += WV * D::LANES;
        }
        while q < run.width {
            tile::<D, SLOTS, 1>(run, q);
            q += D::LANES;
        }
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn tile<D: Dot, const SLOTS: usize, const WV: usize>(run: &UpRun, q: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[[D::zero(); WV]; SLOTS]; 2];
        let mut x = run.x.add(q);
        let mut w = run.weights;
        for _ in 0..run.groups {
            let mut inputs = [D::ready(D::load(x)); WV];
            for v in 1..WV {
                inputs[v] = D::ready(D::load(x.add(v * D::LANES)));
            }
            for b in 0..2 {
                for c in 0..SLOTS {
                    let weight = D::weight(w.add((b * SLOTS + c) * D::WEIGHT_WORDS));
                    for v in 0..WV {
                        sums[b][c][v] = D::dot(sums[b][c][v], inputs[v], weight);
                    }
                }
            }
            w = w.add(2 * SLOTS * D::WEIGHT_WORDS);
            x = x.add(run.plane_stride);
        }
        for v in 0..WV {
            let mut halves = [D::load(run.x); 2];
            for b in 0..2 {
                let mut column = [D::zero(); SLOTS];
                for c in 0..SLOTS {
                    column[c] = sums[b][c][v];
                }
                halves[b] = pack_element::<D>(&column, 0, &run.finish);
            }
            let (low, high) = D::interleave(halves[0], halves[1]);
            let (at, left) = (2 * (q + v * D::LANES), 2 * (run.width - q - v * D::LANES));
            let y = run.y.add(at);
            if left >= 2 * D::LANES {
                D::store(y, low);
                D::store(y.add(D::LANES), high);
            } else {
                D::store_first(y, left, low);
                D::store_first(y.wrapping_add(D::LANES), left.saturating_sub(D::LANES), high);
            }
        }
    }
}
