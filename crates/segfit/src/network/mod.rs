//! Networks as data: layers, channel groups, shapes, and the order and memory in which they are executed.

pub mod families;
mod geometry;
mod inherit;
pub mod layout;
mod limits;
mod narrow;
mod parameters;
mod read;
pub mod schedule;
mod shape;
mod spec;

pub use geometry::{Axis, Geometry, Tap, Window};
pub use inherit::{Criterion, inherit};
pub use narrow::{Narrowing, Widths};
pub(crate) use narrow::{greatest_common_divisor, matches, round_channels};
pub use parameters::{Parameter, ParameterKind};
pub use shape::{Segment, Shapes, TensorShape};
pub use spec::{
    AuxiliaryHead, Group, GroupKind, Interpolation, Layer, NETWORK_FORMAT, NetworkSpec, Op, PadMode, Share,
};
