//! Every family runs: inference of one image and one training step, at random widths and options.

use proptest::prelude::*;
use segfit::cost::Cost;
use segfit::network::families::{Activation, FAMILIES, Family, Norm, Options, Upsampling};
use segfit::network::schedule::{Mode, Schedule};
use segfit::network::{Narrowing, NetworkSpec};
use segfit::recipe::LossKind;
use segfit_engine::backend::{Backend, Optimiser, TrainingSpec};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::initialise::initialise;
use segfit_engine::state::State;

const TRAINING: TrainingSpec =
    TrainingSpec { loss: LossKind::CrossEntropyDice, optimiser: Optimiser::Sgd, average_decay: 0.9, seed: 3 };

/// Values of -1 to 1 that look random.
fn image(values: usize) -> Vec<f32> {
    (0..values).map(|i| ((i * 7919 + 13) % 997) as f32 / 498.5 - 1.0).collect()
}

/// Infers and takes a step on the smallest image that leaves four pixels at the lowest level; the loss, and whether weights changed.
fn run(spec: &NetworkSpec) -> (Vec<f32>, f64, bool) {
    let size = 2 * spec.input_multiple();
    let weights = initialise(spec, 1).unwrap();
    let images = image(spec.in_channels() * size * size);
    let targets: Vec<u8> = (0..size * size).map(|i| (i % spec.classes) as u8).collect();
    let backend = CpuBackend::detect();

    let schedule = Schedule::new(spec, Mode::Infer, 1, size, size).unwrap();
    let mut infers = backend.compile(spec, schedule, None).unwrap();
    infers.load(&weights).unwrap();
    let mut logits = Vec::new();
    infers.infer(&images, &mut logits).unwrap();
    assert_eq!(logits.len(), spec.classes * size * size);

    let schedule = Schedule::new(spec, Mode::Train, 1, size, size).unwrap();
    let mut trains = backend.compile(spec, schedule, Some(TRAINING)).unwrap();
    trains.set_state(State::fresh(weights.clone())).unwrap();
    let loss = trains.train_step(&images, &targets, None, 0.01).unwrap();
    (logits, loss.total, trains.state().unwrap().trained != weights.trained)
}

/// The family's options with those of `asked` that it takes, one after the other.
fn taken(family: &Family, asked: &Options) -> Options {
    let start = Options {
        base_width: asked.base_width,
        depth: asked.depth.min(family.deepest),
        ..family.options(asked.in_channels, asked.classes)
    };
    let steps: [fn(&mut Options, &Options); 5] = [
        |o, asked| o.norm = asked.norm,
        |o, asked| o.activation = asked.activation,
        |o, asked| o.upsampling = asked.upsampling,
        |o, asked| o.residual = asked.residual,
        |o, asked| o.deep_supervision = asked.deep_supervision,
    ];
    steps.iter().fold(start, |options, step| {
        let mut next = options.clone();
        step(&mut next, asked);
        if family.build(&next).is_ok() { next } else { options }
    })
}

fn asked() -> impl Strategy<Value = Options> {
    let sizes = (1_usize..4, 2_usize..4, 1_usize..10, 1_usize..4);
    let form = (
        prop::option::of(prop::sample::select(Norm::ALL.map(|n| n.1).to_vec())),
        prop::option::of(prop::sample::select(Activation::ALL.map(|a| a.1).to_vec())),
        prop::option::of(prop::sample::select(Upsampling::ALL.map(|u| u.1).to_vec())),
        any::<(bool, bool)>(),
    );
    (sizes, form).prop_map(|((in_channels, classes, base_width, depth), (norm, activation, upsampling, flags))| {
        Options {
            in_channels,
            classes,
            base_width,
            depth,
            norm,
            activation,
            upsampling,
            residual: flags.0,
            deep_supervision: flags.1,
            ..Options::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_family_runs_and_learns_at_random_multipliers(
        which in 0..FAMILIES.len(),
        asked in asked(),
        multiplier in 0.2..1.5_f64,
    ) {
        let family = &FAMILIES[which];
        let full = family.build(&taken(family, &asked)).unwrap();
        let spec = full.narrowed(&Narrowing { multiplier, ..Narrowing::default() }).unwrap();
        let (logits, loss, changed) = run(&spec);
        prop_assert!(logits.iter().all(|v| v.is_finite()), "{}", family.name);
        prop_assert!(loss.is_finite() && loss > 0.0 && changed, "{}: loss {loss}", family.name);
    }

    #[test]
    fn peak_memory_rises_by_no_more_than_gaps_of_a_tenth_when_a_width_falls(
        which in 0..FAMILIES.len(),
        asked in asked(),
        group in any::<prop::sample::Index>(),
    ) {
        let family = &FAMILIES[which];
        let full = family.build(&taken(family, &asked)).unwrap();
        let widths: Vec<(String, usize)> = full.widths().into_iter().collect();
        let (name, channels) = widths[group.index(widths.len())].clone();
        let index = full.groups.iter().position(|g| g.name == name).unwrap();
        let multiple = full.channel_multiples().unwrap()[index];
        prop_assume!(channels > multiple);
        let narrowed = full.with_widths(&[(name, channels - multiple)].into()).unwrap();
        let bytes = |spec: &NetworkSpec| Cost::of(spec, 64).unwrap().peak_activation_bytes;
        // The most that is alive at a time falls; gaps between the buffers may take a little of that back.
        prop_assert!(bytes(&narrowed) <= bytes(&full) + bytes(&full) / 10, "{} {} {}", family.name, bytes(&narrowed), bytes(&full));
    }
}

#[test]
fn every_family_runs_at_its_published_form() {
    for family in FAMILIES {
        let spec = family.build(&Options { base_width: 6, ..family.options(3, 2) }).unwrap();
        let (logits, loss, changed) = run(&spec);
        assert!(logits.iter().all(|v| v.is_finite()) && loss.is_finite() && changed, "{}", family.name);
    }
}
