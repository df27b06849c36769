//! `segfit segment`: masks for new images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use segfit::data::{
    Axis, BandedImage, Image, ImageFile, LabelMap, Mask, contour_overlay, write_image_png, write_mask, write_mask_rows,
    write_masks,
};
use segfit::files::write_atomically;
use segfit::npy;
use segfit_engine::backend::Precision;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::segmenter::{DEFAULT_TILE, Segmenter, largest};
use serde::Serialize;

use crate::context::Global;
use crate::data_options::SliceOptions;
use crate::device_options::DeviceOptions;
use crate::failure::Interrupted;
use crate::image_files::{image_files, image_name, middle_images};
use crate::interrupt;
use crate::onnx_model::{Choice, OnnxModel};
use crate::precision_options::{PrecisionOptions, some_of};
use crate::together::make_folder;

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
///
/// A TIFF picture of 64 MiB or more is read in bands of rows and never held as a whole; its mask is a TIFF file, its overlay small.
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
    device: DeviceOptions,
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
    let backend = args.device.open_for(args.precision.engine(), global)?;
    let RunFolder { info, network, .. } = &run;
    let axis = args.slices.axis.or(info.axis);
    let mut segmenter =
        Segmenter::new(backend.as_ref(), network, run.weights()?, info.normalisation.clone(), info.recipe.input)
            .with_loss(info.recipe.loss)
            .with_tile(args.tile)
            .with_precision(args.precision.engine(), &calibration(args, &files, axis, global)?)?;
    segment_all(args, global, &files, (&info.label_map, axis), &mut segmenter)
}

/// With a file of `segfit export`.
fn with_onnx(args: &Args, global: &Global) -> Result<()> {
    if args.precision.engine() != Precision::F32 || args.calibrate.is_some() {
        bail!("--precision and --calibrate belong to `segfit export`: {} has its numbers already", args.run.display());
    }
    if args.device.is_cuda() {
        bail!("--device cuda is for runs: {} is run by another program's engine, on the CPU", args.run.display());
    }
    let library = args.onnxruntime.clone().or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from));
    let choice = library.map_or(Choice::Tract, Choice::OnnxRuntime);
    let mut model = OnnxModel::open(&args.run, &choice, args.tile)?;
    global.detail(&format!("{} is run by {}", args.run.display(), model.program()));
    let files = image_files(&args.images)?;
    let labels = model.metadata.labels.clone();
    let axis = args.slices.axis.or(model.metadata.axis);
    segment_all(args, global, &files, (&labels, axis), &mut model)
}

/// What finds masks.
trait Segments {
    /// The mask of an image and, where they are asked for, its probabilities.
    fn whole(&mut self, image: &Image, with_probabilities: bool) -> Result<(Mask, Option<Image>)>;
    /// The mask of a large image, in bands of rows.
    fn banded(&mut self, image: &mut BandedImage, done: &mut dyn FnMut(&Mask) -> Result<()>) -> Result<()>;
}

impl Segments for Segmenter<'_> {
    fn whole(&mut self, image: &Image, with_probabilities: bool) -> Result<(Mask, Option<Image>)> {
        if !with_probabilities {
            return Ok((self.segment(image)?, None));
        }
        let probabilities = self.probabilities(image)?;
        Ok((largest(&probabilities), Some(probabilities)))
    }

    fn banded(&mut self, image: &mut BandedImage, done: &mut dyn FnMut(&Mask) -> Result<()>) -> Result<()> {
        self.segment_banded(image, done)
    }
}

impl Segments for OnnxModel {
    fn whole(&mut self, image: &Image, with_probabilities: bool) -> Result<(Mask, Option<Image>)> {
        let probabilities = self.probabilities(image)?;
        Ok((largest(&probabilities), with_probabilities.then_some(probabilities)))
    }

    fn banded(&mut self, image: &mut BandedImage, done: &mut dyn FnMut(&Mask) -> Result<()>) -> Result<()> {
        self.segment_banded(image, done)
    }
}

fn segment_all(
    args: &Args,
    global: &Global,
    files: &[PathBuf],
    (labels, axis): (&LabelMap, Option<Axis>),
    segments: &mut dyn Segments,
) -> Result<()> {
    let names = output_names(files, &args.out)?;
    let bar = global.bar(files.len(), "segment");
    let mut done = Vec::new();
    for (file, name) in files.iter().zip(&names) {
        check_interrupt()?;
        done.push(match BandedImage::open_large(file)? {
            Some(image) => segment_large(args, global, (file, name), image, labels, segments)?,
            None => segment_file(args, global, (file, name), (labels, axis), segments)?,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mean = done.iter().map(|d| d.foreground).sum::<f64>() / done.len() as f64;
    let text =
        format!("{} masks in {}; {:.1}% of the pixels are foreground", done.len(), args.out.display(), 100.0 * mean);
    global.print(&done, &text)
}

fn check_interrupt() -> Result<()> {
    if interrupt::asked() { Err(Interrupted.into()) } else { Ok(()) }
}

/// One file: a picture, or all slices of a volume.
fn segment_file(
    args: &Args,
    global: &Global,
    (file, name): (&Path, &str),
    (labels, axis): (&LabelMap, Option<Axis>),
    segments: &mut dyn Segments,
) -> Result<Done> {
    let image_file = ImageFile::open(file, axis)?;
    image_file.notes().iter().for_each(|note| global.note(&format!("warning: {}: {note}", file.display())));
    let mut masks = Vec::new();
    for index in 0..image_file.count() {
        check_interrupt()?;
        let image = image_file.image(index)?;
        let found = segments.whole(&image, args.probabilities);
        let (mask, values) = found.with_context(|| format!("segmenting {}", file.display()))?;
        let name = image_file.slice_name(name, index);
        if let Some(values) = values {
            let shape = [values.channels, values.height, values.width];
            let folder = args.out.join("probabilities");
            make_folder(&folder)?;
            let to = folder.join(format!("{name}.npy"));
            write_atomically(&to, &npy::floats(&shape, &values.data))?;
        }
        if !args.no_overlay {
            write_overlay(args, &name, &contour_overlay(&image, None, &mask))?;
        }
        masks.push(mask);
    }
    make_folder(&args.out)?;
    let to = if image_file.is_stack() {
        write_masks(&args.out, name, &image_file, &masks, labels)?
    } else {
        write_mask(&args.out.join(format!("{name}.png")), &masks[0], labels)?
    };
    let foreground = masks.iter().map(Mask::foreground_fraction).sum::<f64>() / masks.len() as f64;
    Ok(Done { image: file.into(), mask: to, slices: masks.len(), foreground })
}

/// Folders are made when there is something to put into them: an image that cannot be read leaves no empty one behind.
fn write_overlay(args: &Args, name: &str, overlay: &Image) -> Result<()> {
    let folder = args.out.join("overlay");
    make_folder(&folder)?;
    Ok(write_image_png(&folder.join(format!("{name}.png")), overlay)?)
}

/// A picture that is too large to be held: its mask becomes a TIFF file as it is found, the overlay is a small one.
fn segment_large(
    args: &Args,
    global: &Global,
    (file, name): (&Path, &str),
    mut image: BandedImage,
    labels: &LabelMap,
    segments: &mut dyn Segments,
) -> Result<Done> {
    let (height, width) = image.size();
    if args.probabilities {
        bail!(
            "{}: --probabilities of an image of {width} x {height} pixels would fill the memory: leave it out, or cut the \
             image into pieces",
            file.display()
        );
    }
    image.notes().for_each(|note| global.note(&format!("warning: {}: {note}", file.display())));
    let mut small = Reduced::new((height, width));
    let mut foreground = 0;
    make_folder(&args.out)?;
    let to = write_mask_rows::<anyhow::Error>(&args.out.join(name), (height, width), labels, &mut |push| {
        segments.banded(&mut image, &mut |mask| {
            check_interrupt()?;
            foreground += mask.data.iter().filter(|&&class| class > 0).count();
            small.push(mask);
            Ok(push(mask)?)
        })
    })
    .with_context(|| format!("segmenting {}", file.display()))?;
    if !args.no_overlay {
        let reduced = image.resized(small.mask.height, small.mask.width)?;
        write_overlay(args, name, &contour_overlay(&reduced, None, &small.mask))?;
    }
    let foreground = foreground as f64 / (height * width) as f64;
    Ok(Done { image: file.into(), mask: to, slices: 1, foreground })
}

/// A mask made smaller by the nearest pixel as its rows come, for an overlay.
struct Reduced {
    from: (usize, usize),
    mask: Mask,
    /// The row that comes next.
    next: usize,
}

impl Reduced {
    /// Longest side of an overlay of a large image, in pixels.
    const SIDE: usize = 2048;

    fn new(from: (usize, usize)) -> Self {
        let longest = from.0.max(from.1);
        let side = |n: usize| if longest <= Self::SIDE { n } else { (n * Self::SIDE / longest).max(1) };
        Self { from, mask: Mask { height: side(from.0), width: side(from.1), data: Vec::new() }, next: 0 }
    }

    fn push(&mut self, band: &Mask) {
        let nearest = |i: usize, from: usize, to: usize| (2 * i + 1) * from / (2 * to);
        let (height, width) = (self.mask.height, self.mask.width);
        for row in band.data.chunks_exact(band.width) {
            while self.mask.data.len() < height * width
                && nearest(self.mask.data.len() / width, self.from.0, height) == self.next
            {
                self.mask.data.extend((0..width).map(|x| row[nearest(x, self.from.1, width)]));
            }
            self.next += 1;
        }
    }
}

/// Images for int8, none for other precisions.
fn calibration(args: &Args, files: &[PathBuf], axis: Option<Axis>, global: &Global) -> Result<Vec<Image>> {
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
    middle_images(&chosen, axis)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_made_smaller_as_resizing_does_it() {
        let (height, width) = (5000, 3001);
        let data: Vec<u8> = (0..height * width).map(|i| (i / 977 % 251) as u8).collect();
        let mut small = Reduced::new((height, width));
        for rows in data.chunks(700 * width) {
            small.push(&Mask { height: rows.len() / width, width, data: rows.to_vec() });
        }
        assert_eq!((small.mask.height, small.mask.width), (2048, 1229));
        let whole = Mask { height, width, data };
        assert_eq!(small.mask, segfit::data::resize_mask(&whole, 2048, 1229));
    }
}
