//! How long a network takes on a machine: measured step by step, predicted as a sum.
//!
//! 1. Networks of many widths are drawn ([`networks_to_measure`]) and run on the device; every step that the engine executes
//!    ([`timed_steps`]: fused layers are one) is timed inside of them, because its time depends on what the caches hold.
//! 2. For every form of step the times become a [`Surface`] over input and output channels. What whole networks take beyond the sum
//!    of their steps becomes a [`Curve`]. Both are a [`LatencyTable`], a file that may come from another machine.
//! 3. A [`LatencyModel`] sums a network's steps. The table also knows its own error, from networks left out ([`LatencyError`]).

mod curve;
mod design;
mod measured;
mod predictor;
mod steps;
mod surface;
mod table;

pub use curve::Curve;
pub use design::{name_of_networks, networks_to_measure};
pub use measured::{MeasuredNetwork, MeasuredStep};
pub use predictor::LatencyModel;
pub use steps::{Channels, StepKind, TimedStep, timed_steps};
pub use surface::Surface;
pub use table::{Conditions, LATENCY_FORMAT, LatencyError, LatencyTable, StepTimes};
