//! Masks and images to files, each complete or absent.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ExtendedColorType, ImageEncoder as _};

use super::image::{Image, Mask};
use super::label_map::LabelMap;
use super::labels::LabelCoding;
use crate::error::{Error, Result};
use crate::files::write_atomically;

/// Writes a mask with the labels that the data set's own masks use, and returns the file's path.
///
/// The extension follows from the labels: 8-bit gray PNG up to 255, 16-bit gray TIFF up to 65535, RGB PNG for colours;
/// `path`'s own is replaced. Indexed masks are written as gray values of their indices; merged instances as one label.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written; [`Error::Option`] when the mask holds a class that the map does not
/// know, or a label is above 65535.
pub fn write_mask(path: &Path, mask: &Mask, map: &LabelMap) -> Result<PathBuf> {
    let labels = labels_of(mask, map)?;
    let (width, height) = (mask.width as u32, mask.height as u32);
    let largest = map.entries.iter().map(|e| e.value).max().unwrap_or(0);
    let (extension, bytes) = if map.coding == LabelCoding::Colour {
        let rgb: Vec<u8> = labels.iter().flat_map(|v| v.to_be_bytes().into_iter().skip(1)).collect();
        ("png", encode_png(path, &rgb, (width, height), ExtendedColorType::Rgb8)?)
    } else if largest <= 255 {
        let gray: Vec<u8> = labels.iter().map(|&v| v as u8).collect();
        ("png", encode_png(path, &gray, (width, height), ExtendedColorType::L8)?)
    } else if largest <= 65_535 {
        let gray: Vec<u8> = labels.iter().flat_map(|&v| (v as u16).to_ne_bytes()).collect();
        let mut out = Cursor::new(Vec::new());
        image::codecs::tiff::TiffEncoder::new(&mut out)
            .write_image(&gray, width, height, ExtendedColorType::L16)
            .map_err(|e| cannot_encode(path, "TIFF", &e))?;
        ("tif", out.into_inner())
    } else {
        return Err(Error::Option {
            what: "mask to write".into(),
            expected: "labels up to 65535".into(),
            got: largest.to_string(),
        });
    };
    let path = path.with_extension(extension);
    write_atomically(&path, &bytes)?;
    Ok(path)
}

/// The labels of a mask's classes.
pub(crate) fn labels_of(mask: &Mask, map: &LabelMap) -> Result<Vec<u32>> {
    let label = |&class: &u8| {
        map.value_of(class).ok_or_else(|| Error::Option {
            what: "mask to write".into(),
            expected: format!("classes of the map ({map})"),
            got: format!("class {class}"),
        })
    };
    mask.data.iter().map(label).collect()
}

/// Writes an image of 1 or 3 channels with values in [0, 1] as 8-bit PNG; values outside are clamped.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written; [`Error::Option`] for another number of channels.
pub fn write_image_png(path: &Path, image: &Image) -> Result<()> {
    let color = match image.channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        n => {
            return Err(Error::Option {
                what: "image to write as PNG".into(),
                expected: "1 or 3 channels".into(),
                got: format!("{n} channels"),
            });
        }
    };
    let n = image.height * image.width;
    let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
    let bytes: Vec<u8> = (0..n).flat_map(|i| (0..image.channels).map(move |c| byte(image.data[c * n + i]))).collect();
    write_atomically(path, &encode_png(path, &bytes, (image.width as u32, image.height as u32), color)?)
}

fn encode_png(path: &Path, bytes: &[u8], size: (u32, u32), color: ExtendedColorType) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    image::codecs::png::PngEncoder::new(&mut out)
        .write_image(bytes, size.0, size.1, color)
        .map_err(|e| cannot_encode(path, "PNG", &e))?;
    Ok(out)
}

fn cannot_encode(path: &Path, format: &str, error: &image::ImageError) -> Error {
    Error::Option {
        what: path.display().to_string(),
        expected: format!("an image that {format} can hold"),
        got: error.to_string(),
    }
}
