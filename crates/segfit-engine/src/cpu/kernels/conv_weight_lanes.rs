//! Weight gradient with a channel in every lane: `sums[i][t][o] = sum over q of lanes[o][q] * others[i][q + shift[t]]`.
//!
//! A chunk of the planes of the lane channels is transposed first; then every position is a product of one vector of
//! channels and single values of the other side, without sums over lanes.

use std::mem::MaybeUninit;

use super::transpose::Transpose;
use crate::cpu::simd::Isa;
use crate::dispatch;

/// Most vectors of lane channels of one run.
pub const MAX_VECTORS: usize = 3;

/// Positions that are transposed at a time.
const CHUNK: usize = 256;

/// Most lanes of any instruction set.
const MAX_LANES: usize = 16;

/// Lane channels against other channels over a flat range of one image's planes.
#[derive(Clone, Copy, Debug)]
pub struct LaneRun<'a> {
    /// First float of the plane of the first lane channel.
    pub lanes: *const f32,
    /// Lane channels, at most `vectors` times the lanes of a vector.
    pub lane_channels: usize,
    /// Vectors of lane channels, at most [`max_vectors`].
    pub vectors: usize,
    /// First float of the plane of the first other channel.
    pub others: *const f32,
    /// Other channels.
    pub other_channels: usize,
    /// Floats from one plane of the lane channels to the next.
    pub lane_stride: usize,
    /// Floats from one plane of the other channels to the next.
    pub other_stride: usize,
    /// Flat shift of every kernel position; nine that are rows of three neighbours are faster.
    pub shifts: &'a [isize],
    /// First position.
    pub start: usize,
    /// End of the positions.
    pub end: usize,
    /// Sums `[other channel][shift][vectors][lane]` that are added to.
    pub sums: *mut f32,
}

/// Most vectors of lane channels whose sums fit the registers.
#[must_use]
pub const fn max_vectors(isa: Isa) -> usize {
    if isa.registers() >= 32 { MAX_VECTORS } else { 1 }
}

dispatch! {
    /// Computes one run.
    ///
    /// # Safety
    /// The run's range, shifted, must lie inside valid planes, and a vector behind the range of the lane channels be
    /// readable; nothing else may touch the sums.
    pub unsafe fn lane_products = lane_products_generic(run: &LaneRun<'_>)
}

dispatch! {
    /// Writes `to[c * to_stride + k] = from[k * from_stride + c]` for `columns` c and `rows` k.
    ///
    /// # Safety
    /// Both sides must be valid, `from_stride` a multiple of the lanes of a vector.
    pub unsafe fn transpose_sums = transpose_sums_generic(
        from: *const f32, from_stride: usize, rows: usize, columns: usize, to: *mut f32, to_stride: usize,
    )
}

#[repr(align(64))]
#[expect(dead_code, reason = "memory that is used through its address")]
struct Transposed([f32; CHUNK * MAX_VECTORS * MAX_LANES]);

#[inline(always)]
unsafe fn lane_products_generic<S: Transpose>(run: &LaneRun<'_>) {
    let mut buffer = MaybeUninit::<Transposed>::uninit();
    let transposed = buffer.as_mut_ptr().cast::<f32>();
    for start in (run.start..run.end).step_by(CHUNK) {
        let positions = CHUNK.min(run.end - start);
        // SAFETY: the buffer has room for a chunk; the rest is the caller's.
        unsafe {
            transpose_lanes::<S>(run, start, positions, transposed);
            match run.vectors {
                1 => products::<S, 1>(run, start, positions, transposed),
                2 if S::REGISTERS >= 32 => products::<S, 2>(run, start, positions, transposed),
                3 if S::REGISTERS >= 32 => products::<S, 3>(run, start, positions, transposed),
                n => unreachable!("{n} vectors of channels"),
            }
        }
    }
}

/// `transposed[position][channel]`; lanes without a channel are zero.
#[inline(always)]
unsafe fn transpose_lanes<S: Transpose>(run: &LaneRun<'_>, start: usize, positions: usize, transposed: *mut f32) {
    static ZEROS: [f32; CHUNK] = [0.0; CHUNK];
    for vector in 0..run.vectors {
        for q in (0..positions).step_by(S::LANES) {
            let mut rows = [ZEROS.as_ptr(); 16];
            for (i, row) in rows.iter_mut().enumerate().take(S::LANES) {
                let channel = vector * S::LANES + i;
                if channel < run.lane_channels {
                    *row = run.lanes.wrapping_add(channel * run.lane_stride + start + q);
                }
            }
            // SAFETY: the caller's; a last vector may reach behind the range, and its lanes are not used.
            unsafe {
                let to = transposed.add((q * run.vectors + vector) * S::LANES);
                S::transpose(&rows, to, run.vectors * S::LANES);
            }
        }
    }
}

#[inline(always)]
unsafe fn products<S: Transpose, const V: usize>(
    run: &LaneRun<'_>,
    start: usize,
    positions: usize,
    transposed: *const f32,
) {
    // SAFETY: the caller's.
    unsafe {
        if has_rows_of_three(run.shifts) {
            let rows = [run.shifts[0], run.shifts[3], run.shifts[6]];
            let mut i = 0;
            while V == 1 && S::REGISTERS >= 32 && i + 3 <= run.other_channels {
                tile::<S, V, 3, 3, 3>(run, start, positions, transposed, i, &rows);
                i += 3;
            }
            while V == 1 && S::REGISTERS >= 32 && i + 2 <= run.other_channels {
                tile::<S, V, 2, 3, 3>(run, start, positions, transposed, i, &rows);
                i += 2;
            }
            while i < run.other_channels {
                tile::<S, V, 1, 3, 3>(run, start, positions, transposed, i, &rows);
                i += 1;
            }
        } else {
            // Pairs of a channel and a shift, in the order of the sums.
            let pairs = run.other_channels * run.shifts.len();
            let mut k = 0;
            while k + 8 <= pairs {
                pair_tile::<S, V, 8>(run, start, positions, transposed, k);
                k += 8;
            }
            while k < pairs {
                pair_tile::<S, V, 1>(run, start, positions, transposed, k);
                k += 1;
            }
        }
    }
}

/// Whether nine shifts are three rows of three neighbours.
#[inline(always)]
fn has_rows_of_three(shifts: &[isize]) -> bool {
    shifts.len() == 9 && shifts.chunks_exact(3).all(|row| row[1] == row[0] + 1 && row[2] == row[0] + 2)
}

/// `V` vectors of lane channels against `N` pairs of an other channel and a shift, from pair `first` on.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn pair_tile<S: Transpose, const V: usize, const N: usize>(
    run: &LaneRun<'_>,
    start: usize,
    positions: usize,
    transposed: *const f32,
    first: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let taps = run.shifts.len();
        let sums = run.sums.add(first * V * S::LANES);
        let mut acc = [[S::zero(); V]; N];
        let mut others = [std::ptr::null(); N];
        for n in 0..N {
            let (channel, tap) = ((first + n) / taps, (first + n) % taps);
            others[n] = run.others.wrapping_add(channel * run.other_stride + start).wrapping_offset(run.shifts[tap]);
        }
        for q in 0..positions {
            let mut vectors = [S::zero(); V];
            for v in 0..V {
                vectors[v] = S::load(transposed.add((q * V + v) * S::LANES));
            }
            for n in 0..N {
                let other = S::splat(*others[n].add(q));
                for v in 0..V {
                    acc[n][v] = S::fma(vectors[v], other, acc[n][v]);
                }
            }
        }
        for n in 0..N {
            for v in 0..V {
                // Chunks are summed from zero: fewer roundings than one long sum.
                let sum = sums.add((n * V + v) * S::LANES);
                S::store(sum, S::add(S::load(sum), acc[n][v]));
            }
        }
    }
}

/// `V` vectors of lane channels against `I` other channels and `R` rows of `K` neighbouring shifts.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn tile<S: Transpose, const V: usize, const I: usize, const R: usize, const K: usize>(
    run: &LaneRun<'_>,
    start: usize,
    positions: usize,
    transposed: *const f32,
    channel: usize,
    rows: &[isize; R],
) {
    // SAFETY: the caller's.
    unsafe {
        let taps = run.shifts.len();
        let sums = run.sums.add(channel * taps * V * S::LANES);
        let mut acc = [[[[S::zero(); V]; K]; R]; I];
        let mut others = [[std::ptr::null(); R]; I];
        for i in 0..I {
            for r in 0..R {
                others[i][r] = run.others.add((channel + i) * run.other_stride + start).offset(rows[r]);
            }
        }
        for q in 0..positions {
            let mut vectors = [S::zero(); V];
            for v in 0..V {
                vectors[v] = S::load(transposed.add((q * V + v) * S::LANES));
            }
            for i in 0..I {
                for r in 0..R {
                    for k in 0..K {
                        let other = S::splat(*others[i][r].add(q + k));
                        for v in 0..V {
                            acc[i][r][k][v] = S::fma(vectors[v], other, acc[i][r][k][v]);
                        }
                    }
                }
            }
        }
        for i in 0..I {
            for r in 0..R {
                for k in 0..K {
                    for v in 0..V {
                        // Chunks are summed from zero: fewer roundings than one long sum.
                        let sum = sums.add(((i * taps + r * K + k) * V + v) * S::LANES);
                        S::store(sum, S::add(S::load(sum), acc[i][r][k][v]));
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn transpose_sums_generic<S: Transpose>(
    from: *const f32,
    from_stride: usize,
    rows: usize,
    columns: usize,
    to: *mut f32,
    to_stride: usize,
) {
    // SAFETY: the caller's; squares are whole, the rest goes value by value.
    unsafe {
        for c in (0..columns).step_by(S::LANES) {
            let mut k = 0;
            while c + S::LANES <= columns && k + S::LANES <= rows {
                let mut from_rows = [from; 16];
                for (j, row) in from_rows.iter_mut().enumerate() {
                    *row = from.wrapping_add((k + j) * from_stride + c);
                }
                S::transpose(&from_rows, to.add(c * to_stride + k), to_stride);
                k += S::LANES;
            }
            for column in c..(c + S::LANES).min(columns) {
                for row in k..rows {
                    *to.add(column * to_stride + row) = *from.add(row * from_stride + column);
                }
            }
        }
    }
}
