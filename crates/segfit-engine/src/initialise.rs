//! Initial weights.

use segfit::Result;
use segfit::network::{NetworkSpec, ParameterKind};
use segfit::random::Stream;

use crate::state::{ParameterLayout, Weights};

const PURPOSE: u64 = 0x0077_6569_6768_7473;

/// Weights drawn from N(0, 2 / fan-in) (He et al. 2015), biases and shifts 0, scales 1, slopes of
/// PReLU 0.25 (as PyTorch), running means 0, variances 1.
///
/// [`segfit::network::Parameter::fan_in`] says what the fan-in is. Every parameter has a
/// random stream of its own, named by `seed` and its position.
///
/// # Errors
/// When the network does not fit together.
pub fn initialise(spec: &NetworkSpec, seed: u64) -> Result<Weights> {
    let layout = ParameterLayout::new(spec)?;
    let mut weights = Weights { trained: vec![0.0; layout.trained_len], running: vec![0.0; layout.running_len] };
    for (i, (parameter, range)) in layout.parameters.iter().zip(&layout.ranges).enumerate() {
        let range = range.clone();
        match parameter.kind {
            ParameterKind::Weight => {
                let fan_in = parameter.fan_in(&spec.layers[parameter.layer].op);
                let deviation = (2.0 / fan_in as f32).sqrt();
                let mut stream = Stream::new(&[PURPOSE, seed, i as u64]);
                weights.trained[range].fill_with(|| deviation * stream.normal());
            }
            ParameterKind::Bias | ParameterKind::Shift => weights.trained[range].fill(0.0),
            ParameterKind::Scale => weights.trained[range].fill(1.0),
            ParameterKind::Slope => weights.trained[range].fill(0.25),
            ParameterKind::RunningMean => weights.running[range].fill(0.0),
            ParameterKind::RunningVariance => weights.running[range].fill(1.0),
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use segfit::network::families::{self, unet};

    #[test]
    fn weights_have_he_s_deviation_and_depend_on_the_seed_alone() {
        let spec = unet(&families::Options {
            in_channels: 3,
            classes: 2,
            base_width: 16,
            depth: 2,
            ..families::Options::default()
        })
        .unwrap();
        let layout = ParameterLayout::new(&spec).unwrap();
        let weights = initialise(&spec, 1).unwrap();
        assert_eq!(weights, initialise(&spec, 1).unwrap());
        assert_ne!(weights.trained, initialise(&spec, 2).unwrap().trained);
        let fan_in = |name: &str| match name {
            "enc0.conv2.weight" => 16.0 * 9.0,
            "enc2.conv2.weight" => 64.0 * 9.0,
            "up1.conv.weight" => 64.0,
            _ => f64::NAN,
        };
        let mut checked = 0;
        for (parameter, range) in layout.parameters.iter().zip(&layout.ranges) {
            let n = fan_in(&parameter.name);
            if parameter.kind == ParameterKind::Weight && n.is_finite() {
                let values = &weights.trained[range.clone()];
                let variance = values.iter().map(|v| f64::from(v * v)).sum::<f64>() / values.len() as f64;
                assert!((variance * n / 2.0 - 1.0).abs() < 0.1, "{} {variance}", parameter.name);
                checked += 1;
            }
        }

        assert_eq!(checked, 3);
    }
}
