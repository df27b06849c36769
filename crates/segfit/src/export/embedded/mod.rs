//! Small networks as source text for microcontrollers: one C99 header or one Rust module with weights and forward
//! pass.
//!
//! The text is made for one image size. It allocates nothing: the caller hands in one block of memory, the *arena*,
//! in which the tensors lie as the network's schedule packs them. `float.rs` and `int8.rs` turn the schedule into
//! calls of kernels, `kernels/` holds these kernels as text in both languages, `print.rs` writes everything down.

mod constants;
mod fixed;
mod float;
mod int8;
mod kernels;
mod print;
mod program;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Deployment;
use crate::cost;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::recipe::InputSpec;

/// Networks with more weights are refused unless the user asks for them.
pub const MOST_WEIGHTS: u64 = 2_000_000;

/// The language of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// C99 with `math.h`, `stddef.h` and `stdint.h`.
    C,
    /// Rust with `core` alone.
    Rust,
}

/// The numbers that the text computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// 32-bit floats.
    F32,
    /// 8-bit weights and activations with 32-bit sums; floats only where an image of floats is read and probabilities
    /// are written.
    Int8,
}

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Rows and columns of the image.
    pub size: (usize, usize),
    /// Networks with more weights are refused.
    pub most_weights: u64,
}

impl EmbeddedOptions {
    /// For square images of the size that the network was trained on.
    #[must_use]
    pub fn new(input: InputSpec) -> Self {
        Self { size: (input.size, input.size), most_weights: MOST_WEIGHTS }
    }
}

/// Memory that the network needs on the device, without the code and without the image and the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// Bytes of constants: weights, scales, tables.
    pub flash_bytes: u64,
    /// Bytes of the arena.
    pub ram_bytes: u64,
}

/// A source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, for example `segfit_model.h`.
    pub name: &'static str,
    /// Its text.
    pub text: String,
    /// What it needs on the device.
    pub footprint: Footprint,
}

/// The network as source text.
///
/// The text holds everything: normalisation (pixels are 0 to 1), continuation of the image by reflection to the size
/// that the network accepts, the layers, and the probabilities of the classes of every pixel. It does not resize.
///
/// # Errors
/// [`Error::Option`] when the size is 0 or the arena is larger than 2 GiB, or the network has more weights than
/// [`EmbeddedOptions::most_weights`]; [`Error::Network`] when a parameter is missing or not finite, or, for int8, a
/// range is missing or a layer has no integer form.
pub fn source(
    deployment: &Deployment,
    language: Language,
    numbers: Numbers,
    options: EmbeddedOptions,
) -> Result<Source> {
    let weights = cost::parameters(&deployment.network)?;
    if weights > options.most_weights {
        return Err(Error::Option {
            what: "export as source text".into(),
            expected: format!(
                "a network of at most {} weights, as microcontrollers hold them: narrow it, or raise the limit",
                options.most_weights
            ),
            got: format!("{weights} weights"),
        });
    }
    let (rows, columns) = options.size;
    if rows == 0 || columns == 0 {
        let expected = "at least one row and one column".into();
        return Err(Error::Option { what: "image size".into(), expected, got: format!("{rows}x{columns}") });
    }
    let folded = deployment.folded()?;
    let program = match numbers {
        Numbers::F32 => float::program(&folded, options.size)?,
        Numbers::Int8 => int8::program(&folded, options.size)?,
    };
    let bytes = program.arena * program.element_bytes();
    if i32::try_from(bytes).is_err() {
        let expected = "an image whose tensors fit 2 GiB".into();
        return Err(Error::Option { what: "image size".into(), expected, got: format!("{rows}x{columns}") });
    }
    let footprint = Footprint { flash_bytes: program.constants.bytes(), ram_bytes: bytes as u64 };
    let name = match (language, numbers) {
        (Language::C, Numbers::F32) => "segfit_model.h",
        (Language::C, Numbers::Int8) => "segfit_model_int8.h",
        (Language::Rust, Numbers::F32) => "segfit_model.rs",
        (Language::Rust, Numbers::Int8) => "segfit_model_int8.rs",
    };
    let head = print::Head { deployment, weights, footprint, name };
    let text = match language {
        Language::C => print::c(&program, &head),
        Language::Rust => print::rust(&program, &head),
    };
    Ok(Source { name, text, footprint })
}

/// Writes the network into `folder` in both languages, in floats and, where the deployment has ranges, in int8; the
/// files and what they need.
///
/// # Errors
/// As [`source`]; [`Error::Io`] when the folder cannot be made or written.
pub fn write(deployment: &Deployment, folder: &Path, options: EmbeddedOptions) -> Result<Vec<(PathBuf, Footprint)>> {
    let all = [Numbers::F32, Numbers::Int8];
    let wanted = if deployment.ranges.is_some() { &all[..] } else { &all[..1] };
    let mut sources = Vec::new();
    for &numbers in wanted {
        for language in [Language::C, Language::Rust] {
            sources.push(source(deployment, language, numbers, options)?);
        }
    }
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut written = Vec::new();
    for Source { name, text, footprint } in sources {
        let path = folder.join(name);
        write_atomically(&path, text.as_bytes())?;
        written.push((path, footprint));
    }
    Ok(written)
}
