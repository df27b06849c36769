//! A convolution layer of an executor, of any form: its parameters' places and its packed weights.
//!
//! At inference the weights, with the norm folded in, are packed once. In training they change with every step, and each
//! pass packs them for itself into scratch memory, so that no copies of all weights are held.

use std::ops::Range;

use segfit::network::{NetworkSpec, ParameterKind};

use super::batch_norm;
use super::executor::range;
use super::form::Form;
use super::normalisation::Normalisation;
use super::planes::Planes;
use super::simd::Isa;
use super::winograd::Packing;
use crate::error::Result;
use crate::state::{ParameterLayout, Weights};

pub(super) struct Convolution {
    form: Form,
    train: bool,
    /// Kernel positions.
    area: usize,
    scratch_len: usize,
    weight: Range<usize>,
    bias: Option<Range<usize>>,
    /// Packed weights of inference.
    packed: Vec<f32>,
    /// Bias of inference; zeros where training has none.
    folded_bias: Vec<f32>,
    /// Folded in at inference.
    norm: Option<Normalisation>,
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
        let form = Form::choose(isa, spec, layer, x, y, if train { Packing::EveryPass } else { Packing::Once })?;
        let scratch_len = if train {
            let forward = form.packed_len() + form.forward_scratch_len();
            let data = form.packed_backward_len() + form.backward_data_scratch_len();
            forward.max(data).max(form.backward_weights_scratch_len())
        } else {
            form.forward_scratch_len()
        };
        Ok(Self {
            train,
            area: spec.layers[layer].op.geometry().map_or(1, |g| g.area()),
            scratch_len,
            weight: range(spec, layout, layer, ParameterKind::Weight)?,
            bias: layout.range(layer, ParameterKind::Bias),
            packed: vec![0.0; if train { 0 } else { form.packed_len() }],
            folded_bias: vec![0.0; y.channels],
            norm: None,
            form,
        })
    }

    /// Folds the norm behind it in, at inference.
    pub(super) fn fold_norm(&mut self, norm: Option<Normalisation>) {
        self.norm = norm;
    }

    /// Floats that it holds.
    pub(super) fn floats(&self) -> usize {
        self.packed.len() + self.folded_bias.len()
    }

    /// Floats of scratch memory that its passes need.
    pub(super) fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// Its parameters among the trained ones: the bias stands right behind the weight.
    pub(super) fn trained_range(&self) -> Range<usize> {
        debug_assert!(self.bias.as_ref().is_none_or(|r| r.start == self.weight.end));
        self.weight.start..self.bias.as_ref().unwrap_or(&self.weight).end
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
            let bias = &mut self.folded_bias;
            if self.form.is_transposed() {
                batch_norm::fold_into_conv_transpose(&mut weight, bias, self.area, &scale, &shift);
            } else {
                batch_norm::fold_into_conv(&mut weight, bias, &scale, &shift);
            }
        }
        self.form.pack(&weight, &mut self.packed);
    }

    /// Computes `y` and, where given, its pooling, if it says so. `trained` holds the parameters in training.
    pub(super) fn forward(
        &self,
        relu: bool,
        trained: &[f32],
        x: &Planes,
        y: &Planes,
        pooled: Option<&Planes>,
        scratch: &mut [f32],
    ) -> bool {
        if !self.train {
            return self.form.forward(&self.packed, &self.folded_bias, relu, x, y, pooled, scratch);
        }
        let (packed, scratch) = scratch.split_at_mut(self.form.packed_len());
        self.form.pack(&trained[self.weight.clone()], packed);
        let bias = self.bias.clone().map_or(&self.folded_bias[..], |range| &trained[range]);
        self.form.forward(packed, bias, relu, x, y, pooled, scratch)
    }

    pub(super) fn backward_data(
        &self,
        trained: &[f32],
        dy: &Planes,
        dx: &Planes,
        accumulate: bool,
        scratch: &mut [f32],
    ) {
        let (packed, scratch) = scratch.split_at_mut(self.form.packed_backward_len());
        let weight = &trained[self.weight.clone()];
        self.form.pack_backward(weight, packed);
        self.form.backward_data(weight, packed, dy, dx, accumulate, scratch);
    }

    /// Writes the gradients of the weight and, behind it, of the bias.
    pub(super) fn backward_weights(&self, x: &Planes, dy: &Planes, scratch: &mut [f32], gradients: &mut [f32]) {
        let (weight, rest) = gradients.split_at_mut(self.weight.len());
        let bias = self.bias.as_ref().map(|r| &mut rest[..r.len()]);
        self.form.backward_weights(x, dy, scratch, weight, bias);
    }
}
