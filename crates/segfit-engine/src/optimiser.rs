//! Optimisers on flat parameter vectors, the moving average of the weights, and the learning-rate schedule.

use std::ops::Range;

use crate::cpu::kernels::lanes::Lanes;
use crate::cpu::ordered::{Slots, for_each};
use crate::cpu::simd::Isa;
use crate::dispatch;

/// Parameters that one piece of work covers.
const PIECE: usize = 16_384;

/// Settings of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWOptions {
    /// Decay of the gradient's average.
    pub beta1: f64,
    /// Decay of the squared gradient's average.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101), bias-corrected as
/// `torch.optim.AdamW`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    /// Settings.
    pub options: AdamWOptions,
    /// Average of the gradient, one per parameter.
    pub m: Vec<f32>,
    /// Average of the squared gradient.
    pub v: Vec<f32>,
    /// Steps taken.
    pub step: u64,
    /// Ranges that cover all parameters, in order, with their weight decay.
    segments: Vec<(Range<usize>, f32)>,
}

/// The numbers of one step that all parameters share.
#[derive(Clone, Copy, Debug)]
struct Rates {
    first: f32,
    beta2: f32,
    second: f32,
    root: f32,
    eps: f32,
    step_size: f32,
    keep: f32,
}

impl AdamW {
    /// An optimiser of `parameters` values at step 0. `decay` lists ranges with their weight decay, in ascending order; it is
    /// 0 elsewhere.
    ///
    /// # Panics
    /// When ranges overlap, are not ascending, or end behind the parameters.
    #[must_use]
    pub fn new(parameters: usize, options: AdamWOptions, decay: &[(Range<usize>, f32)]) -> Self {
        let mut segments = Vec::new();
        let mut end = 0;
        for (range, decay) in decay {
            assert!(end <= range.start && range.start <= range.end && range.end <= parameters, "bad range {range:?}");
            segments.extend([(end..range.start, 0.0), (range.clone(), *decay)]);
            end = range.end;
        }
        segments.push((end..parameters, 0.0));
        segments.retain(|(range, _)| !range.is_empty());
        Self { options, m: vec![0.0; parameters], v: vec![0.0; parameters], step: 0, segments }
    }

    /// Begins a step: every parameter is then updated once.
    pub fn begin_step(&mut self) {
        self.step += 1;
    }

    /// Updates `range` of the parameters, whose gradients are `grads`, at learning rate `rate`.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn update(&mut self, isa: Isa, params: &mut [f32], range: Range<usize>, grads: &[f32], rate: f32) {
        assert_eq!((params.len(), grads.len()), (self.m.len(), range.len()));
        let AdamWOptions { beta1, beta2, eps } = self.options;
        let correction = |beta: f64| 1.0 - beta.powf(self.step as f64);
        let mut rates = Rates {
            first: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            second: (1.0 - beta2) as f32,
            root: correction(beta2).sqrt() as f32,
            eps: eps as f32,
            step_size: (f64::from(rate) / correction(beta1)) as f32,
            keep: 1.0,
        };
        let [params, m, v] = [params, &mut self.m, &mut self.v].map(Slots::new);
        let first = self.segments.partition_point(|(segment, _)| segment.end <= range.start);
        for (segment, decay) in self.segments[first..].iter().take_while(|(segment, _)| segment.start < range.end) {
            let (start, end) = (segment.start.max(range.start), segment.end.min(range.end));
            rates.keep = (1.0 - f64::from(rate) * f64::from(*decay)) as f32;
            for_each((end - start).div_ceil(PIECE), 4 * (end - start), |piece| {
                let start = start + piece * PIECE;
                let n = PIECE.min(end - start);
                // SAFETY: pieces are disjoint ranges of the slices.
                unsafe {
                    let [p, m, v] = [&params, &m, &v].map(|s| s.range(start, n).as_mut_ptr());
                    run_adam_w(isa, n, p, grads[start - range.start..][..n].as_ptr(), m, v, rates);
                }
            });
        }
    }
}

#[inline(always)]
unsafe fn adam_w<S: Lanes>(n: usize, p: *mut f32, g: *const f32, m: *mut f32, v: *mut f32, r: Rates) {
    // SAFETY: the caller passes n valid floats each.
    unsafe {
        let [first, beta2, second] = [S::splat(r.first), S::splat(r.beta2), S::splat(r.second)];
        let [root, eps, step_size, keep] =
            [S::splat(r.root), S::splat(r.eps), S::splat(-r.step_size), S::splat(r.keep)];
        for i in (0..n).step_by(S::LANES) {
            let left = n - i;
            let gradient = S::load_upto(g.add(i), left);
            let old = S::load_upto(m.add(i), left);
            let mean = S::fma(S::sub(gradient, old), first, old);
            let squares = S::fma(S::mul(second, gradient), gradient, S::mul(S::load_upto(v.add(i), left), beta2));
            let denominator = S::add(S::div(S::sqrt(squares), root), eps);
            let kept = S::mul(S::load_upto(p.add(i), left), keep);
            S::store_upto(m.add(i), left, mean);
            S::store_upto(v.add(i), left, squares);
            S::store_upto(p.add(i), left, S::fma(step_size, S::div(mean, denominator), kept));
        }
    }
}
dispatch!(unsafe fn run_adam_w = adam_w(n: usize, p: *mut f32, g: *const f32, m: *mut f32, v: *mut f32, r: Rates));

#[inline(always)]
unsafe fn blend<S: Lanes>(n: usize, y: *mut f32, x: *const f32, keep: f32, share: f32) {
    // SAFETY: the caller passes n valid floats each.
    unsafe {
        for i in (0..n).step_by(S::LANES) {
            let (a, b) = (S::load_upto(y.add(i), n - i), S::load_upto(x.add(i), n - i));
            S::store_upto(y.add(i), n - i, S::fma(S::splat(share), S::sub(b, S::mul(S::splat(keep), a)), a));
        }
    }
}
dispatch!(unsafe fn run_blend = blend(n: usize, y: *mut f32, x: *const f32, keep: f32, share: f32));

/// y += share * (x - keep * y).
fn blend_all(isa: Isa, y: &mut [f32], x: &[f32], keep: f32, share: f32) {
    assert_eq!(y.len(), x.len());
    let n = y.len();
    let y = Slots::new(y);
    for_each(n.div_ceil(PIECE), 2 * n, |piece| {
        let (start, n) = (piece * PIECE, PIECE.min(n - piece * PIECE));
        // SAFETY: pieces are disjoint ranges of the slices.
        unsafe { run_blend(isa, n, y.range(start, n).as_mut_ptr(), x[start..start + n].as_ptr(), keep, share) };
    });
}

/// Plain gradient descent: params -= rate * grads.
///
/// # Panics
/// When the lengths differ.
pub fn sgd(isa: Isa, params: &mut [f32], grads: &[f32], rate: f32) {
    blend_all(isa, params, grads, 0.0, -rate);
}

/// Exponential moving average of the weights: ema += (1 - decay) * (params - ema).
///
/// # Panics
/// When the lengths differ.
pub fn update_ema(isa: Isa, ema: &mut [f32], params: &[f32], decay: f32) {
    blend_all(isa, ema, params, 1.0, 1.0 - decay);
}

/// Learning rate of `step` (from 0) out of `steps`: it rises linearly to `peak` over the first `warmup_share` of the steps
/// and falls to 0 along half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983).
///
/// ```
/// use segfit_engine::optimiser::learning_rate;
/// assert_eq!(learning_rate(0, 100, 0.1, 1.0), 0.1);
/// assert_eq!(learning_rate(9, 100, 0.1, 1.0), 1.0);
/// assert!((learning_rate(55, 100, 0.1, 1.0) - 0.5).abs() < 1e-6);
/// assert_eq!(learning_rate(100, 100, 0.1, 1.0), 0.0);
/// ```
#[must_use]
pub fn learning_rate(step: usize, steps: usize, warmup_share: f32, peak: f32) -> f32 {
    let warmup = (steps as f64 * f64::from(warmup_share)).round() as usize;
    if step < warmup {
        return (f64::from(peak) * (step + 1) as f64 / warmup as f64) as f32;
    }
    let progress = (step - warmup) as f64 / (steps.saturating_sub(warmup)).max(1) as f64;
    (f64::from(peak) * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::trial::{noise, same_bits_for_all_threads};

    /// Parameters after each of five steps of `torch.optim.AdamW` (float32, 2.x) with the gradients and rates of the test.
    const PYTORCH: [[f64; 6]; 5] = [
        [0.989000022, -1.98800004, 0.489500999, 2.98699999, 0.239999995, -0.740000129],
        [0.98010993, -1.97945809, 0.473505437, 2.97564793, 0.22069636, -0.720696628],
        [0.957550764, -1.95749056, 0.447186351, 2.94925189, 0.191956326, -0.691956699],
        [0.935320258, -1.94317997, 0.410493195, 2.92652655, 0.153539911, -0.653540432],
        [0.898107052, -1.91508877, 0.363343328, 2.88744545, 0.105178036, -0.605178714],
    ];

    #[test]
    fn five_steps_give_pytorchs_numbers() {
        for isa in Isa::available() {
            let mut p = [1.0_f32, -2.0, 0.5, 3.0, 0.25, -0.75];
            let mut adam = AdamW::new(6, AdamWOptions::default(), &[(0..4, 0.1)]);
            for (s, expected) in PYTORCH.iter().enumerate() {
                let (sign, step) = (if s % 2 == 0 { 1.0 } else { -0.5 }, s as f32);
                let first = [0.1_f32, -0.2, 1e-4, 3.0].map(|g| g * sign + 0.01 * step);
                let g: Vec<f32> = first.into_iter().chain([2.0, -1e-3].map(|g: f32| g * (step + 1.0))).collect();
                adam.begin_step();
                // The parts of a step may come in any order.
                adam.update(isa, &mut p, 3..6, &g[3..], 0.01 * (step + 1.0));
                adam.update(isa, &mut p, 0..3, &g[..3], 0.01 * (step + 1.0));
                for (a, b) in p.iter().zip(expected) {
                    assert!((f64::from(*a) - b).abs() < 3e-7 * (1.0 + b.abs()), "{} step {s}: {a} {b}", isa.name());
                }
            }
        }
    }

    #[test]
    fn decay_reaches_its_ranges_only_and_steps_have_the_same_bits_for_any_number_of_threads() {
        let n = 100_003;
        let mut adam = AdamW::new(n, AdamWOptions::default(), &[(10..20, 0.5), (50..90_000, 0.1)]);
        let mut p = vec![1.0; n];
        adam.begin_step();
        adam.update(Isa::detect(), &mut p, 0..n, &vec![0.0; n], 0.1);
        for (i, v) in p.iter().enumerate() {
            let decay = if (10..20).contains(&i) { 0.5 } else { f32::from((50..90_000).contains(&i)) * 0.1 };
            assert!((v - (1.0 - 0.1 * decay)).abs() < 1e-7, "{i} {v}");
        }
        same_bits_for_all_threads(|isa| {
            let (mut p, mut adam) = (noise(n, 1), AdamW::new(n, AdamWOptions::default(), &[(0..n, 0.1)]));
            let mut ema = p.clone();
            for step in 0..3 {
                adam.begin_step();
                adam.update(isa, &mut p, 0..n, &noise(n, 2 + step), 0.1);
                update_ema(isa, &mut ema, &p, 0.9);
            }
            [p, adam.m, adam.v, ema].concat()
        });
    }

    #[test]
    fn descent_and_moving_average_of_three_numbers() {
        for isa in Isa::available() {
            let mut p = [1.0, 2.0, 3.0];
            sgd(isa, &mut p, &[1.0, 0.0, -2.0], 0.5);
            assert_eq!(p, [0.5, 2.0, 4.0]);
            let mut ema = [1.0, 0.0, 8.0];
            update_ema(isa, &mut ema, &p, 0.75);
            assert_eq!(ema, [0.875, 0.5, 7.0]);
        }
    }

    #[test]
    #[should_panic(expected = "bad range")]
    fn overlapping_ranges_of_decay_are_refused() {
        let _ = AdamW::new(10, AdamWOptions::default(), &[(0..5, 0.1), (4..6, 0.1)]);
    }
}
