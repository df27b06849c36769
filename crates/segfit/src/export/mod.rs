//! What a trained network is handed over as: files that other programs run.
//!
//! Every export is written from one [`Deployment`]: the network without its auxiliary heads, its weights, how an image
//! becomes the network's input, and what is known of the network. Nothing here runs a network; whoever exports checks the file
//! with the program that will read it.

pub mod bioimageio;
mod cover;
mod deployment;
mod description;
pub mod embedded;
mod files;
mod folded;
pub mod monai;
pub mod onnx;
mod publication;
pub mod pytorch;
pub mod safetensors;
pub mod torch_file;
mod yaml;
mod zip;

pub use deployment::{Deployment, Provenance};
pub use files::{ExportFile, write_files};
pub use publication::{PixelType, Publication};
