//! A convolution layer of an executor, of any form: its parameters' places and its packed weights.

use std::ops::Range;

use segfit::network::{NetworkSpec, Op, ParameterKind};

use super::batch_norm;
use super::conv_transpose::{self, Channels};
use super::conv2d::{Conv2d, ConvShape};
use super::executor::{range, unsupported};
use super::normalisation::Normalisation;
use super::planes::Planes;
use super::simd::Isa;
use super::strided::Strided;
use crate::error::Result;
use crate::state::{ParameterLayout, Weights};

enum Kind {
    /// Keeps the size.
    Ordinary(Box<Conv2d>),
    Strided(Box<Strided>),
    /// 2x2 with stride 2.
    Doubling(Channels),
    Transposed(Box<Strided>),
}

impl Kind {
    /// Floats of scratch memory of the largest pass.
    fn scratch_len(&self, train: bool, x: &Planes) -> usize {
        match self {
            Self::Ordinary(op) if train => op.gradient_scratch_len(),
            Self::Ordinary(_) => 0,
            Self::Strided(op) | Self::Transposed(op) if train => {
                op.down_scratch_len().max(op.up_scratch_len()).max(op.gradient_scratch_len())
            }
            Self::Strided(op) => op.down_scratch_len(),
            Self::Transposed(op) => op.up_scratch_len(),
            Self::Doubling(channels) if train => {
                let forward = conv_transpose::forward_scratch_len(*channels, x.layout);
                let data = conv_transpose::backward_data_scratch_len(*channels, x.layout);
                let weights = conv_transpose::backward_weights_scratch_len(*channels, x.batch, x.layout);
                forward.max(data).max(weights)
            }
            Self::Doubling(channels) => conv_transpose::forward_scratch_len(*channels, x.layout),
        }
    }

    /// Packs weights for the forward pass.
    fn pack(&self, weight: &[f32], packed: &mut [f32]) {
        match self {
            Self::Ordinary(op) => op.pack(weight, packed),
            Self::Strided(op) => op.pack_down(weight, packed),
            Self::Transposed(op) => op.pack_up(weight, packed),
            Self::Doubling(channels) => conv_transpose::pack(*channels, weight, packed),
        }
    }

    /// Packs weights for the gradient of the input.
    fn pack_backward(&self, weight: &[f32], packed: &mut [f32]) {
        match self {
            Self::Ordinary(op) => op.pack_transposed(weight, packed),
            Self::Strided(op) => op.pack_up(weight, packed),
            Self::Transposed(op) => op.pack_down(weight, packed),
            Self::Doubling(_) => {}
        }
    }
}

/// The form in which a layer is executed.
fn choose(isa: Isa, spec: &NetworkSpec, layer: usize, x: &Planes, y: &Planes) -> Result<Kind> {
    let op = &spec.layers[layer].op;
    let geometry = op.geometry().ok_or_else(|| unsupported(spec, layer, "is not a convolution in two dimensions"))?;
    let groups = match op {
        Op::Conv2d { groups, .. } => *groups,
        Op::DepthwiseConv2d { .. } => x.channels,
        _ => 1,
    };
    let batch = x.batch;
    if geometry.transposed {
        let square = [2, 2];
        if geometry.kernel == square
            && geometry.stride == square
            && 2 * x.layout.height == y.layout.height
            && 2 * x.layout.width == y.layout.width
            && geometry.padding == [0, 0]
        {
            return Ok(Kind::Doubling(Channels { input: x.channels, output: y.channels }));
        }
        let shape = ConvShape { in_channels: y.channels, out_channels: x.channels, groups, geometry };
        return Ok(Kind::Transposed(Box::new(Strided::new(isa, &shape, y.layout, x.layout, batch))));
    }
    let shape = ConvShape { in_channels: x.channels, out_channels: y.channels, groups, geometry };
    if geometry.keeps_size() {
        return Ok(Kind::Ordinary(Box::new(Conv2d::of(isa, &shape, x.layout, batch))));
    }
    Ok(Kind::Strided(Box::new(Strided::new(isa, &shape, x.layout, y.layout, batch))))
}

pub(super) struct Convolution {
    isa: Isa,
    kind: Kind,
    train: bool,
    /// Kernel positions.
    area: usize,
    scratch_len: usize,
    weight: Range<usize>,
    bias: Option<Range<usize>>,
    packed: Vec<f32>,
    /// For the gradient of the input; empty at inference.
    packed_backward: Vec<f32>,
    /// Norm folded in, and the bias with it (inference only).
    norm: Option<Normalisation>,
    folded_bias: Vec<f32>,
}

impl Convolution {
    pub(super) fn new(
        isa: Isa,
        spec: &NetworkSpec,
        layer: usize,
        layout: &ParameterLayout,
        x: &Planes,
        y: &Planes,
        train: bool,
    ) -> Result<Self> {
        let kind = choose(isa, spec, layer, x, y)?;
        let (forward, backward) = match &kind {
            Kind::Ordinary(op) => (op.packed_len(), op.packed_transposed_len()),
            Kind::Strided(op) | Kind::Transposed(op) => (op.packed_len(), op.packed_len()),
            Kind::Doubling(channels) => (channels.weights(), 0),
        };
        let scratch_len = kind.scratch_len(train, x);
        Ok(Self {
            isa,
            kind,
            train,
            area: spec.layers[layer].op.geometry().map_or(1, |g| g.area()),
            scratch_len,
            weight: range(spec, layout, layer, ParameterKind::Weight)?,
            bias: layout.range(layer, ParameterKind::Bias),
            packed: vec![0.0; forward],
            packed_backward: vec![0.0; if train { backward } else { 0 }],
            norm: None,
            folded_bias: vec![0.0; y.channels],
        })
    }

    pub(super) fn fold_norm(&mut self, norm: Option<Normalisation>) {
        self.norm = norm;
    }

    pub(super) fn floats(&self) -> usize {
        self.packed.len() + self.packed_backward.len() + self.folded_bias.len()
    }

    pub(super) fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// Packs the current weights for a training step.
    pub(super) fn pack(&mut self, trained: &[f32]) {
        let weight = &trained[self.weight.clone()];
        self.kind.pack(weight, &mut self.packed);
        self.kind.pack_backward(weight, &mut self.packed_backward);
    }

    /// Packs weights for inference, the norm folded in.
    pub(super) fn load_folded(&mut self, weights: &Weights) {
        let mut weight = weights.trained[self.weight.clone()].to_vec();
        match &self.bias {
            Some(range) => self.folded_bias.copy_from_slice(&weights.trained[range.clone()]),
            None => self.folded_bias.fill(0.0),
        }
        if let Some(norm) = &self.norm {
            let (scale, shift) = norm.folded(weights);
            match &self.kind {
                Kind::Ordinary(_) | Kind::Strided(_) => {
                    batch_norm::fold_into_conv(&mut weight, &mut self.folded_bias, &scale, &shift);
                }
                Kind::Doubling(_) | Kind::Transposed(_) => {
                    let area = self.area;
                    batch_norm::fold_into_conv_transpose(&mut weight, &mut self.folded_bias, area, &scale, &shift);
                }
            }
        }
        self.kind.pack(&weight, &mut self.packed);
    }

    /// `trained` holds the bias in training; at inference the folded one is used.
    pub(super) fn forward(&self, relu: bool, trained: &[f32], x: &Planes, y: &Planes, scratch: &mut [f32]) {
        let bias = match &self.bias {
            Some(range) if self.train => &trained[range.clone()],
            _ => &self.folded_bias[..],
        };
        match &self.kind {
            Kind::Ordinary(op) => op.forward(&self.packed, Some(bias), relu, x, y),
            Kind::Strided(op) => op.down(&self.packed, Some(bias), relu, false, x, y, scratch),
            Kind::Transposed(op) => op.up(&self.packed, Some(bias), relu, false, x, y, scratch),
            Kind::Doubling(_) => conv_transpose::forward(self.isa, x, &self.packed, bias, relu, y, scratch),
        }
    }

    pub(super) fn backward_data(
        &self,
        trained: &[f32],
        dy: &Planes,
        dx: &Planes,
        accumulate: bool,
        scratch: &mut [f32],
    ) {
        match &self.kind {
            Kind::Ordinary(op) => op.backward_data(&self.packed_backward, dy, dx, accumulate),
            Kind::Strided(op) => op.up(&self.packed_backward, None, false, accumulate, dy, dx, scratch),
            Kind::Transposed(op) => op.down(&self.packed_backward, None, false, accumulate, dy, dx, scratch),
            Kind::Doubling(_) => {
                let weight = &trained[self.weight.clone()];
                conv_transpose::backward_data(self.isa, dy, weight, dx, accumulate, scratch);
            }
        }
    }

    pub(super) fn backward_weights(&self, x: &Planes, dy: &Planes, scratch: &mut [f32], gradients: &mut [f32]) {
        // The bias stands right behind the weight.
        let (weight, rest) = gradients[self.weight.start..].split_at_mut(self.weight.len());
        let bias = self.bias.as_ref().map(|r| &mut rest[..r.len()]);
        debug_assert!(self.bias.as_ref().is_none_or(|r| r.start == self.weight.end));
        match &self.kind {
            Kind::Ordinary(op) => op.backward_weights(x, dy, scratch, weight, bias),
            Kind::Strided(op) => op.backward_weights(x, dy, scratch, weight, bias, None),
            Kind::Transposed(op) => op.backward_weights(dy, x, scratch, weight, None, bias),
            Kind::Doubling(_) => conv_transpose::backward_weights(self.isa, x, dy, weight, bias, scratch),
        }
    }
}
