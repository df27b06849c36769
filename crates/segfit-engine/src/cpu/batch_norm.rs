//! Batch normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167), fused with the ReLU that usually follows.
//!
//! As in PyTorch, the variance that normalises is biased (divided by n) and the running variance is unbiased (n - 1).
//! Statistics are taken per piece of a plane in two passes and combined in f64 by Chan, Golub and LeVeque's formula
//! (1979) in an order that depends on the shape alone.

use crate::cpu::kernels::norm_rows::{Channel, Rows, affine_rows, gradient_rows, row_gradient_sums, row_moments};
use crate::cpu::ordered::{RowPieces, Slots, assert_same_shape, floats, for_each, reduce, zero_ends};
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;

/// Number of values, their mean, and the sum of squared differences from it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Moments of the union of two sets.
    fn with(self, other: Self) -> Self {
        let count = self.count + other.count;
        let (difference, share) = (other.mean - self.mean, other.count / count);
        Self {
            count,
            mean: self.mean + difference * share,
            squares: self.squares + other.squares + difference * difference * self.count * share,
        }
    }
}

/// Factor and constant of the forward pass. The backward pass finds the ReLU's mask by the same arithmetic.
fn coefficients(gamma: f32, beta: f32, mean: f32, inv_std: f32) -> [f32; 2] {
    let scale = gamma * inv_std;
    [scale, beta - mean * scale]
}

/// y = x * scale + shift of one channel of all images.
fn affine_channel(isa: Isa, x: &Planes, y: &Planes, channel: usize, coef: [f32; 2], relu: bool, work: usize) {
    let pieces = RowPieces::of(y.layout);
    for_each(y.batch * pieces.per_plane, work, |piece| {
        let (image, rows) = (piece / pieces.per_plane, pieces.rows_of(piece));
        let span = Rows { count: rows.1 - rows.0, width: y.layout.width };
        let (from, to) = (x.row(image, channel, rows.0), y.row(image, channel, rows.0));
        // SAFETY: this piece's rows of y belong to no other piece; x is not written unless it is y itself.
        unsafe {
            affine_rows(isa, from, x.layout.row_stride(), to, y.layout.pad, span, coef, relu);
            zero_ends(y.plane(image, channel), y.layout, rows);
        }
    });
}

/// Normalises each channel of `z` over batch and pixels: y = gamma * (z - mean) / sqrt(var + eps) + beta, or its positive
/// part with `relu`. `z` is kept for [`backward`], so y must be other memory.
///
/// `gamma`, `beta`, the running statistics and the saved ones hold one value per channel. The running statistics become
/// (1 - momentum) * old + momentum * new; `saved_mean` and `saved_inv_std` = 1 / sqrt(var + eps) are for [`backward`].
///
/// # Panics
/// When a channel has fewer than two values (its unbiased variance is not defined), or shapes differ.
pub fn forward_train(
    isa: Isa,
    z: &Planes,
    y: &Planes,
    gamma: &[f32],
    beta: &[f32],
    relu: bool,
    eps: f32,
    momentum: f32,
    running_mean: &mut [f32],
    running_var: &mut [f32],
    saved_mean: &mut [f32],
    saved_inv_std: &mut [f32],
) {
    assert_same_shape(z, y);
    assert!(floats(z) > z.channels, "batch normalisation needs at least two values per channel");
    let (work, pieces) = (2 * floats(z), RowPieces::of(z.layout));
    let [running_mean, running_var, saved_mean, saved_inv_std] =
        [running_mean, running_var, saved_mean, saved_inv_std].map(Slots::new);
    let piece_moments = |channel: usize, piece: usize| {
        let (image, rows) = (piece / pieces.per_plane, pieces.rows_of(piece));
        let span = Rows { count: rows.1 - rows.0, width: z.layout.width };
        // SAFETY: rows of z, which nobody writes.
        let (mean, squares) = unsafe { row_moments(isa, z.row(image, channel, rows.0), z.layout.row_stride(), span) };
        Moments { count: (span.count * span.width) as f64, mean, squares }
    };
    for_each(z.channels, work, |c| {
        let share = work / z.channels;
        let all = reduce(0, z.batch * pieces.per_plane, share, &|piece| piece_moments(c, piece), &Moments::with);
        let inv_std = (1.0 / (all.squares / all.count + f64::from(eps)).sqrt()) as f32;
        let (mean, keep) = (all.mean as f32, 1.0 - momentum);
        // SAFETY: element c belongs to this channel.
        unsafe {
            *saved_mean.at(c) = mean;
            *saved_inv_std.at(c) = inv_std;
            *running_mean.at(c) = keep * *running_mean.at(c) + momentum * mean;
            *running_var.at(c) = keep * *running_var.at(c) + momentum * (all.squares / (all.count - 1.0)) as f32;
        }
        affine_channel(isa, z, y, c, coefficients(gamma[c], beta[c], mean, inv_std), relu, share);
    });
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
) {
    assert_same_shape(z, dy);
    assert_same_shape(z, dz);
    let (work, pieces) = (3 * floats(z), RowPieces::of(z.layout));
    let count = (floats(z) / z.channels.max(1)) as f64;
    let (dgamma, dbeta) = (Slots::new(dgamma), Slots::new(dbeta));
    for_each(z.channels, work, |c| {
        let (mean, inv_std) = (saved_mean[c], saved_inv_std[c]);
        let [scale, shift] = coefficients(gamma[c], beta[c], mean, inv_std);
        let (of_channel, share) = (Channel { scale, shift, mean, relu }, work / z.channels);
        let rows_of_piece = |piece: usize| {
            let (image, rows) = (piece / pieces.per_plane, pieces.rows_of(piece));
            (image, rows, Rows { count: rows.1 - rows.0, width: z.layout.width })
        };
        let (zs, ds) = (z.layout.row_stride(), dy.layout.row_stride());
        let piece_sums = |piece: usize| {
            let (image, rows, span) = rows_of_piece(piece);
            // SAFETY: rows of z and dy, which nobody writes now.
            unsafe {
                row_gradient_sums(isa, z.row(image, c, rows.0), zs, dy.row(image, c, rows.0), ds, span, of_channel)
            }
        };
        let (sum, moment) = reduce(0, z.batch * pieces.per_plane, share, &piece_sums, &|a, b| (a.0 + b.0, a.1 + b.1));
        let spread = f64::from(inv_std);
        // SAFETY: element c belongs to this channel.
        unsafe {
            *dbeta.at(c) = sum as f32;
            *dgamma.at(c) = (moment * spread) as f32;
        }
        let a = f64::from(gamma[c]) * spread;
        let coef = [a as f32, (-a * spread * spread * moment / count) as f32, (-a * sum / count) as f32];
        for_each(z.batch * pieces.per_plane, share, |piece| {
            let (image, rows, span) = rows_of_piece(piece);
            let (zr, dr, to) = (z.row(image, c, rows.0), dy.row(image, c, rows.0), dz.row(image, c, rows.0));
            // SAFETY: this piece's rows of dz belong to no other piece.
            unsafe {
                gradient_rows(isa, zr, zs, dr, ds, to, dz.layout.pad, span, of_channel, coef);
                zero_ends(dz.plane(image, c), dz.layout, rows);
            }
        });
    });
}

/// y = x * scale + shift per channel, or its positive part: batch normalisation at inference, with the numbers of
/// [`fold`]. `y` may be `x`.
///
/// # Panics
/// When shapes differ.
pub fn affine(isa: Isa, x: &Planes, y: &Planes, scale: &[f32], shift: &[f32], relu: bool) {
    assert_same_shape(x, y);
    let work = floats(x);
    for_each(x.channels, work, |c| affine_channel(isa, x, y, c, [scale[c], shift[c]], relu, work / x.channels));
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

/// Multiplies a convolution's weights [out_channels][...] and bias by the scale of their output channel and adds the shift:
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

/// As [`fold_into_conv`] for a transposed convolution's weights [in_channels][out_channels][`taps`].
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
