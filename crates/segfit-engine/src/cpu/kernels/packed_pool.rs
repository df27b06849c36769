//! Rows of the 2x2 max-pooling on packed planes.

use super::dot::Dot;
use crate::dispatch_dot;

dispatch_dot! {
    /// `width` maxima of the 2x2 squares of two rows.
    ///
    /// # Safety
    /// `top` and `bottom` are pixel 0 of rows with at least twice as many pixels, behind which two lines may be read; nobody
    /// else touches the `width` elements of `y`.
    pub unsafe fn pool_packed = pool(top: *const u32, bottom: *const u32, y: *mut u32, width: usize)
}

#[inline(always)]
unsafe fn pool<D: Dot>(top: *const u32, bottom: *const u32, y: *mut u32, width: usize) {
    // SAFETY: the caller's.
    unsafe {
        let mut q = 0;
        while q < width {
            let (top, bottom) = (top.add(2 * q), bottom.add(2 * q));
            let left = D::max(D::load(top), D::load(bottom));
            let right = D::max(D::load(top.add(D::LANES)), D::load(bottom.add(D::LANES)));
            let (even, odd) = D::deinterleave(left, right);
            D::store_first(y.add(q), width - q, D::max(even, odd));
            q += D::LANES;
        }
    }
}
