//! `segfit export --c`: source text, and its comparison with the engine.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use segfit::data::Image;
use segfit::export::embedded::{EmbeddedOptions, MOST_WEIGHTS, write as write_source};
use segfit::random::Stream;
use segfit::recipe::{InputMode, InputSpec};
use segfit_engine::segmenter::Segmenter;

use super::{Check, Work, Written};

/// The largest difference of probabilities in f32.
const TOLERANCE: f32 = 1e-4;

/// C and Rust source text
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "C and Rust")]
pub struct COptions {
    /// Rows and columns of the image [default: the size that was trained on]
    #[arg(long, value_name = "ROWSxCOLUMNS", value_parser = size_of)]
    image_size: Option<(usize, usize)>,
    /// Refuse networks with more weights
    #[arg(long, value_name = "N", default_value_t = MOST_WEIGHTS)]
    most_weights: u64,
}

/// `ROWSxCOLUMNS`.
fn size_of(text: &str) -> Result<(usize, usize), String> {
    let size = text.split_once('x').and_then(|(rows, columns)| Some((rows.parse().ok()?, columns.parse().ok()?)));
    size.filter(|(rows, columns)| (1..=16384).contains(rows) && (1..=16384).contains(columns))
        .ok_or_else(|| "expected rows and columns of 1 to 16384, for example 96x128".into())
}

/// Writes the files and, with --check, compiles and compares. With --all, a network that has no such form is passed
/// over with a note.
pub fn write(work: &Work<'_>) -> Result<Vec<Written>> {
    let options = &work.args.c;
    let default = EmbeddedOptions::new(work.deployment.input);
    let size = options.image_size.unwrap_or(default.size);
    let embedded = EmbeddedOptions { size, most_weights: options.most_weights };
    let files = match write_source(&work.deployment, &work.folder, embedded) {
        Err(error @ (segfit::Error::Option { .. } | segfit::Error::Network { .. })) if !work.args.formats.to_c => {
            work.global.note(&format!("not written in C and Rust: {error}"));
            return Ok(Vec::new());
        }
        files => files?,
    };
    if work.deployment.ranges.is_none() {
        work.global.note("C and Rust: floats only; --calibrate DIR adds the int8 files");
    }
    let mut written = Vec::new();
    for (path, footprint) in files {
        let is_checked = work.args.check && path.file_name().is_some_and(|name| name == "segfit_model.h");
        let check = if is_checked { check(work, &path, size)? } else { None };
        written.push(Written { footprint: Some(footprint), ..Written::file("c", &path, check)? });
    }
    Ok(written)
}

/// Compiles the header with the system's C compiler and runs it on a random image; `None`, with a note, where there
/// is none.
fn check(work: &Work<'_>, header: &Path, (height, width): (usize, usize)) -> Result<Option<Check>> {
    let has_compiler = Command::new("cc").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !has_compiler.is_ok_and(|status| status.success()) {
        work.global.note("C: not checked, there is no C compiler `cc`");
        return Ok(None);
    }
    let channels = work.run.network.in_channels();
    let mut stream = Stream::new(&[work.global.seed]);
    let data = (0..channels * height * width).map(|_| stream.unit()).collect();
    let image = Image { channels, height, width, data };
    let info = &work.run.info;
    let input = InputSpec { mode: InputMode::Patch, ..info.recipe.input };
    let mut engine =
        Segmenter::new(&work.backend, &work.run.network, work.run.weights()?, info.normalisation.clone(), input)
            .with_loss(info.recipe.loss)
            .with_tile(height.max(width));
    let expected = engine.probabilities(&image)?.data;
    let found = compiled(header, &image)?;
    if found.len() != expected.len() {
        bail!("{}: {} probabilities instead of {}", header.display(), found.len(), expected.len());
    }
    let pairs = expected.iter().zip(&found);
    let worst = pairs.map(|(a, b)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() }).fold(0.0, f32::max);
    if worst > TOLERANCE {
        bail!("{} differs by {worst:.1e} from segfit, more than {TOLERANCE:.0e}", header.display());
    }
    Ok(Some(Check { program: "cc".into(), largest_difference: worst, sizes: vec![[height, width]] }))
}

/// The probabilities that the compiled header gives.
fn compiled(header: &Path, image: &Image) -> Result<Vec<f32>> {
    use std::io::Write as _;
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let (main, program) = (folder.path().join("main.c"), folder.path().join("program"));
    std::fs::write(&main, MAIN)?;
    std::fs::copy(header, folder.path().join("segfit_model.h"))?;
    let out = Command::new("cc").args(["-O2", "-std=c99", "-o"]).arg(&program).arg(&main).arg("-lm").output()?;
    if !out.status.success() {
        bail!("{} does not compile: {}", header.display(), String::from_utf8_lossy(&out.stderr));
    }
    let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let bytes: Vec<u8> = image.data.iter().flat_map(|v| v.to_le_bytes()).collect();
    child.stdin.take().context("no pipe")?.write_all(&bytes)?;
    let out = child.wait_with_output()?;
    if !out.status.success() {
        bail!("the compiled {} ended with {}", header.display(), out.status);
    }
    Ok(out.stdout.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// Reads an image and writes probabilities.
const MAIN: &str = r#"
#include <stdio.h>
#define SEGFIT_IMPLEMENTATION
#include "segfit_model.h"
#define VALUES (SEGFIT_CHANNELS * SEGFIT_ROWS * SEGFIT_COLUMNS)
#define RESULTS (SEGFIT_CLASSES * SEGFIT_ROWS * SEGFIT_COLUMNS)
static float image[VALUES], probabilities[RESULTS], arena[SEGFIT_ARENA];

int main(void)
{
    return fread(image, sizeof(float), VALUES, stdin) != VALUES || segfit_run(image, probabilities, arena) != 0 ||
           fwrite(probabilities, sizeof(float), RESULTS, stdout) != RESULTS;
}
"#;
