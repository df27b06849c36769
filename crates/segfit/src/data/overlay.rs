//! Contours of masks drawn over an image, for people.

use super::image::{Image, Mask};

/// Okabe and Ito's sky blue: the truth.
const TRUTH: [f32; 3] = [86.0 / 255.0, 180.0 / 255.0, 233.0 / 255.0];
/// Okabe and Ito's yellow: the prediction. Their orange and vermilion are lost on fundus images.
const PREDICTED: [f32; 3] = [240.0 / 255.0, 228.0 / 255.0, 66.0 / 255.0];
/// Okabe and Ito's bluish green: both.
const BOTH: [f32; 3] = [0.0, 158.0 / 255.0, 115.0 / 255.0];

/// The image as RGB in [0, 1] with the objects' inner contours: the prediction yellow, the truth sky blue, green where
/// they coincide; one pixel wide, one more for every 512 pixels of the shorter side.
///
/// The colours are told apart with every common colour blindness (Okabe and Ito 2008, Color Universal Design). The
/// image's values are stretched from their smallest and largest to 0 and 1; images of 3 channels are shown in colour,
/// others by their luma.
///
/// # Panics
/// When a mask has another size than the image.
#[must_use]
pub fn contour_overlay(image: &Image, truth: Option<&Mask>, predicted: &Mask) -> Image {
    let (h, w) = (image.height, image.width);
    for mask in truth.into_iter().chain([predicted]) {
        assert_eq!((mask.height, mask.width), (h, w), "mask and image must have one size");
    }
    let mut rgb = as_rgb(image);
    let thickness = 1 + h.min(w) / 512;
    let predicted = contour(predicted, thickness);
    let truth = truth.map(|m| contour(m, thickness));
    for i in 0..h * w {
        let colour = match (truth.as_ref().is_some_and(|t| t[i]), predicted[i]) {
            (true, true) => BOTH,
            (true, false) => TRUTH,
            (false, true) => PREDICTED,
            (false, false) => continue,
        };
        for (c, value) in colour.into_iter().enumerate() {
            rgb.data[c * h * w + i] = value;
        }
    }
    rgb
}

fn as_rgb(image: &Image) -> Image {
    let mut data = if image.channels == 3 { image.data.clone() } else { image.gray().repeat(3) };
    let (low, high) = data.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let scale = if high > low { 1.0 / (high - low) } else { 1.0 };
    data.iter_mut().for_each(|v| *v = ((*v - low) * scale).clamp(0.0, 1.0));
    Image { channels: 3, height: image.height, width: image.width, data }
}

/// Foreground pixels with a pixel of another class at most `thickness` steps away along a row or a column.
fn contour(mask: &Mask, thickness: usize) -> Vec<bool> {
    let (h, w) = (mask.height, mask.width);
    let at = |y: usize, x: usize| mask.data[y * w + x];
    let mut out = vec![false; h * w];
    for y in 0..h {
        for x in 0..w {
            let class = at(y, x);
            out[y * w + x] = class > 0
                && (1..=thickness).any(|d| {
                    (y >= d && at(y - d, x) != class)
                        || (y + d < h && at(y + d, x) != class)
                        || (x >= d && at(y, x - d) != class)
                        || (x + d < w && at(y, x + d) != class)
                });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(low: usize, high: usize) -> Mask {
        let inside = |i: usize| (low..high).contains(&(i / 5)) && (low..high).contains(&(i % 5));
        Mask { height: 5, width: 5, data: (0..25).map(|i| u8::from(inside(i))).collect() }
    }

    #[test]
    fn a_square_of_three_has_a_ring_and_keeps_its_centre() {
        let ring = contour(&square(1, 4), 1);
        assert_eq!(ring.iter().filter(|v| **v).count(), 8);
        assert!(!ring[12]);
        assert!(contour(&square(0, 5), 1).iter().all(|v| !v), "the image's border is no contour");
    }

    #[test]
    fn truth_prediction_and_both_have_their_colours() {
        let image = Image { channels: 1, height: 5, width: 5, data: (0..25).map(|v| v as f32).collect() };
        let out = contour_overlay(&image, Some(&square(1, 4)), &square(1, 3));
        let pixel = |i: usize| [out.data[i], out.data[25 + i], out.data[50 + i]];
        assert_eq!(pixel(6), BOTH);
        assert_eq!(pixel(18), TRUTH);
        assert_eq!(pixel(12), PREDICTED);
        assert_eq!(pixel(24), [1.0; 3], "the largest value becomes white");
        assert_eq!(pixel(0), [0.0; 3]);
    }
}
