//! Every family at random widths: valid, consistent, and never dearer when a width falls.

use proptest::prelude::*;
use segfit::cost;
use segfit::network::families::{Activation, FAMILIES, Norm, Options, Upsampling, family};
use segfit::network::{Group, GroupKind, Narrowing, NetworkSpec, Op, Shapes};

/// A family at a small width, with options that it may refuse.
fn options() -> impl Strategy<Value = (usize, Options)> {
    let any = (
        0..FAMILIES.len(),
        1_usize..4,
        2_usize..5,
        1_usize..20,
        1_usize..5,
        prop::option::of(prop::sample::select(Norm::ALL.map(|n| n.1).to_vec())),
        prop::option::of(prop::sample::select(Activation::ALL.map(|a| a.1).to_vec())),
        prop::option::of(prop::sample::select(Upsampling::ALL.map(|u| u.1).to_vec())),
        any::<(bool, bool)>(),
    );
    any.prop_map(|(family, in_channels, classes, base_width, depth, norm, activation, upsampling, (residual, deep))| {
        let sizes = Options { in_channels, classes, base_width, depth, ..Options::default() };
        (family, Options { norm, activation, upsampling, residual, deep_supervision: deep, ..sizes })
    })
}

/// The network, without the options that the family refuses.
fn network(which: usize, options: &Options) -> NetworkSpec {
    let family = &FAMILIES[which];
    let plain = Options { base_width: options.base_width, ..family.options(options.in_channels, options.classes) };
    let plain = Options { depth: options.depth.min(family.deepest), ..plain };
    let mut kept = plain;
    let one_by_one: [Options; 5] = [
        Options { norm: options.norm, ..kept.clone() },
        Options { activation: options.activation, ..kept.clone() },
        Options { upsampling: options.upsampling, ..kept.clone() },
        Options { residual: options.residual, ..kept.clone() },
        Options { deep_supervision: options.deep_supervision, ..kept },
    ];
    let taken = one_by_one.map(|o| family.build(&o).is_ok());
    kept.norm = options.norm.filter(|_| taken[0]);
    kept.activation = options.activation.filter(|_| taken[1]);
    kept.upsampling = options.upsampling.filter(|_| taken[2]);
    kept.residual = options.residual && taken[3];
    kept.deep_supervision = options.deep_supervision && taken[4];
    family.build(&kept).unwrap()
}

/// Bytes of all tensors of the deployed network for one image, were none to share memory.
fn tensor_bytes(spec: &NetworkSpec) -> usize {
    let spec = spec.without_auxiliary();
    let size = spec.input_multiple();
    let shapes = Shapes::infer(&spec, size, size).unwrap();
    shapes.tensors.iter().map(|t| 4 * t.channels * t.pixels()).sum()
}

/// Every sum is of tensors of the same groups, and every group is made by some layer.
fn assert_groups_are_consistent(spec: &NetworkSpec) {
    let shapes = spec.smallest_shapes().unwrap();
    for (i, layer) in spec.layers.iter().enumerate() {
        if matches!(layer.op, Op::Add) {
            let mut lists = shapes.inputs[i].iter().map(|&j| &shapes.tensors[j].segments);
            let first = lists.next().unwrap();
            assert!(lists.all(|list| list == first), "{} of {}", layer.name, spec.family);
        }
        let tensor = &shapes.tensors[i];
        let sum: usize = tensor.segments.iter().map(|s| s.multiple * spec.groups[s.group].channels).sum();
        assert_eq!(sum, tensor.channels, "{} of {}", layer.name, spec.family);
    }
    for group in &spec.groups {
        let made = spec.layers.iter().any(|l| l.op.group() == Some(&group.name));
        assert!(made, "no layer of {} makes {}", spec.family, group.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn narrowed_networks_are_valid_and_their_groups_consistent(
        (which, options) in options(),
        factor in 0.02..2.0_f64,
        divisor in 1_usize..9,
    ) {
        let full = network(which, &options);
        assert_groups_are_consistent(&full);
        let narrowed = full.narrowed(&Narrowing { multiplier: factor, divisor, ..Narrowing::default() }).unwrap();
        narrowed.validate().unwrap();
        assert_groups_are_consistent(&narrowed);
        prop_assert!(narrowed.widths().values().all(|w| w.is_multiple_of(divisor)));
        let deployed = narrowed.without_auxiliary();
        deployed.validate().unwrap();
        assert_groups_are_consistent(&deployed);
        prop_assert_eq!(&deployed.without_auxiliary(), &deployed);
        let fixed = |n: &NetworkSpec| n.groups.iter().filter(|g| g.kind == GroupKind::Fixed).cloned().collect::<Vec<_>>();
        prop_assert_eq!(fixed(&full), fixed(&narrowed), "image, classes and gates stay");
    }

    #[test]
    fn no_cost_rises_when_a_width_falls(
        (which, options) in options(),
        group in any::<prop::sample::Index>(),
        share in 0.0..1.0_f64,
    ) {
        let full = network(which, &options);
        let widths: Vec<(String, usize)> = full.widths().into_iter().collect();
        let (name, channels) = widths[group.index(widths.len())].clone();
        let index = full.groups.iter().position(|g| g.name == name).unwrap();
        let multiples = full.channel_multiples().unwrap();
        // Beside channels that only add up to what a norm's groups divide, a single one cannot change.
        let fits = |(group, multiple): (&Group, &usize)| group.kind != GroupKind::Free || group.channels.is_multiple_of(*multiple);
        prop_assume!(full.groups.iter().zip(&multiples).all(fits));
        let multiple = multiples[index];
        let less = (channels as f64 * share) as usize / multiple * multiple;
        prop_assume!(less > 0 && less < channels);
        let narrowed = full.with_widths(&[(name, less)].into()).unwrap();
        prop_assert!(cost::parameters(&narrowed).unwrap() < cost::parameters(&full).unwrap());
        let size = full.input_multiple();
        prop_assert!(cost::macs(&narrowed, size).unwrap() < cost::macs(&full, size).unwrap());
        prop_assert!(tensor_bytes(&narrowed) < tensor_bytes(&full));
    }

    #[test]
    fn every_base_width_is_narrower_than_the_next(which in 0..FAMILIES.len(), width in 1_usize..40) {
        let family = &FAMILIES[which];
        let of = |base_width| family.build(&Options { base_width, ..family.options(3, 2) }).unwrap();
        let (narrow, wide) = (of(width), of(width + 1));
        prop_assert!(narrow.widths().iter().all(|(name, w)| *w <= wide.widths()[name]));
        prop_assert!(cost::parameters(&narrow).unwrap() < cost::parameters(&wide).unwrap());
    }
}

#[test]
fn a_multiplier_gives_the_network_of_that_base_width() {
    for family in FAMILIES {
        let of = |base_width| family.build(&Options { base_width, ..family.options(3, 2) }).unwrap();
        let (full, quarter) = (of(family.base_width), of(family.base_width / 4));
        assert_eq!(full.with_multiplier(0.25).unwrap().widths(), quarter.widths(), "{}", family.name);
    }
}

#[test]
fn every_family_is_found_by_its_name_and_written_and_read_back() {
    for made in FAMILIES {
        assert_eq!(family(made.name).unwrap().name, made.name);
        let net = made.build(&Options { base_width: 4, ..made.options(2, 3) }).unwrap();
        let text = serde_json::to_string(&net).unwrap();
        assert_eq!(serde_json::from_str::<NetworkSpec>(&text).unwrap(), net, "{}", made.name);
    }
}
