//! Loops over rows of planes: pieces for threads, borders that stay zero, and vectors of a row.

use crate::cpu::ordered::{RowPieces, for_each, zero_columns, zero_ends};
use crate::cpu::planes::Planes;

/// Floats of a row that are handled together: one vector or a few, whatever the instruction set.
pub const BLOCK: usize = 16;

/// Some rows of one plane.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Image of the batch.
    pub image: usize,
    /// Channel of the image.
    pub channel: usize,
    /// First row, and the row behind the last.
    pub rows: (usize, usize),
}

/// Calls `write` with pieces that cover all rows of `y`, on several threads if `work` (floats touched in all) is worth it;
/// then zeroes what is not a pixel.
pub fn write_pieces(y: &Planes, work: usize, write: impl Fn(Piece) + Sync) {
    let pieces = RowPieces::of(y.layout);
    for_each(y.batch * y.channels * pieces.per_plane, work, |k| {
        let plane = k / pieces.per_plane;
        let piece = Piece { image: plane / y.channels, channel: plane % y.channels, rows: pieces.rows_of(k) };
        write(piece);
        let to = y.plane(piece.image, piece.channel);
        // SAFETY: these rows of y, and the ends next to them, belong to this piece.
        unsafe {
            zero_columns(to, y.layout, piece.rows);
            zero_ends(to, y.layout, piece.rows);
        }
    });
}

/// A row of a tensor to write, which belongs to the piece that is written.
///
/// # Safety
/// Nothing else reads or writes this row while the slice lives.
#[allow(clippy::mut_from_ref, reason = "planes are handles; disjointness is the caller's promise")]
pub unsafe fn pixels_mut(y: &Planes, image: usize, channel: usize, row: usize) -> &mut [f32] {
    // SAFETY: one row of pixels; the rest is the caller's.
    unsafe { std::slice::from_raw_parts_mut(y.row(image, channel, row), y.layout.width) }
}

/// Calls `write(image, channel, row, pixels)` for every row of `y`; then zeroes what is not a pixel.
pub fn write_rows(y: &Planes, work: usize, write: impl Fn(usize, usize, usize, &mut [f32]) + Sync) {
    write_pieces(y, work, |Piece { image, channel, rows }| {
        for r in rows.0..rows.1 {
            // SAFETY: a row of y that belongs to this piece.
            write(image, channel, r, unsafe { pixels_mut(y, image, channel, r) });
        }
    });
}

/// The pixels of a row of a tensor that nobody writes meanwhile.
pub fn pixels(x: &Planes, image: usize, channel: usize, row: usize) -> &[f32] {
    // SAFETY: one row of pixels; the executor hands operations no memory that another one writes.
    unsafe { std::slice::from_raw_parts(x.row(image, channel, row), x.layout.width) }
}

/// The first `n` floats from each pointer.
///
/// # Safety
/// They may be read; `n` is at most [`BLOCK`].
#[inline(always)]
unsafe fn load_blocks<const N: usize>(n: usize, from: [*const f32; N], values: &mut [[f32; BLOCK]; N]) {
    for (v, p) in values.iter_mut().zip(from) {
        // SAFETY: the caller's.
        unsafe {
            if n == BLOCK {
                *v = p.cast::<[f32; BLOCK]>().read_unaligned();
            } else {
                std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), n);
            }
        }
    }
}

/// to\[i] = f(\[from\[0]\[i], from\[1]\[i], ...]) for `n` floats. `to` may be one of `from`.
///
/// # Safety
/// `n` floats may be read from each of `from` and written to `to`; they are the same memory or do not overlap.
#[inline(always)]
pub unsafe fn zip_row<const N: usize>(n: usize, from: [*const f32; N], to: *mut f32, f: impl Fn([f32; N]) -> f32) {
    let mut i = 0;
    while i < n {
        let count = BLOCK.min(n - i);
        let (mut values, mut out) = ([[0.0_f32; BLOCK]; N], [0.0_f32; BLOCK]);
        // SAFETY: `count` floats from i lie inside the rows.
        unsafe { load_blocks(count, from.map(|p| p.add(i)), &mut values) };
        for (k, o) in out.iter_mut().enumerate() {
            *o = f(std::array::from_fn(|a| values[a][k]));
        }
        // SAFETY: as above.
        unsafe {
            if count == BLOCK {
                to.add(i).cast::<[f32; BLOCK]>().write_unaligned(out);
            } else {
                std::ptr::copy_nonoverlapping(out.as_ptr(), to.add(i), count);
            }
        }
        i += BLOCK;
    }
}

/// Vectors that are summed in f32 before they are added to the sum in f64.
const FLUSH: usize = 64;

/// Sums of f(\[from\[0]\[i], from\[1]\[i], ...]) over `count` rows of `width` pixels, in an order that these two numbers fix.
///
/// # Safety
/// The rows may be read.
#[inline(always)]
pub unsafe fn sum_rows<const N: usize, const M: usize>(
    (count, width): (usize, usize),
    from: [Run; N],
    f: impl Fn([f32; N]) -> [f32; M],
) -> [f64; M] {
    let (mut total, mut lanes, mut pending) = ([0.0_f64; M], [[0.0_f32; BLOCK]; M], 0);
    let flush = |total: &mut [f64; M], lanes: &mut [[f32; BLOCK]; M]| {
        for (t, l) in total.iter_mut().zip(lanes) {
            *t += l.iter().map(|v| f64::from(*v)).sum::<f64>();
            *l = [0.0; BLOCK];
        }
    };
    for r in 0..count {
        let mut i = 0;
        while i < width {
            let n = BLOCK.min(width - i);
            let mut values = [[0.0_f32; BLOCK]; N];
            // SAFETY: `n` floats from i lie inside the rows.
            unsafe { load_blocks(n, from.map(|x| x.first.add(r * x.stride + i).cast_const()), &mut values) };
            let mut add = |k: usize| {
                let terms = f(std::array::from_fn(|a| values[a][k]));
                lanes.iter_mut().zip(terms).for_each(|(l, t)| l[k] += t);
            };
            if n == BLOCK {
                (0..BLOCK).for_each(&mut add);
            } else {
                (0..n).for_each(&mut add);
            }
            (i, pending) = (i + BLOCK, pending + 1);
            if pending == FLUSH {
                flush(&mut total, &mut lanes);
                pending = 0;
            }
        }
    }
    flush(&mut total, &mut lanes);
    total
}

/// A run of rows: pixel 0 of the first, and floats between rows.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Pixel 0 of the first row.
    pub first: *mut f32,
    /// Floats from row to row.
    pub stride: usize,
}

impl Run {
    /// All rows of a plane.
    pub fn of_plane(x: &Planes, image: usize, channel: usize) -> Self {
        Self::of(x, Piece { image, channel, rows: (0, x.layout.height) })
    }

    /// The rows of a piece.
    pub fn of(x: &Planes, piece: Piece) -> Self {
        let first = if piece.rows.0 < piece.rows.1 {
            x.row(piece.image, piece.channel, piece.rows.0)
        } else {
            x.plane(piece.image, piece.channel)
        };
        Self { first, stride: x.layout.row_stride() }
    }
}

/// [`zip_row`] for `count` rows of `width` pixels.
///
/// # Safety
/// As for [`zip_row`], for every row.
#[inline(always)]
pub unsafe fn zip_rows<const N: usize>(
    (count, width): (usize, usize),
    from: [Run; N],
    to: Run,
    f: impl Fn([f32; N]) -> f32,
) {
    for r in 0..count {
        // SAFETY: the caller's.
        unsafe {
            zip_row(width, from.map(|x| x.first.add(r * x.stride).cast_const()), to.first.add(r * to.stride), &f);
        }
    }
}
