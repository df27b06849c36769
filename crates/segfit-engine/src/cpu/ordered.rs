//! Loops and sums over numbered pieces of work whose result does not depend on the number of threads.

use std::marker::PhantomData;

use segfit::network::layout::PlaneLayout;

use crate::cpu::kernels::norm_rows::zero_few;
use crate::cpu::planes::Planes;
use crate::cpu::team;

/// Floats touched below which sharing work among threads costs more than it saves (about 3 microseconds).
pub const WORTH_FORKING: usize = 1 << 14;

/// Floats of a plane that one piece covers: small enough for two passes to stay in the first-level cache.
const PIECE: usize = 4096;

/// # Panics
/// When two tensors differ in batch, channels, height or width.
pub fn assert_same_shape(a: &Planes, b: &Planes) {
    let shape = |p: &Planes| (p.batch, p.channels, p.layout.height, p.layout.width);
    assert_eq!(shape(a), shape(b), "tensors of one operation differ in shape");
}

/// Pixels of all planes: the measure of work.
#[must_use]
pub fn floats(x: &Planes) -> usize {
    x.batch * x.channels * x.layout.height * x.layout.width
}

/// Runs `piece(0)`, ..., `piece(pieces - 1)`, on several threads when `work` (floats touched in all) is worth it.
pub fn for_each(pieces: usize, work: usize, piece: impl Fn(usize) + Sync) {
    if work >= WORTH_FORKING {
        team::for_each(pieces, piece);
    } else {
        (0..pieces).for_each(piece);
    }
}

/// Combination of `leaf(first)`, ..., `leaf(end - 1)` by a balanced tree. The tree depends on `first` and `end` alone, so
/// the result has the same bits for any number of threads.
///
/// # Panics
/// When the range is empty.
pub fn reduce<T: Copy + Send>(
    first: usize,
    end: usize,
    work: usize,
    leaf: &(impl Fn(usize) -> T + Sync),
    combine: &(impl Fn(T, T) -> T + Sync),
) -> T {
    assert!(first < end, "an empty sum has no pieces to combine");
    if work < WORTH_FORKING {
        return tree((first, end), usize::MAX, &mut |range| leaf(range.0), combine);
    }
    let (mut ranges, mut count) = ([(0, 0); 1 << SHARED_LEVELS], 0);
    let mut note = |range| {
        ranges[count] = range;
        count += 1;
    };
    tree((first, end), SHARED_LEVELS, &mut note, &|(), ()| ());
    let mut sums = [None; 1 << SHARED_LEVELS];
    let slots = Slots::new(&mut sums);
    for_each(count, work, |k| {
        let sum = tree(ranges[k], usize::MAX, &mut |range| leaf(range.0), combine);
        // SAFETY: slot k belongs to this piece.
        *unsafe { slots.at(k) } = Some(sum);
    });
    let mut sums = sums.into_iter().flatten();
    tree((first, end), SHARED_LEVELS, &mut |_| sums.next().expect("one sum for each range"), combine)
}

/// Levels of the tree of a sum above the parts that threads share.
const SHARED_LEVELS: usize = 5;

/// Combines the parts of a range that is halved `levels` times, or until one piece is left.
fn tree<T>(
    range: (usize, usize),
    levels: usize,
    part: &mut impl FnMut((usize, usize)) -> T,
    combine: &impl Fn(T, T) -> T,
) -> T {
    if levels == 0 || range.1 - range.0 == 1 {
        return part(range);
    }
    let middle = range.0 + (range.1 - range.0) / 2;
    let left = tree((range.0, middle), levels - 1, part, combine);
    let right = tree((middle, range.1), levels - 1, part, combine);
    combine(left, right)
}

/// How planes are cut into runs of rows, by their shape alone.
#[derive(Clone, Copy, Debug)]
pub struct RowPieces {
    /// Rows of every piece but perhaps the last of a plane.
    pub rows: usize,
    /// Pieces of a plane.
    pub per_plane: usize,
    height: usize,
}

impl RowPieces {
    /// Pieces of about 4096 floats.
    #[must_use]
    pub fn of(layout: PlaneLayout) -> Self {
        Self::with_floats(layout, PIECE)
    }

    /// Pieces of about `floats` floats of a plane, at least one row.
    #[must_use]
    pub fn with_floats(layout: PlaneLayout, floats: usize) -> Self {
        let height = layout.height;
        let rows = (floats / layout.row_stride().max(1)).clamp(1, height.max(1));
        Self { rows, per_plane: height.div_ceil(rows).max(1), height }
    }

    /// The same with an even number of rows in every piece but perhaps the last.
    #[must_use]
    pub fn even(self) -> Self {
        let rows = self.rows.next_multiple_of(2);
        Self { rows, per_plane: self.height.div_ceil(rows).max(1), ..self }
    }

    /// First row and row behind the last of a piece.
    #[must_use]
    pub fn rows_of(self, piece: usize) -> (usize, usize) {
        let first = (piece % self.per_plane) * self.rows;
        (first, (first + self.rows).min(self.height))
    }
}

/// A slice whose elements are written by different pieces.
#[derive(Debug)]
pub struct Slots<'a, T> {
    first: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it hands out elements through an unsafe function whose callers promise to touch disjoint ones.
unsafe impl<T: Send> Sync for Slots<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Slots<'_, T> {}

impl<'a, T> Slots<'a, T> {
    /// The slots of `slice`.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { first: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// `count` elements from `start`.
    ///
    /// # Safety
    /// No two borrows that are alive together may overlap.
    ///
    /// # Panics
    /// When the range ends behind the slice.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    #[must_use]
    pub unsafe fn range(&self, start: usize, count: usize) -> &'a mut [T] {
        assert!(start + count <= self.len);
        // SAFETY: inside the slice; the caller promises that nothing else borrows it.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), count) }
    }

    /// Element `index`.
    ///
    /// # Safety
    /// As for [`Slots::range`].
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    #[must_use]
    pub unsafe fn at(&self, index: usize) -> &'a mut T {
        // SAFETY: the caller's.
        unsafe { &mut self.range(index, 1)[0] }
    }
}

/// Zeroes what lies before pixel (0, 0) if a piece holds the first row, and behind the last row's own border if it holds
/// the last.
///
/// # Safety
/// `plane` is a writable plane of this layout, and no other thread writes these parts.
pub unsafe fn zero_ends(plane: *mut f32, layout: PlaneLayout, rows: (usize, usize)) {
    let behind = layout.origin() + layout.height * layout.row_stride();
    // SAFETY: both parts lie inside the plane.
    unsafe {
        if rows.0 == 0 {
            plane.write_bytes(0, layout.origin());
        }
        if rows.1 == layout.height {
            plane.add(behind).write_bytes(0, layout.plane_stride() - behind);
        }
    }
}

/// Zeroes the border columns of some rows of a plane.
///
/// # Safety
/// As for [`zero_ends`].
pub unsafe fn zero_columns(plane: *mut f32, layout: PlaneLayout, rows: (usize, usize)) {
    for y in rows.0..rows.1 {
        // SAFETY: the border of a row lies inside the plane.
        unsafe { zero_few(plane.add(layout.origin() + y * layout.row_stride() + layout.width), layout.pad) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_the_same_bits_for_any_number_of_threads() {
        let sum = |work| reduce(0, 1000, work, &|i| 1.0 / (1.0 + i as f64), &|a, b| a + b);
        let one = sum(0);
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            assert_eq!(pool.install(|| sum(usize::MAX)).to_bits(), one.to_bits(), "{threads} threads");
        }
        assert!((one - 7.485_470_860_550_345).abs() < 1e-12, "the harmonic number H(1000), got {one}");
    }

    #[test]
    fn pieces_cover_every_row_once() {
        let pieces = RowPieces::with_floats(PlaneLayout { height: 7, width: 9, pad: 1 }, 20);
        let rows: Vec<_> = (0..pieces.per_plane).map(|p| pieces.rows_of(p)).collect();
        assert_eq!(rows, [(0, 2), (2, 4), (4, 6), (6, 7)]);
    }
}
