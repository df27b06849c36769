//! How large the numbers of a network may be. No sensible network comes near; below them no size, count or cost overflows.

use super::shape::TensorShape;
use super::spec::{NetworkSpec, Op};
use crate::error::{Error, Result};

const MOST_LAYERS: usize = 10_000;
/// Channels of a group or tensor.
pub(super) const MOST_CHANNELS: usize = 1 << 20;
/// Kernels, strides, paddings, factors, and the pixels that a kernel with its dilation spans.
const MOST_PIXELS: usize = 4096;
/// What the image's sides may have to be a multiple of.
const MOST_REDUCTION: usize = 1 << 16;
/// Rows or columns of a tensor.
const MOST_SIDE: usize = 1 << 24;
/// Values of a tensor.
const MOST_VALUES: usize = 1 << 38;
/// Weights of a layer.
const MOST_WEIGHTS: usize = 1 << 36;

/// Fails for the first number that is too large.
pub(super) fn check(spec: &NetworkSpec) -> Result<()> {
    let fail = |name: &str, reason: String| Err(Error::Network { layer: name.into(), reason });
    if spec.layers.len() > MOST_LAYERS {
        return fail(
            &spec.output,
            format!("the network has {} layers, at most {MOST_LAYERS} are read", spec.layers.len()),
        );
    }
    for group in &spec.groups {
        let numbers = group.sum.iter().map(|s| s.multiple).chain([group.channels, group.divisible_by]);
        if let Some(n) = numbers.max().filter(|&n| n > MOST_CHANNELS) {
            return fail(&group.name, format!("{n} channels, at most {MOST_CHANNELS} are read"));
        }
    }
    for layer in &spec.layers {
        if let Some(n) = numbers(&layer.op).into_iter().max().filter(|&n| n > MOST_PIXELS) {
            return fail(
                &layer.name,
                format!("a kernel, stride, padding or factor of {n}, at most {MOST_PIXELS} is read"),
            );
        }
        let span =
            layer.op.geometry().map_or(0, |g| (0..2).map(|i| g.dilation[i] * (g.kernel[i] - 1)).max().unwrap_or(0));
        if span > MOST_PIXELS {
            return fail(&layer.name, format!("a kernel that spans {span} pixels, at most {MOST_PIXELS} are read"));
        }
    }
    let multiple = spec.input_multiple();
    if multiple > MOST_REDUCTION {
        return fail(
            &spec.output,
            format!("the image is reduced {multiple} times, at most {MOST_REDUCTION} times is read"),
        );
    }
    Ok(())
}

/// The numbers of a layer that count pixels.
fn numbers(op: &Op) -> Vec<usize> {
    match op {
        Op::Conv2d { kernel, stride, padding, dilation, .. }
        | Op::DepthwiseConv2d { kernel, stride, padding, dilation, .. } => {
            [&kernel[..], stride, padding, dilation].concat()
        }
        Op::ConvTranspose2d { kernel, stride, padding, output_padding, .. } => {
            [&kernel[..], stride, padding, output_padding].concat()
        }
        Op::MaxPool { kernel, stride, padding } | Op::AveragePool { kernel, stride, padding, .. } => {
            [&kernel[..], stride, padding].concat()
        }
        Op::Upsample { factor, .. } => factor.clone(),
        Op::Pad { before, after, .. } => [&before[..], after].concat(),
        _ => Vec::new(),
    }
}

/// Fails when a tensor, or the weights of the layer that makes it from `inputs`, are too many.
pub(super) fn check_tensor(op: &Op, inputs: &[&TensorShape], made: &TensorShape) -> std::result::Result<(), String> {
    let values = made.channels.checked_mul(made.height).and_then(|n| n.checked_mul(made.width));
    let is_small = made.channels <= MOST_CHANNELS && made.height.max(made.width) <= MOST_SIDE;
    if !is_small || values.is_none_or(|n| n > MOST_VALUES) {
        return Err(format!("its output would be of {made}, which is too large"));
    }
    let (Some(geometry), Some(input)) = (op.geometry(), inputs.first()) else { return Ok(()) };
    let weights = input.channels.checked_mul(made.channels).and_then(|n| n.checked_mul(geometry.area()));
    if weights.is_none_or(|n| n > MOST_WEIGHTS) {
        let [rows, columns] = geometry.kernel;
        return Err(format!("{} x {} x {rows} x {columns} weights, which are too many", made.channels, input.channels));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::network::families::{Options, unet};
    use crate::network::{NetworkSpec, Op};

    fn refused(change: impl Fn(&mut NetworkSpec)) -> String {
        let mut spec = unet(&Options { base_width: 2, depth: 1, ..Options::default() }).unwrap();
        change(&mut spec);
        spec.validate().unwrap_err().to_string()
    }

    #[test]
    fn numbers_that_overflow_are_refused() {
        let text = refused(|s| s.groups.iter_mut().for_each(|g| g.channels = usize::MAX));
        assert!(text.contains("at most 1048576"), "{text}");
        for n in [1 << 13, usize::MAX / 2, usize::MAX] {
            let text = refused(|s| {
                let Op::Conv2d { padding, .. } = &mut s.layers[1].op else { unreachable!() };
                *padding = vec![n; 2];
            });
            assert!(text.contains("enc0.conv1") && text.contains(&n.to_string()), "{text}");
        }
        let text = refused(|s| {
            for layer in &mut s.layers {
                if let Op::Conv2d { kernel, dilation, .. } = &mut layer.op {
                    (*kernel, *dilation) = (vec![4000; 2], vec![4000; 2]);
                }
            }
        });
        assert!(text.contains("spans"), "{text}");
    }

    #[test]
    fn a_tensor_or_a_reduction_without_bounds_is_refused() {
        let pools = |n: usize| {
            move |s: &mut NetworkSpec| {
                let at = s.layer_index(&s.output).unwrap();
                for i in 0..n {
                    let mut layer = s.layers[at].clone();
                    layer.op = Op::MaxPool { kernel: vec![4000; 2], stride: vec![], padding: vec![0; 2] };
                    layer.name = format!("p{i}");
                    layer.inputs = vec![s.layers[0].name.clone()];
                    if i > 0 {
                        layer.inputs = vec![format!("p{}", i - 1)];
                    }
                    s.layers.push(layer);
                }
            }
        };
        assert!(refused(pools(9)).contains("reduced"), "strides multiply");
        let text = refused(|s| {
            let mut last = s.output.clone();
            for i in 0..7 {
                let op = Op::Upsample { factor: vec![4096; 2], interpolation: crate::network::Interpolation::Nearest };
                s.layers.push(crate::network::Layer { name: format!("u{i}"), op, inputs: vec![last] });
                last = format!("u{i}");
            }
            s.output = last;
        });
        assert!(text.contains("too large"), "{text}");
    }
}
