//! `segfit evaluate`: how good a trained network is.

use std::path::PathBuf;

use anyhow::{Result, bail};
use segfit::data::{Dataset, Image, Sample, Split, prepare};
use segfit::evaluate::{Case, Evaluation, EvaluationOptions, evaluate, per_image_csv};
use segfit::files::{write_atomically, write_json};
use segfit_engine::backend::Precision;
use segfit_engine::cpu::CpuBackend;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::segmenter::Segmenter;

use crate::context::Global;
use crate::data_options::DataOptions;
use crate::precision_options::{PrecisionOptions, some_of};

/// Dice and IoU of a trained network, per image and class
///
/// Writes metrics.json and per_image.csv into the run's folder. The intervals are 95% bootstrap intervals over sources
/// (images of one source are drawn together). In another precision than f32 the files are metrics.PRECISION.json and
/// per_image.PRECISION.csv; int8 is calibrated on up to 16 training images.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a finished training
    #[arg(value_name = "RUN")]
    run: PathBuf,
    #[command(flatten)]
    data: DataOptions,
    /// Which images
    #[arg(long, value_enum, default_value_t = Which::Test)]
    split: Which,
    /// Compare in the images' own size instead of the network's
    #[arg(long)]
    native: bool,
    #[command(flatten)]
    precision: PrecisionOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// Test images
    Test,
    /// Validation images
    Validation,
    /// All images of the folder, for a data set that was not trained on
    All,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let run = RunFolder::open(&args.run)?;
    let weights = run.weights()?;
    let dataset = args.data.open(global)?;
    check_fit(&run, &dataset)?;
    let backend = CpuBackend::detect();
    let RunFolder { info, network, .. } = &run;
    let mut segmenter = Segmenter::new(&backend, network, weights, info.normalisation.clone(), info.recipe.input)
        .with_loss(info.recipe.loss)
        .with_precision(args.precision.engine(), &calibration(args.precision, &dataset, global)?)?;
    let indices = chosen(&dataset, args.split);
    let samples = dataset.load(&indices)?;
    let samples = if args.native { samples } else { prepare(&samples, &info.recipe.input) };
    let sources: Vec<&str> = indices.iter().map(|&i| dataset.pairs[i].source.as_str()).collect();
    let metrics = score(&mut segmenter, &samples, &sources, args.native, global)?;
    write_json(&args.run.join(args.precision.file("metrics", "json")), &metrics)?;
    let table = args.run.join(args.precision.file("per_image", "csv"));
    write_atomically(&table, per_image_csv(&metrics)?.as_bytes())?;
    global.print(&metrics, &summary(&metrics))
}

/// Fails where the images or masks are not of the kind that the run was trained on.
fn check_fit(run: &RunFolder, dataset: &Dataset) -> Result<()> {
    let (wanted, found) = ((run.network.in_channels(), run.network.classes), (dataset.channels, dataset.classes));
    if wanted == found {
        return Ok(());
    }
    bail!(segfit::Error::Dataset {
        path: dataset.root.clone(),
        reason: format!(
            "{} is for images of {} channel(s) and {} classes, the data set has {} and {}",
            run.path.display(),
            wanted.0,
            wanted.1,
            found.0,
            found.1
        ),
        hint: "evaluate on images and masks like those of the training".into(),
    })
}

/// Training images for int8, none for other precisions.
fn calibration(precision: PrecisionOptions, dataset: &Dataset, global: &Global) -> Result<Vec<Image>> {
    if precision.engine() != Precision::Int8 {
        return Ok(Vec::new());
    }
    let indices = some_of(&dataset.indices(Split::Train));
    global.note(&format!("int8: calibrated on {} training images", indices.len()));
    Ok(dataset.load(&indices)?.into_iter().map(|s| s.image).collect())
}

fn chosen(dataset: &Dataset, which: Which) -> Vec<usize> {
    match which {
        Which::Test => dataset.indices(Split::Test),
        Which::Validation => dataset.indices(Split::Validation),
        Which::All => (0..dataset.pairs.len()).collect(),
    }
}

fn score(
    segmenter: &mut Segmenter<'_>,
    samples: &[Sample],
    sources: &[&str],
    native: bool,
    global: &Global,
) -> Result<Evaluation> {
    let bar = global.bar(samples.len(), "evaluate");
    let mut predicted = Vec::new();
    for sample in samples {
        predicted.push(if native {
            segmenter.segment(&sample.image)?
        } else {
            segmenter.segment_prepared(&sample.image)?
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let cases: Vec<Case<'_>> = samples
        .iter()
        .zip(&predicted)
        .zip(sources)
        .map(|((s, predicted), &source)| Case { name: &s.name, source, predicted, truth: &s.mask })
        .collect();
    Ok(evaluate(&cases, &EvaluationOptions::new(segmenter.classes()))?)
}

/// A few lines for a person.
pub fn summary(metrics: &Evaluation) -> String {
    let mut text = format!(
        "{} images from {} sources\nDice {:.4} (95% interval {:.4} to {:.4})\nIoU  {:.4} ({:.4} to {:.4})\n",
        metrics.images,
        metrics.sources,
        metrics.dice.mean,
        metrics.dice.low,
        metrics.dice.high,
        metrics.iou.mean,
        metrics.iou.low,
        metrics.iou.high
    );
    if metrics.per_class.len() > 1 {
        for class in &metrics.per_class {
            text += &format!("class {}: Dice {:.4}, IoU {:.4}\n", class.class, class.dice.mean, class.iou.mean);
        }
    }
    let mut worst: Vec<_> = metrics.per_image.iter().collect();
    worst.sort_by(|a, b| a.dice.total_cmp(&b.dice).then_with(|| a.name.cmp(&b.name)));
    let worst: Vec<String> = worst.iter().take(3).map(|i| format!("{} ({:.3})", i.name, i.dice)).collect();
    text + &format!("lowest: {}\n", worst.join(", "))
}
