//! A convolution layer of an executor, ordinary or transposed: its parameters' places and its packed weights.

use std::ops::Range;

use segfit::network::{NetworkSpec, Op, ParameterKind};

use super::batch_norm;
use super::conv_transpose::{self, Channels};
use super::conv2d::Conv2d;
use super::executor::{range, unsupported};
use super::normalisation::Normalisation;
use super::planes::Planes;
use super::simd::Isa;
use crate::error::Result;
use crate::state::{ParameterLayout, Weights};

enum Kind {
    Ordinary(Box<Conv2d>),
    Transposed(Channels),
}

pub(super) struct Convolution {
    isa: Isa,
    kind: Kind,
    train: bool,
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
        let kind = match &spec.layers[layer].op {
            Op::Conv2d { kernel, padding, .. } => {
                let same = kernel[0] == kernel[1] && padding.iter().zip(kernel).all(|(p, k)| 2 * p + 1 == *k);
                if !same || kernel[0] / 2 > x.layout.pad {
                    let reason = "only square odd kernels with the padding that keeps the size are executed";
                    return Err(unsupported(spec, layer, reason));
                }
                Kind::Ordinary(Box::new(Conv2d::new(isa, x.channels, y.channels, kernel[0], x.layout, x.batch)))
            }
            Op::ConvTranspose2d { kernel, bias: true, .. } if kernel[..] == [2, 2] => {
                Kind::Transposed(Channels { input: x.channels, output: y.channels })
            }
            _ => return Err(unsupported(spec, layer, "only 2x2 transposed convolutions with bias are executed")),
        };
        let (forward, backward) = match &kind {
            Kind::Ordinary(op) => (op.packed_len(), op.packed_transposed_len()),
            Kind::Transposed(channels) => (channels.weights(), 0),
        };
        let scratch_len = match &kind {
            Kind::Ordinary(op) if train => op.gradient_scratch_len(),
            Kind::Ordinary(_) => 0,
            Kind::Transposed(channels) if train => {
                let forward = conv_transpose::forward_scratch_len(*channels, x.layout);
                let data = conv_transpose::backward_data_scratch_len(*channels, x.layout);
                let weights = conv_transpose::backward_weights_scratch_len(*channels, x.batch, x.layout);
                forward.max(data).max(weights)
            }
            Kind::Transposed(channels) => conv_transpose::forward_scratch_len(*channels, x.layout),
        };
        Ok(Self {
            isa,
            kind,
            train,
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

    /// Its parameters among the trained ones: the bias stands right behind the weight.
    pub(super) fn trained_range(&self) -> Range<usize> {
        debug_assert!(self.bias.as_ref().is_none_or(|r| r.start == self.weight.end));
        self.weight.start..self.bias.as_ref().unwrap_or(&self.weight).end
    }

    /// Packs the current weights for a training step.
    pub(super) fn pack(&mut self, trained: &[f32]) {
        let weight = &trained[self.weight.clone()];
        match &self.kind {
            Kind::Ordinary(op) => {
                op.pack(weight, &mut self.packed);
                op.pack_transposed(weight, &mut self.packed_backward);
            }
            Kind::Transposed(channels) => conv_transpose::pack(*channels, weight, &mut self.packed),
        }
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
                Kind::Ordinary(_) => batch_norm::fold_into_conv(&mut weight, &mut self.folded_bias, &scale, &shift),
                Kind::Transposed(_) => {
                    batch_norm::fold_into_conv_transpose(&mut weight, &mut self.folded_bias, 4, &scale, &shift);
                }
            }
        }
        match &self.kind {
            Kind::Ordinary(op) => op.pack(&weight, &mut self.packed),
            Kind::Transposed(channels) => conv_transpose::pack(*channels, &weight, &mut self.packed),
        }
    }

    /// `trained` holds the bias in training; at inference the folded one is used.
    pub(super) fn forward(&self, relu: bool, trained: &[f32], x: &Planes, y: &Planes, scratch: &mut [f32]) {
        let bias = match &self.bias {
            Some(range) if self.train => &trained[range.clone()],
            _ => &self.folded_bias[..],
        };
        match &self.kind {
            Kind::Ordinary(op) => op.forward(&self.packed, Some(bias), relu, x, y),
            Kind::Transposed(_) => conv_transpose::forward(self.isa, x, &self.packed, bias, relu, y, scratch),
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
            Kind::Transposed(_) => {
                let weight = &trained[self.weight.clone()];
                conv_transpose::backward_data(self.isa, dy, weight, dx, accumulate, scratch);
            }
        }
    }

    pub(super) fn backward_weights(&self, x: &Planes, dy: &Planes, scratch: &mut [f32], gradients: &mut [f32]) {
        let (weight, rest) = gradients.split_at_mut(self.weight.len());
        let bias = self.bias.as_ref().map(|r| &mut rest[..r.len()]);
        match (&self.kind, bias) {
            (Kind::Ordinary(op), bias) => op.backward_weights(x, dy, scratch, weight, bias),
            (Kind::Transposed(_), Some(bias)) => {
                conv_transpose::backward_weights(self.isa, x, dy, weight, bias, scratch);
            }
            (Kind::Transposed(_), None) => unreachable!("refused when compiled"),
        }
    }
}
