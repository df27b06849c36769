//! Reading a graph node by node: what is known without an image is computed, the rest becomes layers.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::constant::Constant;
use super::draft::{Draft, LARGEST_SIDE, Shape};
use super::fold::fold;
use super::node::Node;
use super::operators;
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use crate::network::NetworkSpec;

/// What a name of the graph stands for.
#[derive(Clone)]
pub enum Value {
    /// Known without an image.
    Constant(Rc<Constant>),
    /// `[batch, channels, rows, columns]` of a layer.
    Tensor(usize),
    /// `[batch, channels]` of a layer with one pixel.
    Vector(usize),
    /// `[batch, groups, values]` of a layer: half of a group norm.
    Split { layer: usize, groups: usize, normalised: bool },
    /// Tensors stacked along a new first dimension.
    Stack(Vec<usize>),
}

impl Value {
    pub fn constant(&self) -> Option<&Constant> {
        if let Self::Constant(c) = self { Some(c) } else { None }
    }

    /// The layer of a tensor, with or without its rows and columns.
    pub fn pixels_or_vector(&self) -> Result<usize, String> {
        match self {
            Self::Tensor(layer) | Self::Vector(layer) => Ok(*layer),
            Self::Constant(_) => Err("its input is a constant".into()),
            Self::Split { .. } | Self::Stack(_) => Err("its input is reshaped in a way that no layer reads".into()),
        }
    }

    /// The same kind of value of another layer.
    pub fn moved_to(&self, layer: usize) -> Self {
        if matches!(self, Self::Vector(_)) { Self::Vector(layer) } else { Self::Tensor(layer) }
    }
}

/// A graph while it is read for one image size.
pub struct Reader<'a> {
    pub draft: Draft,
    pub batch: usize,
    values: HashMap<&'a str, Value>,
    uses: HashMap<&'a str, usize>,
    notes: Vec<String>,
}

impl Reader<'_> {
    /// Says something once.
    pub fn note(&mut self, text: &str) {
        if !self.notes.iter().any(|n| n == text) {
            self.notes.push(text.into());
        }
    }

    /// Shape of a value as the graph sees it.
    pub fn dims(&self, value: &Value) -> Vec<usize> {
        let shape = |layer: usize| self.draft.layers[layer].shape;
        match value {
            Value::Constant(c) => c.dims.clone(),
            Value::Tensor(l) => {
                let (c, h, w) = shape(*l);
                vec![self.batch, c, h, w]
            }
            Value::Vector(l) => vec![self.batch, shape(*l).0],
            Value::Split { layer, groups, .. } => {
                let (c, h, w) = shape(*layer);
                vec![self.batch, *groups, c / groups * h * w]
            }
            Value::Stack(list) => {
                let (c, h, w) = shape(list[0]);
                vec![list.len(), self.batch, c, h, w]
            }
        }
    }

    /// Channels of a tensor.
    pub fn channels(&self, value: &Value) -> Result<usize, String> {
        Ok(self.draft.layers[value.pixels_or_vector()?].shape.0)
    }
}

/// The image that a graph is made for.
pub struct Image<'a> {
    name: &'a str,
    batch: usize,
    channels: usize,
    /// Rows and columns where the file fixes them.
    pub fixed: [Option<usize>; 2],
}

impl<'a> Image<'a> {
    /// The one input of the graph that is not a constant.
    pub fn of(graph: &'a GraphProto) -> Result<Self, String> {
        let constants: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let inputs: Vec<_> = graph.input.iter().filter(|i| !constants.contains(i.name.as_str())).collect();
        let [input] = inputs[..] else {
            return Err(format!("{} inputs; a network with one image as its input is read", inputs.len()));
        };
        let dims = dims_of(input).ok_or_else(|| format!("the input {} has no shape", input.name))?;
        let [batch, channels, rows, columns] = dims[..] else {
            return Err(format!("the input {} has {} dimensions; only images (four) are read", input.name, dims.len()));
        };
        let side = |n: Option<i64>| match n {
            None => Ok(None),
            Some(n) => {
                let found = usize::try_from(n).ok().filter(|n| (1..=LARGEST_SIDE).contains(n));
                found.map(Some).ok_or_else(|| format!("the input {} is of {n} pixels", input.name))
            }
        };
        let channels = side(channels)?.filter(|&n| n <= 1024);
        let channels = channels.ok_or_else(|| format!("the number of channels of {} is not given", input.name))?;
        let batch = side(batch)?.unwrap_or(1);
        Ok(Self { name: &input.name, batch, channels, fixed: [side(rows)?, side(columns)?] })
    }
}

/// Dimensions of an input; `None` for those that are not fixed.
fn dims_of(info: &ValueInfoProto) -> Option<Vec<Option<i64>>> {
    let shape = info.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()?;
    Some(shape.dim.iter().map(|d| d.dim_value.filter(|&n| n > 0)).collect())
}

/// A network as it was read for one image size.
pub struct Read {
    pub spec: NetworkSpec,
    pub weights: Vec<Vec<Vec<f32>>>,
    pub notes: Vec<String>,
    pub shapes: Vec<(String, Shape)>,
}

/// Reads the graph for an image of `size`.
///
/// # Errors
/// The reasons, one for each node that cannot be read.
pub fn read(model: &ModelProto, graph: &GraphProto, image: &Image<'_>, size: [usize; 2]) -> Result<Read, Vec<String>> {
    let one = |reason: String| vec![reason];
    let mut reader = Reader {
        draft: Draft::default(),
        batch: image.batch,
        values: HashMap::new(),
        uses: HashMap::new(),
        notes: Vec::new(),
    };
    let logits = find_logits(graph, &mut reader.notes).map_err(one)?;
    let needed = needed(graph, logits);
    for node in graph.node.iter().zip(&needed).filter(|(_, needed)| **needed).map(|(n, _)| n) {
        node.input.iter().for_each(|name| *reader.uses.entry(name).or_default() += 1);
    }
    *reader.uses.entry(logits).or_default() += 1;
    let layer = reader.draft.image((image.channels, size[0], size[1])).map_err(one)?;
    bind(&mut reader, image.name, Value::Tensor(layer));
    let mut failures = Vec::new();
    for tensor in &graph.initializer {
        if !reader.uses.contains_key(tensor.name.as_str()) {
            continue;
        }
        match Constant::from_proto(tensor) {
            Ok(constant) => bind(&mut reader, &tensor.name, Value::Constant(Rc::new(constant))),
            Err(reason) => failures.push(format!("constant {}: {reason}", tensor.name)),
        }
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    let opset = model.opset_import.iter().find(|s| is_onnx(&s.domain)).map_or(0, |s| s.version);
    let mut unread: HashSet<&str> = HashSet::new();
    for proto in graph.node.iter().zip(&needed).filter(|(_, needed)| **needed).map(|(n, _)| n) {
        if proto.input.iter().any(|name| unread.contains(name.as_str())) {
            // Its input could not be read, which has been said.
            unread.extend(proto.output.iter().map(String::as_str));
            continue;
        }
        let node = Node { proto, opset };
        match evaluate(&mut reader, &node) {
            Ok(value) => {
                if let Some(name) = proto.output.first() {
                    bind(&mut reader, name, value);
                }
            }
            Err(reason) => {
                failures.push(format!("{}: {reason}", node.describe()));
                unread.extend(proto.output.iter().map(String::as_str));
            }
        }
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    let output = match reader.values.get(logits) {
        Some(Value::Tensor(layer)) if *layer > 0 => *layer,
        _ => return Err(one(format!("the output {logits} is not an image of classes"))),
    };
    let Reader { draft, notes, .. } = reader;
    let shapes = draft.shapes(output);
    let (spec, weights) = draft.finish(output);
    Ok(Read { spec, weights, notes, shapes })
}

pub fn is_onnx(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

fn bind<'a>(reader: &mut Reader<'a>, name: &'a str, value: Value) {
    if let Value::Tensor(layer) | Value::Vector(layer) | Value::Split { layer, .. } = value {
        reader.draft.layers[layer].shared |= reader.uses.get(name).copied().unwrap_or(0) > 1;
    }
    reader.values.insert(name, value);
}

fn evaluate(reader: &mut Reader<'_>, node: &Node<'_>) -> Result<Value, String> {
    if !is_onnx(&node.proto.domain) {
        return Err(format!("an operator of {}; only ONNX's own are read", node.proto.domain));
    }
    let inputs = node.proto.input.iter().map(|name| match name.as_str() {
        "" => Ok(None),
        name => {
            let found = reader.values.get(name).cloned();
            found.map(Some).ok_or_else(|| format!("its input {name} is made by no earlier node"))
        }
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    if let ("Shape" | "Size", Some(Some(value))) = (node.op_type(), inputs.first()) {
        return Ok(Value::Constant(Rc::new(shape(reader, node, value))));
    }
    if inputs.iter().flatten().all(|v| v.constant().is_some()) {
        let constants: Vec<_> = inputs.iter().map(|v| v.as_ref().and_then(Value::constant)).collect();
        if let Some(folded) = fold(node, &constants) {
            return Ok(Value::Constant(Rc::new(folded?)));
        }
    }
    operators::convert(reader, node, &inputs)
}

/// Shape (or a part of it), or Size.
fn shape(reader: &Reader<'_>, node: &Node<'_>, value: &Value) -> Constant {
    let dims: Vec<i64> = reader.dims(value).into_iter().map(|n| n as i64).collect();
    if node.op_type() == "Size" {
        return Constant { dims: Vec::new(), ..Constant::ints(vec![dims.iter().product()]) };
    }
    let n = dims.len() as i64;
    let at = |i: i64| (if i < 0 { i.saturating_add(n) } else { i }).clamp(0, n) as usize;
    let (start, end) = (at(node.int("start", 0)), at(node.int("end", n)));
    Constant::ints(dims[start..end.max(start)].to_vec())
}

/// Which nodes the value `output` is made of.
fn needed(graph: &GraphProto, output: &str) -> Vec<bool> {
    let mut wanted: HashSet<&str> = HashSet::from([output]);
    let mut needed = vec![false; graph.node.len()];
    for (i, node) in graph.node.iter().enumerate().rev() {
        needed[i] = node.output.iter().any(|name| wanted.contains(name.as_str()));
        if needed[i] {
            wanted.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
        }
    }
    needed
}

/// The value that holds the logits: the first output of the graph without the operators behind them.
fn find_logits<'a>(graph: &'a GraphProto, notes: &mut Vec<String>) -> Result<&'a str, String> {
    let output = graph.output.first().ok_or("the graph has no output")?;
    if graph.output.len() > 1 {
        notes.push(format!("only the first of {} outputs, {}, is read", graph.output.len(), output.name));
    }
    let makers: HashMap<&str, &NodeProto> =
        graph.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
    let mut value = output.name.as_str();
    // No more steps than nodes: those of a damaged file could form a ring.
    for _ in 0..graph.node.len() {
        let Some(node) = makers.get(value) else { break };
        let input = node.input.first().map_or("", String::as_str);
        match node.op_type.as_str() {
            "Identity" => {}
            "Cast" | "Squeeze" | "Unsqueeze" if leads_to(&makers, input, "ArgMax") => {}
            "Softmax" | "LogSoftmax" | "ArgMax" => {
                notes.push(format!("the {} at the end is left out: the output is the logits", node.op_type));
            }
            "Sigmoid" => {
                notes.push(
                    "the sigmoid at the end is left out: every channel of the output is the logit of a class by itself, \
                     a single channel that of the foreground against the background"
                        .into(),
                );
                return Ok(input);
            }
            _ => break,
        }
        value = input;
    }
    Ok(value)
}

/// Whether a value is made by this operator, possibly through casts and changes of shape.
fn leads_to(makers: &HashMap<&str, &NodeProto>, value: &str, op: &str) -> bool {
    let mut value = value;
    for _ in 0..4 {
        match makers.get(value) {
            Some(node) if node.op_type == op => return true,
            Some(node) if matches!(node.op_type.as_str(), "Cast" | "Squeeze" | "Unsqueeze" | "Identity") => {
                value = node.input.first().map_or("", String::as_str);
            }
            _ => return false,
        }
    }
    false
}
