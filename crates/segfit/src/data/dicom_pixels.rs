//! Stored numbers of DICOM pixels.

use std::borrow::Cow;

use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

use super::numbers::words;

/// How pixels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Samples per pixel.
    pub channels: usize,
    /// Bits that a sample takes: 8 or 16.
    pub allocated: usize,
    /// Bits that count.
    pub bits: usize,
    /// The highest of them.
    pub high_bit: usize,
    /// Whether the highest is a sign.
    pub signed: bool,
}

/// The numbers in little-endian bytes; bits above and below those that count are passed over.
pub(crate) fn whole_numbers(bytes: &[u8], stored: &Stored) -> Vec<i32> {
    let shift = (stored.high_bit + 1).saturating_sub(stored.bits).min(15);
    let mask = (1i32 << stored.bits.min(16)) - 1;
    let sign = 1i32 << (stored.bits.clamp(1, 16) - 1);
    let number = |raw: i32| {
        let v = raw >> shift & mask;
        if stored.signed && v & sign != 0 { v - (sign << 1) } else { v }
    };
    match stored.allocated {
        8 => bytes.iter().map(|&b| number(i32::from(b))).collect(),
        _ => words(bytes, false, |b| number(i32::from(u16::from_le_bytes(b)))),
    }
}

/// The compressed frames. One frame may lie in several fragments; of several frames each must lie in one.
fn streams(fragments: &[Vec<u8>], frames: usize) -> Result<Vec<Cow<'_, [u8]>>, String> {
    match frames {
        1 => Ok(vec![Cow::Owned(fragments.concat())]),
        n if n == fragments.len() => Ok(fragments.iter().map(|f| Cow::Borrowed(f.as_slice())).collect()),
        n => Err(format!("{} fragments hold {n} frames: fragments of one frame are not joined", fragments.len())),
    }
}

/// The frames of gray JPEG-LS fragments as little-endian numbers.
pub(crate) fn jpeg_ls_frames(
    fragments: &[Vec<u8>],
    frames: usize,
    (height, width): (usize, usize),
    stored: &Stored,
) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for stream in streams(fragments, frames)? {
        let (values, ..) = jpegls::decode(&stream, width as u32, height as u32).map_err(|e| format!("JPEG-LS: {e}"))?;
        for v in values {
            out.extend_from_slice(&v.to_le_bytes()[..stored.allocated / 8]);
        }
    }
    Ok(out)
}

/// The frames of JPEG 2000 fragments as little-endian numbers, and their bits.
pub(crate) fn jpeg_2000_frames(
    fragments: &[Vec<u8>],
    frames: usize,
    size: (usize, usize),
    stored: &Stored,
) -> Result<(Vec<u8>, usize), String> {
    let mut out = Vec::new();
    let mut bits = stored.bits;
    for stream in streams(fragments, frames)? {
        let settings = DecodeSettings { resolve_palette_indices: false, strict: true, target_resolution: None };
        let image = Image::new(&stream, &settings).map_err(|e| format!("JPEG 2000: {e}"))?;
        if (image.height() as usize, image.width() as usize) != size {
            let (h, w) = size;
            return Err(format!("JPEG 2000 of {} x {} pixels instead of {w} x {h}", image.width(), image.height()));
        }
        let mut context = DecoderContext::default();
        let decoded = image.decode(&mut context).map_err(|e| format!("JPEG 2000: {e}"))?;
        let planes = decoded.components();
        if planes.len() != stored.channels {
            return Err(format!("JPEG 2000 of {} channels instead of {}", planes.len(), stored.channels));
        }
        bits = usize::from(planes[0].bit_depth()).clamp(1, stored.allocated);
        let most = ((1u32 << bits) - 1) as f32;
        // The decoder adds half of the range to signed numbers as to unsigned ones.
        let half = if is_signed(&stream) { 1i32 << (bits - 1) } else { 0 };
        for i in 0..size.0 * size.1 {
            for plane in planes {
                let v = plane.samples().get(i).ok_or("JPEG 2000 that ends early")?.round().clamp(0.0, most);
                let bytes = (v as i32 - half).to_le_bytes();
                out.extend_from_slice(&bytes[..stored.allocated / 8]);
            }
        }
    }
    Ok((out, bits))
}

/// Fails where a fragment of runs (PS3.5, annex G) is not what the decoder takes for granted: segments that lie in it one after the
/// other and hold all `pixels`.
pub(crate) fn check_runs(fragments: &[Vec<u8>], pixels: usize) -> Result<(), String> {
    let damaged = || "its runs (RLE) are damaged or cut short".to_string();
    for fragment in fragments {
        let word =
            |i: usize| fragment.get(4 * i..4 * i + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
        let n = word(0).filter(|n| (1..=15).contains(n)).ok_or_else(damaged)?;
        for i in 1..=n {
            let end = if i < n { word(i + 1) } else { Some(fragment.len()) };
            let range = word(i).zip(end).map(|(from, to)| from..to).ok_or_else(damaged)?;
            let segment = fragment.get(range).ok_or_else(damaged)?;
            if unpacked(segment) < pixels {
                return Err(damaged());
            }
        }
    }
    Ok(())
}

/// Bytes that a segment of PackBits runs gives.
fn unpacked(segment: &[u8]) -> usize {
    let (mut at, mut n) = (0, 0);
    while let Some(&header) = segment.get(at) {
        let literal = usize::from(header) + 1;
        (at, n) = match header {
            0..128 => (at + 1 + literal, n + literal.min(segment.len() - at - 1)),
            128 => (at + 1, n),
            _ if at + 1 < segment.len() => (at + 2, n + 257 - usize::from(header)),
            _ => (at + 1, n),
        };
    }
    n
}

/// Whether the first component of a codestream is signed: the highest bit of Ssiz (ISO/IEC 15444-1, A.5.1).
fn is_signed(stream: &[u8]) -> bool {
    let siz = stream.windows(4).position(|w| w == [0xff, 0x4f, 0xff, 0x51]);
    siz.and_then(|at| stream.get(at + 2 + 40)).is_some_and(|ssiz| ssiz & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_are_cut_short_or_lie_elsewhere_are_refused() {
        let mut fragment = vec![0; 64];
        (fragment[0], fragment[4]) = (1, 64);
        fragment.extend([3, 1, 2, 3, 4, 254, 9, 128]);
        assert_eq!(unpacked(&fragment[64..]), 7, "four as they are, three equal ones, nothing");
        assert_eq!(check_runs(&[fragment.clone()], 7), Ok(()));
        assert!(check_runs(&[fragment.clone()], 8).is_err(), "too few");
        fragment[4] = 200;
        assert!(check_runs(&[fragment.clone()], 7).is_err(), "behind the end");
        fragment[0] = 99;
        assert!(check_runs(&[fragment, vec![1]], 7).is_err(), "too many segments");
    }

    /// Conformance is checked against CharLS by `benchmarks/formats/check.py`.
    #[test]
    fn jpeg_ls_frames_are_read_whole_or_not_at_all() {
        let frame = |k: u16| -> Vec<u16> { (0..35).map(|i| (i * i * 31 + k) % 4096).collect() };
        let encoded = |values: &[u16]| {
            let mut stream = Vec::new();
            jpegls::encode(values, 7, 5, &mut stream).unwrap();
            stream
        };
        let stored = Stored { channels: 1, allocated: 16, bits: 12, high_bit: 11, signed: false };
        let fragments = [encoded(&frame(0)), encoded(&frame(9))];
        let bytes = jpeg_ls_frames(&fragments, 2, (5, 7), &stored).unwrap();
        let expected: Vec<i32> = [frame(0), frame(9)].concat().into_iter().map(i32::from).collect();
        assert_eq!(whole_numbers(&bytes, &stored), expected);
        let (first, rest) = fragments[0].split_at(20);
        let parts = [first.to_vec(), rest.to_vec()];
        assert_eq!(jpeg_ls_frames(&parts, 1, (5, 7), &stored).unwrap(), bytes[..70], "a frame in two fragments");
        assert!(jpeg_ls_frames(&parts, 2, (5, 7), &stored).is_err(), "parts are no frames");
        assert!(jpeg_ls_frames(&fragments, 2, (7, 5), &stored).is_err(), "another size");
        assert!(jpeg_ls_frames(&[first.to_vec()], 1, (5, 7), &stored).is_err(), "cut short");
    }

    #[test]
    fn only_the_bits_that_count_are_read() {
        let stored = Stored { channels: 1, allocated: 16, bits: 12, high_bit: 11, signed: false };
        assert_eq!(whole_numbers(&[0xff, 0xff, 0x01, 0xf0], &stored), [4095, 1]);
        let signed = Stored { signed: true, ..stored };
        assert_eq!(whole_numbers(&[0xff, 0x0f, 0x01, 0x00, 0x00, 0x08], &signed), [-1, 1, -2048]);
        let high = Stored { high_bit: 15, ..stored };
        assert_eq!(whole_numbers(&[0x1f, 0x00], &high), [1]);
        let byte = Stored { allocated: 8, bits: 8, high_bit: 7, signed: true, ..stored };
        assert_eq!(whole_numbers(&[0xff, 0x7f], &byte), [-1, 127]);
    }
}
