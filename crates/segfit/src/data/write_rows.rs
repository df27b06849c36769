//! Masks that are too large to be held: a TIFF file that is written as its rows come.

use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use tiff::encoder::{DirectoryEncoder, TiffEncoder, TiffKind};
use tiff::tags::Tag;
use tiff::{TiffError, TiffResult};

use super::image::Mask;
use super::label_map::LabelMap;
use super::labels::LabelCoding;
use super::write::labels_of;
use crate::error::Error;
use crate::files::write_atomically_to;

type Result<T, E = Error> = std::result::Result<T, E>;

/// Rows of a strip.
const STRIP_ROWS: usize = 64;
/// Files of this many bytes before compression are written as BigTIFF, whose offsets have 64 bits.
const BIG_BYTES: usize = 3 << 30;
/// Adobe's deflate.
const DEFLATE: u16 = 8;

/// Takes the rows of a mask that follow.
pub type Push<'a> = dyn FnMut(&Mask) -> Result<()> + 'a;

/// Writes a mask of `size` = (rows, columns) as `path` with the ending `tif`, and returns the file's path: labels as
/// [`write_mask`](super::write_mask) has them, in strips, deflated. `produce` gives bands of rows, from the first to the last.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written; [`Error::Option`] when the mask holds a class that the map does not know or a
/// label is above 65535; what `produce` returns. No file is left then.
///
/// # Panics
/// When `produce` gives other rows than `size`.
pub fn write_mask_rows<E: From<Error>>(
    path: &Path,
    size: (usize, usize),
    map: &LabelMap,
    produce: &mut dyn FnMut(&mut Push<'_>) -> Result<(), E>,
) -> Result<PathBuf, E> {
    let path = path.with_extension("tif");
    let pixel = Pixel::of(map)?;
    let is_big = size.0.saturating_mul(size.1).saturating_mul(pixel.bytes()) >= BIG_BYTES;
    write_atomically_to::<E>(&path, &mut |file| {
        let mut out = BufWriter::new(file);
        let failed = |e| cannot_write(&path, e);
        let rows = Rows { path: &path, size, map, pixel };
        if is_big {
            let mut encoder = TiffEncoder::new_big(&mut out).map_err(failed)?;
            rows.write(encoder.image_directory().map_err(failed)?, produce)?;
        } else {
            let mut encoder = TiffEncoder::new(&mut out).map_err(failed)?;
            rows.write(encoder.image_directory().map_err(failed)?, produce)?;
        }
        out.flush().map_err(Error::io(&path))?;
        Ok(())
    })?;
    Ok(path)
}

/// How a label is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pixel {
    Gray8,
    Gray16,
    Rgb,
}

impl Pixel {
    fn of(map: &LabelMap) -> Result<Self> {
        let largest = map.entries.iter().map(|e| e.value).max().unwrap_or(0);
        match (map.coding, largest) {
            (LabelCoding::Colour, _) => Ok(Self::Rgb),
            (_, 0..=255) => Ok(Self::Gray8),
            (_, 256..=65_535) => Ok(Self::Gray16),
            _ => Err(Error::Option {
                what: "mask to write".into(),
                expected: "labels up to 65535".into(),
                got: largest.to_string(),
            }),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Gray8 => 1,
            Self::Gray16 => 2,
            Self::Rgb => 3,
        }
    }

    fn put(self, label: u32, out: &mut Vec<u8>) {
        match self {
            Self::Gray8 => out.push(label as u8),
            Self::Gray16 => out.extend((label as u16).to_ne_bytes()),
            Self::Rgb => out.extend(&label.to_be_bytes()[1..]),
        }
    }
}

/// A file that is being written.
struct Rows<'a> {
    path: &'a Path,
    size: (usize, usize),
    map: &'a LabelMap,
    pixel: Pixel,
}

impl Rows<'_> {
    fn write<W: Write + Seek, K: TiffKind, E: From<Error>>(
        &self,
        mut directory: DirectoryEncoder<'_, W, K>,
        produce: &mut dyn FnMut(&mut Push<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |e| cannot_write(self.path, e);
        let (height, width) = self.size;
        let full = STRIP_ROWS * width * self.pixel.bytes();
        let mut waiting: Vec<u8> = Vec::new();
        let mut strips: Vec<(u64, u64)> = Vec::new();
        let mut rows = 0;
        produce(&mut |mask| {
            assert_eq!(mask.width, width, "rows are as wide as the mask");
            rows += mask.height;
            labels_of(mask, self.map)?.into_iter().for_each(|label| self.pixel.put(label, &mut waiting));
            while waiting.len() >= full {
                strips.push(strip(&mut directory, &waiting[..full]).map_err(failed)?);
                waiting.drain(..full);
            }
            Ok(())
        })?;
        assert_eq!(rows, height, "all rows are given");
        if !waiting.is_empty() {
            strips.push(strip(&mut directory, &waiting).map_err(failed)?);
        }
        self.tags(directory, &strips).map_err(failed)?;
        Ok(())
    }

    fn tags<W: Write + Seek, K: TiffKind>(
        &self,
        mut directory: DirectoryEncoder<'_, W, K>,
        strips: &[(u64, u64)],
    ) -> TiffResult<()> {
        let (samples, bits) = match self.pixel {
            Pixel::Gray8 => (1, 8),
            Pixel::Gray16 => (1, 16),
            Pixel::Rgb => (3, 8_u16),
        };
        let offsets = |of: fn(&(u64, u64)) -> u64| {
            strips.iter().map(|s| K::convert_offset(of(s))).collect::<TiffResult<Vec<K::OffsetType>>>()
        };
        // 1: black is zero, 2: RGB.
        let photometric: u16 = if self.pixel == Pixel::Rgb { 2 } else { 1 };
        directory.write_tag(Tag::ImageWidth, self.size.1 as u32)?;
        directory.write_tag(Tag::ImageLength, self.size.0 as u32)?;
        directory.write_tag(Tag::BitsPerSample, &vec![bits; samples][..])?;
        directory.write_tag(Tag::Compression, DEFLATE)?;
        directory.write_tag(Tag::PhotometricInterpretation, photometric)?;
        directory.write_tag(Tag::SamplesPerPixel, samples as u16)?;
        directory.write_tag(Tag::RowsPerStrip, STRIP_ROWS as u32)?;
        directory.write_tag(Tag::StripOffsets, K::convert_slice(&offsets(|s| s.0)?))?;
        directory.write_tag(Tag::StripByteCounts, K::convert_slice(&offsets(|s| s.1)?))?;
        directory.finish()
    }
}

/// Writes a strip and returns where it lies, and its bytes. The encoder's own strips are not compressed (tiff 0.11.3).
fn strip<W: Write + Seek, K: TiffKind>(
    directory: &mut DirectoryEncoder<'_, W, K>,
    bytes: &[u8],
) -> TiffResult<(u64, u64)> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes)?;
    let packed = packed.finish()?;
    Ok((directory.write_data(&packed[..])?, packed.len() as u64))
}

fn cannot_write(path: &Path, error: TiffError) -> Error {
    let source = match error {
        TiffError::IoError(error) => error,
        other => std::io::Error::other(other),
    };
    Error::Io { path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{LabelEntry, read_raw_mask};

    fn map(coding: LabelCoding, values: &[u32]) -> LabelMap {
        let entries =
            values.iter().enumerate().map(|(class, &value)| LabelEntry { value, class: class as u8, name: None });
        LabelMap::declared(coding, entries.collect())
    }

    #[test]
    fn rows_in_any_bands_make_the_file_and_labels_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (height, width) = (150, 9);
        let class = |i: usize| (i / 7 % 3) as u8;
        let whole: Vec<u8> = (0..height * width).map(class).collect();
        for (coding, values) in [
            (LabelCoding::Value, [0, 100, 255]),
            (LabelCoding::Value, [0, 7, 40_000]),
            (LabelCoding::Colour, [0, 0x00ff_0000, 0x0000_1234]),
        ] {
            let map = map(coding, &values);
            let path = write_mask_rows::<Error>(&dir.path().join("a.png"), (height, width), &map, &mut |push| {
                for (start, rows) in [(0, 100), (100, 1), (101, 49)] {
                    let data = whole[start * width..(start + rows) * width].to_vec();
                    push(&Mask { height: rows, width, data })?;
                }
                Ok(())
            })
            .unwrap();
            assert!(path.ends_with("a.tif"));
            let labels = read_raw_mask(&path).unwrap().labels;
            assert!(std::fs::metadata(&path).unwrap().len() < 800, "deflated");
            assert!(labels.iter().zip(&whole).all(|(&l, &c)| l == values[usize::from(c)]), "{values:?}");
        }
    }

    #[test]
    fn a_failure_on_the_way_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let map = map(LabelCoding::Value, &[0, 1]);
        let error = write_mask_rows::<Error>(&dir.path().join("a"), (9, 9), &map, &mut |push| {
            push(&Mask { height: 1, width: 9, data: vec![5; 9] })
        });
        assert!(error.unwrap_err().to_string().contains("class 5"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
