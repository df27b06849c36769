//! How long a network takes on a machine: a table of measured steps, and the sum that predicts a network's time.

mod steps;

pub use steps::{Channels, StepKind, TimedStep, timed_steps};
