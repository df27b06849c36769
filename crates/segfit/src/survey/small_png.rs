//! PNG files for a report: rounded values, a palette where it suffices, and the best compression.

use std::collections::BTreeSet;

use crate::data::Image;

/// Values of a colour channel are rounded to this many steps (5 bits): in small pictures the eye sees no difference.
const COLOUR_STEPS: f32 = 31.0;
/// Gray values are rounded to this many steps (6 bits), so that they fit a palette with the colours of contours.
const GRAY_STEPS: f32 = 63.0;

/// The image in steps from its smallest to its largest value; images of 3 channels stay coloured, others become gray.
///
/// [`contour_overlay`](crate::data::contour_overlay) stretches the steps to black and white.
pub(super) fn rounded(image: &Image) -> Image {
    let (channels, steps, mut data) = match image.channels {
        3 => (3, COLOUR_STEPS, image.data.clone()),
        _ => (1, GRAY_STEPS, image.gray()),
    };
    let (low, high) = data.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let scale = if high > low { steps / (high - low) } else { 0.0 };
    data.iter_mut().for_each(|v| *v = ((*v - low) * scale).round());
    Image { channels, data, ..*image }
}

/// The PNG file of an RGB image with values in [0, 1]: indexed where it has at most 256 colours.
///
/// # Panics
/// When the image has not three channels.
pub(super) fn small_png(image: &Image) -> Vec<u8> {
    assert_eq!(image.channels, 3, "red, green and blue");
    let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
    let (r, g, b) = (image.plane(0), image.plane(1), image.plane(2));
    let pixels: Vec<[u8; 3]> = (0..r.len()).map(|i| [byte(r[i]), byte(g[i]), byte(b[i])]).collect();
    let colours: Vec<[u8; 3]> = pixels.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let is_indexed = colours.len() <= 256;
    let bytes: Vec<u8> = if is_indexed {
        pixels.iter().map(|p| colours.partition_point(|c| c < p) as u8).collect()
    } else {
        pixels.concat()
    };
    let encode = |filter| encoded(&bytes, (image.width, image.height), is_indexed.then(|| colours.concat()), filter);
    let plain = encode(png::Filter::NoFilter);
    let filtered = encode(png::Filter::Adaptive);
    if filtered.len() < plain.len() { filtered } else { plain }
}

fn encoded(bytes: &[u8], size: (usize, usize), palette: Option<Vec<u8>>, filter: png::Filter) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.0 as u32, size.1 as u32);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(if palette.is_some() { png::ColorType::Indexed } else { png::ColorType::Rgb });
    if let Some(palette) = palette {
        encoder.set_palette(palette);
    }
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(filter);
    let written = encoder.write_header().and_then(|mut w| {
        w.write_image_data(bytes)?;
        w.finish()
    });
    written.expect("a vector takes all bytes of an image of this size");
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_steps_of_their_range() {
        let image = Image { channels: 1, height: 1, width: 3, data: vec![-1.0, 0.0, 3.0] };
        assert_eq!(rounded(&image).data, [0.0, 16.0, 63.0]);
        assert_eq!(rounded(&Image::filled(3, 1, 1, 7.0)).data, [0.0, 0.0, 0.0]);
        assert_eq!(rounded(&Image::filled(5, 2, 2, 7.0)).channels, 1);
    }

    #[test]
    fn few_colours_are_indexed_many_are_not_and_both_read_back() {
        for (side, colour) in [(15, png::ColorType::Indexed), (20, png::ColorType::Rgb)] {
            let n = side * side;
            let red = (0..n).map(|i| (i % 251) as f32 / 255.0);
            let green = (0..n).map(|i| (i / 251) as f32 / 255.0);
            let data: Vec<f32> = red.chain(green).chain(std::iter::repeat_n(0.4, n)).collect();
            let file = small_png(&Image { channels: 3, height: side, width: side, data: data.clone() });
            let reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
            assert_eq!(reader.info().color_type, colour);
            let back = image::load_from_memory(&file).unwrap().to_rgb8();
            for (i, pixel) in back.pixels().enumerate() {
                assert_eq!([data[i], data[n + i], data[2 * n + i]].map(|v| (v * 255.0).round() as u8), pixel.0);
            }
        }
    }
}
