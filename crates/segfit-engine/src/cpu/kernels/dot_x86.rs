//! [`Dot`] with AVX-512 and AVX2.

use std::arch::x86_64::*;

use super::dot::Dot;

/// 512-bit memory operations and permutations, the same for both kinds of elements.
macro_rules! wide_memory {
    () => {
        type E = __m512i;
        type F = __m512;
        const LANES: usize = 16;
        const REGISTERS: usize = 32;
        #[inline(always)]
        unsafe fn load(p: *const u32) -> __m512i {
            unsafe { _mm512_loadu_si512(p.cast()) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut u32, e: __m512i) {
            unsafe { _mm512_storeu_si512(p.cast(), e) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut u32, n: usize, e: __m512i) {
            let mask = if n >= 16 { u16::MAX } else { (1_u16 << n) - 1 };
            unsafe { _mm512_mask_storeu_epi32(p.cast(), mask, e) }
        }
        #[inline(always)]
        unsafe fn store_floats(p: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn relu(v: __m512) -> __m512 {
            // This order of the operands lets a NaN through.
            unsafe { _mm512_max_ps(_mm512_setzero_ps(), v) }
        }
        #[inline(always)]
        unsafe fn interleave(a: __m512i, b: __m512i) -> (__m512i, __m512i) {
            unsafe {
                let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
                let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
                (_mm512_permutex2var_epi32(a, low, b), _mm512_permutex2var_epi32(a, high, b))
            }
        }
        #[inline(always)]
        unsafe fn deinterleave(a: __m512i, b: __m512i) -> (__m512i, __m512i) {
            unsafe {
                let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
                let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
                (_mm512_permutex2var_epi32(a, even, b), _mm512_permutex2var_epi32(a, odd, b))
            }
        }
    };
}

/// The same with 256 bits.
macro_rules! narrow_memory {
    () => {
        type E = __m256i;
        type F = __m256;
        const LANES: usize = 8;
        const REGISTERS: usize = 16;
        #[inline(always)]
        unsafe fn load(p: *const u32) -> __m256i {
            unsafe { _mm256_loadu_si256(p.cast()) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut u32, e: __m256i) {
            unsafe { _mm256_storeu_si256(p.cast(), e) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut u32, n: usize, e: __m256i) {
            unsafe {
                let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                _mm256_maskstore_epi32(p.cast(), _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), lanes), e);
            }
        }
        #[inline(always)]
        unsafe fn store_floats(p: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn relu(v: __m256) -> __m256 {
            // This order of the operands lets a NaN through.
            unsafe { _mm256_max_ps(_mm256_setzero_ps(), v) }
        }
        #[inline(always)]
        unsafe fn interleave(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
            unsafe {
                let (low, high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
                (_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high))
            }
        }
        #[inline(always)]
        unsafe fn deinterleave(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
            unsafe {
                // Even elements to the low half of each vector, odd ones to the high half.
                let order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
                let (a, b) = (_mm256_permutevar8x32_epi32(a, order), _mm256_permutevar8x32_epi32(b, order));
                (_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b))
            }
        }
    };
}

/// Everything of u8 elements but the dot product, 512 bits.
macro_rules! wide_int8 {
    () => {
        wide_memory!();
        type A = __m512i;
        const SLOTS: usize = 4;
        #[inline(always)]
        unsafe fn zero() -> __m512i {
            unsafe { _mm512_setzero_si512() }
        }
        #[inline(always)]
        unsafe fn load_sums(p: *const u32) -> __m512i {
            unsafe { _mm512_loadu_si512(p.cast()) }
        }
        #[inline(always)]
        unsafe fn finish(a: __m512i, scale: f32, bias: f32) -> __m512 {
            unsafe { _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(a), _mm512_set1_ps(scale)), _mm512_set1_ps(bias)) }
        }
        #[inline(always)]
        unsafe fn pack(channels: &[__m512; 4]) -> __m512i {
            unsafe {
                // What is too small for an i32 becomes the smallest one, and 0 in the end.
                let most = _mm512_set1_ps(255.0);
                let a = _mm512_cvtps_epi32(_mm512_min_ps(channels[0], most));
                let b = _mm512_cvtps_epi32(_mm512_min_ps(channels[1], most));
                let c = _mm512_cvtps_epi32(_mm512_min_ps(channels[2], most));
                let d = _mm512_cvtps_epi32(_mm512_min_ps(channels[3], most));
                let bytes = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
                // In every 128 bits: four pixels of a, b, c and d.
                let order = _mm512_set4_epi32(0x0F0B_0703, 0x0E0A_0602, 0x0D09_0501, 0x0C08_0400);
                _mm512_shuffle_epi8(bytes, order)
            }
        }
        #[inline(always)]
        unsafe fn max(a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_max_epu8(a, b) }
        }
    };
}

/// The same with 256 bits.
macro_rules! narrow_int8 {
    () => {
        narrow_memory!();
        type A = __m256i;
        const SLOTS: usize = 4;
        #[inline(always)]
        unsafe fn zero() -> __m256i {
            unsafe { _mm256_setzero_si256() }
        }
        #[inline(always)]
        unsafe fn load_sums(p: *const u32) -> __m256i {
            unsafe { _mm256_loadu_si256(p.cast()) }
        }
        #[inline(always)]
        unsafe fn finish(a: __m256i, scale: f32, bias: f32) -> __m256 {
            unsafe { _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(a), _mm256_set1_ps(scale)), _mm256_set1_ps(bias)) }
        }
        #[inline(always)]
        unsafe fn pack(channels: &[__m256; 4]) -> __m256i {
            unsafe {
                // What is too small for an i32 becomes the smallest one, and 0 in the end.
                let most = _mm256_set1_ps(255.0);
                let a = _mm256_cvtps_epi32(_mm256_min_ps(channels[0], most));
                let b = _mm256_cvtps_epi32(_mm256_min_ps(channels[1], most));
                let c = _mm256_cvtps_epi32(_mm256_min_ps(channels[2], most));
                let d = _mm256_cvtps_epi32(_mm256_min_ps(channels[3], most));
                let bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
                // In every 128 bits: four pixels of a, b, c and d.
                let order = _mm256_setr_epi32(
                    0x0C08_0400,
                    0x0D09_0501,
                    0x0E0A_0602,
                    0x0F0B_0703,
                    0x0C08_0400,
                    0x0D09_0501,
                    0x0E0A_0602,
                    0x0F0B_0703,
                );
                _mm256_shuffle_epi8(bytes, order)
            }
        }
        #[inline(always)]
        unsafe fn max(a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_max_epu8(a, b) }
        }
    };
}

/// u8 x i8, AVX-512 VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Int8Avx512;

// SAFETY: used only where `DotSet::available` lists it.
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
unsafe impl Dot for Int8Avx512 {
    wide_int8!();
    type X = __m512i;
    type W = __m512i;
    const WEIGHT_WORDS: usize = 1;
    #[inline(always)]
    unsafe fn ready(e: __m512i) -> __m512i {
        e
    }
    #[inline(always)]
    unsafe fn weight(p: *const u32) -> __m512i {
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read()) }
    }
    #[inline(always)]
    unsafe fn dot(a: __m512i, x: __m512i, w: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(a, x, w) }
    }
}

/// u8 x i8, AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Int8AvxVnni;

// SAFETY: used only where `DotSet::available` lists it.
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
unsafe impl Dot for Int8AvxVnni {
    narrow_int8!();
    type X = __m256i;
    type W = __m256i;
    const WEIGHT_WORDS: usize = 1;
    #[inline(always)]
    unsafe fn ready(e: __m256i) -> __m256i {
        e
    }
    #[inline(always)]
    unsafe fn weight(p: *const u32) -> __m256i {
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read()) }
    }
    #[inline(always)]
    unsafe fn dot(a: __m256i, x: __m256i, w: __m256i) -> __m256i {
        unsafe { _mm256_dpbusd_avx_epi32(a, x, w) }
    }
}

/// u8 x i8, AVX2: both widened to 16 bits, even and odd channels apart, so that no sum of two products is cut off.
#[derive(Clone, Copy, Debug)]
pub struct Int8Avx2;

// SAFETY: used only where `DotSet::available` lists it.
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
unsafe impl Dot for Int8Avx2 {
    narrow_int8!();
    type X = (__m256i, __m256i);
    type W = (__m256i, __m256i);
    const WEIGHT_WORDS: usize = 2;
    #[inline(always)]
    unsafe fn ready(e: __m256i) -> Self::X {
        unsafe { (_mm256_and_si256(e, _mm256_set1_epi32(0x00FF_00FF)), _mm256_srli_epi16::<8>(e)) }
    }
    #[inline(always)]
    unsafe fn weight(p: *const u32) -> Self::W {
        unsafe { (_mm256_set1_epi32(p.cast::<i32>().read()), _mm256_set1_epi32(p.add(1).cast::<i32>().read())) }
    }
    #[inline(always)]
    unsafe fn dot(a: __m256i, x: Self::X, w: Self::W) -> __m256i {
        unsafe {
            let sum = _mm256_add_epi32(_mm256_madd_epi16(x.0, w.0), _mm256_madd_epi16(x.1, w.1));
            _mm256_add_epi32(a, sum)
        }
    }
}

/// Everything of bf16 elements but the dot product, 512 bits.
macro_rules! wide_bf16 {
    () => {
        wide_memory!();
        type A = __m512;
        const SLOTS: usize = 2;
        #[inline(always)]
        unsafe fn zero() -> __m512 {
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load_sums(p: *const u32) -> __m512 {
            unsafe { _mm512_loadu_ps(p.cast()) }
        }
        #[inline(always)]
        unsafe fn finish(a: __m512, _: f32, bias: f32) -> __m512 {
            unsafe { _mm512_add_ps(a, _mm512_set1_ps(bias)) }
        }
        #[inline(always)]
        unsafe fn pack(channels: &[__m512; 4]) -> __m512i {
            unsafe {
                let (low, high) = (round_wide(channels[0]), round_wide(channels[1]));
                _mm512_mask_blend_epi16(0xAAAA_AAAA, _mm512_srli_epi32::<16>(low), high)
            }
        }
        #[inline(always)]
        unsafe fn max(a: __m512i, b: __m512i) -> __m512i {
            unsafe { ordered_wide(_mm512_max_epi16(ordered_wide(a), ordered_wide(b))) }
        }
    };
}

/// bf16 in the upper halves of f32 (the lower halves are garbage).
#[inline(always)]
unsafe fn round_wide(v: __m512) -> __m512i {
    // SAFETY: registers only; the caller has AVX-512.
    unsafe {
        let bits = _mm512_castps_si512(v);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000))
    }
}

/// bf16 as i16 of the same order, and back.
#[inline(always)]
unsafe fn ordered_wide(e: __m512i) -> __m512i {
    // SAFETY: registers only; the caller has AVX-512.
    unsafe {
        let magnitude = _mm512_and_si512(_mm512_srai_epi16::<15>(e), _mm512_set1_epi16(0x7FFF));
        _mm512_xor_si512(e, magnitude)
    }
}

#[inline(always)]
unsafe fn round_narrow(v: __m256) -> __m256i {
    // SAFETY: registers only; the caller has AVX2.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        _mm256_blendv_epi8(rounded, _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000)), nan)
    }
}

#[inline(always)]
unsafe fn ordered_narrow(e: __m256i) -> __m256i {
    // SAFETY: registers only; the caller has AVX2.
    unsafe {
        let magnitude = _mm256_and_si256(_mm256_srai_epi16::<15>(e), _mm256_set1_epi16(0x7FFF));
        _mm256_xor_si256(e, magnitude)
    }
}

/// bf16 pairs, AVX-512 BF16.
#[derive(Clone, Copy, Debug)]
pub struct Bf16Dot512;

// SAFETY: used only where `DotSet::available` lists it.
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
unsafe impl Dot for Bf16Dot512 {
    wide_bf16!();
    type X = __m512i;
    type W = __m512i;
    const WEIGHT_WORDS: usize = 1;
    #[inline(always)]
    unsafe fn ready(e: __m512i) -> __m512i {
        e
    }
    #[inline(always)]
    unsafe fn weight(p: *const u32) -> __m512i {
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read()) }
    }
    #[inline(always)]
    unsafe fn dot(a: __m512, x: __m512i, w: __m512i) -> __m512 {
        // SAFETY: vectors of one size without invalid values.
        unsafe {
            _mm512_dpbf16_ps(
                a,
                std::mem::transmute::<__m512i, __m512bh>(x),
                std::mem::transmute::<__m512i, __m512bh>(w),
            )
        }
    }
}

/// bf16 widened to f32, AVX-512.
#[derive(Clone, Copy, Debug)]
pub struct Bf16Avx512;

// SAFETY: used only where `DotSet::available` lists it.
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
unsafe impl Dot for Bf16Avx512 {
    wide_bf16!();
    type X = (__m512, __m512);
    type W = (__m512, __m512);
    const WEIGHT_WORDS: usize = 2;
    #[inline(always)]
    unsafe fn ready(e: __m512i) -> Self::X {
        unsafe {
            let high = _mm512_and_si512(e, _mm512_set1_epi32(0xFFFF_0000_u32.cast_signed()));
            (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(e)), _mm512_castsi512_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn weight(p: *const u32) -> Self::W {
        unsafe { (_mm512_set1_ps(p.cast::<f32>().read()), _mm512_set1_ps(p.add(1).cast::<f32>().read())) }
    }
    #[inline(always)]
    unsafe fn dot(a: __m512, x: Self::X, w: Self::W) -> __m512 {
        unsafe { _mm512_fmadd_ps(x.1, w.1, _mm512_fmadd_ps(x.0, w.0, a)) }
    }
}

/// bf16 widened to f32, AVX2.
#[derive(Clone, Copy, Debug)]
pub struct Bf16Avx2;

// SAFETY: used only where `DotSet::available` lists it.
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
unsafe impl Dot for Bf16Avx2 {
    narrow_memory!();
    type X = (__m256, __m256);
    type W = (__m256, __m256);
    type A = __m256;
    const SLOTS: usize = 2;
    const WEIGHT_WORDS: usize = 2;
    #[inline(always)]
    unsafe fn ready(e: __m256i) -> Self::X {
        unsafe {
            let high = _mm256_and_si256(e, _mm256_set1_epi32(0xFFFF_0000_u32.cast_signed()));
            (_mm256_castsi256_ps(_mm256_slli_epi32::<16>(e)), _mm256_castsi256_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn weight(p: *const u32) -> Self::W {
        unsafe { (_mm256_set1_ps(p.cast::<f32>().read()), _mm256_set1_ps(p.add(1).cast::<f32>().read())) }
    }
    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn dot(a: __m256, x: Self::X, w: Self::W) -> __m256 {
        unsafe { _mm256_fmadd_ps(x.1, w.1, _mm256_fmadd_ps(x.0, w.0, a)) }
    }
    #[inline(always)]
    unsafe fn load_sums(p: *const u32) -> __m256 {
        unsafe { _mm256_loadu_ps(p.cast()) }
    }
    #[inline(always)]
    unsafe fn finish(a: __m256, _: f32, bias: f32) -> __m256 {
        unsafe { _mm256_add_ps(a, _mm256_set1_ps(bias)) }
    }
    #[inline(always)]
    unsafe fn pack(channels: &[__m256; 4]) -> __m256i {
        unsafe {
            let (low, high) = (round_narrow(channels[0]), round_narrow(channels[1]));
            _mm256_blend_epi16::<0xAA>(_mm256_srli_epi32::<16>(low), high)
        }
    }
    #[inline(always)]
    unsafe fn max(a: __m256i, b: __m256i) -> __m256i {
        unsafe { ordered_narrow(_mm256_max_epi16(ordered_narrow(a), ordered_narrow(b))) }
    }
}
