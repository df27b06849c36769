//! The deployed network as ONNX: an image of any size in, probabilities or labels out.
//!
//! Unlike [`crate::onnx::export`], which writes any network as it is, this graph does all that segmenting needs: it normalises,
//! continues the image by reflection to a size that the network accepts, crops its output back, and makes probabilities of
//! logits. Batch norms are folded, auxiliary heads and dropout left out. [`Metadata`] says what a program must know besides.

mod metadata;
mod quantise;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;

pub use metadata::{FORMAT, Metadata};
use serde::{Deserialize, Serialize};

use super::Deployment;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::onnx::export::{IMAGE, Writer, info, int, model};
use crate::onnx::proto::{DimensionProto, GraphProto, data_type};
use crate::recipe::LossKind;

/// Version of the operators that are written.
pub const OPSET: i64 = crate::onnx::export::OPSET;

/// What the file's one output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Output {
    /// The probability of every class, `[batch][classes][height][width]`, f32.
    #[default]
    Probabilities,
    /// What probabilities are made of, in the same shape.
    Logits,
    /// The most probable class of every pixel, the lower one on a tie: `[batch][height][width]`, u8.
    Labels,
    /// 1 where the background is at most 1 - `threshold` probable, else 0: `[batch][height][width]`, u8.
    Mask {
        /// Least probability of all foreground classes together.
        threshold: f32,
    },
}

impl Output {
    /// The output's name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Probabilities => "probabilities",
            Self::Logits => "logits",
            Self::Labels => "labels",
            Self::Mask { .. } => "mask",
        }
    }
}

/// The numbers in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// 32-bit floats.
    #[default]
    F32,
    /// The weights of convolutions as 16-bit floats, which become 32-bit ones when the file is loaded.
    F16,
    /// Weights and activations around convolutions in 8 bits (QuantizeLinear and DequantizeLinear).
    Int8,
}

/// How to write a file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// The output.
    pub output: Output,
    /// The numbers.
    pub numbers: Numbers,
    /// Leaves normalisation out: the image has to be normalised already.
    pub raw: bool,
}

/// The bytes of an ONNX file (opset 17, IR version 8). The same deployment and options give the same bytes.
///
/// The input is `image`, `[batch][channels][height][width]`, f32, values in 0 to 1; batch, height and width are free. A network that was
/// trained on resized frames expects them resized ([`Metadata::input`]).
///
/// # Errors
/// [`Error::Network`] when the network does not fit together, a weight does not fit 16 bits, or [`Numbers::Int8`] is asked for and
/// there is no range of a tensor; [`Error::Option`] for a threshold outside 0 to 1.
pub fn bytes(deployment: &Deployment, options: &Options) -> Result<Vec<u8>> {
    if let Output::Mask { threshold } = options.output
        && !(0.0..=1.0).contains(&threshold)
    {
        let (expected, got) = ("a probability, 0 to 1".into(), threshold.to_string());
        return Err(Error::Option { what: "--threshold".into(), expected, got });
    }
    let deployment = deployment.clone().checked()?;
    let folded = deployment.folded()?;
    let spec = &folded.network;
    let by_name: HashMap<&str, _> = folded.weights.iter().map(|t| (t.name.as_str(), t)).collect();
    let image = prepared(&folded, options);
    let mut writer = Writer::new(spec, &image);
    writer.parameters(&by_name, options.numbers == Numbers::F16)?;
    prepare(&mut writer, &folded, options);
    let shapes = spec.smallest_shapes()?;
    for i in 0..spec.layers.len() {
        writer.layer(i, &shapes);
    }
    if options.numbers == Numbers::Int8 {
        quantise::quantise(&mut writer, &folded)?;
    }
    finish(&mut writer, &folded, options.output);
    let dims = |sides: &[Side]| sides.iter().map(|side| side.proto()).collect();
    let sides = [Side::Named("batch"), Side::Of(spec.in_channels()), Side::Named("height"), Side::Named("width")];
    let input = info(IMAGE, data_type::FLOAT, dims(&sides));
    let (kind, sides) = match options.output {
        Output::Probabilities | Output::Logits => {
            (data_type::FLOAT, vec![sides[0], Side::Of(spec.classes), sides[2], sides[3]])
        }
        Output::Labels | Output::Mask { .. } => (data_type::UINT8, vec![sides[0], sides[2], sides[3]]),
    };
    let output = info(options.output.name(), kind, dims(&sides));
    let Writer { nodes: node, initializers: initializer, .. } = writer;
    let (name, input, output) = (spec.family.clone(), vec![input], vec![output]);
    let graph = GraphProto { name, node, initializer, input, output, ..Default::default() };
    Ok(model(graph, Metadata::of(&deployment, options).properties()))
}

/// Writes [`bytes`] to a file.
///
/// # Errors
/// As there, and [`Error::Io`].
pub fn write(deployment: &Deployment, options: &Options, path: &Path) -> Result<()> {
    write_atomically(path, &bytes(deployment, options)?)
}

#[derive(Clone, Copy)]
enum Side {
    Of(usize),
    Named(&'static str),
}

impl Side {
    fn proto(self) -> DimensionProto {
        match self {
            Self::Of(n) => DimensionProto { dim_value: Some(n as i64), dim_param: None },
            Self::Named(name) => DimensionProto { dim_value: None, dim_param: Some(name.into()) },
        }
    }
}

/// The value that the network's first layer is.
fn prepared(deployment: &Deployment, options: &Options) -> String {
    match (deployment.network.input_multiple() > 1, options.raw) {
        (true, _) => "image/padded".into(),
        (false, false) => "image/normalised".into(),
        (false, true) => IMAGE.into(),
    }
}

/// Normalisation, then reflection to a multiple of what the network accepts.
fn prepare(writer: &mut Writer<'_>, deployment: &Deployment, options: &Options) {
    let mut value = IMAGE.to_string();
    if !options.raw {
        let statistics = &deployment.normalisation;
        let dims = [1, statistics.mean.len(), 1, 1];
        let mean = writer.floats("image/mean", &dims, &statistics.mean);
        let std = writer.floats("image/std", &dims, &statistics.std);
        writer.node("Sub", "image/minus_mean", vec![value, mean], "image/centred", vec![]);
        writer.node("Div", "image/by_std", vec!["image/centred".into(), std], "image/normalised", vec![]);
        value = "image/normalised".into();
    }
    let multiple = deployment.network.input_multiple();
    if multiple > 1 {
        let rows = reflected(writer, "image/rows", 2, multiple);
        let columns = reflected(writer, "image/columns", 3, multiple);
        writer.node("Gather", "image/pad_rows", vec![value, rows], "image/tall", vec![int("axis", 2)]);
        writer.node(
            "Gather",
            "image/pad_columns",
            vec!["image/tall".into(), columns],
            "image/padded",
            vec![int("axis", 3)],
        );
    }
}

/// The positions along an axis of n that make up an axis of the next multiple: i itself up to n - 1, then back and forth, that is
/// (n - 1) - |i mod p - (n - 1)| with the period p = max(2 (n - 1), 1).
fn reflected(writer: &mut Writer<'_>, name: &str, axis: i64, multiple: usize) -> String {
    let part = |what: &str| format!("{name}/{what}");
    let mut constant = |what: &str, value: i64| {
        let raw = value.to_le_bytes().to_vec();
        writer.initializer(&part(what), &[], data_type::INT64, raw)
    };
    let (zero, one, two) = (constant("0", 0), constant("1", 1), constant("2", 2));
    let (axis, before, multiple) =
        (constant("axis", axis), constant("m-1", multiple as i64 - 1), constant("m", multiple as i64));
    let mut step = |op: &str, what: &str, inputs: [&str; 2]| {
        let inputs = inputs.iter().filter(|i| !i.is_empty()).map(|&i| i.to_string()).collect();
        writer.node(op, &format!("{name}/{what}/node"), inputs, &part(what), vec![]);
        part(what)
    };
    let shape = step("Shape", "shape", [IMAGE, ""]);
    let n = step("Gather", "n", [&shape, &axis]);
    let raised = step("Add", "n+m-1", [&n, &before]);
    let times = step("Div", "times", [&raised, &multiple]);
    let padded = step("Mul", "padded", [&times, &multiple]);
    let last = step("Sub", "last", [&n, &one]);
    let twice = step("Mul", "2last", [&last, &two]);
    let period = step("Max", "period", [&twice, &one]);
    writer.node("Range", &part("range/node"), vec![zero, padded, one], &part("range"), vec![]);
    let mut step = |op: &str, what: &str, inputs: &[&str]| {
        let inputs = inputs.iter().map(|&i| i.to_string()).collect();
        writer.node(op, &format!("{name}/{what}/node"), inputs, &part(what), vec![]);
        part(what)
    };
    let phase = step("Mod", "phase", &[&part("range"), &period]);
    let beyond = step("Sub", "beyond", &[&phase, &last]);
    let distance = step("Abs", "distance", &[&beyond]);
    step("Sub", "from", &[&last, &distance])
}

/// Crops the logits and makes the output of them.
fn finish(writer: &mut Writer<'_>, deployment: &Deployment, output: Output) {
    let mut logits = writer.values[deployment.network.output.as_str()].clone();
    if deployment.network.input_multiple() > 1 {
        let starts = writer.whole_numbers("crop/starts", &[0, 0]);
        let axes = writer.whole_numbers("crop/axes", &[2, 3]);
        writer.node("Shape", "crop/shape", vec![IMAGE.into()], "crop/ends", vec![int("start", 2), int("end", 4)]);
        writer.node("Slice", "crop", vec![logits, starts, "crop/ends".into(), axes], "crop/output", vec![]);
        logits = "crop/output".into();
    }
    match output {
        Output::Logits => writer.node("Identity", "output", vec![logits], output.name(), vec![]),
        Output::Probabilities => probabilities(writer, logits, deployment.loss, output.name()),
        Output::Labels => {
            // The largest logit has the largest probability, too.
            let attributes = vec![int("axis", 1), int("keepdims", 0)];
            writer.node("ArgMax", "largest", vec![logits], "largest/output", attributes);
            let to = int("to", data_type::UINT8.into());
            writer.node("Cast", "output", vec!["largest/output".into()], output.name(), vec![to]);
        }
        Output::Mask { threshold } => {
            probabilities(writer, logits, deployment.loss, "softmax/output");
            let background = writer.initializer("mask/background", &[], data_type::INT64, vec![0; 8]);
            let most = writer.floats("mask/most", &[], &[1.0 - threshold]);
            let inputs = vec!["softmax/output".into(), background];
            writer.node("Gather", "mask/gather", inputs, "mask/of_background", vec![int("axis", 1)]);
            writer.node("LessOrEqual", "mask/compare", vec!["mask/of_background".into(), most], "mask/found", vec![]);
            let to = int("to", data_type::UINT8.into());
            writer.node("Cast", "output", vec!["mask/found".into()], output.name(), vec![to]);
        }
    }
}

/// Softmax; with [`LossKind::BinaryDice`] of log(sigmoid(z)) = min(z, 0) - log(1 + exp(-|z|)), which does not underflow.
fn probabilities(writer: &mut Writer<'_>, logits: String, loss: LossKind, output: &str) {
    let mut value = logits;
    if loss == LossKind::BinaryDice {
        let zero = writer.floats("sigmoid/0", &[], &[0.0]);
        let one = writer.floats("sigmoid/1", &[], &[1.0]);
        let mut step = |op: &str, what: &str, inputs: Vec<String>| {
            let name = format!("sigmoid/{what}");
            writer.node(op, &format!("{name}/node"), inputs, &name, vec![]);
            name
        };
        let low = step("Min", "low", vec![value.clone(), zero]);
        let size = step("Abs", "size", vec![value]);
        let negative = step("Neg", "negative", vec![size]);
        let exponential = step("Exp", "exponential", vec![negative]);
        let sum = step("Add", "sum", vec![exponential, one]);
        let logarithm = step("Log", "logarithm", vec![sum]);
        value = step("Sub", "log", vec![low, logarithm]);
    }
    writer.node("Softmax", "softmax", vec![value], output, vec![int("axis", 1)]);
}
