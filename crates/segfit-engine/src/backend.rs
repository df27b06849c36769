//! The seam to a device.

use std::collections::BTreeMap;

use segfit::network::NetworkSpec;
use segfit::network::schedule::{Mode, Schedule};
use segfit::recipe::LossKind;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loss::{LossValue, SoftTargets};
use crate::state::{State, Weights};

/// How parameters are changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Optimiser {
    /// AdamW (Loshchilov and Hutter 2019), betas 0.9 and 0.999, eps 1e-8.
    AdamW {
        /// Decoupled weight decay of convolution weights.
        weight_decay: f32,
    },
    /// Plain stochastic gradient descent, for tests.
    Sgd,
}

/// What a training executor optimises, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingSpec {
    /// The loss of every head.
    pub loss: LossKind,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// Decay of the moving average of the weights per step, in [0, 1). In step t it is at most (1 + t) / (10 + t). With 0 the
    /// average is the weights, and no memory is spent on it.
    pub average_decay: f32,
    /// What dropout draws from, together with the step and the layer.
    pub seed: u64,
}

impl TrainingSpec {
    /// Decay of the moving average in a step (from 1).
    pub(crate) fn decay_in(&self, step: usize) -> f32 {
        self.average_decay.min((1.0 + step as f32) / (10.0 + step as f32))
    }
}

/// The numbers that inference computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Activations and weights with 8 significant bits (bfloat16), summed in f32.
    Bf16,
    /// Activations in 8 bits with one scale per tensor, weights with one per output channel, exact sums.
    Int8,
}

impl Precision {
    /// Lower-case name, as in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// The largest magnitude of every tensor that int8 has to represent; larger ones are cut off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActivationRanges {
    /// By the layer that makes the tensor (the last one of a fused step).
    pub ranges: BTreeMap<String, f32>,
}

/// An image as the network gets it, for calibration.
#[derive(Clone, Debug)]
pub struct CalibrationImage {
    /// Rows, as the network accepts them.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `[channels][height][width]`.
    pub data: Vec<f32>,
}

/// A device.
pub trait Backend {
    /// Name for records, for example `cpu/avx512`.
    fn name(&self) -> String;

    /// Makes a network ready to run on this device. A training schedule needs `training`.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] names what the device cannot do.
    fn compile(
        &self,
        spec: &NetworkSpec,
        schedule: Schedule,
        training: Option<TrainingSpec>,
    ) -> Result<Box<dyn Executor>>;

    /// Makes a network ready for inference in a precision. Int8 needs the ranges of [`Self::calibrate`].
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] names what the device cannot do, or the tensor without a range.
    fn compile_low_precision(
        &self,
        spec: &NetworkSpec,
        schedule: Schedule,
        precision: Precision,
        _ranges: Option<&ActivationRanges>,
    ) -> Result<Box<dyn Executor>> {
        match precision {
            Precision::F32 => self.compile(spec, schedule, None),
            _ => Err(self.only_f32()),
        }
    }

    /// Ranges of all tensors, from running the network in f32 on `images`: for each tensor the limit that minimises the
    /// squared error of its values in int8.
    ///
    /// # Errors
    /// When there are no images or one does not fit, and [`crate::Error::Unsupported`] where the device has no int8.
    fn calibrate(
        &self,
        _spec: &NetworkSpec,
        _weights: &Weights,
        _images: &[CalibrationImage],
    ) -> Result<ActivationRanges> {
        Err(self.only_f32())
    }

    /// Checks that a training schedule, and no other, comes with a training specification.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`].
    fn check_mode(&self, schedule: &Schedule, training: Option<TrainingSpec>) -> Result<()> {
        if (schedule.mode == Mode::Train) == training.is_some() {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: "this schedule".into(),
            device: self.name(),
            reason: "a training schedule and a training specification belong together".into(),
        })
    }

    /// The error of a device that has no low precision.
    fn only_f32(&self) -> Error {
        Error::Unsupported {
            what: "inference in low precision".into(),
            device: self.name(),
            reason: "it computes in f32 only".into(),
        }
    }
}

/// A part of an inference run, in the order in which they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The image has been brought to where the first step reads it.
    Image,
    /// This step of [`Schedule::forward`]. A pooling ends at once where the step before it has filled its output too.
    Step(usize),
    /// The logits have been brought to where the caller reads them.
    Logits,
}

/// A network on a device, for one batch size and image size.
pub trait Executor: Send {
    /// Replaces the weights (running statistics included) of an inference executor.
    ///
    /// # Errors
    /// When the lengths do not fit, or the executor was compiled for training.
    fn load(&mut self, weights: &Weights) -> Result<()>;

    /// Logits `[batch][classes][height][width]` of images `[batch][channels][height][width]`.
    ///
    /// # Errors
    /// When the lengths do not fit, or the executor was compiled for training.
    fn infer(&mut self, images: &[f32], logits: &mut Vec<f32>) -> Result<()> {
        self.infer_watched(images, logits, &mut |_| ())
    }

    /// As [`Self::infer`]; `ended` is called whenever a part of the run has ended, so that who holds a clock can time it.
    ///
    /// # Errors
    /// As there.
    fn infer_watched(&mut self, images: &[f32], logits: &mut Vec<f32>, ended: &mut dyn FnMut(Part)) -> Result<()>;

    /// One optimiser step on `images` and class indices `targets` `[batch][height][width]`, and on a teacher's soft targets
    /// for the output where there are some; the loss of the output before the step. Auxiliary heads add their weighted
    /// losses to what is minimised, not to what is returned.
    ///
    /// # Errors
    /// When the lengths do not fit, or the executor was compiled for inference.
    fn train_step(
        &mut self,
        images: &[f32],
        targets: &[u8],
        teacher: Option<SoftTargets<'_>>,
        learning_rate: f32,
    ) -> Result<LossValue>;

    /// Replaces parameters, averages and optimiser state of a training executor.
    ///
    /// # Errors
    /// When the lengths do not fit, or the executor was compiled for inference.
    fn set_state(&mut self, state: State) -> Result<()>;

    /// Parameters, averages and optimiser state of a training executor.
    ///
    /// # Errors
    /// When the executor was compiled for inference.
    fn state(&self) -> Result<State>;

    /// Bytes that it holds: activations, gradients, parameters, optimiser state, scratch.
    fn bytes(&self) -> u64;
}
