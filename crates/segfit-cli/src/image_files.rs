//! Image files that a user names.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff"];

/// The files named, and the image files of the folders named, sorted.
pub fn image_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
        for entry in entries {
            let file = entry?.path();
            let ending = file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
            if file.is_file() && ending.is_some_and(|e| ENDINGS.contains(&e.as_str())) {
                files.push(file);
            }
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("no images found in {}; expected files ending in {}", paths[0].display(), ENDINGS.join(", "));
    }
    Ok(files)
}
