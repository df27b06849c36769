//! Further data sets from the same images: blurred, noisier, paler, of another magnification, with objects of one size
//! only, or with fewer training images.
//!
//! A variant is no independent data set. [`Variant`] names its parent, so that a cross-validation keeps them together.

use serde::{Deserialize, Serialize};

use super::image::{Image, Mask, Sample};
use super::resize::{resize_image, resize_labels, resize_mask};
use crate::random::Stream;

/// Name of the file that describes a variant, in its folder.
pub const VARIANT_FILE: &str = "VARIANT.json";

/// `format` of [`VARIANT_FILE`].
pub const VARIANT_FORMAT: &str = "segfit-variant/1";

/// How a data set was made from another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// [`VARIANT_FORMAT`].
    pub format: String,
    /// Version of segfit that made it.
    pub version: String,
    /// Name of the data set that it was made from; of a variant's variant, the first one.
    pub parent: String,
    /// Fingerprint of the data set that the last operation was applied to.
    pub of: String,
    /// Whether the parent's images were drawn by a program.
    #[serde(default)]
    pub synthetic: bool,
    /// What was done, the first first.
    pub operations: Vec<Seeded>,
}

/// An operation with its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seeded {
    /// What was done.
    #[serde(flatten)]
    pub operation: Operation,
    /// The seed of its random numbers.
    pub seed: u64,
}

/// A change of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation {
    /// [`blurred`].
    Blur {
        /// Standard deviation, in pixels of the files.
        sigma: f32,
    },
    /// [`noisy`].
    Noise {
        /// Standard deviation; 1 is the whole range of values.
        deviation: f32,
    },
    /// [`contrasted`].
    Contrast {
        /// Factor of the difference to the mean.
        factor: f32,
    },
    /// [`magnified`].
    ZoomIn,
    /// [`reduced`].
    ZoomOut,
    /// Only the images of [`of_size`].
    Objects {
        /// Which half.
        size: Half,
    },
    /// Only some of the training images.
    TrainImages {
        /// How many.
        count: usize,
    },
}

/// One half of the images by the size of their objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Half {
    /// Objects up to the median size.
    Small,
    /// Larger objects.
    Large,
}

impl Operation {
    /// The sample after the operation; operations that only choose images change nothing.
    ///
    /// Equal samples, names and seeds give equal results. Instance labels follow the mask.
    #[must_use]
    pub fn applied(&self, sample: Sample, seed: u64) -> Sample {
        let mut stream = Stream::new(&[seed, name_hash(&sample.name), STREAM]);
        let image = match *self {
            Self::Blur { sigma } => blurred(&sample.image, sigma),
            Self::Noise { deviation } => noisy(&sample.image, deviation, &mut stream),
            Self::Contrast { factor } => contrasted(&sample.image, factor),
            Self::ZoomIn => return magnified(&sample, &mut stream),
            Self::ZoomOut => return reduced(&sample),
            Self::Objects { .. } | Self::TrainImages { .. } => return sample,
        };
        Sample { image, ..sample }
    }
}

/// Separates these random numbers from those of trainings.
const STREAM: u64 = 0x7661_7269;

fn name_hash(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes()[..8].iter().fold(0, |sum, &b| sum << 8 | u64::from(b))
}

/// The image under a Gaussian filter of standard deviation `sigma` > 0 pixels, cut at 3 sigma (rounded up) and
/// normalised; beyond the border lies the nearest pixel.
#[must_use]
pub fn blurred(image: &Image, sigma: f32) -> Image {
    let radius = (3.0 * sigma).ceil() as isize;
    let weight = |d: isize| (-0.5 * (d as f64 / f64::from(sigma)).powi(2)).exp();
    let total: f64 = (-radius..=radius).map(weight).sum();
    let kernel: Vec<f64> = (-radius..=radius).map(|d| weight(d) / total).collect();
    let (height, width) = (image.height, image.width);
    let mut data = Vec::with_capacity(image.data.len());
    for channel in 0..image.channels {
        let plane = image.plane(channel);
        let across = filtered(height, width, &kernel, |y, x| f64::from(plane[y * width + x]));
        // Columns become rows and then rows columns again.
        let down = filtered(width, height, &kernel, |x, y| across[y * width + x]);
        data.extend((0..height * width).map(|i| down[(i % width) * height + i / width] as f32));
    }
    Image { data, ..image.clone() }
}

/// Every row of `value(row, column)` under the kernel.
fn filtered(rows: usize, columns: usize, kernel: &[f64], value: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let radius = (kernel.len() / 2) as isize;
    let mut out = Vec::with_capacity(rows * columns);
    for y in 0..rows {
        for x in 0..columns {
            let at = |k: usize| (x as isize + k as isize - radius).clamp(0, columns as isize - 1) as usize;
            out.push(kernel.iter().enumerate().map(|(k, w)| w * value(y, at(k))).sum());
        }
    }
    out
}

/// The image with independent normal noise of this standard deviation on every value, clamped to [0, 1].
#[must_use]
pub fn noisy(image: &Image, deviation: f32, stream: &mut Stream) -> Image {
    let data = image.data.iter().map(|v| (v + deviation * stream.normal()).clamp(0.0, 1.0)).collect();
    Image { data, ..image.clone() }
}

/// The image with every value moved to m + `factor` (v - m), m being the channel's mean, clamped to [0, 1].
#[must_use]
pub fn contrasted(image: &Image, factor: f32) -> Image {
    let pixels = image.height * image.width;
    let moved = |channel: usize| {
        let plane = image.plane(channel);
        let mean = (plane.iter().map(|&v| f64::from(v)).sum::<f64>() / pixels as f64) as f32;
        plane.iter().map(move |v| (mean + factor * (v - mean)).clamp(0.0, 1.0))
    };
    Image { data: (0..image.channels).flat_map(moved).collect(), ..image.clone() }
}

/// A part of half the rows and columns, enlarged to the whole size: twice the magnification.
///
/// Where it lies is drawn; a part without foreground is drawn again, up to 20 times, if the whole has some.
#[must_use]
pub fn magnified(sample: &Sample, stream: &mut Stream) -> Sample {
    let (height, width) = (sample.image.height, sample.image.width);
    let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
    let mut part = drawn_part(sample, (rows, columns), stream);
    for _ in 1..DRAWS {
        if part.mask.data.iter().any(|&c| c > 0) || sample.mask.data.iter().all(|&c| c == 0) {
            break;
        }
        part = drawn_part(sample, (rows, columns), stream);
    }
    resized(&part, (height, width))
}

const DRAWS: usize = 20;

fn drawn_part(sample: &Sample, (rows, columns): (usize, usize), stream: &mut Stream) -> Sample {
    let top = stream.below(sample.image.height - rows + 1);
    let left = stream.below(sample.image.width - columns + 1);
    rearranged(sample, (rows, columns), |y, x| (top + y, left + x))
}

/// The whole at half its rows and columns, continued by its mirror images to the whole size: half the magnification.
///
/// Lower right of the small image lie its mirror images, so that no seam is seen and the number of pixels stays.
#[must_use]
pub fn reduced(sample: &Sample) -> Sample {
    let (height, width) = (sample.image.height, sample.image.width);
    let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
    let mirrored = |i: usize, n: usize| if i < n { i } else { 2 * n - 1 - i };
    rearranged(&resized(sample, (rows, columns)), (height, width), |y, x| (mirrored(y, rows), mirrored(x, columns)))
}

/// A sample of `size` whose pixel (y, x) is that of `sample` at `from(y, x)`.
fn rearranged(
    sample: &Sample,
    (height, width): (usize, usize),
    from: impl Fn(usize, usize) -> (usize, usize),
) -> Sample {
    let index = |i: usize| {
        let (y, x) = from(i / width, i % width);
        y * sample.image.width + x
    };
    let places: Vec<usize> = (0..height * width).map(index).collect();
    let channels = sample.image.channels;
    let data = (0..channels).flat_map(|c| places.iter().map(move |&i| sample.image.plane(c)[i])).collect();
    Sample {
        name: sample.name.clone(),
        image: Image { channels, height, width, data },
        mask: Mask { height, width, data: places.iter().map(|&i| sample.mask.data[i]).collect() },
        instances: sample.instances.as_ref().map(|ids| places.iter().map(|&i| ids[i]).collect()),
    }
}

fn resized(sample: &Sample, to: (usize, usize)) -> Sample {
    let from = (sample.image.height, sample.image.width);
    Sample {
        name: sample.name.clone(),
        image: resize_image(&sample.image, to.0, to.1),
        mask: resize_mask(&sample.mask, to.0, to.1),
        instances: sample.instances.as_ref().map(|ids| resize_labels(ids, from, to)),
    }
}

/// Whether each image is kept when only objects of one half of the sizes are wanted.
///
/// `sizes` are the images' object sizes (any measure), `None` without objects; the limit is the median over those of the
/// training images. Whole images are dropped: objects of the other half cannot be called background. Images without
/// objects stay.
#[must_use]
pub fn of_size(sizes: &[Option<f64>], is_training: &[bool], half: Half) -> Vec<bool> {
    let mut training: Vec<f64> = sizes.iter().zip(is_training).filter(|(_, t)| **t).filter_map(|(s, _)| *s).collect();
    training.sort_by(f64::total_cmp);
    let Some(&median) = training.get(training.len().saturating_sub(1) / 2) else { return vec![true; sizes.len()] };
    sizes.iter().map(|size| size.is_none_or(|s| (s <= median) == (half == Half::Small))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(height: usize, width: usize, data: &[f32]) -> Image {
        Image { channels: 1, height, width, data: data.to_vec() }
    }

    fn sample(height: usize, width: usize, data: &[f32], mask: &[u8]) -> Sample {
        Sample {
            name: "a".into(),
            image: gray(height, width, data),
            mask: Mask { height, width, data: mask.to_vec() },
            instances: Some(mask.iter().map(|&c| 7 * u32::from(c)).collect()),
        }
    }

    #[test]
    fn a_blurred_point_is_the_product_of_two_normal_curves_and_keeps_its_sum() {
        let mut data = [0.0; 81];
        data[40] = 1.0;
        let out = blurred(&gray(9, 9, &data), 1.0);
        // exp(-d^2 / 2) over d = -3..3 sums to 1 + 2 (.606531 + .135335 + .011109) = 2.505950.
        let w = |d: i32| (-0.5 * f64::from(d * d)).exp() / 2.505_950;
        for (y, x) in [(4, 4), (4, 5), (3, 5), (4, 7)] {
            let expected = w(y - 4) * w(x - 4);
            assert!((f64::from(out.data[(9 * y + x) as usize]) - expected).abs() < 1e-6);
        }
        assert_eq!(out.data[40 + 4], 0.0, "beyond 3 sigma");
        assert!((out.data.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let flat = blurred(&Image::filled(3, 4, 7, 0.25), 2.5);
        assert!(flat.data.iter().all(|v| (v - 0.25).abs() < 1e-6), "the border is continued");
    }

    #[test]
    fn rows_and_columns_are_blurred_alike() {
        let mut wide = [0.0; 12];
        wide[1] = 1.0;
        let mut tall = [0.0; 12];
        tall[4] = 1.0;
        let (wide, tall) = (blurred(&gray(3, 4, &wide), 0.8), blurred(&gray(4, 3, &tall), 0.8));
        let turned = |i: usize| tall.data[(i % 4) * 3 + i / 4];
        // Pixel (0, 1) of 3 x 4 is pixel (1, 0) of 4 x 3, index 3; index 4 is (1, 1), so compare with its own transpose.
        let mut own = [0.0; 12];
        own[5] = 1.0;
        let own = blurred(&gray(3, 4, &own), 0.8);
        assert!((0..12).all(|i| (own.data[i] - turned(i)).abs() < 1e-7));
        assert!(wide.data[0] > wide.data[3]);
    }

    #[test]
    fn noise_has_its_deviation_and_stays_in_range() {
        let mut stream = Stream::new(&[1]);
        let out = noisy(&Image::filled(1, 100, 100, 0.5), 0.1, &mut stream);
        let mean = out.data.iter().map(|&v| f64::from(v)).sum::<f64>() / 1e4;
        let variance = out.data.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.005 && (variance.sqrt() - 0.1).abs() < 0.003, "{mean} {variance}");
        let out = noisy(&Image::filled(1, 50, 50, 1.0), 0.5, &mut stream);
        assert!(out.data.iter().all(|v| (0.0..=1.0).contains(v)));
    }

    #[test]
    fn half_the_contrast_halves_the_distance_to_the_mean_of_each_channel() {
        let image = Image { channels: 2, height: 1, width: 2, data: vec![0.2, 0.6, 0.0, 1.0] };
        let out = contrasted(&image, 0.5).data;
        let expected = [0.3, 0.5, 0.25, 0.75];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{out:?}");
        assert_eq!(contrasted(&image, 3.0).data[2..], [0.0, 1.0], "clamped");
    }

    #[test]
    fn a_part_is_enlarged_with_its_mask_and_instances() {
        let data: Vec<f32> = (0..16).map(|i| i as f32 / 16.0).collect();
        let mask: Vec<u8> = (0..16).map(|i| u8::from(i == 5)).collect();
        for seed in 0..10 {
            let out = magnified(&sample(4, 4, &data, &mask), &mut Stream::new(&[seed]));
            assert_eq!((out.image.height, out.mask.width, out.mask.data.len()), (4, 4, 16));
            assert_eq!(out.mask.data.iter().filter(|&&c| c == 1).count(), 4, "one pixel becomes four");
            let ids = out.instances.unwrap();
            assert!(ids.iter().zip(&out.mask.data).all(|(&id, &c)| id == 7 * u32::from(c)));
        }
    }

    #[test]
    fn the_whole_is_halved_and_mirrored() {
        let data = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.5, 0.5, 0.25, 0.25];
        let mask = data.map(|v| u8::from(v > 0.9));
        let out = reduced(&sample(4, 4, &data, &mask));
        let row = |y: usize| &out.mask.data[4 * y..4 * y + 4];
        assert_eq!((row(0), row(1)), (&[0, 1, 1, 0][..], &[0, 0, 0, 0][..]));
        assert_eq!((row(2), row(3)), (row(1), row(0)));
        assert!((0..16).all(|i| out.image.data[i] == out.image.data[4 * (i / 4) + 3 - i % 4]));
        let odd = reduced(&sample(3, 5, &[0.5; 15], &[1; 15]));
        assert_eq!((odd.image.data.len(), odd.mask.data), (15, vec![1; 15]));
    }

    #[test]
    fn operations_depend_on_name_and_seed_alone() {
        let one = sample(8, 8, &[0.5; 64], &[1; 64]);
        let noise = Operation::Noise { deviation: 0.1 };
        assert_eq!(noise.applied(one.clone(), 3).image, noise.applied(one.clone(), 3).image);
        assert_ne!(noise.applied(one.clone(), 3).image, noise.applied(one.clone(), 4).image);
        let other = Sample { name: "b".into(), ..one.clone() };
        assert_ne!(noise.applied(other, 3).image, noise.applied(one.clone(), 3).image);
        assert_eq!(Operation::TrainImages { count: 1 }.applied(one.clone(), 0).image, one.image);
    }

    #[test]
    fn the_median_of_the_training_images_divides_small_from_large() {
        let sizes = [Some(1.0), Some(2.0), Some(3.0), Some(4.0), Some(100.0), Some(0.5), None];
        let training = [true, true, true, true, false, false, true];
        assert_eq!(of_size(&sizes, &training, Half::Small), [true, true, false, false, false, true, true]);
        assert_eq!(of_size(&sizes, &training, Half::Large), [false, false, true, true, true, false, true]);
        assert_eq!(of_size(&[None], &[true], Half::Large), [true]);
    }

    #[test]
    fn the_file_of_a_variant_can_be_read_by_a_person() {
        let seeded = Seeded { operation: Operation::Blur { sigma: 2.0 }, seed: 1 };
        let text = serde_json::to_string(&seeded).unwrap();
        assert_eq!(text, r#"{"operation":"blur","sigma":2.0,"seed":1}"#);
        assert_eq!(serde_json::from_str::<Seeded>(&text).unwrap(), seeded);
    }
}
