//! Register tile of the convolution on packed planes, as `conv_tile` is for f32.
//!
//! `y[q] = sum over (group, t) of dot(w[group][t], x[group][q + shift[t]])`, where a group is an element of channels. The sums of
//! a tile stay in registers from the first to the last input channel; then they are scaled, rounded and packed.

use super::dot::Dot;
use crate::dispatch_dot;

/// A block of output channels over a flat range of one image's planes.
#[derive(Clone, Copy, Debug)]
pub struct PackedRun<'a> {
    /// First element of the first plane of the input.
    pub x: *const u32,
    /// Elements from one plane to the next, of input and output.
    pub plane_stride: usize,
    /// Planes of the input.
    pub groups: usize,
    /// Flat shift of every kernel position.
    pub shifts: &'a [isize],
    /// Weights `[groups][shifts][outputs]`, each of [`Dot::WEIGHT_WORDS`] words.
    pub weights: *const u32,
    /// First element of the plane of the first output channel.
    pub y: *mut u32,
    /// Output channels, 2, 4 or 8.
    pub outputs: usize,
    /// First position.
    pub start: usize,
    /// End of the positions, a multiple of a cache line behind the first.
    pub end: usize,
    /// How the sums become values.
    pub finish: Finish,
}

/// How the sums of a tile become values.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// Factor of every output channel.
    pub scale: *const f32,
    /// Constant of every output channel.
    pub bias: *const f32,
    /// Replace negative results by zero. (What is stored as u8 is never negative.)
    pub relu: bool,
    /// Store so many channels as f32, one plane each; 0: pack all of them.
    pub floats: usize,
}

dispatch_dot! {
    /// Computes one run.
    ///
    /// # Safety
    /// As for `conv_tile::convolve`.
    pub unsafe fn convolve_packed = convolve(run: &PackedRun<'_>)
}

#[inline(always)]
unsafe fn convolve<D: Dot>(run: &PackedRun<'_>) {
    // SAFETY: the caller's. The widths keep accumulators, inputs and one weight within the registers.
    unsafe {
        if D::REGISTERS >= 32 {
            match run.outputs {
                8 => sweep::<D, 8, 3>(run),
                4 => sweep::<D, 4, 5>(run),
                2 => sweep::<D, 2, 6>(run),
                n => unreachable!("tile of {n} output channels"),
            }
        } else {
            match run.outputs {
                4 => sweep::<D, 4, 2>(run),
                2 => sweep::<D, 2, 3>(run),
                n => unreachable!("tile of {n} output channels"),
            }
        }
    }
}

/// Covers the range with tiles of `WV` vectors, then with narrower ones.
#[inline(always)]
unsafe fn sweep<D: Dot, const OC: usize, const WV: usize>(run: &PackedRun<'_>) {
    let mut q = run.start;
    // SAFETY: every tile lies inside [start, end).
    unsafe {
        while q + WV * D::LANES <= run.end {
            tile::<D, OC, WV>(run, q);
            q += WV * D::LANES;
        }
        while WV > 2 && q + 2 * D::LANES <= run.end {
            tile::<D, OC, 2>(run, q);
            q += 2 * D::LANES;
        }
        while q + D::LANES <= run.end {
            tile::<D, OC, 1>(run, q);
            q += D::LANES;
        }
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn tile<D: Dot, const OC: usize, const WV: usize>(run: &PackedRun<'_>, q: usize) {
    // SAFETY: the caller's; loads reach the shifts beyond the tile, stores stay inside it.
    unsafe {
        let mut sums = [[D::zero(); WV]; OC];
        let mut x = run.x.add(q);
        let mut w = run.weights;
        for _ in 0..run.groups {
            for &shift in run.shifts {
                let at = x.offset(shift);
                let mut inputs = [D::ready(D::load(at)); WV];
                for v in 1..WV {
                    inputs[v] = D::ready(D::load(at.add(v * D::LANES)));
                }
                for c in 0..OC {
                    let weight = D::weight(w.add(c * D::WEIGHT_WORDS));
                    for v in 0..WV {
                        sums[c][v] = D::dot(sums[c][v], inputs[v], weight);
                    }
                }
                w = w.add(OC * D::WEIGHT_WORDS);
            }
            x = x.add(run.plane_stride);
        }
        for v in 0..WV {
            let mut column = [D::zero(); OC];
            for c in 0..OC {
                column[c] = sums[c][v];
            }
            store_column::<D, OC>(&column, run.y.add(q + v * D::LANES), run.plane_stride, &run.finish);
        }
    }
}

/// Stores the sums of `OC` channels at `LANES` positions.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "as in `tile`")]
pub(super) unsafe fn store_column<D: Dot, const OC: usize>(
    sums: &[D::A; OC],
    y: *mut u32,
    plane_stride: usize,
    finish: &Finish,
) {
    // SAFETY: the caller's.
    unsafe {
        if finish.floats > 0 {
            for c in 0..OC {
                if c < finish.floats {
                    D::store_floats(y.add(c * plane_stride).cast(), value::<D>(sums[c], c, finish));
                }
            }
            return;
        }
        for group in 0..OC / D::SLOTS {
            let first = group * D::SLOTS;
            D::store(y.add(group * plane_stride), pack_element::<D>(&sums[first..], first, finish));
        }
    }
}

/// The value of a channel's sums.
#[inline(always)]
pub(super) unsafe fn value<D: Dot>(sums: D::A, channel: usize, finish: &Finish) -> D::F {
    // SAFETY: the caller's.
    unsafe {
        let v = D::finish(sums, *finish.scale.add(channel), *finish.bias.add(channel));
        if finish.relu { D::relu(v) } else { v }
    }
}

/// The element of `SLOTS` channels from `first` on.
#[inline(always)]
pub(super) unsafe fn pack_element<D: Dot>(sums: &[D::A], first: usize, finish: &Finish) -> D::E {
    // SAFETY: the caller's.
    unsafe {
        if D::SLOTS == 4 {
            // Packing makes negative values zero.
            let mut channels = [D::finish(sums[0], *finish.scale.add(first), *finish.bias.add(first)); 4];
            channels[1] = D::finish(sums[1], *finish.scale.add(first + 1), *finish.bias.add(first + 1));
            channels[2] = D::finish(sums[2], *finish.scale.add(first + 2), *finish.bias.add(first + 2));
            channels[3] = D::finish(sums[3], *finish.scale.add(first + 3), *finish.bias.add(first + 3));
            return D::pack(&channels);
        }
        let mut channels = [value::<D>(sums[0], first, finish); 4];
        channels[1] = value::<D>(sums[1], first + 1, finish);
        D::pack(&channels)
    }
}
