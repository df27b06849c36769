//! The engine's error type.

use std::path::PathBuf;

/// Result with the engine's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong when a network is run, trained, saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A problem with data, files or the network.
    #[error(transparent)]
    Method(#[from] segfit::Error),
    /// The device cannot execute this.
    #[error("{what} cannot be executed on {device}: {reason}")]
    Unsupported {
        /// Layer or operation.
        what: String,
        /// Device.
        device: String,
        /// Why not.
        reason: String,
    },
    /// A checkpoint does not belong to this network or this run.
    #[error("{path}: expected {expected}, found {got}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What the network or run needs.
        expected: String,
        /// What the file holds.
        got: String,
    },
    /// A file of weights from another program does not fit the network.
    #[error("{path}: expected {expected}, found {got}", path = path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// What the network needs.
        expected: String,
        /// What the file holds.
        got: String,
        /// What to do about it.
        hint: String,
    },
    /// The loss, or a weight, became infinite or not a number.
    #[error("the training diverged at step {step}, where the loss was {loss}")]
    Diverged {
        /// Step, from 1.
        step: usize,
        /// Its loss.
        loss: f64,
    },
    /// A GPU cannot be used, or failed.
    #[error("{device}: {reason}")]
    Device {
        /// The GPU, or `CUDA` where none was found.
        device: String,
        /// What is missing, or what failed.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// There is nothing to train on.
    #[error("no training images")]
    NoTrainingImages,
}

impl Error {
    /// One line that says what the user can do, where something can be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Method(error) => error.hint(),
            Self::Import { hint, .. } | Self::Device { hint, .. } => Some(hint.clone()),
            Self::Checkpoint { .. } => {
                Some("a file that is damaged must be copied again; a training goes on with the same plan, data and seed only: \
                     give these, or train into a new folder"
                    .into())
            }
            Self::Diverged { .. } => Some("train again with a smaller learning rate (in the recipe)".into()),
            Self::NoTrainingImages => Some("check split.csv: some images must be marked train".into()),
            Self::Unsupported { .. } => None,
        }
    }
}
