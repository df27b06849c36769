//! The inner loops, generic over [`Simd`](super::simd::Simd).

pub mod amx;
#[cfg(target_arch = "x86_64")]
mod amx_x86;
pub mod conv_tile;
pub mod conv_weight_lanes;
pub mod conv_weight_tile;
pub mod dot;
#[cfg(target_arch = "x86_64")]
pub mod dot_x86;
pub mod lanes;
pub mod loss_rows;
pub mod norm_rows;
pub mod numbers;
pub mod packed_pool;
pub mod packed_tile;
pub mod packed_up;
pub mod phase_rows;
pub mod pool_rows;
pub mod transpose;
pub mod up_tile;
pub mod winograd_multiply;
pub mod winograd_transform;
