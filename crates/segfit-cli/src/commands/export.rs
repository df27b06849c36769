//! `segfit export`: a trained network as files that other programs run.

mod c;
mod onnx;
mod torch;

use std::path::{Path, PathBuf};

use anyhow::Result;
use segfit::data::{Axis, Image};
use segfit::export::Deployment;
use segfit::export::embedded::Footprint;
use segfit::numbers::bytes;
use segfit_engine::cpu::CpuBackend;
use segfit_engine::deploy;
use segfit_engine::run_folder::RunFolder;
use serde::Serialize;

use crate::context::Global;
use crate::image_files::{image_files, middle_images};
use crate::precision_options::some_of;
use crate::together::make_folder;

/// A trained network as files that other programs run
///
/// Writes the network as it is deployed: batch norms folded into convolutions where possible, auxiliary heads left out. Every file
/// says where it comes from: classes, input, normalisation, data set, measured Dice.
#[derive(Debug, clap::Args)]
#[command(override_usage = "segfit export RUN --FORMAT... [OPTIONS]")]
#[command(after_help = "Examples:\n  \
    segfit export RUN --onnx --check\n  \
    segfit export RUN --onnx --precision int8 --calibrate IMAGES\n  \
    segfit export RUN --c --calibrate IMAGES --image-size 96x128\n  \
    segfit segment RUN/export/model.onnx IMAGES --out DIR")]
pub struct Args {
    /// Folder of a finished training
    #[arg(value_name = "RUN")]
    run: PathBuf,
    #[command(flatten)]
    formats: Formats,
    /// Where the files go [default: RUN/export]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Load what was written with the program that will run it and compare; fails where f32 probabilities differ by more than 1e-4
    #[arg(long)]
    check: bool,
    /// For int8: images to calibrate on, best those of the training; up to 16 of them are used
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,
    #[command(flatten)]
    onnx: onnx::OnnxOptions,
    #[command(flatten)]
    publication: torch::PublicationOptions,
    #[command(flatten)]
    c: c::COptions,
}

/// What to write
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Formats {
    /// Every format
    #[arg(long)]
    all: bool,
    /// ONNX: an image of any size in, probabilities out (docs/export.md)
    #[arg(long = "onnx")]
    to_onnx: bool,
    /// PyTorch: a readable model.py and its weights, to run and to train on (docs/export_pytorch.md)
    #[arg(long)]
    pytorch: bool,
    /// A package for bioimage.io, deepImageJ, ilastik and BiaPy: a folder and a .zip
    #[arg(long)]
    bioimageio: bool,
    /// A MONAI bundle
    #[arg(long)]
    monai: bool,
    /// C99 headers and Rust modules for microcontrollers: a small network for one image size (docs/export_c.md)
    #[arg(long = "c")]
    to_c: bool,
}

/// What every format is written from.
struct Work<'a> {
    args: &'a Args,
    global: &'a Global,
    backend: CpuBackend,
    run: RunFolder,
    deployment: Deployment,
    /// What int8 was calibrated on.
    calibration: Vec<Image>,
    folder: PathBuf,
}

/// A file or folder that was written.
#[derive(Serialize)]
struct Written {
    format: &'static str,
    path: PathBuf,
    bytes: u64,
    /// What source text needs on a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    footprint: Option<Footprint>,
    /// What the comparison found, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Check>,
}

/// A comparison with the engine.
#[derive(Serialize)]
struct Check {
    /// The program that ran the file.
    program: String,
    /// Of probabilities, or of labels the share of pixels.
    largest_difference: f32,
    /// Sizes of the images compared, rows and columns.
    sizes: Vec<[usize; 2]>,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let run = RunFolder::open(&args.run)?;
    let backend = CpuBackend::detect();
    let calibration = calibration(args, run.info.axis, global)?;
    let ranges = match calibration.is_empty() {
        true => None,
        false => Some(deploy::calibrate(&run, &backend, &calibration)?),
    };
    let deployment = deploy::deployment(&run, ranges)?;
    let folder = args.out.clone().unwrap_or_else(|| args.run.join("export"));
    make_folder(&folder)?;
    let work = Work { args, global, backend, run, deployment, calibration, folder };
    type Write = fn(&Work<'_>) -> Result<Vec<Written>>;
    let formats: [(bool, Write); 5] = [
        (args.formats.to_onnx, onnx::write),
        (args.formats.pytorch, torch::pytorch),
        (args.formats.bioimageio, torch::bioimageio),
        (args.formats.monai, torch::monai),
        (args.formats.to_c, c::write),
    ];
    let mut written = Vec::new();
    for (_, write) in formats.iter().filter(|(asked, _)| *asked || args.formats.all) {
        written.extend(write(&work)?);
    }
    let lines: Vec<String> = written.iter().map(Written::line).collect();
    global.print(&serde_json::json!({ "files": written }), &lines.join("\n"))
}

impl Written {
    fn file(format: &'static str, path: &Path, check: Option<Check>) -> Result<Self> {
        let found = std::fs::metadata(path).map_err(|source| segfit::Error::Io { path: path.into(), source })?;
        Ok(Self { format, path: path.into(), bytes: found.len(), footprint: None, check })
    }

    /// A folder, with the bytes of all its files.
    fn folder(format: &'static str, path: &Path) -> Result<Self> {
        let mut written = Self::file(format, path, None)?;
        written.bytes = 0;
        let mut folders = vec![path.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let io = |source| segfit::Error::Io { path: folder.clone(), source };
            for entry in std::fs::read_dir(&folder).map_err(io)? {
                let entry = entry.map_err(io)?;
                let found = match entry.metadata() {
                    Ok(found) => found,
                    // A temporary file of another process that writes here.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(io(error).into()),
                };
                if found.is_dir() {
                    folders.push(entry.path());
                } else {
                    written.bytes += found.len();
                }
            }
        }
        Ok(written)
    }

    fn line(&self) -> String {
        let mut line = format!("{} ({})", self.path.display(), bytes(self.bytes));
        if let Some(Footprint { flash_bytes, ram_bytes }) = self.footprint {
            line += &format!("\n  on the device: {} of constants, {} of RAM", bytes(flash_bytes), bytes(ram_bytes));
        }
        if let Some(check) = &self.check {
            let sizes: Vec<String> = check.sizes.iter().map(|[h, w]| format!("{h}x{w}")).collect();
            let (program, difference) = (&check.program, check.largest_difference);
            line += &format!("\n  {program}: largest difference from segfit {difference:.1e} on {}", sizes.join(", "));
        }
        line
    }
}

/// Images for int8, none for other precisions.
fn calibration(args: &Args, axis: Option<Axis>, global: &Global) -> Result<Vec<Image>> {
    let wrong = |expected: &str, got: &str| segfit::Error::Content {
        path: args.run.clone(),
        expected: expected.into(),
        got: got.into(),
        hint: "`--precision int8` needs `--calibrate DIR`, a folder of images, best the training's".into(),
    };
    // Source text has an int8 form wherever there are images to calibrate on.
    let has_int8 = args.onnx.is_int8() || args.formats.to_c || args.formats.all;
    match (has_int8, &args.calibrate) {
        (true, None) if !args.onnx.is_int8() => Ok(Vec::new()),
        (false, None) => Ok(Vec::new()),
        (false, Some(_)) => Err(wrong("--calibrate with --precision int8 or --c only", "another precision").into()),
        (true, None) => Err(wrong("images to calibrate int8 on", "none").into()),
        (true, Some(folder)) => {
            let files = some_of(&image_files(std::slice::from_ref(folder))?);
            global.note(&format!("int8: calibrated on {} of {}", files.len(), folder.display()));
            middle_images(&files, axis)
        }
    }
}
