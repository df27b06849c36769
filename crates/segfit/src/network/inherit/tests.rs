use proptest::prelude::*;

use super::*;
use crate::network::Widths;
use crate::network::families::{Options, unet};
use crate::random::Stream;

/// A network from its groups and layers, in JSON without the names of the keys that are the same everywhere.
fn network(groups: &str, layers: &str, output: &str) -> NetworkSpec {
    let text = format!(
        r#"{{"format": "segfit-network/1", "family": "other", "base_width": 2, "depth": 0, "rank": 2, "classes": 2,
        "groups": [{groups}, {{"name": "classes", "channels": 2, "kind": "fixed"}}], "layers": [{layers}], "output": "{output}"}}"#
    );
    let spec: NetworkSpec = serde_json::from_str(&text).unwrap();
    spec.validate().unwrap();
    spec
}

fn conv(name: &str, group: &str, input: &str) -> String {
    format!(
        r#"{{"name": "{name}", "op": "conv2d", "group": "{group}", "kernel": [1, 1], "padding": [0, 0], "bias": true, "inputs": ["{input}"]}}"#
    )
}

fn free(name: &str, channels: usize) -> String {
    format!(r#"{{"name": "{name}", "channels": {channels}, "kind": "free"}}"#)
}

const GRAY: &str = r#"{"name": "gray", "channels": 1, "kind": "fixed"}"#;
const IMAGE: &str = r#"{"name": "image", "op": "input", "group": "gray"}"#;

fn op(name: &str, rest: &str) -> String {
    format!(r#"{{"name": "{name}", "op": {rest}}}"#)
}

fn norm(name: &str, input: &str) -> String {
    op(name, &format!(r#""batch_norm", "eps": 0.001, "momentum": 0.1, "inputs": ["{input}"]"#))
}

fn narrowed(spec: &NetworkSpec, widths: &[(&str, usize)]) -> NetworkSpec {
    spec.with_widths(&widths.iter().map(|(n, c)| ((*n).to_string(), *c)).collect::<Widths>()).unwrap()
}

fn cut(full: &NetworkSpec, values: &[&[f32]], narrow: &NetworkSpec, criterion: Criterion) -> Vec<Vec<f32>> {
    let cut = inherit(full, values, narrow, criterion).unwrap();
    let lengths: Vec<usize> = narrow.parameters().unwrap().iter().map(Parameter::len).collect();
    assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
    cut
}

/// Different values for all parameters.
fn drawn(spec: &NetworkSpec, seed: u64) -> Vec<Vec<f32>> {
    let mut stream = Stream::new(&[seed]);
    spec.parameters().unwrap().iter().map(|p| (0..p.len()).map(|_| stream.normal()).collect()).collect()
}

fn slices(values: &[Vec<f32>]) -> Vec<&[f32]> {
    values.iter().map(Vec::as_slice).collect()
}

/// Gray image, convolution a and norm, convolution b of these, both concatenated, head.
fn joined() -> NetworkSpec {
    let layers = [
        IMAGE.to_string(),
        conv("a", "a", "image"),
        norm("a.norm", "a"),
        conv("b", "b", "a.norm"),
        op("both", r#""concat", "inputs": ["a.norm", "b"]"#),
        conv("head", "classes", "both"),
    ];
    network(&[GRAY.into(), free("a", 2), free("b", 2)].join(","), &layers.join(","), "head")
}

const JOINED: [&[f32]; 10] = [
    &[1.0, -3.0],                              // a: the second filter is the larger
    &[0.5, 0.25],                              // its bias
    &[-9.0, 2.0],                              // scale: the first is the larger
    &[0.1, 0.2],                               // shift
    &[7.0, 8.0],                               // running mean
    &[70.0, 80.0],                             // running variance
    &[4.0, -5.0, 1.0, 1.0],                    // b reads a: [out][in]
    &[0.3, 0.4],                               // its bias
    &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], // head reads a0 a1 b0 b1
    &[0.6, 0.7],                               // its bias
];

#[test]
fn two_channels_become_one_through_norm_concat_and_convolution() {
    let full = joined();
    let narrow = narrowed(&full, &[("a", 1), ("b", 1)]);
    let got = cut(&full, &JOINED, &narrow, Criterion::L1);
    // Kept: a1 and b0.
    let want: [&[f32]; 10] =
        [&[-3.0], &[0.25], &[2.0], &[0.2], &[8.0], &[80.0], &[-5.0], &[0.3], &[2.0, 3.0, 6.0, 7.0], &[0.6, 0.7]];
    assert_eq!(slices(&got), want);
}

#[test]
fn the_scale_of_the_norm_can_decide_instead() {
    let full = joined();
    let got = cut(&full, &JOINED, &narrowed(&full, &[("a", 1)]), Criterion::BatchNorm);
    // Kept: a0, and all of b.
    let want: [&[f32]; 10] = [
        &[1.0],
        &[0.5],
        &[-9.0],
        &[0.1],
        &[7.0],
        &[70.0],
        &[4.0, 1.0],
        &[0.3, 0.4],
        &[1.0, 3.0, 4.0, 5.0, 7.0, 8.0],
        &[0.6, 0.7],
    ];
    assert_eq!(slices(&got), want);
    let error = inherit(&full, &JOINED, &narrowed(&full, &[("b", 1)]), Criterion::BatchNorm).unwrap_err().to_string();
    assert!(error.contains("layer b") && error.contains("l1"), "{error}");
}

#[test]
fn added_channels_are_chosen_together_and_layers_of_one_group_that_never_meet_each_for_themselves() {
    let layers = |op: &str| {
        let joined = format!(r#"{{"name": "met", "op": "{op}", "inputs": ["x", "y"]}}"#);
        [IMAGE.to_string(), conv("x", "a", "image"), conv("y", "a", "image"), joined, conv("head", "classes", "met")]
            .join(",")
    };
    let groups = [GRAY.into(), free("a", 2)].join(",");
    let (x, y, bias): (&[f32], &[f32], &[f32]) = (&[1.0, 2.0], &[5.0, 3.0], &[0.1, 0.2]);
    for op in ["add", "mul"] {
        let full = network(&groups, &layers(op), "head");
        let head: &[f32] = &[1.0, 2.0, 3.0, 4.0];
        let got = cut(&full, &[x, bias, y, bias, head, bias], &narrowed(&full, &[("a", 1)]), Criterion::L1);
        // 1 + 5 is more than 2 + 3.
        let want: [&[f32]; 6] = [&[1.0], &[0.1], &[5.0], &[0.1], &[1.0, 3.0], bias];
        assert_eq!(slices(&got), want, "{op}");
    }
    let full = network(&groups, &layers("concat"), "head");
    let head: &[f32] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let got = cut(&full, &[x, bias, y, bias, head, bias], &narrowed(&full, &[("a", 1)]), Criterion::L1);
    let want: [&[f32]; 6] = [&[2.0], &[0.2], &[5.0], &[0.1], &[2.0, 3.0, 6.0, 7.0], bias];
    assert_eq!(slices(&got), want, "x keeps its second channel, y its first");
}

#[test]
fn transposed_and_depthwise_convolutions_and_slopes_lose_the_same_channels() {
    let layers = [
        IMAGE.to_string(),
        conv("a", "a", "image"),
        op("up", r#""conv_transpose2d", "group": "u", "kernel": [1, 2], "bias": false, "inputs": ["a"]"#),
        op("deep", r#""depthwise_conv2d", "kernel": [1, 1], "padding": [0, 0], "bias": true, "inputs": ["up"]"#),
        op("slope", r#""prelu", "shared": false, "inputs": ["deep"]"#),
        op("one", r#""prelu", "shared": true, "inputs": ["slope"]"#),
        conv("head", "classes", "one"),
    ];
    let full = network(&[GRAY.into(), free("a", 2), free("u", 3)].join(","), &layers.join(","), "head");
    let values: [&[f32]; 9] = [
        &[2.0, 1.0],
        &[0.1, 0.2],
        // [in][out][1][2]: filters of norms 1 + 1 + 2, 0 + 1, 2 + 3 for the three outputs.
        &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 0.0, 1.0, 3.0, 0.0],
        // The depthwise filter makes the second output the largest.
        &[1.0, 9.0, 1.0],
        &[0.1, 0.2, 0.3],
        &[0.4, 0.5, 0.6],
        &[0.7],
        &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        &[0.8, 0.9],
    ];
    let got = cut(&full, &values, &narrowed(&full, &[("a", 1), ("u", 2)]), Criterion::L1);
    let want: [&[f32]; 9] = [
        &[2.0],
        &[0.1],
        &[0.0, 0.0, 1.0, 1.0],
        &[9.0, 1.0],
        &[0.2, 0.3],
        &[0.5, 0.6],
        &[0.7],
        &[2.0, 3.0, 5.0, 6.0],
        &[0.8, 0.9],
    ];
    assert_eq!(slices(&got), want);
}

#[test]
fn as_many_channels_are_kept_of_every_part_of_a_grouped_convolution() {
    let layers = [
        IMAGE.to_string(),
        conv("a", "a", "image"),
        op(
            "parts",
            r#""conv2d", "group": "b", "kernel": [1, 1], "padding": [0, 0], "groups": 2, "bias": false, "inputs": ["a"]"#,
        ),
        op("norm", r#""group_norm", "groups": 2, "eps": 0.001, "inputs": ["parts"]"#),
        conv("head", "classes", "norm"),
    ];
    let full = network(&[GRAY.into(), free("a", 4), free("b", 4)].join(","), &layers.join(","), "head");
    let values: [&[f32]; 7] = [
        &[9.0, 8.0, 1.0, 2.0], // the two largest are in one part
        &[0.1, 0.2, 0.3, 0.4],
        &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1.0, 1.0], // [out][in of the part]
        &[1.0, 2.0, 3.0, 4.0],
        &[5.0, 6.0, 7.0, 8.0],
        &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
        &[0.5, 0.6],
    ];
    let got = cut(&full, &values, &narrowed(&full, &[("a", 2), ("b", 2)]), Criterion::L1);
    // Kept: a0 a3, and of b the outputs 1 (in a0's part) and 2 (in a3's).
    let want: [&[f32]; 7] =
        [&[9.0, 2.0], &[0.1, 0.4], &[3.0, 6.0], &[2.0, 3.0], &[6.0, 7.0], &[2.0, 3.0, 6.0, 7.0], &[0.5, 0.6]];
    assert_eq!(slices(&got), want);
}

#[test]
fn a_weight_between_parts_that_the_full_network_does_not_connect_is_zero() {
    // Two outputs and six inputs in two parts; of the kept inputs 0 1 2 5 the narrowed parts are 0 1 and 2 5.
    let got = cut_grouped(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1, 2, [(2, &vec![0, 1]), (6, &vec![0, 1, 2, 5])]);
    assert_eq!(got, [1.0, 2.0, 0.0, 6.0], "input 2 belongs to the first output's part");
}

#[test]
fn a_derived_group_is_chosen_like_a_free_one() {
    let transition = r#"{"name": "t", "channels": 4, "kind": "derived", "sum": [{"group": "a", "multiple": 2}]}"#;
    let layers = [
        IMAGE.to_string(),
        conv("x", "a", "image"),
        conv("y", "a", "x"),
        op("dense", r#""concat", "inputs": ["x", "y"]"#),
        conv("t", "t", "dense"),
        conv("head", "classes", "t"),
    ];
    let full = network(&[GRAY.into(), free("a", 2), transition.into()].join(","), &layers.join(","), "head");
    let mut values = drawn(&full, 3);
    values[0] = vec![1.0, 2.0];
    values[2] = vec![9.0, 9.0, 1.0, 1.0];
    values[4] = (0..16_u8).map(f32::from).collect();
    let got = cut(&full, &slices(&values), &narrowed(&full, &[("a", 1)]), Criterion::L1);
    assert_eq!(got[2], [9.0], "y keeps its first output and x's second channel");
    assert_eq!(got[4], [9.0, 10.0, 13.0, 14.0], "the last two filters, reading x1 and y0");
}

#[test]
fn equals_keep_their_first_and_the_order_is_ascending() {
    assert_eq!(largest(&[1.0, 3.0, 1.0, 3.0, 1.0], 3, 1), [0, 1, 3]);
    assert_eq!(largest(&[5.0, 4.0, 3.0, 1.0, 1.0, 2.0], 2, 2), [0, 5]);
}

#[test]
fn what_differs_in_more_than_its_channels_is_named() {
    let make = |depth, width| {
        unet(&Options { in_channels: 1, classes: 2, base_width: width, depth, ..Options::default() }).unwrap()
    };
    let full = make(2, 4);
    let values = drawn(&full, 1);
    let refusal =
        |narrow: &NetworkSpec| inherit(&full, &slices(&values), narrow, Criterion::L1).unwrap_err().to_string();
    let says = |narrow: &NetworkSpec, words: [&str; 2]| {
        let text = refusal(narrow);
        assert!(words.iter().all(|w| text.contains(w)), "{words:?} are not in: {text}");
    };
    says(&make(1, 4), ["pool1", "full network only"]);
    says(&make(3, 4), ["pool2", "narrowed network only"]);
    says(&make(2, 5), ["enc0", "5 channels"]);
    let other = unet(&Options { in_channels: 1, classes: 3, base_width: 4, depth: 2, ..Options::default() }).unwrap();
    says(&other, ["classes", "3 channels"]);
    let mut sigmoid = full.clone();
    sigmoid.layers.iter_mut().find(|l| l.name == "enc0.relu1").unwrap().op = Op::Sigmoid;
    says(&sigmoid, ["enc0.relu1", "not the same layer"]);
    let short = inherit(&full, &slices(&values)[1..], &full, Criterion::L1).unwrap_err().to_string();
    assert!(short.contains("parameters of the full network"), "{short}");
}

#[test]
fn auxiliary_heads_that_are_not_deployed_are_left_out() {
    let full = joined();
    let mut trained = full.clone();
    let aux: crate::network::Layer = serde_json::from_str(&conv("aux", "classes", "a.norm")).unwrap();
    trained.layers.push(aux);
    trained.auxiliary = vec![crate::network::AuxiliaryHead { layer: "aux".into(), weight: 0.5 }];
    trained.validate().unwrap();
    let aux: [&[f32]; 2] = [&[1.0; 4], &[0.0; 2]];
    let got = cut(&trained, &[&JOINED[..], &aux[..]].concat(), &full, Criterion::L1);
    assert_eq!(slices(&got), JOINED);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_same_widths_give_the_same_parameters(width in 1..6_usize, depth in 1..4_usize, seed: u64, l1: bool) {
        let full = unet(&Options { in_channels: 3, classes: 2, base_width: width, depth, ..Options::default() }).unwrap();
        let values = drawn(&full, seed);
        let criterion = if l1 { Criterion::L1 } else { Criterion::BatchNorm };
        prop_assert_eq!(cut(&full, &slices(&values), &full, criterion), values);
    }

    #[test]
    fn narrowing_twice_along_nested_widths_is_narrowing_once(width in 4..9_usize, seed: u64) {
        // Only the norms' scales: filters change when their inputs are dropped, scales do not.
        let full = unet(&Options { in_channels: 1, classes: 2, base_width: width, depth: 2, ..Options::default() }).unwrap();
        let values = drawn(&full, seed);
        let (half, quarter) = (full.with_multiplier(0.5).unwrap(), full.with_multiplier(0.25).unwrap());
        let once = cut(&full, &slices(&values), &quarter, Criterion::BatchNorm);
        let first = cut(&full, &slices(&values), &half, Criterion::BatchNorm);
        prop_assert_eq!(cut(&half, &slices(&first), &quarter, Criterion::BatchNorm), once);
    }
}
