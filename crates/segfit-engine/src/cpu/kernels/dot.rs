//! Vectors of packed elements and the dot products that convolutions in low precision are made of.
//!
//! An *element* is 32 bits that hold neighbouring channels of one pixel: four u8 or two bf16. [`Dot`] is to them what
//! [`Simd`](crate::cpu::simd::Simd) is to f32; [`dispatch_dot!`](crate::dispatch_dot) compiles a kernel for every implementation.

use super::numbers::{from_pair, to_pair, to_u8};
use crate::backend::Precision;
use crate::cpu::simd::Isa;

/// Vectors of elements, of accumulators and of f32.
///
/// # Safety
/// As for [`Simd`](crate::cpu::simd::Simd): only on a CPU that has the instruction set; pointers must be valid for what is
/// read or written, without any alignment.
#[allow(missing_docs, clippy::missing_safety_doc, reason = "the names say it; the safety rule is the trait's")]
pub unsafe trait Dot: Copy + Send + Sync + 'static {
    /// Elements as they lie in memory.
    type E: Copy;
    /// Elements ready for multiplication.
    type X: Copy;
    /// One element of weights, the same for all lanes, ready for multiplication.
    type W: Copy;
    /// Accumulators, one for each element.
    type A: Copy;
    /// Floats.
    type F: Copy;
    const LANES: usize;
    /// Vector registers; register tiles are chosen by it.
    const REGISTERS: usize;
    /// Channels of an element.
    const SLOTS: usize;
    /// Words of a packed element of weights: see [`DotSet::weight_words`].
    const WEIGHT_WORDS: usize;
    unsafe fn load(p: *const u32) -> Self::E;
    unsafe fn store(p: *mut u32, e: Self::E);
    /// Stores the first `n` lanes (n may exceed LANES: then all).
    unsafe fn store_first(p: *mut u32, n: usize, e: Self::E);
    unsafe fn store_floats(p: *mut f32, v: Self::F);
    unsafe fn ready(e: Self::E) -> Self::X;
    unsafe fn weight(p: *const u32) -> Self::W;
    unsafe fn zero() -> Self::A;
    /// a + the sum over the channels of an element of x * w. Exact for int8.
    unsafe fn dot(a: Self::A, x: Self::X, w: Self::W) -> Self::A;
    /// The accumulators in memory.
    unsafe fn load_sums(p: *const u32) -> Self::A;
    /// a * scale + bias, two roundings (bf16: a + bias).
    unsafe fn finish(a: Self::A, scale: f32, bias: f32) -> Self::F;
    /// Negative values become zero.
    unsafe fn relu(v: Self::F) -> Self::F;
    /// Elements of `SLOTS` vectors of channels: rounded to the nearest, ties to even; u8 is clamped to 0 and 255.
    unsafe fn pack(channels: &[Self::F; 4]) -> Self::E;
    /// The larger one of each pair of channels.
    unsafe fn max(a: Self::E, b: Self::E) -> Self::E;
    /// a0 b0 a1 b1 ... in two vectors.
    unsafe fn interleave(a: Self::E, b: Self::E) -> (Self::E, Self::E);
    /// The elements with even numbers of the two vectors one after the other, and those with odd numbers.
    unsafe fn deinterleave(a: Self::E, b: Self::E) -> (Self::E, Self::E);
}

/// An implementation of [`Dot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DotSet {
    /// u8 x i8 with AVX-512 and its VNNI.
    Int8Avx512,
    /// u8 x i8 with AVX2 and AVX-VNNI.
    Int8AvxVnni,
    /// u8 x i8 with AVX2, by 16-bit products.
    Int8Avx2,
    /// u8 x i8 in plain Rust.
    Int8Portable,
    /// bf16 with the dot products of AVX-512 BF16.
    Bf16Dot512,
    /// bf16 widened to f32, AVX-512.
    Bf16Avx512,
    /// bf16 widened to f32, AVX2.
    Bf16Avx2,
    /// bf16 widened to f32, plain Rust.
    Bf16Portable,
}

impl DotSet {
    /// The implementations that this CPU can run when restricted to `isa`, best first.
    ///
    /// AVX-512 BF16 is not the best on CPUs that also have AMX: there (Sapphire Rapids) one of its dot products was measured
    /// to take as long as five fused multiply-adds.
    #[must_use]
    pub fn available(isa: Isa, precision: Precision) -> Vec<Self> {
        #[cfg(not(target_arch = "x86_64"))]
        let (wide, dots, vnni, avx2, avx_vnni, amx) = (false, false, false, false, false, false);
        #[cfg(target_arch = "x86_64")]
        let (wide, dots, vnni, avx2, avx_vnni, amx) = {
            let wide = isa == Isa::Avx512 && is_x86_feature_detected!("avx512bw");
            (
                wide,
                wide && is_x86_feature_detected!("avx512bf16"),
                wide && is_x86_feature_detected!("avx512vnni"),
                isa != Isa::Portable && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
                isa != Isa::Portable && is_x86_feature_detected!("avxvnni"),
                is_x86_feature_detected!("avx512bf16") && super::amx::in_cpu(),
            )
        };
        let _ = isa;
        let all = match precision {
            Precision::Int8 => vec![
                (vnni, Self::Int8Avx512),
                (avx2 && avx_vnni, Self::Int8AvxVnni),
                (avx2, Self::Int8Avx2),
                (true, Self::Int8Portable),
            ],
            Precision::Bf16 => vec![
                (dots && !amx, Self::Bf16Dot512),
                (wide, Self::Bf16Avx512),
                (dots && amx, Self::Bf16Dot512),
                (avx2, Self::Bf16Avx2),
                (true, Self::Bf16Portable),
            ],
            Precision::F32 => Vec::new(),
        };
        all.into_iter().filter(|(has, _)| *has).map(|(_, set)| set).collect()
    }

    /// Most output channels of one register tile.
    #[must_use]
    pub fn max_outputs(self) -> usize {
        if matches!(self, Self::Int8Avx512 | Self::Bf16Dot512 | Self::Bf16Avx512) { 8 } else { 4 }
    }

    /// An element of weights as the kernels read it: as it is, or widened (i8 to i16, even channels in the first word and odd
    /// ones in the second; bf16 to f32).
    #[must_use]
    pub fn weight_words(self, element: u32) -> Vec<u32> {
        match self {
            Self::Int8Avx2 => {
                let [a, b, c, d] = element.to_le_bytes().map(|w| i16::from(w.cast_signed()).cast_unsigned());
                let pair = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
                vec![pair(a, c), pair(b, d)]
            }
            Self::Bf16Avx512 | Self::Bf16Avx2 => from_pair(element).map(f32::to_bits).to_vec(),
            _ => vec![element],
        }
    }

    /// Channels of an element.
    #[must_use]
    pub fn slots(self) -> usize {
        match self {
            Self::Int8Avx512 | Self::Int8AvxVnni | Self::Int8Avx2 | Self::Int8Portable => 4,
            Self::Bf16Dot512 | Self::Bf16Avx512 | Self::Bf16Avx2 | Self::Bf16Portable => 2,
        }
    }
}

/// Defines a function `name(set, arguments)` that runs the kernel, generic over [`Dot`], compiled for `set`.
#[macro_export]
macro_rules! dispatch_dot {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident = $kernel:ident ( $($arg:ident : $ty:ty),* $(,)? )) => {
        $(#[$meta])*
        #[inline]
        $vis unsafe fn $name(set: $crate::cpu::kernels::dot::DotSet, $($arg: $ty),*) {
            use $crate::cpu::kernels::dot::{Bf16Portable, DotSet, Int8Portable};
            #[cfg(target_arch = "x86_64")]
            use $crate::cpu::kernels::dot_x86::{Bf16Avx2, Bf16Avx512, Bf16Dot512, Int8Avx2, Int8Avx512, Int8AvxVnni};
            $crate::dispatch_dot!(@compile int8_avx512, "avx512f,avx512bw,avx512vnni,avx2,fma", $kernel, Int8Avx512, $($arg: $ty),*);
            $crate::dispatch_dot!(@compile int8_avx_vnni, "avx2,fma,avxvnni", $kernel, Int8AvxVnni, $($arg: $ty),*);
            $crate::dispatch_dot!(@compile int8_avx2, "avx2,fma", $kernel, Int8Avx2, $($arg: $ty),*);
            $crate::dispatch_dot!(@compile bf16_dot512, "avx512f,avx512bw,avx512bf16,avx2,fma", $kernel, Bf16Dot512, $($arg: $ty),*);
            $crate::dispatch_dot!(@compile bf16_avx512, "avx512f,avx512bw,avx2,fma", $kernel, Bf16Avx512, $($arg: $ty),*);
            $crate::dispatch_dot!(@compile bf16_avx2, "avx2,fma", $kernel, Bf16Avx2, $($arg: $ty),*);
            // SAFETY: `set` comes from `DotSet::available`, so that this CPU has it; the rest is the caller's.
            unsafe {
                match set {
                    #[cfg(target_arch = "x86_64")]
                    DotSet::Int8Avx512 => int8_avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    DotSet::Int8AvxVnni => int8_avx_vnni($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    DotSet::Int8Avx2 => int8_avx2($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    DotSet::Bf16Dot512 => bf16_dot512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    DotSet::Bf16Avx512 => bf16_avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    DotSet::Bf16Avx2 => bf16_avx2($($arg),*),
                    DotSet::Bf16Portable => $kernel::<Bf16Portable>($($arg),*),
                    #[cfg(not(target_arch = "x86_64"))]
                    DotSet::Bf16Dot512 | DotSet::Bf16Avx512 | DotSet::Bf16Avx2 => $kernel::<Bf16Portable>($($arg),*),
                    _ => $kernel::<Int8Portable>($($arg),*),
                }
            }
        }
    };
    (@compile $name:ident, $features:literal, $kernel:ident, $dot:ident, $($arg:ident : $ty:ty),*) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $name($($arg: $ty),*) {
            // SAFETY: the caller's; this CPU has the instruction set.
            unsafe { $kernel::<$dot>($($arg),*) }
        }
    };
}

/// Lanes of the portable implementations.
const LANES: usize = 8;

/// What both portable implementations share.
macro_rules! portable_memory {
    () => {
        type E = [u32; LANES];
        type X = [u32; LANES];
        type W = u32;
        type F = [f32; LANES];
        const LANES: usize = LANES;
        const REGISTERS: usize = 16;
        const WEIGHT_WORDS: usize = 1;
        #[inline(always)]
        unsafe fn load(p: *const u32) -> Self::E {
            unsafe { p.cast::<Self::E>().read_unaligned() }
        }
        #[inline(always)]
        unsafe fn store(p: *mut u32, e: Self::E) {
            unsafe { p.cast::<Self::E>().write_unaligned(e) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut u32, n: usize, e: Self::E) {
            for (i, v) in e.iter().enumerate().take(n) {
                unsafe { *p.add(i) = *v };
            }
        }
        #[inline(always)]
        unsafe fn store_floats(p: *mut f32, v: Self::F) {
            unsafe { p.cast::<Self::F>().write_unaligned(v) }
        }
        #[inline(always)]
        unsafe fn ready(e: Self::E) -> Self::X {
            e
        }
        #[inline(always)]
        unsafe fn weight(p: *const u32) -> u32 {
            unsafe { p.read_unaligned() }
        }
        #[inline(always)]
        unsafe fn relu(v: Self::F) -> Self::F {
            v.map(|v| if v < 0.0 { 0.0 } else { v })
        }
        #[inline(always)]
        unsafe fn interleave(a: Self::E, b: Self::E) -> (Self::E, Self::E) {
            let at = |i: usize| if i % 2 == 0 { a[i / 2] } else { b[i / 2] };
            (std::array::from_fn(at), std::array::from_fn(|i| at(i + LANES)))
        }
        #[inline(always)]
        unsafe fn deinterleave(a: Self::E, b: Self::E) -> (Self::E, Self::E) {
            let at = |i: usize| if i < LANES { a[i] } else { b[i - LANES] };
            (std::array::from_fn(|i| at(2 * i)), std::array::from_fn(|i| at(2 * i + 1)))
        }
    };
}

/// u8 x i8 in plain Rust.
#[derive(Clone, Copy, Debug)]
pub struct Int8Portable;

// SAFETY: needs no instruction set.
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
unsafe impl Dot for Int8Portable {
    portable_memory!();
    type A = [i32; LANES];
    const SLOTS: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self::A {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn dot(a: Self::A, x: Self::X, w: u32) -> Self::A {
        let w = w.to_le_bytes().map(|w| i32::from(w.cast_signed()));
        std::array::from_fn(|i| {
            let x = x[i].to_le_bytes().map(i32::from);
            a[i] + x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3]
        })
    }
    #[inline(always)]
    unsafe fn load_sums(p: *const u32) -> Self::A {
        unsafe { p.cast::<Self::A>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn finish(a: Self::A, scale: f32, bias: f32) -> Self::F {
        a.map(|a| a as f32 * scale + bias)
    }
    #[inline(always)]
    unsafe fn pack(channels: &[Self::F; 4]) -> Self::E {
        std::array::from_fn(|i| u32::from_le_bytes([0, 1, 2, 3].map(|c| to_u8(channels[c][i]))))
    }
    #[inline(always)]
    unsafe fn max(a: Self::E, b: Self::E) -> Self::E {
        std::array::from_fn(|i| {
            let (a, b) = (a[i].to_le_bytes(), b[i].to_le_bytes());
            u32::from_le_bytes(std::array::from_fn(|c| a[c].max(b[c])))
        })
    }
}

/// bf16 widened to f32 in plain Rust.
#[derive(Clone, Copy, Debug)]
pub struct Bf16Portable;

// SAFETY: needs no instruction set.
#[allow(clippy::undocumented_unsafe_blocks, reason = "each is the trait's contract")]
unsafe impl Dot for Bf16Portable {
    portable_memory!();
    type A = [f32; LANES];
    const SLOTS: usize = 2;
    #[inline(always)]
    unsafe fn zero() -> Self::A {
        [0.0; LANES]
    }
    #[inline(always)]
    unsafe fn dot(a: Self::A, x: Self::X, w: u32) -> Self::A {
        let ([w0, w1], x) = (from_pair(w), x.map(from_pair));
        std::array::from_fn(|i| a[i] + x[i][0] * w0 + x[i][1] * w1)
    }
    #[inline(always)]
    unsafe fn load_sums(p: *const u32) -> Self::A {
        unsafe { p.cast::<Self::A>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn finish(a: Self::A, _: f32, bias: f32) -> Self::F {
        a.map(|a| a + bias)
    }
    #[inline(always)]
    unsafe fn pack(channels: &[Self::F; 4]) -> Self::E {
        std::array::from_fn(|i| to_pair(channels[0][i], channels[1][i]))
    }
    #[inline(always)]
    unsafe fn max(a: Self::E, b: Self::E) -> Self::E {
        std::array::from_fn(|i| {
            let ([a0, a1], [b0, b1]) = (from_pair(a[i]), from_pair(b[i]));
            to_pair(if b0 > a0 { b0 } else { a0 }, if b1 > a1 { b1 } else { a1 })
        })
    }
}
