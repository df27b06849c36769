//! A picture of a network: its convolutions from left to right, as bars.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};

use crate::error::{Error, Result};
use crate::network::NetworkSpec;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 320;
const MARGIN: u32 = 24;

/// Bars from full resolution (dark) to low resolution (light).
const DARK: [f32; 3] = [0.0, 62.0, 105.0];
const LIGHT: [f32; 3] = [150.0, 205.0, 235.0];

/// The bytes of a PNG of 640 x 320 pixels. Every convolution is a bar: its height grows with the logarithm of its
/// channels, its colour says how much the image is reduced there. The same network gives the same bytes.
///
/// # Errors
/// [`Error::Network`] when the network does not fit together.
pub fn cover(spec: &NetworkSpec) -> Result<Vec<u8>> {
    let shapes = spec.smallest_shapes()?;
    let full = shapes.tensors.iter().map(|t| t.width).max().unwrap_or(1) as f32;
    let convolutions = spec.layers.iter().zip(&shapes.tensors).filter(|(layer, _)| layer.op.is_convolution());
    // Logarithms of channels and of the reduction.
    let bars: Vec<(f32, f32)> =
        convolutions.map(|(_, t)| (1.0 + (t.channels as f32).log2(), (full / t.width as f32).log2())).collect();
    let highest = bars.iter().fold(1.0_f32, |m, b| m.max(b.0));
    let deepest = bars.iter().fold(1.0_f32, |m, b| m.max(b.1));
    let mut picture = RgbImage::from_pixel(WIDTH, HEIGHT, Rgb([255; 3]));
    let step = (WIDTH - 2 * MARGIN) as f32 / bars.len().max(1) as f32;
    for (i, (height, depth)) in bars.iter().enumerate() {
        let tall = ((HEIGHT - 2 * MARGIN) as f32 * height / highest) as u32;
        let colour = Rgb(std::array::from_fn(|c| (DARK[c] + (LIGHT[c] - DARK[c]) * depth / deepest) as u8));
        let left = MARGIN + (i as f32 * step) as u32;
        let right = (left + 1).max(MARGIN + ((i as f32 + 0.8) * step) as u32);
        let top = (HEIGHT - tall) / 2;
        for y in top..top + tall {
            (left..right.min(WIDTH)).for_each(|x| picture.put_pixel(x, y, colour));
        }
    }
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).map_err(|e| Error::Network {
        layer: spec.output.clone(),
        reason: format!("its picture cannot be written: {e}"),
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::families::{Options, unet};

    #[test]
    fn wider_layers_are_taller_and_the_picture_is_small() {
        let spec = unet(&Options { base_width: 2, depth: 2, ..Options::default() }).unwrap();
        let bytes = cover(&spec).unwrap();
        assert!(bytes.len() < 100_000);
        let picture = image::load_from_memory(&bytes).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (WIDTH, HEIGHT));
        let height = |x: u32| (0..HEIGHT).filter(|&y| picture.get_pixel(x, y).0 != [255; 3]).count();
        // Thirteen convolutions: the first and, in the middle of the first half, one of the lowest level.
        let step = (WIDTH - 2 * MARGIN) as f32 / 13.0;
        assert!(height(MARGIN + (4.4 * step) as u32) > height(MARGIN + 2), "the lowest level has more channels");
        assert_eq!(cover(&spec).unwrap(), bytes);
    }
}
