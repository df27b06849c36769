//! `segfit export --onnx`: the file, and its comparison with the engine.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use segfit::data::{Image, resize_image};
use segfit::export::onnx::{self, Numbers, Options, Output};
use segfit::random::Stream;
use segfit::recipe::{InputMode, InputSpec};
use segfit_engine::segmenter::{Segmenter, largest};

use super::{Check, Work, Written};
use crate::onnx_model::{Choice, OnnxModel};

/// Sizes that are compared: odd ones, one smaller than its own padding, and one that needs none.
const SIZES: [[usize; 2]; 3] = [[201, 333], [37, 5], [64, 64]];
/// The largest difference of probabilities in f32.
const TOLERANCE: f32 = 1e-4;

/// ONNX files
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "ONNX")]
pub struct OnnxOptions {
    /// Numbers in the file: f16 halves the weights, which are computed with in f32; int8 quantises weights and activations
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    precision: PrecisionName,
    /// What comes out
    #[arg(long, value_enum, default_value_t = OutputName::Probabilities)]
    output: OutputName,
    /// With --output mask: least probability of the foreground
    #[arg(long, value_name = "P", default_value_t = 0.5)]
    threshold: f32,
    /// Leave normalisation out of the graph: it expects images that are normalised
    #[arg(long)]
    raw: bool,
    /// With --check: shared library of ONNX Runtime that runs the file, instead of tract
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PrecisionName {
    /// 32-bit floats
    F32,
    /// Weights in 16-bit floats
    F16,
    /// 8-bit integers; needs --calibrate
    Int8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OutputName {
    /// The probability of every class
    Probabilities,
    /// What probabilities are made of
    Logits,
    /// The most probable class of every pixel
    Labels,
    /// Foreground or not
    Mask,
}

impl OnnxOptions {
    pub fn is_int8(&self) -> bool {
        self.precision == PrecisionName::Int8
    }

    fn options(&self) -> Options {
        let output = match self.output {
            OutputName::Probabilities => Output::Probabilities,
            OutputName::Logits => Output::Logits,
            OutputName::Labels => Output::Labels,
            OutputName::Mask => Output::Mask { threshold: self.threshold },
        };
        let numbers = match self.precision {
            PrecisionName::F32 => Numbers::F32,
            PrecisionName::F16 => Numbers::F16,
            PrecisionName::Int8 => Numbers::Int8,
        };
        Options { output, numbers, raw: self.raw }
    }

    /// `model.onnx`, with what differs from the default in between.
    fn file_name(&self) -> String {
        let mut name = String::from("model");
        match self.precision {
            PrecisionName::F32 => {}
            PrecisionName::F16 => name += ".f16",
            PrecisionName::Int8 => name += ".int8",
        }
        if self.output != OutputName::Probabilities {
            name += &format!(".{}", self.options().output.name());
        }
        if self.raw {
            name += ".raw";
        }
        name + ".onnx"
    }
}

/// Writes the file and, with --check, compares.
pub fn write(work: &Work<'_>) -> Result<Vec<Written>> {
    let options = &work.args.onnx;
    let path = work.folder.join(options.file_name());
    onnx::write(&work.deployment, &options.options(), &path)?;
    let check = if work.args.check { Some(check(work, &path)?) } else { None };
    Ok(vec![Written::file("onnx", &path, check)?])
}

fn check(work: &Work<'_>, path: &Path) -> Result<Check> {
    let images = compared(work);
    let most = images.iter().map(|i| i.height.max(i.width)).max().unwrap_or(1);
    let options = &work.args.onnx;
    let mut model =
        OnnxModel::open(path, &options.onnxruntime.clone().map_or(Choice::Tract, Choice::OnnxRuntime), most)?;
    model.metadata.input.mode = InputMode::Patch;
    let info = &work.run.info;
    let input = InputSpec { mode: InputMode::Patch, ..info.recipe.input };
    let mut engine =
        Segmenter::new(&work.backend, &work.run.network, work.run.weights()?, info.normalisation.clone(), input)
            .with_loss(info.recipe.loss)
            .with_tile(most);
    let mut worst = 0.0_f32;
    for image in &images {
        let (expected, found) = (engine.probabilities(image)?, model.probabilities(image)?);
        worst = worst.max(difference(options.options().output, &expected, &found));
    }
    let program = model.program().to_string();
    if options.precision == PrecisionName::F32 && worst > TOLERANCE {
        bail!("{} differs in {program} by {worst:.1e} from segfit, more than {TOLERANCE:.0e}", path.display());
    }
    let sizes = images.iter().map(|i| [i.height, i.width]).collect();
    Ok(Check { program, largest_difference: worst, sizes })
}

/// Random images; for int8, whose ranges do not hold for noise, some of those that it was calibrated on, as the network sees them.
fn compared(work: &Work<'_>) -> Vec<Image> {
    if work.args.onnx.is_int8() {
        let InputSpec { mode, size } = work.run.info.recipe.input;
        let seen =
            |image: &Image| if mode == InputMode::Resize { resize_image(image, size, size) } else { image.clone() };
        return work.calibration.iter().take(SIZES.len()).map(seen).collect();
    }
    let channels = work.run.network.in_channels();
    let random = |(i, [height, width]): (usize, [usize; 2])| {
        let mut stream = Stream::new(&[work.global.seed, i as u64]);
        Image { channels, height, width, data: (0..channels * height * width).map(|_| stream.unit()).collect() }
    };
    SIZES.into_iter().enumerate().map(random).collect()
}

/// The largest difference of probabilities; of labels the share of pixels that differ though no two classes (or the threshold) are
/// closer than the tolerance.
fn difference(output: Output, expected: &Image, found: &Image) -> f32 {
    let pixels = expected.height * expected.width;
    let wrong = |is_wrong: &dyn Fn(usize) -> bool| (0..pixels).filter(|&i| is_wrong(i)).count() as f32 / pixels as f32;
    match output {
        Output::Probabilities | Output::Logits => {
            let all = expected.data.iter().zip(&found.data);
            all.map(|(a, b)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() }).fold(0.0, f32::max)
        }
        Output::Labels => {
            let (a, b) = (largest(expected), largest(found));
            let of = |mask: &[u8], i: usize| expected.plane(usize::from(mask[i]))[i];
            wrong(&|i| a.data[i] != b.data[i] && of(&a.data, i) - of(&b.data, i) > TOLERANCE)
        }
        Output::Mask { threshold } => {
            let background = expected.plane(0);
            let most = 1.0 - threshold;
            let (expected, found) = (|i: usize| background[i] <= most, |i: usize| found.plane(1)[i] > 0.5);
            wrong(&|i| expected(i) != found(i) && (background[i] - most).abs() > TOLERANCE)
        }
    }
}
