//! The samples of one pair as the network sees them, one after the other: of a large TIFF without holding it in memory.

use super::banded::BandedPair;
use super::dataset::{Classes, Dataset, apply, assemble};
use super::header::Header;
use super::image::{Image, Sample};
use super::labels::RawMask;
use super::raster::Raster;
use super::read::open_file;
use super::resize::prepare;
use super::resize_bands::nearest_rows;
use super::rows::WHOLE_BYTES;
use super::tiles::Grid;
use crate::error::Result;
use crate::recipe::{InputMode, InputSpec};

impl Dataset {
    /// Gives the samples of one pair to `each`, as the network sees them: resized to `size` x `size` and named like the
    /// pair, or cut into [`tiles`](super::tiles), in their order and with their names.
    ///
    /// Each file is decoded once (but for the rows that the last row of tiles shares with the one before). When a file of
    /// the pair decodes to [`WHOLE_BYTES`] or more, no whole image is made: a TIFF file (strips or tiles; not planar) is
    /// read in bands of rows, so that memory holds one row of its strips or tiles and the rows of one row of the network's
    /// tiles; other files are decoded whole, as they are, and converted in bands. Tiles are then the same, and resized
    /// images equal within 1e-6 of their range.
    ///
    /// # Errors
    /// As [`Dataset::load`], and the first error of `each`.
    ///
    /// # Panics
    /// When the index is not below the number of pairs, or the size is 0.
    pub fn for_each_prepared(
        &self,
        index: usize,
        input: &InputSpec,
        each: &mut dyn FnMut(Sample) -> Result<()>,
    ) -> Result<()> {
        self.for_each_with_original(index, input, &mut |_| Ok(()), each)
    }

    /// As [`Dataset::for_each_prepared`]; before the samples, `original` gets the image as it was decoded. It does not where
    /// no whole image is made.
    ///
    /// # Errors
    /// As there, and the error of `original`.
    ///
    /// # Panics
    /// As there.
    pub fn for_each_with_original(
        &self,
        index: usize,
        input: &InputSpec,
        original: &mut dyn FnMut(&Image) -> Result<()>,
        each: &mut dyn FnMut(Sample) -> Result<()>,
    ) -> Result<()> {
        self.for_each_within(index, input, WHOLE_BYTES, original, each)
    }

    /// Rows and columns of a pair's image as its file's header tells.
    pub(crate) fn native_size(&self, index: usize) -> Result<(usize, usize)> {
        let path = &self.pairs[index].image;
        let header = Header::of(path, &mut open_file(path)?)?;
        Ok((header.height, header.width))
    }

    /// As [`Dataset::for_each_with_original`], with another limit.
    pub(super) fn for_each_within(
        &self,
        index: usize,
        input: &InputSpec,
        whole_bytes: usize,
        original: &mut dyn FnMut(&Image) -> Result<()>,
        each: &mut dyn FnMut(Sample) -> Result<()>,
    ) -> Result<()> {
        assert!(input.size > 0, "a network sees at least one pixel");
        if self.pairs[index].slice.is_some() || self.largest_file(index) < whole_bytes {
            let sample = self.sample(index)?;
            original(&sample.image)?;
            return each_of_whole(sample, input, each);
        }
        let mut rows = BandedPair::open(self, &self.pairs[index], whole_bytes)?;
        match input.mode {
            InputMode::Resize => each(rows.resized(input.size)?),
            InputMode::Patch => rows.each_tile(input.size, each),
        }
    }
}

/// The samples of a pair that is in memory, as the network sees them.
pub(crate) fn each_of_whole(
    sample: Sample,
    input: &InputSpec,
    each: &mut dyn FnMut(Sample) -> Result<()>,
) -> Result<()> {
    let grid = Grid::new((sample.image.height, sample.image.width), input.size);
    match input.mode {
        InputMode::Resize => prepare(&[sample], input).into_iter().try_for_each(each),
        InputMode::Patch if grid.is_single() => each(sample),
        InputMode::Patch => grid.places().try_for_each(|at| each(grid.tile(&sample, at))),
    }
}

impl BandedPair<'_> {
    /// The sample at `size` x `size` pixels, as [`prepare`](super::prepare) makes it, the image within 1e-6 of its range.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn resized(&mut self, size: usize) -> Result<Sample> {
        let image = self.image.resized(size, size)?;
        let mask = match &mut self.mask {
            Some(rows) => Some(nearest_rows(rows, (size, size))?),
            None => None,
        };
        let classes = self.classes(mask)?;
        Ok(assemble(self.pair.name.clone(), std::iter::once(image), classes))
    }

    fn each_tile(&mut self, size: usize, each: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
        let grid = Grid::new(self.image.size(), size);
        for &y in &grid.rows {
            let rows = y..y + grid.height;
            let mut images = Vec::new();
            for image in &mut self.image.files {
                images.push(image.image_rows(rows.clone())?);
            }
            let mask = match &mut self.mask {
                Some(mask) => Some(mask.rows(rows)?),
                None => None,
            };
            for &x in &grid.columns {
                let columns = x..x + grid.width;
                let classes = self.classes(mask.as_ref().map(|m| m.columns(columns.clone())))?;
                let parts = images.iter().map(|image| image.columns(columns.clone()).to_image());
                each(assemble(grid.name(&self.pair.name, (y, x)), parts, classes))?;
            }
        }
        Ok(())
    }

    /// The classes of a part of the mask.
    fn classes(&self, part: Option<Raster>) -> Result<Option<Classes>> {
        let raw = match (part, &self.pair.mask) {
            (Some(part), Some(path)) => Some(RawMask::from_raster(path, part)?),
            _ => None,
        };
        apply(self.pair, raw, &self.dataset.label_map)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::data::tiff_writer::TiffWriter;
    use crate::data::{LabelKind, Options};
    use crate::random::Stream;

    /// A folder of one image and one mask.
    fn folder(image: impl FnOnce(&Path), mask: impl FnOnce(&Path)) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for part in ["images", "masks"] {
            std::fs::create_dir(dir.path().join(part)).unwrap();
        }
        image(&dir.path().join("images/a.tif"));
        mask(&dir.path().join("masks/a.tif"));
        dir
    }

    fn lazy(dir: &TempDir) -> Options {
        Options { is_lazy: true, cache_bytes: 0, ..Options::new(dir.path()) }
    }

    fn prepared(set: &Dataset, mode: InputMode, size: usize, whole_bytes: usize) -> Vec<Sample> {
        let mut all = Vec::new();
        let mut keep = |s| {
            all.push(s);
            Ok(())
        };
        set.for_each_within(0, &InputSpec { mode, size }, whole_bytes, &mut |_| Ok(()), &mut keep).unwrap();
        all
    }

    /// Samples from bands against those of the whole.
    fn compare(set: &Dataset, size: usize) {
        for (mode, tolerance) in [(InputMode::Patch, 0.0), (InputMode::Resize, 1e-6)] {
            let (bands, whole) = (prepared(set, mode, size, 0), prepared(set, mode, size, usize::MAX));
            assert_eq!(bands.len(), whole.len());
            for (a, b) in bands.iter().zip(&whole) {
                assert_eq!((&a.name, &a.mask, &a.instances), (&b.name, &b.mask, &b.instances), "{mode:?} {size}");
                assert_eq!((a.image.channels, a.image.height), (b.image.channels, b.image.height));
                let scale = b.image.data.iter().fold(1f32, |m, v| m.max(v.abs()));
                for (x, y) in a.image.data.iter().zip(&b.image.data) {
                    assert!((x - y).abs() <= tolerance * scale, "{}: {mode:?} {size}: {x} {y}", a.name);
                }
            }
        }
    }

    /// Sample formats: channels, bits, format (1 unsigned, 2 signed, 3 float), photometric (0 white-is-zero).
    const KINDS: [(usize, u16, u16, u16); 9] = [
        (1, 8, 1, 1),
        (1, 8, 1, 0),
        (1, 8, 1, 3),
        (1, 16, 1, 1),
        (1, 32, 3, 1),
        (1, 16, 2, 1),
        (3, 8, 1, 2),
        (3, 16, 1, 2),
        (4, 8, 1, 2),
    ];

    /// Rows, columns, rows of a strip or tile, columns of a tile (0: strips), deflated, big-endian, BigTIFF.
    const LAYOUTS: [(usize, usize, usize, usize, bool, bool, bool); 6] = [
        (61, 43, 7, 0, false, false, false),
        (61, 43, 61, 0, false, true, true),
        (43, 90, 9, 0, true, true, false),
        (70, 50, 16, 32, false, false, true),
        (50, 70, 32, 16, true, false, false),
        (33, 20, 64, 64, true, true, false),
    ];

    #[test]
    fn samples_from_bands_are_those_of_the_whole_for_every_layout() {
        for (height, width, rows, columns, deflated, big_endian, big_tiff) in LAYOUTS {
            for (channels, bits, format, photometric) in KINDS {
                let layout =
                    TiffWriter { rows, columns, deflated, big_endian, big_tiff, ..TiffWriter::gray(height, width) };
                let image = TiffWriter { channels, bits, format, photometric, ..layout };
                let value = |y: usize, x: usize, c: usize| {
                    let mut random = Stream::new(&[y as u64, x as u64, c as u64]);
                    if format == 3 { u64::from(random.range(-3.0, 9.0).to_bits()) } else { random.bits() }
                };
                let mask = |y: usize, x: usize, _| (y / 9 + x / 7) as u64 % 3 * 100;
                let dir = folder(|path| image.write(path, value), |path| layout.write(path, mask));
                let set = Dataset::open_within(&lazy(&dir), 0).unwrap();
                [8, 20, 64].iter().for_each(|&size| compare(&set, size));
            }
        }
    }

    #[test]
    fn a_large_mask_in_colours_or_instances_beside_a_png_image() {
        let png = |path: &Path| {
            let image = image::RgbImage::from_fn(40, 90, |x, y| image::Rgb([x as u8, y as u8, 7]));
            image.save_with_format(path, image::ImageFormat::Png).unwrap();
        };
        // The first rows are gray, the others coloured: the parts are of different coding.
        let colours = TiffWriter { channels: 3, photometric: 2, rows: 6, ..TiffWriter::gray(90, 40) };
        let dir = folder(png, |path| colours.write(path, |y, x, c| u64::from(y > 30 && x > 20 && c == 1) * 200));
        let (bands, full) =
            (Dataset::open_within(&lazy(&dir), 0).unwrap(), Dataset::open(&Options::new(dir.path())).unwrap());
        assert_eq!((&bands.label_map, &bands.fingerprint), (&full.label_map, &full.fingerprint));
        [16, 100].iter().for_each(|&size| compare(&bands, size));
        // 16-bit instances.
        let objects = TiffWriter { bits: 16, rows: 16, columns: 16, deflated: true, ..TiffWriter::gray(90, 40) };
        let label = |y: usize, x: usize, _| if y < 9 { 0 } else { 300 + (y / 10 * 4 + x / 10) as u64 };
        let dir = folder(png, |path| objects.write(path, label));
        let set = Dataset::open_within(&Options { instances: true, ..lazy(&dir) }, 0).unwrap();
        assert_eq!(set.label_map.kind, LabelKind::Instances);
        compare(&set, 24);
    }

    #[test]
    fn a_tall_image_of_the_usual_encoder_is_resized_and_cut_alike() {
        use tiff::encoder::{Compression, TiffEncoder, colortype::Gray8};
        let write = |path: &Path, compression, value: fn(usize) -> u8| {
            let data: Vec<u8> = (0..6000 * 4000).map(value).collect();
            let mut encoder =
                TiffEncoder::new(std::fs::File::create(path).unwrap()).unwrap().with_compression(compression);
            let mut page = encoder.new_image::<Gray8>(4000, 6000).unwrap();
            page.rows_per_strip(13).unwrap();
            page.write_data(&data).unwrap();
        };
        let dir = folder(
            |path| write(path, Compression::Packbits, |i| (i % 4000 / 16 + i / 4000 * 3) as u8),
            |path| write(path, Compression::Uncompressed, |i| u8::from(i / 4000 % 100 > i % 4000 % 70) * 255),
        );
        compare(&Dataset::open_within(&lazy(&dir), 1 << 20).unwrap(), 500);
    }

    #[test]
    fn values_that_are_not_finite_are_refused_when_they_are_read() {
        let image = TiffWriter { bits: 32, format: 3, rows: 4, ..TiffWriter::gray(40, 30) };
        let value = |y, _, _| u64::from(if y == 33 { f32::NAN } else { 1.0 }.to_bits());
        let dir = folder(
            |path| image.write(path, value),
            |path| TiffWriter::gray(40, 30).write(path, |_, x, _| u64::from(x > 3)),
        );
        let set = Dataset::open(&lazy(&dir)).unwrap();
        for limit in [0, usize::MAX] {
            let input = InputSpec { mode: InputMode::Resize, size: 8 };
            let error = set.for_each_within(0, &input, limit, &mut |_| Ok(()), &mut |_| Ok(())).unwrap_err();
            assert!(error.to_string().contains("NaN") && error.to_string().contains("a.tif"), "{error}");
        }
        assert!(Dataset::open(&Options::new(dir.path())).unwrap_err().to_string().contains("NaN"));
    }
}
