//! Faults of network.json.

use std::path::Path;

use serde_json::json;

use crate::case::Case;
use crate::files::{change, put, replace, set};

const FILE: &str = "network.json";

pub fn cases() -> Vec<Case> {
    vec![
        of(
            "a network.json that is not there",
            |lab| std::fs::remove_file(lab.join(FILE)).expect("it is there"),
            "network.json: {not there}\nhint: {spelling}",
        ),
        of(
            "an empty network.json",
            |lab| put(lab, FILE, ""),
            "network.json: expected *segfit-network/1: EOF while parsing a value at line * column *\n\
             hint: {edited}",
        ),
        of(
            "a network.json that is cut short",
            |lab| change(lab, FILE, |b| b.truncate(b.len() / 2)),
            "network.json: expected *segfit-network/1: EOF while parsing an object at line * column *\n\
             hint: {edited}",
        ),
        of(
            "a network.json in UTF-16",
            |lab| change(lab, FILE, |b| *b = b.iter().flat_map(|c| [*c, 0]).collect()),
            "network.json: expected *segfit-network/1: key must be a string at line * column *\n\
             hint: {edited}",
        ),
        of(
            "a network.json that is a list",
            |lab| put(lab, FILE, "[]"),
            "network.json: expected segfit-network/1: it has no \"format\" field\n\
             hint: {edited}",
        ),
        of(
            "a network.json nested a million deep",
            |lab| put(lab, FILE, "[".repeat(1_000_000)),
            "network.json: expected *segfit-network/1: recursion limit exceeded at line * column *\n\
             hint: {edited}",
        ),
        of(
            "a network.json without a format",
            |lab| put(lab, FILE, "{\"family\": \"unet\"}"),
            "network.json: expected segfit-network/1: it has no \"format\" field\n\
             hint: {edited}",
        ),
        of(
            "a network.json of a later version",
            |lab| edit(lab, "/format", json!("segfit-network/2")),
            "network.json: expected segfit-network/1: its format is segfit-network/2\n\
             hint: {edited}",
        ),
        of(
            "a network.json whose channels are a text",
            |lab| edit(lab, "/groups/1/channels", json!("four")),
            "network.json: expected segfit-network/1: invalid type: string \"four\", expected usize\n\
             hint: {edited}",
        ),
        of(
            "a network.json with -4 channels",
            |lab| edit(lab, "/groups/1/channels", json!(-4)),
            "network.json: expected segfit-network/1: invalid value: integer `-4`, expected usize\n\
             hint: {edited}",
        ),
        of(
            "a network.json with 2.5 channels",
            |lab| edit(lab, "/groups/1/channels", json!(2.5)),
            "network.json: expected segfit-network/1: invalid type: floating point `2.5`, expected usize\n\
             hint: {edited}",
        ),
        of(
            "a network.json with 0 channels",
            |lab| edit(lab, "/groups/1/channels", json!(0)),
            "network.json: expected a network whose layers fit together, found layer enc0: 0 channels, must be \
             a multiple of 1\n\
             hint: {layer}",
        ),
        of(
            "a network.json with more channels than can be counted",
            |lab| edit(lab, "/groups/1/channels", json!(u64::MAX)),
            "network.json: expected a network whose layers fit together, found layer enc0: \
             18446744073709551615 channels, at most 1048576 are read\n\
             hint: {layer}",
        ),
        of(
            "a network.json with a thousand million channels",
            |lab| edit(lab, "/groups/1/channels", json!(1_000_000_000)),
            "network.json: expected a network whose layers fit together, found layer enc0: 1000000000 \
             channels, at most 1048576 are read\n\
             hint: {layer}",
        ),
        of(
            "a network.json with NaN",
            |lab| replace(lab, FILE, "\"momentum\": 0.1", "\"momentum\": NaN"),
            "network.json: expected *segfit-network/1: expected value at line * column *\n\
             hint: {edited}",
        ),
        of(
            "a network.json with an unknown layer",
            |lab| edit(lab, "/layers/1/op", json!("attention")),
            "network.json: expected segfit-network/1: unknown variant `attention`, expected one of `input`, \
             `conv2d`, `depthwise_conv2d`, `conv_transpose2d`, `batch_norm`, `instance_norm`, `group_norm`, \
             `relu`, `leaky_relu`, `prelu`, `elu`, `sigmoid`, `tanh`, `silu`, `hard_sigmoid`, `hard_swish`, \
             `clamp`, `max_pool`, `average_pool`, `global_average_pool`, `upsample`, `pad`, `dropout`, \
             `concat`, `add`, `mul`\n\
             hint: {edited}",
        ),
        of(
            "a network.json with a group that is not there",
            |lab| edit(lab, "/layers/1/group", json!("enc9")),
            "network.json: expected a network whose layers fit together, found layer enc0.conv1: no group enc9\n\
             hint: {layer}",
        ),
        of(
            "a network.json with an input that is not there",
            |lab| edit(lab, "/layers/2/inputs", json!(["none"])),
            "network.json: expected a network whose layers fit together, found layer enc0.norm1: its input \
             none is not an earlier layer\n\
             hint: {layer}",
        ),
        of(
            "a network.json whose layers form a circle",
            |lab| edit(lab, "/layers/1/inputs", json!(["enc0.norm1"])),
            "network.json: expected a network whose layers fit together, found layer enc0.conv1: its input \
             enc0.norm1 is not an earlier layer\n\
             hint: {layer}",
        ),
        of(
            "a network.json whose layer is its own input",
            |lab| edit(lab, "/layers/1/inputs", json!(["enc0.conv1"])),
            "network.json: expected a network whose layers fit together, found layer enc0.conv1: its input \
             enc0.conv1 is not an earlier layer\n\
             hint: {layer}",
        ),
        of(
            "a network.json with two layers of one name",
            |lab| edit(lab, "/layers/2/name", json!("enc0.conv1")),
            "network.json: expected a network whose layers fit together, found layer enc0.conv1: two layers \
             have this name\n\
             hint: {layer}",
        ),
        of(
            "a network.json with two groups of one name",
            |lab| edit(lab, "/groups/1/name", json!("enc1")),
            "network.json: expected a network whose layers fit together, found layer enc1: two groups have \
             this name\n\
             hint: {layer}",
        ),
        of(
            "a network.json without layers",
            |lab| edit(lab, "/layers", json!([])),
            "network.json: expected a network whose layers fit together, found layer head: the output names no \
             layer\n\
             hint: {layer}",
        ),
        of(
            "a network.json whose output names no layer",
            |lab| edit(lab, "/output", json!("logits")),
            "network.json: expected a network whose layers fit together, found layer logits: the output names \
             no layer\n\
             hint: {layer}",
        ),
        of(
            "a network.json with other classes than its head",
            |lab| edit(lab, "/classes", json!(7)),
            "network.json: expected a network whose layers fit together, found layer head: 2 channels for 7 \
             classes\n\
             hint: {layer}",
        ),
        of(
            "a network.json of three dimensions",
            |lab| edit(lab, "/rank", json!(3)),
            "network.json: expected a network whose layers fit together, found layer head: rank 3 cannot be \
             executed, only rank 2\n\
             hint: {layer}",
        ),
        of(
            "a network.json with a kernel of 0 x 3",
            |lab| edit(lab, "/layers/1/kernel", json!([0, 3])),
            "network.json: expected a network whose layers fit together, found layer enc0.conv1: every spatial \
             list needs two numbers, kernel, stride and dilation at least 1, output_padding less than the stride\n\
             hint: {layer}",
        ),
        of(
            "a network.json with a kernel of one number",
            |lab| edit(lab, "/layers/1/kernel", json!([3])),
            "network.json: expected a network whose layers fit together, found layer enc0.conv1: every spatial \
             list needs two numbers, kernel, stride and dilation at least 1, output_padding less than the stride\n\
             hint: {layer}",
        ),
        of(
            "a network.json with a kernel of a million",
            |lab| edit(lab, "/layers/1/kernel", json!([1_000_000, 1_000_000])),
            "network.json: expected a network whose layers fit together, found layer enc0.conv1: a kernel, \
             stride, padding or factor of 1000000, at most 4096 is read\n\
             hint: {layer}",
        ),
        of(
            "a network.json with padding beyond counting",
            |lab| edit(lab, "/layers/1/padding", json!([u64::MAX, u64::MAX])),
            "network.json: expected a network whose layers fit together, found layer enc0.conv1: a kernel, \
             stride, padding or factor of 18446744073709551615, at most 4096 is read\n\
             hint: {layer}",
        ),
        of(
            "a network.json with no input of a layer",
            |lab| edit(lab, "/layers/2/inputs", json!([])),
            "network.json: expected a network whose layers fit together, found layer enc0.norm1: has 0 inputs\n\
             hint: {layer}",
        ),
        of(
            "a network.json that joins tensors of two sizes",
            |lab| {
                replace(
                    lab,
                    FILE,
                    "\"padding\": [\n        1,\n        1\n      ]",
                    "\"padding\": [\n        0,\n        0\n      ]",
                );
            },
            "network.json: expected a network whose layers fit together, found layer dec1.concat: inputs of \
             511x511 and 510x510 pixels\n\
             hint: {layer}",
        ),
    ]
}

/// The same fault met by costing, training and timing the network.
fn of(name: &'static str, spoil: impl Fn(&Path) + Send + Sync + 'static, says: &'static str) -> Case {
    let commands = "network cost --network network.json\n\
                    train network.json data --size 32 --steps 1 --out out\n\
                    bench --network-file network.json --size 32 --seconds 0.01";
    Case::new(name, commands, spoil, says)
}

fn edit(lab: &Path, at: &str, value: serde_json::Value) {
    set(lab, FILE, at, value);
}
