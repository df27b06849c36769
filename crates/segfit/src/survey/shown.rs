//! Small pictures of prepared images with the contours of their masks.

use serde::Serialize;

use super::SurveyOptions;
use super::facts::Facts;
use super::small_png::{rounded, small_png};
use crate::data::{Dataset, Image, Mask, contour_overlay, resize_image, resize_mask};
use crate::error::Result;

/// A picture is drawn smaller as long as its file is larger than this: noise does not compress, and blurs when shrunk.
const MOST_BYTES: usize = 16 << 10;
/// Pictures are not drawn smaller than this, in pixels of their longer side.
const LEAST_SIDE: usize = 96;

/// A training image as the network sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shown {
    /// The image's name; of a tile also its place, see [`tiles`](crate::data::tiles).
    pub name: String,
    /// JPEG complexity of the prepared image (the mean of its tiles), in bytes per pixel.
    pub complexity: f64,
    /// Share of foreground of the whole image, in [0, 1].
    pub foreground: f64,
    /// Rows of the image file.
    pub native_height: usize,
    /// Columns of the image file.
    pub native_width: usize,
    /// Rows of the picture.
    pub height: usize,
    /// Columns of the picture.
    pub width: usize,
    /// The picture as a PNG file: the prepared image, its values stretched to black and white and rounded, with the inner contours
    /// of its mask in sky blue, see [`contour_overlay`]. For patches it is the tile whose complexity is nearest to the
    /// mean of all.
    pub png: Vec<u8>,
}

impl Shown {
    pub(super) fn of(dataset: &Dataset, facts: &Facts, options: &SurveyOptions) -> Result<Self> {
        let (mut number, mut wanted) = (0, None);
        dataset.for_each_prepared(facts.index, &options.input, &mut |sample| {
            if number == facts.sample {
                wanted = Some(sample);
            }
            number += 1;
            Ok(())
        })?;
        let sample = wanted.expect("the same pair gives the same samples");
        let (height, width, png) = thumbnail(&sample.image, Some(&sample.mask), None, options.side);
        Ok(Self {
            name: sample.name,
            complexity: facts.complexity.unwrap_or_default(),
            foreground: facts.foreground(),
            native_height: facts.height,
            native_width: facts.width,
            height,
            width,
            png,
        })
    }
}

/// Rows, columns and PNG file of a small picture of `image` with the contours of masks, as [`contour_overlay`] draws them. The longer
/// side has at most `side` pixels, fewer where the file would be large.
///
/// # Panics
/// When a mask has another size than the image.
#[must_use]
pub fn thumbnail(
    image: &Image,
    truth: Option<&Mask>,
    predicted: Option<&Mask>,
    side: usize,
) -> (usize, usize, Vec<u8>) {
    let mut side = side;
    loop {
        let (height, width) = shrunk((image.height, image.width), side);
        let image = rounded(&resize_image(image, height, width));
        let small = |mask: &Mask| resize_mask(mask, height, width);
        let predicted = predicted.map_or_else(|| Mask::background(height, width), small);
        let png = small_png(&contour_overlay(&image, truth.map(small).as_ref(), &predicted));
        let smaller = side.min(height.max(width)) * 4 / 5;
        if png.len() <= MOST_BYTES || smaller < LEAST_SIDE {
            return (height, width, png);
        }
        side = smaller;
    }
}

/// A size of the same form whose longer side is at most `side`.
fn shrunk((height, width): (usize, usize), side: usize) -> (usize, usize) {
    let longer = height.max(width);
    let to = |n: usize| if longer <= side { n } else { ((2 * n * side + longer) / (2 * longer)).max(1) };
    (to(height), to(width))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{INPUT, clean, open};
    use super::super::{SurveyOptions, survey};
    use super::*;
    use crate::data::Sample;
    use crate::recipe::{InputMode, InputSpec};

    #[test]
    fn sizes_keep_their_form_and_are_never_enlarged() {
        assert_eq!(shrunk((320, 640), 160), (80, 160));
        assert_eq!(shrunk((100, 60), 160), (100, 60));
        assert_eq!(shrunk((2, 4000), 160), (1, 160));
    }

    #[test]
    fn a_picture_is_a_small_png_with_the_contour_in_sky_blue() {
        let dataset = open(&clean());
        let shown = survey(&dataset, &SurveyOptions { side: 24, ..SurveyOptions::new(INPUT) }).unwrap().simplest;
        let picture = image::load_from_memory(&shown[0].png).unwrap().to_rgb8();
        assert_eq!((shown[0].height, shown[0].width, picture.height(), picture.width()), (24, 24, 24, 24));
        assert_eq!((shown[0].native_height, shown[0].native_width), (48, 48));
        assert!(picture.pixels().any(|p| p.0 == [86, 180, 233]), "a contour");
        assert!(shown[0].foreground > 0.0 && shown[0].png.len() < 4096);
    }

    #[test]
    fn noise_is_drawn_smaller_until_its_file_is_small() {
        let mut random = crate::random::Stream::new(&[1]);
        let data = (0..3 * 256 * 256).map(|_| random.range(0.0, 1.0)).collect();
        let image = Image { channels: 3, height: 256, width: 256, data };
        let sample = Sample { name: "n".into(), image, mask: Mask::background(256, 256), instances: None };
        let (height, width, png) = thumbnail(&sample.image, Some(&sample.mask), None, 160);
        assert!((LEAST_SIDE..160).contains(&height) && height == width && png.len() < 3 * 160 * 160 / 2);
    }

    #[test]
    fn a_tile_is_shown_where_the_network_sees_tiles() {
        let dataset = open(&clean());
        let input = InputSpec { mode: InputMode::Patch, size: 32 };
        let shown = survey(&dataset, &SurveyOptions::new(input)).unwrap().simplest;
        assert!(shown[0].name.contains('@') && shown[0].height == 32, "{}", shown[0].name);
    }
}
