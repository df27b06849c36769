//! Pooling with any window, and the mean over all pixels.

use std::ops::Range;

use segfit::network::Window;
use segfit::network::layout::PlaneLayout;

use super::rows::{Run, pixels, sum_rows, write_pieces, write_rows};
use super::separable::{Axis, Separable};
use crate::cpu::ordered::{floats, for_each};
use crate::cpu::planes::Planes;

/// The pixels of an axis of `n` that window `output` covers.
fn covered(window: Window, axis: usize, n: usize, output: usize) -> Range<usize> {
    let start = output * window.stride[axis];
    let (end, padding) = (start + window.kernel[axis], window.padding[axis]);
    start.saturating_sub(padding)..end.saturating_sub(padding).min(n)
}

/// Average pooling from planes like `x` to planes like `y`. With `count_padding` the mean is over the whole window, otherwise
/// over its pixels.
pub fn average(window: Window, count_padding: bool, x: PlaneLayout, y: PlaneLayout) -> Separable {
    let [rows, columns] = [(0, x.height, y.height), (1, x.width, y.width)].map(|(axis, n, outputs)| {
        let taps = |j| {
            let inside = covered(window, axis, n, j);
            let count = if count_padding { window.kernel[axis] } else { inside.len() };
            inside.map(|i| (i, 1.0 / count as f32)).collect()
        };
        Axis::new(n, (0..outputs).map(taps).collect())
    });
    Separable::new(rows, columns)
}

/// The larger of two; one that is not a number is the result.
#[inline(always)]
fn larger(best: f32, v: f32) -> f32 {
    if v > best || v.is_nan() { v } else { best }
}

/// y = the largest pixel of each window of x. The memory must not overlap.
pub fn max_forward(window: Window, x: &Planes, y: &Planes) {
    let (height, width) = (x.layout.height, x.layout.width);
    write_pieces(y, floats(x), |piece| {
        let mut line = vec![0.0; width];
        for r in piece.rows.0..piece.rows.1 {
            line.fill(f32::NEG_INFINITY);
            for i in covered(window, 0, height, r) {
                let row = pixels(x, piece.image, piece.channel, i);
                line.iter_mut().zip(row).for_each(|(l, v)| *l = larger(*l, *v));
            }
            // SAFETY: a row of y that belongs to this piece.
            let to = unsafe { super::rows::pixels_mut(y, piece.image, piece.channel, r) };
            max_of_windows(window, &line, to);
        }
    });
}

/// The largest pixel of each window of a row.
fn max_of_windows(window: Window, line: &[f32], to: &mut [f32]) {
    let (stride, padding) = (window.stride[1], window.padding[1]);
    to.fill(f32::NEG_INFINITY);
    for k in 0..window.kernel[1] {
        // The first output whose pixel k lies inside, and that pixel.
        let first = padding.saturating_sub(k).div_ceil(stride);
        let at = first * stride + k - padding;
        if first < to.len() && at < line.len() {
            let values = line[at..].iter().step_by(stride);
            to[first..].iter_mut().zip(values).for_each(|(t, v)| *t = larger(*t, *v));
        }
    }
}

/// Every value of `dy` goes to the first maximum of its window of x in row-major order, where it is added: to zero, or with
/// `accumulate` to what is in `dx`. Planes are the pieces of work, because windows may overlap.
pub fn max_backward(window: Window, x: &Planes, dy: &Planes, dx: &Planes, accumulate: bool) {
    let (size, layout) = ((x.layout.height, x.layout.width), dx.layout);
    assert_eq!((layout.height, layout.width), size, "a gradient is as large as its input");
    for_each(dx.batch * dx.channels, 4 * floats(x), |k| {
        let (image, channel) = (k / dx.channels, k % dx.channels);
        // SAFETY: this plane of dx belongs to this piece.
        let to = unsafe { std::slice::from_raw_parts_mut(dx.plane(image, channel), layout.plane_stride()) };
        if !accumulate {
            to.fill(0.0);
        }
        for r in 0..dy.layout.height {
            let rows = covered(window, 0, size.0, r);
            for (j, d) in pixels(dy, image, channel, r).iter().enumerate() {
                let (row, column) = first_maximum(x, (image, channel), rows.clone(), covered(window, 1, size.1, j));
                to[layout.origin() + row * layout.row_stride() + column] += d;
            }
        }
    });
}

/// Where the first maximum of a window lies.
fn first_maximum(
    x: &Planes,
    (image, channel): (usize, usize),
    rows: Range<usize>,
    columns: Range<usize>,
) -> (usize, usize) {
    let (mut best, mut at) = (f32::NEG_INFINITY, (rows.start, columns.start));
    for r in rows {
        let row = &pixels(x, image, channel, r)[columns.clone()];
        for (c, &v) in row.iter().enumerate() {
            if v > best || v.is_nan() {
                (best, at) = (v, (r, columns.start + c));
            }
        }
    }
    at
}

/// y = the mean of each plane of x: one pixel.
pub fn mean_forward(x: &Planes, y: &Planes) {
    let size = (x.layout.height, x.layout.width);
    write_rows(y, floats(x), |image, channel, _, to| {
        // SAFETY: x is only read.
        let [sum] = unsafe { sum_rows(size, [Run::of_plane(x, image, channel)], |[x]| [x]) };
        to[0] = (sum / (size.0 * size.1) as f64) as f32;
    });
}

/// Every pixel of dx is the plane's gradient divided by the number of pixels, or that added to it.
pub fn mean_backward(dy: &Planes, dx: &Planes, accumulate: bool) {
    let share = 1.0 / (dx.layout.height * dx.layout.width) as f32;
    write_rows(dx, floats(dx), |image, channel, _, to| {
        let d = pixels(dy, image, channel, 0)[0] * share;
        if accumulate {
            to.iter_mut().for_each(|t| *t += d);
        } else {
            to.fill(d);
        }
    });
}
