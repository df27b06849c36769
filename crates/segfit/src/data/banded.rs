//! Images that are too large to be held: any rows of them are read when they are asked for.

use std::ops::Range;
use std::path::Path;

use super::dataset::{Dataset, Pair, apply};
use super::header::Header;
use super::image::{Image, Mask};
use super::labels::RawMask;
use super::raster::Note;
use super::resize_bands::resize_rows;
use super::rows::{Rows, WHOLE_BYTES};
use super::scan::{check_mask_size, check_sides};
use super::slices::{Kind, Outline};
use crate::error::Result;

/// An image of one or more files, of which bands of rows are read.
pub struct BandedImage {
    pub(super) files: Vec<Rows>,
    size: (usize, usize),
}

impl BandedImage {
    /// The image in a file, where it is large: a TIFF of one page, not planar, that decodes to [`WHOLE_BYTES`] or more.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Content`](crate::Error::Content) and [`Error::Decode`](crate::Error::Decode) of
    /// the header.
    pub fn open_large(path: &Path) -> Result<Option<Self>> {
        Self::open_within(path, WHOLE_BYTES)
    }

    /// The image in a TIFF of one page, not planar, whatever its size; `None` for any other file.
    ///
    /// # Errors
    /// As [`BandedImage::open_large`].
    pub fn open(path: &Path) -> Result<Option<Self>> {
        Self::open_within(path, 0)
    }

    fn open_within(path: &Path, whole_bytes: usize) -> Result<Option<Self>> {
        if Kind::of(path)? != Kind::Tiff {
            return Ok(None);
        }
        let outline = Outline::read(path)?;
        if outline.shape[0] > 1 || outline.is_merged {
            return Ok(None);
        }
        let header = Header::read(path)?;
        if !header.has_bands || header.bytes < whole_bytes {
            return Ok(None);
        }
        Self::of_files([path].into_iter(), whole_bytes).map(Some)
    }

    /// The image whose channels lie in these files, of one size.
    pub(super) fn of_files<'a>(paths: impl Iterator<Item = &'a Path>, whole_bytes: usize) -> Result<Self> {
        let mut files: Vec<Rows> = Vec::new();
        for path in paths {
            let rows = Rows::open(path, whole_bytes)?;
            check_sides(path, rows.size(), files.first().map(Rows::size))?;
            files.push(rows);
        }
        let size = files[0].size();
        Ok(Self { files, size })
    }

    /// Rows and columns.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Channels of the image.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.files.iter().map(Rows::image_channels).sum()
    }

    /// What was left out of the files.
    pub fn notes(&self) -> impl Iterator<Item = &Note> {
        self.files.iter().flat_map(Rows::notes)
    }

    /// These rows, with values as [`read_image`](super::read_image) gives them. Rows asked for in ascending order are decoded
    /// once.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) and [`Error::Decode`](crate::Error::Decode) of a damaged file;
    /// [`Error::Content`](crate::Error::Content) for NaN and infinity.
    pub fn rows(&mut self, rows: Range<usize>) -> Result<Image> {
        let mut parts = Vec::new();
        for file in &mut self.files {
            parts.push(file.image_rows(rows.clone())?.to_image());
        }
        Ok(joined(parts))
    }

    /// The image at another size, as [`resize_image`](super::resize_image) makes it, within 1e-6 of its range.
    ///
    /// # Errors
    /// As [`BandedImage::rows`].
    pub fn resized(&mut self, height: usize, width: usize) -> Result<Image> {
        let mut parts = Vec::new();
        for file in &mut self.files {
            parts.push(resize_rows(file, (height, width))?);
        }
        Ok(joined(parts))
    }
}

/// Channels one after the other.
fn joined(parts: Vec<Image>) -> Image {
    let (height, width) = (parts[0].height, parts[0].width);
    let channels = parts.iter().map(|p| p.channels).sum();
    Image { channels, height, width, data: parts.into_iter().flat_map(|p| p.data).collect() }
}

/// A large image of a data set with its mask.
pub struct BandedPair<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) pair: &'a Pair,
    /// The image.
    pub image: BandedImage,
    pub(super) mask: Option<Rows>,
}

impl<'a> BandedPair<'a> {
    pub(super) fn open(dataset: &'a Dataset, pair: &'a Pair, whole_bytes: usize) -> Result<Self> {
        let image = BandedImage::of_files(pair.image_files(), whole_bytes)?;
        let mask = match &pair.mask {
            Some(path) => {
                let rows = Rows::open_mask(path, whole_bytes)?;
                check_mask_size(path, rows.size(), image.size)?;
                Some(rows)
            }
            None => None,
        };
        dataset.check_channels(pair, image.channels())?;
        Ok(Self { dataset, pair, image, mask })
    }

    /// The image, and its true mask.
    #[must_use]
    pub fn apart(self) -> (BandedImage, BandedTruth<'a>) {
        let width = self.image.size.1;
        (self.image, BandedTruth { dataset: self.dataset, pair: self.pair, mask: self.mask, width })
    }
}

/// The true mask of a large image, of which bands of rows are read.
pub struct BandedTruth<'a> {
    dataset: &'a Dataset,
    pair: &'a Pair,
    mask: Option<Rows>,
    width: usize,
}

impl BandedTruth<'_> {
    /// The classes of these rows; background where there is no mask.
    ///
    /// # Errors
    /// As [`BandedImage::rows`], and [`Error::Content`](crate::Error::Content) for labels that were not there before.
    pub fn rows(&mut self, rows: Range<usize>) -> Result<Mask> {
        let background = Mask::background(rows.len(), self.width);
        let (Some(mask), Some(path)) = (&mut self.mask, &self.pair.mask) else { return Ok(background) };
        let raw = RawMask::from_raster(path, mask.rows(rows)?)?;
        let classes = apply(self.pair, Some(raw), &self.dataset.label_map)?;
        Ok(classes.map_or(background, |(mask, _)| mask))
    }
}

impl Dataset {
    /// A pair to be read in bands of rows, where one of its files decodes to [`WHOLE_BYTES`] or more.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    ///
    /// # Panics
    /// When the index is not below the number of pairs.
    pub fn in_bands(&self, index: usize) -> Result<Option<BandedPair<'_>>> {
        let pair = &self.pairs[index];
        if pair.slice.is_some() || self.largest_file(index) < WHOLE_BYTES {
            return Ok(None);
        }
        BandedPair::open(self, pair, WHOLE_BYTES).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tiff_writer::TiffWriter;
    use crate::data::{Options, read_image};

    #[test]
    fn rows_of_an_image_and_its_mask_are_those_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        for part in ["images", "masks"] {
            std::fs::create_dir(dir.path().join(part)).unwrap();
        }
        let (image, mask) = (dir.path().join("images/a.tif"), dir.path().join("masks/a.tif"));
        let layout = TiffWriter { rows: 16, columns: 16, deflated: true, ..TiffWriter::gray(50, 40) };
        TiffWriter { channels: 3, photometric: 2, ..layout }.write(&image, |y, x, c| (3 * y + 5 * x + c) as u64 % 256);
        layout.write(&mask, |y, x, _| u64::from(y > 20 && x > 9) * 255);
        let whole = read_image(&image).unwrap();
        let mut banded = BandedImage::open(&image).unwrap().unwrap();
        assert_eq!((banded.size(), banded.channels()), ((50, 40), 3));
        let part = banded.rows(17..23).unwrap();
        for c in 0..3 {
            assert_eq!(part.plane(c), &whole.plane(c)[17 * 40..23 * 40]);
        }
        assert!(BandedImage::open_large(&image).unwrap().is_none(), "it is small");
        let set = Dataset::open(&Options::new(dir.path())).unwrap();
        assert!(set.in_bands(0).unwrap().is_none());
        let (mut image, mut mask) = BandedPair::open(&set, &set.pairs[0], 0).unwrap().apart();
        let truth = &set.load(&[0]).unwrap()[0].mask;
        assert_eq!(mask.rows(19..30).unwrap().data, truth.data[19 * 40..30 * 40]);
        assert_eq!(image.rows(0..5).unwrap().height, 5);
    }
}
