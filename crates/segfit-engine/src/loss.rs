//! Losses of segmentation and their gradients: cross-entropy plus soft Dice.
//!
//! A network has one output channel per class, the background (class 0) included, whatever the loss.
//!
//! Soft Dice of a class is (2 sum p t + 1) / (sum p + sum t + 1), with sums over batch and pixels; the loss adds 1 minus
//! its mean over the foreground classes. (Milletari et al. 2016, arXiv 1606.04797, without the squares; the 1 is the
//! smoothing that keeps it defined where a class is absent.) Exponentials are within 2 units in the last place and
//! logarithms within a relative 5e-7; sums run in f32 over at most 4096 pixels and in f64 beyond, in a fixed order.

use segfit::recipe::LossKind;

mod distillation;

pub use distillation::{SoftTargets, distil};

use crate::cpu::kernels::loss_rows::{
    MAX_CLASSES, PlaneRows, Sums, classify_rows, logistic_gradient_rows, logistic_sums, softmax_gradient_rows,
    softmax_sums,
};
use crate::cpu::kernels::norm_rows::Rows;
use crate::cpu::ordered::{RowPieces, Slots, assert_same_shape, floats, for_each, zero_ends};
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;

/// What the loss is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossOptions {
    /// Softmax over classes or sigmoid per channel.
    pub kind: LossKind,
}

/// A loss and its two summands; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossValue {
    /// Cross-entropy + Dice loss; with a teacher, its share and the teacher's.
    pub total: f64,
    /// Mean cross-entropy in nats.
    pub cross_entropy: f64,
    /// 1 - mean soft Dice of the foreground, from 0 to 1.
    pub dice: f64,
}

/// Memory for the partial sums, made once per shape.
#[derive(Clone, Debug)]
pub struct LossScratch {
    sums: Vec<Sums>,
    coef: Vec<[f32; 2]>,
}

impl LossScratch {
    /// Memory for logits of this shape.
    #[must_use]
    pub fn new(logits: &Planes) -> Self {
        let pieces = logits.batch * RowPieces::of(logits.layout).per_plane;
        Self { sums: vec![Sums::default(); pieces * logits.channels], coef: vec![[0.0; 2]; logits.channels] }
    }
}

/// The loss that `options` names: [`cross_entropy_dice`] or [`binary_dice`].
///
/// # Panics
/// As these.
pub fn loss(
    isa: Isa,
    options: LossOptions,
    logits: &Planes,
    targets: &[u8],
    dlogits: Option<&Planes>,
    scratch: &mut LossScratch,
) -> LossValue {
    match options.kind {
        LossKind::CrossEntropyDice => cross_entropy_dice(isa, logits, targets, dlogits, scratch),
        LossKind::BinaryDice => binary_dice(isa, logits, targets, dlogits, scratch),
    }
}

/// Rows of channel `channel` of an image.
fn plane_rows(x: &Planes, image: usize, channel: usize, row: usize) -> PlaneRows {
    PlaneRows {
        row: x.row(image, channel, row),
        stride: x.layout.row_stride(),
        plane: x.layout.plane_stride(),
        pad: x.layout.pad,
    }
}

/// As [`plane_rows`], null without a tensor.
fn optional_rows(x: Option<&Planes>, image: usize, channel: usize, row: usize) -> PlaneRows {
    let nothing = PlaneRows { row: std::ptr::null_mut(), stride: 0, plane: 0, pad: 0 };
    x.map_or(nothing, |x| plane_rows(x, image, channel, row))
}

/// One run of rows of one image, and its targets.
struct Piece<'a> {
    image: usize,
    rows: (usize, usize),
    span: Rows,
    targets: &'a [u8],
}

fn piece_of<'a>(logits: &Planes, targets: &'a [u8], index: usize) -> Piece<'a> {
    let (pieces, width, height) = (RowPieces::of(logits.layout), logits.layout.width, logits.layout.height);
    let (image, rows) = (index / pieces.per_plane, pieces.rows_of(index));
    let span = Rows { count: rows.1 - rows.0, width };
    let start = (image * height + rows.0) * width;
    Piece { image, rows, span, targets: &targets[start..start + span.count * width] }
}

fn pieces_of(logits: &Planes, targets: &[u8], classes: usize) -> usize {
    let pixels = floats(logits) / logits.channels;
    assert_eq!(targets.len(), pixels, "one target per pixel");
    let largest = targets.iter().fold(0, |a, b| a.max(*b));
    assert!(usize::from(largest) < classes, "target class {largest}, but there are {classes} classes");
    logits.batch * RowPieces::of(logits.layout).per_plane
}

/// Dice loss of some classes, and per class \[a, b] with d(loss)/dp = a + b t.
fn dice_loss(sums: impl ExactSizeIterator<Item = Sums>, coef: &mut [[f32; 2]]) -> f64 {
    let classes = sums.len() as f64;
    let mut dice = 0.0;
    for (s, c) in sums.zip(coef) {
        let (top, bottom) = (2.0 * s.pt + 1.0, s.p + s.t + 1.0);
        dice += top / bottom;
        *c = [(top / (bottom * bottom) / classes) as f32, (-2.0 / bottom / classes) as f32];
    }
    1.0 - dice / classes
}

/// Sum of channel `channel`'s entries of the partial sums.
fn channel_sum(sums: &[Sums], channels: usize, channel: usize) -> Sums {
    sums.iter().skip(channel).step_by(channels).fold(Sums::default(), |a, b| Sums {
        entropy: a.entropy + b.entropy,
        p: a.p + b.p,
        t: a.t + b.t,
        pt: a.pt + b.pt,
    })
}

/// Mean softmax cross-entropy over all pixels + 1 - mean soft Dice of the classes from 1 up.
///
/// `logits` are \[batch, classes, height, width]; `targets` hold the class of every pixel, image by image; `dlogits`, if
/// given, gets the exact gradient and must be other memory than `logits`.
///
/// # Panics
/// When there are fewer than 2 or more than 256 classes, a target is not a class, or shapes differ.
pub fn cross_entropy_dice(
    isa: Isa,
    logits: &Planes,
    targets: &[u8],
    dlogits: Option<&Planes>,
    scratch: &mut LossScratch,
) -> LossValue {
    let classes = logits.channels;
    assert!((2..=MAX_CLASSES).contains(&classes), "softmax needs 2 to 256 classes, got {classes}");
    if classes == 2 {
        return logistic_dice(isa, logits, targets, dlogits, scratch, true);
    }
    dlogits.inspect(|d| assert_same_shape(logits, d));
    let pieces = pieces_of(logits, targets, classes);
    let (pixels, work) = (targets.len() as f64, 8 * floats(logits));
    let sums = &mut scratch.sums[..pieces * classes];
    let slots = Slots::new(sums);
    for_each(pieces, work, |k| {
        let Piece { image, rows, span, targets } = piece_of(logits, targets, k);
        let (z, p) = (plane_rows(logits, image, 0, rows.0), optional_rows(dlogits, image, 0, rows.0));
        // SAFETY: these sums and rows of dlogits belong to no other piece.
        unsafe {
            softmax_sums(isa, z, targets.as_ptr(), p, span, slots.range(k * classes, classes).as_mut_ptr(), classes);
        };
    });
    let coef = &mut scratch.coef[..classes];
    coef[0] = [0.0; 2];
    let cross_entropy = channel_sum(sums, classes, 0).entropy / pixels;
    let dice = dice_loss((1..classes).map(|c| channel_sum(sums, classes, c)), &mut coef[1..]);
    if let Some(d) = dlogits {
        for_each(pieces, 2 * floats(logits), |k| {
            let Piece { image, rows, span, targets } = piece_of(logits, targets, k);
            // SAFETY: these rows of dlogits belong to no other piece.
            unsafe {
                let p = plane_rows(d, image, 0, rows.0);
                softmax_gradient_rows(isa, p, targets.as_ptr(), (1.0 / pixels) as f32, coef, span);
                (0..classes).for_each(|c| zero_ends(d.plane(image, c), d.layout, rows));
            }
        });
    }
    LossValue { total: cross_entropy + dice, cross_entropy, dice }
}

/// Mean sigmoid cross-entropy over all pixels and channels + 1 - mean soft Dice of the channels from 1 up.
///
/// As [`cross_entropy_dice`], but each channel c is a question of its own: is the target c? The background is channel 0; it
/// counts in the cross-entropy only.
///
/// # Panics
/// When there are fewer than 2 or more than 256 channels, a target is not a channel, or shapes differ.
pub fn binary_dice(
    isa: Isa,
    logits: &Planes,
    targets: &[u8],
    dlogits: Option<&Planes>,
    scratch: &mut LossScratch,
) -> LossValue {
    let channels = logits.channels;
    assert!((2..=MAX_CLASSES).contains(&channels), "one channel per class needs 2 to 256 channels, got {channels}");
    logistic_dice(isa, logits, targets, dlogits, scratch, false)
}

/// The sigmoid loss per channel, or (`difference`) the softmax loss of two classes, which is the sigmoid loss of the
/// difference of their logits for the question "is the target 1?".
fn logistic_dice(
    isa: Isa,
    logits: &Planes,
    targets: &[u8],
    dlogits: Option<&Planes>,
    scratch: &mut LossScratch,
    difference: bool,
) -> LossValue {
    dlogits.inspect(|d| assert_same_shape(logits, d));
    let channels = if difference { 1 } else { logits.channels };
    let pieces = pieces_of(logits, targets, logits.channels);
    // The class that the first question asks for, and the first question whose Dice counts.
    let (class, foreground) = if difference { (1, 0) } else { (0, 1) };
    let values = (targets.len() * channels) as f64;
    let (sums, coef) = (&mut scratch.sums[..pieces * channels], &mut scratch.coef[..channels]);
    let slots = Slots::new(sums);
    for_each(pieces * channels, 8 * targets.len() * channels, |k| {
        let (c, Piece { image, rows, span, targets }) = (k % channels, piece_of(logits, targets, k / channels));
        let (z, p) = (plane_rows(logits, image, c, rows.0), optional_rows(dlogits, image, c, rows.0));
        // SAFETY: this sum and these rows of dlogits belong to no other piece.
        unsafe { *slots.at(k) = logistic_sums(isa, z, targets.as_ptr(), (class + c) as f32, p, span, difference) };
    });
    let cross_entropy = sums.iter().map(|s| s.entropy).sum::<f64>() / values;
    coef[..foreground].fill([0.0; 2]);
    let of_channel = |c| channel_sum(sums, channels, c);
    let dice = dice_loss((foreground..channels).map(of_channel), &mut coef[foreground..]);
    if let Some(d) = dlogits {
        for_each(pieces * channels, 2 * floats(logits), |k| {
            let (c, Piece { image, rows, span, targets }) = (k % channels, piece_of(logits, targets, k / channels));
            let (p, share) = (plane_rows(d, image, c, rows.0), (1.0 / values) as f32);
            // SAFETY: these rows of dlogits (of both planes for two classes) belong to no other piece.
            unsafe {
                logistic_gradient_rows(isa, p, targets.as_ptr(), (class + c) as f32, share, coef[c], span, difference);
                zero_ends(d.plane(image, c), d.layout, rows);
                if difference {
                    zero_ends(d.plane(image, 1), d.layout, rows);
                }
            }
        });
    }
    LossValue { total: cross_entropy + dice, cross_entropy, dice }
}

/// The class of every pixel (the first of the largest logits), image by image, and, if asked for, the probability that
/// it is foreground: `1 - p[0]`, where p is the softmax, or the sigmoids divided by their sum.
///
/// # Panics
/// When lengths differ from batch * height * width.
pub fn predict(isa: Isa, options: LossOptions, logits: &Planes, classes: &mut [u8], foreground: Option<&mut [f32]>) {
    let (pixels, width) = (floats(logits) / logits.channels, logits.layout.width);
    assert_eq!(classes.len(), pixels);
    assert!(foreground.as_ref().is_none_or(|f| f.len() == pixels));
    let softmax = options.kind == LossKind::CrossEntropyDice;
    let (pieces, height) = (RowPieces::of(logits.layout), logits.layout.height);
    let (classes, foreground) = (Slots::new(classes), foreground.map(Slots::new));
    for_each(logits.batch * pieces.per_plane, 4 * floats(logits), |k| {
        let (image, rows) = (k / pieces.per_plane, pieces.rows_of(k));
        let span = Rows { count: rows.1 - rows.0, width };
        let (start, n) = ((image * height + rows.0) * width, span.count * width);
        // SAFETY: these pixels belong to no other piece.
        unsafe {
            let to = classes.range(start, n).as_mut_ptr();
            let p = foreground.as_ref().map_or(std::ptr::null_mut(), |f| f.range(start, n).as_mut_ptr());
            classify_rows(isa, plane_rows(logits, image, 0, rows.0), logits.channels, softmax, span, to, p);
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::trial::{Tensor, distance, noise, same_bits_for_all_threads, wide};

    const SOFTMAX: LossOptions = LossOptions { kind: LossKind::CrossEntropyDice };
    const SIGMOID: LossOptions = LossOptions { kind: LossKind::BinaryDice };

    /// Sizes of logits.
    #[derive(Clone, Copy)]
    struct Shape {
        batch: usize,
        channels: usize,
        size: (usize, usize),
    }

    impl Shape {
        fn pixels(self) -> usize {
            self.size.0 * self.size.1
        }
        fn targets(self, seed: u64) -> Vec<u8> {
            let class = |v: &f32| ((v + 1.0) / 2.0 * self.channels as f32) as u8;
            noise(self.batch * self.pixels(), seed).iter().map(class).collect()
        }
    }

    /// Cross-entropy and Dice loss, straight from the definition.
    fn value(options: LossOptions, s: Shape, z: &[f64], targets: &[u8]) -> (f64, f64) {
        let (k, n) = (s.channels, s.pixels());
        let at = |pixel: usize, c: usize| z[(pixel / n * k + c) * n + pixel % n];
        let (mut entropy, mut sums) = (0.0, vec![[0.0; 3]; k]);
        for (pixel, target) in targets.iter().enumerate() {
            let largest = (0..k).map(|c| at(pixel, c)).fold(f64::MIN, f64::max);
            let all: f64 = (0..k).map(|c| (at(pixel, c) - largest).exp()).sum();
            for (c, sums) in sums.iter_mut().enumerate() {
                let t = f64::from(usize::from(*target) == c);
                let d = at(pixel, c);
                let (p, e) = if options == SOFTMAX {
                    ((d - largest).exp() / all, t * (all.ln() + largest - d))
                } else {
                    (1.0 / (1.0 + (-d).exp()), (d.max(0.0) - d * t + (-d.abs()).exp().ln_1p()) / k as f64)
                };
                entropy += e / targets.len() as f64;
                [p, t, p * t].iter().zip(sums).for_each(|(v, s)| *s += v);
            }
        }
        let dice: f64 = sums[1..].iter().map(|[p, t, pt]| (2.0 * pt + 1.0) / (p + t + 1.0)).sum();
        (entropy, 1.0 - dice / (k - 1) as f64)
    }

    fn run(options: LossOptions, isa: Isa, s: Shape, z: &[f32], targets: &[u8], extra: usize) -> (LossValue, Vec<f32>) {
        let logits = Tensor::of(z, s.batch, s.channels, s.size, 1, extra);
        let mut d = Tensor::garbage(s.batch, s.channels, s.size, 2, extra);
        let mut scratch = LossScratch::new(&logits.planes);
        let plain = loss(isa, options, &logits.planes, targets, None, &mut scratch);
        let value = loss(isa, options, &logits.planes, targets, Some(&d.planes), &mut scratch);
        assert_eq!(plain, value, "asking for the gradient changes the value");
        assert!(d.is_intact());
        (value, d.planes.read_dense())
    }

    /// Central differences of `value`.
    fn slopes(options: LossOptions, s: Shape, z: &[f64], targets: &[u8]) -> Vec<f64> {
        let total = |at: usize, by: f64| {
            let mut moved = z.to_vec();
            moved[at] += by;
            let (a, b) = value(options, s, &moved, targets);
            a + b
        };
        (0..z.len()).map(|i| (total(i, 1e-5) - total(i, -1e-5)) / 2e-5).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn values_agree_with_the_definition_in_f64(
            batch in 1..4_usize, channels in 2..11_usize, h in 1..34_usize, w in 1..34_usize, softmax: bool,
            extra in 0..3_usize, spread in prop::sample::select(vec![1.0_f32, 10.0, 60.0]), seed in 0..1000_u64,
        ) {
            let options = if softmax { SOFTMAX } else { SIGMOID };
            let s = Shape { batch, channels, size: (h, w) };
            let z: Vec<f32> = noise(batch * channels * h * w, seed).iter().map(|v| spread * v).collect();
            let targets = s.targets(seed + 1);
            let (entropy, dice) = value(options, s, &wide(&z), &targets);
            for isa in Isa::available() {
                let (got, _) = run(options, isa, s, &z, &targets, extra);
                prop_assert!((got.cross_entropy - entropy).abs() < 1e-6 * entropy, "{got:?} {entropy}");
                prop_assert!((got.dice - dice).abs() < 1e-6, "{got:?} {dice}");
                prop_assert!((got.total - entropy - dice).abs() < 2e-6 * (1.0 + entropy));
            }
        }

        #[test]
        fn the_gradient_is_the_slope_of_the_loss(
            batch in 1..3_usize, channels in 2..6_usize, h in 1..5_usize, w in 1..20_usize, softmax: bool, seed in 0..1000_u64,
        ) {
            let options = if softmax { SOFTMAX } else { SIGMOID };
            let s = Shape { batch, channels, size: (h, w) };
            let z: Vec<f32> = noise(batch * channels * h * w, seed).iter().map(|v| 4.0 * v).collect();
            let targets = s.targets(seed + 1);
            let expected = slopes(options, s, &wide(&z), &targets);
            for isa in Isa::available() {
                let (_, gradient) = run(options, isa, s, &z, &targets, 1);
                prop_assert!(distance(&gradient, &expected) < 1e-6, "{} {}", isa.name(), distance(&gradient, &expected));
            }
        }
    }

    #[test]
    fn three_classes_give_pytorchs_numbers() {
        let z = [0.5, -1.0, 2.0, 0.0, 1.5, -0.5, 1.0, 0.25, -2.0];
        let s = Shape { batch: 1, channels: 3, size: (1, 3) };
        let (value, gradient) = run(SOFTMAX, Isa::detect(), s, &z, &[0, 2, 1], 0);
        assert!((value.cross_entropy - PYTORCH.0).abs() < 1e-6 && (value.dice - PYTORCH.1).abs() < 1e-6, "{value:?}");
        assert!(distance(&gradient, &PYTORCH.2) < 1e-7, "{gradient:?}");
    }

    /// `torch.nn.functional.cross_entropy`, the Dice loss written with torch operations, and their gradient, in float64.
    const PYTORCH: (f64, f64, [f64; 9]) = (
        1.779908287798,
        0.548332304855,
        [
            -0.249391245181,
            0.020581144301,
            0.319790596649,
            0.062876001874,
            0.297641496590,
            -0.327229077160,
            0.186515243307,
            -0.318222640891,
            0.007438480511,
        ],
    );

    #[test]
    fn one_pixel_of_the_sigmoid_loss_by_hand() {
        // Logits 0: each of the two questions costs ln 2. Class 1 is there with p = 1/2: Dice (2/2 + 1) / (1/2 + 1 + 1).
        let s = Shape { batch: 1, channels: 2, size: (1, 1) };
        let (value, gradient) = run(SIGMOID, Isa::detect(), s, &[0.0, 0.0], &[1], 0);
        assert!((value.cross_entropy - 2.0_f64.ln()).abs() < 1e-6 && (value.dice - 0.2).abs() < 1e-6, "{value:?}");
        // The background's logit feels the cross-entropy only: (p - 0) / 2 channels. The other: (p - 1) / 2 + p (1 - p)
        // times the slope of 1 - (2 p + 1) / (p + 2), which is -3 / (p + 2)^2.
        assert!(distance(&gradient, &[0.25, -0.25 - 0.25 * 3.0 / 6.25]) < 1e-6, "{gradient:?}");
    }

    #[test]
    fn a_confident_and_right_answer_keeps_its_small_loss() {
        for isa in Isa::available() {
            let s = Shape { batch: 1, channels: 2, size: (1, 1) };
            let (value, _) = run(SOFTMAX, isa, s, &[0.0, 25.0], &[1], 0);
            assert!((value.cross_entropy / (-25.0_f64).exp().ln_1p() - 1.0).abs() < 1e-6, "{value:?}");
            let s = Shape { batch: 1, channels: 3, size: (1, 1) };
            let (value, _) = run(SOFTMAX, isa, s, &[0.0, 1.0, 25.0], &[2], 0);
            let u = (-25.0_f64).exp() + (-24.0_f64).exp();
            assert!((value.cross_entropy / u.ln_1p() - 1.0).abs() < 1e-6, "{value:?}");
        }
    }

    #[test]
    fn results_have_the_same_bits_for_any_number_of_threads() {
        for (options, channels) in [(SOFTMAX, 2), (SOFTMAX, 4), (SIGMOID, 2), (SIGMOID, 3)] {
            let s = Shape { batch: 3, channels, size: (131, 150) };
            let (z, targets) = (noise(3 * channels * s.pixels(), 5), s.targets(6));
            same_bits_for_all_threads(|isa| {
                let (value, mut gradient) = run(options, isa, s, &z, &targets, 0);
                for v in [value.total, value.cross_entropy, value.dice] {
                    let bits = v.to_bits();
                    gradient.extend([f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32)]);
                }
                gradient
            });
        }
    }

    #[test]
    #[should_panic(expected = "target class 3, but there are 3 classes")]
    fn a_target_that_is_no_class_is_refused() {
        let s = Shape { batch: 1, channels: 3, size: (1, 2) };
        let _ = run(SOFTMAX, Isa::Portable, s, &[0.0; 6], &[0, 3], 0);
    }

    #[test]
    fn a_logit_that_is_not_a_number_shows_in_the_loss() {
        for (isa, (options, channels)) in
            Isa::available().into_iter().flat_map(|i| [(SOFTMAX, 2), (SOFTMAX, 3), (SIGMOID, 2)].map(|o| (i, o)))
        {
            let s = Shape { batch: 1, channels, size: (1, 2) };
            for at in 0..channels {
                let mut z = vec![0.5; 2 * channels];
                z[2 * at] = f32::NAN;
                assert!(run_value(options, isa, s, &z).total.is_nan(), "{} {channels} {at}", isa.name());
            }
        }
    }

    fn run_value(options: LossOptions, isa: Isa, s: Shape, z: &[f32]) -> LossValue {
        let logits = Tensor::of(z, s.batch, s.channels, s.size, 1, 0);
        loss(isa, options, &logits.planes, &vec![0; s.batch * s.pixels()], None, &mut LossScratch::new(&logits.planes))
    }

    #[test]
    fn the_class_is_the_first_of_the_largest_and_foreground_is_the_rest() {
        for isa in Isa::available() {
            for (options, channels) in [(SOFTMAX, 2), (SOFTMAX, 5), (SIGMOID, 2), (SIGMOID, 3)] {
                let s = Shape { batch: 2, channels, size: (7, 37) };
                let n = s.pixels();
                let z: Vec<f32> = noise(2 * channels * n, 8).iter().map(|v| (8.0 * v).round() / 2.0).collect();
                let logits = Tensor::of(&z, 2, channels, s.size, 1, 1);
                let (mut classes, mut foreground) = (vec![9_u8; 2 * n], vec![9.0_f32; 2 * n]);
                predict(isa, options, &logits.planes, &mut classes, Some(&mut foreground));
                let mut only = vec![9_u8; 2 * n];
                predict(isa, options, &logits.planes, &mut only, None);
                assert_eq!(classes, only);
                for pixel in 0..2 * n {
                    let v: Vec<f64> =
                        (0..channels).map(|c| f64::from(z[(pixel / n * channels + c) * n + pixel % n])).collect();
                    let largest = v.iter().copied().fold(f64::MIN, f64::max);
                    let first = v.iter().position(|x| *x == largest).expect("one is the largest");
                    let share = |x: f64| if options == SOFTMAX { x.exp() } else { 1.0 / (1.0 + (-x).exp()) };
                    let p = 1.0 - share(v[0]) / v.iter().map(|x| share(*x)).sum::<f64>();
                    assert_eq!(usize::from(classes[pixel]), first, "{} pixel {pixel} {v:?}", isa.name());
                    assert!((f64::from(foreground[pixel]) - p).abs() < 1e-6, "{} {p}", foreground[pixel]);
                }
            }
        }
    }
}
