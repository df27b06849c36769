//! JPEG complexity: how many bytes of a JPEG file each pixel costs.

use jpeg_encoder::{ColorType, Encoder};

use super::published::JpegColour;
use super::{Measure, Pyramid, pyramid};

/// Quality of the published J, as recovered from its printed values.
pub(crate) const QUALITY: u8 = 80;

pub(super) const JPEG: Measure = Measure {
    name: "jpeg",
    unit: "bytes per pixel",
    larger_is_more_complex: true,
    first_scale: 0,
    // Below 32 x 32 the headers are most of the file.
    last_scale: 2,
    compute: |p: &Pyramid, s| p.level(s)?.jpeg().map(|j| j.file),
};

pub(super) const JPEG_SCAN: Measure = Measure {
    name: "jpeg_scan",
    unit: "bytes per pixel",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s)?.jpeg().map(|j| j.scan),
};

/// Bytes of the image as a baseline gray JPEG file, per raw byte. Larger is more complex.
///
/// The whole file counts, with its headers and the standard Huffman tables (about 330 bytes, which matter below
/// 64 x 64; see [`jpeg_scan_complexity`]). `gray` has `height * width` values of 8 bits; `quality` is libjpeg's, 1 to 100.
/// `None` below 8 x 8 and above 65535 rows or columns, which JPEG cannot hold.
///
/// ```
/// let flat = segfit::complexity::jpeg_complexity(&[128; 4096], 64, 64, 80).unwrap();
/// assert!(flat < 0.1, "a constant image costs little more than its headers");
/// ```
///
/// Source: the first complexity of CC-Net, as recovered from its printed values (512 x 512, gray, quality 80).
#[must_use]
pub fn jpeg_complexity(gray: &[u8], height: usize, width: usize, quality: u8) -> Option<f64> {
    jpeg_rates(gray, height, width, quality).map(|j| j.file)
}

/// Bytes of entropy-coded data of the JPEG file per raw byte: [`jpeg_complexity`] without the headers, so that small
/// images compare with large ones. Larger is more complex.
///
/// Arguments and `None` as there.
#[must_use]
pub fn jpeg_scan_complexity(gray: &[u8], height: usize, width: usize, quality: u8) -> Option<f64> {
    jpeg_rates(gray, height, width, quality).map(|j| j.scan)
}

/// Bytes per pixel of a JPEG file.
#[derive(Clone, Copy, Debug)]
pub(super) struct JpegRates {
    /// The whole file.
    pub file: f64,
    /// Its entropy-coded data.
    pub scan: f64,
}

pub(super) fn jpeg_rates(gray: &[u8], height: usize, width: usize, quality: u8) -> Option<JpegRates> {
    let file = encoded(gray, height, width, quality)?;
    let (headers, scan) = sizes(&file, JpegColour::Gray)?;
    let rate = |bytes: usize| bytes as f64 / gray.len() as f64;
    Some(JpegRates { file: rate(headers + scan), scan: rate(scan) })
}

/// Bytes of a file's markers and tables, and of its entropy-coded data.
///
/// The table of chroma quantisation, which the encoder writes for gray images too and libjpeg does not, is left out of those.
pub(super) fn sizes(file: &[u8], colour: JpegColour) -> Option<(usize, usize)> {
    const START_OF_SCAN: u8 = 0xDA;
    const QUANTISATION: u8 = 0xDB;
    let mut headers = 4; // the markers of start and end
    let mut at = 2;
    loop {
        let &[_, kind, high, low, table, ..] = file.get(at..)? else { return None };
        let length = 2 + usize::from(high) * 256 + usize::from(low);
        at += length;
        if (kind, table, colour) != (QUANTISATION, 1, JpegColour::Gray) {
            headers += length;
        }
        if kind == START_OF_SCAN {
            return Some((headers, file.len() - at - 2));
        }
    }
}

fn encoded(gray: &[u8], height: usize, width: usize, quality: u8) -> Option<Vec<u8>> {
    let (w, h) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    if h.min(w) < 8 || gray.len() != height * width {
        return None;
    }
    let mut file = Vec::with_capacity(gray.len() / 4 + 512);
    Encoder::new(&mut file, quality).encode(gray, w, h, ColorType::Luma).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkerboard_costs_more_than_a_ramp_and_a_ramp_more_than_nothing() {
        let make = |f: fn(usize, usize) -> u8| -> Vec<u8> { (0..4096).map(|i| f(i / 64, i % 64)).collect() };
        let j = |gray: Vec<u8>| jpeg_scan_complexity(&gray, 64, 64, 80).unwrap();
        let flat = j(make(|_, _| 77));
        let ramp = j(make(|y, x| (2 * x + y) as u8));
        let board = j(make(|y, x| 255 * ((x / 2 + y / 2) % 2) as u8));
        assert!(flat < ramp && ramp < board, "{flat} {ramp} {board}");
        assert_eq!(jpeg_complexity(&[77; 4096], 64, 64, 80).unwrap() - flat, 330.0 / 4096.0, "libjpeg's headers");
        // A flat block is 6 bits: DC difference 0 (2 bits) and end of block (4 bits); 64 blocks are 48 bytes. The first
        // block also codes its DC value.
        assert!((flat * 4096.0 - 48.0).abs() <= 2.0, "{}", flat * 4096.0);
    }

    #[test]
    fn an_image_below_one_block_has_no_jpeg_complexity() {
        assert_eq!(jpeg_complexity(&[0; 49], 7, 7, 80), None);
        assert!(jpeg_complexity(&[0; 64], 8, 8, 80).is_some());
    }
}
