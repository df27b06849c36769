//! Copies and sums of planes: what concatenation, skip connections and residual additions need.

use crate::cpu::kernels::norm_rows::zero_few;
use crate::cpu::ordered::{RowPieces, assert_same_shape, floats, for_each, zero_ends};
use crate::cpu::planes::Planes;

/// Calls `row(from, to, width)` for every row, and zeroes everything of `y` that is not a pixel.
fn for_each_row(x: &Planes, y: &Planes, row: impl Fn(&[f32], &mut [f32]) + Sync + Send) {
    assert_same_shape(x, y);
    let (pieces, width) = (RowPieces::of(y.layout), y.layout.width);
    let all = y.batch * y.channels * pieces.per_plane;
    for_each(all, floats(y), |k| {
        let (image, channel) = (k / pieces.per_plane / y.channels, k / pieces.per_plane % y.channels);
        let rows = pieces.rows_of(k);
        for r in rows.0..rows.1 {
            // SAFETY: one row of x, which nobody writes, and one of y, which belongs to this piece; the caller promises
            // that x and y are different memory.
            unsafe {
                let to = y.row(image, channel, r);
                row(
                    std::slice::from_raw_parts(x.row(image, channel, r), width),
                    std::slice::from_raw_parts_mut(to, width),
                );
                zero_few(to.add(width), y.layout.pad);
            }
        }
        // SAFETY: as above.
        unsafe { zero_ends(y.plane(image, channel), y.layout, rows) };
    });
}

/// y = x. The memory must not overlap.
///
/// # Panics
/// When shapes differ.
pub fn copy(x: &Planes, y: &Planes) {
    for_each_row(x, y, |from, to| to.copy_from_slice(from));
}

/// y += x. The memory must not overlap.
///
/// # Panics
/// When shapes differ.
pub fn add(x: &Planes, y: &Planes) {
    for_each_row(x, y, |from, to| to.iter_mut().zip(from).for_each(|(t, f)| *t += f));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::trial::{Tensor, noise};

    #[test]
    fn copies_and_sums_reach_every_pixel_and_nothing_else() {
        for (h, w) in [(1, 1), (5, 3), (17, 33), (130, 128)] {
            let (a, b) = (noise(6 * h * w, 1), noise(6 * h * w, 2));
            let (x, mut y) = (Tensor::of(&a, 2, 3, (h, w), 1, 2), Tensor::garbage(2, 3, (h, w), 2, 1));
            copy(&x.planes, &y.planes);
            assert_eq!(y.planes.read_dense(), a);
            let z = Tensor::of(&b, 2, 3, (h, w), 0, 2);
            add(&z.planes, &y.planes);
            assert_eq!(y.planes.read_dense(), a.iter().zip(&b).map(|(a, b)| a + b).collect::<Vec<_>>());
            assert!(y.is_intact());
        }
    }
}
