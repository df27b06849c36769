//! `segfit calibrate vary`: a further data set from the images of one.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use rayon::prelude::*;
use segfit::Error;
use segfit::complexity::{objects_by_instance, objects_of, sampled};
use segfit::data::{
    Dataset, Half, Operation, Sample, Seeded, Split, VARIANT_FILE, VARIANT_FORMAT, Variant, of_size, write_image_png,
    write_mask,
};
use segfit::files::{read_json, write_atomically, write_json};

use crate::context::Global;
use crate::data_options::DataOptions;
use crate::new_folder::{io, new_folder};

#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("operation").required(true),
    after_help = "Writes DIR/images (8-bit PNG), DIR/masks, DIR/split.csv with the splits and sources of DATA, and\n\
        DIR/VARIANT.json, which names DATA, so that records of the variant are kept together with\n\
        those of DATA. Equal options and seeds give equal files.\n\n\
        Examples:\n  \
        segfit calibrate vary DATA --blur 1.5 --out data-blurred\n  \
        segfit calibrate vary DATA --noise 0.1 --seed 3 --out data-noisy\n  \
        segfit calibrate vary DATA --objects small --out data-small"
)]
pub struct Args {
    #[command(flatten)]
    data: DataOptions,
    /// The folder to write; it must not exist or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Gaussian blur of this standard deviation, in pixels of the files
    #[arg(long, value_name = "SIGMA", group = "operation")]
    blur: Option<f32>,
    /// Normal noise of this standard deviation; 1 is the whole range of values
    #[arg(long, value_name = "SD", group = "operation")]
    noise: Option<f32>,
    /// Multiply the distance of every value to the image's mean; below 1 is paler
    #[arg(long, value_name = "F", group = "operation")]
    contrast: Option<f32>,
    /// 2: a part of half the rows and columns, enlarged; 0.5: the whole reduced, continued by its mirror images
    #[arg(long, value_name = "2|0.5", group = "operation", value_parser = ["2", "0.5"])]
    zoom: Option<String>,
    /// Only images whose mean object is up to (small) or above (large) the median of the training images. The others are
    /// dropped, not painted over; images without objects stay
    #[arg(long, value_name = "HALF", group = "operation")]
    objects: Option<Size>,
    /// Only N of the training images; a larger N adds to them. Validation and test images stay
    #[arg(long, value_name = "N", group = "operation")]
    train_images: Option<usize>,
}

/// One half of the images.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Size {
    /// Small objects
    Small,
    /// Large objects
    Large,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let operation = operation(args)?;
    let dataset = args.data.open(global)?;
    if dataset.classes == 0 {
        let got = "images without masks".into();
        let hint = "a variant needs masks to be trained on".into();
        return Err(Error::Content { path: dataset.root, expected: "images with masks".into(), got, hint }.into());
    }
    let kept = kept(&dataset, operation, global.seed)?;
    check_rest(&dataset, &kept, operation)?;
    let variant = described(&dataset, operation, global.seed)?;
    new_folder(&args.out, |folder| write(&dataset, &kept, &variant, folder))?;
    let text = format!(
        "{}: {} of {} images of {}, varied by {}",
        args.out.display(),
        kept.len(),
        dataset.pairs.len(),
        dataset.name,
        serde_json::to_string(&operation)?
    );
    global.print(&serde_json::json!({"out": args.out, "images": kept.len(), "variant": variant}), &text)
}

fn operation(args: &Args) -> Result<Operation> {
    let number = |what: &str, value: f32, high: f32| {
        if value > 0.0 && value <= high {
            return Ok(value);
        }
        let expected = format!("a number above 0, at most {high}");
        Err(Error::Option { what: what.into(), expected, got: value.to_string() })
    };
    Ok(if let Some(sigma) = args.blur {
        Operation::Blur { sigma: number("--blur", sigma, 64.0)? }
    } else if let Some(deviation) = args.noise {
        Operation::Noise { deviation: number("--noise", deviation, 1.0)? }
    } else if let Some(factor) = args.contrast {
        Operation::Contrast { factor: number("--contrast", factor, 16.0)? }
    } else if let Some(zoom) = &args.zoom {
        if zoom == "2" { Operation::ZoomIn } else { Operation::ZoomOut }
    } else if let Some(size) = args.objects {
        let size = if matches!(size, Size::Small) { Half::Small } else { Half::Large };
        Operation::Objects { size }
    } else {
        Operation::TrainImages { count: args.train_images.unwrap_or(0) }
    })
}

/// Positions of the images that stay.
fn kept(dataset: &Dataset, operation: Operation, seed: u64) -> Result<Vec<usize>> {
    let all = 0..dataset.pairs.len();
    let is_training: Vec<bool> = dataset.pairs.iter().map(|p| p.split == Split::Train).collect();
    let chosen = match operation {
        Operation::Objects { size } => of_size(&object_sizes(dataset)?, &is_training, size),
        Operation::TrainImages { count } => {
            let training = dataset.indices(Split::Train);
            let names: Vec<&str> = training.iter().map(|&i| dataset.pairs[i].name.as_str()).collect();
            let mut chosen: Vec<bool> = is_training.iter().map(|t| !t).collect();
            training.iter().zip(sampled(&names, count, seed)).for_each(|(&i, taken)| chosen[i] = taken);
            chosen
        }
        _ => vec![true; all.len()],
    };
    Ok(all.filter(|&i| chosen[i]).collect())
}

/// Mean area of the objects of every image, as a share of the image.
fn object_sizes(dataset: &Dataset) -> Result<Vec<Option<f64>>> {
    let one = |i: usize| {
        let sample = &dataset.load(&[i])?[0];
        let (height, width) = (sample.mask.height, sample.mask.width);
        let objects = match &sample.instances {
            Some(labels) => objects_by_instance(labels, height, width),
            None => objects_of(&sample.mask.data, height, width),
        };
        let area: u64 = objects.iter().map(|o| o.area).sum();
        Ok((!objects.is_empty()).then(|| area as f64 / (objects.len() * height * width) as f64))
    };
    let sizes: Vec<segfit::Result<Option<f64>>> = (0..dataset.pairs.len()).into_par_iter().map(one).collect();
    Ok(sizes.into_iter().collect::<segfit::Result<_>>()?)
}

/// Refuses a variant that cannot be trained or tested.
fn check_rest(dataset: &Dataset, kept: &[usize], operation: Operation) -> Result<()> {
    let count = |split| kept.iter().filter(|&&i| dataset.pairs[i].split == split).count();
    let (train, test) = (count(Split::Train), count(Split::Test));
    let wanted = match operation {
        Operation::TrainImages { count } => count.max(1),
        _ => 1,
    };
    if train >= wanted && test > 0 {
        return Ok(());
    }
    Err(Error::Dataset {
        path: dataset.root.clone(),
        reason: format!("{train} training and {test} test images are left, at least {wanted} and 1 are needed"),
        hint: "choose another variant of this data set".into(),
    }
    .into())
}

/// What `VARIANT.json` says. The operations on a variant are added to its own.
fn described(dataset: &Dataset, operation: Operation, seed: u64) -> Result<Variant> {
    let of = dataset.fingerprint.clone();
    let file = dataset.root.join(VARIANT_FILE);
    let mut operations = match &dataset.origin.parent {
        Some(_) => read_json::<Variant>(&file, VARIANT_FORMAT)?.operations,
        None => Vec::new(),
    };
    operations.push(Seeded { operation, seed });
    Ok(Variant {
        format: VARIANT_FORMAT.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        parent: dataset.origin.parent.clone().unwrap_or_else(|| dataset.name.clone()),
        of,
        synthetic: dataset.origin.synthetic,
        operations,
    })
}

fn write(dataset: &Dataset, kept: &[usize], variant: &Variant, folder: &Path) -> segfit::Result<()> {
    let (images, masks) = (folder.join("images"), folder.join("masks"));
    for new in [&images, &masks] {
        std::fs::create_dir(new).map_err(io(new))?;
    }
    let last = variant.operations.last();
    let one = |&index: &usize| {
        let mut sample = dataset.load(&[index])?.remove(0);
        check_values(&sample, dataset, index)?;
        if let Some(Seeded { operation, seed }) = last {
            sample = operation.applied(sample, *seed);
        }
        let pair = &dataset.pairs[index];
        write_image_png(&images.join(format!("{}.png", pair.name)), &sample.image)?;
        write_mask(&masks.join(format!("{}.png", pair.name)), &sample.mask, &dataset.label_map)?;
        let split = match pair.split {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        };
        Ok([format!("{}.png", pair.name), split.into(), pair.source.clone()].map(quoted).join(",") + "\n")
    };
    let rows: Vec<segfit::Result<String>> = kept.par_iter().map(one).collect();
    let rows = rows.into_iter().collect::<segfit::Result<Vec<String>>>()?;
    write_json(&folder.join(VARIANT_FILE), variant)?;
    write_atomically(&folder.join("split.csv"), format!("file,split,source\n{}", rows.concat()).as_bytes())
}

/// Refuses what an 8-bit file cannot hold.
fn check_values(sample: &Sample, dataset: &Dataset, index: usize) -> segfit::Result<()> {
    let outside = sample.image.data.iter().find(|v| !(0.0..=1.0).contains(*v));
    let got = match (outside, sample.image.channels) {
        (None, 1 | 3) => return Ok(()),
        (Some(value), _) => format!("the value {value}"),
        (None, n) => format!("{n} channels"),
    };
    Err(Error::Content {
        path: dataset.pairs[index].image.clone(),
        expected: "an image of 1 or 3 channels with values from 0 to 1".into(),
        got,
        hint: "variants are 8-bit PNG files; convert the image first".into(),
    })
}

/// A field of a CSV file (RFC 4180).
fn quoted(field: String) -> String {
    if field.contains([',', '"', '\n', '\r']) || field.trim() != field {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}
