//! `segfit segment`: masks for new images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use segfit::data::{Image, ImageFile, LabelMap, Mask, contour_overlay, write_image_png, write_mask, write_masks};
use segfit::files::write_atomically;
use segfit::npy;
use segfit_engine::backend::Precision;
use segfit_engine::cpu::CpuBackend;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::segmenter::{DEFAULT_TILE, Segmenter, largest};
use serde::Serialize;

use crate::context::Global;
use crate::data_options::SliceOptions;
use crate::failure::Interrupted;
use crate::image_files::{image_files, image_name, middle_images};
use crate::interrupt;
use crate::onnx_model::{Choice, OnnxModel};
use crate::precision_options::{PrecisionOptions, some_of};

/// Masks for new images of any size
///
/// The network is that of a training, or a file that `segfit export --onnx` made of one; tract, which is built in, runs such a file, or
/// ONNX Runtime where its shared library is named.
///
/// Every image becomes DIR/<name>.png in the image's own size, with the label values of the training masks, and
/// DIR/overlay/<name>.png, the image with the outlines of what was found.
///
/// Of a volume or stack every slice is segmented, and the masks are one file with the same geometry: NIfTI becomes NIfTI with the same
/// header, a TIFF stack a TIFF stack, NumPy NumPy; DICOM, of a file or of a folder with one series, becomes NIfTI. Overlays are
/// DIR/overlay/<name>#012.png.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a finished training, or MODEL.onnx
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
    /// Also write the probability of every class: DIR/probabilities/<name>.npy, f32, [classes][rows][columns]
    #[arg(long)]
    probabilities: bool,
    /// Shared library of ONNX Runtime (libonnxruntime.so) to run MODEL.onnx with; the variable ORT_DYLIB_PATH names one, too
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Largest piece of an image that is run at once, in pixels; larger images are cut into overlapping tiles
    #[arg(long, value_name = "PIXELS", default_value_t = DEFAULT_TILE, value_parser = tile_in_range)]
    tile: usize,
    #[command(flatten)]
    slices: SliceOptions,
    #[command(flatten)]
    precision: PrecisionOptions,
    /// With --precision int8: images to calibrate on, best those of the training; else up to 16 of IMAGES are used
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,
}

/// A tile that a network accepts.
fn tile_in_range(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n >= 16).ok_or_else(|| "expected a whole number from 16".into())
}

#[derive(Serialize)]
struct Done {
    image: PathBuf,
    mask: PathBuf,
    slices: usize,
    foreground: f64,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    interrupt::listen()?;
    if args.run.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
        return with_onnx(args, global);
    }
    if args.onnxruntime.is_some() {
        bail!("--onnxruntime is for MODEL.onnx; {} is a run, which segfit runs itself", args.run.display());
    }
    let run = RunFolder::open(&args.run)?;
    let files = image_files(&args.images)?;
    let backend = CpuBackend::detect();
    let RunFolder { info, network, .. } = &run;
    let mut segmenter =
        Segmenter::new(&backend, network, run.weights()?, info.normalisation.clone(), info.recipe.input)
            .with_loss(info.recipe.loss)
            .with_tile(args.tile)
            .with_precision(args.precision.engine(), &calibration(args, &files, global)?)?;
    segment_all(args, global, &files, &info.label_map, &mut |image| {
        if !args.probabilities {
            return Ok((segmenter.segment(image)?, None));
        }
        let probabilities = segmenter.probabilities(image)?;
        Ok((largest(&probabilities), Some(probabilities)))
    })
}

/// With a file of `segfit export`.
fn with_onnx(args: &Args, global: &Global) -> Result<()> {
    if args.precision.engine() != Precision::F32 || args.calibrate.is_some() {
        bail!("--precision and --calibrate belong to `segfit export`: {} has its numbers already", args.run.display());
    }
    let library = args.onnxruntime.clone().or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from));
    let choice = library.map_or(Choice::Tract, Choice::OnnxRuntime);
    let mut model = OnnxModel::open(&args.run, &choice, args.tile)?;
    global.detail(&format!("{} is run by {}", args.run.display(), model.program()));
    let files = image_files(&args.images)?;
    let labels = model.metadata.labels.clone();
    segment_all(args, global, &files, &labels, &mut |image| {
        let probabilities = model.probabilities(image)?;
        Ok((largest(&probabilities), args.probabilities.then_some(probabilities)))
    })
}

/// The mask of an image and, where they are asked for, its probabilities.
type Segmented = (Mask, Option<Image>);

fn segment_all(
    args: &Args,
    global: &Global,
    files: &[PathBuf],
    labels: &LabelMap,
    segment: &mut dyn FnMut(&Image) -> Result<Segmented>,
) -> Result<()> {
    let names = output_names(files, &args.out)?;
    let (overlays, probabilities) = (args.out.join("overlay"), args.out.join("probabilities"));
    // Made when there is something to put into it: an image that cannot be read leaves no empty folder behind.
    let made = |folder: &Path| std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()));
    let bar = global.bar(files.len(), "segment");
    let mut done = Vec::new();
    for (file, name) in files.iter().zip(&names) {
        if interrupt::asked() {
            return Err(Interrupted.into());
        }
        let image_file = ImageFile::open(file, args.slices.axis)?;
        image_file.notes().iter().for_each(|note| global.note(&format!("warning: {}: {note}", file.display())));
        let mut masks = Vec::new();
        for index in 0..image_file.count() {
            if interrupt::asked() {
                return Err(Interrupted.into());
            }
            let image = image_file.image(index)?;
            let (mask, values) = segment(&image).with_context(|| format!("segmenting {}", file.display()))?;
            let name = image_file.slice_name(name, index);
            if let Some(values) = values {
                made(&probabilities)?;
                let shape = [values.channels, values.height, values.width];
                write_atomically(&probabilities.join(format!("{name}.npy")), &npy::floats(&shape, &values.data))?;
            }
            if !args.no_overlay {
                made(&overlays)?;
                let overlay = contour_overlay(&image, None, &mask);
                write_image_png(&overlays.join(format!("{name}.png")), &overlay)?;
            }
            masks.push(mask);
        }
        made(&args.out)?;
        let to = if image_file.is_stack() {
            write_masks(&args.out, name, &image_file, &masks, labels)?
        } else {
            write_mask(&args.out.join(format!("{name}.png")), &masks[0], labels)?
        };
        let foreground = masks.iter().map(Mask::foreground_fraction).sum::<f64>() / masks.len() as f64;
        done.push(Done { image: file.clone(), mask: to, slices: masks.len(), foreground });
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
    middle_images(&chosen, args.slices.axis)
}

/// One output name for each file; two images of one name would overwrite each other, and so would a mask its image.
fn output_names(files: &[PathBuf], out: &Path) -> Result<Vec<String>> {
    let mut seen: BTreeMap<String, &PathBuf> = BTreeMap::new();
    let mut names = Vec::new();
    for file in files {
        let name = image_name(file);
        if let Some(other) = seen.insert(name.clone(), file) {
            bail!(
                "{} and {} would both be written as {name}: segment them into different folders",
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
