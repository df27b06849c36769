//! Pictures of other formats, as their writers make them.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, RgbImage};

const SIDE: u32 = 32;

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).expect("memory can be written");
    out.into_inner()
}

fn gray() -> DynamicImage {
    GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([((x * 31 + y * 17) % 251) as u8])).into()
}

/// A gray JPEG.
pub fn jpeg() -> Vec<u8> {
    encoded(&gray(), ImageFormat::Jpeg)
}

/// A JPEG with another byte at this distance from the marker of its frame.
pub fn jpeg_with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = jpeg();
    let frame = file.windows(2).position(|w| w == [0xff, 0xc0]).expect("a baseline JPEG has a frame");
    file[frame + at..frame + at + bytes.len()].copy_from_slice(bytes);
    file
}

/// A gray BMP.
pub fn bmp() -> Vec<u8> {
    encoded(&gray(), ImageFormat::Bmp)
}

/// A BMP with these bytes at this place.
pub fn bmp_with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = bmp();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

/// A GIF.
pub fn gif() -> Vec<u8> {
    encoded(&RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, 0])).into(), ImageFormat::Gif)
}

/// A colour photograph as a JPEG.
pub fn photo() -> Vec<u8> {
    encoded(
        &RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([(x * 8) as u8, (y * 8) as u8, ((x ^ y) * 8) as u8])).into(),
        ImageFormat::Jpeg,
    )
}
