//! Round trips through files, channel groups, and what is refused.

use std::path::Path;

use prost::Message as _;

use super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_kind, data_type,
};
use super::*;
use crate::network::{Group, Interpolation, Layer, NETWORK_FORMAT, Op, PadMode};

fn read(bytes: &[u8]) -> Result<Imported> {
    import_bytes(Path::new("test.onnx"), bytes, &ImportOptions::default())
}

/// A graph that is put together by hand.
struct Made {
    graph: GraphProto,
    opset: i64,
}

impl Made {
    /// A graph with the input `x` of `channels` channels and any size, and the output `y`.
    fn new(channels: i64) -> Self {
        Self::sized(channels, [None, None])
    }

    fn sized(channels: i64, size: [Option<i64>; 2]) -> Self {
        let dim = [Some(1), Some(channels), size[0], size[1]];
        let dim = dim.map(|dim_value| DimensionProto { dim_value, dim_param: None }).to_vec();
        let shape = Some(TensorShapeProto { dim });
        let tensor_type = Some(TensorTypeProto { elem_type: data_type::FLOAT, shape });
        let input = vec![ValueInfoProto { name: "x".into(), r#type: Some(TypeProto { tensor_type }) }];
        let output = vec![ValueInfoProto { name: "y".into(), r#type: None }];
        Self { graph: GraphProto { name: "test".into(), input, output, ..Default::default() }, opset: 17 }
    }

    fn floats(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let tensor = TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: data_type::FLOAT,
            raw_data,
            ..Default::default()
        };
        self.graph.initializer.push(tensor);
        self
    }

    fn ints(mut self, name: &str, values: &[i64]) -> Self {
        let tensor = TensorProto {
            name: name.into(),
            dims: vec![values.len() as i64],
            data_type: data_type::INT64,
            int64_data: values.to_vec(),
            ..Default::default()
        };
        self.graph.initializer.push(tensor);
        self
    }

    fn node(mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> Self {
        self.graph.node.push(NodeProto {
            op_type: op.into(),
            name: format!("node_{output}"),
            input: inputs.iter().map(|s| (*s).to_string()).collect(),
            output: vec![output.into()],
            attribute: attributes,
            ..Default::default()
        });
        self
    }

    /// A 3x3 convolution with padding, without bias, whose weights are all 1.
    fn conv(self, input: &str, output: &str, channels: [i64; 2]) -> Self {
        let weight = format!("{output}.weight");
        let values = vec![1.0; (channels[0] * channels[1] * 9) as usize];
        let made = self.floats(&weight, &[channels[1], channels[0], 3, 3], &values);
        made.node("Conv", &[input, &weight], output, vec![int_list("pads", &[1, 1, 1, 1])])
    }

    fn bytes(&self) -> Vec<u8> {
        ModelProto {
            ir_version: 8,
            producer_name: "test".into(),
            graph: Some(self.graph.clone()),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: self.opset }],
            ..Default::default()
        }
        .encode_to_vec()
    }

    fn read(&self) -> Result<Imported> {
        read(&self.bytes())
    }

    fn refusal(&self) -> String {
        self.read().expect_err("it cannot be read").to_string()
    }
}

fn int_list(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), kind: attribute_kind::INTS, ints: values.to_vec(), ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), kind: attribute_kind::INT, i, ..Default::default() }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), kind: attribute_kind::STRING, s: s.into(), ..Default::default() }
}

fn group(name: &str, channels: usize, kind: GroupKind) -> Group {
    Group { name: name.into(), channels, kind, divisible_by: 1, sum: Vec::new() }
}

fn conv(group: &str, kernel: usize, stride: usize, bias: bool) -> Op {
    Op::Conv2d {
        group: group.into(),
        kernel: vec![kernel; 2],
        stride: vec![stride; 2],
        padding: vec![kernel / 2; 2],
        dilation: vec![1; 2],
        groups: 1,
        bias,
    }
}

/// A network with every layer that there is.
fn everything() -> NetworkSpec {
    let mut layers: Vec<Layer> = Vec::new();
    let mut then = |name: &str, op: Op, inputs: &[&str]| {
        let inputs = match (inputs, layers.last()) {
            ([], Some(last)) if !matches!(op, Op::Input { .. }) => vec![last.name.clone()],
            _ => inputs.iter().map(|s| (*s).to_string()).collect(),
        };
        layers.push(Layer { name: name.into(), op, inputs });
    };
    let (kernel, two) = (vec![3; 2], vec![2; 2]);
    then("image", Op::Input { group: "image".into() }, &[]);
    then("edge", Op::Pad { before: vec![1; 2], after: vec![1; 2], mode: PadMode::Reflect }, &[]);
    let unpadded = Op::Conv2d {
        group: "stem".into(),
        kernel: kernel.clone(),
        stride: vec![1; 2],
        padding: vec![0; 2],
        dilation: vec![1; 2],
        groups: 1,
        bias: true,
    };
    then("stem", unpadded, &[]);
    then("stem.norm", Op::BatchNorm { eps: 1e-5, momentum: 0.1 }, &[]);
    then("stem.relu", Op::Relu, &[]);
    then("pool", Op::MaxPool { kernel: kernel.clone(), stride: two.clone(), padding: vec![1; 2] }, &[]);
    let depthwise = Op::DepthwiseConv2d {
        kernel: kernel.clone(),
        stride: vec![1; 2],
        padding: vec![2; 2],
        dilation: two.clone(),
        bias: false,
    };
    then("depthwise", depthwise, &[]);
    then("depthwise.norm", Op::InstanceNorm { eps: 1e-3, affine: true }, &[]);
    then("leaky", Op::LeakyRelu { slope: 0.2 }, &[]);
    let grouped = Op::Conv2d {
        group: "mid".into(),
        kernel: kernel.clone(),
        stride: two.clone(),
        padding: vec![1; 2],
        dilation: vec![1; 2],
        groups: 2,
        bias: false,
    };
    then("mid", grouped, &[]);
    then("mid.norm", Op::GroupNorm { groups: 2, eps: 1e-4 }, &[]);
    then("prelu", Op::Prelu { shared: false }, &[]);
    then("residual", conv("mid", 3, 1, false), &[]);
    then("plain.norm", Op::InstanceNorm { eps: 1e-5, affine: false }, &[]);
    then("elu", Op::Elu, &[]);
    then("sum", Op::Add, &["prelu", "elu"]);
    then("average", Op::AveragePool { kernel, stride: vec![1; 2], padding: vec![1; 2], count_padding: true }, &[]);
    then("squeeze", Op::GlobalAveragePool, &[]);
    then("squeeze.conv", conv("mid", 1, 1, true), &[]);
    then("squeeze.gate", Op::HardSigmoid, &[]);
    then("gated", Op::Mul, &["average", "squeeze.gate"]);
    then("shared", Op::Prelu { shared: true }, &[]);
    let up = Op::ConvTranspose2d {
        group: "up".into(),
        kernel: vec![3; 2],
        stride: two.clone(),
        padding: vec![1; 2],
        output_padding: vec![1; 2],
        bias: true,
    };
    then("up", up, &[]);
    then("up.silu", Op::Silu, &[]);
    then("up.tanh", Op::Tanh, &[]);
    then("up.swish", Op::HardSwish, &[]);
    then("up.clamp", Op::Clamp { low: 0.0, high: 6.0 }, &[]);
    then("joined", Op::Concat, &["depthwise", "up.clamp"]);
    then("once", Op::Upsample { factor: two, interpolation: Interpolation::Bilinear }, &[]);
    then("psi", conv("psi", 1, 1, true), &[]);
    then("psi.gate", Op::Sigmoid, &[]);
    then("attention", Op::Mul, &["once", "psi.gate"]);
    then("head", conv("classes", 1, 1, true), &[]);
    NetworkSpec {
        format: NETWORK_FORMAT.into(),
        family: "imported".into(),
        base_width: 4,
        depth: 2,
        rank: 2,
        classes: 3,
        groups: vec![
            group("image", 2, GroupKind::Fixed),
            group("stem", 4, GroupKind::Free),
            group("mid", 6, GroupKind::Free),
            group("up", 5, GroupKind::Free),
            group("psi", 1, GroupKind::Fixed),
            group("classes", 3, GroupKind::Fixed),
        ],
        layers,
        output: "head".into(),
        auxiliary: Vec::new(),
    }
}

fn weights(spec: &NetworkSpec) -> Vec<Tensor> {
    let mut next = 0.0;
    let of = |p: crate::network::Parameter| {
        let values = (0..p.len()).map(|_| {
            next += 0.25;
            next % 7.0 + 0.5
        });
        Tensor { values: values.collect(), name: p.name, shape: p.shape }
    };
    spec.parameters().unwrap().into_iter().map(of).collect()
}

#[test]
fn a_network_with_every_layer_comes_back_equal_with_its_weights() {
    let spec = everything();
    spec.validate().unwrap();
    let weights = weights(&spec);
    let bytes = export(&spec, &weights, &ExportOptions::default()).unwrap();
    assert_eq!(bytes, export(&spec, &weights, &ExportOptions::default()).unwrap(), "the same bytes");
    let back = read(&bytes).unwrap();
    assert_eq!(back.spec.layers, spec.layers);
    assert_eq!(back.weights, weights);
    // Grouped convolution and group norm are in the layers; the importer also writes them to the groups.
    let mut groups = spec.groups;
    groups.iter_mut().filter(|g| ["stem", "mid"].contains(&g.name.as_str())).for_each(|g| g.divisible_by = 2);
    assert_eq!(back.spec.groups, groups);
    assert_eq!(back.spec.with_multiplier(0.5).unwrap().group("mid").unwrap().channels, 4);
}

#[test]
fn a_u_net_of_our_own_comes_back_for_a_fixed_size_and_with_probabilities() {
    let spec = everything();
    let options = ExportOptions { size: Some((64, 32)), batch: Some(1), softmax: true };
    let back = read(&export(&spec, &weights(&spec), &options).unwrap()).unwrap();
    assert_eq!(back.spec.layers, spec.layers);
    let notes = back.notes.join("\n");
    assert!(notes.contains("Softmax") && notes.contains("64x32"), "{notes}");
}

#[test]
fn a_missing_weight_is_named_when_a_network_is_written() {
    let spec = everything();
    let mut weights = weights(&spec);
    weights.retain(|t| t.name != "up.bias");
    let error = export(&spec, &weights, &ExportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("up.bias") && error.contains("missing"), "{error}");
}

#[test]
fn a_residual_addition_makes_its_channels_one_group() {
    let made = Made::new(1).conv("x", "a", [1, 4]).conv("a", "b", [4, 4]).node("Add", &["a", "b"], "sum", vec![]);
    let found = made.conv("sum", "y", [4, 2]).read().unwrap();
    let names: Vec<_> = found.spec.groups.iter().map(|g| (g.name.as_str(), g.kind)).collect();
    assert_eq!(names, [("image", GroupKind::Fixed), ("a", GroupKind::Free), ("classes", GroupKind::Fixed)]);
    assert_eq!(found.spec.layers[2].op.group(), Some("a"), "the second convolution makes channels of the same group");
}

#[test]
fn channels_added_to_the_image_or_to_the_classes_are_fixed() {
    let made = Made::new(2).conv("x", "a", [2, 2]).node("Add", &["a", "x"], "sum", vec![]).conv("sum", "b", [2, 3]);
    let found = made.conv("b", "c", [3, 3]).node("Add", &["b", "c"], "y", vec![]).read().unwrap();
    assert!(found.spec.groups.iter().all(|g| g.kind == GroupKind::Fixed), "{:?}", found.spec.groups);
}

#[test]
fn channels_put_together_differently_are_fixed_when_they_are_added() {
    let made = Made::new(1).conv("x", "a", [1, 2]).conv("x", "b", [1, 3]).conv("x", "c", [1, 5]);
    let made = made.node("Concat", &["a", "b"], "ab", vec![int("axis", 1)]).node("Add", &["ab", "c"], "sum", vec![]);
    let found = made.conv("sum", "d", [5, 4]).conv("d", "y", [4, 2]).read().unwrap();
    let kind = |name: &str| found.spec.group(name).unwrap().kind;
    assert_eq!(["a", "b", "c", "d"].map(kind), [GroupKind::Fixed, GroupKind::Fixed, GroupKind::Fixed, GroupKind::Free]);
    assert!(found.notes.iter().any(|n| n.contains("Add node_sum")), "{:?}", found.notes);
}

#[test]
fn a_gate_of_one_channel_is_fixed_and_one_of_all_channels_joins_their_group() {
    let made = Made::new(1).conv("x", "a", [1, 4]).conv("a", "psi", [4, 1]).conv("a", "gate", [4, 4]);
    let made = made.node("Mul", &["psi", "a"], "one", vec![]).node("Mul", &["one", "gate"], "all", vec![]);
    let found = made.conv("all", "y", [4, 2]).read().unwrap();
    assert_eq!(found.spec.group("psi").unwrap().kind, GroupKind::Fixed);
    assert!(found.spec.group("gate").is_none());
    let narrow = found.spec.with_multiplier(0.5).unwrap();
    assert_eq!((narrow.group("a").unwrap().channels, narrow.group("psi").unwrap().channels), (2, 1));
}

#[test]
fn constants_are_put_into_the_convolution_before_them() {
    let made = Made::new(1).floats("w", &[2, 1, 1, 1], &[1.0, 2.0]).node("Conv", &["x", "w"], "a", vec![]);
    let made = made.floats("s", &[2, 1, 1], &[3.0, 5.0]).node("Mul", &["a", "s"], "b", vec![]);
    let made = made.floats("t", &[1], &[0.5]).node("Add", &["t", "b"], "y", vec![]);
    let found = made.read().unwrap();
    assert_eq!(found.spec.layers.len(), 2);
    assert_eq!(found.weights[0].values, [3.0, 10.0]);
    assert_eq!((found.weights[1].name.as_str(), &found.weights[1].values[..]), ("a.bias", &[0.5, 0.5][..]));
}

#[test]
fn a_constant_behind_a_tensor_that_others_read_is_a_batch_norm() {
    let made = Made::new(1).conv("x", "a", [1, 2]).floats("s", &[], &[2.0]).node("Mul", &["a", "s"], "b", vec![]);
    let found = made.node("Add", &["a", "b"], "y", vec![]).read().unwrap();
    assert!(matches!(found.spec.layers[2].op, Op::BatchNorm { .. }));
    assert_eq!(found.weights[0].values, vec![1.0; 18], "the convolution is as it was");
}

#[test]
fn sizes_computed_from_the_image_become_whole_factors() {
    let shape = Made::new(1).conv("x", "a", [1, 2]).node("Relu", &["a"], "r", vec![]);
    let pool = vec![int_list("kernel_shape", &[2, 2]), int_list("strides", &[2, 2])];
    let made = shape.node("MaxPool", &["r"], "p", pool).node("Shape", &["r"], "s", vec![]);
    let nearest = || {
        vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ]
    };
    let made =
        made.node("Resize", &["p", "", "", "s"], "u", nearest()).node("Concat", &["r", "u"], "c", vec![int("axis", 1)]);
    let found = made.conv("c", "y", [4, 2]).read().unwrap();
    let up = found.spec.layers.iter().find_map(|l| match &l.op {
        Op::Upsample { factor, interpolation } => Some((factor.clone(), *interpolation)),
        _ => None,
    });
    assert_eq!(up, Some((vec![2, 2], Interpolation::Nearest)));
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn a_size_that_is_fixed_in_a_graph_of_open_size_is_refused() {
    let pool = vec![int_list("kernel_shape", &[2, 2]), int_list("strides", &[2, 2])];
    let made = Made::new(1).conv("x", "a", [1, 2]).node("MaxPool", &["a"], "p", pool).ints("s", &[1, 2, 256, 256]);
    let attributes = vec![text("mode", "linear")];
    let made = made.node("Resize", &["p", "", "", "s"], "u", attributes).conv("u", "y", [2, 2]);
    let message = made.refusal();
    assert!(message.contains("512x512") || message.contains("Resize node_u"), "{message}");
}

#[test]
fn x_times_its_sigmoid_is_one_layer() {
    let made = Made::new(1).conv("x", "a", [1, 2]).node("Sigmoid", &["a"], "s", vec![]);
    let found = made.node("Mul", &["a", "s"], "m", vec![]).conv("m", "y", [2, 2]).read().unwrap();
    assert_eq!(found.spec.layers[2].op, Op::Silu);
    assert_eq!(found.spec.layers.len(), 4);
}

#[test]
fn unequal_zeros_around_a_convolution_become_a_layer_and_equal_ones_its_padding() {
    let weights = |made: Made| made.floats("w.weight", &[2, 1, 3, 3], &[1.0; 18]);
    let made = weights(Made::new(1));
    let found = made.node("Conv", &["x", "w.weight"], "y", vec![int_list("pads", &[0, 0, 2, 2])]).read().unwrap();
    assert_eq!(found.spec.layers[1].op, Op::Pad { before: vec![0; 2], after: vec![2; 2], mode: PadMode::Zero });
    let made = weights(Made::new(1)).ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1]).node("Pad", &["x", "pads"], "p", vec![]);
    let found = made.node("Conv", &["p", "w.weight"], "y", vec![]).read().unwrap();
    assert_eq!(found.spec.layers.len(), 2);
    assert_eq!(found.spec.layers[1].op.geometry().unwrap().padding, [1, 1]);
}

#[test]
fn a_fully_connected_gate_behind_global_pooling_is_a_convolution() {
    let made = Made::new(1).conv("x", "a", [1, 4]).node("GlobalAveragePool", &["a"], "g", vec![]);
    let made =
        made.node("Flatten", &["g"], "f", vec![]).floats("fc.weight", &[4, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]);
    let made = made.node("MatMul", &["f", "fc.weight"], "h", vec![]).node("Relu", &["h"], "r", vec![]);
    let made =
        made.floats("up.weight", &[4, 2], &[1.0; 8]).node("Gemm", &["r", "up.weight"], "e", vec![int("transB", 1)]);
    let made =
        made.node("Sigmoid", &["e"], "s", vec![]).ints("to", &[1, 4, 1, 1]).node("Reshape", &["s", "to"], "t", vec![]);
    let found = made.node("Mul", &["a", "t"], "m", vec![]).conv("m", "y", [4, 2]).read().unwrap();
    let weight = found.weights.iter().find(|t| t.name == "fc.weight").unwrap();
    assert_eq!((&weight.shape[..], &weight.values[..]), (&[2, 4, 1, 1][..], &[1., 3., 5., 7., 2., 4., 6., 8.][..]));
}

#[test]
fn a_sigmoid_and_an_argmax_at_the_end_are_left_out_with_a_note() {
    let made = Made::new(1).conv("x", "a", [1, 1]).node("Sigmoid", &["a"], "y", vec![]);
    let found = made.read().unwrap();
    assert_eq!((found.spec.classes, found.spec.output.as_str()), (1, "a"));
    assert!(found.notes.iter().any(|n| n.contains("sigmoid")), "{:?}", found.notes);
    let made = Made::new(1).conv("x", "a", [1, 3]).node("ArgMax", &["a"], "m", vec![int("axis", 1)]);
    let found = made.node("Cast", &["m"], "y", vec![int("to", 7)]).read().unwrap();
    assert_eq!(found.spec.classes, 3);
}

#[test]
fn every_node_that_cannot_be_read_is_named_with_its_operator_and_the_reason() {
    let ready = || Made::new(1).conv("x", "a", [1, 4]);
    let strange = ready().node("Gelu", &["a"], "g", vec![]).node("Erf", &["a"], "e", vec![]);
    let message = strange.node("Add", &["g", "e"], "s", vec![]).conv("s", "y", [4, 2]).refusal();
    assert!(message.contains("Gelu node_g") && message.contains("Erf node_e"), "{message}");
    assert!(!message.contains("Add"), "what follows from them is not said: {message}");

    let dilated = vec![int_list("kernel_shape", &[2, 2]), int_list("dilations", &[2, 2])];
    let cases = [
        (ready().node("MaxPool", &["a"], "y", dilated), "MaxPool node_y: a dilated"),
        (
            ready().floats("s", &[4], &[1.0, 1.0, 1.5, 1.5]).node("Resize", &["a", "", "s"], "y", vec![]),
            "Resize node_y: factors 1.5",
        ),
        (
            ready().ints("from", &[0]).ints("to", &[2]).ints("axes", &[1]).node(
                "Slice",
                &["a", "from", "to", "axes"],
                "y",
                vec![],
            ),
            "Slice node_y: it cuts 2 of 4 channels",
        ),
        (
            ready().ints("pads", &[0, 0, -1, 0, 0, 0, 0, 0]).node("Pad", &["a", "pads"], "y", vec![]),
            "Pad node_y: pads -1",
        ),
        (ready().conv("x", "b", [1, 3]).node("Add", &["a", "b"], "y", vec![]), "Add node_y: a sum of 4 x"),
        (ready().node("Transpose", &["a"], "y", vec![int_list("perm", &[0, 2, 3, 1])]), "Transpose node_y: it exch"),
        (ready().node("Flatten", &["a"], "y", vec![]), "Flatten node_y: from shape"),
        (ready().node("Concat", &["a", "a"], "y", vec![int("axis", 2)]), "Concat node_y: it joins along axis 2"),
        (
            ready().node("GlobalAveragePool", &["a"], "g", vec![]).ints("s", &[1, 4, 256, 256]).node(
                "Resize",
                &["g", "", "", "s"],
                "y",
                vec![text("mode", "linear")],
            ),
            "Resize node_y: it spreads one pixel",
        ),
        (ready().node("Relu", &["nothing"], "y", vec![]), "Relu node_y: its input nothing"),
        (ready().floats("c", &[8, 8], &[1.0; 64]).node("Mul", &["a", "c"], "y", vec![]), "Mul node_y: a constant of"),
        (ready().node("HardSigmoid", &["a"], "h", vec![]).conv("h", "y", [4, 2]), "HardSigmoid node_h: only alpha"),
    ];
    for (made, expected) in cases {
        let message = made.refusal();
        assert!(message.contains(expected), "{message}\n  does not say: {expected}");
    }
}

#[test]
fn weights_in_another_file_are_refused_with_what_to_do() {
    let mut made = Made::new(1).conv("x", "y", [1, 2]);
    made.graph.initializer[0].raw_data.clear();
    made.graph.initializer[0].data_location = proto::EXTERNAL;
    let message = made.refusal();
    assert!(message.contains("y.weight") && message.contains("external_data=False"), "{message}");
}

#[test]
fn a_batch_norm_in_training_mode_is_refused() {
    let mut made = Made::new(1);
    for name in ["s", "b", "m", "v"] {
        made = made.floats(name, &[1], &[1.0]);
    }
    let made = made.node("BatchNormalization", &["x", "s", "b", "m", "v"], "y", vec![int("training_mode", 1)]);
    assert!(made.refusal().contains("model.eval()"));
}

#[test]
fn damaged_files_are_refused_at_every_length() {
    let spec = everything();
    let bytes = export(&spec, &weights(&spec), &ExportOptions::default()).unwrap();
    for end in (0..bytes.len()).step_by(97) {
        assert!(read(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
    }
    assert!(matches!(read(b"\x89PNG\r\n\x1a\n, not a network"), Err(Error::Decode { .. })));
    assert!(matches!(read(&[]), Err(Error::Decode { .. })));
}

#[test]
fn no_flipped_byte_makes_the_reader_panic() {
    let made = Made::sized(1, [Some(32), Some(32)]).conv("x", "a", [1, 4]);
    let made = made.ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1]).node("Pad", &["a", "pads"], "p", vec![]);
    let scales = made.floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]);
    let made = scales.node("Resize", &["p", "", "scales"], "u", vec![text("mode", "linear")]).conv("u", "y", [4, 2]);
    let bytes = made.bytes();
    made.read().unwrap();
    for i in 0..bytes.len() {
        for flip in [1, 0x10, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[i] ^= flip;
            let _ = read(&damaged);
        }
    }
}

#[test]
fn huge_claims_are_refused_without_taking_memory() {
    let shape = Made::new(1).conv("x", "a", [1, 2]).ints("shape", &[1 << 40, 1 << 40]);
    let message =
        shape.node("ConstantOfShape", &["shape"], "c", vec![]).node("Add", &["a", "c"], "y", vec![]).refusal();
    assert!(message.contains("ConstantOfShape node_c") && message.contains("too large"), "{message}");
    assert!(Made::sized(1, [Some(1 << 40), Some(8)]).conv("x", "y", [1, 2]).refusal().contains("pixels"));
    assert!(Made::new(1 << 40).conv("x", "y", [1, 2]).refusal().contains("x is of"));
    let strided = |made: Made, i: usize| {
        let (input, output) = (if i == 0 { "x".to_string() } else { format!("v{i}") }, format!("v{}", i + 1));
        let window = vec![int_list("kernel_shape", &[4096, 4096]), int_list("strides", &[4096, 4096])];
        let made = made.ints(&format!("p{i}"), &[0, 0, 4095, 4095, 0, 0, 0, 0]);
        let padded = made.node("Pad", &[&input, &format!("p{i}")], &format!("q{i}"), vec![]);
        padded.node("MaxPool", &[&format!("q{i}")], &output, window)
    };
    let made = (0..6).fold(Made::sized(1, [Some(1), Some(1)]), strided).conv("v6", "y", [1, 2]);
    assert!(made.refusal().contains("reduced"), "strides whose product overflows");
}
