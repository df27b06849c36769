//! Readable names of layers from what exporters call their nodes.

use std::collections::HashSet;

use super::node::Node;

/// Names given so far.
#[derive(Default)]
pub struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// `name`, or, when it is taken, `name` with the next free number.
    pub fn unique(&mut self, name: &str) -> String {
        let mut found = name.to_string();
        let mut n = 1;
        while !self.taken.insert(found.clone()) {
            n += 1;
            found = format!("{name}_{n}");
        }
        found
    }
}

/// The name of a layer with parameters: the module that owns them (`encoder.layer1.0.conv1`).
///
/// `weight` is the name of its first parameter in the file. PyTorch's dynamo exporter keeps the modules' names there, the
/// older one in the nodes' names.
pub fn with_parameters(node: &Node<'_>, weight: &str) -> String {
    let owner = weight.strip_suffix(".weight").filter(|o| !o.is_empty() && !o.contains("::"));
    let found = path(node).or_else(|| owner.map(str::to_string)).or_else(|| scope(node));
    clean(&found.unwrap_or_else(|| plain(node)))
}

/// The name of a layer without parameters: its module and what it does (`encoder.relu`).
pub fn without_parameters(node: &Node<'_>) -> String {
    let Some(module) = path(node).or_else(|| scope(node)) else { return clean(&plain(node)) };
    let does = node.op_type().to_lowercase();
    let last = module.rsplit('.').next().unwrap_or_default();
    if last.eq_ignore_ascii_case(&does) { clean(&module) } else { clean(&format!("{module}.{does}")) }
}

fn plain(node: &Node<'_>) -> String {
    let name = if node.proto.name.is_empty() { node.proto.output.first() } else { Some(&node.proto.name) };
    name.map_or("layer", String::as_str).trim_start_matches("node_").to_string()
}

/// The module of a node of PyTorch's older exporter: `/encoder/features.12/conv/conv.2/Conv` is
/// `encoder.features.12.conv.2`; a part that starts with the part before it replaces that.
fn path(node: &Node<'_>) -> Option<String> {
    let mut parts: Vec<&str> = node.proto.name.strip_prefix('/')?.split('/').collect();
    parts.pop();
    let mut kept: Vec<&str> = Vec::new();
    for part in parts {
        let continues =
            kept.last().is_some_and(|last| part.strip_prefix(last).is_some_and(|rest| rest.starts_with('.')));
        if continues {
            kept.pop();
        }
        kept.push(part);
    }
    (!kept.is_empty()).then(|| kept.join("."))
}

/// The module of a node of PyTorch's dynamo exporter: the last but one of `['', 'a', 'a.0', 'conv2d']`.
fn scope(node: &Node<'_>) -> Option<String> {
    let entry = node.proto.metadata_props.iter().find(|p| p.key == "pkg.torch.onnx.name_scopes")?;
    let list: Vec<&str> = entry.value.split('\'').skip(1).step_by(2).collect();
    let module = list.len().checked_sub(2).map(|i| list[i])?;
    (!module.is_empty()).then(|| module.to_string())
}

/// Only letters, digits, dots, dashes and underscores.
fn clean(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let text: String = name.chars().take(200).map(|c| if fits(c) { c } else { '_' }).collect();
    if text.is_empty() { "layer".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{NodeProto, StringStringEntryProto};
    use super::*;

    fn node(name: &str, op: &str) -> NodeProto {
        NodeProto { name: name.into(), op_type: op.into(), ..Default::default() }
    }

    #[test]
    fn names_are_those_of_the_modules() {
        let older = node("/encoder/features.12/conv/conv.0/conv.0.0/Conv", "Conv");
        let older = Node { proto: &older, opset: 17 };
        assert_eq!(with_parameters(&older, "onnx::Conv_840"), "encoder.features.12.conv.0.0");
        let mut dynamo = node("node_Conv_66", "Conv");
        assert_eq!(with_parameters(&Node { proto: &dynamo, opset: 18 }, "b.0.weight"), "b.0");
        let value = "['', 'b', 'b.2', 'relu']".to_string();
        dynamo.metadata_props = vec![StringStringEntryProto { key: "pkg.torch.onnx.name_scopes".into(), value }];
        dynamo.op_type = "Relu".into();
        assert_eq!(without_parameters(&Node { proto: &dynamo, opset: 18 }), "b.2.relu");
        let bare = node("enc0.relu1", "Relu");
        assert_eq!(without_parameters(&Node { proto: &bare, opset: 17 }), "enc0.relu1");
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let mut names = Names::default();
        assert_eq!([names.unique("a"), names.unique("a"), names.unique("a")], ["a", "a_2", "a_3"]);
    }
}
