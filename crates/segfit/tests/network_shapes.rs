//! Networks with every form of convolution: files, shapes, costs, narrowing and schedules.

use segfit::cost;
use segfit::network::families::{self, unet};
use segfit::network::schedule::{Mode, Schedule, Step};
use segfit::network::{NetworkSpec, Segment, Shapes};

/// A stem of stride 2, a dilated, a depthwise and a grouped convolution, and a 4x4 transposed convolution.
const NETWORK: &str = r#"{
  "format": "segfit-network/1", "family": "other", "base_width": 8, "depth": 1, "rank": 2, "classes": 2,
  "groups": [
    {"name": "image", "channels": 3, "kind": "fixed"},
    {"name": "a", "channels": 8, "kind": "free"},
    {"name": "b", "channels": 12, "kind": "free"},
    {"name": "c", "channels": 6, "kind": "free"},
    {"name": "classes", "channels": 2, "kind": "fixed"}
  ],
  "layers": [
    {"name": "image", "op": "input", "group": "image"},
    {"name": "stem", "op": "conv2d", "group": "a", "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "bias": false, "inputs": ["image"]},
    {"name": "stem.norm", "op": "batch_norm", "eps": 0.0009765625, "momentum": 0.125, "inputs": ["stem"]},
    {"name": "stem.relu", "op": "relu", "inputs": ["stem.norm"]},
    {"name": "wide", "op": "conv2d", "group": "a", "kernel": [3, 1], "padding": [3, 0], "dilation": [3, 1], "bias": true, "inputs": ["stem.relu"]},
    {"name": "joined", "op": "concat", "inputs": ["stem.relu", "wide"]},
    {"name": "depth", "op": "depthwise_conv2d", "kernel": [5, 5], "padding": [2, 2], "bias": false, "inputs": ["joined"]},
    {"name": "depth.norm", "op": "batch_norm", "eps": 0.0009765625, "momentum": 0.125, "inputs": ["depth"]},
    {"name": "depth.relu", "op": "relu", "inputs": ["depth.norm"]},
    {"name": "parts", "op": "conv2d", "group": "b", "kernel": [3, 3], "padding": [1, 1], "groups": 4, "bias": true, "inputs": ["depth.relu"]},
    {"name": "up", "op": "conv_transpose2d", "group": "c", "kernel": [4, 4], "stride": [2, 2], "padding": [1, 1], "bias": true, "inputs": ["parts"]},
    {"name": "head", "op": "conv2d", "group": "classes", "kernel": [1, 1], "padding": [0, 0], "bias": true, "inputs": ["up"]}
  ],
  "output": "head"
}"#;

fn network() -> NetworkSpec {
    let spec: NetworkSpec = serde_json::from_str(NETWORK).unwrap();
    spec.validate().unwrap();
    spec
}

#[test]
fn a_file_comes_back_as_it_was_written() {
    let parsed: serde_json::Value = serde_json::from_str(NETWORK).unwrap();
    assert_eq!(serde_json::to_value(network()).unwrap(), parsed);
}

#[test]
fn the_unet_is_written_without_the_newer_fields() {
    let net = unet(&families::Options {
        in_channels: 1,
        classes: 2,
        base_width: 1,
        depth: 1,
        ..families::Options::default()
    })
    .unwrap();
    let value = serde_json::to_value(&net).unwrap();
    let layer =
        |name: &str| value["layers"].as_array().unwrap().iter().find(|l| l["name"] == name).unwrap().to_string();
    assert_eq!(
        layer("enc0.conv1"),
        r#"{"name":"enc0.conv1","op":"conv2d","group":"enc0","kernel":[3,3],"padding":[1,1],"bias":true,"inputs":["image"]}"#
    );
    assert_eq!(
        layer("up0.conv"),
        r#"{"name":"up0.conv","op":"conv_transpose2d","group":"up0","kernel":[2,2],"bias":true,"inputs":["enc1.relu2"]}"#
    );
    assert_eq!(serde_json::from_value::<NetworkSpec>(value).unwrap(), net);
}

#[test]
fn shapes_and_costs_are_counted_by_hand() {
    let net = network();
    assert_eq!(net.input_multiple(), 2);
    let shapes = Shapes::infer(&net, 10, 14).unwrap();
    let of = |name: &str| {
        let t = &shapes.tensors[net.layer_index(name).unwrap()];
        (t.channels, t.height, t.width)
    };
    assert_eq!([of("stem"), of("wide"), of("depth"), of("parts")], [(8, 5, 7), (8, 5, 7), (16, 5, 7), (12, 5, 7)]);
    assert_eq!([of("up"), of("head")], [(6, 10, 14), (2, 10, 14)]);
    let depth = net.layer_index("depth").unwrap();
    assert_eq!(shapes.tensors[depth].segments, [Segment { group: 1, multiple: 2 }], "group a, twice");
    // Weights, biases, norms: stem, wide, depthwise, grouped, transposed, head.
    let stem = 8 * 3 * 9 + 16;
    let params = stem + (8 * 8 * 3 + 8) + (16 * 25 + 32) + (12 * 4 * 9 + 12) + (12 * 6 * 16 + 6) + (6 * 2 + 2);
    assert_eq!(cost::parameters(&net).unwrap(), params);
    // At 8 x 8 the inner planes have 16 pixels.
    let macs = 16 * (8 * 3 * 9 + 8 * 8 * 3 + 16 * 25 + 12 * 4 * 9 + 12 * 6 * 16) + 64 * 12;
    assert_eq!(cost::macs(&net, 8).unwrap(), macs);
    let weight = |name: &str| net.parameters().unwrap().into_iter().find(|p| p.name == name).unwrap().shape;
    assert_eq!(weight("parts.weight"), [12, 4, 3, 3]);
    assert_eq!(weight("depth.weight"), [16, 1, 5, 5]);
    assert_eq!(weight("up.weight"), [12, 6, 4, 4]);
}

#[test]
fn groups_that_do_not_divide_the_channels_name_the_layer() {
    for (from, to, side) in
        [(r#""channels": 12"#, r#""channels": 13"#, "13 output"), (r#""groups": 4"#, r#""groups": 6"#, "16 input")]
    {
        let spec: NetworkSpec = serde_json::from_str(&NETWORK.replace(from, to)).unwrap();
        let error = spec.validate().unwrap_err().to_string();
        assert!(error.contains("layer parts") && error.contains(side), "{error}");
    }
    let spec: NetworkSpec = serde_json::from_str(&NETWORK.replace(r#""stride": [2, 2]"#, r#""stride": [2]"#)).unwrap();
    assert!(spec.validate().unwrap_err().to_string().contains("two numbers"));
}

#[test]
fn narrowing_keeps_the_channels_divisible() {
    let net = network();
    assert_eq!(net.channel_multiples().unwrap(), [1, 2, 4, 1, 1], "twice an even number of channels a has four parts");
    let narrowed = net.with_multiplier(0.3).unwrap();
    let widths = narrowed.widths();
    assert_eq!((widths["a"], widths["b"], widths["c"]), (2, 4, 2));
}

#[test]
fn every_convolution_takes_its_norm_and_relu_along() {
    let schedule = Schedule::new(&network(), Mode::Infer, 1, 16, 16).unwrap();
    let fused: Vec<(bool, bool)> = schedule
        .forward
        .iter()
        .filter_map(|s| if let Step::Convolve { norm, relu, .. } = s { Some((norm.is_some(), *relu)) } else { None })
        .collect();
    assert_eq!(fused, [(true, true), (false, false), (true, true), (false, false), (false, false), (false, false)]);
    assert_eq!(schedule.forward.len(), fused.len(), "and the concatenation costs nothing");
    Schedule::new(&network(), Mode::Train, 1, 16, 16).unwrap();
}

#[test]
fn the_border_follows_the_largest_kernel_on_planes_of_that_size() {
    let schedule = Schedule::new(&network(), Mode::Infer, 1, 16, 16).unwrap();
    for tensor in 0..schedule.tensors.len() {
        let layout = schedule.layout(tensor);
        assert_eq!(layout.pad, if layout.height == 8 { 3 } else { 1 }, "{layout:?}");
    }
}

#[test]
fn a_network_without_padding_is_checked_at_a_size_that_its_kernels_fit() {
    let text = NETWORK.replace(r#""padding": [2, 2]"#, r#""padding": [0, 0]"#);
    let net: NetworkSpec = serde_json::from_str(&text).unwrap();
    net.validate().unwrap();
    assert_eq!(net.input_multiple(), 2);
    let error = Schedule::new(&net, Mode::Infer, 1, 8, 8).unwrap_err().to_string();
    assert!(error.contains("layer depth") && error.contains("4x4"), "{error}");
    let schedule = Schedule::new(&net, Mode::Infer, 1, 16, 16).unwrap();
    let narrow = schedule.tensors.iter().position(|t| t.name == "depth.relu").unwrap();
    assert_eq!(schedule.layout(narrow).pad, 4, "four columns of the input lie behind each row of the output");
}
