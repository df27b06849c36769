//! 2x2 max-pooling with stride 2 on packed planes.

use crate::cpu::kernels::dot::DotSet;
use crate::cpu::kernels::packed_pool::pool_packed;
use crate::cpu::ordered::{RowPieces, floats, for_each, zero_columns, zero_ends};
use crate::cpu::planes::Planes;

/// y = the largest value of each channel in each 2x2 square of `x`, borders included.
///
/// # Panics
/// When the shapes do not fit.
pub fn max_pool(set: DotSet, x: &Planes, y: &Planes) {
    assert_eq!((x.batch, x.channels), (y.batch, y.channels), "pooling keeps batch and channels");
    assert_eq!((x.layout.height / 2, x.layout.width / 2), (y.layout.height, y.layout.width), "pooling halves the size");
    let pieces = RowPieces::of(y.layout);
    for_each(y.batch * y.channels * pieces.per_plane, floats(x), |k| {
        let (image, plane) = (k / pieces.per_plane / y.channels, k / pieces.per_plane % y.channels);
        let rows = pieces.rows_of(k);
        // SAFETY: this piece's rows of y belong to no other piece.
        unsafe {
            for r in rows.0..rows.1 {
                let (top, bottom) = (x.row(image, plane, 2 * r).cast(), x.row(image, plane, 2 * r + 1).cast());
                let to = y.row(image, plane, r).cast();
                pool_packed(set, top, bottom, to, y.layout.width);
            }
            zero_columns(y.plane(image, plane), y.layout, rows);
            zero_ends(y.plane(image, plane), y.layout, rows);
        }
    });
}
