//! Runs and trains the networks that `segfit` describes.

pub mod cpu;
pub mod loss;
pub mod optimiser;
