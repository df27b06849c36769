//! Row loops of 2x2 max pooling.

use crate::cpu::kernels::lanes::Lanes;
use crate::cpu::kernels::norm_rows::zero_few;
use crate::dispatch;

/// Two vectors of a row from `p`, of which `n` floats are valid (n may exceed two vectors).
#[inline(always)]
unsafe fn load_pair<S: Lanes>(p: *const f32, n: usize) -> (S::V, S::V) {
    // SAFETY: only valid floats are read.
    unsafe { (S::load_upto(p, n), S::load_upto(p.wrapping_add(S::LANES), n.saturating_sub(S::LANES))) }
}

#[inline(always)]
unsafe fn forward<S: Lanes>(x: *const f32, xs: usize, y: *mut f32, ys: usize, rows: usize, width: usize) {
    // SAFETY: only pixels are touched.
    unsafe {
        for r in 0..rows {
            let (top, to) = (x.add(2 * r * xs), y.add(r * ys));
            let bottom = top.add(xs);
            let mut i = 0;
            while i + S::LANES <= width {
                let a = S::max(S::load(top.add(2 * i)), S::load(bottom.add(2 * i)));
                let b = S::max(S::load(top.add(2 * i + S::LANES)), S::load(bottom.add(2 * i + S::LANES)));
                let (even, odd) = S::deinterleave(a, b);
                S::store(to.add(i), S::max(even, odd));
                i += S::LANES;
            }
            if i < width {
                let n = 2 * (width - i);
                let ((a, b), (c, d)) = (load_pair::<S>(top.add(2 * i), n), load_pair::<S>(bottom.add(2 * i), n));
                let (even, odd) = S::deinterleave(S::max(a, c), S::max(b, d));
                S::store_first(to.add(i), width - i, S::max(even, odd));
            }
            zero_few(to.add(width), ys - width);
        }
    }
}
dispatch!(
    /// Maxima of 2x2 squares: `rows` rows of `width` results, and zeros behind each.
    ///
    /// # Safety
    /// `x` and `y` are pixel 0 of the first rows, `xs` and `ys` floats apart; x has twice the rows and at least twice the columns.
    pub unsafe fn max_pool_rows = forward(x: *const f32, xs: usize, y: *mut f32, ys: usize, rows: usize, width: usize)
);

/// Adds (or stores) the first `n` floats of two vectors.
#[inline(always)]
unsafe fn put_pair<S: Lanes, const ADD: bool>(p: *mut f32, n: usize, v: (S::V, S::V)) {
    // SAFETY: only valid floats are touched.
    unsafe {
        let (second, rest) = (p.wrapping_add(S::LANES), n.saturating_sub(S::LANES));
        let (mut a, mut b) = v;
        if ADD {
            let old = load_pair::<S>(p, n);
            (a, b) = (S::add(old.0, a), S::add(old.1, b));
        }
        S::store_upto(p, n, a);
        S::store_upto(second, rest, b);
    }
}

#[inline(always)]
unsafe fn backward<S: Lanes, const ADD: bool>(
    x: *const f32,
    xs: usize,
    dy: *const f32,
    ds: usize,
    dx: *mut f32,
    os: usize,
    rows: usize,
    width: usize,
) {
    // SAFETY: only pixels are touched.
    unsafe {
        for r in 0..rows {
            let (top, bottom) = (x.add(2 * r * xs), x.add((2 * r + 1) * xs));
            let (above, below) = (dx.add(2 * r * os), dx.add((2 * r + 1) * os));
            let mut i = 0;
            while i < width {
                let (left, n) = (width - i, 2 * (width - i));
                let (a, b) = load_pair::<S>(top.add(2 * i), n);
                let (c, d) = load_pair::<S>(bottom.add(2 * i), n);
                let ((a, b), (c, d)) = (S::deinterleave(a, b), S::deinterleave(c, d));
                let g = S::load_upto(dy.add(r * ds + i), left);
                // A later pixel takes the gradient only if it is strictly larger: the first of equals wins.
                let low = S::where_positive(S::sub(S::max(c, d), S::max(a, b)), g);
                let high = S::sub(g, low);
                let (high_right, low_right) =
                    (S::where_positive(S::sub(b, a), high), S::where_positive(S::sub(d, c), low));
                let high_pair = S::interleave(S::sub(high, high_right), high_right);
                let low_pair = S::interleave(S::sub(low, low_right), low_right);
                put_pair::<S, ADD>(above.add(2 * i), n, high_pair);
                put_pair::<S, ADD>(below.add(2 * i), n, low_pair);
                i += S::LANES;
            }
        }
    }
}
#[inline(always)]
unsafe fn backward_of<S: Lanes>(
    x: *const f32,
    xs: usize,
    dy: *const f32,
    ds: usize,
    dx: *mut f32,
    os: usize,
    rows: usize,
    width: usize,
    add: bool,
) {
    // SAFETY: the caller's.
    unsafe {
        if add {
            backward::<S, true>(x, xs, dy, ds, dx, os, rows, width);
        } else {
            backward::<S, false>(x, xs, dy, ds, dx, os, rows, width);
        }
    }
}
dispatch!(
    /// Sends each of `rows` x `width` gradients to the first maximum of its 2x2 square, and zero to (or nothing is added to)
    /// the other three.
    ///
    /// # Safety
    /// Pointers are pixel 0 of the first rows, `xs`, `ds` and `os` floats apart; x and dx have twice the rows and at least
    /// twice the columns.
    pub unsafe fn max_pool_gradient_rows = backward_of(
        x: *const f32, xs: usize, dy: *const f32, ds: usize, dx: *mut f32, os: usize, rows: usize, width: usize, add: bool,
    )
);
