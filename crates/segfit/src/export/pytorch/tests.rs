use super::*;
use crate::data::{LabelCoding, LabelKind, LabelMap, Normalisation};
use crate::export::Provenance;
use crate::network::NetworkSpec;
use crate::network::families::{FAMILIES, Family, Options, unet};
use crate::onnx::Tensor;
use crate::recipe::{InputMode, InputSpec};

/// A deployment of a network with weights that are all its parameter's number.
pub fn deployment(network: NetworkSpec) -> Deployment {
    let parameters = network.without_auxiliary().parameters().unwrap();
    let weights = parameters.iter().enumerate();
    let weights = weights
        .map(|(i, p)| Tensor { name: p.name.clone(), shape: p.shape.clone(), values: vec![i as f32; p.len()] })
        .collect();
    let channels = network.in_channels();
    let deployment = Deployment {
        network,
        weights,
        normalisation: Normalisation { mean: vec![0.5; channels], std: vec![0.25; channels] },
        input: InputSpec { mode: InputMode::Patch, size: 64 },
        axis: None,
        loss: LossKind::CrossEntropyDice,
        labels: LabelMap { kind: LabelKind::Binary, coding: LabelCoding::Value, entries: vec![] },
        provenance: Provenance {
            version: "0.1.0".into(),
            run: "0123".into(),
            dataset: "cells \"of\" mine".into(),
            fingerprint: "abc".into(),
            dice: Some(0.9),
            test_images: Some(7),
            plan: None,
        },
        ranges: None,
    };
    deployment.checked().unwrap()
}

fn small() -> Deployment {
    let options = Options { in_channels: 1, classes: 2, base_width: 2, depth: 1, ..Options::default() };
    deployment(unet(&options).unwrap())
}

#[test]
fn a_small_unet_reads_as_a_person_would_write_it() {
    let text = model(&small()).unwrap();
    for line in [
        "        self.enc0 = nn.Module()",
        "        self.enc0.conv1 = nn.Conv2d(1, 2, 3, padding=1)",
        "        self.enc0.norm1 = nn.BatchNorm2d(2)",
        "        self.up0.conv = nn.ConvTranspose2d(4, 2, 2, stride=2)",
        "        x = F.relu(self.enc0.norm1(self.enc0.conv1(image)))",
        "        enc0 = F.relu(self.enc0.norm2(self.enc0.conv2(x)))",
        "        x = F.max_pool2d(enc0, 2)",
        "        # enc1: 4 channels, 1/2 of the rows and columns",
        "        return self.head(x)",
        "MEAN = [0.5]  # of the training images, by channel",
        "MULTIPLE = 2  # sides of the network's input",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(!text.contains('@'), "everything is filled in");
    assert!(text.contains("cells of mine"), "quotes of others end no string");
}

#[test]
fn every_family_is_written_once_for_each_parameter() {
    for Family { name, .. } in FAMILIES {
        let family = FAMILIES.iter().find(|f| f.name == name).unwrap();
        let options = Options { in_channels: 3, classes: 3, base_width: 4, depth: 2, ..Options::default() };
        let text = model(&deployment(family.build(&options).unwrap())).unwrap();
        assert!(text.lines().all(|l| l.chars().count() <= 130), "{name}");
        let spec = deployment(family.build(&options).unwrap()).network;
        for parameter in spec.parameters().unwrap() {
            let module = modules::access(&spec.layers[parameter.layer].name);
            assert_eq!(text.matches(&format!("{module} = ")).count(), 1, "{name} {module}");
            assert!(text.contains(&format!("{module}(")), "{name} {module} is called");
        }
    }
}

#[test]
fn names_that_no_module_can_have_are_refused_and_others_are_reached() {
    let renamed = |to: &str| {
        let mut d = small();
        for layer in &mut d.network.layers {
            layer.inputs.iter_mut().filter(|n| *n == "head").for_each(|n| *n = to.into());
            if layer.name == "head" {
                layer.name = to.into();
            }
        }
        d.network.output = to.into();
        model(&d)
    };
    for bad in ["train", "segment", "enc0.conv1.weight"] {
        let error = renamed(bad).unwrap_err().to_string();
        assert!(error.contains(bad) && error.contains("rename"), "{error}");
    }
    let text = renamed("decoder.blocks.0.lambda").unwrap();
    assert!(text.contains(r#"self.decoder.blocks.add_module("0", nn.Module())"#), "{text}");
    assert!(text.contains(r#"return getattr(getattr(self.decoder.blocks, "0"), "lambda")(x)"#), "{text}");
}

#[test]
fn a_value_is_not_taken_for_a_placeholder() {
    assert_eq!(filled("a @X@ b", &[("X", "@Y@".into()), ("Y", "no".into())]), "a @Y@ b");
    assert_eq!([1e-5, 0.1, 3.0].map(number), ["1e-5", "0.1", "3.0"]);
}
