//! The linear maps of the Winograd convolution F(4x4, 3x3), on vectors of tiles.
//!
//! A tile is 4 x 4 outputs; it needs 6 x 6 inputs, its neighbours' nearest pixels among them. With the matrices of Lavin and
//! Gray ("Fast algorithms for convolutional neural networks", CVPR 2016, section 4.3; points 0, 1, -1, 2, -2 and infinity)
//! `Y = At [(G g Gt) * (Bt d B)] A`, where `*` multiplies the 36 elements one by one.
//!
//! A *unit* is a run of `LANES` pixels of four tiled rows, `LANES / 4` tiles, and four units, wherever they lie, make a
//! vector of tiles. Four loads, one of each unit, and a transposition inside of quarters give a vector of every column of
//! the tiles: lane `4 k + u` belongs to tile `k` of unit `u`.

use super::conv_tile::prefetch;
use crate::cpu::simd::{Isa, Portable, Simd};
use crate::dispatch;

/// Rows and columns of the outputs of a tile.
pub const TILE: usize = 4;

/// Elements of a transformed tile.
pub const ELEMENTS: usize = 36;

/// Channels from the one at work to the one whose pixels are asked for.
const AHEAD: usize = 2;

/// Channels whose transformed tiles lie together, `[element][channel][vector]`: few enough for the 36 places of a tile to
/// lie in a dozen pages of memory, and enough for a product to read a run.
pub const TOGETHER: usize = 8;

/// Floats of transformed tiles `[panel][element][TOGETHER channels][vector of the panel]`; so also the place of a panel
/// behind others of so many vectors.
#[must_use]
pub const fn tiles_len(vectors: usize, panels: usize, lanes: usize) -> usize {
    ELEMENTS * (TOGETHER * vectors + panels) * lanes
}

/// Floats from one element of a panel to the next; one more vector keeps elements out of each other's cache sets.
#[must_use]
pub const fn element_stride(vectors: usize, lanes: usize) -> usize {
    (TOGETHER * vectors + 1) * lanes
}

/// An instruction set that can transpose the 4 x 4 squares of four vectors.
///
/// # Safety
/// As for [`Simd`].
pub unsafe trait Quads: Simd {
    /// Vectors whose lane `4 k + u` of vector `j` is lane `4 k + j` of `v[u]`; its own inverse.
    ///
    /// # Safety
    /// As for [`Simd`].
    unsafe fn transpose_quads(v: [Self::V; 4]) -> [Self::V; 4];

    /// The first two of them.
    ///
    /// # Safety
    /// As for [`Simd`].
    unsafe fn transpose_quads_low(v: [Self::V; 4]) -> [Self::V; 2];
}

// SAFETY: needs no instruction set.
unsafe impl Quads for Portable {
    #[inline(always)]
    unsafe fn transpose_quads(v: [Self::V; 4]) -> [Self::V; 4] {
        std::array::from_fn(|j| std::array::from_fn(|i| v[i % 4][i / 4 * 4 + j]))
    }
    #[inline(always)]
    unsafe fn transpose_quads_low(v: [Self::V; 4]) -> [Self::V; 2] {
        std::array::from_fn(|j| std::array::from_fn(|i| v[i % 4][i / 4 * 4 + j]))
    }
}

// SAFETY: used only where `Isa::available` lists NEON.
#[cfg(target_arch = "aarch64")]
unsafe impl Quads for crate::cpu::simd::Neon {
    #[inline(always)]
    unsafe fn transpose_quads(v: [Self::V; 4]) -> [Self::V; 4] {
        use std::arch::aarch64::{vreinterpretq_f32_f64, vreinterpretq_f64_f32, vtrn1q_f64, vtrn2q_f64};
        use std::arch::aarch64::{vtrn1q_f32, vtrn2q_f32};
        // SAFETY: the trait's contract.
        unsafe {
            let even = [vtrn1q_f32(v[0], v[1]), vtrn1q_f32(v[2], v[3])].map(|v| vreinterpretq_f64_f32(v));
            let odd = [vtrn2q_f32(v[0], v[1]), vtrn2q_f32(v[2], v[3])].map(|v| vreinterpretq_f64_f32(v));
            [
                vreinterpretq_f32_f64(vtrn1q_f64(even[0], even[1])),
                vreinterpretq_f32_f64(vtrn1q_f64(odd[0], odd[1])),
                vreinterpretq_f32_f64(vtrn2q_f64(even[0], even[1])),
                vreinterpretq_f32_f64(vtrn2q_f64(odd[0], odd[1])),
            ]
        }
    }
    #[inline(always)]
    unsafe fn transpose_quads_low(v: [Self::V; 4]) -> [Self::V; 2] {
        // SAFETY: the trait's contract.
        let [first, second, ..] = unsafe { Self::transpose_quads(v) };
        [first, second]
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Quads;
    use crate::cpu::simd::{Avx2, Avx512};

    // SAFETY: used only where `Isa::available` lists AVX-512.
    unsafe impl Quads for Avx512 {
        #[inline(always)]
        unsafe fn transpose_quads(v: [__m512; 4]) -> [__m512; 4] {
            unsafe {
                let low = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1]));
                let high = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
                let low2 = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3]));
                let high2 = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
                [
                    _mm512_castpd_ps(_mm512_unpacklo_pd(low, low2)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(low, low2)),
                    _mm512_castpd_ps(_mm512_unpacklo_pd(high, high2)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(high, high2)),
                ]
            }
        }
        #[inline(always)]
        unsafe fn transpose_quads_low(v: [__m512; 4]) -> [__m512; 2] {
            unsafe {
                let low = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1]));
                let low2 = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3]));
                [_mm512_castpd_ps(_mm512_unpacklo_pd(low, low2)), _mm512_castpd_ps(_mm512_unpackhi_pd(low, low2))]
            }
        }
    }

    // SAFETY: used only where `Isa::available` lists AVX2.
    unsafe impl Quads for Avx2 {
        #[inline(always)]
        unsafe fn transpose_quads(v: [__m256; 4]) -> [__m256; 4] {
            unsafe {
                let low = _mm256_castps_pd(_mm256_unpacklo_ps(v[0], v[1]));
                let high = _mm256_castps_pd(_mm256_unpackhi_ps(v[0], v[1]));
                let low2 = _mm256_castps_pd(_mm256_unpacklo_ps(v[2], v[3]));
                let high2 = _mm256_castps_pd(_mm256_unpackhi_ps(v[2], v[3]));
                [
                    _mm256_castpd_ps(_mm256_unpacklo_pd(low, low2)),
                    _mm256_castpd_ps(_mm256_unpackhi_pd(low, low2)),
                    _mm256_castpd_ps(_mm256_unpacklo_pd(high, high2)),
                    _mm256_castpd_ps(_mm256_unpackhi_pd(high, high2)),
                ]
            }
        }
        #[inline(always)]
        unsafe fn transpose_quads_low(v: [__m256; 4]) -> [__m256; 2] {
            unsafe {
                let low = _mm256_castps_pd(_mm256_unpacklo_ps(v[0], v[1]));
                let low2 = _mm256_castps_pd(_mm256_unpacklo_ps(v[2], v[3]));
                [_mm256_castpd_ps(_mm256_unpacklo_pd(low, low2)), _mm256_castpd_ps(_mm256_unpackhi_pd(low, low2))]
            }
        }
    }
}

/// `LANES` pixels of four rows of an image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unit {
    /// Float of its first pixel, counted from the first plane of the tensor's first image.
    pub input: usize,
    /// The same of the output.
    pub output: usize,
    /// Rows of the image from here on; 0 for no unit.
    pub rows: usize,
    /// Columns of the image from here on; 0 for no unit.
    pub columns: usize,
}

/// A vector of tiles.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    /// Where they lie.
    pub units: [Unit; 4],
    /// Whether some unit reaches beyond the image.
    pub edge: bool,
    /// Whether some unit is the last of its rows.
    pub ends_rows: bool,
}

impl Vector {
    /// The vector of four units of `lanes` pixels.
    #[must_use]
    pub fn new(units: [Unit; 4], lanes: usize) -> Self {
        let edge = units.iter().any(|u| u.rows < TILE || u.columns < lanes);
        Self { units, edge, ends_rows: units.iter().any(|u| u.columns <= lanes) }
    }
}

/// Planes and the tiles in them.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Floats from one plane to the next.
    pub plane_stride: usize,
    /// Floats from one row to the next.
    pub row_stride: usize,
    /// Channels to transform.
    pub channels: usize,
    /// The tiles.
    pub vectors: &'a [Vector],
    /// Starts of the panels of vectors that lie together in the transformed tiles, and their end.
    pub panels: &'a [usize],
}

/// `Bt d` for one column.
#[inline(always)]
unsafe fn input_column<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: the caller's.
    unsafe {
        let (minus4, four, minus5) = (S::splat(-4.0), S::splat(4.0), S::splat(-5.0));
        let even = S::fma(minus4, d[2], d[4]);
        let odd = S::fma(minus4, d[1], d[3]);
        let near = S::sub(d[4], d[2]);
        let far = S::sub(d[3], d[1]);
        [
            S::fma(four, d[0], S::fma(minus5, d[2], d[4])),
            S::add(even, odd),
            S::sub(even, odd),
            S::fma(S::splat(2.0), far, near),
            S::fma(S::splat(-2.0), far, near),
            S::fma(four, d[1], S::fma(minus5, d[3], d[5])),
        ]
    }
}

/// `At m` for one column.
#[inline(always)]
unsafe fn output_column<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: the caller's.
    unsafe {
        let (p, q) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (r, s) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(S::add(m[0], p), r),
            S::fma(S::splat(2.0), s, q),
            S::fma(S::splat(4.0), r, p),
            S::add(S::fma(S::splat(8.0), s, q), m[5]),
        ]
    }
}

dispatch! {
    /// Writes the elements of `Bt d B` of at most [`TOGETHER`] channels, `v[panel][element][channel][vector of the panel]`.
    ///
    /// # Safety
    /// The units lie inside planes of `x` with a border of at least one zero, with a line of readable floats behind; `v` has
    /// room for everything.
    pub unsafe fn transform_input = input_generic(run: &Run<'_>, x: *const f32, v: *mut f32)
}

#[inline(always)]
unsafe fn input_generic<S: Quads>(run: &Run<'_>, x: *const f32, v: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        for (index, panel) in run.panels.windows(2).enumerate() {
            let vectors = &run.vectors[panel[0]..panel[1]];
            let v = v.add(tiles_len(panel[0], index, S::LANES));
            match vectors.len() {
                3 => input_panel::<S, 3>(run, vectors, x, v),
                2 => input_panel::<S, 2>(run, vectors, x, v),
                1 => input_panel::<S, 1>(run, vectors, x, v),
                n => unreachable!("panel of {n} vectors"),
            }
        }
    }
}

#[inline(always)]
unsafe fn input_panel<S: Quads, const WV: usize>(run: &Run<'_>, vectors: &[Vector], x: *const f32, v: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        for c in 0..run.channels {
            let x = x.add(c * run.plane_stride);
            for (k, vector) in vectors.iter().enumerate() {
                let v = v.add((c * WV + k) * S::LANES);
                if vector.edge {
                    input_vector::<S, WV, true>(run, &vector.units, x, v);
                } else {
                    input_vector::<S, WV, false>(run, &vector.units, x, v);
                }
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn input_vector<S: Quads, const WV: usize, const EDGE: bool>(
    run: &Run<'_>,
    units: &[Unit; 4],
    x: *const f32,
    v: *mut f32,
) {
    // SAFETY: the caller's. At the edge only pixels and the zeros right before them are read.
    unsafe {
        let mut p = [x; 4];
        for u in 0..4 {
            p[u] = x.add(units[u].input).sub(run.row_stride + 1);
        }
        let mut t = [[S::zero(); 6]; 6];
        for r in 0..6 {
            let (mut left, mut right) = ([S::zero(); 4], [S::zero(); 4]);
            for u in 0..4 {
                prefetch(p[u].wrapping_add(AHEAD * run.plane_stride + S::LANES));
                if EDGE {
                    let columns = if r <= units[u].rows { units[u].columns + 1 } else { 0 };
                    left[u] = S::load_first(p[u], columns);
                    right[u] = S::load_first(p[u].wrapping_add(TILE), columns.saturating_sub(TILE));
                } else {
                    left[u] = S::load(p[u]);
                    right[u] = S::load(p[u].add(TILE));
                }
                p[u] = p[u].wrapping_add(run.row_stride);
            }
            let [a, b, c, d] = S::transpose_quads(left);
            let [e, f] = S::transpose_quads_low(right);
            t[r] = input_column::<S>([a, b, c, d, e, f]);
        }
        for j in 0..6 {
            let column = input_column::<S>([t[0][j], t[1][j], t[2][j], t[3][j], t[4][j], t[5][j]]);
            for i in 0..6 {
                S::store(v.add((6 * i + j) * element_stride(WV, S::LANES)), column[i]);
            }
        }
    }
}

/// What happens to the outputs.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// Added to every pixel, one for each channel; null for nothing.
    pub bias: *const f32,
    /// Replace negative results by zero.
    pub relu: bool,
    /// Add to what the output holds.
    pub accumulate: bool,
    /// Zeros to write behind every row.
    pub pad: usize,
}

dispatch! {
    /// Writes the pixels `At m A` of a block of output channels, `m[panel][element][channel][vector of the panel]`, and the
    /// zeros behind the rows that end in the units.
    ///
    /// # Safety
    /// The units lie inside planes of `y`, which nothing else touches; `m` holds everything.
    pub unsafe fn transform_output = output_generic(run: &Run<'_>, m: *const f32, finish: &Finish, y: *mut f32)
}

#[inline(always)]
unsafe fn output_generic<S: Quads>(run: &Run<'_>, m: *const f32, finish: &Finish, y: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        for (index, panel) in run.panels.windows(2).enumerate() {
            let vectors = &run.vectors[panel[0]..panel[1]];
            let m = m.add(tiles_len(panel[0], index, S::LANES));
            match vectors.len() {
                3 => output_panel::<S, 3>(run, vectors, m, finish, y),
                2 => output_panel::<S, 2>(run, vectors, m, finish, y),
                1 => output_panel::<S, 1>(run, vectors, m, finish, y),
                n => unreachable!("panel of {n} vectors"),
            }
        }
    }
}

#[inline(always)]
unsafe fn output_panel<S: Quads, const WV: usize>(
    run: &Run<'_>,
    vectors: &[Vector],
    m: *const f32,
    finish: &Finish,
    y: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        for c in 0..run.channels {
            let bias = S::splat(if finish.bias.is_null() { 0.0 } else { *finish.bias.add(c) });
            let y = y.add(c * run.plane_stride);
            for (k, vector) in vectors.iter().enumerate() {
                let m = m.add((c * WV + k) * S::LANES);
                if vector.edge || finish.accumulate {
                    output_vector::<S, WV, true>(run, &vector.units, m, bias, finish, y);
                } else {
                    output_vector::<S, WV, false>(run, &vector.units, m, bias, finish, y);
                }
                if vector.ends_rows {
                    zero_behind::<S>(run, &vector.units, finish.pad, y);
                }
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn output_vector<S: Quads, const WV: usize, const SPECIAL: bool>(
    run: &Run<'_>,
    units: &[Unit; 4],
    m: *const f32,
    bias: S::V,
    finish: &Finish,
    y: *mut f32,
) {
    // SAFETY: the caller's; only pixels are written.
    unsafe {
        let mut t = [[S::zero(); 6]; 4];
        for j in 0..6 {
            let mut column = [S::zero(); 6];
            for i in 0..6 {
                column[i] = S::load(m.add((6 * i + j) * element_stride(WV, S::LANES)));
            }
            if j == 1 {
                // Element (1, 1) has the weight one in every output.
                column[1] = S::add(column[1], bias);
            }
            let column = output_column::<S>(column);
            for i in 0..4 {
                t[i][j] = column[i];
            }
        }
        let mut to = [y; 4];
        for u in 0..4 {
            to[u] = y.add(units[u].output);
        }
        for i in 0..4 {
            let pixels = S::transpose_quads(output_column::<S>(t[i]));
            for u in 0..4 {
                prefetch(to[u].wrapping_add(AHEAD * run.plane_stride));
                let n = if i < units[u].rows { units[u].columns } else { 0 };
                let mut value = pixels[u];
                if SPECIAL && finish.accumulate {
                    value = S::add(S::load_first(to[u], n), value);
                }
                if finish.relu {
                    // This order of the operands lets a NaN through.
                    value = S::max(S::zero(), value);
                }
                if SPECIAL {
                    S::store_first(to[u], n, value);
                } else {
                    S::store(to[u], value);
                }
                to[u] = to[u].wrapping_add(run.row_stride);
            }
        }
    }
}

/// Zeroes the border columns behind units that end a row.
#[inline(always)]
unsafe fn zero_behind<S: Simd>(run: &Run<'_>, units: &[Unit; 4], pad: usize, y: *mut f32) {
    for unit in units {
        if unit.columns > S::LANES {
            continue;
        }
        for i in 0..unit.rows.min(TILE) {
            for k in 0..pad {
                // SAFETY: the caller's; the border of a row lies inside the plane.
                unsafe { *y.add(unit.output + i * run.row_stride + unit.columns + k) = 0.0 };
            }
        }
    }
}

/// Writes the elements of `G g Gt` of `inputs` kernels `g` of eight outputs each, of which `outputs` count:
/// `u[element][input][output]` from `g[input][tap][8]`, elements `element_stride` floats apart.
///
/// # Safety
/// Both sides must be valid, and `isa` available.
pub unsafe fn transform_weights(
    isa: Isa,
    g: *const f32,
    inputs: usize,
    outputs: usize,
    u: *mut f32,
    element_stride: usize,
) {
    let isa = if isa == Isa::Avx512 { Isa::Avx2 } else { isa };
    // SAFETY: the caller's; a CPU with AVX-512 has AVX2.
    unsafe { weights(isa, g, inputs, outputs, u, element_stride) };
}

dispatch!(unsafe fn weights = weights_generic(
    g: *const f32, inputs: usize, outputs: usize, u: *mut f32, element_stride: usize
));

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn weights_generic<S: Simd>(g: *const f32, inputs: usize, outputs: usize, u: *mut f32, element_stride: usize) {
    // SAFETY: the caller's; a vector has the eight lanes of an input's taps, or more, of which eight are stored at most.
    unsafe {
        for input in 0..inputs {
            let mut t = [[S::zero(); 3]; 6];
            for j in 0..3 {
                let tap = |i: usize| S::load_first(g.add((input * 9 + 3 * i + j) * 8), 8);
                let column = weight_column::<S>([tap(0), tap(1), tap(2)]);
                for i in 0..6 {
                    t[i][j] = column[i];
                }
            }
            for i in 0..6 {
                let row = weight_column::<S>(t[i]);
                for j in 0..6 {
                    let to = u.add((6 * i + j) * element_stride + input * outputs);
                    if outputs == S::LANES { S::store(to, row[j]) } else { S::store_first(to, outputs, row[j]) }
                }
            }
        }
    }
}

/// `G g` for one column.
#[inline(always)]
unsafe fn weight_column<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
    // SAFETY: the caller's.
    unsafe {
        let sum = S::mul(S::splat(-1.0 / 6.0), S::add(g[0], g[2]));
        let middle = S::splat(1.0 / 6.0);
        let wide = S::fma(S::splat(1.0 / 6.0), g[2], S::mul(S::splat(1.0 / 24.0), g[0]));
        let half = S::splat(1.0 / 12.0);
        [
            S::mul(S::splat(0.25), g[0]),
            S::sub(sum, S::mul(middle, g[1])),
            S::fma(middle, g[1], sum),
            S::fma(half, g[1], wide),
            S::sub(wide, S::mul(half, g[1])),
            g[2],
        ]
    }
}
