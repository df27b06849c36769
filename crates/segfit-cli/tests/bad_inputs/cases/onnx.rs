//! Networks in ONNX files that are damaged or cannot be read.

use crate::case::Case;
use crate::files::onnx::{external, foreign_node, image, model, node, tensor, versioned};
use crate::files::{cut, put, zip};

const IMPORT: &str = "network import model.onnx --out imported.json";

pub fn cases() -> Vec<Case> {
    let x = || image("x", &[1, 1, -1, -1]);
    let y = || image("y", &[1, 2, -1, -1]);
    let conv = || node("Conv", &["x", "w"], "y");
    let weight = || tensor("w", &[2, 1, 3, 3], 18);
    vec![
        of("an ONNX file that is not there", Vec::new(), "model.onnx: {not there}\nhint: {spelling}"),
        of(
            "an empty ONNX file",
            b"".to_vec(),
            "model.onnx: cannot be read as ONNX: it has no graph\n\
             hint: the file may be cut short or of another kind: copy it again, or export the network again",
        ),
        of(
            "a text file named .onnx",
            b"not a network".to_vec(),
            "model.onnx: cannot be read as ONNX: failed to decode Protobuf message: invalid wire type value: 6\n\
             hint: the file may be cut short or of another kind: copy it again, or export the network again",
        ),
        of(
            "a file of torch.save named .onnx",
            zip(),
            "model.onnx: cannot be read as ONNX: failed to decode Protobuf message: invalid tag value: 0\n\
             hint: the file may be cut short or of another kind: copy it again, or export the network again",
        ),
        of(
            "a pointer of Git LFS named .onnx",
            b"version https://git-lfs.github.com/spec/v1\n\
              oid sha256:4d7a\n\
              size 99\n\
              "
            .to_vec(),
            "model.onnx: cannot be read as ONNX: failed to decode Protobuf message: invalid wire type value: 6\n\
             hint: the file may be cut short or of another kind: copy it again, or export the network again",
        ),
        of(
            "an ONNX file that is cut short",
            cut(model(&[conv()], &[weight()], &[x()], &y()), 0.6),
            "model.onnx: cannot be read as ONNX: failed to decode Protobuf message: ModelProto.graph: buffer \
             underflow\n\
             hint: the file may be cut short or of another kind: copy it again, or export the network again",
        ),
        of(
            "an ONNX file without a graph",
            b"\x08\x08".to_vec(),
            "model.onnx: cannot be read as ONNX: it has no graph\n\
             hint: the file may be cut short or of another kind: copy it again, or export the network again",
        ),
        of(
            "an ONNX file with an operator that no layer does",
            model(&[node("LSTM", &["x", "w"], "y")], &[weight()], &[x()], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found LSTM LSTM_y: no \
             layer of segfit does this\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file with an operator of another domain",
            model(&[foreign_node("Attention", "com.example", "x", "y")], &[], &[x()], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found Attention \
             Attention_y: an operator of com.example; only ONNX's own are read\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file with its weights in another file",
            model(&[conv()], &[external("w", &[2, 1, 3, 3])], &[x()], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found constant w: its \
             values are in another file (external data); export with external_data=False\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file whose channels have no number",
            model(&[conv()], &[weight()], &[image("x", &[1, -1, -1, -1])], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found the number of \
             channels of x is not given\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file for volumes",
            model(&[conv()], &[tensor("w", &[2, 1, 3, 3, 3], 54)], &[image("x", &[1, 1, 32, 32, 32])], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found the input x has 5 \
             dimensions; only images (four) are read\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file with two inputs",
            model(&[conv()], &[weight()], &[x(), image("z", &[1, 1, -1, -1])], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found 2 inputs; a network \
             with one image as its input is read\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file without inputs",
            model(&[conv()], &[weight()], &[], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found 0 inputs; a network \
             with one image as its input is read\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file of old operators",
            versioned(5, &[conv()], &[weight()], &[x()], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found operators of version \
             5, older than 7\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file with a weight of too few values",
            model(&[conv()], &[tensor("w", &[2, 1, 3, 3], 4)], &[x()], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found constant w: its \
             shape is [2, 1, 3, 3] but 4 values are stored\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file with a weight of negative sides",
            model(&[conv()], &[tensor("w", &[-2, 1, 3, 3], 18)], &[x()], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found constant w: its \
             shape [-2, 1, 3, 3] has a negative number\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file with a weight of 9e18 values",
            model(&[conv()], &[tensor("w", &[i64::MAX, 4, 3, 3], 18)], &[x()], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found constant w: its \
             shape is [9223372036854775807, 4, 3, 3] but 18 values are stored\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file whose nodes form a circle",
            model(&[node("Relu", &["b"], "a"), node("Relu", &["a"], "b")], &[], &[x()], &image("b", &[1, 1, -1, -1])),
            "model.onnx: expected a segmentation network of layers that segfit has, found Relu Relu_a: its \
             input b is made by no earlier node\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file with a node without inputs",
            model(&[node("Conv", &[], "y")], &[], &[x()], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found Conv Conv_y: input 0 \
             is missing\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file whose output is made by no node",
            model(&[conv()], &[weight()], &[x()], &image("z", &[1, 2, -1, -1])),
            "model.onnx: expected a segmentation network of layers that segfit has, found the output z is not \
             an image of classes\n\
             hint: {onnx}",
        ),
        of(
            "an ONNX file whose weight does not fit the channels",
            model(&[conv()], &[tensor("w", &[2, 3, 3, 3], 54)], &[x()], &y()),
            "model.onnx: expected a segmentation network of layers that segfit has, found Conv Conv_y: a \
             weight of shape [2, 3, 3, 3] in 1 groups for 1 channels\n\
             hint: {onnx}",
        ),
        segmented(
            "an ONNX file of another program to segment with",
            model(&[conv()], &[weight()], &[x()], &y()),
            "model.onnx: expected a file of `segfit export`, which says how images become its input, found an \
             ONNX file without properties of segfit\n\
             hint: `segfit network import` reads networks of others; segment with the run folder or its export",
        ),
        segmented(
            "a text file named .onnx to segment with",
            b"not a network".to_vec(),
            "model.onnx: cannot be read as ONNX: failed to decode Protobuf message: invalid wire type value: 6\n\
             hint: the file may be cut short or of another kind: copy it again, or export the network again",
        ),
    ]
}

fn of(name: &'static str, bytes: Vec<u8>, says: &'static str) -> Case {
    let is_there = !name.contains("not there");
    let make = move |lab: &std::path::Path| {
        if is_there {
            put(lab, "model.onnx", &bytes);
        }
    };
    Case::new(name, IMPORT, make, says)
}

fn segmented(name: &'static str, bytes: Vec<u8>, says: &'static str) -> Case {
    Case::new(name, "segment model.onnx data/images --out masks", move |lab| put(lab, "model.onnx", &bytes), says)
}
