//! Register tile of the convolution's weight gradient: `dw[o][i][t] = sum over q of dy[o][q] * x[i][q + shift[t]]`.
//!
//! A tile holds one vector of partial sums for some output channels, some input channels and three kernel positions.
//! The vectors go back and forth between registers and a small buffer as the tile moves over short chunks of
//! positions, whose values stay in the first cache; lanes are summed once, at the end of the run.

use std::mem::MaybeUninit;

use super::conv_tile::prefetch;
use crate::cpu::simd::{Isa, Simd};
use crate::dispatch;

/// A block of output channels against a range of input channels, over a flat range of one image's planes.
#[derive(Clone, Copy, Debug)]
pub struct WeightRun<'a> {
    /// First float of the plane of the first input channel.
    pub x: *const f32,
    /// Input channels.
    pub in_channels: usize,
    /// First float of the plane of the first output channel of the gradient of the output.
    pub dy: *const f32,
    /// Output channels, at most [`max_out_channels`].
    pub out_channels: usize,
    /// Floats from one plane of the input to the next.
    pub x_stride: usize,
    /// Floats from one plane of the output to the next.
    pub dy_stride: usize,
    /// Flat shift of every kernel position, at most [`MAX_SHIFTS`].
    pub shifts: &'a [isize],
    /// First position.
    pub start: usize,
    /// End of the positions.
    pub end: usize,
    /// Gradient of the first weight of the block: `[out][in][shift]`.
    pub dw: *mut f32,
    /// Floats from one output channel to the next in `dw`.
    pub dw_stride: usize,
    /// Floats from one input channel to the next in `dw`.
    pub dw_in_stride: usize,
    /// Add to what `dw` holds.
    pub accumulate: bool,
}

/// Most output channels of one tile.
#[must_use]
pub const fn max_out_channels(isa: Isa) -> usize {
    if isa.registers() >= 32 { 8 } else { 4 }
}

/// Most kernel positions that the buffer of sums has room for (7 x 7).
pub const MAX_SHIFTS: usize = 49;

/// Positions of a chunk: eight channels of it and a few input rows fit the first cache.
const CHUNK: usize = 512;

/// Vectors of partial sums in the buffer; at least 8 * [`MAX_SHIFTS`].
const SUMS: usize = 400;

/// Most lanes of any instruction set.
const MAX_LANES: usize = 16;

/// A piece of the range: `head` lanes up to an aligned position, whole vectors, `tail` lanes.
#[derive(Clone, Copy)]
struct Chunk {
    start: usize,
    head: usize,
    vectors: usize,
    tail: usize,
}

dispatch! {
    /// Computes one run.
    ///
    /// # Safety
    /// The run's ranges, shifted, must lie inside valid planes; nothing else may touch `dw`.
    pub unsafe fn weight_gradient = weight_gradient_generic(run: &WeightRun<'_>)
}

#[inline(always)]
unsafe fn weight_gradient_generic<S: Simd>(run: &WeightRun<'_>) {
    // SAFETY: the caller's. The products of the numbers keep the sums and what they multiply within the registers.
    unsafe {
        if S::REGISTERS >= 32 {
            match run.out_channels {
                8 => block::<S, 8, 1>(run),
                7 => block::<S, 7, 1>(run),
                6 => block::<S, 6, 1>(run),
                5 => block::<S, 5, 1>(run),
                4 => block::<S, 4, 2>(run),
                3 => block::<S, 3, 2>(run),
                2 => block::<S, 2, 4>(run),
                1 => block::<S, 1, 8>(run),
                n => unreachable!("tile of {n} output channels"),
            }
        } else {
            match run.out_channels {
                4 => block::<S, 4, 1>(run),
                3 => block::<S, 3, 1>(run),
                2 => block::<S, 2, 2>(run),
                1 => block::<S, 1, 4>(run),
                n => unreachable!("tile of {n} output channels"),
            }
        }
    }
}

/// Takes as many input channels at a time as the buffer has room for, over all chunks.
#[inline(always)]
unsafe fn block<S: Simd, const OC: usize, const IC: usize>(run: &WeightRun<'_>) {
    let shifts = run.shifts.len();
    let per_channel = OC * shifts;
    let set = (SUMS / per_channel / IC * IC).max(IC);
    debug_assert!(set.min(run.in_channels) * per_channel <= SUMS);
    let mut buffer = MaybeUninit::<[f32; SUMS * MAX_LANES]>::uninit();
    let sums = buffer.as_mut_ptr().cast::<f32>();
    for first in (0..run.in_channels).step_by(set) {
        let channels = set.min(run.in_channels - first);
        // SAFETY: the buffer has room for the set's sums, all zeroed before use; the rest is the caller's.
        unsafe {
            for v in 0..channels * per_channel {
                S::store(sums.add(v * S::LANES), S::zero());
            }
            let mut start = run.start;
            while start < run.end {
                let end = (start / CHUNK * CHUNK + CHUNK).min(run.end);
                let head = (start.next_multiple_of(S::LANES) - start).min(end - start);
                let left = end - start - head;
                let chunk = Chunk { start, head, vectors: left / S::LANES, tail: left % S::LANES };
                let mut i = 0;
                let mut at = sums;
                while i + IC <= channels {
                    tile_shifts::<S, OC, IC>(run, first + i, chunk, at);
                    at = at.add(IC * per_channel * S::LANES);
                    i += IC;
                }
                while IC > 1 && i < channels {
                    tile_shifts::<S, OC, 1>(run, first + i, chunk, at);
                    at = at.add(per_channel * S::LANES);
                    i += 1;
                }
                start = end;
            }
            store_sums::<S, OC, IC>(run, first, channels, sums);
        }
    }
}

/// All kernel positions, three at a time. The buffer's order is [shift triple][out][in][shift of the triple].
#[inline(always)]
unsafe fn tile_shifts<S: Simd, const OC: usize, const IC: usize>(
    run: &WeightRun<'_>,
    channel: usize,
    chunk: Chunk,
    sums: *mut f32,
) {
    let mut at = sums;
    let mut shifts = run.shifts.chunks_exact(3);
    let mut next = channel * (run.shifts.len() / 3);
    // SAFETY: the caller's.
    unsafe {
        for triple in &mut shifts {
            // Every triple asks for one row of the next chunk.
            let ahead = run.dy.wrapping_add(next % OC * run.dy_stride + chunk.start + CHUNK);
            next += 1;
            tile::<S, OC, IC, 3>(run, channel, triple, chunk, ahead, at);
            at = at.add(3 * OC * IC * S::LANES);
        }
        for single in shifts.remainder().chunks_exact(1) {
            tile::<S, OC, IC, 1>(run, channel, single, chunk, run.dy, at);
            at = at.add(OC * IC * S::LANES);
        }
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn tile<S: Simd, const OC: usize, const IC: usize, const T: usize>(
    run: &WeightRun<'_>,
    channel: usize,
    shifts: &[isize],
    chunk: Chunk,
    ahead: *const f32,
    sums: *mut f32,
) {
    let mut taps = [0; T];
    taps.copy_from_slice(shifts);
    // SAFETY: the caller's; masked loads keep the first and the last lanes inside the range.
    unsafe {
        let mut acc = [[[S::zero(); T]; IC]; OC];
        for c in 0..OC {
            for i in 0..IC {
                for t in 0..T {
                    acc[c][i][t] = S::load(sums.add(((c * IC + i) * T + t) * S::LANES));
                }
            }
        }
        let mut dy = run.dy.add(chunk.start);
        let mut x = run.x.wrapping_add(channel * run.x_stride + chunk.start);
        if chunk.head > 0 {
            step::<S, OC, IC, T, true>(&mut acc, dy, x, (run.x_stride, run.dy_stride), &taps, chunk.head);
            (dy, x) = (dy.add(chunk.head), x.add(chunk.head));
        }
        let mut ahead = ahead;
        for _ in 0..chunk.vectors {
            prefetch(ahead);
            for i in 0..IC {
                prefetch(x.wrapping_add(i * run.x_stride + CHUNK).wrapping_offset(taps[T - 1]));
            }
            ahead = ahead.wrapping_add(S::LANES);
            step::<S, OC, IC, T, false>(&mut acc, dy, x, (run.x_stride, run.dy_stride), &taps, 0);
            (dy, x) = (dy.add(S::LANES), x.add(S::LANES));
        }
        if chunk.tail > 0 {
            step::<S, OC, IC, T, true>(&mut acc, dy, x, (run.x_stride, run.dy_stride), &taps, chunk.tail);
        }
        for c in 0..OC {
            for i in 0..IC {
                for t in 0..T {
                    S::store(sums.add(((c * IC + i) * T + t) * S::LANES), acc[c][i][t]);
                }
            }
        }
    }
}

/// One vector of positions; when `MASKED`, its first `lanes` only.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn step<S: Simd, const OC: usize, const IC: usize, const T: usize, const MASKED: bool>(
    acc: &mut [[[S::V; T]; IC]; OC],
    dy: *const f32,
    x: *const f32,
    (x_stride, dy_stride): (usize, usize),
    shifts: &[isize; T],
    lanes: usize,
) {
    // SAFETY: the caller's. What is held in registers is the smaller of the two sides.
    unsafe {
        if OC <= IC * T {
            let mut gradients = [S::zero(); OC];
            for c in 0..OC {
                gradients[c] = load::<S, MASKED>(dy.add(c * dy_stride), lanes);
            }
            for i in 0..IC {
                for t in 0..T {
                    let input = load::<S, MASKED>(x.add(i * x_stride).offset(shifts[t]), lanes);
                    for c in 0..OC {
                        acc[c][i][t] = S::fma(gradients[c], input, acc[c][i][t]);
                    }
                }
            }
        } else {
            let mut inputs = [[S::zero(); T]; IC];
            for i in 0..IC {
                for t in 0..T {
                    inputs[i][t] = load::<S, MASKED>(x.add(i * x_stride).offset(shifts[t]), lanes);
                }
            }
            for c in 0..OC {
                let gradient = load::<S, MASKED>(dy.add(c * dy_stride), lanes);
                for i in 0..IC {
                    for t in 0..T {
                        acc[c][i][t] = S::fma(gradient, inputs[i][t], acc[c][i][t]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn load<S: Simd, const MASKED: bool>(p: *const f32, lanes: usize) -> S::V {
    // SAFETY: the caller's.
    unsafe { if MASKED { S::load_first(p, lanes) } else { S::load(p) } }
}

/// Sums the lanes of the buffer of `block` into the gradient.
#[inline(always)]
unsafe fn store_sums<S: Simd, const OC: usize, const IC: usize>(
    run: &WeightRun<'_>,
    first: usize,
    channels: usize,
    sums: *const f32,
) {
    let shifts = run.shifts.len();
    let mut at = sums;
    let mut i = 0;
    // SAFETY: the order in which `tile_shifts` filled the buffer.
    unsafe {
        while i < channels {
            let group = if i + IC <= channels { IC } else { 1 };
            let mut t = 0;
            while t < shifts {
                let width = if t + 3 <= shifts { 3 } else { 1 };
                for c in 0..OC {
                    for j in 0..group {
                        let dw = run.dw.add(c * run.dw_stride + (first + i + j) * run.dw_in_stride + t);
                        for k in 0..width {
                            let sum = S::sum(S::load(at));
                            *dw.add(k) = if run.accumulate { *dw.add(k) + sum } else { sum };
                            at = at.add(S::LANES);
                        }
                    }
                }
                t += width;
            }
            i += group;
        }
    }
}

dispatch! {
    /// Writes to `sums`, or adds to it, the sum of each of some channels over a flat range.
    ///
    /// # Safety
    /// The range must lie inside valid planes, of which `planes` is the first float; nothing else may touch `sums`.
    pub unsafe fn channel_sums = channel_sums_generic(
        planes: *const f32, plane_stride: usize, channels: usize, start: usize, end: usize, sums: *mut f32, accumulate: bool,
    )
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn channel_sums_generic<S: Simd>(
    planes: *const f32,
    plane_stride: usize,
    channels: usize,
    start: usize,
    end: usize,
    sums: *mut f32,
    accumulate: bool,
) {
    // SAFETY: the caller's.
    unsafe {
        for c in 0..channels {
            let plane = planes.add(c * plane_stride);
            let mut acc = [S::zero(); 4];
            let mut q = start;
            while q + 4 * S::LANES <= end {
                for k in 0..4 {
                    acc[k] = S::add(acc[k], S::load(plane.add(q + k * S::LANES)));
                }
                q += 4 * S::LANES;
            }
            while q < end {
                acc[0] = S::add(acc[0], S::load_first(plane.add(q), end - q));
                q += S::LANES;
            }
            let sum = S::sum(S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3])));
            let out = sums.add(c);
            *out = if accumulate { *out + sum } else { sum };
        }
    }
}
