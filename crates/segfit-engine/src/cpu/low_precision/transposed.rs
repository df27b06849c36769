//! 2x2 transposed convolution with stride 2 on packed planes.

use super::weights::PackedWeights;
use crate::cpu::kernels::dot::DotSet;
use crate::cpu::kernels::packed_tile::Finish;
use crate::cpu::kernels::packed_up::{UpRun, up_packed};
use crate::cpu::ordered::{RowPieces, for_each, zero_columns, zero_ends};
use crate::cpu::planes::Planes;

/// A transposed convolution prepared for one input and one output.
#[derive(Clone, Debug)]
pub struct PackedTransposed {
    set: DotSet,
    x: Planes,
    y: Planes,
    relu: bool,
    /// `[element of the output][row of the kernel][element of the input][column of the kernel][slot]`.
    weights: Vec<u32>,
    scale: Vec<f32>,
    bias: Vec<f32>,
}

impl PackedTransposed {
    /// # Panics
    /// When the output is not twice as large as the input: a bug of the caller.
    pub fn new(set: DotSet, x: Planes, y: Planes, relu: bool) -> Self {
        assert_eq!(x.batch, y.batch, "batch of input and output");
        assert_eq!((2 * x.layout.height, 2 * x.layout.width), (y.layout.height, y.layout.width), "twice as large");
        Self { set, x, y, relu, weights: Vec::new(), scale: Vec::new(), bias: Vec::new() }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * (self.weights.len() + self.scale.len() + self.bias.len())
    }

    /// Orders the weights, whose taps are the rows and columns of the kernel, as the tiles read them.
    pub fn load(&mut self, packed: &PackedWeights) {
        let (groups, slots) = (self.x.channels, self.set.slots());
        self.weights.clear();
        for (element, a) in (0..self.y.channels).flat_map(|e| [(e, 0), (e, 1)]) {
            for (g, b) in (0..groups).flat_map(|g| [(g, 0), (g, 1)]) {
                for o in element * slots..(element + 1) * slots {
                    self.weights.extend(self.set.weight_words(packed.elements[(o * groups + g) * 4 + 2 * a + b]));
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
        let pieces = RowPieces::with_floats(x.layout, (65_536 / x.channels).min(2048));
        let work = x.batch * x.channels * y.channels * slots / 2 * x.layout.plane_stride();
        for_each(x.batch * pieces.per_plane * y.channels, work, |k| {
            let (piece, element) = (k / y.channels, k % y.channels);
            let (image, rows) = (piece / pieces.per_plane, pieces.rows_of(piece));
            let words = self.weights.len() / (2 * y.channels);
            let finish = Finish {
                scale: self.scale[element * slots..].as_ptr(),
                bias: self.bias[element * slots..].as_ptr(),
                relu: self.relu,
                floats: 0,
            };
            // SAFETY: these rows of this plane of the output belong to no other piece.
            unsafe {
                for (i, a) in (rows.0..rows.1).flat_map(|i| [(i, 0), (i, 1)]) {
                    let run = UpRun {
                        x: x.row(image, 0, i).cast(),
                        plane_stride: x.layout.plane_stride(),
                        groups: x.channels,
                        weights: self.weights[(2 * element + a) * words..].as_ptr(),
                        y: y.row(image, element, 2 * i + a).cast(),
                        width: x.layout.width,
                        finish,
                    };
                    up_packed(self.set, &run);
                }
                zero_columns(y.plane(image, element), y.layout, (2 * rows.0, 2 * rows.1));
                zero_ends(y.plane(image, element), y.layout, (2 * rows.0, 2 * rows.1));
            }
        });
    }
}
