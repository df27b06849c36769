//! What a network costs, exactly: parameters, multiply-accumulates, bytes. What is counted is the network that is deployed,
//! without the heads that only training uses ([`NetworkSpec::without_auxiliary`]).

pub mod latency;
mod layer_cost;

pub use layer_cost::{LayerCost, layer_costs};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::network::schedule::{Mode, Schedule};
use crate::network::{NetworkSpec, Op, Parameter, Shapes};

/// The cost of one network as it is deployed (without auxiliary heads) for one image of `size` x `size` pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Trained values.
    pub params: u64,
    /// Multiply-accumulates of all convolutions for one image (not FLOPs, which are twice as many).
    pub macs: u64,
    /// Bytes of all activations at inference with batch 1, as the CPU engine allocates them.
    pub peak_activation_bytes: u64,
    /// Bytes of the weights and normalisation statistics as 32-bit floats.
    pub weight_bytes: u64,
}

impl Cost {
    /// The cost of `spec` for one image; `size` is rounded up to what the network accepts.
    ///
    /// # Errors
    /// When the network does not fit together.
    pub fn of(spec: &NetworkSpec, size: usize) -> Result<Self> {
        let spec = &spec.without_auxiliary();
        let size = size.max(1).next_multiple_of(spec.input_multiple());
        let schedule = Schedule::new(spec, Mode::Infer, 1, size, size)?;
        let all = spec.parameters()?;
        Ok(Self {
            params: trained_values(&all),
            macs: macs(spec, size)?,
            peak_activation_bytes: schedule.activation_bytes(),
            weight_bytes: all.iter().map(|p| p.len() as u64 * 4).sum(),
        })
    }

    /// Bytes that inference needs: activations and weights.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.peak_activation_bytes + self.weight_bytes
    }
}

/// Number of trained values of the deployed network (running statistics and auxiliary heads are not counted).
///
/// # Errors
/// When the network does not fit together.
pub fn parameters(spec: &NetworkSpec) -> Result<u64> {
    Ok(trained_values(&spec.without_auxiliary().parameters()?))
}

fn trained_values(all: &[Parameter]) -> u64 {
    all.iter().filter(|p| p.kind.is_trained()).map(|p| p.len() as u64).sum()
}

/// Multiply-accumulates of the deployed network's convolutions for one image of `size` x `size` pixels: for each output value of a
/// convolution, input channels of its group x kernel area; for each input value of a transposed convolution, output channels x
/// kernel area. Biases, norms, activations and pooling are not counted, as is usual.
///
/// # Errors
/// When the network does not fit together.
pub fn macs(spec: &NetworkSpec, size: usize) -> Result<u64> {
    Ok(layer_macs(&spec.without_auxiliary(), size)?.into_iter().fold(0, u64::saturating_add))
}

/// [`macs`] of each layer of `spec`, auxiliary heads included.
///
/// # Errors
/// When the network does not fit together.
pub fn layer_macs(spec: &NetworkSpec, size: usize) -> Result<Vec<u64>> {
    let shapes = Shapes::infer(spec, size, size)?;
    let of_layer = |i: usize| -> u64 {
        let out = &shapes.tensors[i];
        let input = shapes.inputs[i].first().map(|&j| &shapes.tensors[j]);
        let (Some(geometry), Some(input)) = (spec.layers[i].op.geometry(), input) else { return 0 };
        let inputs_of_each = match spec.layers[i].op {
            Op::Conv2d { groups, .. } => input.channels / groups,
            Op::DepthwiseConv2d { .. } => 1,
            _ => input.channels,
        };
        let pixels = if geometry.transposed { input.pixels() } else { out.pixels() };
        let factors = [pixels, out.channels, inputs_of_each, geometry.area()];
        factors.iter().fold(1, |n: u64, &factor| n.saturating_mul(factor as u64))
    };
    Ok((0..spec.layers.len()).map(of_layer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::families::{Options, unet};

    #[test]
    fn the_smallest_unet_is_counted_by_hand() {
        // Depth 1, width 1, one channel in, two classes, 2x2 pixels.
        // Parameters: enc0 (9+1+2)+(9+1+2), enc1 (1*2*9+2+4)+(2*2*9+2+4), up0 2*1*4+1+2, dec0 (2*9+1+2)+(9+1+2), head 2+2.
        let net = unet(&Options { in_channels: 1, base_width: 1, depth: 1, ..Options::default() }).unwrap();
        assert_eq!(parameters(&net).unwrap(), 24 + 24 + 42 + 11 + 33 + 4);
        // MACs: enc0 4*9 + 4*9, enc1 (1 pixel) 18 + 36, up0 1*2*1*4, dec0 4*18 + 4*9, head 4*2.
        assert_eq!(macs(&net, 2).unwrap(), 36 + 36 + 18 + 36 + 8 + 72 + 36 + 8);
    }

    #[test]
    fn heads_that_only_training_uses_cost_nothing() {
        let plain = Options { base_width: 4, depth: 2, ..Options::default() };
        let supervised = unet(&Options { deep_supervision: true, ..plain }).unwrap();
        assert_eq!(supervised.auxiliary.len(), 1);
        assert_eq!(Cost::of(&supervised, 16).unwrap(), Cost::of(&unet(&plain).unwrap(), 16).unwrap());
        assert!(layer_macs(&supervised, 16).unwrap().iter().sum::<u64>() > macs(&supervised, 16).unwrap());
    }

    #[test]
    fn no_cost_rises_when_a_width_falls() {
        let full = unet(&Options { base_width: 8, depth: 3, ..Options::default() }).unwrap();
        let reference = Cost::of(&full, 64).unwrap();
        for (name, channels) in full.widths() {
            let narrowed = full.with_widths(&[(name, channels / 2)].into()).unwrap();
            let cost = Cost::of(&narrowed, 64).unwrap();
            assert!(cost.params < reference.params && cost.macs < reference.macs);
            assert!(cost.peak_activation_bytes <= reference.peak_activation_bytes);
        }
    }
}
