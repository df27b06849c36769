//! The rectified linear unit, max(x, 0).

use crate::cpu::kernels::norm_rows::{Rows, affine_rows, relu_mask_rows};
use crate::cpu::ordered::{RowPieces, assert_same_shape, floats, for_each, zero_ends};
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;

/// Calls `piece(image, channel, rows)` for all pieces of a tensor's planes.
fn for_each_piece(y: &Planes, piece: impl Fn(usize, usize, (usize, usize)) + Sync + Send) {
    let pieces = RowPieces::of(y.layout);
    let all = y.batch * y.channels * pieces.per_plane;
    for_each(all, floats(y), |k| {
        let plane = k / pieces.per_plane;
        piece(plane / y.channels, plane % y.channels, pieces.rows_of(k));
    });
}

/// y = max(x, 0). `y` may be `x`.
///
/// # Panics
/// When shapes differ.
pub fn forward(isa: Isa, x: &Planes, y: &Planes) {
    assert_same_shape(x, y);
    for_each_piece(y, |image, channel, rows| {
        let span = Rows { count: rows.1 - rows.0, width: y.layout.width };
        let (from, to) = (x.row(image, channel, rows.0), y.row(image, channel, rows.0));
        // SAFETY: this piece's rows of y belong to no other piece.
        unsafe {
            affine_rows(isa, from, x.layout.row_stride(), to, y.layout.pad, span, [1.0, 0.0], true);
            zero_ends(y.plane(image, channel), y.layout, rows);
        }
    });
}

/// dx = dy where y > 0, else 0, with the forward pass's output y (its input does as well). `dx` may be `dy`.
///
/// # Panics
/// When shapes differ.
pub fn backward(isa: Isa, y: &Planes, dy: &Planes, dx: &Planes) {
    assert_same_shape(y, dy);
    assert_same_shape(y, dx);
    for_each_piece(dx, |image, channel, rows| {
        let span = Rows { count: rows.1 - rows.0, width: dx.layout.width };
        let (yr, dr) = (y.row(image, channel, rows.0), dy.row(image, channel, rows.0));
        let to = dx.row(image, channel, rows.0);
        // SAFETY: this piece's rows of dx belong to no other piece.
        unsafe {
            relu_mask_rows(isa, yr, y.layout.row_stride(), dr, dy.layout.row_stride(), to, dx.layout.pad, span);
            zero_ends(dx.plane(image, channel), dx.layout, rows);
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::trial::{Tensor, noise};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn forward_and_backward_do_what_the_definition_says(
            batch in 1..4_usize, channels in 1..10_usize, h in 1..34_usize, w in 1..34_usize, in_place: bool, extra in 0..3_usize,
        ) {
            let n = batch * channels * h * w;
            let (x, dy) = (noise(n, 1), noise(n, 2));
            for isa in Isa::available() {
                let mut a = Tensor::of(&x, batch, channels, (h, w), 1, extra);
                let mut b = Tensor::garbage(batch, channels, (h, w), 2, extra);
                let y = if in_place { &mut a } else { &mut b };
                let (to, from) = (y.planes, if in_place { y.planes } else { a.planes });
                forward(isa, &from, &to);
                let y = if in_place { &mut a } else { &mut b };
                prop_assert_eq!(y.planes.read_dense(), x.iter().map(|v| v.max(0.0)).collect::<Vec<_>>());
                prop_assert!(y.is_intact());
                let mut g = Tensor::of(&dy, batch, channels, (h, w), 1, extra);
                let mut o = Tensor::garbage(batch, channels, (h, w), 0, extra);
                let from = g.planes;
                backward(isa, &to, &from, if in_place { &from } else { &o.planes });
                let dx = if in_place { &mut g } else { &mut o };
                let expected: Vec<f32> = x.iter().zip(&dy).map(|(v, d)| if *v > 0.0 { *d } else { 0.0 }).collect();
                prop_assert_eq!(dx.planes.read_dense(), expected);
                prop_assert!(dx.is_intact());
            }
        }
    }

    #[test]
    fn a_value_that_is_not_a_number_is_not_hidden() {
        for isa in Isa::available() {
            let x = Tensor::of(&[f32::NAN, 1.0], 1, 1, (1, 2), 1, 0);
            forward(isa, &x.planes, &x.planes);
            assert!(x.planes.read_dense()[0].is_nan(), "{}", isa.name());
        }
    }
}
