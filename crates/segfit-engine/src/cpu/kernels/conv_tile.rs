//! Register tile of the direct convolution: some output channels times some vectors of neighbouring positions.
//!
//! On a zero-bordered plane a convolution is a sum of flat shifts, `y[q] = sum over (i, t) of w[i][t] * x[i][q +
//! shift[t]]`, so that rows need no treatment of their own: positions behind a row come out as garbage and are zeroed
//! afterwards.

use crate::cpu::simd::{Isa, Simd};
use crate::dispatch;

/// Positions are divided at multiples of this many floats (a cache line).
pub use segfit::network::layout::LINE;

/// A block of output channels over a flat range of one image's planes.
#[derive(Clone, Copy, Debug)]
pub struct TileRun<'a> {
    /// First float of the plane of the first input channel.
    pub x: *const f32,
    /// Floats from one plane of the input to the next.
    pub x_stride: usize,
    /// Input channels to sum.
    pub in_channels: usize,
    /// Flat shift of every kernel position.
    pub shifts: &'a [isize],
    /// Weights `[in_channels][shifts][out_channels]`.
    pub weights: *const f32,
    /// First float of the plane of the first output channel.
    pub y: *mut f32,
    /// Floats from one plane of the output to the next.
    pub y_stride: usize,
    /// Output channels, at most [`max_out_channels`].
    pub out_channels: usize,
    /// First position; faster at a multiple of [`LINE`].
    pub start: usize,
    /// End of the positions, a multiple of [`LINE`] behind the first.
    pub end: usize,
    /// Start values, one for each output channel; null for zeros.
    pub bias: *const f32,
    /// Add to what `y` holds (and ignore `bias`).
    pub accumulate: bool,
    /// Replace negative results by zero.
    pub relu: bool,
}

/// Most output channels of one tile.
#[must_use]
pub const fn max_out_channels(isa: Isa) -> usize {
    if isa.registers() >= 32 { 8 } else { 6 }
}

dispatch! {
    /// Computes one run.
    ///
    /// # Safety
    /// The run's ranges must lie inside valid memory, of which up to the largest shift plus one line may be outside of the
    /// planes; nothing else may write to `x` or touch the range of `y`.
    pub unsafe fn convolve = convolve_generic(run: &TileRun<'_>)
}

#[inline(always)]
unsafe fn convolve_generic<S: Simd>(run: &TileRun<'_>) {
    debug_assert!((run.end - run.start).is_multiple_of(LINE));
    // SAFETY: the caller's. The widths keep accumulators, inputs and one weight within the registers.
    unsafe {
        if S::REGISTERS >= 32 {
            match run.out_channels {
                8 => sweep::<S, 8, 3>(run),
                7 => sweep::<S, 7, 3>(run),
                6 => sweep::<S, 6, 4>(run),
                5 => sweep::<S, 5, 5>(run),
                4 => sweep::<S, 4, 6>(run),
                3 => sweep::<S, 3, 7>(run),
                2 => sweep::<S, 2, 10>(run),
                1 => sweep::<S, 1, 12>(run),
                n => unreachable!("tile of {n} output channels"),
            }
        } else {
            match run.out_channels {
                6 => sweep::<S, 6, 2>(run),
                5 => sweep::<S, 5, 2>(run),
                4 => sweep::<S, 4, 3>(run),
                3 => sweep::<S, 3, 3>(run),
                2 => sweep::<S, 2, 5>(run),
                1 => sweep::<S, 1, 8>(run),
                n => unreachable!("tile of {n} output channels"),
            }
        }
    }
}

/// Covers the range with tiles of `WV` vectors, then with narrower ones.
#[inline(always)]
unsafe fn sweep<S: Simd, const OC: usize, const WV: usize>(run: &TileRun<'_>) {
    let mut q = run.start;
    // SAFETY: every tile lies inside [start, end).
    unsafe {
        while q + WV * S::LANES <= run.end {
            tile::<S, OC, WV>(run, q);
            q += WV * S::LANES;
        }
        if WV > 8 && q + 8 * S::LANES <= run.end {
            tile::<S, OC, 8>(run, q);
            q += 8 * S::LANES;
        }
        if WV > 4 && q + 4 * S::LANES <= run.end {
            tile::<S, OC, 4>(run, q);
            q += 4 * S::LANES;
        }
        if WV > 2 && q + 2 * S::LANES <= run.end {
            tile::<S, OC, 2>(run, q);
            q += 2 * S::LANES;
        }
        if WV > 1 && q + S::LANES <= run.end {
            tile::<S, OC, 1>(run, q);
        }
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn tile<S: Simd, const OC: usize, const WV: usize>(run: &TileRun<'_>, q: usize) {
    // SAFETY: the caller's; loads reach the shifts beyond the tile, stores stay inside it.
    unsafe {
        let y = run.y.add(q);
        let mut sums = [[S::zero(); WV]; OC];
        for c in 0..OC {
            for v in 0..WV {
                if run.accumulate {
                    sums[c][v] = S::load(y.add(c * run.y_stride + v * S::LANES));
                } else if !run.bias.is_null() {
                    sums[c][v] = S::splat(*run.bias.add(c));
                }
            }
        }
        for c in 0..OC {
            for v in (0..WV).step_by(LINE / S::LANES) {
                prefetch(y.wrapping_add(c * run.y_stride + v * S::LANES));
            }
        }
        let mut x = run.x.add(q);
        let mut w = run.weights;
        let ahead = run.shifts[0].max(run.shifts[run.shifts.len() - 1]) + (WV * S::LANES) as isize;
        for _ in 0..run.in_channels {
            for v in (0..WV).step_by(LINE / S::LANES) {
                prefetch(x.wrapping_offset(ahead).wrapping_add(v * S::LANES));
            }
            for &shift in run.shifts {
                let at = x.offset(shift);
                let mut inputs = [S::zero(); WV];
                for v in 0..WV {
                    inputs[v] = S::load(at.add(v * S::LANES));
                }
                for c in 0..OC {
                    let weight = S::splat(*w.add(c));
                    for v in 0..WV {
                        sums[c][v] = S::fma(weight, inputs[v], sums[c][v]);
                    }
                }
                w = w.add(OC);
            }
            x = x.wrapping_add(run.x_stride);
        }
        for c in 0..OC {
            for v in 0..WV {
                // This order of the operands lets a NaN through.
                let value = if run.relu { S::max(S::zero(), sums[c][v]) } else { sums[c][v] };
                S::store(y.add(c * run.y_stride + v * S::LANES), value);
            }
        }
    }
}

/// Asks for the cache line of `p` ahead of its use; never faults.
#[inline(always)]
pub(super) fn prefetch(p: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which accepts any address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
