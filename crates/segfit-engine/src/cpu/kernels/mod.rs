//! The inner loops, generic over [`Simd`](super::simd::Simd).

pub mod conv_tile;
pub mod conv_weight_lanes;
pub mod conv_weight_tile;
pub mod transpose;
