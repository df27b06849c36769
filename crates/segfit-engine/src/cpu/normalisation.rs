//! A batch norm layer of an executor: where its parameters lie and what the backward pass needs.

use std::ops::Range;

use segfit::network::{NetworkSpec, ParameterKind};

use super::batch_norm::{self, Partials};
use super::executor::{norm_options, range};
use super::planes::Planes;
use super::simd::Isa;
use crate::error::Result;
use crate::state::{ParameterLayout, State, Weights};

pub(super) struct Normalisation {
    eps: f32,
    momentum: f32,
    gamma: Range<usize>,
    beta: Range<usize>,
    mean: Range<usize>,
    variance: Range<usize>,
    saved_mean: Vec<f32>,
    saved_inv_std: Vec<f32>,
    partials: Partials,
    /// For inference: y = scale * x + shift.
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

impl Normalisation {
    /// In training `x` is its input.
    pub(super) fn new(spec: &NetworkSpec, layer: usize, layout: &ParameterLayout, x: Option<&Planes>) -> Result<Self> {
        let (eps, momentum) = norm_options(spec, layer)?;
        let gamma = range(spec, layout, layer, ParameterKind::Scale)?;
        let n = gamma.len();
        Ok(Self {
            eps,
            momentum,
            gamma,
            beta: range(spec, layout, layer, ParameterKind::Shift)?,
            mean: range(spec, layout, layer, ParameterKind::RunningMean)?,
            variance: range(spec, layout, layer, ParameterKind::RunningVariance)?,
            saved_mean: vec![0.0; n],
            saved_inv_std: vec![0.0; n],
            partials: x.map(Partials::of).unwrap_or_default(),
            scale: vec![1.0; n],
            shift: vec![0.0; n],
        })
    }

    /// Its parameters among the trained ones: the shift stands right behind the scale.
    pub(super) fn trained_range(&self) -> Range<usize> {
        debug_assert!(self.gamma.end == self.beta.start);
        self.gamma.start..self.beta.end
    }

    /// Scale and shift of the running statistics.
    pub(super) fn folded(&self, weights: &Weights) -> (Vec<f32>, Vec<f32>) {
        let (trained, running) = (&weights.trained, &weights.running);
        batch_norm::fold(
            &trained[self.gamma.clone()],
            &trained[self.beta.clone()],
            &running[self.mean.clone()],
            &running[self.variance.clone()],
            self.eps,
        )
    }

    pub(super) fn load_folded(&mut self, weights: &Weights) {
        (self.scale, self.shift) = self.folded(weights);
    }

    /// Normalises `x` into `y` and, where given, pools `y`.
    pub(super) fn forward_train(
        &mut self,
        isa: Isa,
        relu: bool,
        state: &mut State,
        x: &Planes,
        y: &Planes,
        pooled: Option<&Planes>,
    ) {
        // Mean and variance stand side by side in the running vector, in this order.
        let (before, from_variance) = state.running.split_at_mut(self.variance.start);
        batch_norm::forward_train(
            isa,
            x,
            y,
            pooled,
            &state.trained[self.gamma.clone()],
            &state.trained[self.beta.clone()],
            relu,
            self.eps,
            self.momentum,
            &mut before[self.mean.clone()],
            &mut from_variance[..self.variance.len()],
            &mut self.saved_mean,
            &mut self.saved_inv_std,
            &mut self.partials,
        );
    }

    pub(super) fn backward(
        &mut self,
        isa: Isa,
        relu: bool,
        state: &State,
        x: &Planes,
        dy: &Planes,
        gradients: &mut [f32],
    ) {
        let (scale, shift) = gradients.split_at_mut(self.gamma.len());
        batch_norm::backward(
            isa,
            x,
            dy,
            dy,
            &state.trained[self.gamma.clone()],
            &state.trained[self.beta.clone()],
            &self.saved_mean,
            &self.saved_inv_std,
            relu,
            scale,
            &mut shift[..self.beta.len()],
            &mut self.partials,
        );
    }
}
