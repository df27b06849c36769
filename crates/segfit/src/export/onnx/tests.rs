use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::data::{LabelCoding, LabelEntry, LabelKind, LabelMap, Normalisation};
use crate::export::Provenance;
use crate::network::families;
use crate::onnx::proto::{ModelProto, NodeProto};
use crate::onnx::{Tensor, decode};
use crate::random::Stream;
use crate::recipe::{InputMode, InputSpec};

fn deployment(family: &str) -> Deployment {
    let family = families::family(family).unwrap();
    let network =
        family.build(&families::Options { base_width: 2, depth: family.depth.min(3), ..family.options(3, 2) });
    let network = network.unwrap().without_auxiliary();
    let mut stream = Stream::new(&[1]);
    let mut values = |n: usize| (0..n).map(|_| 0.5 + stream.unit()).collect();
    let parameters = network.parameters().unwrap();
    let weights = parameters.into_iter().map(|p| Tensor { values: values(p.len()), name: p.name, shape: p.shape });
    let entry = |class: u8, name: &str| LabelEntry { value: 255 * u32::from(class), class, name: Some(name.into()) };
    let entries = vec![entry(0, "nothing"), entry(1, "gland")];
    Deployment {
        weights: weights.collect(),
        ranges: Some(network.layers.iter().map(|l| (l.name.clone(), 2.0)).collect()),
        network,
        normalisation: Normalisation { mean: vec![0.5, 0.6, 0.1], std: vec![0.25, 0.3, 1.0] },
        input: InputSpec { mode: InputMode::Resize, size: 128 },
        axis: None,
        loss: LossKind::CrossEntropyDice,
        labels: LabelMap { kind: LabelKind::Binary, coding: LabelCoding::Value, entries },
        provenance: Provenance {
            version: "0.1.0".into(),
            run: "00c0ffee".into(),
            dataset: "glands".into(),
            fingerprint: "77".into(),
            dice: Some(0.875),
            test_images: Some(8),
            plan: Some("a = 1/8".into()),
        },
    }
}

fn written(deployment: &Deployment, options: &Options) -> ModelProto {
    decode(Path::new("a.onnx"), &bytes(deployment, options).unwrap()).unwrap()
}

fn count(nodes: &[NodeProto], op: &str) -> usize {
    nodes.iter().filter(|n| n.op_type == op).count()
}

#[test]
fn every_value_is_made_before_it_is_read_and_every_constant_is_read() {
    for family in families::NAMES {
        let deployment = deployment(family);
        for numbers in [Numbers::F32, Numbers::F16, Numbers::Int8] {
            for (raw, output) in [(false, Output::Probabilities), (true, Output::Mask { threshold: 0.5 })] {
                let model = written(&deployment, &Options { output, numbers, raw });
                let graph = model.graph.unwrap();
                let constants: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
                assert_eq!(constants.len(), graph.initializer.len(), "names are unique");
                let mut made = constants.clone();
                made.insert("image");
                for node in &graph.node {
                    for input in node.input.iter().filter(|i| !i.is_empty()) {
                        assert!(made.contains(input.as_str()), "{family} {numbers:?}: {} reads {input}", node.name);
                    }
                    assert!(made.insert(node.output[0].as_str()), "{family}: {} is made twice", node.output[0]);
                }
                let read: BTreeSet<&str> = graph.node.iter().flat_map(|n| &n.input).map(String::as_str).collect();
                assert!(constants.is_subset(&read), "{family}: {:?}", constants.difference(&read).next());
                assert!(made.contains(output.name()) && graph.output[0].name == output.name());
                assert_eq!(count(&graph.node, "QuantizeLinear") > 0, numbers == Numbers::Int8);
                assert_eq!(made.contains("image/normalised"), !raw);
            }
        }
    }
}

#[test]
fn norms_behind_convolutions_are_folded_and_others_stay() {
    let norms =
        |family| count(&written(&deployment(family), &Options::default()).graph.unwrap().node, "BatchNormalization");
    assert_eq!(norms("unet"), 0);
    assert!(norms("fc_densenet56") > 0);
}

#[test]
fn the_same_deployment_gives_the_same_bytes_and_its_metadata_come_back() {
    let deployment = deployment("attention_unet");
    for output in [Output::Probabilities, Output::Logits, Output::Labels, Output::Mask { threshold: 0.25 }] {
        let options = Options { output, ..Options::default() };
        let first = bytes(&deployment, &options).unwrap();
        assert_eq!(first, bytes(&deployment.clone(), &options).unwrap());
        let metadata = Metadata::read(Path::new("a.onnx"), &first).unwrap().unwrap();
        assert_eq!(metadata, Metadata::of(&deployment, &options));
        assert_eq!((metadata.classes[1].as_str(), metadata.dice, metadata.multiple), ("gland", Some(0.875), 8));
    }
}

#[test]
fn a_file_without_our_metadata_has_none_and_another_version_is_refused() {
    let deployment = deployment("unet");
    let plain = crate::onnx::export(&deployment.network, &deployment.weights, &crate::onnx::ExportOptions::default());
    assert_eq!(Metadata::read(Path::new("a.onnx"), &plain.unwrap()).unwrap(), None);
    let mut model = written(&deployment, &Options::default());
    let format = model.metadata_props.iter_mut().find(|p| p.key == "segfit.format").unwrap();
    format.value = "segfit-onnx/9".into();
    let error = Metadata::read(Path::new("a.onnx"), &prost::Message::encode_to_vec(&model)).unwrap_err().to_string();
    assert!(error.contains("segfit-onnx/9") && error.contains(FORMAT), "{error}");
}

#[test]
fn int8_without_a_range_and_a_threshold_beyond_1_are_refused() {
    let mut deployment = deployment("unet");
    let error = |deployment: &Deployment, options| bytes(deployment, &options).unwrap_err().to_string();
    let int8 = Options { numbers: Numbers::Int8, ..Options::default() };
    deployment.ranges.as_mut().unwrap().remove("enc0.relu1");
    assert!(error(&deployment, int8).contains("enc0.relu1"));
    deployment.ranges = None;
    assert!(error(&deployment, int8).contains("calibrate"));
    let beyond = Options { output: Output::Mask { threshold: 1.5 }, ..Options::default() };
    assert!(error(&deployment, beyond).contains("--threshold"));
    let half = Options { numbers: Numbers::F16, ..Options::default() };
    deployment.weights.iter_mut().for_each(|t| t.values.fill(1e5));
    assert!(error(&deployment, half).contains("16 bits"));
}
