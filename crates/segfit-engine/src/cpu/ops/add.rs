//! Sum of tensors of one shape.

use super::rows::{Run, write_pieces, zip_rows};
use crate::cpu::copy;
use crate::cpu::ordered::{assert_same_shape, floats};
use crate::cpu::planes::Planes;

/// y = xs\[0] + xs\[1] + ... `y` may be `xs[0]`.
///
/// # Panics
/// When shapes differ.
pub fn forward(xs: &[Planes], y: &Planes) {
    xs.iter().for_each(|x| assert_same_shape(x, y));
    write_pieces(y, xs.len() * floats(y), |piece| {
        let (size, to) = ((piece.rows.1 - piece.rows.0, y.layout.width), Run::of(y, piece));
        let of = |k: usize| Run::of(&xs[k], piece);
        // SAFETY: this piece's rows of y belong to no other piece.
        unsafe {
            match xs.len() {
                1 => zip_rows(size, [of(0)], to, |[a]| a),
                _ => zip_rows(size, [of(0), of(1)], to, |[a, b]| a + b),
            }
            (2..xs.len()).for_each(|k| zip_rows(size, [to, of(k)], to, |[a, b]| a + b));
        }
    });
}

/// Every gradient is that of the sum: copied, or added where the flag is set. A gradient may be `dy`, which it then is
/// already.
///
/// # Panics
/// When shapes differ.
pub fn backward(dy: &Planes, dxs: &[Option<(Planes, bool)>]) {
    for (dx, accumulate) in dxs.iter().flatten() {
        match (*accumulate, dx.plane(0, 0) == dy.plane(0, 0)) {
            (true, _) => copy::add(dy, dx),
            (false, true) => {}
            (false, false) => copy::copy(dy, dx),
        }
    }
}
