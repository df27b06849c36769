//! 2x2 transposed convolution with stride 2 on packed planes.

use super::weights::PackedWeights;
use crate::cpu::kernels::amx::{self, MatrixUpRun, Steps, UP_CHANNELS};
use crate::cpu::kernels::dot::DotSet;
use crate::cpu::kernels::packed_tile::Finish;
use crate::cpu::kernels::packed_up::{UpRun, up_packed};
use crate::cpu::ordered::{RowPieces, for_each, zero_columns, zero_ends};
use crate::cpu::planes::Planes;

/// A transposed convolution prepared for one input and one output.
#[derive(Clone, Debug)]
pub struct PackedTransposed {
    set: DotSet,
    matrix: Option<Steps>,
    x: Planes,
    y: Planes,
    relu: bool,
    /// `[element of the output][row of the kernel][element of the input][column of the kernel][slot]`, or as the matrix unit
    /// reads them, for every [`UP_CHANNELS`] outputs.
    weights: Vec<u32>,
    scale: Vec<f32>,
    bias: Vec<f32>,
}

impl PackedTransposed {
    /// A transposed convolution; `matrix` allows the matrix unit.
    ///
    /// # Panics
    /// When the output is not twice as large as the input: a bug of the caller.
    pub fn new(set: DotSet, matrix: bool, x: Planes, y: Planes, relu: bool) -> Self {
        assert_eq!(x.batch, y.batch, "batch of input and output");
        assert_eq!((2 * x.layout.height, 2 * x.layout.width), (y.layout.height, y.layout.width), "twice as large");
        let steps = Steps::new(x.channels, 1);
        let matrix = (matrix && steps.beat_vectors(set, 2 * UP_CHANNELS, x.channels)).then_some(steps);
        Self { set, matrix, x, y, relu, weights: Vec::new(), scale: Vec::new(), bias: Vec::new() }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * (self.weights.len() + self.scale.len() + self.bias.len())
    }

    /// Orders the weights, whose taps are the rows and columns of the kernel, as the tiles read them.
    pub fn load(&mut self, packed: &PackedWeights) {
        let (groups, slots) = (self.x.channels, self.set.slots());
        let element = |o: usize, g: usize, a: usize, b: usize| packed.elements[(o * groups + g) * 4 + 2 * a + b];
        self.weights.clear();
        match self.matrix {
            Some(steps) => {
                let outputs = self.y.channels * slots;
                for (first, a) in (0..outputs).step_by(UP_CHANNELS).flat_map(|o| [(o, 0), (o, 1)]) {
                    for (part, b) in (0..steps.parts).flat_map(|p| [(p, 0), (p, 1)]) {
                        for o in first..outputs.min(first + UP_CHANNELS) {
                            self.weights.extend((0..steps.depth).map(|k| element(o, part * steps.depth + k, a, b)));
                        }
                    }
                }
            }
            None => {
                for (plane, a) in (0..self.y.channels).flat_map(|e| [(e, 0), (e, 1)]) {
                    for (g, b) in (0..groups).flat_map(|g| [(g, 0), (g, 1)]) {
                        for o in plane * slots..(plane + 1) * slots {
                            self.weights.extend(self.set.weight_words(element(o, g, a, b)));
                        }
                    }
                }
            }
        }
        self.weights.shrink_to_fit();
        self.scale.clone_from(&packed.scale);
        self.bias.clone_from(&packed.bias);
    }

    /// Writes the output, borders included.
    pub fn run(&self) {
        let (x, y, slots) = (self.x, self.y, self.set.slots());
        // Planes of the output that are computed together.
        let together = if self.matrix.is_some() { UP_CHANNELS / slots } else { 1 };
        let blocks = y.channels.div_ceil(together);
        let pieces = RowPieces::with_floats(x.layout, (65_536 / x.channels).min(2048));
        let work = x.batch * x.channels * y.channels * slots / 2 * x.layout.plane_stride();
        for_each(x.batch * pieces.per_plane * blocks, work, |k| {
            let (piece, first) = (k / blocks, k % blocks * together);
            let (image, rows) = (piece / pieces.per_plane, pieces.rows_of(piece));
            let planes = first..y.channels.min(first + together);
            // SAFETY: these rows of these planes of the output belong to no other piece.
            unsafe {
                match self.matrix {
                    Some(steps) => self.run_matrix(steps, image, rows, planes.clone()),
                    None => self.run_vectors(image, rows, first),
                }
                for plane in planes {
                    zero_columns(y.plane(image, plane), y.layout, (2 * rows.0, 2 * rows.1));
                    zero_ends(y.plane(image, plane), y.layout, (2 * rows.0, 2 * rows.1));
                }
            }
        });
    }

    fn finish(&self, plane: usize) -> Finish {
        let first = plane * self.set.slots();
        let (scale, bias) = (self.scale[first..].as_ptr(), self.bias[first..].as_ptr());
        Finish { scale, bias, relu: self.relu, floats: 0 }
    }

    /// # Safety
    /// Nobody else touches these rows of the output.
    unsafe fn run_matrix(&self, steps: Steps, image: usize, rows: (usize, usize), planes: std::ops::Range<usize>) {
        let (x, y, slots) = (self.x, self.y, self.set.slots());
        let run = MatrixUpRun {
            x: x.row(image, 0, rows.0).cast(),
            x_stride: x.layout.plane_stride(),
            x_row_stride: x.layout.row_stride(),
            rows: rows.1 - rows.0,
            depth: steps.depth,
            parts: steps.parts,
            weights: self.weights[4 * planes.start * slots * x.channels..].as_ptr(),
            channels: planes.len() * slots,
            y: y.row(image, planes.start, 2 * rows.0).cast(),
            y_row_stride: y.layout.row_stride(),
            y_stride: y.layout.plane_stride(),
            width: x.layout.width,
            finish: self.finish(planes.start),
        };
        // SAFETY: the rows lie in these planes, and the slack behind them can be read.
        unsafe { amx::up(self.set, &run) };
    }

    /// # Safety
    /// Nobody else touches these rows of the output.
    unsafe fn run_vectors(&self, image: usize, rows: (usize, usize), plane: usize) {
        let (x, y) = (self.x, self.y);
        let words = self.weights.len() / (2 * y.channels);
        for (i, a) in (rows.0..rows.1).flat_map(|i| [(i, 0), (i, 1)]) {
            let run = UpRun {
                x: x.row(image, 0, i).cast(),
                plane_stride: x.layout.plane_stride(),
                groups: x.channels,
                weights: self.weights[(2 * plane + a) * words..].as_ptr(),
                y: y.row(image, plane, 2 * i + a).cast(),
                width: x.layout.width,
                finish: self.finish(plane),
            };
            // SAFETY: the rows lie in these planes, and the slack behind them can be read.
            unsafe { up_packed(self.set, &run) };
        }
    }
}
