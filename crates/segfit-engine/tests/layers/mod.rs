//! A network with a layer of every kind.

#![allow(dead_code, reason = "every test program uses a part of it")]

use segfit::network::{AuxiliaryHead, NetworkSpec, ParameterKind};
use segfit::random::Stream;
use segfit_engine::initialise::initialise;
use segfit_engine::state::{ParameterLayout, Weights};

/// Images of a batch.
pub const BATCH: usize = 2;
/// Height and width.
pub const SIZE: (usize, usize) = (8, 12);

/// Name, operation and inputs of every layer behind the image of 2 channels; group a has 4 channels, k 2, one 1.
const LAYERS: &str = r#"
pad     | "op": "pad", "before": [1, 1], "after": [1, 1], "mode": "reflect" | image
stem    | "op": "conv2d", "group": "a", "kernel": [3, 3], "padding": [0, 0], "bias": false | pad
stem.n  | "op": "batch_norm", "eps": 0.001, "momentum": 1.0 | stem
stem.p  | "op": "prelu", "shared": false | stem.n
b1      | "op": "conv2d", "group": "a", "kernel": [3, 3], "padding": [1, 1], "bias": true | stem.p
b1.n    | "op": "instance_norm", "eps": 0.001, "affine": true | b1
b1.silu | "op": "silu" | b1.n
b2      | "op": "depthwise_conv2d", "kernel": [3, 3], "padding": [1, 1], "bias": false | stem.p
b2.n    | "op": "group_norm", "groups": 2, "eps": 0.001 | b2
b2.l    | "op": "leaky_relu", "slope": 0.1 | b2.n
sum     | "op": "add" | b1.silu b2.l stem.p
relu    | "op": "relu" | sum
gate    | "op": "conv2d", "group": "one", "kernel": [1, 1], "padding": [0, 0], "bias": true | relu
gate.s  | "op": "sigmoid" | gate
gated   | "op": "mul" | relu gate.s
se      | "op": "global_average_pool" | gated
se.1    | "op": "conv2d", "group": "k", "kernel": [1, 1], "padding": [0, 0], "bias": true | se
se.e    | "op": "elu" | se.1
se.2    | "op": "conv2d", "group": "a", "kernel": [1, 1], "padding": [0, 0], "bias": true | se.e
se.h    | "op": "hard_sigmoid" | se.2
squeeze | "op": "mul" | gated se.h
mp3     | "op": "max_pool", "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1] | squeeze
mp2     | "op": "max_pool", "kernel": [2, 2] | squeeze
ap      | "op": "average_pool", "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1] | squeeze
down    | "op": "add" | mp3 mp2 ap
d1.n    | "op": "batch_norm", "eps": 0.001, "momentum": 1.0 | down
d1.r    | "op": "relu" | d1.n
d1      | "op": "conv2d", "group": "k", "kernel": [3, 3], "padding": [1, 1], "bias": true | d1.r
c1      | "op": "concat" | down d1
d2.n    | "op": "batch_norm", "eps": 0.001, "momentum": 1.0 | c1
d2.r    | "op": "leaky_relu", "slope": -0.2 | d2.n
d2      | "op": "conv2d", "group": "k", "kernel": [3, 3], "padding": [1, 1], "bias": true | d2.r
c2      | "op": "concat" | c1 d2
d3.n    | "op": "batch_norm", "eps": 0.001, "momentum": 1.0 | c2
d3      | "op": "conv2d", "group": "k", "kernel": [3, 3], "padding": [1, 1], "bias": true | d3.n
new     | "op": "concat" | d1 d2 d3
drop    | "op": "dropout", "p": 0.25 | new
tanh    | "op": "tanh" | drop
square  | "op": "mul" | tanh tanh
u1      | "op": "conv2d", "group": "a", "kernel": [3, 3], "padding": [1, 1], "bias": true | square
u1.up   | "op": "upsample", "factor": [2, 2], "interpolation": "nearest" | u1
u2.up   | "op": "upsample", "factor": [2, 2], "interpolation": "bilinear" | u1
u3.up   | "op": "upsample", "factor": [2, 2], "interpolation": "bilinear_corners" | u1
u4      | "op": "conv_transpose2d", "group": "a", "kernel": [2, 2], "bias": true | tanh
up      | "op": "add" | u1.up u2.up u3.up u4
swish   | "op": "hard_swish" | up
wide    | "op": "pad", "before": [0, 0], "after": [1, 1], "mode": "replicate" | swish
mean    | "op": "average_pool", "kernel": [2, 2], "stride": [1, 1], "count_padding": true | wide
clamp   | "op": "clamp", "low": -0.5, "high": 1.5 | mean
slope   | "op": "prelu", "shared": true | squeeze
zeros   | "op": "pad", "before": [0, 0], "after": [0, 0], "mode": "zero" | slope
joined  | "op": "concat" | clamp zeros squeeze clamp
lost    | "op": "conv2d", "group": "a", "kernel": [3, 3], "padding": [1, 1], "bias": true | joined
norm    | "op": "instance_norm", "eps": 0.001, "affine": false | joined
head    | "op": "conv2d", "group": "classes", "kernel": [1, 1], "padding": [0, 0], "bias": true | norm
aside   | "op": "conv2d", "group": "classes", "kernel": [1, 1], "padding": [0, 0], "bias": true | swish
"#;

pub fn network() -> NetworkSpec {
    let layer = |line: &str| {
        let part: Vec<&str> = line.split('|').map(str::trim).collect();
        let inputs: Vec<&str> = part[2].split_whitespace().collect();
        format!(r#"{{"name": "{}", {}, "inputs": {inputs:?}}}"#, part[0], part[1])
    };
    let layers: Vec<String> = LAYERS.lines().filter(|l| !l.is_empty()).map(layer).collect();
    let text = format!(
        r#"{{"format": "segfit-network/1", "family": "other", "base_width": 4, "depth": 1, "rank": 2, "classes": 3,
        "groups": [{{"name": "image", "channels": 2, "kind": "fixed"}}, {{"name": "a", "channels": 4, "kind": "free"}},
            {{"name": "k", "channels": 2, "kind": "free"}}, {{"name": "one", "channels": 1, "kind": "fixed"}},
            {{"name": "classes", "channels": 3, "kind": "fixed"}}],
        "layers": [{{"name": "image", "op": "input", "group": "image"}}, {}], "output": "head"}}"#,
        layers.join(",\n")
    );
    let spec: NetworkSpec = serde_json::from_str(&text).unwrap();
    spec.validate().unwrap();
    spec
}

pub fn with_head(weight: f32) -> NetworkSpec {
    let mut spec = network();
    spec.auxiliary.push(AuxiliaryHead { layer: "aside".into(), weight });
    spec.validate().unwrap();
    spec
}

pub fn images((height, width): (usize, usize)) -> (Vec<f32>, Vec<u8>) {
    let mut stream = Stream::new(&[3]);
    let images = (0..BATCH * 2 * height * width).map(|_| stream.normal()).collect();
    (images, (0..BATCH * height * width).map(|_| stream.below(3) as u8).collect())
}

/// Weights in which shifts and scales are no special numbers.
pub fn weights(spec: &NetworkSpec) -> Weights {
    let mut weights = initialise(spec, 1).unwrap();
    let layout = ParameterLayout::new(spec).unwrap();
    let mut stream = Stream::new(&[9]);
    for (parameter, range) in layout.parameters.iter().zip(&layout.ranges) {
        if parameter.kind.is_trained() && parameter.kind != ParameterKind::Weight {
            weights.trained[range.clone()].iter_mut().for_each(|v| *v += stream.range(-0.3, 0.3));
        }
    }
    weights
}
