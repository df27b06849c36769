//! Schedules of U-Nets, of dense blocks and of random networks.

use super::super::families::{UnetOptions, unet};
use super::*;

fn small(mode: Mode) -> Schedule {
    let net = unet(&UnetOptions { in_channels: 1, classes: 2, base_width: 4, depth: 2 }).unwrap();
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
    let net = unet(&UnetOptions { in_channels: 1, classes: 2, base_width: 1, depth: 2 }).unwrap();
    let error = Schedule::new(&net, Mode::Infer, 1, 18, 16).unwrap_err();
    assert!(error.to_string().contains("multiple of 4"), "{error}");
}
