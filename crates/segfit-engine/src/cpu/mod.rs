//! The CPU device: planar activations with zero borders, one file per operation, SIMD kernels apart.

pub mod conv2d;
pub mod kernels;
pub mod planes;
pub mod simd;
