//! Whole trainings of tiny networks on synthetic images: resumption, early stopping, refusals, odd sizes, and that
//! something is learned.

mod trial;

use segfit::data::{Mask, Sample};
use segfit::evaluate::dice;
use segfit::network::{AuxiliaryHead, Layer, NetworkSpec, Op};
use segfit::phantom::PhantomKind;
use segfit::recipe::{InputMode, InputSpec, LossKind};
use segfit_engine::Error;
use segfit_engine::checkpoint::load_weights;
use segfit_engine::experiment::attempt;
use segfit_engine::segmenter::Segmenter;
use segfit_engine::state::Weights;
use segfit_engine::trainer::{Outcome, Trained};
use trial::{Trial, images, run_log};

/// Mean Dice of class 1 on the test images, and that of the best constant mask.
fn learned(trial: &Trial) -> (Trained, f64, f64) {
    let options = trial.options(None);
    let done = attempt(&trial.backend, &trial.spec, &trial.recipe, &trial.material, &options, &mut |_| true).unwrap();
    assert!(!done.collapsed);
    let mut segmenter = trial.segmenter(&done.trained);
    let dice = trial.material.evaluate(&mut segmenter).unwrap().dice.mean;
    (done.trained, dice, trial.material.constant_dice().unwrap())
}

#[test]
fn an_interrupted_training_ends_with_the_same_bits_for_any_number_of_threads() {
    let mut trial = Trial::new(images(PhantomKind::Nuclei, 32, 10), 2, 2);
    trial.recipe.steps = 24;
    let whole = tempfile::tempdir().unwrap();
    let (reference, _) = trial.train(Some(whole.path()), usize::MAX);
    assert_eq!((reference.outcome, reference.steps, reference.steps_here), (Outcome::Finished, 24, 24));
    for (threads, stops) in [(1, vec![]), (3, vec![7, 8]), (2, vec![1, 10, 11, 23])] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let parts = tempfile::tempdir().unwrap();
        pool.install(|| {
            for &stop in &stops {
                let (part, _) = trial.train(Some(parts.path()), stop);
                assert_eq!((part.outcome, part.steps), (Outcome::Interrupted, stop));
                assert!(!parts.path().join("weights.safetensors").exists(), "weights are for finished trainings");
            }
            let (last, _) = trial.train(Some(parts.path()), usize::MAX);
            assert_eq!((last.outcome, last.steps_here), (Outcome::Finished, 24 - stops.last().unwrap_or(&0)));
            assert_eq!(last.weights, reference.weights);
        });
        for name in ["weights.safetensors", "checkpoint.safetensors", "best.safetensors"] {
            let [a, b] = [&whole, &parts].map(|dir| std::fs::read(dir.path().join(name)).unwrap());
            assert!(a == b, "{name} with {threads} threads, stopped at {stops:?}");
        }
        let reports = |dir: &tempfile::TempDir| -> Vec<_> {
            run_log(dir.path()).iter().map(|l| (l.step, l.learning_rate, l.validation_dice)).collect()
        };
        assert_eq!(reports(&whole), reports(&parts), "{stops:?}");
    }
    let (again, losses) = trial.train(Some(whole.path()), usize::MAX);
    assert_eq!((again.outcome, again.steps_here, losses.len()), (Outcome::Finished, 0, 0), "nothing is left to do");
    assert_eq!(again.final_loss, reference.final_loss);
}

#[test]
fn dropout_and_auxiliary_heads_are_resumed_and_the_head_is_not_deployed() {
    let mut trial = Trial::new(images(PhantomKind::Nuclei, 32, 6), 2, 1);
    trial.recipe.steps = 8;
    let head = trial.spec.layers.pop().unwrap();
    let (last, aside) = (head.inputs[0].clone(), Layer { name: "aside".into(), ..head.clone() });
    trial.spec.layers.push(Layer { name: "drop".into(), op: Op::Dropout { p: 0.3 }, inputs: vec![last] });
    trial.spec.layers.extend([Layer { inputs: vec!["drop".into()], ..head }, aside]);
    trial.spec.auxiliary.push(AuxiliaryHead { layer: "aside".into(), weight: 0.5 });
    trial.spec.validate().unwrap();
    let [whole, parts] = [(), ()].map(|()| tempfile::tempdir().unwrap());
    let (reference, losses) = trial.train(Some(whole.path()), usize::MAX);
    trial.train(Some(parts.path()), 3);
    assert_eq!(trial.train(Some(parts.path()), usize::MAX).0.weights, reference.weights);
    assert!(losses.iter().all(|l| l.is_finite()));
    let deployed = trial.spec.without_auxiliary();
    let weights = load_weights(&whole.path().join("weights.safetensors"), &deployed).unwrap();
    assert_eq!(reference.weights.select(&trial.spec, &deployed).unwrap(), weights);
    let normalisation = &trial.material.normalisation;
    let image = &trial.material.train[0].image;
    let segment = |spec: &NetworkSpec, weights: &Weights| {
        let (weights, normalisation) = (weights.clone(), normalisation.clone());
        let mut segmenter = Segmenter::new(&trial.backend, spec, weights, normalisation, trial.recipe.input);
        segmenter.probabilities(image).unwrap().data
    };
    assert_eq!(segment(&deployed, &weights), segment(&trial.spec, &reference.weights));
}

#[test]
fn the_loss_falls_and_the_test_dice_beats_the_constant_mask() {
    let trial = Trial::new(images(PhantomKind::Nuclei, 48, 14), 4, 2);
    let (_, losses) = trial.train(None, usize::MAX);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..8]), mean(&losses[losses.len() - 8..]));
    assert!(last < 0.5 * first, "{first} {last}");
    let (_, dice, constant) = learned(&trial);
    assert!(dice > 0.8 && dice > constant + 0.2, "Dice {dice}, constant mask {constant}");
}

#[test]
fn early_stopping_stops_and_stays_stopped() {
    let mut trial = Trial::new(images(PhantomKind::Discs, 32, 8), 2, 1);
    trial.recipe.steps = 400;
    trial.patience = Some(2);
    let dir = tempfile::tempdir().unwrap();
    let (stopped, _) = trial.train(Some(dir.path()), usize::MAX);
    assert_eq!(stopped.outcome, Outcome::StoppedEarly);
    assert!(stopped.steps < 400, "{}", stopped.steps);
    let curve: Vec<f64> = run_log(dir.path()).iter().map(|l| l.validation_dice.unwrap()).collect();
    let best = |part: &[f64]| part.iter().copied().fold(f64::MIN, f64::max);
    let n = curve.len();
    assert_eq!(best(&curve[..n - 2]), best(&curve), "the last two reports brought nothing better: {curve:?}");
    for end in 3..n {
        assert!(
            best(&curve[end - 2..end]) > best(&curve[..end - 2]),
            "it could have stopped at report {end}: {curve:?}"
        );
    }
    let weights = std::fs::read(dir.path().join("weights.safetensors")).unwrap();
    let (again, _) = trial.train(Some(dir.path()), usize::MAX);
    assert_eq!((again.outcome, again.steps, again.steps_here), (Outcome::StoppedEarly, stopped.steps, 0));
    assert_eq!(std::fs::read(dir.path().join("weights.safetensors")).unwrap(), weights);
    let other = tempfile::tempdir().unwrap();
    let (part, _) = trial.train(Some(other.path()), stopped.steps);
    assert_eq!(part.outcome, Outcome::Interrupted, "at the very step at which it would have stopped");
    assert_eq!(trial.train(Some(other.path()), usize::MAX).0.weights, stopped.weights);
    trial.material.validation.clear();
    let error = trial.try_train(None, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("patience"), "{error}");
}

#[test]
fn a_checkpoint_of_another_run_or_a_damaged_one_is_refused_and_left_alone() {
    let mut trial = Trial::new(images(PhantomKind::Discs, 32, 6), 2, 1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("checkpoint.safetensors");
    trial.train(Some(dir.path()), 3);
    let good = std::fs::read(&path).unwrap();
    trial.run = "another".into();
    let error = trial.try_train(Some(dir.path()), usize::MAX).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }) && error.hint().is_some(), "{error}");
    assert!(error.to_string().contains("another run"), "{error}");
    trial.run = "run".into();
    for bad in [&good[..0], &good[..5], &good[..100], &good[..good.len() - 4], &[7; 64][..]] {
        std::fs::write(&path, bad).unwrap();
        let error = trial.try_train(Some(dir.path()), usize::MAX).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Checkpoint { .. }), "{text}");
        assert!(text.contains("checkpoint.safetensors") && text.contains("damaged or incomplete"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), bad);
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(trial.train(Some(dir.path()), 4).0.steps_here, 1, "the good one goes on");
}

#[test]
fn patches_train_a_network_that_segments_larger_images_whole_and_in_tiles() {
    let mut trial = Trial::new(images(PhantomKind::Nuclei, 80, 10), 4, 2);
    trial.recipe.input = InputSpec { mode: InputMode::Patch, size: 32 };
    let (trained, dice, constant) = learned(&trial);
    assert!(dice > 0.75 && dice > constant + 0.2, "Dice {dice}, constant mask {constant}");
    let mut tiled = trial.segmenter(&trained).with_tile(32);
    let in_tiles = trial.material.evaluate(&mut tiled).unwrap().dice.mean;
    assert!((in_tiles - dice).abs() < 0.1, "whole {dice}, tiled {in_tiles}");
}

/// Nuclei, every second of them dim and of class 2.
fn two_kinds_of_nuclei(size: usize, count: usize) -> Vec<Sample> {
    let mut all = images(PhantomKind::Nuclei, size, count);
    for sample in &mut all {
        let ids = sample.instances.as_ref().unwrap();
        for (i, _) in ids.iter().enumerate().filter(|(_, id)| **id > 0 && **id % 2 == 0) {
            sample.mask.data[i] = 2;
            sample.image.data[i] *= 0.5;
        }
    }
    all
}

#[test]
fn three_classes_and_both_losses_learn() {
    for loss in [LossKind::CrossEntropyDice, LossKind::BinaryDice] {
        let mut trial = Trial::new(two_kinds_of_nuclei(48, 14), 4, 2);
        trial.recipe.loss = loss;
        let (trained, mean, constant) = learned(&trial);
        assert!(mean > 0.55 && mean > constant + 0.2, "{loss:?}: Dice {mean}, constant mask {constant}");
        let sample = &trial.material.test[0];
        let mut segmenter = trial.segmenter(&trained);
        let p = segmenter.probabilities(&sample.image).unwrap();
        let n = 48 * 48;
        for i in 0..n {
            let total: f32 = (0..3).map(|c| p.data[c * n + i]).sum();
            assert!((total - 1.0).abs() < 1e-5, "{loss:?}: probabilities sum to {total}");
        }
        let predicted = segmenter.segment(&sample.image).unwrap();
        assert!((1..3).all(|class| dice(&predicted, &sample.mask, class) > 0.3), "{loss:?}: both classes are found");
    }
}

#[test]
fn two_classes_learn_with_the_sigmoid_loss() {
    let mut trial = Trial::new(images(PhantomKind::Nuclei, 48, 14), 4, 2);
    trial.recipe.loss = LossKind::BinaryDice;
    let (_, dice, constant) = learned(&trial);
    assert!(dice > 0.75 && dice > constant + 0.2, "Dice {dice}, constant mask {constant}");
}

#[test]
fn a_diverging_training_is_reported_with_its_step_and_keeps_the_last_good_checkpoint() {
    let mut trial = Trial::new(images(PhantomKind::Discs, 32, 6), 2, 1);
    let dir = tempfile::tempdir().unwrap();
    trial.train(Some(dir.path()), 5);
    let good = std::fs::read(dir.path().join("checkpoint.safetensors")).unwrap();
    (trial.recipe.learning_rate, trial.recipe.max_learning_rate) = (1e30, 1e30);
    let error = trial.try_train(Some(dir.path()), usize::MAX).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 6..=9, .. }) && error.hint().is_some(), "{error}");
    assert_eq!(std::fs::read(dir.path().join("checkpoint.safetensors")).unwrap(), good);
    assert!(!dir.path().join("weights.safetensors").exists());

    let mut trial = Trial::new(images(PhantomKind::Discs, 32, 6), 2, 1);
    trial.recipe.batch = trial.material.train.len();
    trial.material.train[1].image.data[40] = f32::NAN;
    let error = trial.try_train(None, usize::MAX).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 1, .. }), "one pixel that is not a number: {error}");
}

#[test]
fn what_cannot_be_trained_is_refused_in_words() {
    let good = || Trial::new(images(PhantomKind::Discs, 32, 6), 2, 2);
    let refusal = |change: &dyn Fn(&mut Trial)| {
        let mut trial = good();
        change(&mut trial);
        trial.try_train(None, usize::MAX).unwrap_err()
    };
    assert!(matches!(refusal(&|t| t.material.train.clear()), Error::NoTrainingImages));
    let says = |words: &str, change: &dyn Fn(&mut Trial)| {
        let text = refusal(change).to_string();
        assert!(text.contains(words), "{words:?} is not in: {text}");
    };
    says("steps", &|t| t.recipe.steps = 0);
    says("ema", &|t| t.recipe.ema = 1.0);
    says("batch", &|t| t.recipe.batch = 0);
    says("multiple of 4", &|t| t.recipe.input.size = 30);
    says("class 2", &|t| t.material.train[0].mask.data[3] = 2);
    says("channels", &|t| {
        let image = &mut t.material.train[0].image;
        (image.channels, image.height) = (2, image.height / 2);
    });
    says("31 x 32", &|t| {
        let mask = &mut t.material.validation[0].mask;
        *mask = Mask { height: 31, width: 32, data: mask.data[..31 * 32].to_vec() };
    });
    says("more than one pixel", &|t| {
        t.recipe.input = InputSpec { mode: InputMode::Patch, size: 4 };
        t.recipe.batch = 1;
    });
}

#[test]
fn images_smaller_than_the_patch_or_the_networks_multiple_train_and_keep_their_size() {
    let sizes = [(3, 2), (5, 7), (13, 9), (1, 30), (31, 17), (40, 33)];
    let cut = |(sample, (height, width)): (&Sample, (usize, usize))| {
        let image = &sample.image;
        let places = || (0..height * width).map(|i| i / width * image.width + i % width);
        let mut cut = sample.clone();
        (cut.image.height, cut.image.width, cut.instances) = (height, width, None);
        cut.image.data = places().map(|i| image.data[i]).collect();
        cut.mask = Mask { height, width, data: places().map(|i| sample.mask.data[i]).collect() };
        cut
    };
    let all = images(PhantomKind::Nuclei, 48, sizes.len());
    let mut trial = Trial::new(all.iter().zip(sizes).map(cut).collect(), 2, 3);
    trial.recipe.input = InputSpec { mode: InputMode::Patch, size: 16 };
    trial.recipe.steps = 6;
    let (trained, losses) = trial.train(None, usize::MAX);
    assert!(losses.iter().all(|l| l.is_finite()));
    for tile in [16, 512] {
        let mut segmenter = trial.segmenter(&trained).with_tile(tile);
        for sample in trial.all() {
            let mask = segmenter.segment(&sample.image).unwrap();
            assert_eq!((mask.height, mask.width), (sample.image.height, sample.image.width));
            let p = segmenter.probabilities(&sample.image).unwrap();
            assert_eq!((p.channels, p.height, p.width), (2, mask.height, mask.width));
            assert!(p.data.iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }
}
