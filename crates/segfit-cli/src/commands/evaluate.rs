//! `segfit evaluate`: how good a trained network is.

use std::path::PathBuf;

use anyhow::{Result, bail};
use segfit::data::{BandedPair, Dataset, Image, Mask, Options, Pair, Sample, Spacing, Split, prepare};
use segfit::evaluate::{
    Case, Evaluation, EvaluationOptions, Grid, ImageScore, Judged, LengthUnit, SurfaceOptions, SurfaceScores, count,
    judge, judge_volume, per_image_csv, summarise,
};
use segfit::files::{write_atomically, write_json};
use segfit::recipe::{InputMode, InputSpec};
use segfit_engine::backend::Precision;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::segmenter::Segmenter;

use crate::context::Global;
use crate::data_options::{DataOptions, announce};
use crate::device_options::DeviceOptions;
use crate::precision_options::{PrecisionOptions, some_of};

/// Dice, IoU and distances of surfaces of a trained network, per image and class
///
/// Writes metrics.json and per_image.csv into the run's folder. The intervals are 95% bootstrap intervals over sources
/// (images of one source are drawn together). In another precision than f32 the files are metrics.PRECISION.json and
/// per_image.PRECISION.csv; int8 is calibrated on up to 16 training images.
///
/// HD95 is the 95% Hausdorff distance between the outlines of what was found and of the truth, NSD the share of both outlines that
/// lies within a tolerance of the other. They are in millimetres where every image's file says its spacing, otherwise in pixels.
/// Volumes are also scored as a whole, in three dimensions.
///
/// TIFF pictures of 64 MiB or more are read in bands of rows; surfaces are left out then.
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
    /// Outlines that are as near as this are the same for NSD, in millimetres or pixels as HD95 is [default: one pixel]
    #[arg(long, value_name = "DISTANCE", value_parser = distance)]
    tolerance: Option<f64>,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    precision: PrecisionOptions,
}

/// A distance that is not negative.
fn distance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(d) if d.is_finite() && d >= 0.0 => Ok(d),
        _ => Err("expected a number of 0 or more".into()),
    }
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
    let backend = args.device.open_for(args.precision.engine(), global)?;
    let weights = run.weights()?;
    let RunFolder { info, network, .. } = &run;
    let options = args.data.options();
    let options = Options { axis: options.axis.or(info.axis), is_lazy: true, ..options };
    let dataset = Dataset::open(&options)?;
    announce(&dataset, global);
    check_fit(&run, &dataset)?;
    let mut segmenter =
        Segmenter::new(backend.as_ref(), network, weights, info.normalisation.clone(), info.recipe.input)
            .with_loss(info.recipe.loss)
            .with_precision(args.precision.engine(), &calibration(args.precision, &dataset, global)?)?;
    let indices = chosen(&dataset, args.split);
    let input = (!args.native).then_some(info.recipe.input);
    let found = segment_each(&mut segmenter, &dataset, &indices, input, global)?;
    let metrics = scores(&dataset, &found, network.classes, args.tolerance, global)?;
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

/// What was found in an image.
struct Found {
    /// Its position in the data set.
    index: usize,
    what: What,
}

enum What {
    /// Predicted and true mask, and the image's own rows and columns for each of these.
    Masks { predicted: Mask, truth: Mask, scale: [f64; 2] },
    /// Counts of the pixels of an image too large for masks.
    Counts(Vec<Vec<u64>>),
}

/// Segments the images one after the other: as the network sees them, or with no `input` in their own size.
fn segment_each(
    segmenter: &mut Segmenter<'_>,
    dataset: &Dataset,
    indices: &[usize],
    input: Option<InputSpec>,
    global: &Global,
) -> Result<Vec<Found>> {
    let bar = global.bar(indices.len(), "evaluate");
    let mut all = Vec::new();
    let resized = input.filter(|i| i.mode == InputMode::Resize).map(|i| i.size);
    for &index in indices {
        let what = match (dataset.in_bands(index)?, resized) {
            (Some(mut pair), Some(size)) => {
                let sample = pair.resized(size)?;
                masks(segmenter, sample, pair.image.size(), false)?
            }
            (Some(pair), None) => What::Counts(counts(segmenter, pair, &dataset.pairs[index].name)?),
            (None, _) => {
                let sample = dataset.load(&[index])?.remove(0);
                let size = (sample.image.height, sample.image.width);
                match &input {
                    Some(input) => masks(segmenter, prepare(&[sample], input).remove(0), size, false)?,
                    None => masks(segmenter, sample, size, true)?,
                }
            }
        };
        all.push(Found { index, what });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(all)
}

/// The masks of a sample of an image of `size` = (rows, columns).
fn masks(segmenter: &mut Segmenter<'_>, sample: Sample, size: (usize, usize), native: bool) -> Result<What> {
    let Sample { image, mask: truth, .. } = sample;
    let predicted = if native { segmenter.segment(&image)? } else { segmenter.segment_prepared(&image)? };
    let scale = [size.0 as f64 / truth.height as f64, size.1 as f64 / truth.width as f64];
    Ok(What::Masks { predicted, truth, scale })
}

/// Counts of the pixels of a large image, band by band.
fn counts(segmenter: &mut Segmenter<'_>, pair: BandedPair<'_>, name: &str) -> Result<Vec<Vec<u64>>> {
    let classes = segmenter.classes();
    let mut counts = vec![vec![0; classes]; classes];
    let (mut image, mut truth) = pair.apart();
    let mut next = 0;
    segmenter.segment_banded::<anyhow::Error>(&mut image, &mut |predicted| {
        let rows = next..next + predicted.height;
        next = rows.end;
        Ok(count(name, &predicted.data, &truth.rows(rows)?.data, &mut counts)?)
    })?;
    Ok(counts)
}

/// The scores of all images, and of all volumes as a whole.
fn scores(
    dataset: &Dataset,
    found: &[Found],
    classes: usize,
    tolerance: Option<f64>,
    global: &Global,
) -> Result<Evaluation> {
    let mut spacings: Vec<Option<Spacing>> = Vec::new();
    for (i, one) in found.iter().enumerate() {
        // Slices of one volume have one spacing, and its headers are read once.
        let image = |found: &Found| &dataset.pairs[found.index].image;
        let is_next = i > 0 && image(&found[i - 1]) == image(one);
        spacings.push(if is_next { spacings[i - 1] } else { dataset.spacing(one.index)? });
    }
    let spacings: Option<Vec<Spacing>> = spacings.into_iter().collect();
    let distances: Vec<[f64; 2]> =
        (0..found.len()).map(|i| distances(&found[i], spacings.as_ref().map(|s| s[i]))).collect();
    let large = found.iter().find(|f| matches!(f.what, What::Counts(_)));
    if let Some(large) = large {
        global.note(&format!("HD95 and NSD are left out: {} is too large", dataset.pairs[large.index].image.display()));
    }
    let surfaces = SurfaceOptions {
        unit: if spacings.is_some() { LengthUnit::Mm } else { LengthUnit::Pixels },
        tolerance: tolerance.unwrap_or_else(|| distances.iter().flatten().copied().fold(0.0, f64::max)),
    };
    let options =
        EvaluationOptions { surfaces: large.is_none().then_some(surfaces), ..EvaluationOptions::new(classes) };
    let mut judged = Vec::new();
    for (one, &spacing) in found.iter().zip(&distances) {
        let Pair { name, source, .. } = &dataset.pairs[one.index];
        judged.push(match &one.what {
            What::Masks { predicted, truth, .. } => judge(&Case { name, source, predicted, truth, spacing }, &options)?,
            What::Counts(counts) => Judged::of_counts(name, source, counts.clone()),
        });
    }
    let volumes = match spacings {
        Some(spacings) if spacings.iter().all(|s| s.is_volume) => {
            volumes(dataset, found, (&spacings, &distances), &options)?
        }
        _ => Vec::new(),
    };
    Ok(summarise(&judged, volumes, &options)?)
}

/// Distances between rows and between columns of the masks that are compared.
fn distances(found: &Found, spacing: Option<Spacing>) -> [f64; 2] {
    match (&found.what, spacing) {
        (What::Masks { scale, .. }, Some(spacing)) => [spacing.rows * scale[0], spacing.columns * scale[1]],
        _ => [1.0, 1.0],
    }
}

/// Scores of whole volumes, whose slices follow each other.
fn volumes(
    dataset: &Dataset,
    found: &[Found],
    (spacings, distances): (&[Spacing], &[[f64; 2]]),
    options: &EvaluationOptions,
) -> Result<Vec<ImageScore>> {
    let mut scores = Vec::new();
    let mut first = 0;
    let pair = |i: usize| &dataset.pairs[found[i].index];
    for slices in found.chunk_by(|a, b| dataset.pairs[a.index].image == dataset.pairs[b.index].image) {
        let (mut predicted, mut truth, mut size) = (Vec::new(), Vec::new(), (0, 0));
        for slice in slices {
            if let What::Masks { predicted: p, truth: t, .. } = &slice.what {
                predicted.extend_from_slice(&p.data);
                truth.extend_from_slice(&t.data);
                size = (t.height, t.width);
            }
        }
        let [rows, columns] = distances[first];
        let grid = Grid { shape: [slices.len(), size.0, size.1], spacing: [spacings[first].slices, rows, columns] };
        let name = pair(first).name.split('#').next().unwrap_or_default();
        scores.push(judge_volume((name, &pair(first).source), &predicted, &truth, grid, options)?);
        first += slices.len();
    }
    Ok(scores)
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
    if let Some(SurfaceScores { options, hd95, nsd }) = &metrics.surfaces {
        let (unit, tolerance) = (options.unit, options.tolerance);
        text += &format!(
            "HD95 {:.3} {unit} ({:.3} to {:.3})\nNSD  {:.4} ({:.4} to {:.4}) within {tolerance:.3} {unit}\n",
            hd95.mean, hd95.low, hd95.high, nsd.mean, nsd.low, nsd.high
        );
    }
    if !metrics.per_volume.is_empty() {
        let n = metrics.per_volume.len();
        let mean = |of: fn(&ImageScore) -> f64| metrics.per_volume.iter().map(of).sum::<f64>() / n as f64;
        text += &format!("as {n} whole volume(s): Dice {:.4}, IoU {:.4}", mean(|v| v.dice), mean(|v| v.iou));
        if let Some(surfaces) = &metrics.surfaces {
            let (hd95, nsd) = (mean(|v| v.hd95.unwrap_or_default()), mean(|v| v.nsd.unwrap_or_default()));
            text += &format!(", HD95 {hd95:.3} {}, NSD {nsd:.4}", surfaces.options.unit);
        }
        text += "\n";
    }
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
