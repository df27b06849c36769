//! Samples at the network's input size: antialiased images, masks by the nearest pixel.

use fast_image_resize::images::Image as Buffer;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use rayon::prelude::*;

use super::image::{Image, Mask, Sample};
use crate::recipe::{InputMode, InputSpec};

/// The image at `height` x `width`, resampled with the triangle filter, widened by the scale when the image shrinks
/// (antialiasing, as Pillow's `BILINEAR`).
///
/// All weights are positive and sum to 1, so that no value leaves the range of its channel. Agrees with Pillow 13 on
/// 32-bit float planes within 5e-7 of the range.
///
/// # Panics
/// When `height` or `width` is 0, or the image is empty.
#[must_use]
pub fn resize_image(image: &Image, height: usize, width: usize) -> Image {
    if (image.height, image.width) == (height, width) {
        return image.clone();
    }
    assert!(height > 0 && width > 0, "an image of {width} x {height} pixels cannot be made");
    let mut resizer = Resizer::new();
    let mut data = Vec::with_capacity(image.channels * height * width);
    for c in 0..image.channels {
        resize_plane(&mut resizer, image, c, (height, width), &mut data);
    }
    Image { channels: image.channels, height, width, data }
}

fn resize_plane(resizer: &mut Resizer, image: &Image, channel: usize, to: (usize, usize), out: &mut Vec<f32>) {
    let plane = image.plane(channel);
    // Rounding could leave the range by one unit in the last place.
    let (low, high) = range_of(plane);
    out.extend(resample(resizer, plane, (image.height, image.width), to).map(|v| v.clamp(low, high)));
}

/// The least and the greatest value.
pub(super) fn range_of(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)))
}

/// A plane of `from` = (rows, columns) values at another size.
pub(super) fn resample(
    resizer: &mut Resizer,
    plane: &[f32],
    from: (usize, usize),
    to: (usize, usize),
) -> impl Iterator<Item = f32> {
    let mut source = Buffer::new(from.1 as u32, from.0 as u32, PixelType::F32);
    for (bytes, value) in source.buffer_mut().chunks_exact_mut(4).zip(plane) {
        bytes.copy_from_slice(&value.to_ne_bytes());
    }
    let mut target = Buffer::new(to.1 as u32, to.0 as u32, PixelType::F32);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
    resizer.resize(&source, &mut target, &options).expect("both buffers are planes of f32");
    let values = target.into_vec();
    (0..values.len() / 4).map(move |i| {
        let at = 4 * i;
        f32::from_ne_bytes([values[at], values[at + 1], values[at + 2], values[at + 3]])
    })
}

/// The mask at `height` x `width`: each pixel takes the class of the pixel in which its centre falls.
#[must_use]
pub fn resize_mask(mask: &Mask, height: usize, width: usize) -> Mask {
    Mask { height, width, data: nearest(&mask.data, (mask.height, mask.width), (height, width)) }
}

/// Labels of `from` = (rows, columns) pixels at another size, by the same rule as [`resize_mask`].
#[must_use]
pub fn resize_labels(labels: &[u32], from: (usize, usize), to: (usize, usize)) -> Vec<u32> {
    nearest(labels, from, to)
}

/// The pixel, of `from`, in which the centre of pixel `i` of `to` falls.
pub(super) fn nearest_index(i: usize, from: usize, to: usize) -> usize {
    // floor((i + 1/2) * from / to), in integers.
    (2 * i + 1) * from / (2 * to)
}

fn nearest<T: Copy>(data: &[T], from: (usize, usize), to: (usize, usize)) -> Vec<T> {
    let columns: Vec<usize> = (0..to.1).map(|x| nearest_index(x, from.1, to.1)).collect();
    let mut out = Vec::with_capacity(to.0 * to.1);
    for y in 0..to.0 {
        let row = &data[nearest_index(y, from.0, to.0) * from.1..][..from.1];
        out.extend(columns.iter().map(|&x| row[x]));
    }
    out
}

/// The samples as the network sees them: resized to `size` x `size`, or at native size for patches.
#[must_use]
pub fn prepare(samples: &[Sample], input: &InputSpec) -> Vec<Sample> {
    let one = |sample: &Sample| match input.mode {
        InputMode::Patch => sample.clone(),
        InputMode::Resize => {
            let (from, to) = ((sample.image.height, sample.image.width), (input.size, input.size));
            Sample {
                name: sample.name.clone(),
                image: resize_image(&sample.image, input.size, input.size),
                mask: resize_mask(&sample.mask, input.size, input.size),
                instances: sample.instances.as_ref().map(|ids| resize_labels(ids, from, to)),
            }
        }
    };
    samples.par_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The plane of benchmarks/data/resize.py.
    fn plane() -> Image {
        let value = |i: usize| {
            let (y, x) = (i / 17, i % 17);
            ((37 * y + 101 * x + 5 * y * x) % 256) as f32 / 255.0
        };
        Image { channels: 1, height: 13, width: 17, data: (0..13 * 17).map(value).collect() }
    }

    #[test]
    fn bilinear_agrees_with_pillow() {
        // Printed by benchmarks/data/resize.py with Pillow 13.0.0: picked pixels and the sum.
        type Case = ((usize, usize), [(usize, f32); 7], f64);
        let cases: [Case; 4] = [
            (
                (5, 7),
                [
                    (0, 0.4537836),
                    (1, 0.5139869),
                    (6, 0.5887146),
                    (9, 0.5204754),
                    (17, 0.5624702),
                    (33, 0.5241457),
                    (34, 0.5027887),
                ],
                17.55783,
            ),
            (
                (8, 8),
                [
                    (0, 0.3748729),
                    (1, 0.5528322),
                    (7, 0.6167549),
                    (10, 0.4509417),
                    (32, 0.4023524),
                    (62, 0.5550835),
                    (63, 0.47867),
                ],
                32.14232,
            ),
            (
                (20, 31),
                [
                    (0, 0.0),
                    (1, 0.1277672),
                    (30, 0.3137255),
                    (33, 0.4220051),
                    (310, 0.5914706),
                    (618, 0.5963314),
                    (619, 0.8),
                ],
                310.20347,
            ),
            (
                (13, 4),
                [
                    (0, 0.4430439),
                    (1, 0.5632455),
                    (3, 0.5240274),
                    (6, 0.4820825),
                    (26, 0.5882894),
                    (50, 0.4152535),
                    (51, 0.5420791),
                ],
                26.16268,
            ),
        ];
        for ((height, width), picks, sum) in cases {
            let out = resize_image(&plane(), height, width);
            for (i, expected) in picks {
                assert!((out.data[i] - expected).abs() < 5e-7, "{height} x {width} [{i}]: {} {expected}", out.data[i]);
            }
            let total: f64 = out.data.iter().map(|&v| f64::from(v)).sum();
            assert!((total - sum).abs() < 2e-5, "{height} x {width}: {total} {sum}");
        }
    }

    #[test]
    fn nearest_agrees_with_pillow() {
        // Printed by benchmarks/data/resize.py: first row and first column at 5 x 7.
        let mask = Mask { height: 13, width: 17, data: (0..13 * 17).map(|i| (i % 17 + 3 * (i / 17)) as u8).collect() };
        let out = resize_mask(&mask, 5, 7);
        assert_eq!(out.data[..7], [4, 6, 9, 11, 13, 16, 18][..]);
        assert_eq!(out.data.iter().step_by(7).copied().collect::<Vec<_>>(), [4, 10, 19, 28, 34]);
        let out = resize_mask(&mask, 20, 31);
        let column = [0, 0, 3, 6, 6, 9, 12, 12, 15, 18, 18, 21, 24, 24, 27, 30, 30, 33, 36, 36];
        assert_eq!(out.data.iter().step_by(31).copied().collect::<Vec<_>>(), column);
    }

    /// The triangle filter written out: weights max(0, 1 - |distance| / scale) between pixel centres, normalised.
    fn oracle(line: &[f32], to: usize) -> Vec<f32> {
        let ratio = line.len() as f64 / to as f64;
        let scale = ratio.max(1.0);
        (0..to)
            .map(|i| {
                let centre = (i as f64 + 0.5) * ratio;
                let weight = |j: usize| (1.0 - ((j as f64 + 0.5 - centre) / scale).abs()).max(0.0);
                let total: f64 = (0..line.len()).map(weight).sum();
                (line.iter().enumerate().map(|(j, v)| weight(j) * f64::from(*v)).sum::<f64>() / total) as f32
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_line_agrees_with_the_written_out_filter(
            line in proptest::collection::vec(-3f32..5.0, 1..60), to in 1usize..80
        ) {
            let image = Image { channels: 1, height: 1, width: line.len(), data: line.clone() };
            let out = resize_image(&image, 1, to);
            for (a, b) in out.data.iter().zip(oracle(&line, to)) {
                prop_assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }

        #[test]
        fn no_value_leaves_the_range_and_no_label_is_invented(h in 1usize..40, w in 1usize..40) {
            let image = plane();
            let out = resize_image(&image, h, w);
            prop_assert!(out.data.iter().all(|v| (0.0..=1.0).contains(v)));
            let labels: Vec<u32> = (0..13 * 17).map(|i| 1000 * (i % 5)).collect();
            let out = resize_labels(&labels, (13, 17), (h, w));
            prop_assert_eq!(out.len(), h * w);
            prop_assert!(out.iter().all(|v| v % 1000 == 0 && *v <= 4000));
        }
    }

    #[test]
    fn patches_stay_native_and_frames_become_square_with_all_their_parts() {
        let image = plane();
        let labels: Vec<u32> = (0..13 * 17).map(|i| u32::from(i % 17 > 8) * 70_000).collect();
        let data = labels.iter().map(|&v| u8::from(v > 0)).collect();
        let mask = Mask { height: 13, width: 17, data };
        let sample = Sample { name: "a".into(), image, mask, instances: Some(labels) };
        let native = prepare(std::slice::from_ref(&sample), &InputSpec { mode: InputMode::Patch, size: 8 });
        assert_eq!(native[0].image, sample.image);
        let frame = &prepare(&[sample], &InputSpec { mode: InputMode::Resize, size: 8 })[0];
        assert_eq!((frame.image.height, frame.image.width, frame.mask.height, frame.mask.width), (8, 8, 8, 8));
        let ids = frame.instances.as_ref().unwrap();
        assert!(ids.iter().zip(&frame.mask.data).all(|(id, class)| *id == 70_000 * u32::from(*class)));
    }
}
