use super::*;
use crate::cost;
use crate::network::{GroupKind, Op, ParameterKind};

fn parameters(name: &str, options: &Options) -> u64 {
    cost::parameters(&build(name, options).unwrap()).unwrap()
}

/// Counted with the PyTorch models of benchmarks/networks/reference_models.py, which were written from the papers, for RGB and two
/// classes. Published: U-Net 31.0 M; attention U-Net 34.88 M (`AttU_Net` with one class has 34,878,573, 65 less than with
/// two); U-Net++ 9.16 M (one class: 9,163,329); FC-DenseNet67 and 103 3.5 M and 9.4 M (11 classes; here 3,463,243 and
/// 9,322,091); ResU-Net 7.8 M (its 3x3 convolutions alone; the 1x1 shortcuts are 0.43 M).
#[test]
fn parameter_counts_are_those_of_the_reference_models() {
    let counts = [
        ("unet", 31_045_506, 1_094_858),
        ("cumednet", 17_321_030, 610_674),
        ("fc_densenet56", 1_375_058, 90_560),
        ("fc_densenet67", 3_460_642, 224_602),
        ("fc_densenet103", 9_319_778, 602_906),
        ("attention_unet", 34_878_638, 1_230_140),
        ("resunet", 8_221_058, 290_954),
        ("unetpp", 9_163_362, 1_291_382),
        ("lean_unet", 845_762, 30_662),
        ("separable_unet", 5_997_634, 222_254),
    ];
    assert_eq!(counts.map(|c| c.0), NAMES);
    for (name, full, width12) in counts {
        let options = family(name).unwrap().options(3, 2);
        assert_eq!(parameters(name, &options), full, "{name}");
        assert_eq!(parameters(name, &Options { base_width: 12, ..options }), width12, "{name} of width 12");
    }
}

#[test]
fn unetpp_with_transposed_convolutions_has_the_count_of_its_reference_model() {
    let options = family("unetpp").unwrap().options(3, 2);
    assert_eq!(parameters("unetpp", &Options { upsampling: Some(Upsampling::Transposed), ..options }), 9_049_506);
}

#[test]
fn dense_blocks_have_the_channels_of_the_publication() {
    // Jégou et al., table 2 (which prints 578 for 576): seen after the blocks of FC-DenseNet103.
    let net = fc_densenet103(&family("fc_densenet103").unwrap().options(3, 11)).unwrap();
    let shapes = net.smallest_shapes().unwrap();
    let channels = |name: &str| shapes.tensors[net.layer_index(name).unwrap()].channels;
    let down = [("down0.seen4", 112), ("down1.seen5", 192), ("down2.seen7", 304), ("down3.seen10", 464)];
    let up = [("down4.seen12", 656), ("up0.seen4", 256), ("tu4", 240), ("up3.concat", 192 + 464)];
    for (name, expected) in down.into_iter().chain(up) {
        assert_eq!(channels(name), expected, "{name}");
    }
    let td = net.group("td2").unwrap();
    assert_eq!((td.kind, td.channels), (GroupKind::Derived, 304));
    let wider = net.with_widths(&[("down1".into(), 20)].into()).unwrap();
    assert_eq!(wider.group("td2").unwrap().channels, 304 + 5 * 4);
}

#[test]
fn a_gate_has_one_channel_at_every_width() {
    let net = attention_unet(&Options { base_width: 1, depth: 2, ..Options::default() }).unwrap();
    assert_eq!(net.group("gate").map(|g| (g.kind, g.channels)), Some((GroupKind::Fixed, 1)));
    assert_eq!(net.group("att0").unwrap().channels, 1, "half of one channel is one");
    let net = net.with_multiplier(3.0).unwrap();
    assert_eq!((net.group("gate").unwrap().channels, net.group("att0").unwrap().channels), (1, 3));
}

#[test]
fn auxiliary_heads_are_left_out_of_what_is_deployed() {
    for (name, heads) in [("unet", 3), ("cumednet", 3), ("resunet", 2), ("unetpp", 3), ("separable_unet", 3)] {
        let options = family(name).unwrap().options(1, 2);
        let net = build(name, &Options { base_width: 4, deep_supervision: true, ..options }).unwrap();
        assert_eq!(net.auxiliary.len(), heads, "{name}");
        let deployed = net.without_auxiliary();
        deployed.validate().unwrap();
        // The classifiers of CUMedNet are summed in its output, so that nothing can be left out.
        assert_eq!(deployed.layers.len() < net.layers.len(), name != "cumednet", "{name}");
    }
}

#[test]
fn every_family_takes_the_options_that_it_has_and_refuses_others() {
    type Change = fn(&mut Options);
    let given: [(Choice, &str, Change); 8] = [
        (Choice::Norm, "--norm", |o| o.norm = Some(Norm::Instance)),
        (Choice::GroupNorm, "--norm group", |o| o.norm = Some(Norm::Group)),
        (Choice::Activation, "--activation", |o| o.activation = Some(Activation::Prelu)),
        (Choice::Residual, "--residual", |o| o.residual = true),
        (Choice::DeepSupervision, "--deep-supervision", |o| o.deep_supervision = true),
        (Choice::Upsampling, "--upsampling", |o| o.upsampling = Some(Upsampling::Bilinear)),
        (Choice::Growth, "--growth", |o| o.growth = Some(3)),
        (Choice::Dropout, "--dropout", |o| o.dropout = Some(0.0)),
    ];
    for family in FAMILIES {
        for (choice, what, set) in given {
            let mut options = Options { base_width: 8, ..family.options(1, 3) };
            set(&mut options);
            match family.build(&options) {
                Ok(net) => assert!(family.takes.contains(&choice) && net.family == family.name, "{}", family.name),
                Err(error) => {
                    let text = error.to_string();
                    let named = text.contains(what) && text.contains(family.name);
                    assert!(!family.takes.contains(&choice) && named, "{}: {text}", family.name);
                }
            }
        }
    }
}

#[test]
fn options_out_of_range_are_named() {
    let named = |options: Options, what: &str| {
        let error = unet(&options).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    named(Options { classes: 1, ..Options::default() }, "--classes");
    named(Options { depth: 7, ..Options::default() }, "--depth");
    let dense = Options { dropout: Some(1.0), depth: 5, ..Options::default() };
    assert!(fc_densenet56(&dense).unwrap_err().to_string().contains("--dropout"));
    assert!(build("vnet", &Options::default()).unwrap_err().to_string().contains("attention_unet"));
}

#[test]
fn norms_and_activations_are_what_was_asked_for() {
    let options = Options { base_width: 12, depth: 1, norm: Some(Norm::Group), ..Options::default() };
    let net = unet(&Options { activation: Some(Activation::LeakyRelu), ..options }).unwrap();
    let op = |name: &str| &net.layers[net.layer_index(name).unwrap()].op;
    assert!(matches!(op("enc0.norm1"), Op::GroupNorm { groups: 4, .. }), "12 channels, not divisible by 8");
    assert!(matches!(op("enc1.norm1"), Op::GroupNorm { groups: 8, .. }));
    assert!(matches!(op("enc0.act1"), Op::LeakyRelu { .. }));
    let bare = unet(&Options { norm: Some(Norm::None), ..Options::default() }).unwrap();
    assert!(bare.parameters().unwrap().iter().all(|p| matches!(p.kind, ParameterKind::Weight | ParameterKind::Bias)));
}

#[test]
fn a_residual_block_adds_tensors_of_one_group() {
    let net = unet(&Options { base_width: 4, depth: 1, residual: true, ..Options::default() }).unwrap();
    // One 1x1 convolution with bias and a norm per block: image to 4, 4 to 8, 8 (skip and up) to 4.
    let extra = (3 * 4 + 4 + 8) + (4 * 8 + 8 + 16) + (8 * 4 + 4 + 8);
    let plain = parameters("unet", &Options { base_width: 4, depth: 1, ..Options::default() });
    assert_eq!(cost::parameters(&net).unwrap(), plain + extra);
    net.with_widths(&[("enc0".into(), 3)].into()).unwrap();
}
