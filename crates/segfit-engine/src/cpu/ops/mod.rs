//! The layers that are neither convolution nor batch norm: activations, norms of single images, pooling, resizing, dropout,
//! sums and products. One file per kind; every one leaves borders zero and gives the same bits for any number of threads.

#![allow(clippy::extra_unused_type_parameters, reason = "the parameter of a kernel names its instruction set")]

mod activation;
mod add;
mod dropout;
mod exponential;
mod mul;
mod norm;
mod pad;
mod pool;
mod prelu;
mod rows;
mod separable;
#[cfg(test)]
mod tests;
mod upsample;

use std::ops::Range;

use segfit::network::layout::PlaneLayout;
use segfit::network::{NetworkSpec, Op, ParameterKind, Window};

use self::activation::Activation;
use self::dropout::Dropout;
use self::norm::PartNorm;
use self::prelu::Prelu;
use self::separable::Separable;
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;
use crate::error::{Error, Result};
use crate::state::ParameterLayout;

/// The numbers that dropout draws from, beside the layer and the position: seed of the run and step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    /// Seed of the run.
    pub seed: u64,
    /// Step of the training.
    pub step: u64,
}

/// A layer that is no convolution, no batch norm and no concatenation, compiled for its tensors.
#[derive(Debug)]
pub(crate) struct PlainOp {
    isa: Isa,
    kind: Kind,
    trained: Range<usize>,
}

#[derive(Debug)]
enum Kind {
    Activation(Activation),
    Prelu(Prelu),
    Norm(PartNorm),
    MaxPool(Window),
    Mean,
    /// Average pooling, upsampling and padding: linear along rows and along columns.
    Separable(Box<Separable>),
    Dropout(Dropout),
    Add,
    Mul,
}

impl PlainOp {
    /// Layer `layer` of `spec` for inputs like `xs` and an output like `y`, with what `backward` needs if `train`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a convolution, batch norm, concatenation or input.
    pub fn new(
        isa: Isa,
        spec: &NetworkSpec,
        layer: usize,
        layout: &ParameterLayout,
        xs: &[Planes],
        y: &Planes,
        train: bool,
    ) -> Result<Self> {
        let (this, x) = (&spec.layers[layer], xs[0].layout);
        let unsupported = |reason: &str| Error::Unsupported {
            what: format!("layer {}", this.name),
            device: "the CPU".into(),
            reason: reason.into(),
        };
        let kind = match &this.op {
            op if op.is_activation() => {
                Kind::Activation(Activation::of(op).ok_or_else(|| unsupported("an activation without a kernel"))?)
            }
            Op::Prelu { shared } => Kind::Prelu(Prelu::new(*shared, &xs[0], train)),
            Op::InstanceNorm { eps, affine } => Kind::Norm(PartNorm::new(xs[0].channels, *eps, *affine, &xs[0])),
            Op::GroupNorm { groups, eps } => Kind::Norm(PartNorm::new(*groups, *eps, true, &xs[0])),
            Op::MaxPool { .. } => {
                Kind::MaxPool(this.op.window().ok_or_else(|| unsupported("a window that is not two-dimensional"))?)
            }
            Op::AveragePool { .. } | Op::Upsample { .. } | Op::Pad { .. } => {
                let map = separable(&this.op, x, y.layout);
                let map = map.ok_or_else(|| unsupported("a window that is not two-dimensional"))?;
                Kind::Separable(Box::new(map))
            }
            Op::GlobalAveragePool => Kind::Mean,
            Op::Dropout { p } => Kind::Dropout(Dropout { p: *p, layer: layer as u64 }),
            Op::Add => Kind::Add,
            Op::Mul => Kind::Mul,
            _ => return Err(unsupported("it is not a plain operation")),
        };
        Ok(Self { isa, kind, trained: trained_range(layer, layout) })
    }

    /// Where the layer's own parameters lie among all trained ones; empty when it has none.
    pub fn trained_range(&self) -> Range<usize> {
        self.trained.clone()
    }

    /// Floats of memory that it holds itself: statistics and partial sums, not the small tables of indices.
    pub fn floats(&self) -> usize {
        match &self.kind {
            Kind::Prelu(prelu) => prelu.floats(),
            Kind::Norm(norm) => norm.floats(),
            _ => 0,
        }
    }

    /// Writes all pixels of `y` and leaves its border zero. `parameters`: all trained ones of the network. `draw`: `None` at
    /// inference; in training the numbers that dropout draws from. `y` of an activation, norm, dropout, sum or product may
    /// be the memory of `xs[0]`.
    pub fn forward(&mut self, parameters: &[f32], xs: &[Planes], y: &Planes, draw: Option<Draw>) {
        let (own, x) = (&parameters[self.trained.clone()], &xs[0]);
        match &mut self.kind {
            Kind::Activation(activation) => activation.forward(self.isa, x, y),
            Kind::Prelu(prelu) => prelu.forward(self.isa, own, x, y),
            Kind::Norm(norm) => norm.forward(self.isa, own, x, y),
            Kind::MaxPool(window) => pool::max_forward(*window, x, y),
            Kind::Mean => pool::mean_forward(x, y),
            Kind::Separable(separable) => separable.forward(x, y),
            Kind::Dropout(dropout) => dropout.apply(x, y, false, draw),
            Kind::Add => add::forward(xs, y),
            Kind::Mul => mul::forward(x, &xs[1], y),
        }
    }

    /// Gradients of the inputs for which `dxs` has planes (added to them where the flag is set) and of the layer's own
    /// parameters, written to `gradients[..trained_range().len()]`. `xs` and `y` are there only as the layer reads them:
    /// `Op::backward_reads`. The input gradient of an activation, norm, dropout or sum may be the memory of `dy`.
    ///
    /// # Panics
    /// When a tensor that it reads is missing.
    pub fn backward(
        &mut self,
        parameters: &[f32],
        xs: &[Option<Planes>],
        y: Option<&Planes>,
        dy: &Planes,
        dxs: &[Option<(Planes, bool)>],
        gradients: &mut [f32],
        draw: Option<Draw>,
    ) {
        let own = &parameters[self.trained.clone()];
        let x = || xs[0].as_ref().expect("the schedule keeps the input that this gradient reads");
        let d_own = &mut gradients[..self.trained.len()];
        let dx = dxs.first().and_then(Option::as_ref).map(|(planes, accumulate)| (planes, *accumulate));
        match (&mut self.kind, dx) {
            (Kind::Prelu(prelu), _) => prelu.backward(self.isa, own, x(), dy, dx, d_own),
            (Kind::Norm(norm), _) => norm.backward(self.isa, own, x(), dy, dx, d_own),
            (Kind::Add, _) => add::backward(dy, dxs),
            (Kind::Mul, _) => {
                let gate = xs.get(1).and_then(Option::as_ref).expect("the schedule keeps the gate of a product");
                mul::backward(x(), gate, dy, dxs);
            }
            (_, None) => {}
            (Kind::Activation(activation), Some(dx)) => {
                let read = if activation.reads_output() { y.expect("the schedule keeps the output") } else { x() };
                activation.backward(self.isa, read, dy, dx.0, dx.1);
            }
            (Kind::MaxPool(window), Some(dx)) => pool::max_backward(*window, x(), dy, dx.0, dx.1),
            (Kind::Mean, Some(dx)) => pool::mean_backward(dy, dx.0, dx.1),
            (Kind::Separable(separable), Some(dx)) => separable.backward(dy, dx.0, dx.1),
            (Kind::Dropout(dropout), Some(dx)) => dropout.apply(dy, dx.0, dx.1, draw),
        }
    }
}

/// Average pooling, upsampling and padding for inputs and outputs of these sizes; `None` for other layers.
fn separable(op: &Op, x: PlaneLayout, y: PlaneLayout) -> Option<Separable> {
    Some(match op {
        Op::AveragePool { count_padding, .. } => pool::average(op.window()?, *count_padding, x, y),
        Op::Upsample { factor, interpolation } => upsample::separable([factor[0], factor[1]], *interpolation, x),
        Op::Pad { before, mode, .. } => pad::separable([before[0], before[1]], *mode, x, y),
        _ => return None,
    })
}

/// Inputs with their weights, for every output row and every output column.
pub(crate) type AxisTaps = [Vec<Vec<(usize, f32)>>; 2];

/// Average pooling, upsampling and padding from `x` to `y` (heights and widths) as lists; those of the transposed map, from `y` to
/// `x`, if asked for. `None` for other layers.
pub(crate) fn axis_taps(op: &Op, x: (usize, usize), y: (usize, usize), transposed: bool) -> Option<AxisTaps> {
    let [x, y] = [x, y].map(|(height, width)| PlaneLayout { height, width, pad: 0 });
    Some(separable(op, x, y)?.taps(transposed).map(Clone::clone))
}

/// The run of a layer's trained parameters: neighbours in the order of the layout.
fn trained_range(layer: usize, layout: &ParameterLayout) -> Range<usize> {
    let kinds = [ParameterKind::Scale, ParameterKind::Shift, ParameterKind::Slope];
    let ranges: Vec<_> = kinds.into_iter().filter_map(|kind| layout.range(layer, kind)).collect();
    match (ranges.first(), ranges.last()) {
        (Some(first), Some(last)) => first.start..last.end,
        _ => 0..0,
    }
}
