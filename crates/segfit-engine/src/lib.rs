//! Runs and trains the networks that `segfit` describes.

pub mod cpu;
pub mod optimiser;
