//! The same image and mask at scales 1, 1/2, ..., 1/16: what each level of a network gets to see.

use std::cell::OnceCell;

use super::canny::canny_edges;
use super::frequency::{PowerSpectrum, Spectrum, summary};
use super::glcm::{Texture, texture};
use super::jpeg::{JpegRates, QUALITY, jpeg_rates};
use super::objects::{Object, Runs, components, measured, numbered};
use super::sobel::sobel_magnitude;
use crate::data::Sample;

/// Number of scales: 1, 1/2, 1/4, 1/8, 1/16.
pub const SCALES: usize = 5;

/// A level has at least this many rows and columns.
pub const SMALLEST: usize = 8;

/// One scale of one sample. Values that several measures share are computed once, when first asked for.
#[derive(Debug)]
pub struct Level {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Luma, nominally 0 to 1, row by row.
    pub gray: Vec<f32>,
    /// The luma in 8 bits: round(255 * gray), clamped to 0..=255.
    pub bytes: Vec<u8>,
    /// Class of every pixel, 0 is background.
    pub classes: Vec<u8>,
    /// Instance labels, at full size only and only where the sample has them.
    pub instances: Option<Vec<u32>>,
    jpeg: OnceCell<Option<JpegRates>>,
    gradient: OnceCell<Vec<f32>>,
    runs: OnceCell<Runs>,
    objects: OnceCell<Vec<Object>>,
    power: OnceCell<Option<PowerSpectrum>>,
    spectrum: OnceCell<Option<Spectrum>>,
    edges: OnceCell<Vec<bool>>,
    texture: OnceCell<Option<Texture>>,
}

/// A sample at all scales that keep at least 8 rows and columns.
///
/// Level s covers the full-size image with blocks of 2^s x 2^s pixels (smaller at the right and lower edge when the size
/// is not divisible). A block's gray value is the mean of its pixels. A block is foreground when at least half of its
/// pixels are (a tie is foreground), and then takes its most frequent foreground class (a tie takes the lowest).
#[derive(Debug)]
pub struct Pyramid {
    /// The levels, full size first; at least one.
    pub levels: Vec<Level>,
    /// Number of classes of the data set, background included; at least 2 and above the highest of the sample.
    pub classes: usize,
}

impl Pyramid {
    /// The pyramid of a sample.
    ///
    /// Image values are nominally in 0..1, the mask is of the image's size.
    #[must_use]
    pub fn new(sample: &Sample) -> Self {
        let (height, width) = (sample.image.height, sample.image.width);
        let gray = sample.image.gray();
        let classes = &sample.mask.data;
        let mut levels = vec![Level::new(height, width, gray, classes.clone(), sample.instances.clone())];
        let kinds = kinds_of(classes);
        let mut sums = Sums::new(height, width, &levels[0].gray, classes, &kinds);
        for _ in 1..SCALES {
            sums = sums.halved();
            if sums.height.min(sums.width) < SMALLEST {
                break;
            }
            levels.push(sums.level(&kinds));
        }
        let classes = kinds.last().map_or(2, |&k| usize::from(k) + 1).max(2);
        Self { levels, classes }
    }

    /// The level of a scale (0 is full size), `None` where it would be smaller than 8 x 8.
    #[must_use]
    pub fn level(&self, scale: usize) -> Option<&Level> {
        self.levels.get(scale)
    }
}

impl Level {
    /// A level from its planes, all `height * width` long.
    #[must_use]
    pub fn new(height: usize, width: usize, gray: Vec<f32>, classes: Vec<u8>, instances: Option<Vec<u32>>) -> Self {
        let bytes = gray.iter().map(|&v| rounded(v * 255.0)).collect();
        Self {
            height,
            width,
            gray,
            bytes,
            classes,
            instances,
            jpeg: OnceCell::new(),
            gradient: OnceCell::new(),
            runs: OnceCell::new(),
            objects: OnceCell::new(),
            power: OnceCell::new(),
            spectrum: OnceCell::new(),
            edges: OnceCell::new(),
            texture: OnceCell::new(),
        }
    }

    pub(super) fn jpeg(&self) -> Option<JpegRates> {
        *self.jpeg.get_or_init(|| jpeg_rates(&self.bytes, self.height, self.width, QUALITY))
    }

    /// Magnitude of the Sobel gradient, see [`sobel_magnitude`].
    pub fn gradient(&self) -> &[f32] {
        self.gradient.get_or_init(|| sobel_magnitude(&self.gray, self.height, self.width))
    }

    /// The mask's objects: instances where they are known, connected components otherwise.
    pub fn objects(&self) -> &[Object] {
        self.objects.get_or_init(|| measured(self.runs()))
    }

    /// The mask's objects, row by row.
    pub(super) fn runs(&self) -> &Runs {
        self.runs.get_or_init(|| match &self.instances {
            Some(labels) => numbered(labels, self.width),
            None => components(&self.classes, self.height, self.width),
        })
    }

    /// The power spectrum's summary, `None` for a constant image.
    pub fn spectrum(&self) -> Option<Spectrum> {
        *self.spectrum.get_or_init(|| self.power().and_then(summary))
    }

    pub(super) fn power(&self) -> Option<&PowerSpectrum> {
        self.power.get_or_init(|| PowerSpectrum::of(&self.gray, self.height, self.width)).as_ref()
    }

    /// Whether each pixel is a Canny edge, see [`canny_edges`].
    pub fn edges(&self) -> &[bool] {
        self.edges.get_or_init(|| canny_edges(&self.gray, self.height, self.width))
    }

    /// The texture by co-occurrence matrices, see [`texture`].
    pub fn texture(&self) -> Option<Texture> {
        *self.texture.get_or_init(|| texture(&self.bytes, self.height, self.width))
    }

    /// Number of pixels that are not background.
    #[must_use]
    pub fn foreground(&self) -> usize {
        // Up to 255 pixels are counted in a byte.
        let counts = self.classes.chunks(255).map(|part| part.iter().map(|&c| u8::from(c > 0)).sum::<u8>());
        counts.map(usize::from).sum()
    }
}

/// The nearest whole number of 0 to 255, halves upwards.
fn rounded(value: f32) -> u8 {
    // The function of the standard library is a call per pixel; the difference to a number just below is exact.
    let value = value.clamp(0.0, 255.0);
    let below = value as i32;
    (below + i32::from(value - below as f32 >= 0.5)) as u8
}

/// The foreground classes that occur, ascending.
fn kinds_of(classes: &[u8]) -> Vec<u8> {
    let mut seen = [false; 256];
    for &c in classes {
        seen[usize::from(c)] = true;
    }
    (1..=255).filter(|&c| seen[usize::from(c)]).collect()
}

/// Per block: the sum of gray values, and the number of pixels of each foreground class.
struct Sums {
    height: usize,
    width: usize,
    /// Rows, or columns, of the full image per block; the last block may have fewer.
    block: usize,
    full: (usize, usize),
    gray: Vec<f32>,
    counts: Vec<Vec<u16>>,
}

impl Sums {
    fn new(height: usize, width: usize, gray: &[f32], classes: &[u8], kinds: &[u8]) -> Self {
        let counts = kinds.iter().map(|&k| classes.iter().map(|&c| u16::from(c == k)).collect()).collect();
        Self { height, width, block: 1, full: (height, width), gray: gray.to_vec(), counts }
    }

    fn halved(&self) -> Self {
        let (h, w) = (self.height, self.width);
        Self {
            height: h.div_ceil(2),
            width: w.div_ceil(2),
            block: 2 * self.block,
            full: self.full,
            gray: pooled(&self.gray, h, w),
            counts: self.counts.iter().map(|c| pooled(c, h, w)).collect(),
        }
    }

    fn level(&self, kinds: &[u8]) -> Level {
        let pixels = self.pixels();
        let gray = self.gray.iter().zip(&pixels).map(|(&g, &n)| g / f32::from(n)).collect();
        Level::new(self.height, self.width, gray, self.classes(kinds, &pixels), None)
    }

    /// The number of pixels of each block, at most 16 x 16.
    fn pixels(&self) -> Vec<u16> {
        let sides = |full: usize| (0..full).step_by(self.block).map(move |at| self.block.min(full - at) as u16);
        let columns: Vec<u16> = sides(self.full.1).collect();
        sides(self.full.0).flat_map(|rows| columns.iter().map(move |c| rows * c)).collect()
    }

    /// The most frequent class of the blocks of which at least half is foreground.
    fn classes(&self, kinds: &[u8], pixels: &[u16]) -> Vec<u8> {
        let mut foreground = vec![0; pixels.len()];
        let mut most = vec![0; pixels.len()];
        let mut classes = vec![0; pixels.len()];
        for (counts, &kind) in self.counts.iter().zip(kinds) {
            for (i, &count) in counts.iter().enumerate() {
                foreground[i] += count;
                // Of equal counts the lower class is kept.
                classes[i] = if count > most[i] { kind } else { classes[i] };
                most[i] = count.max(most[i]);
            }
        }
        for ((class, &inside), &all) in classes.iter_mut().zip(&foreground).zip(pixels) {
            *class = if 2 * inside < all { 0 } else { *class };
        }
        classes
    }
}

/// Sums over 2 x 2 blocks; blocks at the right and lower edge may be cut.
pub(super) fn pooled<T: Copy + Default + std::ops::Add<Output = T>>(
    plane: &[T],
    height: usize,
    width: usize,
) -> Vec<T> {
    let (h, w) = (height.div_ceil(2), width.div_ceil(2));
    let mut out = Vec::with_capacity(h * w);
    let none = vec![T::default(); width];
    for y in 0..h {
        let top = &plane[2 * y * width..(2 * y + 1) * width];
        let low = if 2 * y + 1 < height { &plane[(2 * y + 1) * width..(2 * y + 2) * width] } else { &none[..] };
        let pairs = top.chunks_exact(2).zip(low.chunks_exact(2));
        out.extend(pairs.map(|(a, b)| (a[0] + a[1]) + (b[0] + b[1])));
        if width % 2 == 1 {
            out.push(top[width - 1] + low[width - 1]);
        }
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::{Image, Mask};
    use proptest::prelude::*;

    /// A one-channel sample from a plane of gray values and a plane of classes.
    pub fn sample(height: usize, width: usize, data: Vec<f32>, classes: Vec<u8>) -> Sample {
        Sample {
            name: "a".into(),
            image: Image { channels: 1, height, width, data },
            mask: Mask { height, width, data: classes },
            instances: None,
        }
    }

    #[test]
    fn a_block_is_the_mean_of_its_pixels_and_a_tie_is_foreground() {
        let mut gray = vec![0.0; 256];
        (gray[0], gray[1], gray[16], gray[17]) = (1.0, 0.5, 0.5, 0.0);
        let mut classes = vec![0; 256];
        (classes[0], classes[1], classes[2]) = (1, 1, 1);
        let pyramid = Pyramid::new(&sample(16, 16, gray, classes));
        assert_eq!(pyramid.levels.len(), 2, "16 and 8; 4 is too small");
        let half = pyramid.level(1).unwrap();
        assert_eq!((half.height, half.width, half.gray[0], half.gray[1]), (8, 8, 0.5, 0.0));
        assert_eq!((half.classes[0], half.classes[1]), (1, 0), "two of four are foreground, one of four is not");
    }

    #[test]
    fn an_odd_size_keeps_its_last_row_and_column() {
        let gray: Vec<f32> = (0..17 * 17).map(|i| if i % 17 == 16 { 1.0 } else { 0.0 }).collect();
        let pyramid = Pyramid::new(&sample(17, 17, gray, vec![0; 17 * 17]));
        let half = pyramid.level(1).unwrap();
        assert_eq!((half.height, half.width), (9, 9));
        assert_eq!((half.gray[8], half.gray[7], half.gray[80]), (1.0, 0.0, 1.0), "a cut block is not diluted");
    }

    #[test]
    fn the_most_frequent_class_of_a_block_wins_and_a_tie_takes_the_lowest() {
        let mut classes = vec![0; 256];
        (classes[0], classes[1], classes[16]) = (3, 2, 3);
        (classes[2], classes[3]) = (3, 2);
        let half = &Pyramid::new(&sample(16, 16, vec![0.0; 256], classes)).levels[1];
        assert_eq!((half.classes[0], half.classes[1]), (3, 2));
    }

    proptest! {
        #[test]
        fn the_sums_of_all_scales_agree_with_direct_counting(
            h in 8_usize..40, w in 8_usize..40, seed in 0_u64..1000
        ) {
            let mut s = crate::random::Stream::new(&[seed]);
            let gray: Vec<f32> = (0..h * w).map(|_| s.below(256) as f32 / 256.0).collect();
            let classes: Vec<u8> = (0..h * w).map(|_| s.below(3) as u8).collect();
            let pyramid = Pyramid::new(&sample(h, w, gray.clone(), classes.clone()));
            for (scale, level) in pyramid.levels.iter().enumerate() {
                let b = 1 << scale;
                prop_assert_eq!((level.height, level.width), (h.div_ceil(b), w.div_ceil(b)));
                for y in 0..level.height {
                    for x in 0..level.width {
                        let inside: Vec<usize> = (y * b..((y + 1) * b).min(h))
                            .flat_map(|r| (x * b..((x + 1) * b).min(w)).map(move |c| r * w + c)).collect();
                        let mean = inside.iter().map(|&i| gray[i]).sum::<f32>() / inside.len() as f32;
                        prop_assert!((mean - level.gray[y * level.width + x]).abs() < 1e-5);
                        let count = |k: u8| inside.iter().filter(|&&i| classes[i] == k).count();
                        let (one, two) = (count(1), count(2));
                        let expected = if 2 * (one + two) < inside.len() { 0 } else if one >= two { 1 } else { 2 };
                        prop_assert_eq!(level.classes[y * level.width + x], expected);
                    }
                }
            }
        }
    }
}
