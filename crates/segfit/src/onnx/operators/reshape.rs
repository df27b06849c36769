//! Changes of shape that move no value: around global pooling, in group norms, in sums of stacked tensors.

use super::value;
use crate::onnx::fold::{axis_of, reshaped};
use crate::onnx::node::Node;
use crate::onnx::read::{Reader, Value};

pub fn convert(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let x = value(inputs, 0)?;
    let from = reader.dims(x);
    let second = inputs.get(1).and_then(Option::as_ref).and_then(Value::constant);
    let axes = || node.axes(second);
    let to = match node.op_type() {
        "Reshape" => {
            let shape = second.ok_or("its shape is not constant")?.to_ints();
            reshaped(&from, &shape, node.int("allowzero", 0) != 0)?
        }
        "Flatten" => {
            let axis = axis_of(node.int("axis", 1), from.len())?;
            vec![from[..axis].iter().product(), from[axis..].iter().product()]
        }
        "Squeeze" => {
            let axes = axes().iter().map(|&a| axis_of(a, from.len())).collect::<Result<Vec<_>, _>>()?;
            let keep = |d: &usize| !(axes.contains(d) || (axes.is_empty() && from[*d] == 1));
            (0..from.len()).filter(keep).map(|d| from[d]).collect()
        }
        "Unsqueeze" => {
            let rank = from.len() + axes().len();
            let axes = axes().iter().map(|&a| axis_of(a, rank)).collect::<Result<Vec<_>, _>>()?;
            if let (Value::Tensor(layer), [0]) = (x, &axes[..]) {
                return Ok(Value::Stack(vec![*layer]));
            }
            let mut rest = from.iter().copied();
            (0..rank).map(|d| if axes.contains(&d) { 1 } else { rest.next().unwrap_or(1) }).collect()
        }
        "Expand" => {
            let to = second.ok_or("its shape is not constant")?.to_ints();
            if to.len() != from.len() || to.iter().zip(&from).any(|(&t, &f)| t != 1 && t != f as i64) {
                return Err(format!("it spreads {from:?} over {to:?}, which depends on the image's size"));
            }
            from.clone()
        }
        _ => {
            let perm = node.ints("perm").ok_or("it reverses all dimensions")?;
            if !perm.iter().copied().eq(0..from.len() as i64) {
                return Err(format!("it exchanges dimensions ({perm:?})"));
            }
            from.clone()
        }
    };
    reinterpret(reader, x, &from, &to)
}

/// The value `x` of shape `from` seen in the shape `to`.
fn reinterpret(reader: &Reader<'_>, x: &Value, from: &[usize], to: &[usize]) -> Result<Value, String> {
    if from == to {
        return Ok(x.clone());
    }
    let refused = || Err(format!("from shape {from:?} to {to:?}; no layer of segfit does this"));
    let (Value::Tensor(layer) | Value::Vector(layer) | Value::Split { layer, .. }) = *x else { return refused() };
    let (channels, rows, columns) = reader.draft.layers[layer].shape;
    let (n, pixels) = (reader.batch, rows * columns);
    match (x, to) {
        (Value::Tensor(_), [a, b]) if pixels == 1 && [*a, *b] == [n, channels] => Ok(Value::Vector(layer)),
        (Value::Vector(_), _) if to == [n, channels, 1, 1] => Ok(Value::Tensor(layer)),
        (Value::Tensor(_), &[a, groups, _]) if a == n && groups > 0 && channels.is_multiple_of(groups) => {
            Ok(Value::Split { layer, groups, normalised: false })
        }
        (Value::Split { .. }, _) if to == [n, channels, rows, columns] => Ok(Value::Tensor(layer)),
        _ => refused(),
    }
}
