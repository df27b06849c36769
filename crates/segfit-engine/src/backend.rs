//! The seam to a device.

use segfit::network::NetworkSpec;
use segfit::network::schedule::Schedule;
use segfit::recipe::LossKind;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::loss::LossValue;
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
    /// The loss.
    pub loss: LossKind,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// Decay of the moving average of the weights per step, in [0, 1). In step t it is at most (1 + t) / (10 + t). With 0 the
    /// average is the weights, and no memory is spent on it.
    pub average_decay: f32,
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
    fn infer(&mut self, images: &[f32], logits: &mut Vec<f32>) -> Result<()>;

    /// One optimiser step on `images` and class indices `targets` `[batch][height][width]`; the loss before the step.
    ///
    /// # Errors
    /// When the lengths do not fit, or the executor was compiled for inference.
    fn train_step(&mut self, images: &[f32], targets: &[u8], learning_rate: f32) -> Result<LossValue>;

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
