//! The CUDA device: dense activations, our own kernels in f32, a step of training as one CUDA graph.
//!
//! [`compile`](crate::backend::Backend::compile) turns a schedule into a list of kernel launches whose arguments never change;
//! what changes from step to step lies in device memory. [`device::Device`] is all that is asked of a GPU: memory, and running
//! such a list. [`driver`] is the NVIDIA driver, loaded when it is first needed, so that nothing of CUDA is needed to build.
//! Sums run in an order that depends on shapes alone: the same bits on every run on one GPU.

mod backend;
mod check;
pub mod device;
pub mod driver;
mod executor;
pub mod kernels;
pub mod launch;
mod program;
mod tensor;

pub use backend::CudaBackend;
pub use check::check;
