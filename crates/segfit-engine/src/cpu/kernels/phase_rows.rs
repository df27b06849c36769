//! Rows taken apart into phases (every `stride`-th pixel) and put together again.

use crate::cpu::kernels::lanes::Lanes;
use crate::dispatch;

/// Takes `n` pairs of a row apart.
#[inline(always)]
unsafe fn split<S: Lanes>(from: *const f32, n: usize, even: *mut f32, odd: *mut f32) {
    let mut i = 0;
    // SAFETY: only the row's pairs are read, only their places written.
    unsafe {
        while i < n {
            let (left, p) = (n - i, from.add(2 * i));
            let second = p.wrapping_add(S::LANES);
            let rest = (2 * left).saturating_sub(S::LANES);
            let (a, b) = S::deinterleave(S::load_upto(p, 2 * left), S::load_upto(second, rest));
            if !even.is_null() {
                S::store_upto(even.add(i), left, a);
            }
            if !odd.is_null() {
                S::store_upto(odd.add(i), left, b);
            }
            i += S::LANES;
        }
    }
}
dispatch!(
    /// Writes the first and the second members of `n` pairs of floats; a null target is left out.
    ///
    /// # Safety
    /// Pointers that are not null are valid for these floats.
    pub unsafe fn split_pairs = split(from: *const f32, n: usize, even: *mut f32, odd: *mut f32)
);

/// The inverse, with a value for a null source.
#[inline(always)]
unsafe fn join<S: Lanes>(even: *const f32, odd: *const f32, n: usize, fill: f32, add: bool, to: *mut f32) {
    let mut i = 0;
    // SAFETY: only the row's pairs are touched.
    unsafe {
        let fill = S::splat(fill);
        while i < n {
            let (left, p) = (n - i, to.add(2 * i));
            let (second, rest) = (p.wrapping_add(S::LANES), (2 * left).saturating_sub(S::LANES));
            let a = if even.is_null() { fill } else { S::load_upto(even.add(i), left) };
            let b = if odd.is_null() { fill } else { S::load_upto(odd.add(i), left) };
            let (mut a, mut b) = S::interleave(a, b);
            if add {
                a = S::add(a, S::load_upto(p, 2 * left));
                b = S::add(b, S::load_upto(second, rest));
            }
            S::store_upto(p, 2 * left, a);
            S::store_upto(second, rest, b);
            i += S::LANES;
        }
    }
}
dispatch!(
    /// Writes `n` pairs of floats, or adds to them; a null source stands for floats that are all `fill`.
    ///
    /// # Safety
    /// Pointers that are not null are valid for these floats.
    pub unsafe fn join_pairs = join(even: *const f32, odd: *const f32, n: usize, fill: f32, add: bool, to: *mut f32)
);

/// Writes `to[j] = from[j * stride]` for `n` floats.
///
/// # Safety
/// Both sides are valid for these floats.
pub unsafe fn take_every(from: *const f32, stride: usize, n: usize, to: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        if stride == 1 {
            std::ptr::copy_nonoverlapping(from, to, n);
            return;
        }
        for j in 0..n {
            *to.add(j) = *from.add(j * stride);
        }
    }
}

/// The inverse: writes `to[j * stride]`, or adds to it; a null source stands for floats that are all `fill`.
///
/// # Safety
/// Both sides are valid for these floats.
pub unsafe fn put_every(from: *const f32, stride: usize, n: usize, fill: f32, add: bool, to: *mut f32) {
    for j in 0..n {
        // SAFETY: the caller's.
        unsafe {
            let value = if from.is_null() { fill } else { *from.add(j) };
            let at = to.add(j * stride);
            *at = if add { *at + value } else { value };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::Isa;

    #[test]
    fn pairs_are_split_and_joined_for_every_length() {
        for (isa, n) in Isa::available().into_iter().flat_map(|isa| (0..40_usize).map(move |n| (isa, n))) {
            let row: Vec<f32> = (0..2 * n as u16).map(f32::from).collect();
            let (mut even, mut odd) = (vec![-1.0; n + 1], vec![-1.0; n + 1]);
            // SAFETY: all have room for n pairs.
            unsafe { split_pairs(isa, row.as_ptr(), n, even.as_mut_ptr(), odd.as_mut_ptr()) };
            assert!(even[..n].iter().zip(&odd).enumerate().all(|(i, (e, o))| (*e, *o) == (row[2 * i], row[2 * i + 1])));
            assert_eq!((even[n], odd[n]), (-1.0, -1.0));
            let mut joined = vec![1.0; 2 * n + 1];
            // SAFETY: as above.
            unsafe { join_pairs(isa, even.as_ptr(), std::ptr::null(), n, 0.5, true, joined.as_mut_ptr()) };
            let expected = (0..2 * n).map(|k| if k % 2 == 0 { 1.0 + row[k] } else { 1.5 }).chain([1.0]);
            assert!(joined.iter().copied().eq(expected), "{} {n}", isa.name());
        }
    }
}
