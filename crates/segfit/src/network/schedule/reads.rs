//! What the backward pass of a layer reads of its forward pass.

use super::super::spec::Op;

/// The tensors of the forward pass that a layer's backward pass reads, besides the gradient of its output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackwardReads {
    /// Its inputs.
    pub inputs: bool,
    /// Its output.
    pub output: bool,
}

impl Op {
    /// What the backward pass of [`super::Step::Apply`] reads; nothing for layers that have steps of their own.
    #[must_use]
    pub fn backward_reads(&self) -> BackwardReads {
        let (none, inputs) = (BackwardReads::default(), BackwardReads { inputs: true, output: false });
        let output = BackwardReads { inputs: false, output: true };
        match self {
            Self::Relu | Self::Elu | Self::Sigmoid | Self::Tanh => output,
            Self::LeakyRelu { slope } if *slope >= 0.0 => output,
            Self::LeakyRelu { .. }
            | Self::Silu
            | Self::HardSigmoid
            | Self::HardSwish
            | Self::Clamp { .. }
            | Self::Prelu { .. }
            | Self::InstanceNorm { .. }
            | Self::GroupNorm { .. }
            | Self::MaxPool { .. }
            | Self::Mul => inputs,
            Self::AveragePool { .. }
            | Self::GlobalAveragePool
            | Self::Upsample { .. }
            | Self::Pad { .. }
            | Self::Dropout { .. }
            | Self::Add
            | Self::Concat
            | Self::Input { .. }
            | Self::Conv2d { .. }
            | Self::DepthwiseConv2d { .. }
            | Self::ConvTranspose2d { .. }
            | Self::BatchNorm { .. } => none,
        }
    }

    /// Whether [`super::Step::Apply`] trains parameters of it.
    pub(super) fn has_plain_parameters(&self) -> bool {
        matches!(self, Self::InstanceNorm { affine: true, .. } | Self::GroupNorm { .. } | Self::Prelu { .. })
    }
}
