//! What pooling, transposed convolution and losses need beyond [`Simd`]: shuffles, division, roots, exp and logarithm.

use crate::cpu::simd::{Portable, Simd};

/// Shuffles and less common arithmetic.
///
/// # Safety
/// As for [`Simd`].
#[allow(missing_docs, clippy::missing_safety_doc, reason = "the names say it; the safety rule is the trait's")]
pub unsafe trait Lanes: Simd {
    /// The even and the odd elements of `a` followed by `b`.
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> (Self::V, Self::V);
    /// The inverse: first and second half of even\[0], odd\[0], even\[1], odd\[1], ...
    unsafe fn interleave(even: Self::V, odd: Self::V) -> (Self::V, Self::V);
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// 2^n for whole n from -126 to 127.
    unsafe fn power_of_two(n: Self::V) -> Self::V;
    /// (m, e) with v = m * 2^e, m in \[1, 2), for normal v > 0.
    unsafe fn split(v: Self::V) -> (Self::V, Self::V);
    /// LANES bytes as floats.
    unsafe fn load_bytes(p: *const u8) -> Self::V;

    /// The first `n` bytes as floats (n may exceed LANES: then all), zero in the other lanes.
    #[inline(always)]
    unsafe fn load_first_bytes(p: *const u8, n: usize) -> Self::V {
        // SAFETY: only valid bytes are read from `p`.
        unsafe {
            if n >= Self::LANES {
                return Self::load_bytes(p);
            }
            let mut bytes = [0_u8; 16];
            for (i, b) in bytes.iter_mut().enumerate().take(n) {
                *b = *p.add(i);
            }
            Self::load_bytes(bytes.as_ptr())
        }
    }

    /// As `load_first`, with a branch for whole vectors: cheaper in loops where most are whole.
    #[inline(always)]
    unsafe fn load_upto(p: *const f32, n: usize) -> Self::V {
        // SAFETY: the caller's.
        unsafe { if n >= Self::LANES { Self::load(p) } else { Self::load_first(p, n) } }
    }

    /// As `store_first`, with a branch for whole vectors.
    #[inline(always)]
    unsafe fn store_upto(p: *mut f32, n: usize, v: Self::V) {
        // SAFETY: the caller's.
        unsafe { if n >= Self::LANES { Self::store(p, v) } else { Self::store_first(p, n, v) } }
    }

    /// |v|.
    #[inline(always)]
    unsafe fn abs(v: Self::V) -> Self::V {
        // SAFETY: the caller's.
        unsafe { Self::max(v, Self::sub(Self::zero(), v)) }
    }

    /// 1 where two whole numbers are equal, else 0.
    #[inline(always)]
    unsafe fn equal(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the caller's.
        unsafe {
            let d = Self::sub(a, b);
            Self::max(Self::sub(Self::splat(1.0), Self::mul(d, d)), Self::zero())
        }
    }

    /// e^x for x <= 0, clamped below at e^-87; exactly 1 at 0; within 2 units in the last place.
    ///
    /// Cody and Waite's reduction x = n ln 2 + r, then the polynomial of Moshier's Cephes library for e^r.
    #[inline(always)]
    unsafe fn exp_of_negative(x: Self::V) -> Self::V {
        const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        const TERMS: [f32; 5] = [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
        // SAFETY: the caller's.
        unsafe {
            let x = Self::max(Self::splat(-87.0), x);
            let round = Self::splat(ROUND);
            let n = Self::sub(Self::fma(x, Self::splat(std::f32::consts::LOG2_E), round), round);
            let r = Self::fma(n, Self::splat(-LN2_HIGH), x);
            let r = Self::fma(n, Self::splat(-LN2_LOW), r);
            let mut p = Self::splat(1.987_569_1e-4);
            for term in TERMS {
                p = Self::fma(p, r, Self::splat(term));
            }
            let p = Self::add(Self::fma(p, Self::mul(r, r), r), Self::splat(1.0));
            Self::mul(p, Self::power_of_two(n))
        }
    }

    /// ln(1 + u) for 0 <= u <= 1, relative error below 5e-7 however small u is: 2 artanh(s), s = u / (2 + u) <= 1/3.
    #[inline(always)]
    unsafe fn ln_1p_of_fraction(u: Self::V) -> Self::V {
        const TERMS: [f32; 7] = [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0];
        // SAFETY: the caller's.
        unsafe {
            let s = Self::div(u, Self::add(u, Self::splat(2.0)));
            let square = Self::mul(s, s);
            let mut p = Self::splat(1.0 / 15.0);
            for term in TERMS {
                p = Self::fma(p, square, Self::splat(term));
            }
            Self::mul(Self::add(s, s), p)
        }
    }

    /// ln(1 + u) for finite u >= 0.
    #[inline(always)]
    unsafe fn ln_1p(u: Self::V) -> Self::V {
        // SAFETY: the caller's.
        unsafe {
            let one = Self::splat(1.0);
            let whole = Self::add(one, u);
            let (m, e) = Self::split(whole);
            let rounded = Self::sub(m, one);
            // Below 2 the fraction is u itself; adding one would lose its low bits.
            let lost = Self::where_positive(Self::sub(Self::splat(2.0), whole), Self::sub(u, rounded));
            Self::fma(e, Self::splat(std::f32::consts::LN_2), Self::ln_1p_of_fraction(Self::add(rounded, lost)))
        }
    }
}

// SAFETY: needs no instruction set.
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
unsafe impl Lanes for Portable {
    #[inline(always)]
    unsafe fn deinterleave(a: [f32; 8], b: [f32; 8]) -> ([f32; 8], [f32; 8]) {
        ([a[0], a[2], a[4], a[6], b[0], b[2], b[4], b[6]], [a[1], a[3], a[5], a[7], b[1], b[3], b[5], b[7]])
    }
    #[inline(always)]
    unsafe fn interleave(e: [f32; 8], o: [f32; 8]) -> ([f32; 8], [f32; 8]) {
        ([e[0], o[0], e[1], o[1], e[2], o[2], e[3], o[3]], [e[4], o[4], e[5], o[5], e[6], o[6], e[7], o[7]])
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn sqrt(a: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i].sqrt())
    }
    #[inline(always)]
    unsafe fn power_of_two(n: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn split(v: [f32; 8]) -> ([f32; 8], [f32; 8]) {
        (
            std::array::from_fn(|i| f32::from_bits((v[i].to_bits() & 0x007f_ffff) | 0x3f80_0000)),
            std::array::from_fn(|i| (v[i].to_bits() >> 23) as i32 as f32 - 127.0),
        )
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> [f32; 8] {
        let bytes = unsafe { p.cast::<[u8; 8]>().read_unaligned() };
        std::array::from_fn(|i| f32::from(bytes[i]))
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
mod x86 {
    use super::Lanes;
    use crate::cpu::simd::{Avx2, Avx512};
    use std::arch::x86_64::*;

    // SAFETY: used only where `Isa::available` lists AVX-512.
    unsafe impl Lanes for Avx512 {
        #[inline(always)]
        unsafe fn deinterleave(a: __m512, b: __m512) -> (__m512, __m512) {
            unsafe {
                let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
                let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
                (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
            }
        }
        #[inline(always)]
        unsafe fn interleave(even: __m512, odd: __m512) -> (__m512, __m512) {
            unsafe {
                let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
                let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
                (_mm512_permutex2var_ps(even, low, odd), _mm512_permutex2var_ps(even, high, odd))
            }
        }
        #[inline(always)]
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sqrt(a: __m512) -> __m512 {
            unsafe { _mm512_sqrt_ps(a) }
        }
        #[inline(always)]
        unsafe fn power_of_two(n: __m512) -> __m512 {
            unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), n) }
        }
        #[inline(always)]
        unsafe fn split(v: __m512) -> (__m512, __m512) {
            unsafe { (_mm512_getmant_ps::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_SRC>(v), _mm512_getexp_ps(v)) }
        }
        #[inline(always)]
        unsafe fn load_bytes(p: *const u8) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))) }
        }
    }

    // SAFETY: used only where `Isa::available` lists AVX2.
    unsafe impl Lanes for Avx2 {
        #[inline(always)]
        unsafe fn deinterleave(a: __m256, b: __m256) -> (__m256, __m256) {
            unsafe {
                // Within 128-bit halves first, then the middle quarters change places.
                let even = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(a, b));
                let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0b11_01_11_01>(a, b));
                (
                    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(even)),
                    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(odd)),
                )
            }
        }
        #[inline(always)]
        unsafe fn interleave(even: __m256, odd: __m256) -> (__m256, __m256) {
            unsafe {
                let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
                (_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high))
            }
        }
        #[inline(always)]
        unsafe fn div(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sqrt(a: __m256) -> __m256 {
            unsafe { _mm256_sqrt_ps(a) }
        }
        #[inline(always)]
        unsafe fn power_of_two(n: __m256) -> __m256 {
            unsafe {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            }
        }
        #[inline(always)]
        unsafe fn split(v: __m256) -> (__m256, __m256) {
            unsafe {
                let bits = _mm256_castps_si256(v);
                let fraction = _mm256_and_si256(bits, _mm256_set1_epi32(0x007f_ffff));
                let m = _mm256_castsi256_ps(_mm256_or_si256(fraction, _mm256_set1_epi32(0x3f80_0000)));
                let e = _mm256_sub_epi32(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(127));
                (m, _mm256_cvtepi32_ps(e))
            }
        }
        #[inline(always)]
        unsafe fn load_bytes(p: *const u8) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()))) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
mod neon {
    use super::Lanes;
    use crate::cpu::simd::Neon;
    use std::arch::aarch64::*;

    // SAFETY: used only where `Isa::available` lists NEON.
    unsafe impl Lanes for Neon {
        #[inline(always)]
        unsafe fn deinterleave(a: float32x4_t, b: float32x4_t) -> (float32x4_t, float32x4_t) {
            unsafe { (vuzp1q_f32(a, b), vuzp2q_f32(a, b)) }
        }
        #[inline(always)]
        unsafe fn interleave(even: float32x4_t, odd: float32x4_t) -> (float32x4_t, float32x4_t) {
            unsafe { (vzip1q_f32(even, odd), vzip2q_f32(even, odd)) }
        }
        #[inline(always)]
        unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vdivq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn sqrt(a: float32x4_t) -> float32x4_t {
            unsafe { vsqrtq_f32(a) }
        }
        #[inline(always)]
        unsafe fn power_of_two(n: float32x4_t) -> float32x4_t {
            unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)))) }
        }
        #[inline(always)]
        unsafe fn split(v: float32x4_t) -> (float32x4_t, float32x4_t) {
            unsafe {
                let bits = vreinterpretq_u32_f32(v);
                let fraction = vandq_u32(bits, vdupq_n_u32(0x007f_ffff));
                let m = vreinterpretq_f32_u32(vorrq_u32(fraction, vdupq_n_u32(0x3f80_0000)));
                let e = vsubq_s32(vreinterpretq_s32_u32(vshrq_n_u32::<23>(bits)), vdupq_n_s32(127));
                (m, vcvtq_f32_s32(e))
            }
        }
        #[inline(always)]
        unsafe fn load_bytes(p: *const u8) -> float32x4_t {
            unsafe {
                let four = u64::from(p.cast::<u32>().read_unaligned());
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four)))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::Isa;
    use crate::dispatch;

    #[inline(always)]
    unsafe fn exp_and_ln<S: Lanes>(x: *const f32, n: usize, exp: *mut f32, ln: *mut f32) {
        // SAFETY: the test passes n valid floats.
        unsafe {
            for i in (0..n).step_by(S::LANES) {
                let v = S::load_first(x.add(i), n - i);
                S::store_first(exp.add(i), n - i, S::exp_of_negative(v));
                S::store_first(ln.add(i), n - i, S::ln_1p(S::abs(v)));
            }
        }
    }
    dispatch!(unsafe fn run_exp_and_ln = exp_and_ln(x: *const f32, n: usize, exp: *mut f32, ln: *mut f32));

    #[inline(always)]
    unsafe fn shuffle<S: Lanes>(x: *const f32, out: *mut f32) {
        // SAFETY: the test passes 32 floats each.
        unsafe {
            let (even, odd) = S::deinterleave(S::load(x), S::load(x.add(S::LANES)));
            S::store(out, even);
            S::store(out.add(S::LANES), odd);
            let (a, b) = S::interleave(even, odd);
            S::store(out.add(32), a);
            S::store(out.add(32 + S::LANES), b);
        }
    }
    dispatch!(unsafe fn run_shuffle = shuffle(x: *const f32, out: *mut f32));

    #[test]
    fn exp_and_logarithm_are_within_a_few_units_in_the_last_place() {
        let x: Vec<f32> =
            (0..200_000).map(|i| -(i as f32) * 4.3e-4).chain((0..90).map(|i| -(0.6_f32.powi(i)))).collect();
        for isa in Isa::available() {
            let (mut exp, mut ln) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            // SAFETY: equally long slices.
            unsafe { run_exp_and_ln(isa, x.as_ptr(), x.len(), exp.as_mut_ptr(), ln.as_mut_ptr()) };
            assert_eq!((exp[0], ln[0]), (1.0, 0.0));
            let (mut worst_exp, mut worst_ln) = (0.0_f64, 0.0_f64);
            for i in 1..x.len() {
                let v = f64::from(x[i]);
                worst_exp = worst_exp.max((f64::from(exp[i]) / v.exp() - 1.0).abs());
                worst_ln = worst_ln.max((f64::from(ln[i]) / (-v).ln_1p() - 1.0).abs());
            }
            assert!(worst_exp < 2.4e-7, "{}: {worst_exp}", isa.name());
            assert!(worst_ln < 5e-7, "{}: {worst_ln}", isa.name());
        }
    }

    #[test]
    fn deinterleaving_takes_every_other_float_and_interleaving_undoes_it() {
        let x: [f32; 32] = std::array::from_fn(|i| i as f32);
        for isa in Isa::available() {
            let lanes = isa.lanes();
            let mut out = [0.0_f32; 64];
            // SAFETY: 32 and 64 valid floats.
            unsafe { run_shuffle(isa, x.as_ptr(), out.as_mut_ptr()) };
            for i in 0..lanes {
                assert_eq!((out[i], out[lanes + i]), ((2 * i) as f32, (2 * i + 1) as f32), "{}", isa.name());
            }
            assert_eq!(out[32..32 + 2 * lanes], x[..2 * lanes], "{}", isa.name());
        }
    }
}
