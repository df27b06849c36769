//! Weights as elements: folded, quantised, in the order of the slots.

use super::slots::Slot;
use crate::backend::Precision;
use crate::cpu::kernels::numbers::to_pair;

/// A layer's weights and the constants that turn its sums into values.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedWeights {
    /// `[output slot][element of the input][tap]`.
    pub elements: Vec<u32>,
    /// Factor of every output slot; 1 for bf16.
    pub scale: Vec<f32>,
    /// Constant of every output slot.
    pub bias: Vec<f32>,
}

/// Packs the weights `weight(output, input, tap)` of a layer with `bias` for slots of its input and output.
///
/// Int8: the row of an output slot, input scales folded in, is rounded to multiples of a 127th of its largest magnitude.
pub fn pack(
    precision: Precision,
    inputs: &[Option<Slot>],
    outputs: &[Option<Slot>],
    taps: usize,
    weight: &dyn Fn(usize, usize, usize) -> f32,
    bias: &[f32],
) -> PackedWeights {
    let per_element = if precision == Precision::Int8 { 4 } else { 2 };
    let groups = inputs.len() / per_element;
    let mut packed = PackedWeights { elements: Vec::new(), scale: Vec::new(), bias: Vec::new() };
    let mut row = vec![0.0_f32; inputs.len() * taps];
    for output in outputs {
        let Some(output) = output else {
            packed.elements.resize(packed.elements.len() + groups * taps, 0);
            packed.scale.push(0.0);
            packed.bias.push(0.0);
            continue;
        };
        for (s, input) in inputs.iter().enumerate() {
            for t in 0..taps {
                row[s * taps + t] =
                    input.map_or(0.0, |i| weight(output.channel, i.channel, t) * output.sign() * i.sign() * i.scale);
            }
        }
        let unit =
            if precision == Precision::Int8 { row.iter().fold(0.0_f32, |m, w| m.max(w.abs())) / 127.0 } else { 1.0 };
        let at = |group: usize, slot: usize, tap: usize| row[(group * per_element + slot) * taps + tap];
        for (group, tap) in (0..groups).flat_map(|g| (0..taps).map(move |t| (g, t))) {
            packed.elements.push(if precision == Precision::Int8 {
                u32::from_le_bytes([0, 1, 2, 3].map(|slot| to_i8(at(group, slot, tap), unit).cast_unsigned()))
            } else {
                to_pair(at(group, 0, tap), at(group, 1, tap))
            });
        }
        packed.scale.push(unit / output.scale);
        packed.bias.push(bias[output.channel] * output.sign() / output.scale);
    }
    packed
}

/// The nearest multiple of `unit`, at most 127 of them.
fn to_i8(weight: f32, unit: f32) -> i8 {
    if unit < f32::MIN_POSITIVE { 0 } else { (weight / unit).round_ties_even().clamp(-127.0, 127.0) as i8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(channel: usize, negative: bool, scale: f32) -> Option<Slot> {
        Some(Slot { channel, negative, scale })
    }

    #[test]
    fn scales_and_signs_by_hand() {
        // A positive and a negative part of channel 0 in units of 0.5, channel 1 in units of 2; weights 1 and -0.5.
        let inputs = [slot(0, false, 0.5), slot(0, true, 0.5), slot(1, false, 2.0), None];
        let outputs = [slot(0, false, 4.0), slot(0, true, 4.0), None, None];
        let weight = |_: usize, input: usize, _: usize| if input == 0 { 1.0 } else { -0.5 };
        let packed = pack(Precision::Int8, &inputs, &outputs, 1, &weight, &[2.0]);
        // The row is 0.5, -0.5, -1: units of 1/127; 63.5 rounds to the even 64.
        let bytes = |e: u32| e.to_le_bytes().map(u8::cast_signed);
        assert_eq!(bytes(packed.elements[0]), [64, -64, -127, 0]);
        assert_eq!(bytes(packed.elements[1]), [-64, 64, 127, 0]);
        assert_eq!(packed.elements[2..], [0, 0]);
        assert_eq!(packed.bias, [0.5, -0.5, 0.0, 0.0]);
        assert!((packed.scale[0] - 1.0 / 127.0 / 4.0).abs() < 1e-9);
    }

    #[test]
    fn bf16_weights_are_pairs_of_inputs() {
        let (inputs, outputs) =
            ([slot(0, false, 1.0), slot(1, false, 1.0), slot(2, false, 1.0), None], [slot(0, false, 1.0)]);
        let packed = pack(Precision::Bf16, &inputs, &outputs, 1, &|_, i, _| i as f32 + 1.0, &[3.0]);
        assert_eq!(packed.elements, [to_pair(1.0, 2.0), to_pair(3.0, 0.0)]);
        assert_eq!((packed.scale[0], packed.bias[0]), (1.0, 3.0));
    }
}
