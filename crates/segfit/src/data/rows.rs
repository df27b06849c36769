//! Any rows of an image file: in bands from a large TIFF, otherwise from the decoded file.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::bands::Bands;
use super::header::Header;
use super::labels::RawMask;
use super::raster::{Note, Raster, Samples};
use super::read::{check_finite, decode, read_bytes};
use crate::error::Result;

/// Files that decode to fewer bytes are decoded whole; larger TIFF files are read in bands of rows.
pub const WHOLE_BYTES: usize = 64 << 20;

/// A file whose rows can be asked for.
pub(crate) struct Rows {
    path: PathBuf,
    source: Source,
}

enum Source {
    Whole(Raster),
    Bands(Box<Bands>),
}

impl Rows {
    /// A file, in bands when it is a TIFF that decodes to `whole_bytes` or more.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Content`](crate::Error::Content) and
    /// [`Error::Decode`](crate::Error::Decode).
    pub fn open(path: &Path, whole_bytes: usize) -> Result<Self> {
        let header = Header::read(path)?;
        let source = if header.has_bands && header.bytes >= whole_bytes {
            Source::Bands(Box::new(Bands::open(path)?))
        } else {
            Source::Whole(decode(path, &read_bytes(path)?)?)
        };
        Ok(Self { path: path.into(), source })
    }

    /// A mask's file, of which all parts can be read as masks: a JPEG is cut at half its range first.
    ///
    /// # Errors
    /// As [`Rows::open`] and [`read_raw_mask`](super::read_raw_mask).
    pub fn open_mask(path: &Path, whole_bytes: usize) -> Result<Self> {
        let rows = Self::open(path, whole_bytes)?;
        match rows.source {
            Source::Whole(raster) if raster.lossy => {
                let RawMask { height, width, labels, notes, .. } = RawMask::from_raster(path, raster)?;
                let samples = Samples::U8(labels.into_iter().map(|v| v as u8).collect());
                let raster = Raster { notes, ..Raster::plain(height, width, 1, samples) };
                Ok(Self { source: Source::Whole(raster), ..rows })
            }
            _ => Ok(rows),
        }
    }

    /// Rows and columns.
    pub fn size(&self) -> (usize, usize) {
        match &self.source {
            Source::Whole(raster) => (raster.height, raster.width),
            Source::Bands(bands) => (bands.page().height, bands.page().width),
        }
    }

    /// Channels of the image: without alpha, with indexed colours expanded.
    pub fn image_channels(&self) -> usize {
        match &self.source {
            Source::Whole(raster) => raster.image_channels(),
            Source::Bands(bands) => bands.page().image_channels(),
        }
    }

    /// Notes that are known without reading rows.
    pub fn notes(&self) -> &[Note] {
        match &self.source {
            Source::Whole(raster) => &raster.notes,
            Source::Bands(bands) => bands.notes(),
        }
    }

    /// Pixels of these rows.
    ///
    /// # Errors
    /// As [`Bands::rows`].
    pub fn rows(&mut self, rows: Range<usize>) -> Result<Raster> {
        match &mut self.source {
            Source::Whole(raster) => Ok(raster.rows(rows)),
            Source::Bands(bands) => bands.rows(rows),
        }
    }

    /// Pixels of these rows of an image, all finite.
    ///
    /// # Errors
    /// As [`Rows::rows`], and [`Error::Content`](crate::Error::Content) for NaN and infinity.
    pub fn image_rows(&mut self, rows: Range<usize>) -> Result<Raster> {
        let raster = self.rows(rows)?;
        check_finite(&self.path, &raster)?;
        Ok(raster)
    }
}
