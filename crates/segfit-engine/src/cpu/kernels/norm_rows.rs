//! Row loops of batch normalisation and ReLU. Sums run in four independent chains of vectors.

use crate::cpu::simd::Simd;
use crate::dispatch;

/// Where some rows of a plane lie.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Rows.
    pub count: usize,
    /// Pixels of a row.
    pub width: usize,
}

/// Zeroes a row's border: nearly always one float, for which a call of memset would cost more than the row.
///
/// # Safety
/// `n` floats from `p` may be written.
#[inline(always)]
pub unsafe fn zero_few(p: *mut f32, n: usize) {
    // SAFETY: the caller's.
    unsafe {
        match n {
            0 => {}
            1 => *p = 0.0,
            _ => p.write_bytes(0, n),
        }
    }
}

/// Sum of all lanes of four accumulators.
#[inline(always)]
unsafe fn total<S: Simd>(a: [S::V; 4]) -> f64 {
    // SAFETY: the caller's.
    f64::from(unsafe { S::sum(S::add(S::add(a[0], a[1]), S::add(a[2], a[3]))) })
}

/// Mean of some rows and the sum of squared differences from it.
#[inline(always)]
unsafe fn moments<S: Simd>(x: *const f32, stride: usize, rows: Rows) -> (f64, f64) {
    let Rows { count, width } = rows;
    let n = (count * width) as f64;
    // SAFETY: only pixels of the rows are read.
    unsafe {
        let mut sum = [S::zero(); 4];
        for y in 0..count {
            let row = x.add(y * stride);
            let mut i = 0;
            while i + 4 * S::LANES <= width {
                for (k, s) in sum.iter_mut().enumerate() {
                    *s = S::add(*s, S::load(row.add(i + k * S::LANES)));
                }
                i += 4 * S::LANES;
            }
            for s in &mut sum {
                if i < width {
                    *s = S::add(*s, S::load_first(row.add(i), width - i));
                    i += S::LANES;
                }
            }
        }
        let mean = (total::<S>(sum) / n) as f32;
        // In the tail the mean is subtracted from valid lanes only; the others stay zero.
        let (centre, tail) = (S::splat(mean), S::load_first([mean; 16].as_ptr(), width % S::LANES));
        let (mut first, mut second) = ([S::zero(); 4], [S::zero(); 4]);
        for y in 0..count {
            let row = x.add(y * stride);
            let mut i = 0;
            while i + 4 * S::LANES <= width {
                for k in 0..4 {
                    let d = S::sub(S::load(row.add(i + k * S::LANES)), centre);
                    first[k] = S::add(first[k], d);
                    second[k] = S::fma(d, d, second[k]);
                }
                i += 4 * S::LANES;
            }
            for k in 0..4 {
                if i < width {
                    let c = if i + S::LANES <= width { centre } else { tail };
                    let d = S::sub(S::load_first(row.add(i), width - i), c);
                    first[k] = S::add(first[k], d);
                    second[k] = S::fma(d, d, second[k]);
                    i += S::LANES;
                }
            }
        }
        // The mean was rounded to f32; what that left over is corrected here.
        let left = total::<S>(first);
        (f64::from(mean) + left / n, (total::<S>(second) - left * left / n).max(0.0))
    }
}
dispatch!(
    /// Mean of some rows and the sum of squared differences from it.
    ///
    /// # Safety
    /// `x` is pixel 0 of the first row; rows are `stride` floats apart.
    pub unsafe fn row_moments = moments(x: *const f32, stride: usize, rows: Rows) -> (f64, f64)
);

/// y = x * scale + shift, or its positive part; `pad` zeros are written behind every row.
#[inline(always)]
unsafe fn affine<S: Simd>(x: *const f32, xs: usize, y: *mut f32, pad: usize, rows: Rows, coef: [f32; 2], relu: bool) {
    let Rows { count, width } = rows;
    // SAFETY: only pixels and border columns of the rows are touched.
    unsafe {
        let (scale, shift) = (S::splat(coef[0]), S::splat(coef[1]));
        // The floor is the first operand: max returns the second when one is not a number, which must not be hidden.
        let floor = S::splat(if relu { 0.0 } else { f32::NEG_INFINITY });
        for r in 0..count {
            let (from, to) = (x.add(r * xs), y.add(r * (width + pad)));
            let mut i = 0;
            while i + S::LANES <= width {
                S::store(to.add(i), S::max(floor, S::fma(S::load(from.add(i)), scale, shift)));
                i += S::LANES;
            }
            if i < width {
                let v = S::fma(S::load_first(from.add(i), width - i), scale, shift);
                S::store_first(to.add(i), width - i, S::max(floor, v));
            }
            zero_few(to.add(width), pad);
        }
    }
}
dispatch!(
    /// y = x * scale + shift, or its positive part, with `coef` = \[scale, shift]; `pad` zeros follow every row of y.
    ///
    /// # Safety
    /// `x` and `y` are pixel 0 of the first rows, x's rows `xs` floats apart. y may be x when the strides agree.
    pub unsafe fn affine_rows = affine(x: *const f32, xs: usize, y: *mut f32, pad: usize, rows: Rows, coef: [f32; 2], relu: bool)
);

/// What the backward pass of one channel needs.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// Factor of the forward pass.
    pub scale: f32,
    /// Constant of the forward pass.
    pub shift: f32,
    /// Mean over batch and pixels.
    pub mean: f32,
    /// Whether a ReLU followed.
    pub relu: bool,
}

/// dy where the forward pass was positive (everywhere without ReLU).
#[inline(always)]
unsafe fn masked<S: Simd, const RELU: bool>(z: S::V, dy: S::V, scale: S::V, shift: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe { if RELU { S::where_positive(S::fma(z, scale, shift), dy) } else { dy } }
}

#[inline(always)]
unsafe fn sums<S: Simd, const RELU: bool>(
    z: *const f32,
    zs: usize,
    dy: *const f32,
    ds: usize,
    rows: Rows,
    c: Channel,
) -> (f64, f64) {
    let Rows { count, width } = rows;
    // SAFETY: only pixels of the rows are read.
    unsafe {
        let (scale, shift, mean) = (S::splat(c.scale), S::splat(c.shift), S::splat(c.mean));
        let (mut plain, mut moment) = ([S::zero(); 4], [S::zero(); 4]);
        for r in 0..count {
            let (zr, dr) = (z.add(r * zs), dy.add(r * ds));
            let mut i = 0;
            while i + 4 * S::LANES <= width {
                for k in 0..4 {
                    let v = S::load(zr.add(i + k * S::LANES));
                    let g = masked::<S, RELU>(v, S::load(dr.add(i + k * S::LANES)), scale, shift);
                    plain[k] = S::add(plain[k], g);
                    moment[k] = S::fma(g, S::sub(v, mean), moment[k]);
                }
                i += 4 * S::LANES;
            }
            for k in 0..4 {
                if i < width {
                    let v = S::load_first(zr.add(i), width - i);
                    let g = masked::<S, RELU>(v, S::load_first(dr.add(i), width - i), scale, shift);
                    plain[k] = S::add(plain[k], g);
                    moment[k] = S::fma(g, S::sub(v, mean), moment[k]);
                    i += S::LANES;
                }
            }
        }
        (total::<S>(plain), total::<S>(moment))
    }
}
#[inline(always)]
unsafe fn sums_of<S: Simd>(z: *const f32, zs: usize, dy: *const f32, ds: usize, rows: Rows, c: Channel) -> (f64, f64) {
    // SAFETY: the caller's.
    unsafe { if c.relu { sums::<S, true>(z, zs, dy, ds, rows, c) } else { sums::<S, false>(z, zs, dy, ds, rows, c) } }
}
dispatch!(
    /// Sum of the masked dy and of masked dy * (z - mean) over some rows.
    ///
    /// # Safety
    /// `z` and `dy` are pixel 0 of the first rows, which are `zs` and `ds` floats apart.
    pub unsafe fn row_gradient_sums = sums_of(z: *const f32, zs: usize, dy: *const f32, ds: usize, rows: Rows, c: Channel) -> (f64, f64)
);

#[inline(always)]
unsafe fn gradient<S: Simd, const RELU: bool>(
    z: *const f32,
    zs: usize,
    dy: *const f32,
    ds: usize,
    dz: *mut f32,
    pad: usize,
    rows: Rows,
    c: Channel,
    coef: [f32; 3],
) {
    let Rows { count, width } = rows;
    // SAFETY: only pixels and border columns of the rows are touched; every vector of dy is read before dz is written.
    unsafe {
        let (scale, shift, mean) = (S::splat(c.scale), S::splat(c.shift), S::splat(c.mean));
        let [a, b, e] = [S::splat(coef[0]), S::splat(coef[1]), S::splat(coef[2])];
        for r in 0..count {
            let (zr, dr, to) = (z.add(r * zs), dy.add(r * ds), dz.add(r * (width + pad)));
            let mut i = 0;
            while i + S::LANES <= width {
                let v = S::load(zr.add(i));
                let g = masked::<S, RELU>(v, S::load(dr.add(i)), scale, shift);
                S::store(to.add(i), S::fma(a, g, S::fma(b, S::sub(v, mean), e)));
                i += S::LANES;
            }
            if i < width {
                let v = S::load_first(zr.add(i), width - i);
                let g = masked::<S, RELU>(v, S::load_first(dr.add(i), width - i), scale, shift);
                S::store_first(to.add(i), width - i, S::fma(a, g, S::fma(b, S::sub(v, mean), e)));
            }
            zero_few(to.add(width), pad);
        }
    }
}
#[inline(always)]
unsafe fn gradient_of<S: Simd>(
    z: *const f32,
    zs: usize,
    dy: *const f32,
    ds: usize,
    dz: *mut f32,
    pad: usize,
    rows: Rows,
    c: Channel,
    coef: [f32; 3],
) {
    // SAFETY: the caller's.
    unsafe {
        if c.relu {
            gradient::<S, true>(z, zs, dy, ds, dz, pad, rows, c, coef);
        } else {
            gradient::<S, false>(z, zs, dy, ds, dz, pad, rows, c, coef);
        }
    }
}
dispatch!(
    /// dz = coef\[0] * masked dy + coef\[1] * (z - mean) + coef\[2]; `pad` zeros follow every row of dz.
    ///
    /// # Safety
    /// Pointers are pixel 0 of the first rows, `zs`, `ds` and width + `pad` floats apart. dz may be dy when the strides agree.
    pub unsafe fn gradient_rows = gradient_of(
        z: *const f32, zs: usize, dy: *const f32, ds: usize, dz: *mut f32, pad: usize, rows: Rows, c: Channel, coef: [f32; 3],
    )
);

/// dx = dy where y > 0, else 0; `pad` zeros are written behind every row.
#[inline(always)]
unsafe fn mask<S: Simd>(y: *const f32, ys: usize, dy: *const f32, ds: usize, dx: *mut f32, pad: usize, rows: Rows) {
    let Rows { count, width } = rows;
    // SAFETY: only pixels and border columns of the rows are touched.
    unsafe {
        for r in 0..count {
            let (yr, dr, to) = (y.add(r * ys), dy.add(r * ds), dx.add(r * (width + pad)));
            let mut i = 0;
            while i + S::LANES <= width {
                S::store(to.add(i), S::where_positive(S::load(yr.add(i)), S::load(dr.add(i))));
                i += S::LANES;
            }
            let n = width - i;
            S::store_first(to.add(i), n, S::where_positive(S::load_first(yr.add(i), n), S::load_first(dr.add(i), n)));
            zero_few(to.add(width), pad);
        }
    }
}
dispatch!(
    /// dx = dy where y > 0, else 0; `pad` zeros follow every row of dx.
    ///
    /// # Safety
    /// Pointers are pixel 0 of the first rows, `ys`, `ds` and width + `pad` floats apart. dx may be dy when the strides agree.
    pub unsafe fn relu_mask_rows = mask(y: *const f32, ys: usize, dy: *const f32, ds: usize, dx: *mut f32, pad: usize, rows: Rows)
);
