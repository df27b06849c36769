//! Host-side values of a network: parameters, running statistics, their moving averages and the optimiser's moments.

use std::collections::HashMap;
use std::ops::Range;

use segfit::network::{NetworkSpec, Parameter, ParameterKind};
use segfit::{Error, Result};

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
        Ok(Self::of(spec.parameters()?))
    }

    /// The same for the parameters of some layers only.
    pub(crate) fn of_layers(&self, layers: &[usize]) -> Self {
        Self::of(self.parameters.iter().filter(|p| layers.contains(&p.layer)).cloned().collect())
    }

    fn of(parameters: Vec<Parameter>) -> Self {
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
        Self { parameters, ranges, trained_len, running_len }
    }

    /// Range of a layer's parameter of one kind.
    #[must_use]
    pub fn range(&self, layer: usize, kind: ParameterKind) -> Option<Range<usize>> {
        let index = self.parameters.iter().position(|p| p.layer == layer && p.kind == kind)?;
        Some(self.ranges[index].clone())
    }

    /// The ranges of `trained` that weight decay applies to: convolution weights, no biases, scales, shifts
    /// or slopes.
    #[must_use]
    pub fn decayed(&self) -> Vec<Range<usize>> {
        let all = self.parameters.iter().zip(&self.ranges);
        all.filter(|(p, _)| p.kind == ParameterKind::Weight).map(|(_, r)| r.clone()).collect()
    }
}

/// Checks how many values there are.
pub(crate) fn check_len(what: &str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Option { what: what.into(), expected: format!("{expected} values"), got: got.to_string() })
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

impl Weights {
    /// The weights of the network `to`, taken by name from these, which are those of `from`: what is deployed of a network
    /// that was trained with auxiliary heads.
    ///
    /// # Errors
    /// [`Error::Network`] with the first parameter of `to` that `from` lacks or has in another shape; [`Error::Option`] when the
    /// weights do not belong to `from`.
    pub fn select(&self, from: &NetworkSpec, to: &NetworkSpec) -> Result<Self> {
        self.between(&ParameterLayout::new(from)?, &ParameterLayout::new(to)?)
    }

    /// As [`Self::select`], from one layout to another.
    pub(crate) fn between(&self, from: &ParameterLayout, to: &ParameterLayout) -> Result<Self> {
        let (got, expected) = ((self.trained.len(), self.running.len()), (from.trained_len, from.running_len));
        if got != expected {
            return Err(Error::Option {
                what: "weights".into(),
                expected: format!("{} trained values and {} running statistics", expected.0, expected.1),
                got: format!("{} and {}", got.0, got.1),
            });
        }
        let all = from.parameters.iter().zip(&from.ranges);
        let named: HashMap<&str, _> = all.map(|(p, range)| (p.name.as_str(), (p, range.clone()))).collect();
        let mut selected = Self { trained: Vec::with_capacity(to.trained_len), running: Vec::new() };
        for wanted in &to.parameters {
            let found =
                named.get(wanted.name.as_str()).filter(|(p, _)| p.shape == wanted.shape && p.kind == wanted.kind);
            let (parameter, range) = found.ok_or_else(|| {
                let reason = format!("no weights of shape {:?} are called {}", wanted.shape, wanted.name);
                Error::Network { layer: wanted.name.clone(), reason }
            })?;
            let (values, into) = match parameter.kind.is_trained() {
                true => (&self.trained, &mut selected.trained),
                false => (&self.running, &mut selected.running),
            };
            into.extend_from_slice(&values[range.clone()]);
        }
        Ok(selected)
    }
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

    /// Checks that all lengths are those of a network's layout.
    pub(crate) fn check(&self, layout: &ParameterLayout) -> Result<()> {
        let (n, running) = (layout.trained_len, layout.running_len);
        check_len("parameters", self.trained.len(), n)?;
        check_len("running statistics", self.running.len(), running)?;
        check_len("averaged parameters", self.average_trained.len(), n)?;
        check_len("averaged running statistics", self.average_running.len(), running)?;
        check_len("first moments", self.moment1.len(), n)?;
        check_len("second moments", self.moment2.len(), n)
    }

    /// The averaged weights: what is evaluated and stored as the result.
    #[must_use]
    pub fn averaged(&self) -> Weights {
        Weights { trained: self.average_trained.clone(), running: self.average_running.clone() }
    }
}
