//! One node of an ONNX graph, and its attributes.

use super::constant::Constant;
use super::proto::{AttributeProto, NodeProto, TensorProto};

/// A node as it is read.
pub struct Node<'a> {
    pub proto: &'a NodeProto,
    /// Version of ONNX's own operators.
    pub opset: i64,
}

impl<'a> Node<'a> {
    pub fn op_type(&self) -> &'a str {
        &self.proto.op_type
    }

    /// Operator and name, as messages say it.
    pub fn describe(&self) -> String {
        let name = match self.proto.name.as_str() {
            "" => self.proto.output.first().map_or("", String::as_str),
            name => name,
        };
        format!("{} {name}", self.op_type())
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i)
    }

    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |a| a.f)
    }

    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    pub fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.attribute(name).and_then(|a| a.t.as_ref())
    }

    /// A text, or `default`.
    pub fn text(&self, name: &str, default: &'a str) -> &'a str {
        self.attribute(name).map_or(default, |a| std::str::from_utf8(&a.s).unwrap_or(""))
    }

    /// `axes`, an input since opset 13 or 18 and an attribute before; empty when absent.
    pub fn axes(&self, input: Option<&Constant>) -> Vec<i64> {
        input.map(Constant::to_ints).or_else(|| self.ints("axes").map(<[i64]>::to_vec)).unwrap_or_default()
    }

    /// A pair of small numbers (rows, columns) of an attribute; `default` when absent.
    ///
    /// # Errors
    /// When it does not hold two numbers from 0 to 4096.
    pub fn pair(&self, name: &str, default: usize) -> Result<[usize; 2], String> {
        match self.ints(name) {
            None => Ok([default; 2]),
            Some([a, b]) => Ok([small(name, *a)?, small(name, *b)?]),
            Some(list) => Err(format!("{name} of {} dimensions; only images (two dimensions) are read", list.len())),
        }
    }
}

/// A number from 0 to 4096.
pub fn small(name: &str, n: i64) -> Result<usize, String> {
    usize::try_from(n).ok().filter(|&n| n <= 4096).ok_or_else(|| format!("{name} {n}, expected 0 to 4096"))
}
