//! What a trained network is handed over as: files that other programs run.
//!
//! Every export is written from one [`Deployment`]: the network without its auxiliary heads, its weights, how an image
//! becomes the network's input, and what is known of the network. Nothing here runs a network; whoever exports checks the file
//! with the program that will read it.

mod deployment;
pub mod embedded;
mod folded;
pub mod onnx;

pub use deployment::{Deployment, Provenance};
