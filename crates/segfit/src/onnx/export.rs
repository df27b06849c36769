//! Writing a network as ONNX.

use std::collections::HashMap;

use prost::Message as _;

use super::Tensor;
use super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_kind, data_type,
};
use crate::error::{Error, Result};
use crate::network::{Interpolation, Layer, NetworkSpec, Op, PadMode, ParameterKind, Shapes};

/// The version of the file's structure that goes with opset 17.
const IR_VERSION: i64 = 8;
/// Operators of this version are written: ONNX 1.12, read by every current program.
pub(crate) const OPSET: i64 = 17;
/// Name of the input.
pub(crate) const IMAGE: &str = "image";

/// How to write a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Rows and columns of the image; any when not given.
    pub size: Option<(usize, usize)>,
    /// Images at once; any number when not given.
    pub batch: Option<usize>,
    /// Whether the output is probabilities (softmax over the classes) instead of logits.
    pub softmax: bool,
}

/// The bytes of an ONNX file (opset 17) of the deployed network: auxiliary heads and dropout are left out.
///
/// The input is `image`, `[batch][channels][rows][columns]`; the output `logits` (or `probabilities`),
/// `[batch][classes][rows][columns]`. `weights` holds every parameter of [`NetworkSpec::parameters`] by name; further
/// ones, such as those of auxiliary heads, are left out. The same network and weights give the same bytes.
///
/// # Errors
/// [`Error::Network`] when the network does not fit together, or a parameter is missing or of another shape.
pub fn export(spec: &NetworkSpec, weights: &[Tensor], options: &ExportOptions) -> Result<Vec<u8>> {
    let spec = spec.without_auxiliary();
    spec.validate()?;
    let shapes = spec.smallest_shapes()?;
    let by_name: HashMap<&str, &Tensor> = weights.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut writer = Writer::new(&spec, IMAGE);
    writer.parameters(&by_name, false)?;
    for i in 0..spec.layers.len() {
        writer.layer(i, &shapes);
    }
    let name = if options.softmax { "probabilities" } else { "logits" };
    let logits = writer.values[spec.output.as_str()].clone();
    if options.softmax {
        writer.node("Softmax", "softmax", vec![logits], name, vec![int("axis", 1)]);
    } else {
        writer.node("Identity", "output", vec![logits], name, vec![]);
    }
    let side = |n: Option<usize>, name: &str| DimensionProto {
        dim_value: n.map(|n| n as i64),
        dim_param: if n.is_none() { Some(name.into()) } else { None },
    };
    let dims = |channels: usize, size: Option<(usize, usize)>| {
        vec![
            side(options.batch, "batch"),
            side(Some(channels), ""),
            side(size.map(|s| s.0), "height"),
            side(size.map(|s| s.1), "width"),
        ]
    };
    let output_size = match options.size {
        None => None,
        Some((rows, columns)) => {
            let shapes = Shapes::infer(&spec, rows, columns)?;
            spec.layer_index(&spec.output).map(|i| (shapes.tensors[i].height, shapes.tensors[i].width))
        }
    };
    let graph = GraphProto {
        name: spec.family.clone(),
        node: writer.nodes,
        initializer: writer.initializers,
        input: vec![info(IMAGE, data_type::FLOAT, dims(spec.in_channels(), options.size))],
        output: vec![info(name, data_type::FLOAT, dims(spec.classes, output_size))],
        ..Default::default()
    };
    Ok(model(graph, Vec::new()))
}

/// The bytes of a file with this graph; `metadata` are its properties.
pub(crate) fn model(graph: GraphProto, metadata: Vec<StringStringEntryProto>) -> Vec<u8> {
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "segfit".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata,
        ..Default::default()
    };
    model.encode_to_vec()
}

/// A tensor that goes in or comes out.
pub(crate) fn info(name: &str, elem_type: i32, dim: Vec<DimensionProto>) -> ValueInfoProto {
    let tensor_type = TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

/// An attribute that is a whole number.
pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), kind: attribute_kind::INT, i, ..Default::default() }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&n| n as i64).collect();
    AttributeProto { name: name.into(), kind: attribute_kind::INTS, ints, ..Default::default() }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), kind: attribute_kind::FLOAT, f, ..Default::default() }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), kind: attribute_kind::STRING, s: s.into(), ..Default::default() }
}

/// A graph in the making.
pub(crate) struct Writer<'a> {
    spec: &'a NetworkSpec,
    image: &'a str,
    pub nodes: Vec<NodeProto>,
    pub initializers: Vec<TensorProto>,
    /// The value that holds each layer's output.
    pub values: HashMap<&'a str, String>,
}

impl<'a> Writer<'a> {
    /// An empty graph of a network whose first layer is the value `image`.
    pub fn new(spec: &'a NetworkSpec, image: &'a str) -> Self {
        Self { spec, image, nodes: Vec::new(), initializers: Vec::new(), values: HashMap::new() }
    }

    pub fn node(&mut self, op: &str, name: &str, input: Vec<String>, output: &str, attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name: name.into(),
            input,
            output: vec![output.into()],
            attribute,
            ..Default::default()
        });
    }

    pub fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, dims, data_type::FLOAT, raw_data)
    }

    pub fn whole_numbers(&mut self, name: &str, values: &[i64]) -> String {
        let raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, &[values.len()], data_type::INT64, raw_data)
    }

    pub fn initializer(&mut self, name: &str, dims: &[usize], data_type: i32, raw_data: Vec<u8>) -> String {
        let dims = dims.iter().map(|&n| n as i64).collect();
        self.initializers.push(TensorProto { name: name.into(), dims, data_type, raw_data, ..Default::default() });
        name.into()
    }

    /// All parameters of the network, in its order; weights of convolutions as 16 bit floats where `half`.
    pub fn parameters(&mut self, weights: &HashMap<&str, &Tensor>, half: bool) -> Result<()> {
        for parameter in self.spec.parameters()? {
            let wrong = |got: String| Error::Network {
                layer: self.spec.layers[parameter.layer].name.clone(),
                reason: format!("its parameter {} must be of shape {:?}, {got}", parameter.name, parameter.shape),
            };
            let wrong_value = |value: f32| Error::Network {
                layer: self.spec.layers[parameter.layer].name.clone(),
                reason: format!("its parameter {} holds {value}, which does not fit 16 bits", parameter.name),
            };
            let tensor = weights.get(parameter.name.as_str()).ok_or_else(|| wrong("it is missing".into()))?;
            if tensor.shape != parameter.shape || tensor.values.len() != parameter.len() {
                return Err(wrong(format!("it is of {:?} with {} values", tensor.shape, tensor.values.len())));
            }
            // Broadcast against [batch, channels, rows, columns], dimensions are aligned at the last one.
            let per_channel = parameter.kind == ParameterKind::Slope
                || matches!(self.spec.layers[parameter.layer].op, Op::GroupNorm { .. });
            let dims = if per_channel { vec![parameter.shape[0], 1, 1] } else { parameter.shape.clone() };
            if half && parameter.kind == ParameterKind::Weight {
                self.halves(&parameter.name, &dims, &tensor.values).map_err(wrong_value)?;
            } else {
                self.floats(&parameter.name, &dims, &tensor.values);
            }
        }
        Ok(())
    }

    /// A constant stored in 16 bits and used in 32; the value that does not fit is the error.
    fn halves(&mut self, name: &str, dims: &[usize], values: &[f32]) -> std::result::Result<(), f32> {
        let mut raw_data = Vec::with_capacity(2 * values.len());
        for &value in values {
            raw_data.extend(half(value).ok_or(value)?.to_le_bytes());
        }
        let stored = self.initializer(&format!("{name}/half"), dims, data_type::FLOAT16, raw_data);
        self.node("Cast", &format!("{name}/cast"), vec![stored], name, vec![int("to", data_type::FLOAT.into())]);
        Ok(())
    }

    /// The nodes of a layer, all earlier ones being there.
    pub fn layer(&mut self, i: usize, shapes: &Shapes) {
        let layer: &'a Layer = &self.spec.layers[i];
        let inputs: Vec<String> = layer.inputs.iter().map(|n| self.values[n.as_str()].clone()).collect();
        let value = match &layer.op {
            Op::Input { .. } => self.image.into(),
            Op::Dropout { .. } => inputs[0].clone(),
            Op::Concat | Op::Add if inputs.len() == 1 => inputs[0].clone(),
            op => {
                let value = format!("{}/output", layer.name);
                self.compute(layer, op, inputs, shapes.tensors[i].channels, &value);
                value
            }
        };
        self.values.insert(&layer.name, value);
    }

    fn compute(&mut self, layer: &Layer, op: &Op, mut inputs: Vec<String>, channels: usize, output: &str) {
        let name = layer.name.as_str();
        let own = |suffix: &str| format!("{name}.{suffix}");
        let (kind, attributes) = match op {
            Op::Conv2d { bias, .. } | Op::DepthwiseConv2d { bias, .. } | Op::ConvTranspose2d { bias, .. } => {
                inputs.push(own("weight"));
                if *bias {
                    inputs.push(own("bias"));
                }
                convolution(op, channels)
            }
            Op::BatchNorm { eps, momentum } => {
                inputs.extend(["weight", "bias", "running_mean", "running_var"].map(own));
                ("BatchNormalization", vec![float("epsilon", *eps), float("momentum", 1.0 - momentum)])
            }
            Op::InstanceNorm { eps, affine } => {
                inputs.extend(if *affine {
                    [own("weight"), own("bias")]
                } else {
                    let scale = self.floats(&format!("{name}/scale"), &[channels], &vec![1.0; channels]);
                    [scale, self.floats(&format!("{name}/shift"), &[channels], &vec![0.0; channels])]
                });
                ("InstanceNormalization", vec![float("epsilon", *eps)])
            }
            Op::GroupNorm { groups, eps } => return self.group_norm(name, &inputs[0], *groups, *eps, output),
            Op::Silu => {
                let gate = format!("{name}/gate");
                self.node("Sigmoid", name, inputs.clone(), &gate, vec![]);
                return self.node("Mul", &format!("{name}/times"), vec![inputs.remove(0), gate], output, vec![]);
            }
            Op::Prelu { .. } => {
                inputs.push(own("weight"));
                ("PRelu", vec![])
            }
            Op::Clamp { low, high } => {
                inputs.push(self.floats(&format!("{name}/low"), &[], &[*low]));
                inputs.push(self.floats(&format!("{name}/high"), &[], &[*high]));
                ("Clip", vec![])
            }
            Op::Upsample { factor, interpolation } => {
                let scales = [1.0, 1.0, factor[0] as f32, factor[1] as f32];
                inputs.extend([String::new(), self.floats(&format!("{name}/scales"), &[4], &scales)]);
                ("Resize", resize(*interpolation))
            }
            Op::Pad { before, after, mode } => {
                let pads = [0, 0, before[0], before[1], 0, 0, after[0], after[1]].map(|n| n as i64);
                inputs.push(self.whole_numbers(&format!("{name}/pads"), &pads));
                let mode = match mode {
                    PadMode::Zero => "constant",
                    PadMode::Replicate => "edge",
                    PadMode::Reflect => "reflect",
                };
                ("Pad", vec![text("mode", mode)])
            }
            other => plain(other, inputs.len()),
        };
        self.node(kind, name, inputs, output, attributes);
    }

    /// An instance norm of the image reshaped to one channel per group; opset 17 has no group norm.
    fn group_norm(&mut self, name: &str, input: &str, groups: usize, eps: f32, output: &str) {
        let part = |what: &str| format!("{name}/{what}");
        let to = self.whole_numbers(&part("groups"), &[0, groups as i64, -1]);
        let scale = self.floats(&part("scale"), &[groups], &vec![1.0; groups]);
        let shift = self.floats(&part("shift"), &[groups], &vec![0.0; groups]);
        self.node("Reshape", &part("split"), vec![input.into(), to], &part("split_output"), vec![]);
        let inputs = vec![part("split_output"), scale, shift];
        self.node("InstanceNormalization", name, inputs, &part("norm_output"), vec![float("epsilon", eps)]);
        self.node("Shape", &part("shape"), vec![input.into()], &part("shape_output"), vec![]);
        let inputs = vec![part("norm_output"), part("shape_output")];
        self.node("Reshape", &part("join"), inputs, &part("join_output"), vec![]);
        let inputs = vec![part("join_output"), format!("{name}.weight")];
        self.node("Mul", &part("times"), inputs, &part("times_output"), vec![]);
        self.node("Add", &part("plus"), vec![part("times_output"), format!("{name}.bias")], output, vec![]);
    }
}

/// The nearest 16 bit float (IEEE 754 binary16, ties to even); `None` where it would be infinite or is no number.
fn half(value: f32) -> Option<u16> {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = f32::from_bits(bits & 0x7fff_ffff);
    if magnitude.is_nan() || magnitude >= 65520.0 {
        return None;
    }
    // Below 2^-14 halves are multiples of 2^-24; adding and taking away 0.5 rounds to these, as an f32 in [0.5, 1) has 2^-24 steps.
    if magnitude < 6.103_515_6e-5 {
        return Some(sign | ((magnitude + 0.5).to_bits() - 0.5_f32.to_bits()) as u16);
    }
    let magnitude = magnitude.to_bits();
    let rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    Some(sign | ((rounded - (112 << 23)) >> 13) as u16)
}

/// The same padding on both sides, as ONNX writes it: before of all axes, then after.
fn twice(padding: [usize; 2]) -> [usize; 4] {
    [padding[0], padding[1], padding[0], padding[1]]
}

fn convolution(op: &Op, channels: usize) -> (&'static str, Vec<AttributeProto>) {
    let Some(g) = op.geometry() else { return ("Conv", vec![]) };
    let mut attributes =
        vec![ints("kernel_shape", &g.kernel), ints("strides", &g.stride), ints("pads", &twice(g.padding))];
    match op {
        Op::ConvTranspose2d { .. } => {
            if g.output_padding != [0, 0] {
                attributes.push(ints("output_padding", &g.output_padding));
            }
            ("ConvTranspose", attributes)
        }
        _ => {
            let groups = match op {
                Op::Conv2d { groups, .. } => *groups,
                _ => channels,
            };
            attributes.extend([ints("dilations", &g.dilation), int("group", groups as i64)]);
            ("Conv", attributes)
        }
    }
}

fn resize(interpolation: Interpolation) -> Vec<AttributeProto> {
    match interpolation {
        Interpolation::Nearest => vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ],
        Interpolation::Bilinear => vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")],
        Interpolation::BilinearCorners => {
            vec![text("mode", "linear"), text("coordinate_transformation_mode", "align_corners")]
        }
    }
}

/// Layers that are one operator without further inputs.
fn plain(op: &Op, inputs: usize) -> (&'static str, Vec<AttributeProto>) {
    let window = op
        .window()
        .map(|w| vec![ints("kernel_shape", &w.kernel), ints("strides", &w.stride), ints("pads", &twice(w.padding))]);
    match op {
        Op::Relu => ("Relu", vec![]),
        Op::LeakyRelu { slope } => ("LeakyRelu", vec![float("alpha", *slope)]),
        Op::Elu => ("Elu", vec![float("alpha", 1.0)]),
        Op::Sigmoid => ("Sigmoid", vec![]),
        Op::Tanh => ("Tanh", vec![]),
        Op::HardSigmoid => ("HardSigmoid", vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)]),
        Op::HardSwish => ("HardSwish", vec![]),
        Op::MaxPool { .. } => ("MaxPool", window.unwrap_or_default()),
        Op::AveragePool { count_padding, .. } => {
            let mut attributes = window.unwrap_or_default();
            attributes.push(int("count_include_pad", i64::from(*count_padding)));
            ("AveragePool", attributes)
        }
        Op::GlobalAveragePool => ("GlobalAveragePool", vec![]),
        Op::Concat => ("Concat", vec![int("axis", 1)]),
        Op::Add if inputs > 2 => ("Sum", vec![]),
        Op::Add => ("Add", vec![]),
        Op::Mul => ("Mul", vec![]),
        _ => unreachable!("every other layer is written by Writer::compute"),
    }
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn halves_by_hand() {
        let known = [(0.0, 0x0000), (-0.0, 0x8000), (1.0, 0x3c00), (-2.0, 0xc000), (65504.0, 0x7bff), (0.1, 0x2e66)];
        for (value, bits) in known {
            assert_eq!(half(value), Some(bits), "{value}");
        }
        // Ties go to the even one: 1 + 2^-11 down to 1, 1 + 3 * 2^-11 up; so do subnormals.
        assert_eq!(half(1.0 + 0.000_488_281_25), Some(0x3c00));
        assert_eq!(half(1.0 + 3.0 * 0.000_488_281_25), Some(0x3c02));
        let unit = 2.0_f32.powi(-24);
        assert_eq!([0.5, 0.75, 1.0, 1.5, 1023.0, 1023.5].map(|n| half(n * unit)), [0, 1, 1, 2, 1023, 1024].map(Some));
        assert_eq!([65519.0, 65520.0, f32::INFINITY, f32::NAN].map(half), [Some(0x7bff), None, None, None]);
    }
}
