//! Runs and trains the networks that `segfit` describes.
//!
//! [`backend::Backend`] is the seam to a device: it compiles a schedule into an [`backend::Executor`]. Everything above it
//! (batches, augmentation, training loop, checkpoints, segmentation) is the same for every device.

pub mod augment;
pub mod backend;
mod batches;
mod check;
pub mod checkpoint;
pub mod cpu;
pub mod cuda;
pub mod deploy;
pub mod error;
pub mod experiment;
pub mod import_weights;
pub mod initialise;
pub mod lineage;
pub mod loss;
pub mod material;
pub mod optimiser;
pub mod run_folder;
pub mod run_log;
pub mod segmenter;
pub mod state;
mod teaching;
mod tiles;
pub mod trainer;

pub use error::{Error, Result};
