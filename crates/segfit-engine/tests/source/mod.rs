//! Networks with random weights as deployments, and exported source text compiled and run.

use std::path::Path;
use std::process::{Command, Stdio};

use segfit::data::{Image, LabelCoding, LabelKind, LabelMap, Normalisation};
use segfit::export::embedded::{EmbeddedOptions, MOST_WEIGHTS, write};
use segfit::export::{Deployment, Provenance};
use segfit::network::{NetworkSpec, ParameterKind};
use segfit::onnx::Tensor;
use segfit::random::Stream;
use segfit::recipe::{InputMode, InputSpec, LossKind};
use segfit_engine::backend::{Backend as _, CalibrationImage};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::initialise::initialise;
use segfit_engine::segmenter::Segmenter;
use segfit_engine::state::{ParameterLayout, Weights};

/// A network with weights, as the engine and as an export see it.
pub struct Subject {
    pub deployment: Deployment,
    weights: Weights,
}

/// Rows and columns.
pub type Size = (usize, usize);

/// What the compiled text says of an image.
pub struct Said {
    pub f32: Vec<f32>,
    pub int8: Option<Int8>,
}

/// What the integer form says.
pub struct Int8 {
    pub probabilities: Vec<f32>,
    /// Of the image rounded to bytes.
    pub labels: Vec<u8>,
}

impl Subject {
    /// Random weights, norms included.
    pub fn new(spec: &NetworkSpec, seed: u64) -> Self {
        let network = spec.without_auxiliary();
        let layout = ParameterLayout::new(&network).unwrap();
        let mut weights = initialise(&network, seed).unwrap();
        let mut stream = Stream::new(&[seed]);
        for (parameter, range) in layout.parameters.iter().zip(&layout.ranges) {
            let Weights { trained, running } = &mut weights;
            match parameter.kind {
                ParameterKind::Scale => trained[range.clone()].fill_with(|| stream.range(0.5, 1.5)),
                ParameterKind::Bias | ParameterKind::Shift => {
                    trained[range.clone()].fill_with(|| 0.2 * stream.normal());
                }
                ParameterKind::Slope => trained[range.clone()].fill_with(|| stream.range(-0.2, 0.4)),
                ParameterKind::RunningMean => running[range.clone()].fill_with(|| 0.2 * stream.normal()),
                ParameterKind::RunningVariance => running[range.clone()].fill_with(|| stream.range(0.5, 1.5)),
                ParameterKind::Weight => {}
            }
        }
        let all = layout.parameters.iter().zip(&layout.ranges).map(|(p, range)| {
            let from = if p.kind.is_trained() { &weights.trained } else { &weights.running };
            Tensor { name: p.name.clone(), shape: p.shape.clone(), values: from[range.clone()].to_vec() }
        });
        let channels = network.in_channels();
        let deployment = Deployment {
            weights: all.collect(),
            normalisation: Normalisation { mean: vec![0.4; channels], std: vec![0.25; channels] },
            input: InputSpec { mode: InputMode::Patch, size: 32 },
            axis: None,
            loss: LossKind::CrossEntropyDice,
            labels: LabelMap { kind: LabelKind::Classes, coding: LabelCoding::Value, entries: Vec::new() },
            provenance: Provenance {
                version: "0.1.0".into(),
                run: "0".into(),
                dataset: "a */ set\nof \\".into(),
                fingerprint: "0".into(),
                dice: None,
                test_images: None,
                plan: None,
            },
            ranges: None,
            network,
        };
        Self { deployment: deployment.checked().unwrap(), weights }
    }

    /// Calibrated on the image that is compared, too.
    pub fn calibrated(mut self, size: Size) -> Self {
        let network = &self.deployment.network;
        let multiple = network.input_multiple();
        let (height, width) = (size.0.next_multiple_of(multiple), size.1.next_multiple_of(multiple));
        let mut image = self.image((height, width));
        self.deployment.normalisation.apply(&mut image);
        let images = [CalibrationImage { height, width, data: image.data }];
        let ranges = CpuBackend::detect().calibrate(network, &self.weights, &images).unwrap();
        self.deployment.ranges = Some(ranges.ranges);
        self
    }

    /// Smooth shapes and a little noise, 0 to 1, rounded to bytes.
    pub fn image(&self, (height, width): Size) -> Image {
        let mut stream = Stream::new(&[11]);
        let channels = self.deployment.network.in_channels();
        let mut image = Image::filled(channels, height, width, 0.0);
        for (i, value) in image.data.iter_mut().enumerate() {
            let (c, y, x) = (i / (height * width), i / width % height, i % width);
            let wave = (0.4 * y as f32 + c as f32).sin() * (0.3 * x as f32).cos();
            let raw = (0.5 + 0.4 * wave + 0.05 * stream.normal()).clamp(0.0, 1.0);
            *value = (raw * 255.0).round() / 255.0;
        }
        image
    }

    /// The engine's probabilities of the image.
    pub fn engine(&self, size: Size) -> Vec<f32> {
        let backend = CpuBackend::detect();
        let Deployment { network, normalisation, input, loss, .. } = &self.deployment;
        let mut segmenter =
            Segmenter::new(&backend, network, self.weights.clone(), normalisation.clone(), *input).with_loss(*loss);
        segmenter.probabilities(&self.image(size)).unwrap().data
    }

    /// Exports, compiles with `compiler` and runs.
    pub fn said_by(&self, compiler: Compiler, size: Size) -> Said {
        let folder = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions { size, most_weights: MOST_WEIGHTS };
        write(&self.deployment, folder.path(), options).unwrap();
        let has_int8 = self.deployment.ranges.is_some();
        let program = compiler.compile(folder.path(), has_int8);
        let bytes: Vec<u8> = self.image(size).data.iter().flat_map(|v| v.to_le_bytes()).collect();
        let out = run(Command::new(program), &bytes);
        let n = self.deployment.network.classes * size.0 * size.1;
        let floats = |from: &[u8]| from.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(out.len(), if has_int8 { 8 * n + size.0 * size.1 } else { 4 * n });
        let int8 = has_int8.then(|| Int8 { probabilities: floats(&out[4 * n..8 * n]), labels: out[8 * n..].to_vec() });
        Said { f32: floats(&out[..4 * n]), int8 }
    }
}

/// Runs a command with this input; its output.
fn run(mut command: Command, input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", out.status);
    out.stdout
}

/// Who compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    Gcc,
    /// With what finds undefined behaviour and wrong addresses.
    Sanitised,
    Rustc,
}

impl Compiler {
    fn name(self) -> &'static str {
        if self == Self::Rustc { "rustc" } else { "gcc" }
    }

    /// Whether it is installed.
    pub fn is_here(self) -> bool {
        Command::new(self.name()).arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success())
    }

    fn compile(self, folder: &Path, has_int8: bool) -> std::path::PathBuf {
        let program = folder.join("program");
        let main = folder.join(if self == Self::Rustc { "main.rs" } else { "main.c" });
        let (text, int8) = if self == Self::Rustc { (RUST, RUST_INT8) } else { (C, C_INT8) };
        std::fs::write(&main, text.replace("INT8_PART", if has_int8 { int8 } else { "" })).unwrap();
        let mut command = Command::new(self.name());
        match self {
            Self::Gcc | Self::Sanitised => {
                command.args(["-O2", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]);
                if has_int8 {
                    command.arg("-DINT8");
                }
                if self == Self::Sanitised {
                    command.args(["-g", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"]);
                }
                command.arg(&main).arg("-o").arg(&program).arg("-lm");
            }
            Self::Rustc => {
                command.args(["-O", "--edition", "2021", "-D", "warnings", "--check-cfg", "cfg(int8)"]);
                if has_int8 {
                    command.args(["--cfg", "int8"]);
                }
                command.arg(&main).arg("-o").arg(&program);
            }
        }
        let out = command.output().unwrap();
        assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
        program
    }
}

/// Reads an image of floats, writes probabilities and, in int8, probabilities and labels.
const C: &str = r#"
#include <stdio.h>
#define SEGFIT_IMPLEMENTATION
#include "segfit_model.h"
#ifdef INT8
#define SEGFIT_INT8_IMPLEMENTATION
#include "segfit_model_int8.h"
static int8_t small_arena[SEGFIT_INT8_ARENA];
static uint8_t bytes[SEGFIT_CHANNELS * SEGFIT_ROWS * SEGFIT_COLUMNS], labels[SEGFIT_ROWS * SEGFIT_COLUMNS];
#endif
#define VALUES (SEGFIT_CHANNELS * SEGFIT_ROWS * SEGFIT_COLUMNS)
#define RESULTS (SEGFIT_CLASSES * SEGFIT_ROWS * SEGFIT_COLUMNS)
static float image[VALUES], probabilities[RESULTS], arena[SEGFIT_ARENA];

int main(void)
{
    if (fread(image, sizeof(float), VALUES, stdin) != VALUES || segfit_run(NULL, probabilities, arena) != 1) {
        return 2;
    }
    if (segfit_run(image, probabilities, arena) != 0 ||
        fwrite(probabilities, sizeof(float), RESULTS, stdout) != RESULTS) {
        return 3;
    }
INT8_PART
    return 0;
}
"#;

const C_INT8: &str = r"
    if (segfit_int8_run(image, probabilities, small_arena) != 0 ||
        fwrite(probabilities, sizeof(float), RESULTS, stdout) != RESULTS) {
        return 4;
    }
    for (int i = 0; i < VALUES; i++) {
        bytes[i] = (uint8_t)(image[i] * 255.0f + 0.5f);
    }
    if (segfit_int8_label(bytes, labels, small_arena) != 0 ||
        fwrite(labels, 1, sizeof labels, stdout) != sizeof labels) {
        return 5;
    }
";

const RUST: &str = r"
use std::io::{Read, Write};
mod segfit_model;
#[cfg(int8)]
mod segfit_model_int8;

fn main() {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).unwrap();
    let image: Vec<f32> = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let mut out = std::io::stdout();
    let mut write = |values: &[f32]| values.iter().for_each(|v| out.write_all(&v.to_le_bytes()).unwrap());
    let mut probabilities = vec![0.0; segfit_model::CLASSES * segfit_model::ROWS * segfit_model::COLUMNS];
    let mut arena = vec![0.0; segfit_model::ARENA];
    let to = (&mut probabilities[..]).try_into().unwrap();
    segfit_model::run(image[..].try_into().unwrap(), to, (&mut arena[..]).try_into().unwrap());
    write(&probabilities);
INT8_PART
}
";

const RUST_INT8: &str = r"
    let mut arena = vec![0; segfit_model_int8::ARENA];
    let to = (&mut probabilities[..]).try_into().unwrap();
    segfit_model_int8::run(image[..].try_into().unwrap(), to, (&mut arena[..]).try_into().unwrap());
    write(&probabilities);
    let bytes: Vec<u8> = image.iter().map(|v| (v * 255.0).round() as u8).collect();
    let mut labels = vec![0; segfit_model_int8::ROWS * segfit_model_int8::COLUMNS];
    let to = (&mut labels[..]).try_into().unwrap();
    segfit_model_int8::label(bytes[..].try_into().unwrap(), to, (&mut arena[..]).try_into().unwrap());
    out.write_all(&labels).unwrap();
";
