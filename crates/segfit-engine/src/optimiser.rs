//! Optimisers on flat parameter vectors, the moving average of the weights, and the learning-rate schedule.

use std::ops::Range;

use crate::cpu::kernels::lanes::Lanes;
use crate::cpu::ordered::{Slots, for_each, reduce};
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

    /// One step at learning rate `rate`.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn update(&mut self, isa: Isa, params: &mut [f32], grads: &[f32], rate: f32) {
        assert_eq!((params.len(), grads.len(), self.v.len()), (self.m.len(), self.m.len(), self.m.len()));
        self.step += 1;
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
        for (range, decay) in &self.segments {
            rates.keep = (1.0 - f64::from(rate) * f64::from(*decay)) as f32;
            for_each(range.len().div_ceil(PIECE), 4 * range.len(), |piece| {
                let start = range.start + piece * PIECE;
                let n = PIECE.min(range.end - start);
                // SAFETY: pieces are disjoint ranges of the slices.
                unsafe {
                    let [p, m, v] = [&params, &m, &v].map(|s| s.range(start, n).as_mut_ptr());
                    run_adam_w(isa, n, p, grads[start..start + n].as_ptr(), m, v, rates);
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
            let gradient = S::load_first(g.add(i), left);
            let old = S::load_first(m.add(i), left);
            let mean = S::fma(S::sub(gradient, old), first, old);
            let squares = S::fma(S::mul(second, gradient), gradient, S::mul(S::load_first(v.add(i), left), beta2));
            let denominator = S::add(S::div(S::sqrt(squares), root), eps);
            let kept = S::mul(S::load_first(p.add(i), left), keep);
            S::store_first(m.add(i), left, mean);
            S::store_first(v.add(i), left, squares);
            S::store_first(p.add(i), left, S::fma(step_size, S::div(mean, denominator), kept));
        }
    }
}
dispatch!(unsafe fn run_adam_w = adam_w(n: usize, p: *mut f32, g: *const f32, m: *mut f32, v: *mut f32, r: Rates));

#[inline(always)]
unsafe fn blend<S: Lanes>(n: usize, y: *mut f32, x: *const f32, keep: f32, share: f32) {
    // SAFETY: the caller passes n valid floats each.
    unsafe {
        for i in (0..n).step_by(S::LANES) {
            let (a, b) = (S::load_first(y.add(i), n - i), S::load_first(x.add(i), n - i));
            S::store_first(y.add(i), n - i, S::fma(S::splat(share), S::sub(b, S::mul(S::splat(keep), a)), a));
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

/// Euclidean norm, summed in f64 in a fixed order.
#[must_use]
pub fn norm(values: &[f32]) -> f64 {
    let squares = |piece: usize| {
        let mut lanes = [0.0_f64; 8];
        for eight in values[piece * PIECE..].chunks(8).take(PIECE / 8) {
            for (lane, v) in lanes.iter_mut().zip(eight) {
                *lane += f64::from(*v) * f64::from(*v);
            }
        }
        lanes.iter().sum::<f64>()
    };
    if values.is_empty() {
        return 0.0;
    }
    reduce(0, values.len().div_ceil(PIECE), 2 * values.len(), &squares, &|a, b| a + b).sqrt()
}

/// The norm of `grads`; if it exceeds `max_norm`, they are scaled by max_norm / (norm + 1e-6), as
/// `torch.nn.utils.clip_grad_norm_`.
pub fn clip(isa: Isa, grads: &mut [f32], max_norm: f64) -> f64 {
    let norm = norm(grads);
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        let n = grads.len();
        let slots = Slots::new(grads);
        for_each(n.div_ceil(PIECE), n, |piece| {
            let (start, n) = (piece * PIECE, PIECE.min(n - piece * PIECE));
            // SAFETY: pieces are disjoint ranges of the slice.
            unsafe { run_scale(isa, n, slots.range(start, n).as_mut_ptr(), factor as f32) };
        });
    }
    norm
}

#[inline(always)]
unsafe fn scale<S: Lanes>(n: usize, x: *mut f32, factor: f32) {
    for i in (0..n).step_by(S::LANES) {
        // SAFETY: the caller passes n valid floats.
        unsafe { S::store_first(x.add(i), n - i, S::mul(S::load_first(x.add(i), n - i), S::splat(factor))) };
    }
}
dispatch!(unsafe fn run_scale = scale(n: usize, x: *mut f32, factor: f32));

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
