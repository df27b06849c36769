//! Exports of several files, as bytes in memory first.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::write_atomically;

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFile {
    /// Its place below the export's folder, parts separated by `/`.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl ExportFile {
    /// A file of these bytes.
    #[must_use]
    pub fn new(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: bytes.into() }
    }
}

/// Writes the files below `folder`, which is made if need be. Every file is complete or absent; other files stay.
///
/// # Errors
/// [`Error::Io`] when a folder or file cannot be written.
pub fn write_files(folder: &Path, files: &[ExportFile]) -> Result<()> {
    for file in files {
        let path = folder.join(&file.path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
        write_atomically(&path, &file.bytes)?;
    }
    Ok(())
}
