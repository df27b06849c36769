//! Distillation: a trained network's logits as soft targets beside the masks (Hinton et al. 2015, arXiv 1503.02531).
//!
//! With weight w and temperature T the loss is (1 - w) * (loss on the masks) + w T^2 * (mean over pixels of the
//! Kullback-Leibler divergence of the student's probabilities at T from the teacher's). T^2 keeps the gradient's size, which
//! falls as 1 / T^2. Networks with a sigmoid per channel have two probabilities for each channel, and the mean is over
//! channels too, as in their cross-entropy.

use segfit::recipe::LossKind;

use super::{LossScratch, LossValue};
use crate::cpu::kernels::loss_rows::MAX_CLASSES;
use crate::cpu::ordered::{RowPieces, Slots, assert_same_shape, floats, for_each};
use crate::cpu::planes::Planes;

/// What a teacher says about a batch.
#[derive(Clone, Copy, Debug)]
pub struct SoftTargets<'a> {
    /// Its logits, `[batch][classes][height][width]`.
    pub logits: &'a [f32],
    /// Share of the teacher in the loss, from 0 to 1.
    pub weight: f32,
    /// Both networks' logits are divided by this, above 0.
    pub temperature: f32,
}

/// Adds the teacher to a loss: `value` is that on the masks, and so is the gradient `dlogits`, which is changed in place.
/// The result's `total` includes the teacher's share; its summands stay those on the masks.
///
/// # Panics
/// When shapes differ or there are more than 256 classes.
pub fn distil(
    kind: LossKind,
    logits: &Planes,
    dlogits: &Planes,
    soft: &SoftTargets<'_>,
    scratch: &mut LossScratch,
    value: LossValue,
) -> LossValue {
    assert_same_shape(logits, dlogits);
    assert_eq!(soft.logits.len(), floats(logits), "one logit of the teacher for each of the student");
    assert!(logits.channels <= MAX_CLASSES, "at most {MAX_CLASSES} classes, got {}", logits.channels);
    let pieces = RowPieces::of(logits.layout);
    let count = logits.batch * pieces.per_plane;
    let sums = &mut scratch.sums[..count];
    let slots = Slots::new(sums);
    for_each(count, 16 * floats(logits), |k| {
        let (image, rows) = (k / pieces.per_plane, pieces.rows_of(k));
        // SAFETY: this sum and these rows of dlogits belong to no other piece.
        let sum = unsafe { slots.at(k) };
        sum.entropy = (rows.0..rows.1).map(|row| distil_row(kind, logits, dlogits, soft, image, row)).sum();
    });
    let divergence = sums.iter().map(|s| s.entropy).sum::<f64>() / means_over(kind, logits) as f64;
    let (weight, temperature) = (f64::from(soft.weight), f64::from(soft.temperature));
    LossValue { total: (1.0 - weight) * value.total + weight * temperature * temperature * divergence, ..value }
}

/// Values that the divergence is the mean of.
fn means_over(kind: LossKind, logits: &Planes) -> usize {
    match kind {
        LossKind::CrossEntropyDice => floats(logits) / logits.channels,
        LossKind::BinaryDice => floats(logits),
    }
}

/// Sum of the divergences of a row of an image; its gradient replaces the teacher's share of `dlogits`.
fn distil_row(
    kind: LossKind,
    logits: &Planes,
    dlogits: &Planes,
    soft: &SoftTargets<'_>,
    image: usize,
    row: usize,
) -> f64 {
    let (channels, height, width) = (logits.channels, logits.layout.height, logits.layout.width);
    let (keep, share) = (1.0 - soft.weight, soft.weight * soft.temperature / means_over(kind, logits) as f32);
    let inverse = 1.0 / soft.temperature;
    let mut student = [0.0; MAX_CLASSES];
    let mut teacher = [0.0; MAX_CLASSES];
    let (student, teacher) = (&mut student[..channels], &mut teacher[..channels]);
    let mut sum = 0.0;
    for x in 0..width {
        for c in 0..channels {
            // SAFETY: a pixel of this row, which no other piece writes.
            student[c] = unsafe { *logits.row(image, c, row).add(x) } * inverse;
            teacher[c] = soft.logits[((image * channels + c) * height + row) * width + x] * inverse;
        }
        sum += f64::from(match kind {
            LossKind::CrossEntropyDice => softmax_divergence(student, teacher),
            LossKind::BinaryDice => {
                student.iter_mut().zip(teacher.iter_mut()).map(|(z, t)| logistic_divergence(z, t)).sum()
            }
        });
        for c in 0..channels {
            // SAFETY: as above; the difference of the probabilities is the divergence's slope.
            unsafe {
                let d = dlogits.row(image, c, row).add(x);
                *d = keep * *d + share * (student[c] - teacher[c]);
            }
        }
    }
    sum
}

/// Divergence of the softmax of `z` from that of `t`, both of which become these probabilities.
fn softmax_divergence(z: &mut [f32], t: &mut [f32]) -> f32 {
    let (log_z, log_t) = (log_sum(z), log_sum(t));
    let mut sum = 0.0;
    for (z, t) in z.iter_mut().zip(t) {
        let (log_p, log_q) = (*z - log_z, *t - log_t);
        (*z, *t) = (log_p.exp(), log_q.exp());
        // Where the teacher has no probability at all, there is nothing to learn (and 0 times infinity to avoid).
        if *t > 0.0 {
            sum += *t * (log_q - log_p);
        }
    }
    sum
}

/// ln(sum of exp).
fn log_sum(v: &[f32]) -> f32 {
    // Not f32::max, which would lose a value that is not a number.
    let largest = v.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a || b.is_nan() { b } else { a });
    largest + v.iter().map(|x| (x - largest).exp()).sum::<f32>().ln()
}

/// Divergence of a question answered with sigmoid(z) from sigmoid(t); both become these probabilities.
fn logistic_divergence(z: &mut f32, t: &mut f32) -> f32 {
    // -ln sigmoid(-x), and sigmoid(x).
    let softplus = |x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let sigmoid = |x: f32| if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) };
    let (yes, no) = (softplus(-*z) - softplus(-*t), softplus(*z) - softplus(*t));
    let nothing = *z + *t;
    (*z, *t) = (sigmoid(*z), sigmoid(*t));
    // max() above hides values that are not numbers.
    if nothing.is_nan() { f32::NAN } else { *t * yes + (1.0 - *t) * no }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::trial::{Tensor, distance, noise, same_bits_for_all_threads, wide};

    const NOTHING: LossValue = LossValue { total: 0.0, cross_entropy: 0.0, dice: 0.0 };

    #[derive(Clone, Copy, Debug)]
    struct Shape {
        batch: usize,
        channels: usize,
        size: (usize, usize),
    }

    impl Shape {
        fn len(self) -> usize {
            self.batch * self.channels * self.size.0 * self.size.1
        }
    }

    /// T^2 times the mean divergence, straight from the definition.
    fn definition(kind: LossKind, s: Shape, z: &[f64], teacher: &[f32], temperature: f64) -> f64 {
        let (n, k) = (s.size.0 * s.size.1, s.channels);
        let mut sum = 0.0;
        for pixel in 0..s.batch * n {
            let at = |c: usize| (pixel / n * k + c) * n + pixel % n;
            let (a, b): (Vec<f64>, Vec<f64>) =
                (0..k).map(|c| (z[at(c)] / temperature, f64::from(teacher[at(c)]) / temperature)).unzip();
            if kind == LossKind::CrossEntropyDice {
                let total = |v: &[f64]| v.iter().map(|x| x.exp()).sum::<f64>();
                let (p, q) = (|c: usize| a[c].exp() / total(&a), |c: usize| b[c].exp() / total(&b));
                sum += (0..k).map(|c| q(c) * (q(c) / p(c)).ln()).sum::<f64>();
            } else {
                let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                let one = |p: f64, q: f64| q * (q / p).ln() + (1.0 - q) * ((1.0 - q) / (1.0 - p)).ln();
                sum += (0..k).map(|c| one(sigmoid(a[c]), sigmoid(b[c]))).sum::<f64>() / k as f64;
            }
        }
        temperature * temperature * sum / (s.batch * n) as f64
    }

    fn run(kind: LossKind, s: Shape, z: &[f32], soft: &SoftTargets<'_>, before: &[f32], value: f64) -> (f64, Vec<f32>) {
        let logits = Tensor::of(z, s.batch, s.channels, s.size, 1, 1);
        let mut d = Tensor::of(before, s.batch, s.channels, s.size, 2, 2);
        let value = LossValue { total: value, ..NOTHING };
        let mut scratch = LossScratch::new(&logits.planes);
        let got = distil(kind, &logits.planes, &d.planes, soft, &mut scratch, value);
        assert!(d.is_intact());
        assert_eq!((got.cross_entropy, got.dice), (0.0, 0.0));
        (got.total, d.planes.read_dense())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn value_and_gradient_are_those_of_the_definition(
            batch in 1..3_usize, channels in 2..5_usize, h in 1..6_usize, w in 1..12_usize, softmax: bool,
            weight in 0.0..1.0_f32, temperature in 0.5..5.0_f32, seed in 0..1000_u64,
        ) {
            let kind = if softmax { LossKind::CrossEntropyDice } else { LossKind::BinaryDice };
            let s = Shape { batch, channels, size: (h, w) };
            let scaled = |seed| -> Vec<f32> { noise(s.len(), seed).iter().map(|v| 4.0 * v).collect() };
            let (z, teacher, before) = (scaled(seed), scaled(seed + 1), noise(s.len(), seed + 2));
            let soft = SoftTargets { logits: &teacher, weight, temperature };
            let (got, gradient) = run(kind, s, &z, &soft, &before, 0.7);
            let term = |z: &[f64]| definition(kind, s, z, &teacher, f64::from(temperature));
            let (weight, exact) = (f64::from(weight), wide(&z));
            let want = (1.0 - weight) * 0.7 + weight * term(&exact);
            prop_assert!((got - want).abs() < 1e-5, "{} {}", got, want);
            let slope = |i: usize| {
                let moved = |by: f64| { let mut z = exact.clone(); z[i] += by; term(&z) };
                (moved(1e-5) - moved(-1e-5)) / 2e-5
            };
            let want: Vec<f64> =
                (0..s.len()).map(|i| (1.0 - weight) * f64::from(before[i]) + weight * slope(i)).collect();
            prop_assert!(distance(&gradient, &want) < 2e-6, "{}", distance(&gradient, &want));
        }
    }

    #[test]
    fn one_pixel_by_hand() {
        // The student says 1/2 each, the teacher 3/4 and 1/4: KL = 3/4 ln(3/2) + 1/4 ln(1/2). Temperature 2 halves the
        // logits, so the teacher's is 2 ln 3.
        let s = Shape { batch: 1, channels: 2, size: (1, 1) };
        let teacher = [2.0 * 3.0_f32.ln(), 0.0];
        let soft = SoftTargets { logits: &teacher, weight: 0.5, temperature: 2.0 };
        let (value, gradient) = run(LossKind::CrossEntropyDice, s, &[0.0, 0.0], &soft, &[0.0, 1.0], 3.0);
        let want = 0.5 * 3.0 + 0.5 * 4.0 * (0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln());
        assert!((value - want).abs() < 1e-6, "{value} {want}");
        assert!(distance(&gradient, &[-0.25, 0.5 + 0.25]) < 1e-6, "{gradient:?}");
    }

    #[test]
    fn a_student_that_agrees_has_nothing_to_learn_from_the_teacher() {
        let s = Shape { batch: 2, channels: 3, size: (5, 9) };
        let z: Vec<f32> = noise(s.len(), 4).iter().map(|v| 30.0 * v).collect();
        for kind in [LossKind::CrossEntropyDice, LossKind::BinaryDice] {
            let soft = SoftTargets { logits: &z, weight: 1.0, temperature: 1.0 };
            let (value, gradient) = run(kind, s, &z, &soft, &vec![9.0; s.len()], 5.0);
            assert!(value.abs() < 1e-6 && gradient.iter().all(|g| g.abs() < 1e-7), "{kind:?} {value}");
        }
    }

    #[test]
    fn confident_networks_that_disagree_have_a_finite_loss_and_logits_that_are_no_numbers_do_not() {
        let s = Shape { batch: 1, channels: 2, size: (1, 1) };
        for kind in [LossKind::CrossEntropyDice, LossKind::BinaryDice] {
            let teacher = [-200.0, 200.0];
            let soft = SoftTargets { logits: &teacher, weight: 0.5, temperature: 1.0 };
            let total = |z: [f32; 2]| run(kind, s, &z, &soft, &[0.0; 2], 0.0).0;
            let expected = if kind == LossKind::CrossEntropyDice { 200.0 } else { 100.0 };
            assert!((total([200.0, -200.0]) - expected).abs() < 1e-3, "{kind:?} {}", total([200.0, -200.0]));
            assert!(total([f32::NAN, 0.0]).is_nan() && total([0.0, f32::NAN]).is_nan(), "{kind:?}");
        }
    }

    #[test]
    fn results_have_the_same_bits_for_any_number_of_threads() {
        let s = Shape { batch: 3, channels: 3, size: (131, 150) };
        let (z, teacher, before) = (noise(s.len(), 1), noise(s.len(), 2), noise(s.len(), 3));
        for kind in [LossKind::CrossEntropyDice, LossKind::BinaryDice] {
            same_bits_for_all_threads(|_| {
                let soft = SoftTargets { logits: &teacher, weight: 0.5, temperature: 2.0 };
                let (value, mut gradient) = run(kind, s, &z, &soft, &before, 1.0);
                let bits = value.to_bits();
                gradient.extend([f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32)]);
                gradient
            });
        }
    }
}
