//! The inner loops, generic over [`Simd`](super::simd::Simd).
