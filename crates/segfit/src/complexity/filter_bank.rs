//! A fixed multi-scale filter bank: what a linear pixel classifier gets to see of an image.

use super::Pyramid;
use super::pyramid::{Level, SMALLEST, pooled};
use crate::data::Image;

/// Scales of the bank: 1, 1/2, 1/4 and 1/8.
pub const BANK_SCALES: usize = 4;

/// At most this many pixels of an image are described.
pub const BANK_PIXELS: usize = 4096;

/// Filter responses at some pixels of one image, with the pixels' classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Responses {
    /// One vector per filter; each has one value per pixel.
    pub filters: Vec<Vec<f32>>,
    /// Whether the pixel is foreground (any class but 0), in the order of the filters' values.
    pub foreground: Vec<bool>,
}

/// The responses of the filter bank on a regular grid of pixels; 4 (C + 3) filters for C channels, so 16 or 24 for gray
/// and RGB images.
///
/// At each of the scales 1, 1/2, 1/4 and 1/8 of the pyramid (the coarsest that exists stands for those that do not), in
/// this order:
///
/// 1. the gray value;
/// 2. the Sobel magnitude (see [`sobel_magnitude`](super::sobel_magnitude));
/// 3. the Laplacian: the sum of the 4 neighbours minus 4 times the pixel;
/// 4. the standard deviation (divided by 25) of the 5 x 5 pixels around;
/// 5. for every channel but the last (its information is in the gray value): the channel minus the gray value.
///
/// Filters 2 and 3 at a pixel of the border, and 4 within two pixels of it, take the value of the nearest pixel where
/// they fit. Coarse responses are interpolated bilinearly between the centres of the blocks.
///
/// The grid is every s-th row and column from s / 2 (rounded down) on, with the smallest s for which it has at most
/// [`BANK_PIXELS`] pixels: 64 x 64 of 256 x 256. `image` has the size of the pyramid's first level. `None` below 8 x 8.
///
/// ```
/// use segfit::complexity::{Pyramid, responses};
/// use segfit::data::{Image, Mask, Sample};
/// let sample = Sample {
///     name: "a".into(), image: Image::filled(3, 64, 32, 0.5), mask: Mask::background(64, 32), instances: None,
/// };
/// let bank = responses(&Pyramid::new(&sample), &sample.image).unwrap();
/// assert_eq!((bank.filters.len(), bank.foreground.len()), (24, 2048));
/// ```
///
/// Source: the choice is ours, after the pixel features of ilastik (Berg et al. 2019) and Weka segmentation
/// (Arganda-Carreras et al. 2017), with block means for Gaussian smoothing.
#[must_use]
pub fn responses(pyramid: &Pyramid, image: &Image) -> Option<Responses> {
    let full = pyramid.level(0).filter(|l| l.height.min(l.width) >= SMALLEST)?;
    let grid = Grid::new(full.height, full.width);
    let mut colours = Colours::new(image, full);
    let mut filters = Vec::with_capacity(BANK_SCALES * (image.channels + 3));
    for s in 0..BANK_SCALES {
        let scale = s.min(pyramid.levels.len() - 1);
        let level = pyramid.level(scale)?;
        if scale > 0 && scale == s {
            colours = colours.halved();
        }
        let (gray, gradient) = (&level.gray, level.gradient());
        let (h, w) = (level.height, level.width);
        filters.push(grid.sample(scale, h, w, 0, |y, x| gray[y * w + x]));
        filters.push(grid.sample(scale, h, w, 1, |y, x| gradient[(y - 1) * (w - 2) + x - 1]));
        filters.push(grid.sample(scale, h, w, 1, |y, x| laplacian(gray, w, y, x)));
        filters.push(grid.sample(scale, h, w, 2, |y, x| deviation(gray, w, y, x)));
        for plane in &colours.sums {
            filters.push(grid.sample(scale, h, w, 0, |y, x| plane[y * w + x] / colours.pixels[y * w + x]));
        }
    }
    let foreground = grid.pixels().map(|(y, x)| full.classes[y * full.width + x] > 0).collect();
    Some(Responses { filters, foreground })
}

/// Per block: the sum of channel minus gray value, for all channels but the last, and the number of pixels.
struct Colours {
    height: usize,
    width: usize,
    sums: Vec<Vec<f32>>,
    pixels: Vec<f32>,
}

impl Colours {
    fn new(image: &Image, full: &Level) -> Self {
        let colour = |c: usize| image.plane(c).iter().zip(&full.gray).map(|(v, g)| v - g).collect();
        Self {
            height: full.height,
            width: full.width,
            sums: (0..image.channels - 1).map(colour).collect(),
            pixels: vec![1.0; full.gray.len()],
        }
    }

    fn halved(&self) -> Self {
        let (h, w) = (self.height, self.width);
        Self {
            height: h.div_ceil(2),
            width: w.div_ceil(2),
            sums: self.sums.iter().map(|s| pooled(s, h, w)).collect(),
            pixels: if self.sums.is_empty() { Vec::new() } else { pooled(&self.pixels, h, w) },
        }
    }
}

/// The rows and columns at which an image is described.
struct Grid {
    rows: Vec<usize>,
    columns: Vec<usize>,
}

impl Grid {
    fn new(height: usize, width: usize) -> Self {
        let lines = |length: usize, step: usize| (step / 2..length).step_by(step);
        let fits = |&step: &usize| lines(height, step).len() * lines(width, step).len() <= BANK_PIXELS;
        let step = (1..).find(fits).unwrap_or(1);
        Self { rows: lines(height, step).collect(), columns: lines(width, step).collect() }
    }

    fn pixels(&self) -> impl Iterator<Item = (usize, usize)> {
        self.rows.iter().flat_map(|&y| self.columns.iter().map(move |&x| (y, x)))
    }

    /// The values at the grid's pixels of a filter that is computed on the level of a scale.
    ///
    /// The filter fits `margin` or more pixels from the level's border.
    fn sample(
        &self,
        scale: usize,
        height: usize,
        width: usize,
        margin: usize,
        value: impl Fn(usize, usize) -> f32,
    ) -> Vec<f32> {
        let inside = |v: usize, length: usize| v.clamp(margin, length - 1 - margin);
        let at = |y: usize, x: usize| value(inside(y, height), inside(x, width));
        if scale == 0 {
            return self.pixels().map(|(y, x)| at(y, x)).collect();
        }
        let mut map = Vec::with_capacity(height * width);
        (0..height).for_each(|y| map.extend((0..width).map(|x| at(y, x))));
        let columns: Vec<_> = self.columns.iter().map(|&x| between(x, scale, width)).collect();
        let mut out = Vec::with_capacity(self.rows.len() * columns.len());
        for (top, low, t) in self.rows.iter().map(|&y| between(y, scale, height)) {
            let (a, b) = (&map[top * width..(top + 1) * width], &map[low * width..(low + 1) * width]);
            out.extend(columns.iter().map(|&(left, right, u)| {
                let (above, below) = (mix(a[left], a[right], u), mix(b[left], b[right], u));
                mix(above, below, t)
            }));
        }
        out
    }
}

/// The two blocks of a scale between whose centres the centre of a pixel lies, and how far it is from the first (0 to 1).
fn between(pixel: usize, scale: usize, blocks: usize) -> (usize, usize, f32) {
    let place = ((pixel as f32 + 0.5) / (1_u32 << scale) as f32 - 0.5).clamp(0.0, (blocks - 1) as f32);
    let first = place as usize;
    (first, (first + 1).min(blocks - 1), place - first as f32)
}

fn mix(a: f32, b: f32, share: f32) -> f32 {
    a + share * (b - a)
}

fn laplacian(gray: &[f32], width: usize, y: usize, x: usize) -> f32 {
    let i = y * width + x;
    (gray[i - width] + gray[i + width]) + (gray[i - 1] + gray[i + 1]) - 4.0 * gray[i]
}

fn deviation(gray: &[f32], width: usize, y: usize, x: usize) -> f32 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for row in gray[(y - 2) * width + x - 2..].chunks(width).take(5) {
        for &v in &row[..5] {
            let v = f64::from(v);
            sum += v;
            squares += v * v;
        }
    }
    ((squares - sum * sum / 25.0) / 25.0).max(0.0).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Mask, Sample};

    fn sample(channels: usize, height: usize, width: usize, value: impl Fn(usize, usize, usize) -> f32) -> Sample {
        let places = (0..channels).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))));
        Sample {
            name: "a".into(),
            image: Image { channels, height, width, data: places.map(|(c, y, x)| value(c, y, x)).collect() },
            mask: Mask { height, width, data: (0..height * width).map(|i| (i % width / (width / 2)) as u8).collect() },
            instances: None,
        }
    }

    fn bank(sample: &Sample) -> Responses {
        responses(&Pyramid::new(sample), &sample.image).unwrap()
    }

    #[test]
    fn a_ramp_is_a_ramp_at_all_scales() {
        let ramp = bank(&sample(1, 64, 64, |_, _, x| x as f32 / 64.0));
        assert_eq!((ramp.filters.len(), ramp.foreground.len()), (16, 4096));
        for (scale, filters) in ramp.filters.chunks(4).enumerate() {
            let middle = 20 * 64 + 24;
            let step = (1 << scale) as f32 / 64.0;
            let wanted = [24.0 / 64.0, 8.0 * step, 0.0, 2.0_f32.sqrt() * step];
            for (got, want) in filters.iter().map(|f| f[middle]).zip(wanted) {
                assert!((got - want).abs() < 1e-6, "scale {scale}: {got} for {want}");
            }
        }
        assert!(ramp.filters[12][0] > 0.0, "left of the first centre at 1/8 the first block's mean, 3.5 / 64");
        assert_eq!(ramp.filters[12][0], 3.5 / 64.0);
    }

    #[test]
    fn colours_are_seen_as_differences_from_gray() {
        // Red 0.5, green and blue 0.25; gray is 0.299 * 0.25 above 0.25.
        let red = bank(&sample(3, 40, 24, |c, _, _| if c == 0 { 0.5 } else { 0.25 }));
        assert_eq!(red.filters.len(), 24);
        for filters in red.filters.chunks(6) {
            for (filter, want) in filters.iter().zip([0.32475, 0.0, 0.0, 0.0, 0.17525, -0.07475]) {
                assert!(filter.iter().all(|v| (v - want).abs() < 1e-6), "{} for {want}", filter[0]);
            }
        }
    }

    #[test]
    fn a_colour_that_rises_is_a_ramp_at_all_scales() {
        // Two channels: gray is their mean 0.5, and the first is x / 64 above it.
        let slope = |c, _, x| 0.5 + if c == 0 { x as f32 / 64.0 } else { -(x as f32) / 64.0 };
        let rising = bank(&sample(2, 64, 64, slope));
        assert_eq!(rising.filters.len(), 20);
        for filters in rising.filters.chunks(5) {
            let (first, middle) = (filters[4][0], filters[4][20 * 64 + 24]);
            assert!((middle - 24.0 / 64.0).abs() < 1e-6, "{middle}");
            assert!((filters[0][0] - 0.5).abs() < 1e-6 && first < 4.0 / 64.0);
        }
        let corners: Vec<f32> = rising.filters.chunks(5).map(|f| f[4][0] * 64.0).collect();
        assert_eq!(corners, [0.0, 0.5, 1.5, 3.5], "the means of the first 1, 2, 4 and 8 columns");
    }

    #[test]
    fn the_grid_has_at_most_4096_pixels_and_carries_their_classes() {
        let large = bank(&sample(1, 100, 300, |_, y, x| (y * 300 + x) as f32));
        // Every third row from 1 on (33), every third column from 1 on (100).
        assert_eq!(large.foreground.len(), 3300);
        assert_eq!(&large.filters[0][..2], &[301.0, 304.0]);
        assert!(!large.foreground[49] && large.foreground[50], "columns 148 and 151");
    }

    #[test]
    fn a_small_image_repeats_its_coarsest_scale_and_a_tiny_one_has_none() {
        let small = bank(&sample(2, 16, 16, |c, y, x| ((c + 3 * y + 5 * x) % 7) as f32));
        assert_eq!(small.filters[5..10], small.filters[10..15]);
        assert_ne!(small.filters[0..5], small.filters[5..10]);
        let tiny = sample(1, 7, 30, |_, _, _| 0.0);
        assert_eq!(responses(&Pyramid::new(&tiny), &tiny.image), None);
    }
}
