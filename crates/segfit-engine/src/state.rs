//! Host-side values of a network: parameters, running statistics, their moving averages and the optimiser's moments.

use std::ops::Range;

use segfit::Result;
use segfit::network::{NetworkSpec, Parameter, ParameterKind};

/// Where each parameter lies in the flat vectors of a [`State`].
#[derive(Clone, Debug)]
pub struct ParameterLayout {
    /// All parameters in network order.
    pub parameters: Vec<Parameter>,
    /// Range of each one in `trained` or, for running statistics, in `running`.
    pub ranges: Vec<Range<usize>>,
    /// Length of `trained`.
    pub trained_len: usize,
    /// Length of `running`.
    pub running_len: usize,
}

impl ParameterLayout {
    /// The layout of a network's parameters.
    ///
    /// # Errors
    /// When the network does not fit together.
    pub fn new(spec: &NetworkSpec) -> Result<Self> {
        let parameters = spec.parameters()?;
        let (mut trained_len, mut running_len) = (0, 0);
        let ranges = parameters
            .iter()
            .map(|p| {
                let end = if p.kind.is_trained() { &mut trained_len } else { &mut running_len };
                let start = *end;
                *end += p.len();
                start..*end
            })
            .collect();
        Ok(Self { parameters, ranges, trained_len, running_len })
    }

    /// Range of a layer's parameter of one kind.
    #[must_use]
    pub fn range(&self, layer: usize, kind: ParameterKind) -> Option<Range<usize>> {
        let index = self.parameters.iter().position(|p| p.layer == layer && p.kind == kind)?;
        Some(self.ranges[index].clone())
    }

    /// The ranges of `trained` that weight decay applies to: convolution weights, no biases, scales or shifts.
    #[must_use]
    pub fn decayed(&self) -> Vec<Range<usize>> {
        let all = self.parameters.iter().zip(&self.ranges);
        all.filter(|(p, _)| p.kind == ParameterKind::Weight).map(|(_, r)| r.clone()).collect()
    }
}

/// Everything that a resumed training needs, as dense host vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Trained parameters.
    pub trained: Vec<f32>,
    /// Running means and variances.
    pub running: Vec<f32>,
    /// Moving average of `trained`.
    pub average_trained: Vec<f32>,
    /// Moving average of `running`.
    pub average_running: Vec<f32>,
    /// First moments of AdamW.
    pub moment1: Vec<f32>,
    /// Second moments of AdamW.
    pub moment2: Vec<f32>,
    /// Optimiser steps taken.
    pub step: usize,
}

/// What inference needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Trained parameters.
    pub trained: Vec<f32>,
    /// Running means and variances.
    pub running: Vec<f32>,
}

impl State {
    /// A state with these parameters, nothing trained yet.
    #[must_use]
    pub fn fresh(weights: Weights) -> Self {
        let Weights { trained, running } = weights;
        let n = trained.len();
        Self {
            average_trained: trained.clone(),
            average_running: running.clone(),
            trained,
            running,
            moment1: vec![0.0; n],
            moment2: vec![0.0; n],
            step: 0,
        }
    }

    /// The averaged weights: what is evaluated and stored as the result.
    #[must_use]
    pub fn averaged(&self) -> Weights {
        Weights { trained: self.average_trained.clone(), running: self.average_running.clone() }
    }
}
