//! Random changes of training images. All draws come from a stream named by the seed and the sample's position in the
//! training, so that they do not depend on threads, on the device, or on where a training was interrupted.

use segfit::data::{Image, Sample};
use segfit::random::Stream;
use segfit::recipe::{Augmentation, InputMode, InputSpec};

/// A training sample, with what augmentation needs to know about it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Image (not normalised) and mask.
    pub sample: &'a Sample,
    low: f32,
    high: f32,
}

impl<'a> Source<'a> {
    /// Notes the value range of the image.
    #[must_use]
    pub fn new(sample: &'a Sample) -> Self {
        let low = sample.image.data.iter().copied().fold(f32::INFINITY, f32::min);
        let high = sample.image.data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Self { sample, low, high }
    }
}

/// The map from an output pixel to a source position: `source = matrix * (pixel - centre) + offset`.
struct Geometry {
    matrix: [f32; 4],
    offset: [f32; 2],
}

/// Draws one augmented view of `source` into `image` (`[channels][size][size]`) and `target` (`[size][size]`).
///
/// Geometry: in resize mode the view shows the whole frame, in patch mode a random place at native scale; then mirror
/// and quarter turns, and, with the recipe's probability, rotation and scale. Outside of the source the image is
/// continued by reflection. Images are sampled bilinearly, masks by nearest neighbour. Intensities: gamma within the
/// image's value range, contrast around the mean of the view, brightness.
///
/// # Panics
/// When the slices have other lengths.
pub fn draw(
    source: &Source<'_>,
    input: &InputSpec,
    options: &Augmentation,
    stream: &mut Stream,
    image: &mut [f32],
    target: &mut [u8],
) {
    let size = input.size;
    assert_eq!(target.len(), size * size);
    assert_eq!(image.len(), source.sample.image.channels * size * size);
    let geometry = draw_geometry(&source.sample.image, input, options, stream);
    sample_view(source, &geometry, size, image, target);
    change_intensity(source, options, stream, image);
}

fn log_uniform(stream: &mut Stream, most: f32) -> f32 {
    let bound = (1.0 + most).ln();
    stream.range(-bound, bound).exp()
}

fn draw_geometry(image: &Image, input: &InputSpec, options: &Augmentation, stream: &mut Stream) -> Geometry {
    let (mut a, mut b, mut c, mut d) = (1.0_f32, 0.0, 0.0, 1.0_f32);
    // All draws are made always, so that one option does not shift the draws of another.
    let (turns, mirror) = (stream.below(4), stream.below(2) == 1);
    let warp = stream.unit() < options.probability;
    let angle = stream.range(-options.rotation_degrees, options.rotation_degrees).to_radians();
    let scale = log_uniform(stream, options.scale);
    let place = [stream.unit(), stream.unit()];
    if options.flips_and_turns {
        (a, b, c, d) =
            [(1.0, 0.0, 0.0, 1.0), (0.0, -1.0, 1.0, 0.0), (-1.0, 0.0, 0.0, -1.0), (0.0, 1.0, -1.0, 0.0)][turns];
        if mirror {
            (a, c) = (-a, -c);
        }
    }
    if warp {
        let (sin, cos) = angle.sin_cos();
        (a, b, c, d) = (
            scale * (cos * a - sin * c),
            scale * (cos * b - sin * d),
            scale * (sin * a + cos * c),
            scale * (sin * b + cos * d),
        );
    }
    let centre = |n: usize| (n as f32 - 1.0) / 2.0;
    let offset = match input.mode {
        InputMode::Resize => [centre(image.width), centre(image.height)],
        InputMode::Patch => {
            // Whole pixels, so that an unwarped patch is an exact copy; all places are equally probable.
            let first = |n: usize, u: f32| {
                let last = n.saturating_sub(input.size) as f32;
                (u * (last + 1.0)).floor().min(last)
            };
            [first(image.width, place[0]) + centre(input.size), first(image.height, place[1]) + centre(input.size)]
        }
    };
    Geometry { matrix: [a, b, c, d], offset }
}

/// Index in 0..n of a position on the line that is continued by reflection at the outer pixel centres.
pub(crate) fn reflect(position: i64, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n as i64 - 1);
    let p = position.rem_euclid(period);
    p.min(period - p) as usize
}

fn sample_view(source: &Source<'_>, geometry: &Geometry, size: usize, image: &mut [f32], target: &mut [u8]) {
    let from = &source.sample.image;
    let mask = &source.sample.mask.data;
    let (height, width) = (from.height, from.width);
    let [a, b, c, d] = geometry.matrix;
    let centre = (size as f32 - 1.0) / 2.0;
    for y in 0..size {
        let v = y as f32 - centre;
        for x in 0..size {
            let u = x as f32 - centre;
            let (sx, sy) = (a * u + b * v + geometry.offset[0], c * u + d * v + geometry.offset[1]);
            let (fx, fy) = (sx.floor(), sy.floor());
            let (wx, wy) = (sx - fx, sy - fy);
            let (x0, y0) = (reflect(fx as i64, width), reflect(fy as i64, height));
            let (x1, y1) = (reflect(fx as i64 + 1, width), reflect(fy as i64 + 1, height));
            let i = y * size + x;
            let (nx, ny) = (if wx < 0.5 { x0 } else { x1 }, if wy < 0.5 { y0 } else { y1 });
            target[i] = mask[ny * width + nx];
            for (channel, plane) in from.data.chunks_exact(height * width).enumerate() {
                let top = plane[y0 * width + x0] + wx * (plane[y0 * width + x1] - plane[y0 * width + x0]);
                let bottom = plane[y1 * width + x0] + wx * (plane[y1 * width + x1] - plane[y1 * width + x0]);
                image[channel * size * size + i] = top + wy * (bottom - top);
            }
        }
    }
}

fn change_intensity(source: &Source<'_>, options: &Augmentation, stream: &mut Stream, image: &mut [f32]) {
    let gamma = log_uniform(stream, options.gamma);
    let contrast = log_uniform(stream, options.contrast);
    let span = source.high - source.low;
    let brightness = stream.range(-options.brightness, options.brightness) * span;
    if span <= 0.0 {
        return;
    }
    let table: [f32; 258] = std::array::from_fn(|i| source.low + span * (i as f32 / 256.0).powf(gamma));
    let mut sum = 0.0_f64;
    for value in image.iter_mut() {
        let t = ((*value - source.low) / span).clamp(0.0, 1.0) * 256.0;
        let i = t as usize;
        *value = table[i] + (t - i as f32) * (table[i + 1] - table[i]);
        sum += f64::from(*value);
    }
    let mean = (sum / image.len() as f64) as f32;
    for value in image.iter_mut() {
        *value = mean + contrast * (*value - mean) + brightness;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segfit::data::Mask;

    fn sample(height: usize, width: usize) -> Sample {
        let n = height * width;
        let image = Image { channels: 1, height, width, data: (0..n).map(|i| i as f32 / n as f32).collect() };
        let mask = Mask { height, width, data: (0..n).map(|i| (i % 2) as u8).collect() };
        Sample { name: "a".into(), image, mask, instances: None }
    }

    fn still() -> Augmentation {
        Augmentation {
            flips_and_turns: false,
            rotation_degrees: 0.0,
            scale: 0.0,
            gamma: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            probability: 0.0,
        }
    }

    fn view(sample: &Sample, input: &InputSpec, options: &Augmentation, seed: u64) -> (Vec<f32>, Vec<u8>) {
        let mut image = vec![0.0; input.size * input.size];
        let mut target = vec![0; input.size * input.size];
        draw(&Source::new(sample), input, options, &mut Stream::new(&[seed]), &mut image, &mut target);
        (image, target)
    }

    #[test]
    fn without_changes_the_frame_comes_back() {
        let sample = sample(5, 5);
        let (image, target) = view(&sample, &InputSpec { mode: InputMode::Resize, size: 5 }, &still(), 1);
        for (got, want) in image.iter().zip(&sample.image.data) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
        assert_eq!(target, sample.mask.data);
    }

    #[test]
    fn flips_and_turns_only_move_pixels() {
        let sample = sample(6, 6);
        let options = Augmentation { flips_and_turns: true, ..still() };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let (image, _) = view(&sample, &InputSpec { mode: InputMode::Resize, size: 6 }, &options, seed);
            let mut sorted = image.clone();
            sorted.sort_by(f32::total_cmp);
            for (got, want) in sorted.iter().zip(&sample.image.data) {
                assert!((got - want).abs() < 1e-5);
            }
            seen.insert(format!("{:.2?}", &image[..2]));
        }
        assert_eq!(seen.len(), 8, "all eight symmetries of the square are drawn");
    }

    #[test]
    fn a_patch_is_an_exact_piece_of_the_image() {
        for size in [4, 5] {
            let sample = sample(9, 12);
            let input = InputSpec { mode: InputMode::Patch, size };
            let mut seen = std::collections::BTreeSet::new();
            for seed in 0..400 {
                let (image, target) = view(&sample, &input, &still(), seed);
                let first = (image[0] * 108.0).round() as usize;
                seen.insert(first);
                for y in 0..size {
                    for x in 0..size {
                        let from = first + y * 12 + x;
                        assert!((image[y * size + x] - sample.image.data[from]).abs() < 1e-5);
                        assert_eq!(target[y * size + x], sample.mask.data[from]);
                    }
                }
            }
            assert_eq!(seen.len(), (9 - size + 1) * (12 - size + 1), "every place is drawn");
        }
    }

    #[test]
    fn reflection_by_hand() {
        let line: Vec<usize> = (-3..8).map(|i| reflect(i, 3)).collect();
        assert_eq!(line, [1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!((reflect(-5, 1), reflect(5, 1)), (0, 0));
    }

    #[test]
    fn gamma_keeps_the_ends_of_the_range_and_a_flat_image_stays_as_it_is() {
        let options = Augmentation { gamma: 1.0, ..still() };
        let input = InputSpec { mode: InputMode::Resize, size: 5 };
        let mut sample = sample(5, 5);
        let mut moved = 0;
        for seed in 0..8 {
            let (image, target) = view(&sample, &input, &options, seed);
            assert!((image[0] - sample.image.data[0]).abs() < 1e-5 && (image[24] - sample.image.data[24]).abs() < 1e-5);
            assert!(image.windows(2).all(|w| w[0] < w[1]), "the order of the values stays");
            moved += usize::from((image[12] - sample.image.data[12]).abs() > 0.02);
            assert_eq!(target, sample.mask.data);
        }
        assert!(moved >= 4, "{moved}");
        sample.image.data.fill(0.25);
        let all = Augmentation { brightness: 1.0, contrast: 1.0, ..options };
        assert_eq!(view(&sample, &input, &all, 1).0, sample.image.data);
    }
}
