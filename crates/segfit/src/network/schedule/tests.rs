//! Schedules of U-Nets, of dense blocks and of random networks.

use super::super::families::{Options, unet};
use super::super::spec::{AuxiliaryHead, Group, GroupKind, Interpolation, Layer, NETWORK_FORMAT, Op, PadMode};
use super::*;
use crate::random::Stream;

fn small(mode: Mode) -> Schedule {
    let net = unet(&Options { in_channels: 1, classes: 2, base_width: 4, depth: 2, ..Options::default() }).unwrap();
    Schedule::new(&net, mode, 2, 16, 24).unwrap()
}

#[test]
fn inference_fuses_norm_and_relu_and_copies_nothing() {
    let s = small(Mode::Infer);
    let convolutions = s.forward.iter().filter(|s| matches!(s, Step::Convolve { .. })).count();
    assert_eq!(convolutions, 2 * 5 + 2 + 1);
    assert_eq!(s.forward.len(), convolutions + 2, "two poolings and nothing else");
    assert!(s.forward.iter().filter(|s| matches!(s, Step::Convolve { norm: Some(_), relu: true, .. })).count() == 12);
}

#[test]
fn a_skip_and_its_upsampled_partner_are_views_of_one_buffer() {
    let s = small(Mode::Infer);
    let find = |name: &str| s.tensors.iter().find(|t| t.name == name).unwrap();
    let (skip, up, joined) = (find("enc0.relu2"), find("up0.relu"), find("dec0.concat"));
    assert_eq!((skip.buffer, up.buffer), (joined.buffer, joined.buffer));
    assert_eq!((skip.first_channel, up.first_channel, joined.channels), (0, 4, 8));
}

#[test]
fn buffers_that_live_at_the_same_time_never_overlap_in_memory() {
    for mode in [Mode::Infer, Mode::Train] {
        let s = small(mode);
        for (i, a) in s.buffers.iter().enumerate() {
            assert!(a.offset + a.floats <= s.arena_floats);
            for b in &s.buffers[..i] {
                let in_time = a.born <= b.dies && b.born <= a.dies;
                let in_space = a.offset < b.offset + b.floats && b.offset < a.offset + a.floats;
                assert!(!(in_time && in_space), "{a:?} {b:?}");
            }
        }
        let total: usize = s.buffers.iter().map(|b| b.floats).sum();
        assert!(s.arena_floats < total, "some memory is shared");
    }
}

#[test]
fn the_pooled_skip_adds_to_the_gradient_that_the_decoder_wrote() {
    let s = small(Mode::Train);
    let pools: Vec<bool> = s
        .backward
        .iter()
        .filter_map(|s| if let Step::MaxPoolBackward { accumulate, .. } = s { Some(*accumulate) } else { None })
        .collect();
    assert_eq!(pools, [true, true]);
    assert!(!s.backward.iter().any(|s| matches!(s, Step::Zero { .. })));
    let data = s.backward.iter().filter(|s| matches!(s, Step::ConvolveBackwardData { .. })).count();
    let weights = s.backward.iter().filter(|s| matches!(s, Step::ConvolveBackwardWeights { .. })).count();
    assert_eq!(weights, 13);
    assert_eq!(data, 12, "the image needs no gradient");
}

#[test]
fn a_pooling_may_be_carried_out_with_the_step_before_it() {
    for (mode, steps) in [(Mode::Infer, 2), (Mode::Train, 2)] {
        let s = small(mode);
        let pooled: Vec<_> = (0..s.forward.len()).filter_map(|k| Some((k, s.pooled_with(k)?))).collect();
        assert_eq!(pooled.len(), steps, "{mode:?}");
        for (k, y) in pooled {
            let buffer = &s.buffers[s.tensors[y].buffer];
            assert_eq!(buffer.born, k, "its memory belongs to it when the step before begins");
            assert!(matches!(s.forward[k + 1], Step::MaxPool { .. }));
        }
    }
}

#[test]
fn four_channels_in_one_plane_take_about_a_quarter_of_the_memory() {
    let s = small(Mode::Infer);
    let planes: Vec<_> = s.tensors.iter().map(|t| (t.first_channel / 4, t.channels.div_ceil(4))).collect();
    let packed = s.clone().with_planes(&planes);
    let joined = packed.tensors.iter().find(|t| t.name == "dec0.concat").unwrap();
    assert_eq!((joined.channels, packed.buffers[joined.buffer].channels), (2, 2));
    assert!(packed.arena_floats * 3 < s.arena_floats, "{} of {}", packed.arena_floats, s.arena_floats);
    assert_eq!(packed.forward, s.forward);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let net = unet(&Options { in_channels: 1, classes: 2, base_width: 1, depth: 2, ..Options::default() }).unwrap();
    let error = Schedule::new(&net, Mode::Infer, 1, 18, 16).unwrap_err();
    assert!(error.to_string().contains("multiple of 4"), "{error}");
}

#[test]
fn unets_of_width_4_and_16_keep_their_steps_and_their_memory() {
    for (base_width, mode, steps, floats) in [
        (4, Mode::Infer, (27, 0), 1_101_312),
        (4, Mode::Train, (50, 71), 5_912_512),
        (16, Mode::Infer, (27, 0), 4_405_248),
        (16, Mode::Train, (50, 71), 22_240_192),
    ] {
        let net = unet(&Options { in_channels: 3, classes: 2, base_width, depth: 4, ..Options::default() }).unwrap();
        let s = Schedule::new(&net, mode, 4, 128, 128).unwrap();
        assert_eq!(((s.forward.len(), s.backward.len()), s.arena_floats), (steps, floats), "{base_width} {mode:?}");
    }
}

/// A network that reads the gray `image`; it has groups of 2 channels called a and b, and 3 classes.
fn network(layers: &[(&str, Op, &[&str])], output: &str) -> NetworkSpec {
    let group = |name: &str, channels, kind| Group { name: name.into(), channels, kind, divisible_by: 1, sum: vec![] };
    let mut all = vec![Layer { name: "image".into(), op: Op::Input { group: "image".into() }, inputs: vec![] }];
    all.extend(layers.iter().map(|(name, op, inputs)| Layer {
        name: (*name).into(),
        op: op.clone(),
        inputs: inputs.iter().map(|&i| i.into()).collect(),
    }));
    NetworkSpec {
        format: NETWORK_FORMAT.into(),
        family: "other".into(),
        base_width: 2,
        depth: 1,
        rank: 2,
        classes: 3,
        groups: vec![
            group("image", 1, GroupKind::Fixed),
            group("a", 2, GroupKind::Free),
            group("b", 2, GroupKind::Free),
            group("classes", 3, GroupKind::Fixed),
        ],
        layers: all,
        output: output.into(),
        auxiliary: vec![],
    }
}

fn conv(group: &str) -> Op {
    strided(group, 1)
}

fn strided(group: &str, stride: usize) -> Op {
    Op::Conv2d {
        group: group.into(),
        kernel: vec![3; 2],
        stride: vec![stride; 2],
        padding: vec![1; 2],
        dilation: vec![1; 2],
        groups: 1,
        bias: true,
    }
}

const NORM: Op = Op::BatchNorm { eps: 1e-5, momentum: 0.1 };

fn copies(steps: &[Step]) -> usize {
    steps.iter().filter(|s| matches!(s, Step::Copy { .. })).count()
}

/// Four layers, each reading all before it; the new channels alone go on.
fn dense_block() -> NetworkSpec {
    network(
        &[
            ("stem", conv("a"), &["image"]),
            ("n1", NORM, &["stem"]),
            ("r1", Op::Relu, &["n1"]),
            ("l1", conv("b"), &["r1"]),
            ("c2", Op::Concat, &["stem", "l1"]),
            ("n2", NORM, &["c2"]),
            ("l2", conv("b"), &["n2"]),
            ("c3", Op::Concat, &["c2", "l2"]),
            ("n3", NORM, &["c3"]),
            ("l3", conv("b"), &["n3"]),
            ("c4", Op::Concat, &["stem", "l1", "l2", "l3"]),
            ("n4", NORM, &["c4"]),
            ("l4", conv("b"), &["n4"]),
            ("new", Op::Concat, &["l1", "l2", "l3", "l4"]),
            ("head", conv("classes"), &["new"]),
        ],
        "head",
    )
}

#[test]
fn a_dense_block_is_one_buffer_and_copies_nothing() {
    let net = dense_block();
    for mode in [Mode::Infer, Mode::Train] {
        let s = Schedule::new(&net, mode, 1, 8, 8).unwrap();
        assert_eq!(copies(&s.forward), 0);
        let of = |name: &str| {
            let t = s.tensors.iter().find(|t| t.name == name).unwrap();
            (t.buffer, t.first_channel, t.channels)
        };
        let block = of("stem").0;
        assert_eq!(["c2", "c3", "c4", "new"].map(of), [(block, 0, 4), (block, 0, 6), (block, 0, 8), (block, 2, 8)]);
        check_steps(&s);
    }
}

#[test]
fn the_gradient_of_a_norm_s_input_is_added_where_others_read_it() {
    let s = Schedule::new(&dense_block(), Mode::Train, 1, 8, 8).unwrap();
    let names = |dx: usize| s.tensors[dx].name.as_str();
    let added: Vec<(&str, bool)> = s
        .backward
        .iter()
        .filter_map(|s| {
            if let Step::CopyBackward { dx, accumulate, .. } = s { Some((names(*dx), *accumulate)) } else { None }
        })
        .collect();
    assert_eq!(added, [("d:c4", true), ("d:c3", true), ("d:c2", true), ("d:stem", true)]);
    let zeroed: Vec<&str> =
        s.backward.iter().filter_map(|s| if let Step::Zero { dx } = s { Some(names(*dx)) } else { None }).collect();
    assert_eq!(zeroed, ["d:c4[0..2]"], "the stem is not part of the output");
}

#[test]
fn only_a_concatenation_that_fits_no_block_is_copied() {
    let net = network(
        &[
            ("x", conv("a"), &["image"]),
            ("y", conv("b"), &["image"]),
            ("xy", Op::Concat, &["x", "y"]),
            ("yx", Op::Concat, &["y", "x"]),
            ("both", Op::Concat, &["xy", "yx", "x"]),
            ("head", conv("classes"), &["both"]),
        ],
        "head",
    );
    let s = Schedule::new(&net, Mode::Train, 1, 8, 8).unwrap();
    assert_eq!(copies(&s.forward), 3, "y, x and x again in a block x y y x x");
    check_steps(&s);
}

#[test]
fn what_changes_nothing_or_reaches_no_head_has_no_step() {
    let mut net = network(
        &[
            ("x", conv("a"), &["image"]),
            ("dropped", Op::Dropout { p: 0.5 }, &["x"]),
            ("padded", Op::Pad { before: vec![0; 2], after: vec![0; 2], mode: PadMode::Zero }, &["dropped"]),
            ("relu", Op::Relu, &["padded"]),
            ("lost", conv("b"), &["relu"]),
            ("aside", conv("classes"), &["relu"]),
            ("head", conv("classes"), &["relu"]),
        ],
        "head",
    );
    net.auxiliary.push(AuxiliaryHead { layer: "aside".into(), weight: 0.5 });
    let infer = Schedule::new(&net, Mode::Infer, 1, 8, 8).unwrap();
    let fused = |s: &Step| matches!(s, Step::Convolve { relu: true, .. });
    assert!(infer.forward.len() == 2 && fused(&infer.forward[0]), "{:?}", infer.forward);
    let deployed = Schedule::new(&net.without_auxiliary(), Mode::Infer, 1, 8, 8).unwrap();
    assert_eq!(infer.arena_floats, deployed.arena_floats);
    let train = Schedule::new(&net, Mode::Train, 1, 8, 8).unwrap();
    let applied = train.forward.iter().filter(|s| matches!(s, Step::Apply { .. })).count();
    assert_eq!(
        (train.forward.len(), applied),
        (7, 2),
        "3 convolutions, dropout and ReLU, 2 losses: {:?}",
        train.forward
    );
    let weights: Vec<f32> = train
        .forward
        .iter()
        .filter_map(|s| if let Step::Loss { weight, .. } = s { Some(*weight) } else { None })
        .collect();
    assert_eq!(weights, [1.0, 0.5]);
    let trained = train.backward.iter().filter(|s| matches!(s, Step::ConvolveBackwardWeights { .. })).count();
    assert_eq!(trained, 3);
    check_steps(&train);
}

#[test]
fn what_nothing_else_reads_is_replaced() {
    let net = network(
        &[
            ("x", conv("a"), &["image"]),
            ("y", conv("a"), &["x"]),
            ("sum", Op::Add, &["x", "y"]),
            ("silu", Op::Silu, &["sum"]),
            ("head", conv("classes"), &["silu"]),
        ],
        "head",
    );
    let buffers = |s: &Schedule, names: [&str; 4]| {
        names.map(|name| s.tensors.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("{name}")).buffer)
    };
    let infer = Schedule::new(&net, Mode::Infer, 1, 8, 8).unwrap();
    let [x, y, sum, silu] = buffers(&infer, ["x", "y", "sum", "silu"]);
    assert!(x != y && y == sum && sum == silu, "x is read once more");
    let train = Schedule::new(&net, Mode::Train, 1, 8, 8).unwrap();
    let [x, y, sum, silu] = buffers(&train, ["x", "y", "sum", "silu"]);
    assert!(x != y && y != sum && sum != silu);
    let d = train.tensors.iter().filter(|t| t.name.starts_with("d:")).map(|t| t.name.as_str()).collect::<Vec<_>>();
    assert_eq!(d, ["d:head", "d:silu", "d:x"], "the gradients of the sum and of y are that of silu");
    check_steps(&infer);
    check_steps(&train);
}

/// Every step reads what has been written, and buffers that live at the same time lie apart.
fn check_steps(s: &Schedule) {
    let mut written: Vec<Vec<bool>> = s.buffers.iter().map(|b| vec![false; b.channels]).collect();
    let channels = |t: TensorId| {
        let t = &s.tensors[t];
        (t.buffer, t.first_channel..t.first_channel + t.channels)
    };
    let (buffer, range) = channels(s.input);
    written[buffer][range].fill(true);
    for (k, step) in s.forward.iter().chain(&s.backward).enumerate() {
        let added = |dx: &TensorId, accumulate: &bool| accumulate.then_some(*dx);
        let (reads, writes): (Vec<TensorId>, Vec<TensorId>) = match step {
            Step::Convolve { x, y, .. } | Step::Normalise { x, y, .. } => (vec![*x], vec![*y]),
            Step::MaxPool { x, y } | Step::Copy { x, y } => (vec![*x], vec![*y]),
            Step::Apply { xs, y, .. } => (xs.clone(), vec![*y]),
            Step::Loss { logits, gradient, .. } => (vec![*logits], vec![*gradient]),
            Step::Zero { dx } => (vec![], vec![*dx]),
            Step::ReluBackward { y, dy } => (vec![*y, *dy], vec![]),
            Step::ConvolveBackwardWeights { x, dy, .. } | Step::NormaliseBackward { x, dy, .. } => {
                (vec![*x, *dy], vec![])
            }
            Step::ConvolveBackwardData { dy, dx, accumulate, .. } | Step::CopyBackward { dy, dx, accumulate } => {
                ([*dy].into_iter().chain(added(dx, accumulate)).collect(), vec![*dx])
            }
            Step::MaxPoolBackward { x, dy, dx, accumulate } => {
                ([*x, *dy].into_iter().chain(added(dx, accumulate)).collect(), vec![*dx])
            }
            Step::ApplyBackward { xs, y, dy, dxs, .. } => {
                let read = xs.iter().flatten().copied().chain(*y).chain([*dy]);
                let added = dxs.iter().flatten().filter_map(|(dx, accumulate)| added(dx, accumulate));
                (read.chain(added).collect(), dxs.iter().flatten().map(|d| d.0).collect())
            }
        };
        for (buffer, range) in reads.into_iter().map(channels) {
            assert!(written[buffer][range].iter().all(|&w| w), "step {k} reads what nobody wrote: {step:?}");
        }
        for (buffer, range) in writes.into_iter().map(channels) {
            written[buffer][range].fill(true);
            let Buffer { born, dies, .. } = s.buffers[buffer];
            assert!((born..=dies).contains(&k));
        }
    }
    for (i, a) in s.buffers.iter().enumerate().filter(|(_, a)| a.born <= a.dies) {
        assert!(a.offset + a.floats <= s.arena_floats);
        for b in &s.buffers[..i] {
            let in_time = a.born <= b.dies && b.born <= a.dies;
            let in_space = a.offset < b.offset + b.floats && b.offset < a.offset + a.floats;
            assert!(!(in_time && in_space), "{a:?} {b:?}");
        }
    }
}

/// Layers of all kinds with random inputs, those left out that do not fit.
fn random_network(seed: u64) -> NetworkSpec {
    let mut stream = Stream::new(&[seed]);
    let mut net = network(&[], "head");
    let ops = |stream: &mut Stream| -> Op {
        let pair = |n: usize| vec![n; 2];
        let (kernel, group) = (1 + stream.below(3), if stream.below(2) == 0 { "a" } else { "b" });
        match stream.below(26) {
            0..=3 => conv(group),
            4 => strided(group, 2),
            5 => Op::ConvTranspose2d {
                group: group.into(),
                kernel: pair(2),
                stride: vec![],
                padding: pair(0),
                output_padding: pair(0),
                bias: true,
            },
            6..=7 => NORM,
            8 => Op::InstanceNorm { eps: 1e-5, affine: stream.below(2) == 0 },
            9 => Op::GroupNorm { groups: 2, eps: 1e-5 },
            10..=11 => Op::Relu,
            12 => Op::LeakyRelu { slope: stream.range(-0.5, 0.5) },
            13 => Op::Prelu { shared: false },
            14 => Op::Silu,
            15 => Op::MaxPool { kernel: pair(kernel), stride: pair(2), padding: pair(0) },
            16 => Op::AveragePool { kernel: pair(kernel), stride: pair(2), padding: pair(0), count_padding: false },
            17 => Op::GlobalAveragePool,
            18 => Op::Upsample { factor: pair(kernel), interpolation: Interpolation::Nearest },
            19 => Op::Pad { before: pair(kernel - 1), after: pair(0), mode: PadMode::Replicate },
            20 => Op::Dropout { p: if kernel == 1 { 0.0 } else { 0.5 } },
            21..=23 => Op::Concat,
            24 => Op::Add,
            _ => Op::Mul,
        }
    };
    for i in 0..6 + stream.below(20) {
        let op = ops(&mut stream);
        let inputs = match op {
            Op::Concat | Op::Add => 1 + stream.below(4),
            Op::Mul => 2,
            _ => 1,
        };
        let shapes = Shapes::infer(&net, 16, 16).unwrap();
        let mut chosen = vec![stream.below(net.layers.len())];
        let size = |k: usize| (shapes.tensors[k].height, shapes.tensors[k].width);
        while chosen.len() < inputs {
            let same: Vec<usize> = (0..net.layers.len()).filter(|&k| size(k) == size(chosen[0])).collect();
            chosen.push(same[stream.below(same.len())]);
        }
        let inputs = chosen.iter().map(|&k| net.layers[k].name.clone()).collect();
        net.layers.push(Layer { name: format!("{i}"), op, inputs });
        if Shapes::infer(&net, 16, 16).is_err() {
            net.layers.pop();
        }
    }
    let shapes = Shapes::infer(&net, 16, 16).unwrap();
    let ends: Vec<usize> = (0..net.layers.len()).filter(|&k| shapes.tensors[k].height == 16).collect();
    for name in ["head", "aside"] {
        let inputs = vec![net.layers[ends[ends.len() - 1 - stream.below(ends.len().min(3))]].name.clone()];
        net.layers.push(Layer { name: name.into(), op: conv("classes"), inputs });
    }
    net.auxiliary.push(AuxiliaryHead { layer: "aside".into(), weight: 0.5 });
    net
}

#[test]
fn random_networks_of_all_layers_read_what_was_written_and_keep_buffers_apart() {
    let (mut steps, mut zeros, mut views) = (0, 0, 0);
    for seed in 0..500 {
        let net = random_network(seed);
        let multiple = net.input_multiple();
        let size = if 16_usize.is_multiple_of(multiple) { 16 } else { multiple };
        for mode in [Mode::Infer, Mode::Train] {
            // A size that the network accepts may be another than the one it was made at.
            if Shapes::infer(&net, size, size).is_err() {
                continue;
            }
            let s = Schedule::new(&net, mode, 2, size, size).unwrap();
            check_steps(&s);
            steps += s.forward.len() + s.backward.len();
            zeros += s.backward.iter().filter(|s| matches!(s, Step::Zero { .. })).count();
            views += s.tensors.iter().filter(|t| t.channels < s.buffers[t.buffer].channels).count();
        }
    }
    assert!(steps > 5_000 && zeros > 10 && views > 500, "{steps} {zeros} {views}");
}

#[test]
fn dense_buffers_are_packed_anew_and_pooled_tensors_wait_for_their_pooling() {
    let s = small(Mode::Infer);
    let dense: Vec<usize> = s.buffers.iter().map(|b| 2 * b.channels * b.layout.height * b.layout.width).collect();
    let packed = s.clone().with_buffer_sizes(&dense);
    assert_eq!(packed.forward, s.forward);
    assert!(packed.arena_floats < s.arena_floats, "{} {}", packed.arena_floats, s.arena_floats);
    for (i, a) in packed.buffers.iter().enumerate() {
        assert_eq!(a.floats, dense[i]);
        for b in &packed.buffers[..i] {
            let in_time = a.born <= b.dies && b.born <= a.dies;
            let in_space = a.offset < b.offset + b.floats && b.offset < a.offset + a.floats;
            assert!(!(in_time && in_space), "{a:?} {b:?}");
        }
    }
    let pooled = |s: &Schedule| s.buffers[s.tensors.iter().find(|t| t.name == "pool0").unwrap().buffer].born;
    assert_eq!((pooled(&s), pooled(&packed)), (1, 2));
}
