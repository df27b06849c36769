//! Whether a file holds all that it needs. Programs that run ONNX files open other files where a tensor says that its values lie
//! there; a path in a file must not decide what is read.

use super::proto::{AttributeProto, EXTERNAL, ModelProto, TensorProto};

/// Fails for values in other files, and for parts that could hold such and that segfit never writes: subgraphs, functions, lists of
/// tensors, sparse tensors.
///
/// # Errors
/// What was found.
pub(crate) fn check(model: &ModelProto) -> Result<(), String> {
    let Some(graph) = &model.graph else { return Ok(()) };
    graph.initializer.iter().try_for_each(inside)?;
    if !model.functions.is_empty() {
        return Err("functions".into());
    }
    if !graph.sparse_initializer.is_empty() {
        return Err("sparse tensors".into());
    }
    graph.node.iter().flat_map(|n| &n.attribute).try_for_each(plain)
}

fn plain(attribute: &AttributeProto) -> Result<(), String> {
    let parts =
        [&attribute.graph, &attribute.graphs, &attribute.tensors, &attribute.sparse_tensor, &attribute.sparse_tensors];
    if parts.iter().any(|p| !p.is_empty()) {
        return Err(format!("the attribute {}, a graph or a list of tensors", attribute.name));
    }
    attribute.t.iter().try_for_each(inside)
}

fn inside(tensor: &TensorProto) -> Result<(), String> {
    if tensor.data_location == EXTERNAL || !tensor.external_data.is_empty() {
        return Err(format!("the tensor {}, whose values are in another file (external data)", tensor.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{GraphProto, NodeProto, StringStringEntryProto};

    fn found(graph: GraphProto, functions: Vec<Vec<u8>>) -> String {
        check(&ModelProto { graph: Some(graph), functions, ..Default::default() }).unwrap_err()
    }

    fn with(attribute: AttributeProto) -> GraphProto {
        let node = NodeProto { attribute: vec![attribute], ..Default::default() };
        GraphProto { node: vec![node], ..Default::default() }
    }

    #[test]
    fn values_in_other_files_are_found_wherever_they_are_named() {
        let location = StringStringEntryProto { key: "location".into(), value: "../../secret".into() };
        let named = TensorProto { name: "w".into(), external_data: vec![location], ..Default::default() };
        let said = TensorProto { name: "w".into(), data_location: EXTERNAL, ..Default::default() };
        for tensor in [named, said] {
            let graph = GraphProto { initializer: vec![tensor.clone()], ..Default::default() };
            assert!(found(graph, vec![]).contains("tensor w"));
            assert!(found(with(AttributeProto { t: Some(tensor), ..Default::default() }), vec![]).contains("tensor w"));
        }
    }

    #[test]
    fn parts_that_could_hide_such_values_are_found() {
        let part = || vec![vec![10, 0]];
        assert!(found(GraphProto::default(), part()).contains("functions"));
        assert!(found(GraphProto { sparse_initializer: part(), ..Default::default() }, vec![]).contains("sparse"));
        let name = "then_branch".to_string();
        for attribute in [
            AttributeProto { name: name.clone(), graph: part(), ..Default::default() },
            AttributeProto { name: name.clone(), graphs: part(), ..Default::default() },
            AttributeProto { name: name.clone(), tensors: part(), ..Default::default() },
            AttributeProto { name: name.clone(), sparse_tensor: part(), ..Default::default() },
            AttributeProto { name, sparse_tensors: part(), ..Default::default() },
        ] {
            assert!(found(with(attribute), vec![]).contains("then_branch"));
        }
        assert_eq!(check(&ModelProto { graph: Some(with(AttributeProto::default())), ..Default::default() }), Ok(()));
    }
}
