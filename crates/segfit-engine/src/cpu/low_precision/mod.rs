//! Inference in int8 and bf16 on packed planes.
//!
//! A packed plane is a plane with its zero border as ever, but each of its 32-bit elements holds four channels as u8 or two
//! as bf16, so that a convolution stays a sum of flat shifts and one dot product does the work of four or two
//! multiply-adds.
//!
//! Int8: an activation is `scale * u8` with one scale per tensor, a weight `scale * i8` with one per output channel. The scales
//! of the inputs are folded into the weights before these are quantised, so that the parts of a concatenation keep their
//! own. A tensor that can be negative (the image, a convolution without ReLU) is stored as its positive part and its
//! negative part, two channels that are never negative. Sums are exact, so that results are the same bits on every
//! instruction set.

mod calibrate;
mod convolution;
mod executor;
mod input;
mod pooling;
mod slots;
#[cfg(test)]
mod tests;
mod transposed;
mod weights;

pub(super) use calibrate::Histogram;
pub(super) use executor::LowPrecisionExecutor;
