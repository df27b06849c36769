//! ONNX files, field by field of their protocol buffers (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>).

/// A field of bytes, text or a message.
fn bytes(number: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(u64::from(number << 3 | 2)), varint(value.len() as u64), value.to_vec()].concat()
}

/// A field of a whole number.
fn int(number: u32, value: i64) -> Vec<u8> {
    [varint(u64::from(number << 3)), varint(value as u64)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 128 {
        out.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A node with its inputs and outputs.
pub fn node(kind: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| bytes(1, name)).collect();
    [inputs, bytes(2, output), bytes(3, format!("{kind}_{output}")), bytes(4, kind)].concat()
}

/// A node of another domain than ONNX's own.
pub fn foreign_node(kind: &str, domain: &str, input: &str, output: &str) -> Vec<u8> {
    [node(kind, &[input], output), bytes(7, domain)].concat()
}

/// An image with these sides; a side of -1 has a name instead of a number.
pub fn image(name: &str, sides: &[i64]) -> Vec<u8> {
    let side = |n: &i64| bytes(1, if *n < 0 { bytes(2, "side") } else { int(1, *n) });
    let shape: Vec<u8> = sides.iter().flat_map(side).collect();
    let tensor = [int(1, 1), bytes(2, shape)].concat();
    [bytes(1, name), bytes(2, bytes(1, tensor))].concat()
}

/// A tensor of 32-bit floating point, all of one value.
pub fn tensor(name: &str, sides: &[i64], values: usize) -> Vec<u8> {
    let sides: Vec<u8> = sides.iter().flat_map(|n| int(1, *n)).collect();
    let data: Vec<u8> = (0..values).flat_map(|_| 0.5f32.to_le_bytes()).collect();
    [sides, int(2, 1), bytes(8, name), bytes(9, data)].concat()
}

/// A tensor whose values lie in another file.
pub fn external(name: &str, sides: &[i64]) -> Vec<u8> {
    let sides: Vec<u8> = sides.iter().flat_map(|n| int(1, *n)).collect();
    let place = [bytes(1, "location"), bytes(2, "weights.bin")].concat();
    [sides, int(2, 1), bytes(8, name), bytes(13, place), int(14, 1)].concat()
}

/// A file of operators of version 17 with these nodes, tensors, inputs and output.
pub fn model(nodes: &[Vec<u8>], tensors: &[Vec<u8>], inputs: &[Vec<u8>], output: &[u8]) -> Vec<u8> {
    versioned(17, nodes, tensors, inputs, output)
}

/// A file of operators of another version.
pub fn versioned(opset: i64, nodes: &[Vec<u8>], tensors: &[Vec<u8>], inputs: &[Vec<u8>], output: &[u8]) -> Vec<u8> {
    let all = |number: u32, list: &[Vec<u8>]| list.iter().flat_map(|v| bytes(number, v)).collect::<Vec<u8>>();
    let graph = [all(1, nodes), bytes(2, "graph"), all(5, tensors), all(11, inputs), bytes(12, output)].concat();
    [int(1, 8), bytes(7, graph), bytes(8, int(2, opset))].concat()
}
