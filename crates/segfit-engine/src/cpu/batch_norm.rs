//! Batch normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167), fused with the ReLU that usually follows.
//!
//! As in PyTorch, the variance that normalises is biased (divided by n) and the running variance is unbiased (n - 1).
//! Statistics are taken per piece of a plane in two passes and combined in f64 by Chan, Golub and LeVeque's formula
//! (1979) in an order that depends on the shape alone.

use crate::cpu::kernels::norm_rows::{Channel, Rows, affine_rows, gradient_rows, row_gradient_sums, row_moments};
use crate::cpu::max_pool::{assert_pooled, pool_rows};
use crate::cpu::ordered::{RowPieces, Slots, assert_same_shape, floats, for_each, reduce, zero_ends};
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;

/// Moments of the union of two sets: number of values, their mean, and the sum of squared differences from it.
fn union([count_a, mean_a, squares_a]: Partial, [count_b, mean_b, squares_b]: Partial) -> Partial {
    let count = count_a + count_b;
    let (difference, share) = (mean_b - mean_a, count_b / count);
    [count, mean_a + difference * share, squares_a + squares_b + difference * difference * count_a * share]
}

/// How the work on a tensor is cut up, by its shape alone: groups of channels that stay in the second cache between the
/// two passes over them, each in pieces (image, rows, channel), in this order, so that a thread gets the part of an image
/// that it gets of the convolutions too.
#[derive(Clone, Copy, Debug)]
struct Pieces {
    rows: RowPieces,
    batch: usize,
    channels: usize,
    group: usize,
}

/// One piece.
struct Piece {
    image: usize,
    channel: usize,
    rows: (usize, usize),
    span: Rows,
    /// Its number among the pieces of its channel.
    part: usize,
}

impl Pieces {
    fn of(x: &Planes) -> Self {
        /// Values of a group: 2 MiB.
        const GROUP: usize = 1 << 19;
        let channel = x.batch * x.layout.height * x.layout.width;
        let group = (GROUP / channel.max(1)).clamp(1, x.channels.max(1));
        Self { rows: RowPieces::of(x.layout).even(), batch: x.batch, channels: x.channels, group }
    }

    /// Pieces of a channel.
    fn parts(self) -> usize {
        self.batch * self.rows.per_plane
    }

    /// First channel and channel behind the last of every group.
    fn groups(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.channels).step_by(self.group).map(move |c| (c, (c + self.group).min(self.channels)))
    }

    /// Calls `run` for every piece of a group of channels.
    fn for_each(self, x: &Planes, (first, end): (usize, usize), run: impl Fn(Piece) + Sync) {
        let channels = end - first;
        let work = 2 * x.batch * channels * x.layout.height * x.layout.width;
        for_each(self.parts() * channels, work, |k| {
            let part = k / channels;
            let rows = self.rows.rows_of(part);
            let span = Rows { count: rows.1 - rows.0, width: x.layout.width };
            run(Piece { image: part / self.rows.per_plane, channel: first + k % channels, rows, span, part });
        });
    }

    /// Combines what the pieces of each channel of a group stored; the first of its slots then holds what `run` makes of it.
    fn for_each_channel(
        self,
        (first, end): (usize, usize),
        partials: &mut Partials,
        combine: &(impl Fn(Partial, Partial) -> Partial + Sync),
        run: impl Fn(usize, Partial) -> Partial + Sync,
    ) {
        let parts = self.parts();
        let slots = Slots::new(&mut partials.0);
        for_each(end - first, 32 * (end - first) * parts, |c| {
            // SAFETY: the slots of a channel belong to one call.
            let of_channel = unsafe { slots.range(c * parts, parts) };
            of_channel[0] = run(first + c, reduce(0, parts, 0, &|k| of_channel[k], combine));
        });
    }
}

/// What a piece stores for its channel: moments, or sums of gradients.
type Partial = [f64; 3];

/// Memory for what the pieces of a group of channels store between the passes.
#[derive(Clone, Debug, Default)]
pub struct Partials(Vec<Partial>);

impl Partials {
    /// Enough for tensors of the shape of `x`.
    #[must_use]
    pub fn of(x: &Planes) -> Self {
        let pieces = Pieces::of(x);
        Self(vec![[0.0; 3]; pieces.parts() * pieces.group])
    }
}

/// Factor and constant of the forward pass. The backward pass finds the ReLU's mask by the same arithmetic.
fn coefficients(gamma: f32, beta: f32, mean: f32, inv_std: f32) -> [f32; 2] {
    let scale = gamma * inv_std;
    [scale, beta - mean * scale]
}

/// y = x * scale + shift of a piece, and its pooling while y is at hand.
fn affine_piece(isa: Isa, x: &Planes, y: &Planes, pooled: Option<&Planes>, piece: &Piece, coef: [f32; 2], relu: bool) {
    let Piece { image, channel, rows, span, .. } = *piece;
    let (from, to) = (x.row(image, channel, rows.0), y.row(image, channel, rows.0));
    // SAFETY: this piece's rows of y belong to no other piece; x is not written unless it is y itself.
    unsafe {
        affine_rows(isa, from, x.layout.row_stride(), to, y.layout.pad, span, coef, relu);
        zero_ends(y.plane(image, channel), y.layout, rows);
        if let Some(pooled) = pooled {
            let end = if rows.1 == y.layout.height { pooled.layout.height } else { rows.1 / 2 };
            pool_rows(isa, y, pooled, (image, channel), (rows.0 / 2, end));
        }
    }
}

/// Normalises each channel of `z` over batch and pixels: y = gamma * (z - mean) / sqrt(var + eps) + beta, or its positive
/// part with `relu`. `z` is kept for [`backward`], so y must be other memory.
///
/// `gamma`, `beta`, the running statistics and the saved ones hold one value per channel. The running statistics become
/// (1 - momentum) * old + momentum * new; `saved_mean` and `saved_inv_std` = 1 / sqrt(var + eps) are for [`backward`].
/// `pooled`, where given, becomes the 2x2 max pooling of y.
///
/// # Panics
/// When a channel has fewer than two values (its unbiased variance is not defined), or shapes differ.
pub fn forward_train(
    isa: Isa,
    z: &Planes,
    y: &Planes,
    pooled: Option<&Planes>,
    gamma: &[f32],
    beta: &[f32],
    relu: bool,
    eps: f32,
    momentum: f32,
    running_mean: &mut [f32],
    running_var: &mut [f32],
    saved_mean: &mut [f32],
    saved_inv_std: &mut [f32],
    partials: &mut Partials,
) {
    assert_same_shape(z, y);
    pooled.iter().for_each(|pooled| assert_pooled(y, pooled));
    assert!(floats(z) > z.channels, "batch normalisation needs at least two values per channel");
    let pieces = Pieces::of(z);
    let parts = pieces.parts();
    let [running_mean, running_var, saved_mean, saved_inv_std] =
        [running_mean, running_var, saved_mean, saved_inv_std].map(Slots::new);
    for group in pieces.groups() {
        let partial = Slots::new(&mut partials.0);
        pieces.for_each(z, group, |piece| {
            let Piece { image, channel, rows, span, part } = piece;
            // SAFETY: rows of z, which nobody writes; the slot belongs to this piece.
            unsafe {
                let from = z.row(image, channel, rows.0);
                let (mean, squares) = row_moments(isa, from, z.layout.row_stride(), span);
                *partial.at((channel - group.0) * parts + part) = [(span.count * span.width) as f64, mean, squares];
            }
        });
        pieces.for_each_channel(group, partials, &union, |c, [count, mean, squares]| {
            let (keep, inv_std) = (1.0 - momentum, (1.0 / (squares / count + f64::from(eps)).sqrt()) as f32);
            // SAFETY: element c belongs to this channel.
            unsafe {
                *saved_mean.at(c) = mean as f32;
                *saved_inv_std.at(c) = inv_std;
                *running_mean.at(c) = keep * *running_mean.at(c) + momentum * mean as f32;
                *running_var.at(c) = keep * *running_var.at(c) + momentum * (squares / (count - 1.0)) as f32;
            }
            let [scale, shift] = coefficients(gamma[c], beta[c], mean as f32, inv_std);
            [f64::from(scale), f64::from(shift), 0.0]
        });
        let of_channel = |c: usize| partials.0[(c - group.0) * parts].map(|v| v as f32);
        pieces.for_each(z, group, |piece| {
            let [scale, shift, _] = of_channel(piece.channel);
            affine_piece(isa, z, y, pooled, &piece, [scale, shift], relu);
        });
    }
}

/// Gradients of [`forward_train`]: dz from dy (the gradient of its output, after the ReLU if there was one), and per
/// channel `dgamma` and `dbeta`, which are overwritten. `dz` may be `dy`.
///
/// With g = dy where the output was positive: dbeta = sum g, dgamma = sum g * zhat, and
/// dz = gamma * inv_std * (g - dbeta / n - zhat * dgamma / n), zhat = (z - mean) * inv_std.
///
/// # Panics
/// When shapes differ.
pub fn backward(
    isa: Isa,
    z: &Planes,
    dy: &Planes,
    dz: &Planes,
    gamma: &[f32],
    beta: &[f32],
    saved_mean: &[f32],
    saved_inv_std: &[f32],
    relu: bool,
    dgamma: &mut [f32],
    dbeta: &mut [f32],
    partials: &mut Partials,
) {
    assert_same_shape(z, dy);
    assert_same_shape(z, dz);
    let count = (floats(z) / z.channels.max(1)) as f64;
    let pieces = Pieces::of(z);
    let parts = pieces.parts();
    let (zs, ds) = (z.layout.row_stride(), dy.layout.row_stride());
    let (dgamma, dbeta) = (Slots::new(dgamma), Slots::new(dbeta));
    let of_channel = |c: usize| {
        let [scale, shift] = coefficients(gamma[c], beta[c], saved_mean[c], saved_inv_std[c]);
        Channel { scale, shift, mean: saved_mean[c], relu }
    };
    for group in pieces.groups() {
        let partial = Slots::new(&mut partials.0);
        pieces.for_each(z, group, |piece| {
            let Piece { image, channel: c, rows, span, part } = piece;
            // SAFETY: rows of z and dy, which nobody writes now; the slot belongs to this piece.
            unsafe {
                let (zr, dr) = (z.row(image, c, rows.0), dy.row(image, c, rows.0));
                let (sum, moment) = row_gradient_sums(isa, zr, zs, dr, ds, span, of_channel(c));
                *partial.at((c - group.0) * parts + part) = [sum, moment, 0.0];
            }
        });
        let add = |a: Partial, b: Partial| [a[0] + b[0], a[1] + b[1], 0.0];
        pieces.for_each_channel(group, partials, &add, |c, [sum, moment, _]| {
            let spread = f64::from(saved_inv_std[c]);
            // SAFETY: element c belongs to this channel.
            unsafe {
                *dbeta.at(c) = sum as f32;
                *dgamma.at(c) = (moment * spread) as f32;
            }
            let a = f64::from(gamma[c]) * spread;
            [a, -a * spread * spread * moment / count, -a * sum / count]
        });
        let factors = |c: usize| partials.0[(c - group.0) * parts].map(|v| v as f32);
        pieces.for_each(z, group, |piece| {
            let Piece { image, channel: c, rows, span, .. } = piece;
            let (zr, dr, to) = (z.row(image, c, rows.0), dy.row(image, c, rows.0), dz.row(image, c, rows.0));
            // SAFETY: this piece's rows of dz belong to no other piece.
            unsafe {
                gradient_rows(isa, zr, zs, dr, ds, to, dz.layout.pad, span, of_channel(c), factors(c));
                zero_ends(dz.plane(image, c), dz.layout, rows);
            }
        });
    }
}

/// y = x * scale + shift per channel, or its positive part: batch normalisation at inference, with the numbers of
/// [`fold`]. `y` may be `x`.
///
/// # Panics
/// When shapes differ.
pub fn affine(isa: Isa, x: &Planes, y: &Planes, scale: &[f32], shift: &[f32], relu: bool) {
    assert_same_shape(x, y);
    Pieces::of(x).for_each(x, (0, x.channels), |piece| {
        let c = piece.channel;
        affine_piece(isa, x, y, None, &piece, [scale[c], shift[c]], relu);
    });
}

/// Scale and shift per channel that normalise with stored statistics: scale = gamma / sqrt(var + eps),
/// shift = beta - mean * scale.
///
/// ```
/// let (scale, shift) = segfit_engine::cpu::batch_norm::fold(&[3.0], &[1.0], &[2.0], &[4.0], 0.0);
/// assert_eq!((scale[0], shift[0]), (1.5, -2.0));
/// ```
#[must_use]
pub fn fold(gamma: &[f32], beta: &[f32], mean: &[f32], var: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let scale: Vec<f32> =
        gamma.iter().zip(var).map(|(&g, &v)| (f64::from(g) / (f64::from(v) + f64::from(eps)).sqrt()) as f32).collect();
    let shift = beta.iter().zip(mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
    (scale, shift)
}

/// Multiplies a convolution's weights \[out_channels]\[...] and bias by the scale of their output channel and adds the shift:
/// the convolution then includes the normalisation.
///
/// # Panics
/// When the lengths do not fit.
pub fn fold_into_conv(weights: &mut [f32], bias: &mut [f32], scale: &[f32], shift: &[f32]) {
    assert!(bias.len() == scale.len() && bias.len() == shift.len() && weights.len().is_multiple_of(bias.len()));
    let per_channel = weights.len() / bias.len();
    for (row, s) in weights.chunks_exact_mut(per_channel).zip(scale) {
        row.iter_mut().for_each(|w| *w *= s);
    }
    fold_bias(bias, scale, shift);
}

/// As [`fold_into_conv`] for a transposed convolution's weights `[in_channels][out_channels][taps]`.
///
/// # Panics
/// When the lengths do not fit.
pub fn fold_into_conv_transpose(weights: &mut [f32], bias: &mut [f32], taps: usize, scale: &[f32], shift: &[f32]) {
    assert!(bias.len() == scale.len() && bias.len() == shift.len());
    assert!(weights.len().is_multiple_of(bias.len() * taps));
    for (k, kernel) in weights.chunks_exact_mut(taps).enumerate() {
        kernel.iter_mut().for_each(|w| *w *= scale[k % scale.len()]);
    }
    fold_bias(bias, scale, shift);
}

fn fold_bias(bias: &mut [f32], scale: &[f32], shift: &[f32]) {
    for ((b, s), t) in bias.iter_mut().zip(scale).zip(shift) {
        *b = *b * s + t;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::trial::{Tensor, distance, noise, same_bits_for_all_threads, wide};

    const EPS: f32 = 1e-5;

    struct Problem {
        shape: (usize, usize, (usize, usize)),
        z: Vec<f32>,
        dy: Vec<f32>,
        gamma: Vec<f32>,
        beta: Vec<f32>,
        relu: bool,
    }

    /// What PyTorch's batch norm gives, in f64.
    struct Truth {
        y: Vec<f64>,
        /// Distance of the value nearest to the ReLU's corner.
        corner: f64,
        mean: Vec<f64>,
        var: Vec<f64>,
        dz: Vec<f64>,
        dgamma: Vec<f64>,
        dbeta: Vec<f64>,
    }

    fn problem(shape: (usize, usize, (usize, usize)), relu: bool, seed: u64) -> Problem {
        let (batch, channels, (h, w)) = shape;
        let n = batch * channels * h * w;
        let z = noise(n, seed).iter().enumerate().map(|(i, v)| 2.0 * v + (i / (h * w) % channels) as f32).collect();
        let gamma = noise(channels, seed + 1).iter().map(|v| v + 1.5).collect();
        Problem { shape, z, dy: noise(n, seed + 2), gamma, beta: noise(channels, seed + 3), relu }
    }

    /// Sums over all values of channel `c`.
    fn channel_sum(p: &Problem, c: usize, f: impl Fn(usize) -> f64) -> f64 {
        let (_, channels, (h, w)) = p.shape;
        (0..p.z.len()).filter(|i| i / (h * w) % channels == c).map(f).sum()
    }

    fn truth(p: &Problem) -> Truth {
        let (batch, channels, (h, w)) = p.shape;
        let (n, z, dy) = ((batch * h * w) as f64, wide(&p.z), wide(&p.dy));
        let (gamma, beta) = (wide(&p.gamma), wide(&p.beta));
        let mean: Vec<f64> = (0..channels).map(|c| channel_sum(p, c, |i| z[i]) / n).collect();
        let var: Vec<f64> = (0..channels).map(|c| channel_sum(p, c, |i| (z[i] - mean[c]).powi(2)) / n).collect();
        let of = |i: usize| i / (h * w) % channels;
        let hat = |i: usize| (z[i] - mean[of(i)]) / (var[of(i)] + f64::from(EPS)).sqrt();
        let plain = |i: usize| gamma[of(i)] * hat(i) + beta[of(i)];
        let g = |i: usize| if !p.relu || plain(i) > 0.0 { dy[i] } else { 0.0 };
        let dbeta: Vec<f64> = (0..channels).map(|c| channel_sum(p, c, g)).collect();
        let dgamma: Vec<f64> = (0..channels).map(|c| channel_sum(p, c, |i| g(i) * hat(i))).collect();
        let dz = (0..z.len()).map(|i| {
            let (c, inv_std) = (of(i), 1.0 / (var[of(i)] + f64::from(EPS)).sqrt());
            gamma[c] * inv_std * (g(i) - dbeta[c] / n - hat(i) * dgamma[c] / n)
        });
        let y = (0..z.len()).map(|i| if p.relu { plain(i).max(0.0) } else { plain(i) });
        let corner = (0..z.len()).map(|i| plain(i).abs()).fold(f64::MAX, f64::min);
        Truth { corner, y: y.collect(), dz: dz.collect(), mean, var, dgamma, dbeta }
    }

    /// y, running mean and variance (from 0 and 1), dz, dgamma, dbeta; dz in the memory of dy if `in_place`.
    fn run(p: &Problem, isa: Isa, extra: usize, in_place: bool) -> [Vec<f32>; 6] {
        let (batch, channels, size) = p.shape;
        let z = Tensor::of(&p.z, batch, channels, size, 1, extra);
        let mut y = Tensor::garbage(batch, channels, size, 2, extra);
        let [mut mean, mut saved, mut inv] = [vec![0.0; channels], vec![0.0; channels], vec![0.0; channels]];
        let (mut var, [mut dgamma, mut dbeta]) = (vec![1.0; channels], [vec![9.0; channels], vec![9.0; channels]]);
        let (g, b, relu) = (&p.gamma, &p.beta, p.relu);
        let mut partials = Partials::of(&z.planes);
        let (running, parts) = ((&mut mean, &mut var), &mut partials);
        let (zp, yp) = (&z.planes, &y.planes);
        forward_train(isa, zp, yp, None, g, b, relu, EPS, 0.1, running.0, running.1, &mut saved, &mut inv, parts);
        let mut dy = Tensor::of(&p.dy, batch, channels, size, 1, extra);
        let mut other = Tensor::garbage(batch, channels, size, 1, 0);
        let dz = if in_place { &mut dy } else { &mut other };
        let (to, from) = (dz.planes, if in_place { dz.planes } else { dy.planes });
        backward(isa, &z.planes, &from, &to, g, b, &saved, &inv, relu, &mut dgamma, &mut dbeta, parts);
        let dz = if in_place { &mut dy } else { &mut other };
        assert!(y.is_intact() && dz.is_intact());
        [y.planes.read_dense(), mean, var, dz.planes.read_dense(), dgamma, dbeta]
    }

    #[test]
    fn pooling_while_normalising_gives_what_pooling_afterwards_gives() {
        for (size, isa) in [(8, 6), (7, 9), (70, 130), (2, 5000)]
            .into_iter()
            .flat_map(|s| Isa::available().into_iter().map(move |i| (s, i)))
        {
            let (batch, channels) = (2, 3);
            let z = Tensor::of(&noise(batch * channels * size.0 * size.1, 3), batch, channels, size, 1, 0);
            let y = Tensor::garbage(batch, channels, size, 1, 0);
            let half = (size.0 / 2, size.1 / 2);
            let mut both = Tensor::garbage(batch, channels, half, 1, 2);
            let mut after = Tensor::garbage(batch, channels, half, 1, 2);
            let [mut mean, mut saved, mut inv] = [vec![0.0; channels], vec![0.0; channels], vec![0.0; channels]];
            let (g, b, mut var) = (vec![1.5; channels], vec![0.1; channels], vec![1.0; channels]);
            let mut parts = Partials::of(&z.planes);
            let pooled = Some(&both.planes);
            let (zp, yp) = (&z.planes, &y.planes);
            forward_train(
                isa, zp, yp, pooled, &g, &b, true, EPS, 0.1, &mut mean, &mut var, &mut saved, &mut inv, &mut parts,
            );
            crate::cpu::max_pool::forward(isa, yp, &after.planes);
            assert_eq!(both.planes.read_dense(), after.planes.read_dense());
            assert!(both.is_intact() && after.is_intact(), "{size:?} {}", isa.name());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn forward_and_backward_agree_with_pytorchs_formulas_in_f64(
            batch in 1..4_usize, channels in 1..10_usize, h in 1..34_usize, w in 1..34_usize, relu: bool, in_place: bool,
            extra in 0..3_usize, seed in 0..1000_u64,
        ) {
            prop_assume!(batch * h * w > 1);
            let p = problem((batch, channels, (h, w)), relu, seed);
            let (t, n) = (truth(&p), (batch * h * w) as f64);
            // With a handful of values the variance may be tiny and everything divided by it inexact.
            prop_assume!(t.var.iter().all(|v| *v > 1e-2));
            // A value at the ReLU's corner may fall on either side.
            prop_assume!(!relu || t.corner > 1e-5);
            for isa in Isa::available() {
                let [y, mean, var, dz, dgamma, dbeta] = run(&p, isa, extra, in_place);
                let running_mean: Vec<f64> = t.mean.iter().map(|m| 0.1 * m).collect();
                let running_var: Vec<f64> = t.var.iter().map(|v| 0.9 + 0.1 * v * n / (n - 1.0)).collect();
                prop_assert!(distance(&y, &t.y) < 2e-5, "y {}", distance(&y, &t.y));
                prop_assert!(distance(&mean, &running_mean) < 1e-6);
                prop_assert!(distance(&var, &running_var) < 1e-6);
                prop_assert!(distance(&dgamma, &t.dgamma) < 2e-5);
                prop_assert!(distance(&dbeta, &t.dbeta) < 1e-5);
                prop_assert!(distance(&dz, &t.dz) < 1e-4, "dz {}", distance(&dz, &t.dz));
            }
        }
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_forward_pass() {
        let p = problem((2, 2, (3, 5)), true, 5);
        let value = |z: Vec<f32>| {
            let moved = Problem { z, gamma: p.gamma.clone(), beta: p.beta.clone(), dy: p.dy.clone(), ..p };
            truth(&moved).y.iter().zip(&p.dy).map(|(y, d)| y * f64::from(*d)).sum::<f64>()
        };
        let dz = run(&p, Isa::detect(), 0, false)[3].clone();
        for (i, d) in dz.iter().enumerate() {
            let step = |by: f32| p.z.iter().enumerate().map(|(k, v)| if k == i { v + by } else { *v }).collect();
            let slope = (value(step(1e-3)) - value(step(-1e-3))) / 2e-3;
            assert!((slope - f64::from(*d)).abs() < 2e-3, "{i}: {slope} {d}");
        }
    }

    #[test]
    fn results_have_the_same_bits_for_any_number_of_threads() {
        let p = problem((3, 2, (150, 131)), true, 1);
        same_bits_for_all_threads(|isa| run(&p, isa, 1, true).concat());
        let p = problem((2, 40, (33, 70)), false, 1);
        same_bits_for_all_threads(|isa| run(&p, isa, 0, false).concat());
    }

    #[test]
    fn a_mean_far_from_zero_keeps_the_variance() {
        let z: Vec<f32> = noise(64 * 64, 3).iter().map(|v| 1000.0 + v).collect();
        let p = Problem { z, ..problem((1, 1, (64, 64)), false, 3) };
        let (t, got) = (truth(&p), run(&p, Isa::detect(), 0, false));
        let expected = 0.9 + 0.1 * t.var[0] * 4096.0 / 4095.0;
        assert!((f64::from(got[2][0]) - expected).abs() < 1e-6 * expected, "{} {expected}", got[2][0]);
    }

    #[test]
    fn folding_gives_the_network_that_normalises() {
        let (mut w, mut b) = (vec![1.0, 2.0, 3.0, 4.0], vec![1.0, -1.0]);
        fold_into_conv(&mut w, &mut b, &[2.0, 10.0], &[0.5, 0.25]);
        assert_eq!((w, b), (vec![2.0, 4.0, 30.0, 40.0], vec![2.5, -9.75]));
        let (mut w, mut b) = (vec![1.0, 2.0, 3.0, 4.0], vec![1.0, -1.0]);
        fold_into_conv_transpose(&mut w, &mut b, 1, &[2.0, 10.0], &[0.5, 0.25]);
        assert_eq!((w, b), (vec![2.0, 20.0, 6.0, 40.0], vec![2.5, -9.75]));
    }

    #[test]
    fn inference_scales_shifts_and_rectifies_in_place() {
        for isa in Isa::available() {
            let mut x = Tensor::of(&[1.0, -2.0, 3.0, 4.0, 5.0, 6.0], 1, 2, (1, 3), 1, 1);
            affine(isa, &x.planes, &x.planes, &[2.0, -1.0], &[1.0, 5.5], true);
            assert_eq!(x.planes.read_dense(), [3.0, 0.0, 7.0, 1.5, 0.5, 0.0]);
            assert!(x.is_intact());
        }
    }
}
