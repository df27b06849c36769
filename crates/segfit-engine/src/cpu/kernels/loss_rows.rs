//! Row loops of the losses: probabilities with the sums that the loss is made of, and gradients from probabilities.

use crate::cpu::kernels::lanes::Lanes;
use crate::cpu::kernels::norm_rows::{Rows, zero_few};
use crate::dispatch;

/// Classes that a byte can name.
pub const MAX_CLASSES: usize = 256;

/// Sums over some pixels: cross-entropy, probability of the class, pixels of the class, and probability on those pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Cross-entropy.
    pub entropy: f64,
    /// Probability.
    pub p: f64,
    /// Target pixels.
    pub t: f64,
    /// Probability on target pixels.
    pub pt: f64,
}

/// Some rows of a plane with logits or probabilities, and the next plane of the same image.
#[derive(Clone, Copy, Debug)]
pub struct PlaneRows {
    /// Pixel 0 of the first row; may be null where nothing is to be stored.
    pub row: *mut f32,
    /// Floats between rows.
    pub stride: usize,
    /// Floats between planes.
    pub plane: usize,
    /// Border columns of a row.
    pub pad: usize,
}

/// Probability sigma(d) and the cross-entropy of target `t` (0 or 1) for logit `d`.
#[inline(always)]
unsafe fn logistic<S: Lanes>(d: S::V, t: S::V) -> (S::V, S::V) {
    // SAFETY: the caller's.
    unsafe {
        let one = S::splat(1.0);
        let e = S::exp_of_negative(S::sub(S::zero(), S::abs(d)));
        let inverse = S::div(one, S::add(one, e));
        let small = S::mul(e, inverse);
        let p = S::add(small, S::where_positive(d, S::sub(inverse, small)));
        // softplus(d) - d t, arranged so that confident and right pixels keep their small loss.
        let entropy = S::add(S::sub(S::max(S::zero(), d), S::mul(d, t)), S::ln_1p_of_fraction(e));
        (p, entropy)
    }
}

/// One logit per pixel: that of the plane, or with `DIFFERENCE` the next plane's minus it (two-class softmax).
#[inline(always)]
unsafe fn logistic_rows<S: Lanes, const DIFFERENCE: bool>(
    z: PlaneRows,
    target: *const u8,
    class: f32,
    p: PlaneRows,
    rows: Rows,
) -> Sums {
    // SAFETY: only pixels are touched.
    unsafe {
        let class = S::splat(class);
        let mut sums = [S::zero(); 4];
        for r in 0..rows.count {
            let (from, labels, to) =
                (z.row.add(r * z.stride), target.add(r * rows.width), p.row.wrapping_add(r * p.stride));
            for i in (0..rows.width).step_by(S::LANES) {
                let n = rows.width - i;
                let mut d = S::load_upto(from.add(i), n);
                if DIFFERENCE {
                    d = S::sub(S::load_upto(from.add(z.plane + i), n), d);
                }
                let t = S::equal(S::load_first_bytes(labels.add(i), n), class);
                let (mut q, mut entropy) = logistic::<S>(d, t);
                if n < S::LANES {
                    let valid = S::load_first([1.0; 16].as_ptr(), n);
                    (q, entropy) = (S::where_positive(valid, q), S::where_positive(valid, entropy));
                    sums[2] = S::add(sums[2], S::where_positive(valid, t));
                } else {
                    sums[2] = S::add(sums[2], t);
                }
                sums[0] = S::add(sums[0], entropy);
                sums[1] = S::add(sums[1], q);
                sums[3] = S::add(sums[3], S::where_positive(t, q));
                if !p.row.is_null() {
                    S::store_upto(to.add(i), n, q);
                }
            }
        }
        let [entropy, p, t, pt] = sums.map(|s| f64::from(S::sum(s)));
        Sums { entropy, p, t, pt }
    }
}
#[inline(always)]
unsafe fn logistic_of<S: Lanes>(
    z: PlaneRows,
    target: *const u8,
    class: f32,
    p: PlaneRows,
    rows: Rows,
    difference: bool,
) -> Sums {
    // SAFETY: the caller's.
    unsafe {
        if difference {
            logistic_rows::<S, true>(z, target, class, p, rows)
        } else {
            logistic_rows::<S, false>(z, target, class, p, rows)
        }
    }
}
dispatch!(
    /// Sums of the logistic loss of one channel whose target is `target == class`; probabilities go to `p` if it is not null.
    ///
    /// # Safety
    /// All rows are valid; `target` has one byte per pixel, rows without gaps.
    pub unsafe fn logistic_sums = logistic_of(
        z: PlaneRows, target: *const u8, class: f32, p: PlaneRows, rows: Rows, difference: bool,
    ) -> Sums
);

/// Turns probabilities into the gradient: dz = (p - t) * share + p (1 - p) (c\[0] + c\[1] t).
#[inline(always)]
unsafe fn logistic_gradient<S: Lanes, const DIFFERENCE: bool>(
    p: PlaneRows,
    target: *const u8,
    class: f32,
    share: f32,
    c: [f32; 2],
    rows: Rows,
) {
    // SAFETY: only pixels and border columns are touched.
    unsafe {
        let (class, share, one) = (S::splat(class), S::splat(share), S::splat(1.0));
        let c = c.map(|v| S::splat(v));
        for r in 0..rows.count {
            let (to, labels) = (p.row.add(r * p.stride), target.add(r * rows.width));
            for i in (0..rows.width).step_by(S::LANES) {
                let n = rows.width - i;
                let q = S::load_upto(to.add(i), n);
                let t = S::equal(S::load_first_bytes(labels.add(i), n), class);
                let dice = S::mul(S::mul(q, S::sub(one, q)), S::fma(c[1], t, c[0]));
                let d = S::fma(S::sub(q, t), share, dice);
                if DIFFERENCE {
                    S::store_upto(to.add(p.plane + i), n, d);
                    S::store_upto(to.add(i), n, S::sub(S::zero(), d));
                } else {
                    S::store_upto(to.add(i), n, d);
                }
            }
            zero_few(to.add(rows.width), p.pad);
            if DIFFERENCE {
                zero_few(to.add(p.plane + rows.width), p.pad);
            }
        }
    }
}
#[inline(always)]
unsafe fn logistic_gradient_of<S: Lanes>(
    p: PlaneRows,
    target: *const u8,
    class: f32,
    share: f32,
    c: [f32; 2],
    rows: Rows,
    difference: bool,
) {
    // SAFETY: the caller's.
    unsafe {
        if difference {
            logistic_gradient::<S, true>(p, target, class, share, c, rows);
        } else {
            logistic_gradient::<S, false>(p, target, class, share, c, rows);
        }
    }
}
dispatch!(
    /// Turns the probabilities of [`logistic_sums`] into dz = (p - t) * share + p (1 - p) (c\[0] + c\[1] t), in place; with
    /// `difference` the next plane gets dz and this one -dz. Border columns become zero.
    ///
    /// # Safety
    /// As for [`logistic_sums`]; nobody else touches these rows.
    pub unsafe fn logistic_gradient_rows = logistic_gradient_of(
        p: PlaneRows, target: *const u8, class: f32, share: f32, c: [f32; 2], rows: Rows, difference: bool,
    )
);

/// Softmax of one vector of pixels: e\[c] = exp(z\[c] - max), their sum minus one, and the largest logit.
#[inline(always)]
unsafe fn exponentials<S: Lanes>(z: *const f32, plane: usize, n: usize, e: &mut [S::V]) -> (S::V, S::V) {
    // SAFETY: only valid pixels are read.
    unsafe {
        let mut largest = S::load_upto(z, n);
        for c in 1..e.len() {
            largest = S::max(largest, S::load_upto(z.add(c * plane), n));
        }
        // The largest are exactly 1; counting them apart keeps the low bits of the others.
        let (mut ones, mut rest) = (S::splat(-1.0), S::zero());
        for (c, e) in e.iter_mut().enumerate() {
            *e = S::exp_of_negative(S::sub(S::load_upto(z.add(c * plane), n), largest));
            let below = S::where_positive(S::sub(S::splat(1.0), *e), *e);
            ones = S::add(ones, S::sub(*e, below));
            rest = S::add(rest, below);
        }
        (S::add(ones, rest), largest)
    }
}

#[inline(always)]
unsafe fn softmax<S: Lanes, const MOST: usize>(
    z: PlaneRows,
    target: *const u8,
    p: PlaneRows,
    rows: Rows,
    out: *mut Sums,
    classes: usize,
) {
    // SAFETY: only pixels and `classes` sums are touched.
    unsafe {
        let mut e = [S::zero(); MOST];
        let mut sums = [[S::zero(); 3]; MOST];
        let mut entropy = S::zero();
        let e = &mut e[..classes];
        for r in 0..rows.count {
            let (from, labels, to) =
                (z.row.add(r * z.stride), target.add(r * rows.width), p.row.wrapping_add(r * p.stride));
            for i in (0..rows.width).step_by(S::LANES) {
                let n = rows.width - i;
                let (beyond, largest) = exponentials::<S>(from.add(i), z.plane, n, e);
                let inverse = S::div(S::splat(1.0), S::add(S::splat(1.0), beyond));
                let labels = S::load_first_bytes(labels.add(i), n);
                let valid = if n >= S::LANES { S::splat(1.0) } else { S::load_first([1.0; 16].as_ptr(), n) };
                let mut here = S::ln_1p(beyond);
                for c in 0..classes {
                    let q = S::where_positive(valid, S::mul(e[c], inverse));
                    let t = S::where_positive(valid, S::equal(labels, S::splat(c as f32)));
                    let gap = S::sub(largest, S::load_upto(from.add(c * z.plane + i), n));
                    here = S::add(here, S::where_positive(t, gap));
                    sums[c][0] = S::add(sums[c][0], q);
                    sums[c][1] = S::add(sums[c][1], t);
                    sums[c][2] = S::add(sums[c][2], S::where_positive(t, q));
                    if !p.row.is_null() {
                        S::store_upto(to.add(c * p.plane + i), n, q);
                    }
                }
                entropy = S::add(entropy, S::where_positive(valid, here));
            }
        }
        for (c, s) in sums.iter().enumerate().take(classes) {
            let [p, t, pt] = s.map(|v| f64::from(S::sum(v)));
            let entropy = if c == 0 { f64::from(S::sum(entropy)) } else { 0.0 };
            *out.add(c) = Sums { entropy, p, t, pt };
        }
    }
}
#[inline(always)]
unsafe fn softmax_of<S: Lanes>(
    z: PlaneRows,
    target: *const u8,
    p: PlaneRows,
    rows: Rows,
    out: *mut Sums,
    classes: usize,
) {
    // SAFETY: the caller's. The many zeros of the large case would cost the usual few classes dear.
    unsafe {
        if classes <= 8 {
            softmax::<S, 8>(z, target, p, rows, out, classes);
        } else {
            softmax::<S, MAX_CLASSES>(z, target, p, rows, out, classes);
        }
    }
}
dispatch!(
    /// Sums of the softmax loss, one per class (the cross-entropy in the first); probabilities go to `p` if it is not null.
    ///
    /// # Safety
    /// As for [`logistic_sums`]; `out` holds `classes` sums, at most [`MAX_CLASSES`].
    pub unsafe fn softmax_sums = softmax_of(
        z: PlaneRows, target: *const u8, p: PlaneRows, rows: Rows, out: *mut Sums, classes: usize,
    )
);

#[inline(always)]
unsafe fn softmax_gradient<S: Lanes>(p: PlaneRows, target: *const u8, share: f32, coef: &[[f32; 2]], rows: Rows) {
    // SAFETY: only pixels and border columns are touched.
    unsafe {
        for r in 0..rows.count {
            let (to, labels) = (p.row.add(r * p.stride), target.add(r * rows.width));
            for i in (0..rows.width).step_by(S::LANES) {
                let n = rows.width - i;
                let labels = S::load_first_bytes(labels.add(i), n);
                let slope = |c: usize, t: S::V| S::fma(S::splat(coef[c][1]), t, S::splat(coef[c][0]));
                let mut mean = S::zero();
                for c in 0..coef.len() {
                    let t = S::equal(labels, S::splat(c as f32));
                    mean = S::fma(S::load_upto(to.add(c * p.plane + i), n), slope(c, t), mean);
                }
                for c in 0..coef.len() {
                    let t = S::equal(labels, S::splat(c as f32));
                    let at = to.add(c * p.plane + i);
                    let q = S::load_upto(at, n);
                    let dice = S::mul(q, S::sub(slope(c, t), mean));
                    S::store_upto(at, n, S::fma(S::sub(q, t), S::splat(share), dice));
                }
            }
            for c in 0..coef.len() {
                zero_few(to.add(c * p.plane + rows.width), p.pad);
            }
        }
    }
}
dispatch!(
    /// Turns probabilities into dz\[c] = (p\[c] - t\[c]) * share + p\[c] (g\[c] - sum over k of p\[k] g\[k]), in place, where
    /// g\[c] = coef\[c]\[0] + coef\[c]\[1] t\[c]. Border columns become zero.
    ///
    /// # Safety
    /// As for [`logistic_sums`]; nobody else touches these rows.
    pub unsafe fn softmax_gradient_rows = softmax_gradient(
        p: PlaneRows, target: *const u8, share: f32, coef: &[[f32; 2]], rows: Rows,
    )
);

#[inline(always)]
unsafe fn classify<S: Lanes>(
    z: PlaneRows,
    channels: usize,
    softmax: bool,
    rows: Rows,
    class: *mut u8,
    foreground: *mut f32,
) {
    // SAFETY: only pixels are touched.
    unsafe {
        let mut lanes = [0.0_f32; 16];
        for r in 0..rows.count {
            for i in (0..rows.width).step_by(S::LANES) {
                let (n, from) = (rows.width - i, z.row.add(r * z.stride + i));
                let (mut best, mut index) = (S::load_upto(from, n), S::zero());
                for c in 1..channels {
                    let v = S::load_upto(from.add(c * z.plane), n);
                    let label = S::splat(c as f32);
                    index = S::add(index, S::where_positive(S::sub(v, best), S::sub(label, index)));
                    best = S::max(v, best);
                }
                S::store(lanes.as_mut_ptr(), index);
                // Labels are from 0 to 255, so that the conversion is defined.
                let bytes = lanes.map(|v| v.to_int_unchecked::<i32>() as u8);
                let to = class.add(r * rows.width + i);
                if n >= S::LANES {
                    to.copy_from_nonoverlapping(bytes.as_ptr(), S::LANES);
                } else {
                    to.copy_from_nonoverlapping(bytes.as_ptr(), n);
                }
                if !foreground.is_null() {
                    let p = foreground_probability::<S>(from, z.plane, channels, softmax, n);
                    S::store_upto(foreground.add(r * rows.width + i), n, p);
                }
            }
        }
    }
}

/// Share of the channels from 1 up in the sum of the exponentials, or of the sigmoids.
#[inline(always)]
unsafe fn foreground_probability<S: Lanes>(
    z: *const f32,
    plane: usize,
    channels: usize,
    softmax: bool,
    n: usize,
) -> S::V {
    // SAFETY: only valid pixels are read.
    unsafe {
        let mut largest = S::load_upto(z, n);
        for c in 1..channels {
            largest = S::max(largest, S::load_upto(z.add(c * plane), n));
        }
        let (mut all, mut front) = (S::zero(), S::zero());
        for c in 0..channels {
            let v = S::load_upto(z.add(c * plane), n);
            let e = if softmax { S::exp_of_negative(S::sub(v, largest)) } else { logistic::<S>(v, S::zero()).0 };
            all = S::add(all, e);
            front = if c == 0 { front } else { S::add(front, e) };
        }
        S::div(front, all)
    }
}
dispatch!(
    /// Class of every pixel, and the probability that it is foreground if `foreground` is not null.
    ///
    /// # Safety
    /// `class` and `foreground` have one element per pixel, rows without gaps.
    pub unsafe fn classify_rows = classify(
        z: PlaneRows, channels: usize, softmax: bool, rows: Rows, class: *mut u8, foreground: *mut f32,
    )
);
