//! Linear maps of planes that act along rows and along columns: average pooling, upsampling, padding.
//!
//! Each axis is a short list of (input, weight) for every output; the gradient is the transposed list. An output row is
//! first put together from whole input rows, then its pixels from the pixels of that.

use super::rows::{pixels, write_pieces};
use crate::cpu::ordered::floats;
use crate::cpu::planes::Planes;

/// One axis of the map: output = sum of weight * input.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    inputs: usize,
    /// Inputs and weights of every output.
    taps: Vec<Vec<(usize, f32)>>,
    way: Way,
}

/// A faster way to apply an axis to the pixels of a row.
#[derive(Clone, Debug, PartialEq)]
enum Way {
    /// Runs of outputs that are neighbouring inputs: first output, first input, number. The rest by its taps.
    Runs(Vec<(usize, usize, usize)>),
    /// Every input twice.
    Twice,
    /// Sums of two neighbouring inputs: the transpose of `Twice`.
    Pairs,
    /// Two neighbouring inputs each: the first of them, and their weights.
    Neighbours(Vec<(usize, [f32; 2])>),
    /// Bilinear, twice as many.
    Blend,
    /// The transpose of `Blend`.
    BlendBack,
}

/// Runs shorter than this go by their taps.
const SHORTEST_RUN: usize = 4;

impl Axis {
    /// The axis with these taps.
    pub fn new(inputs: usize, taps: Vec<Vec<(usize, f32)>>) -> Self {
        let way = Way::Runs(runs(&taps));
        Self { inputs, taps, way }
    }

    /// The same with taps that repeat every input twice.
    pub fn twice(self) -> Self {
        Self { way: Way::Twice, ..self }
    }

    /// The same with taps of bilinear upsampling by two between pixel centres.
    pub fn blend(self) -> Self {
        Self { way: Way::Blend, ..self }
    }

    /// The same, taken from two neighbouring inputs everywhere, where the taps allow it.
    pub fn neighbours(self) -> Self {
        let last = self.inputs - 1;
        let two = |taps: &Vec<(usize, f32)>| match taps[..] {
            [(a, w)] if a < last => Some((a, [w, 0.0])),
            [(a, w)] if last > 0 => Some((a - 1, [0.0, w])),
            [(a, v), (b, w)] if b == a + 1 => Some((a, [v, w])),
            _ => None,
        };
        match self.taps.iter().map(two).collect() {
            Some(list) => Self { way: Way::Neighbours(list), ..self },
            None => self,
        }
    }

    fn transposed(&self) -> Self {
        let mut taps = vec![Vec::new(); self.inputs];
        for (o, list) in self.taps.iter().enumerate() {
            list.iter().for_each(|&(i, w)| taps[i].push((o, w)));
        }
        let way = match self.way {
            Way::Twice => Way::Pairs,
            Way::Blend => Way::BlendBack,
            _ => Way::Runs(runs(&taps)),
        };
        Self { inputs: self.taps.len(), taps, way }
    }

    /// Applies it to the pixels of a row; `to` is overwritten.
    fn apply(&self, from: &[f32], to: &mut [f32]) {
        match &self.way {
            Way::Twice => {
                for (pair, x) in to.as_chunks_mut::<2>().0.iter_mut().zip(from) {
                    *pair = [*x, *x];
                }
            }
            Way::Pairs => {
                for (t, [a, b]) in to.iter_mut().zip(from.as_chunks::<2>().0) {
                    *t = a + b;
                }
            }
            Way::Neighbours(list) => {
                for (t, (i, [v, w])) in to.iter_mut().zip(list) {
                    let pair = &from[*i..i + 2];
                    *t = v * pair[0] + w * pair[1];
                }
            }
            Way::Blend => blend(from, to),
            Way::BlendBack => blend_back(from, to),
            Way::Runs(runs) => self.apply_runs(runs, from, to),
        }
    }

    fn apply_runs(&self, runs: &[(usize, usize, usize)], from: &[f32], to: &mut [f32]) {
        let mut next = 0;
        for &(start, input, count) in runs.iter().chain([&(to.len(), 0, 0)]) {
            for (t, taps) in to[next..start].iter_mut().zip(&self.taps[next..]) {
                *t = taps.iter().map(|&(i, w)| w * from[i]).sum();
            }
            to[start..start + count].copy_from_slice(&from[input..input + count]);
            next = start + count;
        }
    }
}

/// Runs of outputs with one tap of weight 1 on neighbouring inputs.
fn runs(taps: &[Vec<(usize, f32)>]) -> Vec<(usize, usize, usize)> {
    let mut found: Vec<(usize, usize, usize)> = Vec::new();
    for (o, list) in taps.iter().enumerate() {
        let [(i, 1.0)] = list[..] else { continue };
        match found.last_mut() {
            Some((start, input, count)) if (*start + *count, *input + *count) == (o, i) => *count += 1,
            _ => found.push((o, i, 1)),
        }
    }
    found.retain(|run| run.2 >= SHORTEST_RUN);
    found
}

/// Outputs 2i and 2i + 1 are .25 x\[i - 1] + .75 x\[i] and .75 x\[i] + .25 x\[i + 1]; beyond the ends lie the end pixels again.
fn blend(x: &[f32], to: &mut [f32]) {
    let last = x.len() - 1;
    let between = |a: f32, b: f32, c: f32| [0.25 * a + 0.75 * b, 0.75 * b + 0.25 * c];
    let pairs = to.as_chunks_mut::<2>().0;
    pairs[0] = between(x[0], x[0], x[1.min(last)]);
    pairs[last] = between(x[last.saturating_sub(1)], x[last], x[last]);
    for (pair, w) in pairs.iter_mut().skip(1).zip(x.windows(3)) {
        *pair = between(w[0], w[1], w[2]);
    }
}

/// The transpose of [`blend`]: .25 d\[2i - 1] + .75 d\[2i] + .75 d\[2i + 1] + .25 d\[2i + 2].
fn blend_back(d: &[f32], to: &mut [f32]) {
    let (pairs, last) = (d.as_chunks::<2>().0, to.len() - 1);
    let around = |a: f32, [b, c]: [f32; 2], e: f32| (0.25 * a + 0.75 * b) + (0.75 * c + 0.25 * e);
    let edge = |i: usize| {
        let (before, after) = (if i == 0 { 0 } else { 2 * i - 1 }, (2 * i + 2).min(d.len() - 1));
        around(d[before], pairs[i], d[after])
    };
    to[0] = edge(0);
    to[last] = edge(last);
    for (t, w) in to.iter_mut().skip(1).zip(pairs.windows(3)) {
        *t = around(w[0][1], w[1], w[2][0]);
    }
}

/// A map along both axes and its transpose.
#[derive(Clone, Debug)]
pub struct Separable {
    ahead: [Axis; 2],
    back: [Axis; 2],
}

impl Separable {
    /// The map with these axes: rows, columns.
    pub fn new(rows: Axis, columns: Axis) -> Self {
        let back = [rows.transposed(), columns.transposed()];
        Self { ahead: [rows, columns], back }
    }

    /// For every output row, and for every output column, the inputs and their weights; of the transposed map if asked for.
    pub fn taps(&self, transposed: bool) -> [&Vec<Vec<(usize, f32)>>; 2] {
        let [rows, columns] = if transposed { &self.back } else { &self.ahead };
        [&rows.taps, &columns.taps]
    }

    /// y = the map of x. The memory must not overlap.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Planes, y: &Planes) {
        apply(&self.ahead, x, y, false);
    }

    /// dx = the transposed map of dy, or that added to it. The memory must not overlap.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn backward(&self, dy: &Planes, dx: &Planes, accumulate: bool) {
        apply(&self.back, dy, dx, accumulate);
    }
}

fn apply([rows, columns]: &[Axis; 2], x: &Planes, y: &Planes, accumulate: bool) {
    assert_eq!((x.batch, x.channels), (y.batch, y.channels), "the map keeps batch and channels");
    assert_eq!((x.layout.height, x.layout.width), (rows.inputs, columns.inputs), "size of the input");
    assert_eq!((y.layout.height, y.layout.width), (rows.taps.len(), columns.taps.len()), "size of the output");
    write_pieces(y, floats(x).max(floats(y)), |piece| {
        let mut line = vec![0.0; x.layout.width];
        let mut mapped = vec![0.0; if accumulate { y.layout.width } else { 0 }];
        for r in piece.rows.0..piece.rows.1 {
            let from = |row: usize| pixels(x, piece.image, piece.channel, row);
            // SAFETY: a row of y that belongs to this piece.
            let to = unsafe { super::rows::pixels_mut(y, piece.image, piece.channel, r) };
            let source = combined(&rows.taps[r], from, &mut line);
            if accumulate {
                columns.apply(source, &mut mapped);
                to.iter_mut().zip(&mapped).for_each(|(t, m)| *t += m);
            } else {
                columns.apply(source, to);
            }
        }
    });
}

/// The weighted sum of some rows, in `line` unless it is one of the rows itself.
fn combined<'a>(taps: &[(usize, f32)], row: impl Fn(usize) -> &'a [f32], line: &'a mut [f32]) -> &'a [f32] {
    match taps {
        [(a, 1.0)] => return row(*a),
        [(a, v), (b, w), rest @ ..] => {
            for ((l, a), b) in line.iter_mut().zip(row(*a)).zip(row(*b)) {
                *l = v * a + w * b;
            }
            for (c, w) in rest {
                line.iter_mut().zip(row(*c)).for_each(|(l, c)| *l += w * c);
            }
        }
        [(a, w)] => line.iter_mut().zip(row(*a)).for_each(|(l, a)| *l = w * a),
        [] => line.fill(0.0),
    }
    line
}
