//! Rows of uncompressed TIFF strips, read where they lie: many programs write an image as one single strip, which must
//! not be read whole.

use std::io::{Read, Seek};
use std::ops::Range;

use tiff::decoder::{ChunkType, Decoder};
use tiff::tags::{ByteOrder, Tag};

use super::numbers::words;
use super::raster::Samples;
use super::read_tiff::TiffFile;

type Reason<T> = std::result::Result<T, String>;

const UNSIGNED: u16 = 1;
const SIGNED: u16 = 2;
const FLOAT: u16 = 3;

/// Where the rows of a page lie in its file.
#[derive(Debug)]
pub(crate) struct RawStrips {
    offsets: Vec<u64>,
    rows_per_strip: usize,
    row_bytes: usize,
    format: u16,
    bits: u8,
    big_endian: bool,
}

impl RawStrips {
    /// `None` when the page is compressed, tiled, planar, or has samples that do not fill whole numbers of bytes.
    pub fn of<R: Read + Seek>(file: &mut TiffFile<R>) -> Reason<Option<Self>> {
        let (rows_per_strip, _) = file.chunk_size();
        let (page, decoder) = (&file.page, &mut file.decoder);
        let plain = tag(decoder, Tag::Compression, 1)? == 1
            && tag(decoder, Tag::Predictor, 1)? == 1
            && usize::from(tag(decoder, Tag::SamplesPerPixel, 1)?) == page.channels;
        let format = tag(decoder, Tag::SampleFormat, UNSIGNED)?;
        let readable =
            matches!((format, page.bits), (UNSIGNED, 8 | 16 | 32) | (SIGNED, 8 | 16 | 32) | (FLOAT, 32 | 64));
        if page.planar || !plain || !readable || decoder.get_chunk_type() != ChunkType::Strip {
            return Ok(None);
        }
        let offsets = decoder.get_tag_u64_vec(Tag::StripOffsets).map_err(|e| e.to_string())?;
        let big_endian = decoder.byte_order() == ByteOrder::BigEndian;
        let row_bytes = page.width * page.pixel_bytes();
        Ok(Some(Self { offsets, rows_per_strip, row_bytes, format, bits: page.bits, big_endian }))
    }

    /// The samples of these rows.
    pub fn read<R: Read + Seek>(&self, decoder: &mut Decoder<R>, rows: Range<usize>) -> Reason<Samples> {
        let mut bytes = vec![0; rows.len() * self.row_bytes];
        let mut y = rows.start;
        while y < rows.end {
            let (strip, within) = (y / self.rows_per_strip, y % self.rows_per_strip);
            let n = (self.rows_per_strip - within).min(rows.end - y);
            let from = self.offsets.get(strip).ok_or("it has too few strips")? + (within * self.row_bytes) as u64;
            decoder.goto_offset_u64(from).map_err(|e| e.to_string())?;
            let to = (y - rows.start) * self.row_bytes;
            let part = &mut bytes[to..to + n * self.row_bytes];
            decoder.inner().read_exact(part).map_err(|e| e.to_string())?;
            y += n;
        }
        Ok(self.samples(bytes))
    }

    fn samples(&self, bytes: Vec<u8>) -> Samples {
        let big = self.big_endian;
        match (self.format, self.bits) {
            (UNSIGNED, 8) => Samples::U8(bytes),
            (UNSIGNED, 16) => Samples::U16(words(&bytes, big, u16::from_le_bytes)),
            (UNSIGNED, 32) => Samples::U32(words(&bytes, big, u32::from_le_bytes)),
            (SIGNED, 8) => Samples::F32(words(&bytes, big, |b| f32::from(i8::from_le_bytes(b)))),
            (SIGNED, 16) => Samples::F32(words(&bytes, big, |b| f32::from(i16::from_le_bytes(b)))),
            (SIGNED, 32) => Samples::F32(words(&bytes, big, |b| i32::from_le_bytes(b) as f32)),
            (FLOAT, 32) => Samples::F32(words(&bytes, big, f32::from_le_bytes)),
            (FLOAT, 64) => Samples::F32(words(&bytes, big, |b| f64::from_le_bytes(b) as f32)),
            other => unreachable!("samples {other:?} were not promised"),
        }
    }
}

/// The first value of a tag, or what its absence means.
fn tag<R: Read + Seek>(decoder: &mut Decoder<R>, tag: Tag, default: u16) -> Reason<u16> {
    let values: Option<Vec<u16>> = decoder.find_tag_unsigned_vec(tag).map_err(|e| e.to_string())?;
    Ok(values.and_then(|v| v.first().copied()).unwrap_or(default))
}
