//! CUMedNet, the deep contextual network (Chen, Qi, Cheng, Heng, "Deep contextual networks for neuronal structure
//! segmentation", AAAI 2016): a fully convolutional network whose levels are classified one by one and summed.

use super::Family;
use super::builder::{Builder, IMAGE};
use super::options::{Choice, Options};
use crate::error::Result;
use crate::network::spec::{NetworkSpec, Op};

pub(super) const FAMILY: Family = Family {
    name: "cumednet",
    title: "CUMedNet",
    description: "multi-level fully convolutional network with a supervised classifier per level",
    paper: "Chen, Qi, Cheng, Heng, AAAI 2016",
    base_width: 64,
    depth: 3,
    deepest: 4,
    takes: &[Choice::Norm, Choice::GroupNorm, Choice::Activation, Choice::DeepSupervision],
    build: cumednet,
};

/// The CUMedNet with these options.
///
/// Encoder as VGG-16: level k has `base_width * 2^k` channels, two 3x3 convolutions at levels 0 and 1 and three below, 2x2
/// max-pooling between levels. Level k >= 1 is enlarged at once to full size by a transposed convolution of stride 2^k and
/// twice that kernel, followed by a 3x3 convolution and the 1x1 classifier `C{k}`. The output is the sum of the
/// classifiers, each of which is always trained by itself too, as in the paper: 10 + 6 convolutions, 3 poolings and 3
/// transposed convolutions at depth 3. Free groups: `enc{k}`, `up{k}` (both layers behind level k).
///
/// The paper gives no channels for the layers behind the transposed convolutions; here they have `base_width`. Batch norm
/// follows every convolution but the classifiers; the paper predates its common use (`norm` none omits it). The
/// classifiers' weights, 1 here, fade during the training of the paper.
///
/// # Errors
/// [`crate::Error::Option`] when an option is out of range.
pub fn cumednet(options: &Options) -> Result<NetworkSpec> {
    let mut net = Builder::new(&FAMILY, options)?;
    let mut classifiers: Vec<String> = Vec::new();
    let mut last = IMAGE.to_string();
    for level in 0..=options.depth {
        if level > 0 {
            last = net.pool(&format!("pool{}", level - 1), &last);
        }
        last = stage(&mut net, level, options.base_width << level, &last);
        if level > 0 {
            classifiers.push(classifier(&mut net, level, options.base_width, &last));
        }
    }
    let maps: Vec<&str> = classifiers.iter().map(String::as_str).collect();
    let output = net.layer("fused", Op::Add, &maps);
    maps.iter().for_each(|map| net.auxiliary(map, 1.0));
    net.finish(&output)
}

fn stage(net: &mut Builder, level: usize, channels: usize, input: &str) -> String {
    let name = format!("enc{level}");
    net.free(&name, channels);
    let convolutions = if level < 2 { 2 } else { 3 };
    (1..=convolutions).fold(input.to_string(), |last, i| net.conv_norm_activation(&name, &i.to_string(), &name, &last))
}

fn classifier(net: &mut Builder, level: usize, channels: usize, input: &str) -> String {
    let name = format!("up{level}");
    net.free(&name, channels);
    let up = net.transposed(&format!("{name}.up"), &name, 2 << level, 1 << level, input);
    let up = net.norm_activation(&name, "1", &up);
    let conv = net.conv_norm_activation(&name, "2", &name, &up);
    net.head(&format!("C{level}"), &conv)
}
