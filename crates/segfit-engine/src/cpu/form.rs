//! The form in which a convolution is executed, chosen by shapes alone.

use segfit::network::{NetworkSpec, Op};

use super::conv_transpose::{self, Channels};
use super::conv2d::{Conv2d, ConvShape};
use super::executor::unsupported;
use super::planes::Planes;
use super::simd::Isa;
use super::strided::Strided;
use super::winograd::{Packing, Winograd};
use crate::error::Result;

/// A convolution's form. The choice depends on nothing that is measured when it runs, so that a resumed training repeats it.
pub(super) enum Form {
    /// Keeps the size: a sum of flat shifts. The forward pass and the gradient of the input take Winograd's form where it pays; the
    /// gradient of the weights never does.
    Flat { direct: Box<Conv2d>, forward: Option<Box<Winograd>>, backward: Option<Box<Winograd>> },
    /// Makes smaller planes, or cuts the border: sums of flat shifts of phases.
    Strided(Box<Strided>),
    /// Transposed, 2x2 with stride 2.
    Doubling(Isa, Channels, Sizes),
    /// Transposed otherwise.
    Transposed(Box<Strided>),
}

/// Scratch floats of a doubling convolution's passes.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    forward: usize,
    data: usize,
    weights: usize,
}

impl Form {
    /// The form for a layer with input `x` and output `y`.
    pub(super) fn choose(
        isa: Isa,
        spec: &NetworkSpec,
        layer: usize,
        x: &Planes,
        y: &Planes,
        packing: Packing,
    ) -> Result<Self> {
        let op = &spec.layers[layer].op;
        let geometry =
            op.geometry().ok_or_else(|| unsupported(spec, layer, "is not a convolution in two dimensions"))?;
        let groups = match op {
            Op::Conv2d { groups, .. } => *groups,
            Op::DepthwiseConv2d { .. } => x.channels,
            _ => 1,
        };
        if geometry.transposed {
            let doubles = 2 * x.layout.height == y.layout.height && 2 * x.layout.width == y.layout.width;
            if geometry.kernel == [2, 2] && geometry.stride == [2, 2] && geometry.padding == [0, 0] && doubles {
                let channels = Channels { input: x.channels, output: y.channels };
                let sizes = Sizes {
                    forward: conv_transpose::forward_scratch_len(channels, x.layout),
                    data: conv_transpose::backward_data_scratch_len(channels, x.layout),
                    weights: conv_transpose::backward_weights_scratch_len(channels, x.batch, x.layout),
                };
                return Ok(Self::Doubling(isa, channels, sizes));
            }
            let shape = ConvShape { in_channels: y.channels, out_channels: x.channels, groups, geometry };
            return Ok(Self::Transposed(Box::new(Strided::new(isa, &shape, y.layout, x.layout, x.batch))));
        }
        let shape = ConvShape { in_channels: x.channels, out_channels: y.channels, groups, geometry };
        if !geometry.keeps_size() {
            return Ok(Self::Strided(Box::new(Strided::new(isa, &shape, x.layout, y.layout, x.batch))));
        }
        let fits = geometry.kernel == [3, 3] && geometry.dilation == [1, 1] && groups == 1;
        let winograd = |from: usize, to: usize| {
            let pays = fits && Winograd::pays(isa, from, to, x.layout, x.batch, packing);
            pays.then(|| Box::new(Winograd::new(isa, from, to, x.layout, x.batch)))
        };
        Ok(Self::Flat {
            direct: Box::new(Conv2d::of(isa, &shape, x.layout, x.batch)),
            forward: winograd(x.channels, y.channels),
            backward: winograd(y.channels, x.channels),
        })
    }

    /// Whether the weights are `[in][out][...]`.
    pub(super) fn is_transposed(&self) -> bool {
        matches!(self, Self::Doubling(..) | Self::Transposed(_))
    }

    /// Floats of weights packed for the forward pass.
    pub(super) fn packed_len(&self) -> usize {
        match self {
            Self::Flat { forward: Some(op), .. } => op.packed_len(),
            Self::Flat { direct, .. } => direct.packed_len(),
            Self::Strided(op) | Self::Transposed(op) => op.packed_len(),
            Self::Doubling(_, channels, _) => channels.weights(),
        }
    }

    /// Floats of weights packed for the gradient of the input.
    pub(super) fn packed_backward_len(&self) -> usize {
        match self {
            Self::Flat { backward: Some(op), .. } => op.packed_len(),
            Self::Flat { direct, .. } => direct.packed_transposed_len(),
            Self::Strided(op) | Self::Transposed(op) => op.packed_len(),
            Self::Doubling(..) => 0,
        }
    }

    /// Packs weights for the forward pass.
    pub(super) fn pack(&self, weight: &[f32], packed: &mut [f32]) {
        match self {
            Self::Flat { forward: Some(op), .. } => op.pack(weight, packed),
            Self::Flat { direct, .. } => direct.pack(weight, packed),
            Self::Strided(op) => op.pack_down(weight, packed),
            Self::Transposed(op) => op.pack_up(weight, packed),
            Self::Doubling(_, channels, _) => conv_transpose::pack(*channels, weight, packed),
        }
    }

    /// Packs weights for the gradient of the input.
    pub(super) fn pack_backward(&self, weight: &[f32], packed: &mut [f32]) {
        match self {
            Self::Flat { backward: Some(op), .. } => op.pack_transposed(weight, packed),
            Self::Flat { direct, .. } => direct.pack_transposed(weight, packed),
            Self::Strided(op) => op.pack_up(weight, packed),
            Self::Transposed(op) => op.pack_down(weight, packed),
            Self::Doubling(..) => {}
        }
    }

    /// Floats of scratch memory of the forward pass.
    pub(super) fn forward_scratch_len(&self) -> usize {
        match self {
            Self::Flat { forward, .. } => forward.as_ref().map_or(0, |op| op.scratch_len()),
            Self::Strided(op) => op.down_scratch_len(),
            Self::Transposed(op) => op.up_scratch_len(),
            Self::Doubling(_, _, sizes) => sizes.forward,
        }
    }

    /// Floats of scratch memory of the gradient of the input.
    pub(super) fn backward_data_scratch_len(&self) -> usize {
        match self {
            Self::Flat { backward, .. } => backward.as_ref().map_or(0, |op| op.scratch_len()),
            Self::Strided(op) => op.up_scratch_len(),
            Self::Transposed(op) => op.down_scratch_len(),
            Self::Doubling(_, _, sizes) => sizes.data,
        }
    }

    /// Floats of scratch memory of the gradient of the weights.
    pub(super) fn backward_weights_scratch_len(&self) -> usize {
        match self {
            Self::Flat { direct, .. } => direct.gradient_scratch_len(),
            Self::Strided(op) | Self::Transposed(op) => op.gradient_scratch_len(),
            Self::Doubling(_, _, sizes) => sizes.weights,
        }
    }

    /// Writes `y`; says whether it filled `pooled`, its pooling, too.
    pub(super) fn forward(
        &self,
        packed: &[f32],
        bias: &[f32],
        relu: bool,
        x: &Planes,
        y: &Planes,
        pooled: Option<&Planes>,
        scratch: &mut [f32],
    ) -> bool {
        let all = Some(bias);
        match self {
            Self::Flat { forward: Some(op), .. } => op.forward(packed, all, relu, false, x, y, scratch),
            Self::Flat { direct, .. } => match pooled {
                Some(pooled) => {
                    direct.forward_and_pool(packed, all, relu, x, y, pooled);
                    return true;
                }
                None => direct.forward(packed, all, relu, x, y),
            },
            Self::Strided(op) => op.down(packed, all, relu, false, x, y, scratch),
            Self::Transposed(op) => op.up(packed, all, relu, false, x, y, scratch),
            Self::Doubling(isa, ..) => conv_transpose::forward(*isa, x, packed, bias, relu, y, scratch),
        }
        false
    }

    /// Writes `dx` or adds to it; `weight` as the layer has it, `packed` as [`Form::pack_backward`] makes it.
    pub(super) fn backward_data(
        &self,
        weight: &[f32],
        packed: &[f32],
        dy: &Planes,
        dx: &Planes,
        accumulate: bool,
        scratch: &mut [f32],
    ) {
        match self {
            Self::Flat { backward: Some(op), .. } => op.forward(packed, None, false, accumulate, dy, dx, scratch),
            Self::Flat { direct, .. } => direct.backward_data(packed, dy, dx, accumulate),
            Self::Strided(op) => op.up(packed, None, false, accumulate, dy, dx, scratch),
            Self::Transposed(op) => op.down(packed, None, false, accumulate, dy, dx, scratch),
            Self::Doubling(isa, ..) => conv_transpose::backward_data(*isa, dy, weight, dx, accumulate, scratch),
        }
    }

    /// Writes the gradients of weight and bias.
    pub(super) fn backward_weights(
        &self,
        x: &Planes,
        dy: &Planes,
        scratch: &mut [f32],
        weight: &mut [f32],
        bias: Option<&mut [f32]>,
    ) {
        match self {
            Self::Flat { direct, .. } => direct.backward_weights(x, dy, scratch, weight, bias),
            Self::Strided(op) => op.backward_weights(x, dy, scratch, weight, bias, None),
            Self::Transposed(op) => op.backward_weights(dy, x, scratch, weight, None, bias),
            Self::Doubling(isa, ..) => conv_transpose::backward_weights(*isa, x, dy, weight, bias, scratch),
        }
    }
}
