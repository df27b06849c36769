//! The CPU device: planar activations with zero borders, one file per operation, SIMD kernels apart.

pub mod batch_norm;
pub mod conv_transpose;
pub mod copy;
pub mod kernels;
pub mod max_pool;
pub mod ordered;
pub mod planes;
pub mod relu;
pub mod simd;
#[cfg(test)]
pub(crate) mod trial;
