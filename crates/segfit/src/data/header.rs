//! What the header of an image file says, without decoding its pixels.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::path::Path;

use image::{ImageDecoder, ImageFormat};

use super::bands::check_bands;
use super::guard::guarded;
use super::raster::Note;
use super::read::{MAGIC_BYTES, check_size, decode_error, format_of, open_bmp, open_file, open_jpeg, png_notes};
use super::read_tiff::TiffFile;
use super::slices::{Kind, Outline};
use crate::error::{Error, Result};

type Reason<T> = std::result::Result<T, String>;
type Reader<'a> = &'a mut BufReader<File>;

/// Size and kind of an image file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels of the image: without alpha, with indexed colours expanded.
    pub channels: usize,
    /// Bytes of the decoded file.
    pub bytes: usize,
    /// Whether [`Bands`](super::bands::Bands) reads it.
    pub has_bands: bool,
    /// What the header says was left out.
    pub notes: Vec<Note>,
}

impl Header {
    /// The header of a file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Content`] for another format, and [`Error::Decode`] when the header is damaged or claims a
    /// size beyond the limits.
    pub fn read(path: &Path) -> Result<Self> {
        Self::of(path, &mut open_file(path)?)
    }

    /// The header of an open file, which is left at its start.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn of(path: &Path, file: Reader<'_>) -> Result<Self> {
        let mut start = Vec::new();
        file.take(MAGIC_BYTES).read_to_end(&mut start).map_err(Error::io(path))?;
        if Kind::of_bytes(&start).is_volume() {
            file.rewind().map_err(Error::io(path))?;
            return Outline::read(path)?.header(path);
        }
        let (format, name) = format_of(path, &start)?;
        file.rewind().map_err(Error::io(path))?;
        let mut header = || match format {
            ImageFormat::Png => png(file),
            ImageFormat::Jpeg => open_jpeg(&mut *file).map(|d| of_decoder(&d, false)),
            ImageFormat::Bmp => open_bmp(&mut *file, &start).map(|(d, palette)| of_decoder(&d, palette.is_some())),
            ImageFormat::Gif => gif(file),
            _ => tiff(file),
        };
        let header = guarded(path, name, || header().map_err(decode_error(path, name)));
        file.rewind().map_err(Error::io(path))?;
        header
    }
}

fn png(file: Reader<'_>) -> Reason<Header> {
    let mut decoder = png::Decoder::new(file);
    decoder.set_ignore_text_chunk(true);
    let info = decoder.read_header_info().map_err(|e| e.to_string())?;
    check_size(info.width as usize, info.height as usize, info.bytes_per_pixel())?;
    let reader = decoder.read_info().map_err(|e| e.to_string())?;
    let info = reader.info();
    let (height, width) = (info.height as usize, info.width as usize);
    let alpha = matches!(info.color_type, png::ColorType::GrayscaleAlpha | png::ColorType::Rgba);
    let channels = match info.color_type {
        png::ColorType::Indexed => 3,
        color => color.samples() - usize::from(alpha),
    };
    let bytes = height * width * info.bytes_per_pixel();
    Ok(Header { height, width, channels, bytes, has_bands: false, notes: png_notes(info) })
}

fn of_decoder(decoder: &impl ImageDecoder, has_palette: bool) -> Header {
    let (width, height) = decoder.dimensions();
    let (height, width, color) = (height as usize, width as usize, decoder.color_type());
    let colours = usize::from(color.channel_count()) - usize::from(color.has_alpha());
    let channels = if has_palette { 3 } else { colours };
    let bytes = height * width * usize::from(color.bytes_per_pixel());
    Header { height, width, channels, bytes, has_bands: false, notes: vec![] }
}

fn gif(file: Reader<'_>) -> Reason<Header> {
    let decoder = gif::DecodeOptions::new().read_info(file).map_err(|e| e.to_string())?;
    let (height, width) = (usize::from(decoder.height()), usize::from(decoder.width()));
    check_size(width, height, 1)?;
    Ok(Header { height, width, channels: 3, bytes: height * width, has_bands: false, notes: vec![] })
}

fn tiff(file: Reader<'_>) -> Reason<Header> {
    let mut file = TiffFile::open(file)?;
    let has_bands = check_bands(&mut file)?;
    let page = &file.page;
    if !has_bands {
        check_size(page.width, page.height, page.pixel_bytes())?;
    }
    let (height, width, channels) = (page.height, page.width, page.image_channels());
    let bytes = height.saturating_mul(width).saturating_mul(page.pixel_bytes());
    Ok(Header { height, width, channels, bytes, has_bands, notes: page.notes.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::read::{decode, read_bytes};

    #[test]
    fn headers_say_what_decoding_finds() {
        let dir = tempfile::tempdir().unwrap();
        let images = [
            image::DynamicImage::new_luma8(9, 8),
            image::DynamicImage::new_luma_a8(9, 8),
            image::DynamicImage::new_rgb8(9, 8),
            image::DynamicImage::new_rgba8(9, 8),
            image::DynamicImage::new_luma16(9, 8),
            image::DynamicImage::new_rgba16(9, 8),
            image::DynamicImage::new_rgb32f(9, 8),
        ];
        let mut compared = 0;
        for image in &images {
            for extension in ["png", "jpg", "bmp", "gif", "tif"] {
                let path = dir.path().join(format!("a.{extension}"));
                if image.save(&path).is_err() {
                    continue;
                }
                let (header, raster) =
                    (Header::read(&path).unwrap(), decode(&path, &read_bytes(&path).unwrap()).unwrap());
                let found = (raster.height, raster.width, raster.image_channels(), raster.bytes());
                assert_eq!(
                    (header.height, header.width, header.channels, header.bytes),
                    found,
                    "{image:?} {extension}"
                );
                assert_eq!(header.has_bands, extension == "tif");
                compared += 1;
            }
        }
        assert!(compared > 15, "{compared} files");
    }
}
