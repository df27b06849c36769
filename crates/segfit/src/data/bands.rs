//! Any rows of a TIFF file of any size: one row of its strips or tiles is in memory at a time.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::guard::guarded;
use super::limits::{HOW_TO_RAISE, max_decoded_bytes, max_decoded_mib};
use super::raster::{Note, Raster};
use super::raw_strips::RawStrips;
use super::read::{decode_error, open_file};
use super::read_tiff::{Page, TiffFile};
use crate::error::Result;

type Reason<T> = std::result::Result<T, String>;

/// Largest width and height of a file that is read in bands, in pixels.
const MAX_BANDED_SIDE: usize = 1 << 20;

/// A TIFF file that is read in bands of rows.
pub(crate) struct Bands {
    path: PathBuf,
    file: TiffFile<BufReader<File>>,
    /// Rows and columns of a strip or tile.
    chunk: (usize, usize),
    raw: Option<RawStrips>,
    /// The last row of strips or tiles that was decoded, by its index.
    band: Option<(usize, Raster)>,
}

impl Bands {
    /// Opens a file for which [`check_bands`] is true.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) and [`Error::Decode`](crate::Error::Decode) of the header.
    pub fn open(path: &Path) -> Result<Self> {
        let refuse = decode_error(path, "TIFF");
        let mut file = TiffFile::open(open_file(path)?).map_err(refuse)?;
        let raw = RawStrips::of(&mut file).map_err(refuse)?;
        let chunk = file.chunk_size();
        Ok(Self { path: path.into(), file, chunk, raw, band: None })
    }

    /// What the header says.
    pub fn page(&self) -> &Page {
        &self.file.page
    }

    /// What the header says was left out.
    pub fn notes(&self) -> &[Note] {
        &self.file.page.notes
    }

    /// Pixels of these rows. Each strip or tile is decoded once when rows are asked for in ascending order.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) and [`Error::Decode`](crate::Error::Decode).
    pub fn rows(&mut self, rows: Range<usize>) -> Result<Raster> {
        let path = self.path.clone();
        guarded(&path, "TIFF", || {
            let decoded = if self.raw.is_some() { self.raw_rows(rows) } else { self.chunked_rows(rows) };
            decoded.map_err(decode_error(&path, "TIFF"))
        })
    }

    fn raw_rows(&mut self, rows: Range<usize>) -> Reason<Raster> {
        let (TiffFile { decoder, page }, Some(raw)) = (&mut self.file, &self.raw) else {
            return Err("its rows lie in strips or tiles".into());
        };
        check_band(page, rows.len())?;
        page.raster(raw.read(decoder, rows.clone())?, rows.len(), page.width)
    }

    fn chunked_rows(&mut self, rows: Range<usize>) -> Reason<Raster> {
        check_band(&self.file.page, rows.len())?;
        let mut all: Option<Raster> = None;
        let mut y = rows.start;
        while y < rows.end {
            let first = y / self.chunk.0 * self.chunk.0;
            let end = rows.end.min(first + self.chunk.0);
            let part = self.load(y / self.chunk.0)?.rows(y - first..end - first);
            match &mut all {
                Some(all) => all.append(&part),
                None => all = Some(part),
            }
            y = end;
        }
        all.ok_or_else(|| "no rows were asked for".into())
    }

    /// One row of strips or tiles.
    fn load(&mut self, index: usize) -> Reason<&Raster> {
        let kept = self.band.take().filter(|(at, _)| *at == index);
        let band = match kept {
            Some(band) => band,
            None => (index, self.decode(index)?),
        };
        Ok(&self.band.insert(band).1)
    }

    fn decode(&mut self, index: usize) -> Reason<Raster> {
        let across = self.file.page.width.div_ceil(self.chunk.1);
        let first = self.file.read_chunk(index * across)?;
        if across == 1 {
            return Ok(first);
        }
        let (channels, width, height) = (first.channels, self.file.page.width, first.height);
        let mut band = first.samples.zeros(height * width * channels);
        band.paste(0, width * channels, &first.samples, first.width * channels);
        for i in 1..across {
            let tile = self.file.read_chunk(index * across + i)?;
            band.paste(i * self.chunk.1 * channels, width * channels, &tile.samples, tile.width * channels);
        }
        Ok(Raster { width, samples: band, ..first })
    }
}

/// Whether a file can be read in bands: not when it is planar.
///
/// # Errors
/// When its sides, or one row of its strips or tiles alone, are beyond the limits.
pub(crate) fn check_bands<R: Read + Seek>(file: &mut TiffFile<R>) -> Reason<bool> {
    let (height, width) = (file.page.height, file.page.width);
    if file.page.planar {
        return Ok(false);
    }
    if height.max(width) > MAX_BANDED_SIDE {
        return Err(format!("it claims {width} x {height} pixels; the limit is {MAX_BANDED_SIDE} per side"));
    }
    let rows = if RawStrips::of(file)?.is_some() { 1 } else { file.chunk_size().0 };
    check_band(&file.page, rows)?;
    Ok(true)
}

/// Fails when this many rows are beyond the limit of what is decoded at a time.
fn check_band(page: &Page, rows: usize) -> Reason<()> {
    let bytes = rows.saturating_mul(page.width).saturating_mul(page.pixel_bytes());
    if bytes <= max_decoded_bytes() {
        return Ok(());
    }
    Err(format!(
        "it claims {} x {} pixels, of which {rows} rows must be decoded at a time: {} MiB; the limit is {}: save it as \
         a tiled TIFF, or {HOW_TO_RAISE}",
        page.width,
        page.height,
        bytes >> 20,
        max_decoded_mib()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::raster::Samples;
    use crate::data::tiff_writer::TiffWriter;

    #[test]
    fn rows_beyond_4_gib_of_a_file_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        // The file is sparse: all of its bytes before the pixels are a hole.
        let writer = TiffWriter { big_tiff: true, data_at: 5 << 30, rows: 4, ..TiffWriter::gray(10, 8) };
        for deflated in [false, true] {
            TiffWriter { deflated, ..writer }.write(&path, |y, x, _| (10 * y + x) as u64);
            let mut bands = Bands::open(&path).unwrap();
            let Samples::U8(values) = bands.rows(3..9).unwrap().samples else { unreachable!() };
            assert_eq!((values.len(), values[0], values[47]), (48, 30, 87));
            let Samples::U8(values) = bands.rows(1..2).unwrap().samples else { unreachable!() };
            assert_eq!(values, [10, 11, 12, 13, 14, 15, 16, 17], "going back is possible");
        }
    }

    #[test]
    fn what_must_be_decoded_at_a_time_is_limited() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tif");
        let claim = |deflated, side: usize| {
            // One strip that claims `side` x `side` pixels.
            let claimed = Some((side, side));
            TiffWriter { claimed, deflated, ..TiffWriter::gray(8, 8) }.write(&path, |_, _, _| 1);
            check_bands(&mut TiffFile::open(open_file(&path).unwrap()).unwrap())
        };
        assert_eq!((claim(true, 8), claim(true, 32_768), claim(false, 1 << 20)), (Ok(true), Ok(true), Ok(true)));
        let error = claim(true, 40_000).unwrap_err();
        assert!(error.contains("1525 MiB") && error.contains("1024 MiB") && error.contains("tiled TIFF"), "{error}");
        assert!(claim(false, 1 << 21).unwrap_err().contains("1048576 per side"));
        claim(false, 1 << 20).unwrap();
        let mut bands = Bands::open(&path).unwrap();
        assert!(bands.rows(0..1 << 12).unwrap_err().to_string().contains("4096 MiB"));
        assert!(bands.rows(0..1).unwrap_err().to_string().contains("a.tif"), "the file ends");
    }
}
