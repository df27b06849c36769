//! TIFF to pixels: any number of channels, chunky or planar, 1 to 32 bits, floating point, indexed colours.

use std::borrow::Cow;
use std::io::Cursor;

use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{SampleFormat, Tag};

use super::raster::{Note, Raster, Samples, unpack_bits};
use super::read::{MAX_DECODED_BYTES, check_size};

type Reason = std::result::Result<Raster, String>;

const PHOTOMETRIC: u16 = 262;
const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const INDEXED: u16 = 3;

/// Pixels of the first page.
pub(crate) fn decode_tiff(bytes: &[u8]) -> Reason {
    // The decoder refuses indexed colours and inverts some white-is-zero files: both are read as plain gray values
    // by patching the photometric tag, and treated here.
    let photometric = photometric_of_first_page(bytes);
    let mut patched = Cow::Borrowed(bytes);
    if let Some((at, big_endian, WHITE_IS_ZERO | INDEXED)) = photometric {
        let value = if big_endian { BLACK_IS_ZERO.to_be_bytes() } else { BLACK_IS_ZERO.to_le_bytes() };
        patched.to_mut()[at..at + 2].copy_from_slice(&value);
    }
    let photometric = photometric.map_or(BLACK_IS_ZERO, |(_, _, value)| value);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_DECODED_BYTES;
    limits.intermediate_buffer_size = MAX_DECODED_BYTES;
    let mut decoder = Decoder::new(Cursor::new(&patched[..])).map_err(|e| e.to_string())?.with_limits(limits);
    let mut raster = read_page(&mut decoder)?;
    if photometric == INDEXED {
        raster.palette = Some(color_map(&mut decoder, raster.bits)?);
        if raster.bits > 8 || raster.channels != 1 {
            return Err("indexed colours of more than 8 bits or with more channels are not read".into());
        }
    }
    if photometric == WHITE_IS_ZERO {
        invert(&mut raster);
    }
    if decoder.more_images() {
        raster.notes.push(Note::FirstPage);
    }
    Ok(raster)
}

fn read_page(decoder: &mut Decoder<Cursor<&[u8]>>) -> Reason {
    let (width, height) = decoder.dimensions().map_err(|e| e.to_string())?;
    let (width, height) = (width as usize, height as usize);
    let color = decoder.colortype().map_err(|e| e.to_string())?;
    let extra: Vec<u16> =
        decoder.find_tag_unsigned_vec(Tag::ExtraSamples).map_err(|e| e.to_string())?.unwrap_or_default();
    let is_alpha = |kind: Option<&u16>| matches!(kind, Some(1 | 2));
    let (channels, bits, alpha) = match color {
        ColorType::Gray(bits) => (1, bits, false),
        ColorType::GrayA(bits) => (2, bits, true),
        ColorType::RGB(bits) => (3, bits, false),
        ColorType::RGBA(bits) => (4, bits, is_alpha(extra.first()) || extra.is_empty()),
        ColorType::Multiband { bit_depth, num_samples } => {
            (usize::from(num_samples), bit_depth, is_alpha(extra.last()))
        }
        other => return Err(format!("colours of type {other:?} are not read: convert it to gray or RGB")),
    };
    check_size(width, height, channels * usize::from(bits).div_ceil(8))?;
    let mut buffer = DecodingResult::U8(vec![]);
    let layout = decoder.read_image_to_buffer(&mut buffer).map_err(|e| e.to_string())?;
    let row_bytes = layout.row_stride.map_or(0, std::num::NonZeroUsize::get);
    let planar = layout.planes > 1;
    let row_samples = if planar { width } else { width * channels };
    let rows = if planar { height * channels } else { height };
    let (samples, bits) = match (buffer, layout.sample_format, bits) {
        (DecodingResult::U8(v), _, 8) => (Samples::U8(v), 8),
        (DecodingResult::U8(v), SampleFormat::Uint, 1 | 2 | 4) if row_bytes > 0 => {
            (Samples::U8(unpack_bits(&v, row_bytes, row_samples, rows, bits)), bits)
        }
        (DecodingResult::U16(v), _, 16) => (Samples::U16(v), 16),
        (DecodingResult::U32(v), _, 32) => (Samples::U32(v), 32),
        (DecodingResult::I8(v), ..) => (Samples::F32(v.into_iter().map(f32::from).collect()), 8),
        (DecodingResult::I16(v), ..) => (Samples::F32(v.into_iter().map(f32::from).collect()), 16),
        (DecodingResult::I32(v), ..) => (Samples::F32(v.into_iter().map(|x| x as f32).collect()), 32),
        (DecodingResult::F16(v), ..) => (Samples::F32(v.into_iter().map(f32::from).collect()), 16),
        (DecodingResult::F32(v), ..) => (Samples::F32(v), 32),
        (DecodingResult::F64(v), ..) => (Samples::F32(v.into_iter().map(|x| x as f32).collect()), 64),
        (_, format, bits) => return Err(format!("samples of {bits} bits ({format:?}) are not read")),
    };
    let samples = if planar { interleave(samples, channels) } else { samples };
    let raster = Raster { height, width, channels, bits, alpha, palette: None, lossy: false, samples, notes: vec![] };
    let held = raster.bytes() / sample_size(&raster.samples);
    if held != width * height * channels {
        return Err(format!("it holds {held} samples instead of {width} x {height} x {channels}"));
    }
    Ok(raster)
}

fn sample_size(samples: &Samples) -> usize {
    match samples {
        Samples::U8(_) => 1,
        Samples::U16(_) => 2,
        Samples::U32(_) | Samples::F32(_) => 4,
    }
}

fn interleave(samples: Samples, channels: usize) -> Samples {
    fn weave<T: Copy>(planes: &[T], channels: usize) -> Vec<T> {
        let n = planes.len() / channels;
        (0..n).flat_map(|i| (0..channels).map(move |c| planes[c * n + i])).collect()
    }
    match samples {
        Samples::U8(v) => Samples::U8(weave(&v, channels)),
        Samples::U16(v) => Samples::U16(weave(&v, channels)),
        Samples::U32(v) => Samples::U32(weave(&v, channels)),
        Samples::F32(v) => Samples::F32(weave(&v, channels)),
    }
}

/// White-is-zero turned round, for integers of up to 8 bits and 16-bit data; 32 bits and floating point hold data,
/// not ink, and stay.
fn invert(raster: &mut Raster) {
    let full = raster.full_scale();
    match &mut raster.samples {
        Samples::U8(v) => v.iter_mut().for_each(|x| *x = full as u8 - *x),
        Samples::U16(v) => v.iter_mut().for_each(|x| *x = u16::MAX - *x),
        Samples::U32(_) | Samples::F32(_) => {}
    }
}

/// The palette: all reds, all greens, all blues, of 16 bits each.
fn color_map(decoder: &mut Decoder<Cursor<&[u8]>>, bits: u8) -> std::result::Result<Vec<[u8; 3]>, String> {
    let map = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(|e| e.to_string())?;
    let n = 1usize << bits.min(8);
    if map.len() != 3 * n {
        return Err(format!("its palette has {} values instead of {}", map.len(), 3 * n));
    }
    Ok((0..n).map(|i| [map[i], map[n + i], map[2 * n + i]].map(|v| (v >> 8) as u8)).collect())
}

/// Where the photometric tag of the first page has its value, whether the file is big-endian, and the value.
fn photometric_of_first_page(bytes: &[u8]) -> Option<(usize, bool, u16)> {
    let big_endian = bytes.get(..2)? == b"MM";
    let number = |at: usize, size: usize| -> Option<usize> {
        let field = bytes.get(at..at.checked_add(size)?)?;
        let fold = |n: usize, b: &u8| n << 8 | usize::from(*b);
        Some(if big_endian { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) })
    };
    let big_tiff = number(2, 2)? == 43;
    let (ifd, count_size, entry_size, value_at) =
        if big_tiff { (number(8, 8)?, 8, 20, 12) } else { (number(4, 4)?, 2, 12, 8) };
    let entries = number(ifd, count_size)?.min(4096);
    (0..entries).find_map(|i| {
        let entry = ifd.checked_add(count_size)?.checked_add(i * entry_size)?;
        (number(entry, 2)? == usize::from(PHOTOMETRIC)).then_some(())?;
        let at = entry + value_at;
        Some((at, big_endian, number(at, 2)? as u16))
    })
}
