//! JPEG complexity: how many bytes of a JPEG file each pixel costs.

use fast_image_resize::images::Image as Raster;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use jpeg_encoder::{ColorType, Encoder};

use super::{Measure, Pyramid, pyramid};
use crate::data::Image;
use crate::error::{Error, Result};

/// Quality of the published J, as recovered from its printed values.
pub(super) const QUALITY: u8 = 80;

/// Rows and columns of the published J.
const PUBLISHED_SIZE: u32 = 512;

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
    let (headers, scan) = sizes(&file)?;
    let rate = |bytes: usize| bytes as f64 / gray.len() as f64;
    Some(JpegRates { file: rate(headers + scan), scan: rate(scan) })
}

/// Bytes of a gray file's markers and tables, and of its entropy-coded data.
///
/// The table of chroma quantisation, which the encoder writes for gray images too and libjpeg does not, is left out.
fn sizes(file: &[u8]) -> Option<(usize, usize)> {
    const START_OF_SCAN: u8 = 0xDA;
    const QUANTISATION: u8 = 0xDB;
    let mut headers = 4; // the markers of start and end
    let mut at = 2;
    loop {
        let &[_, kind, high, low, table, ..] = file.get(at..)? else { return None };
        let length = 2 + usize::from(high) * 256 + usize::from(low);
        at += length;
        if (kind, table) != (QUANTISATION, 1) {
            headers += length;
        }
        if kind == START_OF_SCAN {
            return Some((headers, file.len() - at - 2));
        }
    }
}

/// The published complexity J of one original image (not of the network's input). Larger is more complex.
///
/// The image in 8 bits is resized to 512 x 512 (bicubic, a = -1/2, antialiased, each channel by itself), made gray
/// (0.299 R + 0.587 G + 0.114 B) and stored as JPEG of quality 80; J is the file's bytes / 262144. A data set's J is the
/// mean over its training images.
///
/// # Errors
/// [`Error::Option`] when the image has no rows or columns.
pub fn published_j(image: &Image) -> Result<f64> {
    if image.channels * image.height * image.width == 0 {
        return Err(empty(image));
    }
    let planes: Result<Vec<Vec<u8>>> = (0..image.channels).map(|c| resized(image, c)).collect();
    let gray = gray_bytes(&planes?);
    let side = PUBLISHED_SIZE as usize;
    jpeg_complexity(&gray, side, side, QUALITY).ok_or_else(|| empty(image))
}

fn empty(image: &Image) -> Error {
    Error::Option {
        what: "image".into(),
        expected: "at least one row, column and channel".into(),
        got: format!("{} x {} x {}", image.channels, image.height, image.width),
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

/// Values 0..1 in 8 bits.
fn bytes(plane: &[f32]) -> Vec<u8> {
    plane.iter().map(|&v| (v * 255.0).round().clamp(0.0, 255.0) as u8).collect()
}

fn resized(image: &Image, channel: usize) -> Result<Vec<u8>> {
    let bytes = bytes(image.plane(channel));
    let (w, h) = (image.width as u32, image.height as u32);
    if (w, h) == (PUBLISHED_SIZE, PUBLISHED_SIZE) {
        return Ok(bytes);
    }
    let source = Raster::from_vec_u8(w, h, bytes, PixelType::U8).map_err(|_| empty(image))?;
    let mut target = Raster::new(PUBLISHED_SIZE, PUBLISHED_SIZE, PixelType::U8);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    Resizer::new().resize(&source, &mut target, &options).map_err(|_| empty(image))?;
    Ok(target.into_vec())
}

/// Luma of 8-bit planes in 16-bit fixed point, as Pillow's `convert("L")`; the mean for other numbers of channels.
fn gray_bytes(planes: &[Vec<u8>]) -> Vec<u8> {
    let pixels = planes.first().map_or(0, Vec::len);
    let at = |c: usize, i: usize| u32::from(planes[c][i]);
    let gray = |i: usize| match planes.len() {
        1 => at(0, i),
        3 | 4 => (19595 * at(0, i) + 38470 * at(1, i) + 7471 * at(2, i) + 0x8000) >> 16,
        n => ((0..n).map(|c| at(c, i)).sum::<u32>() + n as u32 / 2) / n as u32,
    };
    (0..pixels).map(|i| gray(i) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    /// A folder of real images, which are not part of the repository.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn shared(name: &str) -> Option<PathBuf> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
        if !path.is_dir() {
            eprintln!("skipped: {} is not here", path.display());
        }
        path.is_dir().then_some(path)
    }

    fn images(folder: &Path) -> Vec<Image> {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        files.iter().map(|f| load(f)).collect()
    }

    fn load(file: &Path) -> Image {
        let raster = image::open(file).unwrap();
        if raster.color().has_color() {
            let rgb = raster.to_rgb8();
            let n = (rgb.width() * rgb.height()) as usize;
            let data = (0..3 * n).map(|i| f32::from(rgb.as_raw()[i % n * 3 + i / n]) / 255.0).collect();
            return Image { channels: 3, height: rgb.height() as usize, width: rgb.width() as usize, data };
        }
        let gray = raster.to_luma8();
        let data = gray.as_raw().iter().map(|&v| f32::from(v) / 255.0).collect();
        Image { channels: 1, height: gray.height() as usize, width: gray.width() as usize, data }
    }

    fn mean_j(folder: &Path) -> f64 {
        let values: Vec<f64> = images(folder).iter().map(|i| published_j(i).unwrap()).collect();
        values.iter().sum::<f64>() / values.len() as f64
    }

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

    #[test]
    fn an_empty_image_is_refused() {
        assert!(published_j(&Image::filled(1, 0, 5, 0.0)).is_err());
    }

    #[test]
    fn j_of_the_gland_and_hela_images_is_the_recovered_one() {
        let (Some(glas), Some(hela)) =
            (shared("fidelity/glas_train_gray512"), shared("formats/ctc_dic_hela_images_only"))
        else {
            return;
        };
        let (glas, hela) = (mean_j(&glas), mean_j(&hela));
        assert!((glas - 0.2399).abs() < 0.001, "{glas}");
        assert!((hela - 0.1405).abs() < 0.001, "{hela}");
    }

    /// Truth: the table of the shared data sets, made with libjpeg at quality 75 on 256 x 256 gray images.
    #[test]
    fn the_means_of_real_data_sets_are_libjpegs() {
        for (set, truth) in [("dsb2018_fluo", 0.047), ("u373_phc", 0.053), ("glas", 0.280), ("isbi2012_em", 0.295)] {
            let Some(folder) = shared(&format!("data/{set}/images")) else { return };
            let of = |image: &Image| {
                let planes: Vec<Vec<u8>> = (0..image.channels).map(|c| bytes(image.plane(c))).collect();
                jpeg_complexity(&gray_bytes(&planes), image.height, image.width, 75).unwrap()
            };
            let values: Vec<f64> = images(&folder).iter().map(of).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            assert!((mean - truth).abs() < 0.0007, "{set}: {mean} against {truth}");
        }
    }

    /// Truth: `python -c` with Pillow 13: `Image.open(f).convert("RGB").resize((512, 512), Image.BICUBIC).convert("L")`
    /// saved as JPEG of quality 80, bytes / 262144.
    #[test]
    fn bytes_are_within_half_a_percent_of_libjpeg() {
        let Some(folder) = shared("formats/glas_bmp") else {
            return;
        };
        for (name, truth) in PILLOW {
            let j = published_j(&load(&folder.join(name))).unwrap();
            assert!((j / truth - 1.0).abs() < 0.005, "{name}: {j} against {truth}");
        }
    }

    const PILLOW: [(&str, f64); 3] = [
        ("train_1.bmp", 62_876.0 / 262_144.0),
        ("train_40.bmp", 63_999.0 / 262_144.0),
        ("testA_5.bmp", 69_603.0 / 262_144.0),
    ];
}
