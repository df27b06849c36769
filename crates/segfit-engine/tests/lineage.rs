//! Trainings that begin with inherited weights or learn from a teacher.

mod trial;

use segfit::data::Normalisation;
use segfit::network::schedule::{Mode, Schedule};
use segfit::network::{Criterion, NetworkSpec, ParameterKind};
use segfit::phantom::PhantomKind;
use segfit::random::Stream;
use segfit_engine::backend::Backend as _;
use segfit_engine::checkpoint::load_checkpoint;
use segfit_engine::cpu::CpuBackend;
use segfit_engine::initialise::initialise;
use segfit_engine::lineage::{InitialWeights, Teacher, inherit_weights};
use segfit_engine::state::{ParameterLayout, Weights};
use segfit_engine::trainer::{Outcome, checkpoint_path};
use trial::{Trial, images, run_log};

fn logits(spec: &NetworkSpec, weights: &Weights, image: &[f32], size: usize) -> Vec<f32> {
    let schedule = Schedule::new(spec, Mode::Infer, 1, size, size).unwrap();
    let mut executor = CpuBackend::detect().compile(spec, schedule, None).unwrap();
    executor.load(weights).unwrap();
    let mut logits = Vec::new();
    executor.infer(image, &mut logits).unwrap();
    logits
}

/// Weights of which nothing is 0 or 1, and variances are positive.
fn drawn(spec: &NetworkSpec, seed: u64) -> Weights {
    let mut weights = initialise(spec, seed).unwrap();
    let layout = ParameterLayout::new(spec).unwrap();
    let mut stream = Stream::new(&[seed]);
    for (p, range) in layout.parameters.iter().zip(&layout.ranges) {
        match p.kind {
            ParameterKind::Weight => {}
            ParameterKind::RunningVariance => {
                weights.running[range.clone()].fill_with(|| 0.5 + stream.normal().abs());
            }
            ParameterKind::RunningMean => weights.running[range.clone()].fill_with(|| 0.3 * stream.normal()),
            _ => weights.trained[range.clone()].fill_with(|| 1.0 + 0.3 * stream.normal()),
        }
    }
    weights
}

/// Makes every channel but each third zero: filters, biases, scales and shifts.
fn without_two_thirds(spec: &NetworkSpec, weights: &mut Weights) {
    let layout = ParameterLayout::new(spec).unwrap();
    for (p, range) in layout.parameters.iter().zip(&layout.ranges) {
        if p.name.starts_with("head") || !p.kind.is_trained() {
            continue;
        }
        let transposed = p.kind == ParameterKind::Weight && p.name.starts_with("up");
        let values = &mut weights.trained[range.clone()];
        let each: usize = if transposed { p.shape[2..].iter().product() } else { p.shape[1..].iter().product() };
        let out = if transposed { p.shape[1] } else { p.shape[0] };
        for (k, filter) in values.chunks_exact_mut(each).enumerate() {
            if k % out % 3 != 1 {
                filter.fill(0.0);
            }
        }
    }
}

#[test]
fn a_unet_without_its_dead_channels_says_the_same() {
    let trial = Trial::new(images(PhantomKind::Nuclei, 32, 6), 6, 2);
    let full = &trial.spec;
    let mut weights = drawn(full, 5);
    without_two_thirds(full, &mut weights);
    let narrow = full.with_multiplier(1.0 / 3.0).unwrap();
    let image = &trial.material.train[0].image.data;
    let want = logits(full, &weights, image, 32);
    let largest = want.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    assert!(largest > 0.1, "{largest}");
    for criterion in [Criterion::L1, Criterion::BatchNorm] {
        let cut = inherit_weights(full, &weights, &narrow, criterion).unwrap();
        assert!(cut.trained.len() * 8 < weights.trained.len());
        let got = logits(&narrow, &cut, image, 32);
        let worst = want.iter().zip(&got).fold(0.0_f32, |a, (x, y)| a.max((x - y).abs()));
        assert!(worst < 1e-5 * largest.max(1.0), "{criterion:?}: {worst} of {largest}");
    }
}

#[test]
fn a_training_begins_with_the_weights_it_is_given_and_an_interrupted_one_ends_with_the_same_bits() {
    let mut trial = Trial::new(images(PhantomKind::Nuclei, 32, 10), 4, 2);
    let (full, _) = trial.train(None, usize::MAX);
    let wide = trial.spec.clone();
    trial.spec = wide.with_multiplier(0.5).unwrap();
    trial.recipe.steps = 12;
    let (_, scratch) = trial.train(None, usize::MAX);
    let weights = inherit_weights(&wide, &full.weights, &trial.spec, Criterion::L1).unwrap();
    trial.lineage.init = Some(InitialWeights { weights, source: "full".into(), inherited: Some(Criterion::L1) });
    let whole = tempfile::tempdir().unwrap();
    let (reference, losses) = trial.train(Some(whole.path()), usize::MAX);
    assert_ne!(scratch[0], losses[0]);
    let parts = tempfile::tempdir().unwrap();
    for stop in [3, 7] {
        assert_eq!(trial.train(Some(parts.path()), stop).0.outcome, Outcome::Interrupted);
    }
    let (resumed, _) = trial.train(Some(parts.path()), usize::MAX);
    assert_eq!(resumed.weights, reference.weights);
    let exact = trial.train(None, 1).0;
    assert_eq!(exact.steps, 1);
}

fn taught() -> Trial {
    let mut trial = Trial::new(images(PhantomKind::Nuclei, 32, 10), 8, 2);
    let (full, _) = trial.train(None, usize::MAX);
    let network = trial.spec.clone();
    trial.spec = network.with_multiplier(0.25).unwrap();
    trial.recipe.steps = 20;
    trial.lineage.teacher = Some(Teacher {
        network,
        weights: full.weights,
        normalisation: trial.material.normalisation.clone(),
        source: "full".into(),
        weight: 0.5,
        temperature: 2.0,
    });
    trial
}

#[test]
fn a_training_with_a_teacher_ends_with_the_same_bits_however_often_it_is_interrupted() {
    let trial = taught();
    let whole = tempfile::tempdir().unwrap();
    let (reference, _) = trial.train(Some(whole.path()), usize::MAX);
    for (threads, stops) in [(1, vec![]), (3, vec![1, 9]), (2, vec![13])] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let parts = tempfile::tempdir().unwrap();
        pool.install(|| {
            for &stop in &stops {
                assert_eq!(trial.train(Some(parts.path()), stop).0.outcome, Outcome::Interrupted);
            }
            assert_eq!(trial.train(Some(parts.path()), usize::MAX).0.weights, reference.weights, "{threads} {stops:?}");
        });
        let [a, b] =
            [&whole, &parts].map(|dir| load_checkpoint(&checkpoint_path(dir.path()), &trial.spec, &trial.run).unwrap());
        assert_eq!(a, b);
        assert_eq!(run_log(whole.path()).len(), run_log(parts.path()).len());
    }
}

#[test]
fn a_teacher_of_weight_zero_changes_nothing_and_another_weight_or_temperature_does() {
    let mut trial = taught();
    trial.recipe.steps = 4;
    let mut weights = |change: &dyn Fn(&mut Teacher)| {
        let mut lineage = trial.lineage.clone();
        lineage.teacher.iter_mut().for_each(change);
        std::mem::swap(&mut lineage, &mut trial.lineage);
        let trained = trial.train(None, usize::MAX).0;
        std::mem::swap(&mut lineage, &mut trial.lineage);
        (trained.weights, trained.bytes)
    };
    let (half, bytes) = weights(&|_| {});
    let (zero, _) = weights(&|t| t.weight = 0.0);
    assert_ne!(half, weights(&|t| t.weight = 0.75).0);
    assert_ne!(half, weights(&|t| t.temperature = 1.0).0);
    trial.lineage.teacher = None;
    let alone = trial.train(None, usize::MAX).0;
    assert_eq!(zero, alone.weights);
    assert!(bytes > alone.bytes + 4 * 4 * 2 * 32 * 32, "the teacher counts: {bytes}, {}", alone.bytes);
}

#[test]
fn a_teacher_sees_the_images_in_its_own_normalisation() {
    let mut trial = taught();
    trial.recipe.steps = 3;
    let (_, reference) = trial.train(None, usize::MAX);
    // The same teacher, had it learned on images of twice the contrast: its first layer's weights stand for half.
    let teacher = trial.lineage.teacher.as_mut().unwrap();
    let Normalisation { mean, std } = teacher.normalisation.clone();
    teacher.normalisation = Normalisation { std: std.iter().map(|s| s / 2.0).collect(), mean };
    let layout = ParameterLayout::new(&teacher.network).unwrap();
    let first = layout.parameters.iter().position(|p| p.name == "enc0.conv1.weight").unwrap();
    teacher.weights.trained[layout.ranges[first].clone()].iter_mut().for_each(|w| *w /= 2.0);
    let (_, losses) = trial.train(None, usize::MAX);
    for (a, b) in reference.iter().zip(&losses) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn a_teacher_that_does_not_fit_is_refused_in_words() {
    let trial = taught();
    let says = |words: &str, change: &dyn Fn(&mut Trial)| {
        let mut trial = Trial { lineage: trial.lineage.clone(), ..taught_nothing() };
        change(&mut trial);
        let text = trial.try_train(None, usize::MAX).unwrap_err().to_string();
        assert!(text.contains(words), "{words:?} is not in: {text}");
    };
    let teacher = |t: &mut Trial| t.lineage.teacher.take().unwrap();
    says("0 to 1", &|t| t.lineage.teacher = Some(Teacher { weight: 1.5, ..teacher(t) }));
    says("above 0", &|t| t.lineage.teacher = Some(Teacher { temperature: 0.0, ..teacher(t) }));
    says("3 classes", &|t| {
        let mut network = teacher(t);
        let options = segfit::network::families::Options {
            in_channels: 1,
            classes: 3,
            base_width: 2,
            depth: 1,
            ..segfit::network::families::Options::default()
        };
        network.network = segfit::network::families::unet(&options).unwrap();
        t.lineage.teacher = Some(network);
    });
    says("multiple of 4", &|t| t.recipe.input.size = 30);
    says("parameters: expected", &|t| {
        t.lineage.teacher = None;
        let weights = Weights { trained: vec![0.0; 3], running: Vec::new() };
        t.lineage.init = Some(InitialWeights { weights, source: "a file".into(), inherited: None });
    });
}

/// One level, so that input sizes of any even number fit the student.
fn taught_nothing() -> Trial {
    Trial::new(images(PhantomKind::Nuclei, 32, 10), 2, 1)
}
