//! Stands for `dicom` where segfit is built without it: every DICOM file is refused.

use std::path::{Path, PathBuf};

use super::slices::Outline;
use super::volume::Volume;
use crate::error::{Error, Result};

/// Whether a file starts as DICOM files do.
pub(crate) fn is_dicom(start: &[u8]) -> bool {
    start.get(128..132) == Some(b"DICM")
}

pub(crate) fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    Err(not_built(folder))
}

pub(crate) fn files_of_series(_folder: &Path) -> usize {
    0
}

pub(crate) fn series_of(_file: &Path) -> Result<Option<String>> {
    Ok(None)
}

pub(crate) fn is_segmentation(_path: &Path) -> Result<bool> {
    Ok(false)
}

pub(crate) fn decode_like(path: &Path, _image: &Path) -> Result<Volume> {
    Err(not_built(path))
}

pub(crate) fn outline(path: &Path) -> Result<Outline> {
    Err(not_built(path))
}

pub(crate) fn decode(path: &Path) -> Result<Volume> {
    Err(not_built(path))
}

pub(crate) fn describe(_path: &Path) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![])
}

fn not_built(path: &Path) -> Error {
    Error::Content {
        path: path.into(),
        expected: "a format that this segfit reads".into(),
        got: "a DICOM file or a folder".into(),
        hint: "build segfit with its feature `dicom`, which is on by default".into(),
    }
}
