//! Transposition of a square of vectors.

use crate::cpu::simd::{Isa, Portable, Simd};
use crate::dispatch;

/// An instruction set that can transpose a square of `LANES` x `LANES` floats.
///
/// # Safety
/// As for [`Simd`].
pub unsafe trait Transpose: Simd {
    /// Writes `to[j * to_stride + i] = rows[i][j]` for all lanes i, j.
    ///
    /// # Safety
    /// The first `LANES` pointers of `rows` and `to` must be valid for all these floats.
    unsafe fn transpose(rows: &[*const f32; 16], to: *mut f32, to_stride: usize);
}

// SAFETY: needs no instruction set.
unsafe impl Transpose for Portable {
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32; 16], to: *mut f32, to_stride: usize) {
        for (i, row) in rows.iter().enumerate().take(Self::LANES) {
            for j in 0..Self::LANES {
                // SAFETY: the caller's.
                unsafe { *to.add(j * to_stride + i) = *row.add(j) };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Transpose;
    use crate::cpu::simd::{Avx2, Avx512, Simd};

    // SAFETY: used only where `Isa::available` lists AVX-512.
    unsafe impl Transpose for Avx512 {
        #[inline(always)]
        unsafe fn transpose(rows: &[*const f32; 16], to: *mut f32, to_stride: usize) {
            for j in (0..Self::LANES).step_by(4) {
                // SAFETY: the caller's. Quarter b of `a[r]` is four floats of row r + 4b; unpacking then transposes each
                // 4 x 4 quarter.
                unsafe {
                    let mut a = [_mm512_setzero_ps(); 4];
                    for r in 0..4 {
                        let v = _mm512_castps128_ps512(_mm_loadu_ps(rows[r].add(j)));
                        let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(rows[r + 4].add(j)));
                        let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(rows[r + 8].add(j)));
                        a[r] = _mm512_insertf32x4::<3>(v, _mm_loadu_ps(rows[r + 12].add(j)));
                    }
                    let low = _mm512_castps_pd(_mm512_unpacklo_ps(a[0], a[1]));
                    let high = _mm512_castps_pd(_mm512_unpackhi_ps(a[0], a[1]));
                    let low2 = _mm512_castps_pd(_mm512_unpacklo_ps(a[2], a[3]));
                    let high2 = _mm512_castps_pd(_mm512_unpackhi_ps(a[2], a[3]));
                    let to = to.add(j * to_stride);
                    _mm512_storeu_ps(to, _mm512_castpd_ps(_mm512_unpacklo_pd(low, low2)));
                    _mm512_storeu_ps(to.add(to_stride), _mm512_castpd_ps(_mm512_unpackhi_pd(low, low2)));
                    _mm512_storeu_ps(to.add(2 * to_stride), _mm512_castpd_ps(_mm512_unpacklo_pd(high, high2)));
                    _mm512_storeu_ps(to.add(3 * to_stride), _mm512_castpd_ps(_mm512_unpackhi_pd(high, high2)));
                }
            }
        }
    }

    // SAFETY: used only where `Isa::available` lists AVX2.
    unsafe impl Transpose for Avx2 {
        #[inline(always)]
        unsafe fn transpose(rows: &[*const f32; 16], to: *mut f32, to_stride: usize) {
            for j in (0..Self::LANES).step_by(4) {
                // SAFETY: the caller's; as above with halves.
                unsafe {
                    let mut a = [_mm256_setzero_ps(); 4];
                    for r in 0..4 {
                        let v = _mm256_castps128_ps256(_mm_loadu_ps(rows[r].add(j)));
                        a[r] = _mm256_insertf128_ps::<1>(v, _mm_loadu_ps(rows[r + 4].add(j)));
                    }
                    let low = _mm256_castps_pd(_mm256_unpacklo_ps(a[0], a[1]));
                    let high = _mm256_castps_pd(_mm256_unpackhi_ps(a[0], a[1]));
                    let low2 = _mm256_castps_pd(_mm256_unpacklo_ps(a[2], a[3]));
                    let high2 = _mm256_castps_pd(_mm256_unpackhi_ps(a[2], a[3]));
                    let to = to.add(j * to_stride);
                    _mm256_storeu_ps(to, _mm256_castpd_ps(_mm256_unpacklo_pd(low, low2)));
                    _mm256_storeu_ps(to.add(to_stride), _mm256_castpd_ps(_mm256_unpackhi_pd(low, low2)));
                    _mm256_storeu_ps(to.add(2 * to_stride), _mm256_castpd_ps(_mm256_unpacklo_pd(high, high2)));
                    _mm256_storeu_ps(to.add(3 * to_stride), _mm256_castpd_ps(_mm256_unpackhi_pd(high, high2)));
                }
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::Transpose;
    use crate::cpu::simd::Neon;

    // SAFETY: used only where `Isa::available` lists NEON.
    unsafe impl Transpose for Neon {
        #[inline(always)]
        unsafe fn transpose(rows: &[*const f32; 16], to: *mut f32, to_stride: usize) {
            // SAFETY: the caller's. Pairs of rows change places within pairs of columns, then pairs with pairs.
            unsafe {
                let [a, b, c, d] = [0, 1, 2, 3].map(|r: usize| vld1q_f32(rows[r]));
                let even = vreinterpretq_f64_f32(vtrn1q_f32(a, b));
                let odd = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
                let even2 = vreinterpretq_f64_f32(vtrn1q_f32(c, d));
                let odd2 = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
                vst1q_f32(to, vreinterpretq_f32_f64(vtrn1q_f64(even, even2)));
                vst1q_f32(to.add(to_stride), vreinterpretq_f32_f64(vtrn1q_f64(odd, odd2)));
                vst1q_f32(to.add(2 * to_stride), vreinterpretq_f32_f64(vtrn2q_f64(even, even2)));
                vst1q_f32(to.add(3 * to_stride), vreinterpretq_f32_f64(vtrn2q_f64(odd, odd2)));
            }
        }
    }
}

/// Writes `to[k * 8 + c] = from[c * stride + k]` for 8 rows c and `len` columns k.
///
/// # Safety
/// Both sides must be valid, and `isa` available.
pub unsafe fn interleave_8(isa: Isa, from: *const f32, stride: usize, len: usize, to: *mut f32) {
    let isa = if isa == Isa::Avx512 { Isa::Avx2 } else { isa };
    // SAFETY: the caller's; a CPU with AVX-512 has AVX2.
    unsafe { interleave(isa, from, stride, len, to) };
}

dispatch!(unsafe fn interleave = interleave_generic(from: *const f32, stride: usize, len: usize, to: *mut f32));

#[inline(always)]
unsafe fn interleave_generic<S: Transpose>(from: *const f32, stride: usize, len: usize, to: *mut f32) {
    let whole = if S::LANES <= 8 { len / S::LANES * S::LANES } else { 0 };
    // SAFETY: the caller's; unused rows point to the first.
    unsafe {
        for k in (0..whole).step_by(S::LANES) {
            for first in (0..8).step_by(S::LANES) {
                let mut rows = [from; 16];
                for (c, row) in rows.iter_mut().enumerate().take(S::LANES) {
                    *row = from.add((first + c) * stride + k);
                }
                S::transpose(&rows, to.add(k * 8 + first), 8);
            }
        }
        for k in whole..len {
            for c in 0..8 {
                *to.add(k * 8 + c) = *from.add(c * stride + k);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    dispatch!(unsafe fn run = square(rows: &[*const f32; 16], to: *mut f32) -> usize);

    #[inline(always)]
    unsafe fn square<S: Transpose>(rows: &[*const f32; 16], to: *mut f32) -> usize {
        // SAFETY: the test's rows and square have room for 16 x 16 floats.
        unsafe { S::transpose(rows, to, 17) };
        S::LANES
    }

    #[test]
    fn rows_become_columns() {
        let values: Vec<f32> = (0..256_u16).map(f32::from).collect();
        let rows = std::array::from_fn(|i| values[16 * i..].as_ptr());
        for isa in Isa::available() {
            let mut to = [-1.0; 16 * 17];
            // SAFETY: rows and square are large enough.
            let lanes = unsafe { run(isa, &rows, to.as_mut_ptr()) };
            for (k, v) in to.into_iter().enumerate() {
                let (j, i) = (k / 17, k % 17);
                let expected = if i < lanes && j < lanes { values[16 * i + j] } else { -1.0 };
                assert_eq!(v, expected, "{} {i} {j}", isa.name());
            }
        }
    }
}
