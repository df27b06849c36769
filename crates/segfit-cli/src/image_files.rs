//! Image files that a user names.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use segfit::data::{Axis, IMAGE_ENDINGS, Image, ImageFile, has_image_ending, is_image_folder};

/// The files named, and the image files of the folders named, sorted. A folder of one DICOM series or an OME-Zarr, or one in a
/// folder that is named, is one volume.
pub fn image_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() || is_image_folder(path) {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
        for entry in entries {
            let file = entry?.path();
            if file.is_file() && has_image_ending(&file) || file.is_dir() && is_image_folder(&file) {
                files.push(file);
            }
        }
    }
    files.sort();
    if files.is_empty() {
        bail!(
            "no images found in {}; expected files ending in {} or nii.gz",
            paths[0].display(),
            IMAGE_ENDINGS.join(", ")
        );
    }
    Ok(files)
}

/// Pictures to calibrate on: of each file its only one, or the slice in its middle.
pub fn middle_images(files: &[PathBuf], axis: Option<Axis>) -> Result<Vec<Image>> {
    let middle = |path: &PathBuf| {
        let file = ImageFile::open(path, axis)?;
        file.image(file.count() / 2)
    };
    Ok(files.iter().map(middle).collect::<segfit::Result<_>>()?)
}

/// The name of an image file or OME-Zarr without its ending; of another folder, its name.
pub fn image_name(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let is_series = path.is_dir() && !name.to_ascii_lowercase().ends_with(".zarr");
    if is_series { name } else { segfit::data::stem(&name) }
}
