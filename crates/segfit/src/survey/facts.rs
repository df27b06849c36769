//! What is kept of one pair: numbers and hashes.

use crate::complexity::{JPEG_QUALITY, ValueRange, jpeg_complexity, objects_of};
use crate::data::{Dataset, Image, Mask, Sample, Split, WHOLE_BYTES, each_of_whole};
use crate::error::Result;
use crate::recipe::{InputMode, InputSpec};

/// Regions of at most this many pixels are tiny: what a person draws and what a smooth boundary leaves are larger.
const TINY_PIXELS: u64 = 2;

/// What is known of one pair.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    /// Its position in [`Dataset::pairs`].
    pub index: usize,
    /// Rows of the file.
    pub height: usize,
    /// Columns of the file.
    pub width: usize,
    /// Hash of the decoded image: its size, channels and values.
    pub pixels: [u8; 32],
    /// Hash of the mask's classes.
    pub mask: [u8; 32],
    /// Pixels of each class up to the highest that occurs; of all tiles for large files.
    pub counts: Vec<u64>,
    /// What of the mask needs all of it at once; `None` of large files, whose masks are never whole.
    pub form: Option<Form>,
    /// Whether every channel has one value only.
    pub is_constant: bool,
    /// JPEG complexity as prepared, of training images.
    pub complexity: Option<f64>,
    /// The prepared sample whose complexity is nearest to the image's.
    pub sample: usize,
}

/// The form of a mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Form {
    /// Its 8-connected regions of equal class, those of the background among them.
    pub regions: usize,
    /// Those of one or two pixels.
    pub tiny: usize,
    /// Share of background of the outermost pixels, in [0, 1].
    pub border: f64,
}

impl Form {
    pub fn of(mask: &Mask) -> Self {
        // Background is 0, which is no object: all classes move up by one (there are at most 255).
        let classes: Vec<u8> = mask.data.iter().map(|&c| c.saturating_add(1)).collect();
        let regions = objects_of(&classes, mask.height, mask.width);
        let tiny = regions.iter().filter(|r| r.area <= TINY_PIXELS).count();
        Self { regions: regions.len(), tiny, border: border(mask) }
    }
}

/// Share of background of a mask's outermost pixels.
fn border(mask: &Mask) -> f64 {
    let (h, w) = (mask.height, mask.width);
    let is_outer = |y: usize, x: usize| [0, h - 1].contains(&y) || [0, w - 1].contains(&x);
    let outer = |y: usize| (0..w).filter(move |&x| is_outer(y, x)).map(move |x| mask.data[y * w + x]);
    let outer: Vec<u8> = (0..h).flat_map(outer).collect();
    outer.iter().filter(|&&c| c == 0).count() as f64 / outer.len().max(1) as f64
}

impl Facts {
    /// The facts of the pair at this position of [`Dataset::pairs`].
    pub fn of(dataset: &Dataset, index: usize, input: &InputSpec) -> Result<Self> {
        let is_training = dataset.pairs[index].split == Split::Train;
        if dataset.largest_file(index) >= WHOLE_BYTES {
            return Self::of_large(dataset, index, input, is_training);
        }
        let sample = dataset.load(&[index])?.remove(0);
        let range = ValueRange::of(&sample.image);
        let mut seen = Seen::new((sample.image.height, sample.image.width));
        seen.add(&sample);
        let form = Some(Form::of(&sample.mask));
        let mut rates = Vec::new();
        if is_training {
            each_of_whole(sample, input, &mut |sample| {
                rates.extend(rate(sample.image, range_for(input, range)));
                Ok(())
            })?;
        }
        Ok(Self { form, ..seen.facts(index, &rates) })
    }

    /// As [`Facts::of`], of a pair that is never whole in memory: its samples as prepared are looked at instead.
    fn of_large(dataset: &Dataset, index: usize, input: &InputSpec, is_training: bool) -> Result<Self> {
        let mut seen = Seen::new(dataset.native_size(index)?);
        let mut rates = Vec::new();
        let mut range = ValueRange::NOTHING;
        dataset.for_each_prepared(index, input, &mut |sample| {
            seen.add(&sample);
            range = range.with(ValueRange::of(&sample.image));
            if is_training {
                rates.extend(rate(sample.image, range_for(input, range)));
            }
            Ok(())
        })?;
        if is_training && input.mode == InputMode::Patch && !range.is_unit() {
            // The tiles share a range that is known only now.
            rates.clear();
            dataset.for_each_prepared(index, input, &mut |sample| {
                rates.extend(rate(sample.image, Some(range)));
                Ok(())
            })?;
        }
        Ok(seen.facts(index, &rates))
    }

    /// Pixels of a class.
    pub fn pixels_of(&self, class: u8) -> u64 {
        self.counts.get(usize::from(class)).copied().unwrap_or(0)
    }

    /// Share of a class, in [0, 1].
    pub fn share(&self, class: u8) -> f64 {
        self.pixels_of(class) as f64 / self.counts.iter().sum::<u64>().max(1) as f64
    }

    /// Share of all classes but the background, in [0, 1].
    pub fn foreground(&self) -> f64 {
        1.0 - self.share(0)
    }
}

/// The range that tiles share, `None` for resized images, which have their own.
fn range_for(input: &InputSpec, range: ValueRange) -> Option<ValueRange> {
    (input.mode == InputMode::Patch).then_some(range)
}

/// JPEG complexity of a prepared image on the scale of the profile, whose values are of this range or of their own.
fn rate(image: Image, range: Option<ValueRange>) -> Option<f64> {
    let range = range.unwrap_or_else(|| ValueRange::of(&image));
    let image = range.map(image);
    let bytes: Vec<u8> = image.gray().iter().map(|v| (v * 255.0).round().clamp(0.0, 255.0) as u8).collect();
    jpeg_complexity(&bytes, image.height, image.width, JPEG_QUALITY)
}

/// What has been seen of one pair.
struct Seen {
    size: (usize, usize),
    pixels: blake3::Hasher,
    mask: blake3::Hasher,
    counts: Vec<u64>,
    /// Least and greatest value of each channel.
    ranges: Vec<(f32, f32)>,
}

impl Seen {
    fn new(size: (usize, usize)) -> Self {
        let sized = || {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&(size.0 as u64).to_le_bytes()).update(&(size.1 as u64).to_le_bytes());
            hasher
        };
        Self { size, pixels: sized(), mask: sized(), counts: Vec::new(), ranges: Vec::new() }
    }

    fn add(&mut self, sample: &Sample) {
        self.pixels.update(&(sample.image.channels as u64).to_le_bytes());
        let mut bytes = Vec::with_capacity(4 * HASHED);
        for values in sample.image.data.chunks(HASHED) {
            bytes.clear();
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            self.pixels.update(&bytes);
        }
        self.mask.update(&sample.mask.data);
        let mut counts = [0_u64; 256];
        for run in sample.mask.data.chunk_by(|a, b| a == b) {
            counts[usize::from(run[0])] += run.len() as u64;
        }
        let highest = counts.iter().rposition(|&n| n > 0).map_or(0, |c| c + 1);
        self.counts.resize(self.counts.len().max(highest), 0);
        self.counts.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        self.ranges.resize(sample.image.channels, (f32::INFINITY, f32::NEG_INFINITY));
        for (c, range) in self.ranges.iter_mut().enumerate() {
            *range = sample.image.plane(c).iter().fold(*range, |(l, h), &v| (l.min(v), h.max(v)));
        }
    }

    fn facts(self, index: usize, rates: &[f64]) -> Facts {
        let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
        let distance = |i: &usize| (rates[*i] - mean).abs();
        Facts {
            index,
            height: self.size.0,
            width: self.size.1,
            pixels: *self.pixels.finalize().as_bytes(),
            mask: *self.mask.finalize().as_bytes(),
            counts: self.counts,
            form: None,
            is_constant: self.ranges.iter().all(|(low, high)| low == high),
            complexity: (!rates.is_empty()).then_some(mean),
            sample: (0..rates.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0),
        }
    }
}

/// Values that are hashed at a time.
const HASHED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::testing::{clean, open};

    #[test]
    fn what_is_known_of_a_large_pair_is_what_is_known_of_a_small_one_but_for_its_form() {
        let dir = clean();
        // Values outside of 0..1, of which tiles share the range.
        let data: Vec<f32> =
            (0..48 * 48).map(|i| (i % 48 * i % 31) as f32 - if i < 700 { 40.0 } else { 0.0 }).collect();
        std::fs::remove_file(dir.path().join("images/00.png")).unwrap();
        let file = std::fs::File::create(dir.path().join("images/00.tif")).unwrap();
        let mut encoder = tiff::encoder::TiffEncoder::new(file).unwrap();
        encoder.write_image::<tiff::encoder::colortype::Gray32Float>(48, 48, &data).unwrap();
        let dataset = open(&dir);
        let tiles = InputSpec { mode: InputMode::Patch, size: 32 };
        for index in [0, 1, 47] {
            for input in [InputSpec { size: 64, ..tiles }, InputSpec { mode: InputMode::Resize, size: 48 }] {
                let small = Facts::of(&dataset, index, &input).unwrap();
                let large = Facts::of_large(&dataset, index, &input, index < 32).unwrap();
                assert!(small.form.is_some() && small.complexity.is_some() == (index < 32));
                assert_eq!(large, Facts { form: None, ..small });
            }
            let small = Facts::of(&dataset, index, &tiles).unwrap();
            let large = Facts::of_large(&dataset, index, &tiles, index < 32).unwrap();
            assert_eq!((large.complexity, large.sample, large.height), (small.complexity, small.sample, small.height));
            assert!((large.pixels != small.pixels) && large.counts[0] > small.counts[0], "tiles overlap");
        }
    }

    #[test]
    fn isolated_pixels_are_tiny_regions_and_a_square_is_none() {
        // 1 0 0 0 0
        // 0 0 0 0 0
        // 0 0 1 1 1   a single pixel, the background, a square with a hole, the hole
        // 0 0 1 0 1
        // 0 0 1 1 1   of 16 outermost pixels, 6 are foreground
        let data = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 1, 1];
        let form = Form::of(&Mask { height: 5, width: 5, data });
        assert_eq!(form, Form { regions: 4, tiny: 2, border: 10.0 / 16.0 });
    }
}
