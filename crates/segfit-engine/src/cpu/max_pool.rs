//! 2x2 max pooling with stride 2. Odd heights and widths are rounded down, as PyTorch does by default.

use crate::cpu::kernels::pool_rows::{max_pool_gradient_rows, max_pool_rows};
use crate::cpu::ordered::{RowPieces, floats, for_each, zero_columns, zero_ends};
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;

/// # Panics
/// When y has not the shape of `x` pooled.
pub(super) fn assert_pooled(x: &Planes, y: &Planes) {
    assert_eq!((x.batch, x.channels), (y.batch, y.channels), "pooling keeps batch and channels");
    assert_eq!(
        (x.layout.height / 2, x.layout.width / 2),
        (y.layout.height, y.layout.width),
        "pooling halves height and width"
    );
}

/// y = the largest of each 2x2 square of `x`; y is floor(height / 2) x floor(width / 2).
///
/// # Panics
/// When the shapes do not fit.
pub fn forward(isa: Isa, x: &Planes, y: &Planes) {
    assert_pooled(x, y);
    let pieces = RowPieces::of(y.layout);
    for_each(y.batch * y.channels * pieces.per_plane, floats(x), |k| {
        let (image, channel) = (k / pieces.per_plane / y.channels, k / pieces.per_plane % y.channels);
        // SAFETY: this piece's rows of y belong to no other piece.
        unsafe { pool_rows(isa, x, y, (image, channel), pieces.rows_of(k)) };
    });
}

/// [`forward`] for rows `rows.0` to `rows.1` (exclusive) of y of one channel of one image, borders included.
///
/// # Safety
/// Nobody else writes these rows, nor, if the first or last row is among them, that end of the plane.
pub(super) unsafe fn pool_rows(
    isa: Isa,
    x: &Planes,
    y: &Planes,
    (image, channel): (usize, usize),
    rows: (usize, usize),
) {
    let (xs, ys) = (x.layout.row_stride(), y.layout.row_stride());
    // SAFETY: the caller's.
    unsafe {
        if rows.1 > rows.0 {
            let (from, to) = (x.row(image, channel, 2 * rows.0), y.row(image, channel, rows.0));
            max_pool_rows(isa, from, xs, to, ys, rows.1 - rows.0, y.layout.width);
        }
        zero_ends(y.plane(image, channel), y.layout, rows);
    }
}

/// Gradient of [`forward`]: each value of `dy` goes to the first maximum of its square of `x`, in row-major order. With
/// `accumulate` it is added to `dx`; else `dx` is overwritten as a whole, with zeros where nothing arrives.
///
/// # Panics
/// When the shapes do not fit.
pub fn backward(isa: Isa, x: &Planes, dy: &Planes, dx: &Planes, accumulate: bool) {
    assert_pooled(x, dy);
    assert_pooled(dx, dy);
    let (pieces, out) = (RowPieces::of(dy.layout), dx.layout);
    for_each(dy.batch * dy.channels * pieces.per_plane, 2 * floats(x), |k| {
        let (image, channel) = (k / pieces.per_plane / dy.channels, k / pieces.per_plane % dy.channels);
        let rows = pieces.rows_of(k);
        let strides = (x.layout.row_stride(), dy.layout.row_stride(), out.row_stride());
        // SAFETY: these rows of dx, and the row left over behind the last piece, belong to no other piece.
        unsafe {
            if rows.1 > rows.0 {
                let (from, g) = (x.row(image, channel, 2 * rows.0), dy.row(image, channel, rows.0));
                let to = dx.row(image, channel, 2 * rows.0);
                let (count, width) = (rows.1 - rows.0, dy.layout.width);
                max_pool_gradient_rows(isa, from, strides.0, g, strides.1, to, strides.2, count, width, accumulate);
            }
            if !accumulate {
                let end = if rows.1 == dy.layout.height { out.height } else { 2 * rows.1 };
                zero_leftovers(dx, image, channel, (2 * rows.0, end), dy.layout.width);
            }
        }
    });
}

/// Zeroes everything of some rows of dx that pooling did not see, and the plane's ends.
///
/// # Safety
/// Nobody else writes these rows.
unsafe fn zero_leftovers(dx: &Planes, image: usize, channel: usize, rows: (usize, usize), pooled_width: usize) {
    let out = dx.layout;
    // SAFETY: rows and borders of one plane.
    unsafe {
        for y in rows.0..rows.1 {
            let seen = if y / 2 < out.height / 2 { 2 * pooled_width } else { 0 };
            dx.row(image, channel, y).add(seen).write_bytes(0, out.width - seen);
        }
        zero_columns(dx.plane(image, channel), out, rows);
        zero_ends(dx.plane(image, channel), out, rows);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::trial::{Tensor, noise, same_bits_for_all_threads};

    /// Maxima, and the gradient added to `dx`.
    fn oracle(x: &[f32], dy: &[f32], dx: &mut [f32], planes: usize, (h, w): (usize, usize)) -> Vec<f32> {
        let mut y = Vec::new();
        for k in 0..planes {
            for (i, j) in (0..h / 2).flat_map(|i| (0..w / 2).map(move |j| (i, j))) {
                let square = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(a, b)| (k * h + 2 * i + a) * w + 2 * j + b);
                let mut best = square[0];
                for at in square {
                    if x[at] > x[best] {
                        best = at;
                    }
                }
                dx[best] += dy[y.len()];
                y.push(x[best]);
            }
        }
        y
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn forward_and_backward_agree_with_the_definition_ties_included(
            batch in 1..4_usize, channels in 1..10_usize, h in 2..34_usize, w in 2..70_usize, levels in 1..40_i32,
            accumulate: bool, extra in 0..3_usize,
        ) {
            let (n, m) = (batch * channels * h * w, batch * channels * (h / 2) * (w / 2));
            // Few levels make ties, as ReLU's zeros do.
            let x: Vec<f32> = noise(n, 1).iter().map(|v| (v * levels as f32).round()).collect();
            let (dy, before) = (noise(m, 2), if accumulate { noise(n, 3) } else { vec![0.0; n] });
            let mut expected = before.clone();
            let y_expected = oracle(&x, &dy, &mut expected, batch * channels, (h, w));
            for isa in Isa::available() {
                let x = Tensor::of(&x, batch, channels, (h, w), 1, extra);
                let mut y = Tensor::garbage(batch, channels, (h / 2, w / 2), 1, extra);
                forward(isa, &x.planes, &y.planes);
                prop_assert_eq!(y.planes.read_dense(), y_expected.clone());
                let dy = Tensor::of(&dy, batch, channels, (h / 2, w / 2), 2, extra);
                let mut dx = Tensor::garbage(batch, channels, (h, w), 1, extra);
                if accumulate {
                    dx.planes.write_dense(&before);
                }
                backward(isa, &x.planes, &dy.planes, &dx.planes, accumulate);
                prop_assert_eq!(dx.planes.read_dense(), expected.clone());
                prop_assert!(y.is_intact() && dx.is_intact());
            }
        }
    }

    #[test]
    fn results_have_the_same_bits_for_any_number_of_threads() {
        let x = noise(4 * 201 * 203, 7);
        same_bits_for_all_threads(|isa| {
            let x = Tensor::of(&x, 1, 4, (201, 203), 1, 0);
            let (y, dx) = (Tensor::garbage(1, 4, (100, 101), 1, 0), Tensor::garbage(1, 4, (201, 203), 1, 0));
            forward(isa, &x.planes, &y.planes);
            backward(isa, &x.planes, &y.planes, &dx.planes, false);
            [y.planes.read_dense(), dx.planes.read_dense()].concat()
        });
    }

    #[test]
    fn a_plane_of_one_row_pools_to_nothing() {
        let x = Tensor::of(&[1.0, 2.0, 3.0], 1, 1, (1, 3), 1, 0);
        let (y, mut dx) = (Tensor::garbage(1, 1, (0, 1), 1, 0), Tensor::garbage(1, 1, (1, 3), 1, 0));
        forward(Isa::Portable, &x.planes, &y.planes);
        backward(Isa::Portable, &x.planes, &y.planes, &dx.planes, false);
        assert_eq!(dx.planes.read_dense(), [0.0; 3]);
        assert!(dx.is_intact());
    }
}
