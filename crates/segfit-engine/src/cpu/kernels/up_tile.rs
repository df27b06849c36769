//! Register tiles of the 2x2 transposed convolution with stride 2.
//!
//! Every input pixel becomes a 2x2 square of the output, so that even and odd columns of two output rows are four
//! independent sums over the input channels. They are kept in registers and interleaved when stored.

use crate::cpu::kernels::lanes::Lanes;
use crate::cpu::kernels::norm_rows::zero_few;
use crate::dispatch;

/// Geometry of some rows of one image.
#[derive(Clone, Copy, Debug)]
pub struct UpRows {
    /// Input rows.
    pub count: usize,
    /// Input pixels of a row.
    pub width: usize,
    /// Floats between input rows, and between input planes.
    pub small: (usize, usize),
    /// Floats between output rows, and between output planes.
    pub large: (usize, usize),
}

/// `WV` vectors of input pixels, the `k`-th at row and column `at[k]`, of one output channel.
#[inline(always)]
unsafe fn forward_tile<S: Lanes, const WV: usize>(
    x: *const f32,
    in_channels: usize,
    w: *const f32,
    bias: f32,
    relu: bool,
    y: *mut f32,
    g: UpRows,
    at: [(usize, usize); WV],
) {
    // SAFETY: stores touch pixels only; loads may run past a row into memory that may be read.
    unsafe {
        let mut sums = [[S::splat(bias); 4]; WV];
        let mut from = [x; WV];
        for k in 0..WV {
            from[k] = x.add(at[k].0 * g.small.0 + at[k].1);
        }
        for i in 0..in_channels {
            let tap = w.add(4 * i);
            let taps = [S::splat(*tap), S::splat(*tap.add(1)), S::splat(*tap.add(2)), S::splat(*tap.add(3))];
            for k in 0..WV {
                let v = S::load(from[k]);
                from[k] = from[k].wrapping_add(g.small.1);
                for t in 0..4 {
                    sums[k][t] = S::fma(taps[t], v, sums[k][t]);
                }
            }
        }
        let floor = S::splat(if relu { 0.0 } else { f32::NEG_INFINITY });
        for k in 0..WV {
            let (row, column) = at[k];
            let n = g.width - column;
            for half in 0..2 {
                let to = y.add((2 * row + half) * g.large.0 + 2 * column);
                let [even, odd] = [sums[k][2 * half], sums[k][2 * half + 1]].map(|v| S::max(floor, v));
                store_pairs::<S>(to, n, even, odd);
            }
        }
    }
}

#[inline(always)]
unsafe fn forward_groups<S: Lanes, const WV: usize>(
    x: *const f32,
    in_channels: usize,
    w: *const f32,
    bias: f32,
    relu: bool,
    y: *mut f32,
    g: UpRows,
) {
    let across = g.width.div_ceil(S::LANES);
    let place = |v: usize| (v / across, (v % across) * S::LANES);
    let mut v = 0;
    // SAFETY: the caller's.
    unsafe {
        while v + WV <= g.count * across {
            forward_tile::<S, WV>(x, in_channels, w, bias, relu, y, g, std::array::from_fn(|k| place(v + k)));
            v += WV;
        }
        while v < g.count * across {
            forward_tile::<S, 1>(x, in_channels, w, bias, relu, y, g, [place(v)]);
            v += 1;
        }
    }
}
#[inline(always)]
unsafe fn forward_rows<S: Lanes>(
    x: *const f32,
    in_channels: usize,
    w: *const f32,
    bias: f32,
    relu: bool,
    y: *mut f32,
    g: UpRows,
) {
    // SAFETY: the caller's.
    unsafe {
        if S::REGISTERS >= 32 {
            forward_groups::<S, 4>(x, in_channels, w, bias, relu, y, g);
        } else {
            forward_groups::<S, 2>(x, in_channels, w, bias, relu, y, g);
        }
    }
}
dispatch!(
    /// Rows of one output channel: `w` holds \[in_channels]\[2]\[2].
    ///
    /// # Safety
    /// `x` is pixel 0 of the first row of input channel 0, `y` pixel 0 of the corresponding output row.
    pub unsafe fn up_forward = forward_rows(
        x: *const f32, in_channels: usize, w: *const f32, bias: f32, relu: bool, y: *mut f32, g: UpRows,
    )
);

/// `n` pairs of floats from `p`, split into their first and second members.
#[inline(always)]
unsafe fn load_pairs<S: Lanes>(p: *const f32, n: usize) -> (S::V, S::V) {
    // SAFETY: only valid floats are read.
    unsafe {
        let second = p.wrapping_add(S::LANES);
        if n >= S::LANES {
            return S::deinterleave(S::load(p), S::load(second));
        }
        S::deinterleave(S::load_first(p, 2 * n), S::load_first(second, (2 * n).saturating_sub(S::LANES)))
    }
}

/// The inverse of [`load_pairs`].
#[inline(always)]
unsafe fn store_pairs<S: Lanes>(p: *mut f32, n: usize, even: S::V, odd: S::V) {
    // SAFETY: only valid floats are written.
    unsafe {
        let (second, (a, b)) = (p.wrapping_add(S::LANES), S::interleave(even, odd));
        if n >= S::LANES {
            S::store(p, a);
            S::store(second, b);
        } else {
            S::store_first(p, 2 * n, a);
            S::store_first(second, (2 * n).saturating_sub(S::LANES), b);
        }
    }
}

/// Even and odd columns of two output rows: the four values that belong to each of `n` input pixels.
#[inline(always)]
unsafe fn load_square<S: Lanes>(p: *const f32, stride: usize, n: usize) -> [S::V; 4] {
    // SAFETY: only valid floats are read.
    unsafe {
        let ((a, b), (c, d)) = (load_pairs::<S>(p, n), load_pairs::<S>(p.add(stride), n));
        [a, b, c, d]
    }
}

#[inline(always)]
unsafe fn data_tile<S: Lanes, const IC: usize>(
    dy: *const f32,
    out_channels: usize,
    w: *const f32,
    dx: *mut f32,
    g: UpRows,
    accumulate: bool,
) {
    // SAFETY: only pixels are touched.
    unsafe {
        for r in 0..g.count {
            let mut column = 0;
            while column < g.width {
                let n = g.width - column;
                let mut sums = [S::zero(); IC];
                for o in 0..out_channels {
                    let square = load_square::<S>(dy.add(o * g.large.1 + 2 * r * g.large.0 + 2 * column), g.large.0, n);
                    for (i, s) in sums.iter_mut().enumerate() {
                        let tap = w.add((i * out_channels + o) * 4);
                        for (t, v) in square.iter().enumerate() {
                            *s = S::fma(S::splat(*tap.add(t)), *v, *s);
                        }
                    }
                }
                for (i, s) in sums.iter().enumerate() {
                    let to = dx.add(i * g.small.1 + r * g.small.0 + column);
                    S::store_upto(to, n, if accumulate { S::add(S::load_upto(to, n), *s) } else { *s });
                }
                column += S::LANES;
            }
        }
    }
}
#[inline(always)]
unsafe fn data_rows<S: Lanes>(
    dy: *const f32,
    in_channels: usize,
    out_channels: usize,
    w: *const f32,
    dx: *mut f32,
    g: UpRows,
    accumulate: bool,
) {
    let mut i = 0;
    // SAFETY: the caller's.
    unsafe {
        while i < in_channels {
            let (wi, to) = (w.add(i * out_channels * 4), dx.add(i * g.small.1));
            let left = in_channels - i;
            if left >= 8 {
                data_tile::<S, 8>(dy, out_channels, wi, to, g, accumulate);
                i += 8;
            } else if left >= 4 {
                data_tile::<S, 4>(dy, out_channels, wi, to, g, accumulate);
                i += 4;
            } else if left >= 2 {
                data_tile::<S, 2>(dy, out_channels, wi, to, g, accumulate);
                i += 2;
            } else {
                data_tile::<S, 1>(dy, out_channels, wi, to, g, accumulate);
                i += 1;
            }
        }
    }
}
dispatch!(
    /// Rows of the gradient with respect to the input; `w` holds \[in_channels]\[out_channels]\[2]\[2].
    ///
    /// # Safety
    /// `dx` is pixel 0 of the first row of input channel 0, `dy` pixel 0 of the corresponding output row.
    pub unsafe fn up_backward_data = data_rows(
        dy: *const f32, in_channels: usize, out_channels: usize, w: *const f32, dx: *mut f32, g: UpRows, accumulate: bool,
    )
);

/// Adds the products of one vector of pixels, of which `n` are valid.
#[inline(always)]
unsafe fn weight_step<S: Lanes, const IC: usize, const BIAS: bool>(
    x: *const f32,
    x_plane: usize,
    dy: *const f32,
    dy_stride: usize,
    n: usize,
    sums: &mut [[S::V; 4]; IC],
    plain: &mut [S::V; 4],
) {
    // SAFETY: only valid pixels are read.
    unsafe {
        let square = load_square::<S>(dy, dy_stride, n);
        for (i, s) in sums.iter_mut().enumerate() {
            let v = S::load_upto(x.add(i * x_plane), n);
            for t in 0..4 {
                s[t] = S::fma(v, square[t], s[t]);
            }
        }
        if BIAS {
            for t in 0..4 {
                plain[t] = S::add(plain[t], square[t]);
            }
        }
    }
}

#[inline(always)]
unsafe fn weight_tile<S: Lanes, const IC: usize, const BIAS: bool>(
    x: *const f32,
    dy: *const f32,
    g: UpRows,
    dw: *mut f32,
    dw_stride: usize,
    db: &mut f32,
) {
    // SAFETY: only pixels and dw are touched.
    unsafe {
        let (mut sums, mut plain) = ([[S::zero(); 4]; IC], [S::zero(); 4]);
        for r in 0..g.count {
            let (xr, dr) = (x.add(r * g.small.0), dy.add(2 * r * g.large.0));
            let mut c = 0;
            while c + S::LANES <= g.width {
                let whole = S::LANES;
                weight_step::<S, IC, BIAS>(
                    xr.add(c),
                    g.small.1,
                    dr.add(2 * c),
                    g.large.0,
                    whole,
                    &mut sums,
                    &mut plain,
                );
                c += S::LANES;
            }
            if c < g.width {
                let n = g.width - c;
                weight_step::<S, IC, BIAS>(xr.add(c), g.small.1, dr.add(2 * c), g.large.0, n, &mut sums, &mut plain);
            }
        }
        for (i, s) in sums.iter().enumerate() {
            for (t, v) in s.iter().enumerate() {
                *dw.add(i * dw_stride + t) += S::sum(*v);
            }
        }
        if BIAS {
            *db += S::sum(S::add(S::add(plain[0], plain[1]), S::add(plain[2], plain[3])));
        }
    }
}

/// Calls the tile for `IC` input channels; the first tile also sums the bias gradient.
#[inline(always)]
unsafe fn weight_block<S: Lanes, const IC: usize>(
    first: bool,
    x: *const f32,
    dy: *const f32,
    g: UpRows,
    dw: *mut f32,
    dw_stride: usize,
    db: &mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        if first {
            weight_tile::<S, IC, true>(x, dy, g, dw, dw_stride, db);
        } else {
            weight_tile::<S, IC, false>(x, dy, g, dw, dw_stride, db);
        }
    }
}

#[inline(always)]
unsafe fn weight_rows<S: Lanes>(
    x: *const f32,
    in_channels: usize,
    dy: *const f32,
    g: UpRows,
    dw: *mut f32,
    dw_stride: usize,
    db: &mut f32,
) {
    let mut i = 0;
    // SAFETY: the caller's.
    unsafe {
        while i < in_channels {
            let (from, to, left) = (x.add(i * g.small.1), dw.add(i * dw_stride), in_channels - i);
            // Four channels need sixteen sums and four squares: too many registers for AVX2.
            if left >= 4 && S::REGISTERS >= 32 {
                weight_block::<S, 4>(i == 0, from, dy, g, to, dw_stride, db);
                i += 4;
            } else if left >= 2 {
                weight_block::<S, 2>(i == 0, from, dy, g, to, dw_stride, db);
                i += 2;
            } else {
                weight_block::<S, 1>(i == 0, from, dy, g, to, dw_stride, db);
                i += 1;
            }
        }
    }
}
dispatch!(
    /// Adds the share of some rows to dw\[in_channel]\[..]\[2]\[2] (input channels `dw_stride` floats apart) and to db, both of
    /// one output channel.
    ///
    /// # Safety
    /// `x` is pixel 0 of the first row of input channel 0, `dy` pixel 0 of the corresponding row of the output channel.
    pub unsafe fn up_backward_weights = weight_rows(
        x: *const f32, in_channels: usize, dy: *const f32, g: UpRows, dw: *mut f32, dw_stride: usize, db: &mut f32,
    )
);

#[inline(always)]
unsafe fn gather<S: Lanes>(dy: *const f32, g: UpRows, to: *mut f32, tap_stride: usize) -> f32 {
    // SAFETY: only pixels of dy, and `to`, are touched.
    unsafe {
        let mut plain = [S::zero(); 4];
        for r in 0..g.count {
            let mut column = 0;
            while column < g.width {
                let n = g.width - column;
                let square = load_square::<S>(dy.add(2 * r * g.large.0 + 2 * column), g.large.0, n);
                for t in 0..4 {
                    S::store_upto(to.add(t * tap_stride + r * g.small.0 + column), n, square[t]);
                    plain[t] = S::add(plain[t], square[t]);
                }
                column += S::LANES;
            }
            for t in 0..4 {
                zero_few(to.add(t * tap_stride + r * g.small.0 + g.width), g.small.0 - g.width);
            }
        }
        S::sum(S::add(S::add(plain[0], plain[1]), S::add(plain[2], plain[3])))
    }
}
dispatch!(
    /// Splits one output channel into four planes with the input's rows (zero in the border columns), `tap_stride` floats
    /// apart; returns the sum of the channel.
    ///
    /// # Safety
    /// `dy` is pixel 0 of an output channel; `to` has room for four planes.
    pub unsafe fn up_gather = gather(dy: *const f32, g: UpRows, to: *mut f32, tap_stride: usize) -> f32
);

#[inline(always)]
unsafe fn scatter<S: Lanes>(from: *const f32, tap_stride: usize, bias: f32, relu: bool, y: *mut f32, g: UpRows) {
    // SAFETY: only `from` and pixels of y are touched.
    unsafe {
        let (bias, floor) = (S::splat(bias), S::splat(if relu { 0.0 } else { f32::NEG_INFINITY }));
        for r in 0..g.count {
            let mut column = 0;
            while column < g.width {
                let n = g.width - column;
                for half in 0..2 {
                    let p = from.add(2 * half * tap_stride + r * g.small.0 + column);
                    let even = S::max(floor, S::add(S::load_upto(p, n), bias));
                    let odd = S::max(floor, S::add(S::load_upto(p.add(tap_stride), n), bias));
                    store_pairs::<S>(y.add((2 * r + half) * g.large.0 + 2 * column), n, even, odd);
                }
                column += S::LANES;
            }
        }
    }
}
dispatch!(
    /// The inverse of [`up_gather`], with bias and ReLU.
    ///
    /// # Safety
    /// `from` holds four planes with the input's rows; `y` is pixel 0 of an output channel.
    pub unsafe fn up_scatter = scatter(from: *const f32, tap_stride: usize, bias: f32, relu: bool, y: *mut f32, g: UpRows)
);
