//! The one error type of the crate: what was looked at, what was expected, what was found.

use std::path::PathBuf;

/// Result with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong with a user's input or files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A path that was named does not exist or is of the wrong kind.
    #[error("{path}: expected {expected}, found {got}", path = path.display())]
    Path {
        /// File or folder.
        path: PathBuf,
        /// What should have been there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A file could not be decoded.
    #[error("{path}: cannot be read as {format}: {reason}", path = path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The format that was tried.
        format: String,
        /// The decoder's reason.
        reason: String,
    },
    /// A file's content contradicts what the work needs.
    #[error("{path}: expected {expected}, found {got}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was needed.
        expected: String,
        /// What the file holds.
        got: String,
        /// What to do about it.
        hint: String,
    },
    /// The data set as a whole cannot be used.
    #[error("data set {path}: {reason}", path = path.display())]
    Dataset {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// A JSON file is malformed, or of another format version.
    #[error("{path}: expected {expected}: {reason}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The format, for example `segfit-plan/1`.
        expected: String,
        /// The parser's reason, with line and column where known.
        reason: String,
    },
    /// An option's value is out of range.
    #[error("{what}: expected {expected}, got {got}")]
    Option {
        /// The option as the user knows it.
        what: String,
        /// The accepted values.
        expected: String,
        /// The value given.
        got: String,
    },
    /// A network description is inconsistent.
    #[error("network layer {layer}: {reason}")]
    Network {
        /// The layer's name.
        layer: String,
        /// What does not fit.
        reason: String,
    },
    /// No network meets all the budgets.
    #[error("no network meets the budgets: {reason}")]
    Infeasible {
        /// The tightest budget and how far it was missed.
        reason: String,
        /// The nearest network that can be had.
        nearest: String,
    },
    /// A network's time cannot be predicted from a latency table.
    #[error("{reason}")]
    Latency {
        /// What the table lacks.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// A fit or prediction is not possible from the given records.
    #[error("calibration: {reason}")]
    Calibration {
        /// What is missing or contradictory.
        reason: String,
    },
}

impl Error {
    /// One line that says what the user can do, where something can be said.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Content { hint, .. } | Self::Dataset { hint, .. } | Self::Latency { hint, .. } => Some(hint.clone()),
            Self::Infeasible { nearest, .. } => Some(nearest.clone()),
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    Some("check the permissions of the file and of its folder".into())
                }
                std::io::ErrorKind::ReadOnlyFilesystem => {
                    Some("this disk is for reading only: write to another one".into())
                }
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    Some("free some space or write to another disk; nothing was left half-written".into())
                }
                std::io::ErrorKind::NotFound => Some("check the spelling of the path".into()),
                std::io::ErrorKind::NotADirectory => Some("a part of the path is a file and no folder".into()),
                _ => Some("this is the operating system's reason: check the path and what lies there".into()),
            },
            Self::Path { .. } => Some("check the spelling of the path".into()),
            Self::Decode { format, .. } if format == "ONNX" => {
                Some("the file may be cut short or of another kind: copy it again, or export the network again".into())
            }
            Self::Decode { .. } => Some(
                "the file may be cut short, damaged or of a kind that is not read: open it in a viewer, save it again, or \
                 remove it"
                    .into(),
            ),
            Self::Json { .. } => {
                Some("the file was edited or was written by another version: write it again with segfit".into())
            }
            _ => None,
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
