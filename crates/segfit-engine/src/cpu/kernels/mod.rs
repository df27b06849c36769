//! The inner loops, generic over [`Simd`](super::simd::Simd).

pub mod conv_tile;
pub mod conv_weight_lanes;
pub mod conv_weight_tile;
pub mod lanes;
pub mod loss_rows;
pub mod norm_rows;
pub mod phase_rows;
pub mod pool_rows;
pub mod transpose;
pub mod up_tile;
pub mod winograd_multiply;
pub mod winograd_transform;
