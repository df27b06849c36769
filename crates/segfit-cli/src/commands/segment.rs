//! `segfit segment`: masks for new images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use segfit::data::{Image, contour_overlay, read_image, write_image_png, write_mask};
use segfit_engine::backend::Precision;
use segfit_engine::cpu::CpuBackend;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::segmenter::{DEFAULT_TILE, Segmenter};
use serde::Serialize;

use crate::context::Global;
use crate::failure::Interrupted;
use crate::interrupt;
use crate::precision_options::{PrecisionOptions, some_of};

/// Masks for new images of any size
///
/// Every image becomes DIR/<name>.png in the image's own size, with the label values of the training masks, and
/// DIR/overlay/<name>.png, the image with the outlines of what was found.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a finished training
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Image files, or folders of them
    #[arg(value_name = "IMAGES", required = true)]
    images: Vec<PathBuf>,
    /// Where the masks go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// No overlays
    #[arg(long)]
    no_overlay: bool,
    /// Largest piece of an image that is run at once, in pixels; larger images are cut into overlapping tiles
    #[arg(long, value_name = "PIXELS", default_value_t = DEFAULT_TILE)]
    tile: usize,
    #[command(flatten)]
    precision: PrecisionOptions,
    /// With --precision int8: images to calibrate on, best those of the training; else up to 16 of IMAGES are used
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,
}

#[derive(Serialize)]
struct Done {
    image: PathBuf,
    mask: PathBuf,
    foreground: f64,
}

const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff"];

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    interrupt::listen()?;
    let run = RunFolder::open(&args.run)?;
    let files = image_files(&args.images)?;
    let names = output_names(&files, &args.out)?;
    let backend = CpuBackend::detect();
    let RunFolder { info, network, .. } = &run;
    let mut segmenter =
        Segmenter::new(&backend, network, run.weights()?, info.normalisation.clone(), info.recipe.input)
            .with_loss(info.recipe.loss)
            .with_tile(args.tile)
            .with_precision(args.precision.engine(), &calibration(args, &files, global)?)?;
    let overlays = args.out.join("overlay");
    let deepest = if args.no_overlay { &args.out } else { &overlays };
    std::fs::create_dir_all(deepest).with_context(|| format!("making {}", deepest.display()))?;
    let bar = global.bar(files.len(), "segment");
    let mut done = Vec::new();
    for (file, name) in files.iter().zip(&names) {
        if interrupt::asked() {
            return Err(Interrupted.into());
        }
        let image = read_image(file)?;
        let mask = segmenter.segment(&image).with_context(|| format!("segmenting {}", file.display()))?;
        let to = write_mask(&args.out.join(format!("{name}.png")), &mask, &info.label_map)?;
        if !args.no_overlay {
            let overlay = contour_overlay(&image, None, &mask);
            write_image_png(&overlays.join(format!("{name}.png")), &overlay)?;
        }
        done.push(Done { image: file.clone(), mask: to, foreground: mask.foreground_fraction() });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mean = done.iter().map(|d| d.foreground).sum::<f64>() / done.len() as f64;
    let text =
        format!("{} masks in {}; {:.1}% of the pixels are foreground", done.len(), args.out.display(), 100.0 * mean);
    global.print(&done, &text)
}

/// Images for int8, none for other precisions.
fn calibration(args: &Args, files: &[PathBuf], global: &Global) -> Result<Vec<Image>> {
    if args.precision.engine() != Precision::Int8 {
        if args.calibrate.is_some() {
            bail!("--calibrate is for --precision int8");
        }
        return Ok(Vec::new());
    }
    let (chosen, origin) = match &args.calibrate {
        Some(folder) => (some_of(&image_files(std::slice::from_ref(folder))?), folder.display().to_string()),
        None => (some_of(files), "the images to segment; --calibrate DIR names others".into()),
    };
    global.note(&format!("int8: calibrated on {} of {origin}", chosen.len()));
    Ok(chosen.iter().map(|file| read_image(file)).collect::<segfit::Result<_>>()?)
}

/// The files named, and the image files of the folders named, sorted.
fn image_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
        for entry in entries {
            let file = entry?.path();
            let ending = file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
            if file.is_file() && ending.is_some_and(|e| ENDINGS.contains(&e.as_str())) {
                files.push(file);
            }
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("no images found in {}; expected files ending in {}", paths[0].display(), ENDINGS.join(", "));
    }
    Ok(files)
}

/// One output name for each file; two images of one name would overwrite each other, and so would a mask its image.
fn output_names(files: &[PathBuf], out: &Path) -> Result<Vec<String>> {
    let mut seen: BTreeMap<String, &PathBuf> = BTreeMap::new();
    let mut names = Vec::new();
    for file in files {
        let name = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(other) = seen.insert(name.clone(), file) {
            bail!(
                "{} and {} would both be written as {name}.png: segment them into different folders",
                other.display(),
                file.display()
            );
        }
        let same_folder = file.parent().and_then(|p| p.canonicalize().ok()) == out.canonicalize().ok();
        if same_folder && out.exists() {
            bail!("{} lies in the output folder {}: choose another --out", file.display(), out.display());
        }
        names.push(name);
    }
    Ok(names)
}
