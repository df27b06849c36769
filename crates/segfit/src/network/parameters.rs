//! The parameters of a network, in one fixed order: what is counted is what is stored, trained and exported.

use super::spec::{NetworkSpec, Op};
use crate::error::Result;

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Convolution weight: `[out][in / groups][k][k]`, or `[in][out][k][k]` when transposed.
    Weight,
    /// Bias of a convolution, one per output channel.
    Bias,
    /// Scale of a normalisation (PyTorch's `weight`).
    Scale,
    /// Shift of a normalisation (PyTorch's `bias`).
    Shift,
    /// Slope of a PReLU below zero (PyTorch's `weight`).
    Slope,
    /// Running mean: stored, not trained, not counted.
    RunningMean,
    /// Running variance: stored, not trained, not counted.
    RunningVariance,
}

impl ParameterKind {
    /// Whether the optimiser changes it (and whether it counts as a parameter).
    #[must_use]
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance)
    }
}

/// One parameter tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Index of its layer.
    pub layer: usize,
    /// Name as PyTorch would write it, for example `enc0.conv1.weight`.
    pub name: String,
    /// What it is.
    pub kind: ParameterKind,
    /// Dimensions.
    pub shape: Vec<usize>,
}

impl Parameter {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values that feed one output value: the fan-in that initialisation scales by. `op` is its layer's.
    ///
    /// In a transposed convolution each output pixel meets one kernel position in `stride` along each axis, on average.
    #[must_use]
    pub fn fan_in(&self, op: &Op) -> usize {
        match (self.kind, op.geometry()) {
            (ParameterKind::Weight, Some(g)) if g.transposed => {
                (self.shape[0] * g.area() / (g.stride[0] * g.stride[1])).max(1)
            }
            (ParameterKind::Weight, _) => self.shape[1..].iter().product(),
            _ => 1,
        }
    }
}

impl NetworkSpec {
    /// All parameters in layer order.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn parameters(&self) -> Result<Vec<Parameter>> {
        let shapes = self.smallest_shapes()?;
        let mut list = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let out = shapes.tensors[i].channels;
            let input = shapes.inputs[i].first().map_or(0, |&j| shapes.tensors[j].channels);
            let mut push = |suffix: &str, kind, shape| {
                list.push(Parameter { layer: i, name: format!("{}.{suffix}", layer.name), kind, shape });
            };
            match &layer.op {
                Op::Conv2d { kernel, groups, bias, .. } => {
                    push("weight", ParameterKind::Weight, vec![out, input / groups, kernel[0], kernel[1]]);
                    if *bias {
                        push("bias", ParameterKind::Bias, vec![out]);
                    }
                }
                Op::DepthwiseConv2d { kernel, bias, .. } => {
                    push("weight", ParameterKind::Weight, vec![out, 1, kernel[0], kernel[1]]);
                    if *bias {
                        push("bias", ParameterKind::Bias, vec![out]);
                    }
                }
                Op::ConvTranspose2d { kernel, bias, .. } => {
                    push("weight", ParameterKind::Weight, vec![input, out, kernel[0], kernel[1]]);
                    if *bias {
                        push("bias", ParameterKind::Bias, vec![out]);
                    }
                }
                Op::BatchNorm { .. } => {
                    push("weight", ParameterKind::Scale, vec![out]);
                    push("bias", ParameterKind::Shift, vec![out]);
                    push("running_mean", ParameterKind::RunningMean, vec![out]);
                    push("running_var", ParameterKind::RunningVariance, vec![out]);
                }
                Op::InstanceNorm { affine: true, .. } | Op::GroupNorm { .. } => {
                    push("weight", ParameterKind::Scale, vec![out]);
                    push("bias", ParameterKind::Shift, vec![out]);
                }
                Op::Prelu { shared } => push("weight", ParameterKind::Slope, vec![if *shared { 1 } else { out }]),
                _ => {}
            }
        }
        Ok(list)
    }
}
