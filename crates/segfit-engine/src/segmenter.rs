//! Running a trained network on images of any size: normalise, pad or tile, infer, put together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use segfit::data::{Image, Mask, Normalisation, resize_image};
use segfit::network::NetworkSpec;
use segfit::network::schedule::{Mode, Schedule};
use segfit::recipe::{InputMode, InputSpec};

use crate::backend::{Backend, Executor};
use crate::error::Result;
use crate::state::Weights;

/// Images up to this many pixels along each side are run whole; larger ones in overlapping tiles of this size.
pub const DEFAULT_TILE: usize = 512;

/// A trained network with its pre-processing.
pub struct Segmenter<'a> {
    backend: &'a dyn Backend,
    spec: &'a NetworkSpec,
    weights: Weights,
    normalisation: Normalisation,
    input: InputSpec,
    tile: usize,
    /// One executor for each size met, with the current weights.
    executors: BTreeMap<(usize, usize), Box<dyn Executor>>,
}

impl<'a> Segmenter<'a> {
    /// A segmenter with these weights.
    #[must_use]
    pub fn new(
        backend: &'a dyn Backend,
        spec: &'a NetworkSpec,
        weights: Weights,
        normalisation: Normalisation,
        input: InputSpec,
    ) -> Self {
        Self { backend, spec, weights, normalisation, input, tile: DEFAULT_TILE, executors: BTreeMap::new() }
    }

    /// Another tile size, rounded up to what the network accepts.
    #[must_use]
    pub fn with_tile(mut self, tile: usize) -> Self {
        self.tile = tile.max(16);
        self
    }

    /// Classes including background.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.spec.classes
    }

    /// Replaces the weights.
    ///
    /// # Errors
    /// When they belong to another network.
    pub fn set_weights(&mut self, weights: Weights) -> Result<()> {
        for executor in self.executors.values_mut() {
            executor.load(&weights)?;
        }
        self.weights = weights;
        Ok(())
    }

    /// The class of every pixel of an image as it lies on disk: in resize mode the frame is resized to the network's
    /// size and the probabilities back to the frame's; in patch mode the image is run at its own scale.
    ///
    /// # Errors
    /// When the image's channels do not fit the network or the device fails.
    pub fn segment(&mut self, image: &Image) -> Result<Mask> {
        Ok(most_probable(&self.probabilities(image)?))
    }

    /// The probability of every class, one channel each, in the image's size.
    ///
    /// # Errors
    /// As [`Self::segment`].
    pub fn probabilities(&mut self, image: &Image) -> Result<Image> {
        match self.input.mode {
            InputMode::Patch => self.probabilities_prepared(image),
            InputMode::Resize => {
                let size = self.input.size;
                let small = self.probabilities_prepared(&resize_image(image, size, size))?;
                Ok(resize_image(&small, image.height, image.width))
            }
        }
    }

    /// The class of every pixel of an image that is at the network's scale already.
    ///
    /// # Errors
    /// As [`Self::segment`].
    pub fn segment_prepared(&mut self, image: &Image) -> Result<Mask> {
        Ok(most_probable(&self.probabilities_prepared(image)?))
    }

    fn probabilities_prepared(&mut self, image: &Image) -> Result<Image> {
        if image.channels != self.spec.in_channels() {
            return Err(segfit::Error::Option {
                what: "image".into(),
                expected: format!("{} channels, as the network was made for", self.spec.in_channels()),
                got: format!("{} channels", image.channels),
            }
            .into());
        }
        let mut normalised = image.clone();
        self.normalisation.apply(&mut normalised);
        if image.height <= self.tile && image.width <= self.tile {
            return self.run(&normalised);
        }
        self.run_tiles(&normalised)
    }

    /// Tiles overlap by half; each pixel is the mean of its tiles, weighted by the distance to the tile's edge.
    fn run_tiles(&mut self, image: &Image) -> Result<Image> {
        let classes = self.spec.classes;
        let tile = self.tile;
        let (th, tw) = (tile.min(image.height), tile.min(image.width));
        let mut sum = Image::filled(classes, image.height, image.width, 0.0);
        let mut weight = vec![0.0_f32; image.height * image.width];
        for top in starts(image.height, th) {
            for left in starts(image.width, tw) {
                let part = self.run(&cut(image, top, left, th, tw))?;
                for y in 0..th {
                    for x in 0..tw {
                        let w = edge_weight(y, th) * edge_weight(x, tw);
                        let at = (top + y) * image.width + left + x;
                        weight[at] += w;
                        for c in 0..classes {
                            sum.data[c * image.height * image.width + at] += w * part.data[(c * th + y) * tw + x];
                        }
                    }
                }
            }
        }
        for (i, value) in sum.data.iter_mut().enumerate() {
            *value /= weight[i % weight.len()];
        }
        Ok(sum)
    }

    /// One run of the network: padded by reflection to the next allowed size, cropped back, softmax over classes.
    fn run(&mut self, image: &Image) -> Result<Image> {
        let multiple = self.spec.input_multiple();
        let (h, w) = (image.height.next_multiple_of(multiple), image.width.next_multiple_of(multiple));
        let executor = match self.executors.entry((h, w)) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(free) => {
                let schedule = Schedule::new(self.spec, Mode::Infer, 1, h, w)?;
                let mut made = self.backend.compile(self.spec, schedule, None)?;
                made.load(&self.weights)?;
                free.insert(made)
            }
        };
        let mut logits = Vec::new();
        executor.infer(&pad(image, h, w), &mut logits)?;
        let classes = self.spec.classes;
        let mut out = Image::filled(classes, image.height, image.width, 0.0);
        let (n, inner) = (h * w, image.height * image.width);
        for y in 0..image.height {
            for x in 0..image.width {
                let from = y * w + x;
                let most = (0..classes).map(|c| logits[c * n + from]).fold(f32::NEG_INFINITY, f32::max);
                let total: f32 = (0..classes).map(|c| (logits[c * n + from] - most).exp()).sum();
                for c in 0..classes {
                    out.data[c * inner + y * image.width + x] = (logits[c * n + from] - most).exp() / total;
                }
            }
        }
        Ok(out)
    }
}

/// The class with the highest probability, the lower one on a tie.
fn most_probable(probabilities: &Image) -> Mask {
    let n = probabilities.height * probabilities.width;
    let best = |i: usize| {
        (1..probabilities.channels)
            .fold(0, |best, c| if probabilities.data[c * n + i] > probabilities.data[best * n + i] { c } else { best })
    };
    Mask { height: probabilities.height, width: probabilities.width, data: (0..n).map(|i| best(i) as u8).collect() }
}

/// Tile starts that cover `n` pixels with tiles of `tile`, overlapping by half, the last one at the end.
fn starts(n: usize, tile: usize) -> Vec<usize> {
    let step = (tile / 2).max(1);
    let mut all: Vec<usize> = (0..).map(|i| i * step).take_while(|s| s + tile < n).collect();
    all.push(n - tile);
    all
}

fn edge_weight(position: usize, n: usize) -> f32 {
    (position + 1).min(n - position) as f32
}

fn cut(image: &Image, top: usize, left: usize, height: usize, width: usize) -> Image {
    let mut out = Image::filled(image.channels, height, width, 0.0);
    for c in 0..image.channels {
        for y in 0..height {
            let from = (top + y) * image.width + left;
            let to = (c * height + y) * width;
            out.data[to..to + width].copy_from_slice(&image.plane(c)[from..from + width]);
        }
    }
    out
}

/// Continues an image to the bottom and right by reflection (by repetition where it is too small to reflect).
fn pad(image: &Image, height: usize, width: usize) -> Vec<f32> {
    if (height, width) == (image.height, image.width) {
        return image.data.clone();
    }
    let index = |i: usize, n: usize| if i < n { i } else { (2 * n).checked_sub(i + 2).unwrap_or(n - 1) };
    let mut out = Vec::with_capacity(image.channels * height * width);
    for c in 0..image.channels {
        let plane = image.plane(c);
        for y in 0..height {
            let row = &plane[index(y, image.height) * image.width..][..image.width];
            out.extend((0..width).map(|x| row[index(x, image.width)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuBackend;
    use crate::initialise::initialise;
    use segfit::network::families::{UnetOptions, unet};
    use segfit::random::Stream;

    #[test]
    fn tiles_cover_everything() {
        assert_eq!(starts(10, 4), [0, 2, 4, 6]);
        assert_eq!(starts(4, 4), [0]);
        assert_eq!(starts(9, 4), [0, 2, 4, 5]);
    }

    #[test]
    fn reflection_and_repetition_by_hand() {
        let image = Image { channels: 1, height: 1, width: 3, data: vec![1.0, 2.0, 3.0] };
        assert_eq!(pad(&image, 2, 5), [1.0, 2.0, 3.0, 2.0, 1.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
    }

    fn noise(height: usize, width: usize) -> Image {
        let mut stream = Stream::new(&[5]);
        Image { channels: 1, height, width, data: (0..height * width).map(|_| stream.unit()).collect() }
    }

    #[test]
    fn odd_sizes_are_padded_and_cropped_and_probabilities_sum_to_one() {
        let spec = unet(&UnetOptions { in_channels: 1, classes: 3, base_width: 2, depth: 2 }).unwrap();
        let backend = CpuBackend::detect();
        let weights = initialise(&spec, 3).unwrap();
        let normalisation = Normalisation { mean: vec![0.5], std: vec![0.3] };
        let input = InputSpec { mode: InputMode::Patch, size: 16 };
        let mut segmenter = Segmenter::new(&backend, &spec, weights, normalisation, input);
        let image = noise(13, 22);
        let p = segmenter.probabilities(&image).unwrap();
        assert_eq!((p.channels, p.height, p.width), (3, 13, 22));
        for i in 0..13 * 22 {
            let total: f32 = (0..3).map(|c| p.plane(c)[i]).sum();
            assert!((total - 1.0).abs() < 1e-5, "{total}");
        }
        let mut tiled = segmenter.with_tile(16);
        let q = tiled.probabilities(&image).unwrap();
        assert_eq!((q.channels, q.height, q.width), (3, 13, 22));
        assert!(q.data.iter().all(|v| v.is_finite()));
        assert!(tiled.probabilities(&Image::filled(2, 16, 16, 0.0)).is_err(), "two channels");
    }
}
