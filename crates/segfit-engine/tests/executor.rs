//! What a compiled network accepts and refuses.

use segfit::network::NetworkSpec;
use segfit::network::families::{self, unet};
use segfit::network::schedule::{Mode, Schedule};
use segfit::recipe::LossKind;
use segfit_engine::Error;
use segfit_engine::backend::{Backend, Executor, Optimiser, TrainingSpec};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::initialise::initialise;
use segfit_engine::loss::SoftTargets;
use segfit_engine::state::State;

const TRAINING: TrainingSpec =
    TrainingSpec { loss: LossKind::CrossEntropyDice, optimiser: Optimiser::Sgd, average_decay: 0.9, seed: 0 };

fn network() -> NetworkSpec {
    unet(&families::Options { in_channels: 1, classes: 2, base_width: 2, depth: 1, ..families::Options::default() })
        .unwrap()
}

fn compile(spec: &NetworkSpec, mode: Mode) -> Box<dyn Executor> {
    let schedule = Schedule::new(spec, mode, 2, 8, 6).unwrap();
    let training = (mode == Mode::Train).then_some(TRAINING);
    CpuBackend::detect().compile(spec, schedule, training).unwrap()
}

fn is_unsupported<T>(result: Result<T, Error>, words: &str) {
    match result {
        Err(error @ Error::Unsupported { .. }) => assert!(error.to_string().contains(words), "{error}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was accepted"),
    }
}

fn is_wrong_length<T>(result: Result<T, Error>, words: &str) {
    let text = result.map(|_| "accepted").unwrap_err().to_string();
    assert!(text.contains(words) && text.contains("values"), "{text}");
}

#[test]
fn an_executor_for_inference_refuses_training_and_the_other_way_round() {
    let spec = network();
    let weights = initialise(&spec, 1).unwrap();
    let (images, targets) = (vec![0.5; 2 * 48], vec![0; 2 * 48]);
    let mut infers = compile(&spec, Mode::Infer);
    is_unsupported(infers.train_step(&images, &targets, None, 0.1), "a training step");
    is_unsupported(infers.set_state(State::fresh(weights.clone())), "a training state");
    is_unsupported(infers.state(), "a training state");
    infers.load(&weights).unwrap();
    infers.infer(&images, &mut Vec::new()).unwrap();
    let mut trains = compile(&spec, Mode::Train);
    is_unsupported(trains.load(&weights), "loading weights");
    is_unsupported(trains.infer(&images, &mut Vec::new()), "inference");
    trains.set_state(State::fresh(weights)).unwrap();
    trains.train_step(&images, &targets, None, 0.1).unwrap();
    for (mode, training) in [(Mode::Infer, Some(TRAINING)), (Mode::Train, None)] {
        let schedule = Schedule::new(&spec, mode, 2, 8, 6).unwrap();
        is_unsupported(CpuBackend::detect().compile(&spec, schedule, training), "belong together");
    }
}

#[test]
fn lengths_are_checked_and_a_refused_call_changes_nothing() {
    let spec = network();
    let weights = initialise(&spec, 1).unwrap();
    let (images, targets) = (vec![0.5; 2 * 48], vec![0; 2 * 48]);
    let mut infers = compile(&spec, Mode::Infer);
    infers.load(&weights).unwrap();
    let mut logits = vec![9.0; 3];
    is_wrong_length(infers.infer(&images[1..], &mut logits), "image");
    assert_eq!(logits, [9.0; 3]);
    infers.infer(&images, &mut logits).unwrap();
    assert_eq!(logits.len(), 2 * 2 * 48, "what it held before is replaced");
    let mut short = weights.clone();
    short.running.pop();
    is_wrong_length(infers.load(&short), "running statistics");

    let mut trains = compile(&spec, Mode::Train);
    let state = State::fresh(weights);
    trains.set_state(state.clone()).unwrap();
    is_wrong_length(trains.train_step(&images[1..], &targets, None, 0.1), "image");
    is_wrong_length(trains.train_step(&images, &targets[1..], None, 0.1), "target");
    let soft = SoftTargets { logits: &images[1..], weight: 0.5, temperature: 2.0 };
    is_wrong_length(trains.train_step(&images, &targets, Some(soft), 0.1), "teacher");
    type Part = fn(&mut State) -> &mut Vec<f32>;
    let cuts: [(&str, Part); 6] = [
        ("parameters", |s| &mut s.trained),
        ("running statistics", |s| &mut s.running),
        ("averaged parameters", |s| &mut s.average_trained),
        ("averaged running statistics", |s| &mut s.average_running),
        ("first moments", |s| &mut s.moment1),
        ("second moments", |s| &mut s.moment2),
    ];
    for (words, part) in cuts {
        let mut short = state.clone();
        part(&mut short).pop();
        is_wrong_length(trains.set_state(short), words);
    }
    assert_eq!(trains.state().unwrap(), state);
}

#[test]
fn without_decay_the_average_is_the_weights() {
    let spec = network();
    let training = TrainingSpec { average_decay: 0.0, ..TRAINING };
    let schedule = Schedule::new(&spec, Mode::Train, 2, 8, 6).unwrap();
    let mut executor = CpuBackend::detect().compile(&spec, schedule, Some(training)).unwrap();
    let fresh = State::fresh(initialise(&spec, 1).unwrap());
    executor.set_state(fresh.clone()).unwrap();
    executor.train_step(&[0.5; 2 * 48], &[0; 2 * 48], None, 0.1).unwrap();
    let after = executor.state().unwrap();
    assert_ne!(after.trained, fresh.trained);
    assert_eq!((&after.average_trained, &after.average_running), (&after.trained, &after.running));
}
