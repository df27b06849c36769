//! Networks of others: reading ONNX files as [`NetworkSpec`]s with their weights, and writing networks as ONNX.
//!
//! [`import`] reads what PyTorch's exporters write for segmentation networks: it computes everything that is known without
//! an image, turns the rest into layers, finds the channel groups by propagation, and names every node that it cannot read.
//! [`export`] writes any network. Both only describe: nothing here runs a network.

mod constant;
mod draft;
pub(crate) mod export;
mod fold;
mod names;
mod node;
mod operators;
pub(crate) mod proto;
mod read;
pub(crate) mod self_contained;
#[cfg(test)]
mod tests;

use std::path::Path;

use prost::Message as _;

use crate::error::{Error, Result};
use crate::network::{GroupKind, NetworkSpec, Shapes};
use proto::ModelProto;
use read::{Image, Read, is_onnx};

pub use export::{ExportOptions, export};

/// Rows and columns that a graph without a fixed size is read for.
const DEFAULT_SIZE: usize = 256;
/// The oldest set of operators that is read.
const OLDEST_OPSET: i64 = 7;
/// Unreadable nodes that a message names.
const MOST_NAMED: usize = 12;

/// A parameter with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// As [`crate::network::Parameter::name`].
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values, the last dimension fastest.
    pub values: Vec<f32>,
}

/// How to read a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Rows and columns of the image where the file leaves them open; 256 each when not given. They only matter for what
    /// the file computes from the image's size, which must not depend on it.
    pub size: Option<(usize, usize)>,
}

/// A network that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The network, for images of any size.
    pub spec: NetworkSpec,
    /// Its parameters, one for each of [`NetworkSpec::parameters`], in that order.
    pub weights: Vec<Tensor>,
    /// What was left out or understood in a particular way, for people.
    pub notes: Vec<String>,
    /// Version of the operators that the file uses.
    pub opset: i64,
}

/// The network in an ONNX file, and its weights.
///
/// Read are convolutions (grouped, depthwise, dilated, transposed), batch, instance and group norms, activations, poolings,
/// enlarging by whole factors, padding, concatenation of channels, sums, products with gates and constants. Softmax,
/// sigmoid and argmax at the end are left out. Channels that are added to each other form one group; channels added to
/// the image are fixed, like the image's and the classes'.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Decode`] when it is no ONNX file; [`Error::Content`] naming operator,
/// name and reason of every node that cannot be read.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    import_bytes(path, &bytes, options)
}

/// As [`import`], of a file in memory; `path` is only for messages.
///
/// # Errors
/// As [`import`].
pub fn import_bytes(path: &Path, bytes: &[u8], options: &ImportOptions) -> Result<Imported> {
    let model = decode(path, bytes)?;
    let refused = |got: String| refuse(path, got);
    let graph = model.graph.as_ref().ok_or_else(|| refused("a file without a graph".into()))?;
    let opset = model.opset_import.iter().find(|s| is_onnx(&s.domain)).map_or(0, |s| s.version);
    if opset < OLDEST_OPSET {
        return Err(refused(format!("operators of version {opset}, older than {OLDEST_OPSET}")));
    }
    let image = Image::of(graph).map_err(refused)?;
    let (rows, columns) = options.size.unwrap_or((DEFAULT_SIZE, DEFAULT_SIZE));
    let size = [image.fixed[0].unwrap_or(rows), image.fixed[1].unwrap_or(columns)];
    let mut found = read_at(path, &model, &image, size)?;
    if image.fixed != [None; 2] {
        let multiple = found.spec.input_multiple();
        found.notes.push(format!("exported for images of {}x{} pixels; read for all sizes", size[0], size[1]));
        if size.iter().any(|n| !n.is_multiple_of(multiple)) {
            found
                .notes
                .push(format!("{}x{} is no multiple of {multiple}: paddings may fit this size only", size[0], size[1]));
        }
    } else {
        check_other_size(path, &model, &image, &found, size)?;
    }
    let weights = named(path, &found)?;
    let groups_needed = found.spec.channel_multiples()?;
    for (group, multiple) in found.spec.groups.iter_mut().zip(groups_needed) {
        if group.kind == GroupKind::Free && group.channels.is_multiple_of(multiple) {
            group.divisible_by = multiple;
        }
    }
    found.spec.validate()?;
    Ok(Imported { spec: found.spec, weights, notes: found.notes, opset })
}

/// A file's messages.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<ModelProto> {
    let wrong = |reason: String| Error::Decode { path: path.into(), format: "ONNX".into(), reason };
    let model = ModelProto::decode(bytes).map_err(|e| wrong(e.to_string()))?;
    if model.graph.is_none() || model.ir_version == 0 {
        return Err(wrong("it has no graph".into()));
    }
    Ok(model)
}

fn refuse(path: &Path, got: String) -> Error {
    Error::Content {
        path: path.into(),
        expected: "a segmentation network of layers that segfit has".into(),
        got,
        hint: "docs/onnx.md lists what is read and how to export it; nothing was written".into(),
    }
}

fn read_at(path: &Path, model: &ModelProto, image: &Image<'_>, size: [usize; 2]) -> Result<Read> {
    let graph = model.graph.as_ref().ok_or_else(|| refuse(path, "a file without a graph".into()))?;
    let found = read::read(model, graph, image, size).map_err(|list| refuse(path, several(&list)))?;
    found.spec.validate()?;
    // What was read must have the shapes that the file computes.
    let shapes = Shapes::infer(&found.spec, size[0], size[1])?;
    for (shape, (name, expected)) in shapes.tensors.iter().zip(&found.shapes) {
        if (shape.channels, shape.height, shape.width) != *expected {
            return Err(Error::Network {
                layer: name.clone(),
                reason: format!("is of {shape}, the file's of {} x {} x {}", expected.0, expected.1, expected.2),
            });
        }
    }
    Ok(found)
}

fn several(list: &[String]) -> String {
    let mut text = match list {
        [only] => return only.clone(),
        _ => format!("{} nodes that cannot be read:", list.len()),
    };
    for reason in &list[..list.len().min(MOST_NAMED)] {
        text += &format!("\n  {reason}");
    }
    if list.len() > MOST_NAMED {
        text += &format!("\n  and {} more", list.len() - MOST_NAMED);
    }
    text
}

/// A graph of open size must be the same network at every size.
fn check_other_size(path: &Path, model: &ModelProto, image: &Image<'_>, found: &Read, size: [usize; 2]) -> Result<()> {
    let other = read_at(path, model, image, [2 * size[0], 2 * size[1]])?;
    let differs = found.spec.layers.iter().zip(&other.spec.layers).find(|(a, b)| a != b);
    if differs.is_none() && found.spec.layers.len() == other.spec.layers.len() {
        return Ok(());
    }
    let layer = differs.map_or_else(|| found.spec.output.clone(), |(a, _)| a.name.clone());
    Err(refuse(
        path,
        format!("layer {layer}, which is another one for images of {}x{} pixels", 2 * size[0], 2 * size[1]),
    ))
}

/// The weights under their names, checked against the network.
fn named(path: &Path, found: &Read) -> Result<Vec<Tensor>> {
    let parameters = found.spec.parameters()?;
    let mut list = Vec::with_capacity(parameters.len());
    let mut taken = vec![0; found.weights.len()];
    for parameter in parameters {
        let values = found.weights[parameter.layer].get(taken[parameter.layer]).cloned().unwrap_or_default();
        taken[parameter.layer] += 1;
        if values.len() != parameter.len() {
            let got = format!("{} values of {} instead of {}", values.len(), parameter.name, parameter.len());
            return Err(refuse(path, got));
        }
        list.push(Tensor { name: parameter.name, shape: parameter.shape, values });
    }
    Ok(list)
}
