//! An image file as the user names it: one picture, or a volume whose slices are read one by one.

use std::path::{Path, PathBuf};

use super::image::Image;
use super::raster::Note;
use super::read::check_finite;
use super::slices::{Outline, Slices};
use super::volume::{Axis, Slice};
use crate::error::Result;

/// An opened image file.
#[derive(Debug)]
pub struct ImageFile {
    path: PathBuf,
    axis: Axis,
    pub(super) outline: Outline,
    pub(super) slices: Slices,
}

impl ImageFile {
    /// Opens a file, or a folder that holds one DICOM series. Slices follow `axis`; without it the axis along which
    /// neighbours are farthest apart, or z.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Content`](crate::Error::Content) and
    /// [`Error::Decode`](crate::Error::Decode); [`Error::Option`](crate::Error::Option) for an axis that the file has not.
    pub fn open(path: &Path, axis: Option<Axis>) -> Result<Self> {
        let outline = Outline::read(path)?;
        let axis = outline.axis(path, axis)?;
        Ok(Self { path: path.into(), axis, outline, slices: Slices::open(path)? })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of slices; 1 for a picture.
    #[must_use]
    pub fn count(&self) -> usize {
        self.outline.slices(self.axis)
    }

    /// Whether the file is of a kind that holds slices: masks of it are written as one file like it by
    /// [`write_masks`](super::write_masks).
    #[must_use]
    pub fn is_stack(&self) -> bool {
        self.count() > 1 || self.slices.volume().is_some()
    }

    /// The axis that slices follow.
    #[must_use]
    pub fn axis(&self) -> Axis {
        self.axis
    }

    /// What was left out of the file.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        self.slices.notes()
    }

    /// One slice, with values as [`read_image`](super::read_image) gives them; volumes of numbers without a fixed range
    /// as 0..1.
    ///
    /// # Errors
    /// As [`read_image`](super::read_image).
    pub fn image(&self, index: usize) -> Result<Image> {
        let raster = self.slices.raster(Slice { axis: self.axis, index })?;
        check_finite(&self.path, &raster)?;
        Ok(raster.to_image())
    }

    /// The name of a slice of a file that is called `name`: `name#012`, or `name` itself for a picture.
    #[must_use]
    pub fn slice_name(&self, name: &str, index: usize) -> String {
        let n = self.count();
        let digits = n.saturating_sub(1).to_string().len().max(3);
        if n == 1 { name.into() } else { format!("{name}#{index:0digits$}") }
    }
}
