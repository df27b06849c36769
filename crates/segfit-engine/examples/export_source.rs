//! Writes a run as C and Rust source text, and holds the compiled C text against the engine.
//!
//! ```text
//! export_source write RUN DATA ROWS COLUMNS OUT
//! export_source check RUN DATA ROWS COLUMNS WORK IMAGES
//! ```
//!
//! Int8 is calibrated on up to 16 training images of DATA. `check` compiles the text with gcc in WORK, runs it on the
//! first IMAGES test images, resized to ROWS x COLUMNS, and prints a line of JSON: largest difference of
//! probabilities, mean Dice in float and in int8, and bytes on the device. It needs gcc.

#![allow(clippy::print_stdout, reason = "the figures are the result")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use segfit::data::{Dataset, Image, Mask, Options, Sample, resize_image};
use segfit::evaluate::dice;
use segfit::export::Deployment;
use segfit::export::embedded::{EmbeddedOptions, write};
use segfit::recipe::{InputMode, InputSpec};
use segfit_engine::backend::Precision;
use segfit_engine::cpu::CpuBackend;
use segfit_engine::deploy;
use segfit_engine::material::Material;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::segmenter::Segmenter;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["write", run, data, rows, columns, out] => {
            let subject = Subject::open(run, data)?;
            for (path, footprint) in write(&subject.deployment, Path::new(out), subject.options(rows, columns)?)? {
                println!("{}: flash {} bytes, RAM {}", path.display(), footprint.flash_bytes, footprint.ram_bytes);
            }
            Ok(())
        }
        ["check", run, data, rows, columns, work, images] => {
            let subject = Subject::open(run, data)?;
            subject.check(subject.options(rows, columns)?, Path::new(work), images.parse()?)
        }
        _ => Err("see the head of export_source.rs for its arguments".into()),
    }
}

struct Subject {
    backend: CpuBackend,
    run: RunFolder,
    deployment: Deployment,
    /// Training images for int8, at the network's scale.
    calibration: Vec<Image>,
    test: Vec<Sample>,
}

impl Subject {
    fn open(run: &str, data: &str) -> Result<Self> {
        let run = RunFolder::open(Path::new(run))?;
        let backend = CpuBackend::detect();
        let dataset = Dataset::open(&Options::new(Path::new(data)))?;
        let Material { train, test, .. } = Material::prepare(&dataset, &run.info.recipe.input)?;
        let count = train.len().min(16);
        let calibration: Vec<Image> = (0..count).map(|i| train[i * train.len() / count].image.clone()).collect();
        let ranges = deploy::calibrate(&run, &backend, &calibration)?;
        let deployment = deploy::deployment(&run, Some(ranges))?;
        Ok(Self { backend, deployment, run, calibration, test })
    }

    fn options(&self, rows: &str, columns: &str) -> Result<EmbeddedOptions> {
        let size = (rows.parse()?, columns.parse()?);
        Ok(EmbeddedOptions { size, ..EmbeddedOptions::new(self.deployment.input) })
    }

    fn segmenter(&self, precision: Precision) -> Result<Segmenter<'_>> {
        let RunFolder { info, network, .. } = &self.run;
        // Images come in the size that is compared.
        let input = InputSpec { mode: InputMode::Patch, ..info.recipe.input };
        let made = Segmenter::new(&self.backend, network, self.run.weights()?, info.normalisation.clone(), input);
        Ok(made.with_loss(info.recipe.loss).with_precision(precision, &self.calibration)?)
    }

    fn check(&self, options: EmbeddedOptions, work: &Path, count: usize) -> Result<()> {
        let written = write(&self.deployment, work, options)?;
        let program = compile(work)?;
        let (rows, columns) = options.size;
        let at_scale = (rows, columns) == (self.run.info.recipe.input.size, self.run.info.recipe.input.size);
        let mut engine = self.segmenter(Precision::F32)?;
        // A layer without an int8 form in the engine is no reason to stop: the text has one.
        let mut engine_int8 = self.segmenter(Precision::Int8).ok();
        let mut means: BTreeMap<&str, f64> = BTreeMap::new();
        let (mut largest, mut largest_int8, mut seconds) = (0.0_f32, 0.0_f32, 0.0);
        let samples: Vec<&Sample> = self.test.iter().take(count).collect();
        for sample in &samples {
            let image = if at_scale { sample.image.clone() } else { resize_image(&sample.image, rows, columns) };
            let want = engine.probabilities(&image)?;
            let start = Instant::now();
            let [f32, int8] = run(&program, &image, want.data.len())?;
            seconds += start.elapsed().as_secs_f64();
            largest = largest.max(difference(&f32, &want.data));
            largest_int8 = largest_int8.max(difference(&int8, &want.data));
            if at_scale {
                let mut add =
                    |name, mask: &Mask| *means.entry(name).or_default() += mean_dice(mask, &sample.mask, want.channels);
                add("engine", &largest_class(&want.data, &want));
                add("c", &largest_class(&f32, &want));
                add("c_int8", &largest_class(&int8, &want));
                if let Some(mask) = engine_int8.as_mut().and_then(|s| s.segment_prepared(&image).ok()) {
                    add("engine_int8", &mask);
                }
            }
        }
        let dice: BTreeMap<&str, f64> = means.into_iter().map(|(k, v)| (k, v / samples.len() as f64)).collect();
        let footprints: BTreeMap<String, [u64; 2]> = written
            .iter()
            .filter(|(path, _)| path.extension().is_some_and(|e| e == "h"))
            .map(|(path, f)| {
                (path.file_stem().unwrap_or_default().to_string_lossy().into(), [f.flash_bytes, f.ram_bytes])
            })
            .collect();
        let line = serde_json::json!({
            "weights": segfit::cost::parameters(&self.deployment.network)?,
            "images": samples.len(),
            "largest_f32": largest,
            "largest_int8": largest_int8,
            "dice": dice,
            "footprints": footprints,
            "seconds_per_image": seconds / samples.len() as f64,
        });
        println!("{line}");
        Ok(())
    }
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}

/// The most probable class of every pixel; `like` has the shape.
fn largest_class(probabilities: &[f32], like: &Image) -> Mask {
    let n = like.height * like.width;
    let at = |k: usize, i: usize| probabilities[k * n + i];
    let best = |i: usize| (1..like.channels).fold(0, |best, k| if at(k, i) > at(best, i) { k } else { best }) as u8;
    Mask { height: like.height, width: like.width, data: (0..n).map(best).collect() }
}

/// Mean over the foreground classes.
fn mean_dice(predicted: &Mask, truth: &Mask, classes: usize) -> f64 {
    (1..classes).map(|k| dice(predicted, truth, k as u8)).sum::<f64>() / (classes - 1) as f64
}

fn compile(work: &Path) -> Result<std::path::PathBuf> {
    std::fs::write(work.join("main.c"), MAIN)?;
    let program = work.join("program");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o"]).arg(&program);
    let out = gcc.arg(work.join("main.c")).arg("-lm").output()?;
    if !out.status.success() {
        return Err(format!("gcc: {}", String::from_utf8_lossy(&out.stderr)).into());
    }
    Ok(program)
}

/// Probabilities in float and in int8.
fn run(program: &Path, image: &Image, len: usize) -> Result<[Vec<f32>; 2]> {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let bytes: Vec<u8> = image.data.iter().flat_map(|v| v.to_le_bytes()).collect();
    child.stdin.take().ok_or("no pipe")?.write_all(&bytes)?;
    let out = child.wait_with_output()?;
    if !out.status.success() || out.stdout.len() != 8 * len {
        return Err(format!("the compiled program ended with {} and {} bytes", out.status, out.stdout.len()).into());
    }
    let floats = |b: &[u8]| b.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok([floats(&out.stdout[..4 * len]), floats(&out.stdout[4 * len..])])
}

const MAIN: &str = r#"
#include <stdio.h>
#define SEGFIT_IMPLEMENTATION
#include "segfit_model.h"
#define SEGFIT_INT8_IMPLEMENTATION
#include "segfit_model_int8.h"
#define VALUES (SEGFIT_CHANNELS * SEGFIT_ROWS * SEGFIT_COLUMNS)
#define RESULTS (SEGFIT_CLASSES * SEGFIT_ROWS * SEGFIT_COLUMNS)
static float image[VALUES], probabilities[RESULTS], arena[SEGFIT_ARENA];
static int8_t small_arena[SEGFIT_INT8_ARENA];

int main(void)
{
    if (fread(image, sizeof(float), VALUES, stdin) != VALUES || segfit_run(image, probabilities, arena) != 0 ||
        fwrite(probabilities, sizeof(float), RESULTS, stdout) != RESULTS) {
        return 1;
    }
    if (segfit_int8_run(image, probabilities, small_arena) != 0 ||
        fwrite(probabilities, sizeof(float), RESULTS, stdout) != RESULTS) {
        return 2;
    }
    return 0;
}
"#;
