//! The small vector trait that kernels are generic over, its instruction sets, and the run-time choice among them.
//!
//! A kernel is written once as `#[inline(always)] unsafe fn kernel<S: Simd>(..)`. [`dispatch!`](crate::dispatch) wraps it in one
//! function per instruction set, compiled with that set enabled, and calls the one that [`Isa::detect`] found.

/// A vector of f32 lanes.
///
/// # Safety
/// Every function may only be called on a CPU that has the instruction set, and, to be fast, from a function compiled with
/// it. Pointers must be valid for the lanes that are read or written; no alignment is needed.
#[allow(missing_docs, clippy::missing_safety_doc, reason = "the names say it; the safety rule is the trait's")]
pub unsafe trait Simd: Copy + Send + Sync + 'static {
    type V: Copy;
    /// Lanes of a vector.
    const LANES: usize;
    /// Vector registers of the instruction set; register tiles are chosen by it.
    const REGISTERS: usize;
    unsafe fn splat(v: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first `n` lanes from memory (n may exceed LANES: then all), zero in the others; touches no other memory.
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V;
    /// Stores the first `n` lanes (n may exceed LANES: then all).
    unsafe fn store_first(p: *mut f32, n: usize, v: Self::V);
    /// a * b + c.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a` where a > b, else `b`: also where one of them is not a number.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `v` where `condition` > 0, else 0.
    unsafe fn where_positive(condition: Self::V, v: Self::V) -> Self::V;
    /// Sum of all lanes, in an order fixed for the instruction set.
    unsafe fn sum(v: Self::V) -> f32;
    #[inline(always)]
    unsafe fn zero() -> Self::V {
        // SAFETY: the caller's.
        unsafe { Self::splat(0.0) }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// 16 lanes, 32 registers.
    Avx512,
    /// 8 lanes, 16 registers, with FMA.
    Avx2,
    /// 4 lanes, 32 registers: 64-bit ARM.
    Neon,
    /// Plain Rust, 8 lanes; runs everywhere.
    Portable,
}

impl Isa {
    /// The best instruction set of this CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::available()[0]
    }

    /// All instruction sets of this CPU, best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                found.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found.push(Self::Neon);
        }
        found.push(Self::Portable);
        found
    }

    /// Lower-case name for logs and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Floats of a vector.
    #[must_use]
    pub const fn lanes(self) -> usize {
        match self {
            Self::Avx512 => 16,
            Self::Avx2 | Self::Portable => 8,
            Self::Neon => 4,
        }
    }

    /// Vector registers.
    #[must_use]
    pub const fn registers(self) -> usize {
        match self {
            Self::Avx512 | Self::Neon => 32,
            Self::Avx2 | Self::Portable => 16,
        }
    }
}

/// Defines a function `name(isa, arguments)` that runs the generic kernel compiled for `isa`.
///
/// `dispatch!(pub unsafe fn add_rows = kernel(a: *const f32, n: usize) -> f32);`
#[macro_export]
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident = $kernel:ident ( $($arg:ident : $ty:ty),* $(,)? ) $(-> $ret:ty)?) => {
        $(#[$meta])*
        #[inline]
        $vis unsafe fn $name(isa: $crate::cpu::simd::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller's; this CPU has the instruction set.
                unsafe { $kernel::<$crate::cpu::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller's; this CPU has the instruction set.
                unsafe { $kernel::<$crate::cpu::simd::Avx2>($($arg),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            unsafe fn neon($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller's; this CPU has the instruction set.
                unsafe { $kernel::<$crate::cpu::simd::Neon>($($arg),*) }
            }
            // SAFETY: `isa` comes from `Isa::available`, so that this CPU has it; the rest is the caller's.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::simd::Isa::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::simd::Isa::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::cpu::simd::Isa::Neon => neon($($arg),*),
                    _ => $kernel::<$crate::cpu::simd::Portable>($($arg),*),
                }
            }
        }
    };
}

/// Plain Rust: eight lanes in an array.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

// SAFETY: needs no instruction set.
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
unsafe impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    #[inline(always)]
    unsafe fn splat(v: f32) -> Self::V {
        [v; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self::V {
        let mut v = [0.0; 8];
        for (i, x) in v.iter_mut().enumerate().take(n) {
            *x = unsafe { *p.add(i) };
        }
        v
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, n: usize, v: Self::V) {
        for (i, x) in v.iter().enumerate().take(n) {
            unsafe { *p.add(i) = *x };
        }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn where_positive(condition: Self::V, v: Self::V) -> Self::V {
        std::array::from_fn(|i| if condition[i] > 0.0 { v[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// AVX-512F.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx512;

    #[inline(always)]
    fn mask16(n: usize) -> __mmask16 {
        if n >= 16 { u16::MAX } else { (1_u16 << n) - 1 }
    }

    // SAFETY: used only where `Isa::available` lists AVX-512.
    unsafe impl Simd for Avx512 {
        type V = __m512;
        const LANES: usize = 16;
        const REGISTERS: usize = 32;
        #[inline(always)]
        unsafe fn splat(v: f32) -> __m512 {
            unsafe { _mm512_set1_ps(v) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, n: usize) -> __m512 {
            unsafe { _mm512_maskz_loadu_ps(mask16(n), p) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, n: usize, v: __m512) {
            unsafe { _mm512_mask_storeu_ps(p, mask16(n), v) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn where_positive(condition: __m512, v: __m512) -> __m512 {
            unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(condition, _mm512_setzero_ps()), v) }
        }
        #[inline(always)]
        unsafe fn sum(v: __m512) -> f32 {
            unsafe { _mm512_reduce_add_ps(v) }
        }
    }

    /// AVX2 with FMA.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx2;

    #[inline(always)]
    unsafe fn mask8(n: usize) -> __m256i {
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), lanes)
        }
    }

    // SAFETY: used only where `Isa::available` lists AVX2.
    unsafe impl Simd for Avx2 {
        type V = __m256;
        const LANES: usize = 8;
        const REGISTERS: usize = 16;
        #[inline(always)]
        unsafe fn splat(v: f32) -> __m256 {
            unsafe { _mm256_set1_ps(v) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, n: usize) -> __m256 {
            unsafe { _mm256_maskload_ps(p, mask8(n)) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, n: usize, v: __m256) {
            unsafe { _mm256_maskstore_ps(p, mask8(n), v) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn where_positive(condition: __m256, v: __m256) -> __m256 {
            unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(condition, _mm256_setzero_ps()), v) }
        }
        #[inline(always)]
        unsafe fn sum(v: __m256) -> f32 {
            unsafe {
                let half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
                _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(always)]
    unsafe fn masked_dot<S: Simd>(a: *const f32, b: *const f32, n: usize, out: *mut f32) -> f32 {
        let mut sum = 0.0;
        for i in (0..n).step_by(S::LANES) {
            // SAFETY: the test passes n valid floats.
            unsafe {
                let (x, y) = (S::load_first(a.add(i), n - i), S::load_first(b.add(i), n - i));
                let kept = S::where_positive(y, S::fma(x, y, S::splat(1.0)));
                S::store_first(out.add(i), n - i, S::max(kept, S::splat(2.0)));
                sum += S::sum(kept);
            }
        }
        sum
    }
    dispatch!(unsafe fn run_masked_dot = masked_dot(a: *const f32, b: *const f32, n: usize, out: *mut f32) -> f32);

    dispatch!(unsafe fn sizes_of = sizes() -> (usize, usize));

    #[inline(always)]
    unsafe fn sizes<S: Simd>() -> (usize, usize) {
        (S::LANES, S::REGISTERS)
    }

    #[test]
    fn every_instruction_set_says_what_its_vectors_are() {
        for isa in Isa::available() {
            // SAFETY: touches no memory.
            assert_eq!(unsafe { sizes_of(isa) }, (isa.lanes(), isa.registers()), "{}", isa.name());
        }
    }

    #[test]
    fn every_instruction_set_gives_the_hand_computed_lanes() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, -1.0, 1.0, 0.5, 0.0]);
        for isa in Isa::available() {
            let mut out = [9.0_f32; 6];
            // SAFETY: five valid floats each.
            let sum = unsafe { run_masked_dot(isa, a.as_ptr(), b.as_ptr(), 5, out.as_mut_ptr()) };
            assert_eq!(out, [3.0, 2.0, 4.0, 3.0, 2.0, 9.0], "{}", isa.name());
            assert!((sum - 10.0).abs() < 1e-6, "{} {sum}", isa.name());
        }
    }

    #[inline(always)]
    unsafe fn copy_first<S: Simd>(from: *const f32, n: usize, whole: *mut f32, to: *mut f32) {
        // SAFETY: the test passes n valid floats and two vectors.
        unsafe {
            let v = S::load_first(from, n);
            S::store(whole, v);
            S::store_first(to, n, v);
        }
    }
    dispatch!(unsafe fn run_copy_first = copy_first(from: *const f32, n: usize, whole: *mut f32, to: *mut f32));

    #[test]
    fn a_part_of_a_vector_touches_no_other_memory_and_reads_zeros_there() {
        for (isa, n) in Isa::available().into_iter().flat_map(|isa| (0..=isa.lanes() + 1).map(move |n| (isa, n))) {
            let from: Vec<f32> = (1..=n as u16).map(f32::from).collect();
            let (mut whole, mut to) = ([9.0; 16], [9.0; 16]);
            // SAFETY: n floats of `from` are valid, and 16 of the others.
            unsafe { run_copy_first(isa, from.as_ptr(), n, whole.as_mut_ptr(), to.as_mut_ptr()) };
            for k in 0..16 {
                let is_loaded = k < n.min(isa.lanes());
                let (loaded, stored) = if is_loaded { (from[k], from[k]) } else { (0.0, 9.0) };
                assert_eq!(whole[k], if k < isa.lanes() { loaded } else { 9.0 }, "{} {n} {k}", isa.name());
                assert_eq!(to[k], stored, "{} {n} {k}", isa.name());
            }
        }
    }

    #[inline(always)]
    unsafe fn larger<S: Simd>(a: f32, b: f32) -> f32 {
        let mut lanes = [0.0; 16];
        // SAFETY: the array has room for a vector.
        unsafe { S::store(lanes.as_mut_ptr(), S::max(S::splat(a), S::splat(b))) };
        lanes[S::LANES - 1]
    }
    dispatch!(unsafe fn run_larger = larger(a: f32, b: f32) -> f32);

    #[test]
    fn the_maximum_is_the_second_operand_where_one_is_not_a_number() {
        for isa in Isa::available() {
            // SAFETY: touches no memory of others.
            let max = |a, b| unsafe { run_larger(isa, a, b) };
            assert_eq!((max(1.0, 2.0), max(2.0, 1.0), max(f32::NAN, 2.0)), (2.0, 2.0, 2.0), "{}", isa.name());
            assert!(max(2.0, f32::NAN).is_nan(), "{}", isa.name());
        }
    }
}
