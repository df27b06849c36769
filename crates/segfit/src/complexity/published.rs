//! The published complexity J: how many bytes of a JPEG file of fixed size an original image costs.

use fast_image_resize::images::Image as Raster;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};
use serde::{Deserialize, Serialize};

use super::jpeg::{QUALITY, sizes};
use super::unit_range::ValueRange;
use crate::data::Image;
use crate::error::{Error, Result};

/// Name of the published complexity in a profile.
pub const J: &str = "j";

/// Unit of J.
pub(super) const J_UNIT: &str = "bytes per raw byte";

/// How the published complexity J is taken of an image; by default as the paper did, as recovered from its printed
/// values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JpegOptions {
    /// Rows and columns to which the image is resized, 8 to 65535; 512 by default.
    pub size: u16,
    /// Quality of libjpeg, 1 to 100; 80 by default.
    pub quality: u8,
    /// What is stored; gray by default.
    pub colour: JpegColour,
}

/// The colours of a JPEG file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JpegColour {
    /// One gray channel.
    Gray,
    /// Red, green and blue, stored as luma and chroma, the latter at half the rows and columns (4:2:0, as libjpeg does).
    Rgb,
}

impl Default for JpegOptions {
    fn default() -> Self {
        Self { size: 512, quality: QUALITY, colour: JpegColour::Gray }
    }
}

/// The published complexity J of one original image (not of the network's input). Larger is more complex.
///
/// [`j_complexity`] with the paper's options: 512 x 512, gray, quality 80.
///
/// # Errors
/// [`Error::Option`] when the image has no rows or columns.
pub fn published_j(image: &Image) -> Result<f64> {
    j_complexity(image, &JpegOptions::default())
}

/// Bytes of an original image (not of the network's input) as a JPEG file of fixed size, per raw byte. Larger is more
/// complex.
///
/// The image in 8 bits (values 0 to 1; of images with other values, their own range) is resized to `size` x `size`
/// (bicubic, a = -1/2, antialiased, each channel by itself), made gray (0.299 R + 0.587 G + 0.114 B) and stored as
/// baseline JPEG; J is the file's bytes / (size * size). With [`JpegColour::Rgb`] the first three of three or four
/// channels are stored, and J is the bytes / (3 * size * size); other images are stored as three equal channels. A data
/// set's J is the mean over its training images.
///
/// # Errors
/// [`Error::Option`] when the image has no rows or columns, or an option is out of range.
pub fn j_complexity(image: &Image, options: &JpegOptions) -> Result<f64> {
    if image.channels * image.height * image.width == 0 {
        return Err(empty(image));
    }
    options.check()?;
    let range = ValueRange::of(image);
    let mapped = if range.is_unit() { None } else { Some(range.map(image.clone())) };
    let image = mapped.as_ref().unwrap_or(image);
    let planes = (0..image.channels).map(|c| resized(image, c, options.size)).collect::<Result<Vec<_>>>()?;
    let (raw, colour_type) = match options.colour {
        JpegColour::Gray => (gray_bytes(&planes), ColorType::Luma),
        JpegColour::Rgb => (rgb_bytes(planes), ColorType::Rgb),
    };
    let mut file = Vec::with_capacity(raw.len() / 4 + 1024);
    let mut encoder = Encoder::new(&mut file, options.quality);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder.encode(&raw, options.size, options.size, colour_type).map_err(|_| empty(image))?;
    let (headers, scan) = sizes(&file, options.colour).ok_or_else(|| empty(image))?;
    Ok((headers + scan) as f64 / raw.len() as f64)
}

impl JpegOptions {
    fn check(&self) -> Result<()> {
        let out_of_range = |what: &str, expected: &str, got: u16| Error::Option {
            what: what.into(),
            expected: expected.into(),
            got: got.to_string(),
        };
        if self.size < 8 {
            return Err(out_of_range("the size of the JPEG image", "8 to 65535", self.size));
        }
        if !(1..=100).contains(&self.quality) {
            return Err(out_of_range("the JPEG quality", "1 to 100", self.quality.into()));
        }
        Ok(())
    }
}

fn empty(image: &Image) -> Error {
    Error::Option {
        what: "image".into(),
        expected: "at least one row, column and channel".into(),
        got: format!("{} x {} x {}", image.channels, image.height, image.width),
    }
}

/// Values 0..1 in 8 bits.
fn bytes(plane: &[f32]) -> Vec<u8> {
    plane.iter().map(|&v| (v * 255.0).round().clamp(0.0, 255.0) as u8).collect()
}

fn resized(image: &Image, channel: usize, size: u16) -> Result<Vec<u8>> {
    let bytes = bytes(image.plane(channel));
    let (w, h) = (image.width as u32, image.height as u32);
    let size = u32::from(size);
    if (w, h) == (size, size) {
        return Ok(bytes);
    }
    let source = Raster::from_vec_u8(w, h, bytes, PixelType::U8).map_err(|_| empty(image))?;
    let mut target = Raster::new(size, size, PixelType::U8);
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

/// Red, green and blue pixel by pixel; the gray value three times for other images than those of three or four
/// channels.
fn rgb_bytes(planes: Vec<Vec<u8>>) -> Vec<u8> {
    let planes = if matches!(planes.len(), 3 | 4) { planes } else { vec![gray_bytes(&planes); 3] };
    (0..planes[0].len()).flat_map(|i| [planes[0][i], planes[1][i], planes[2][i]]).collect()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::jpeg_complexity;
    use super::*;

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

    /// Truth: as above, `.resize((256, 256), Image.BICUBIC)` saved as RGB of quality 60 and 92, bytes / 196608.
    #[test]
    fn size_quality_and_colour_give_what_pillow_gives() {
        let Some(folder) = shared("formats/glas_bmp") else {
            return;
        };
        let image = load(&folder.join("train_1.bmp"));
        for (quality, truth) in PILLOW_RGB {
            let j = j_complexity(&image, &JpegOptions { size: 256, quality, colour: JpegColour::Rgb }).unwrap();
            assert!((j / truth - 1.0).abs() < 0.02, "{quality}: {j} against {truth}");
        }
    }

    #[test]
    fn a_gray_image_in_colours_is_three_equal_channels() {
        let gray = Image { channels: 1, height: 16, width: 16, data: (0..256).map(|i| i as f32 / 255.0).collect() };
        let thrice = Image { channels: 3, data: gray.data.repeat(3), ..gray.clone() };
        let rgb = JpegOptions { size: 64, colour: JpegColour::Rgb, ..JpegOptions::default() };
        assert_eq!(j_complexity(&gray, &rgb).unwrap(), j_complexity(&thrice, &rgb).unwrap());
        assert!(
            j_complexity(&gray, &rgb).unwrap()
                < j_complexity(&gray, &JpegOptions { size: 64, ..JpegOptions::default() }).unwrap()
        );
    }

    #[test]
    fn the_unit_of_a_floating_point_image_does_not_matter() {
        let unit = Image { channels: 1, height: 16, width: 16, data: (0..256).map(|i| i as f32 / 255.0).collect() };
        let large = Image { data: unit.data.iter().map(|v| 510.0 * v - 102.0).collect(), ..unit.clone() };
        assert_eq!(published_j(&large).unwrap(), published_j(&unit).unwrap());
    }

    #[test]
    fn options_that_jpeg_cannot_hold_are_refused() {
        let image = Image::filled(1, 9, 9, 0.5);
        let paper = JpegOptions::default();
        for options in [
            JpegOptions { size: 7, ..paper },
            JpegOptions { quality: 0, ..paper },
            JpegOptions { quality: 101, ..paper },
        ] {
            assert!(matches!(j_complexity(&image, &options), Err(Error::Option { .. })), "{options:?}");
        }
        assert_eq!(serde_json::to_string(&paper).unwrap(), r#"{"size":512,"quality":80,"colour":"gray"}"#);
    }

    const PILLOW_RGB: [(u8, f64); 2] = [(60, 16_320.0 / 196_608.0), (92, 39_229.0 / 196_608.0)];

    const PILLOW: [(&str, f64); 3] = [
        ("train_1.bmp", 62_876.0 / 262_144.0),
        ("train_40.bmp", 63_999.0 / 262_144.0),
        ("testA_5.bmp", 69_603.0 / 262_144.0),
    ];
}
