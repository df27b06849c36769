//! The CPU device: planar activations with zero borders, one file per operation, SIMD kernels apart.

mod applied;
pub mod batch_norm;
pub mod conv2d;
pub mod conv_transpose;
mod convolution;
pub mod copy;
mod executor;
mod form;
pub mod kernels;
mod low_precision;
pub mod max_pool;
mod normalisation;
mod ops;
pub mod ordered;
pub mod planes;
pub mod relu;
pub mod simd;
pub mod strided;
pub mod team;
#[cfg(test)]
pub(crate) mod trial;
pub mod winograd;

pub use executor::CpuBackend;
pub(crate) use ops::axis_taps;
