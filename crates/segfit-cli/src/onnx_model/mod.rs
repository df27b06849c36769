//! ONNX files that segfit exported, run by other programs: ONNX Runtime where the user has it, else tract.

#[cfg(feature = "onnx-run")]
mod onnxruntime;
#[cfg(feature = "onnx-run")]
mod tract;

use std::path::{Path, PathBuf};

use anyhow::Result;
use segfit::data::{BandedImage, Image, Mask};
use segfit::export::onnx::{Metadata, Output};
use segfit_engine::Error;
use segfit_engine::segmenter::{probabilities_by, segment_banded_by, to_probabilities};

/// A model's output, as dense as it comes.
pub struct Values {
    /// Dimensions, the batch first.
    pub shape: Vec<usize>,
    /// Values, the last dimension fastest; labels as whole numbers.
    pub data: Vec<f32>,
}

/// Something that runs a model.
pub trait Program {
    /// Its name.
    fn name(&self) -> &'static str;
    /// The output for one image.
    fn run(&mut self, image: &Image) -> Result<Values>;
}

/// Which program runs a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// tract, which is part of segfit.
    Tract,
    /// The shared library of ONNX Runtime.
    OnnxRuntime(PathBuf),
}

/// A model that is ready to run.
pub struct OnnxModel {
    path: PathBuf,
    /// What the file says of itself.
    pub metadata: Metadata,
    program: Box<dyn Program>,
    tile: usize,
}

impl OnnxModel {
    /// Opens a file of `segfit export`.
    ///
    /// # Errors
    /// When it is no ONNX file or another program's, or the program that is to run it cannot.
    pub fn open(path: &Path, choice: &Choice, tile: usize) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| segfit::Error::Io { path: path.into(), source })?;
        let metadata = Metadata::read(path, &bytes)?.ok_or_else(|| segfit::Error::Content {
            path: path.into(),
            expected: "a file of `segfit export`, which says how images become its input".into(),
            got: "an ONNX file without properties of segfit".into(),
            hint: "`segfit network import` reads networks of others; segment with the run folder or its export".into(),
        })?;
        let program = program(path, bytes, choice)?;
        let tile = tile.max(16).next_multiple_of(metadata.multiple.max(1));
        Ok(Self { path: path.into(), metadata, program, tile })
    }

    /// Name of the program that runs it.
    pub fn program(&self) -> &'static str {
        self.program.name()
    }

    /// The probability of every class in the image's size. A file that gives labels gives probabilities 0 and 1, and where
    /// tiles overlap or labels are resized the share of the label.
    pub fn probabilities(&mut self, image: &Image) -> Result<Image> {
        let (input, tile) = (self.metadata.input, self.tile);
        self.check_channels(image.channels)?;
        Ok(probabilities_by(image, input, tile, &mut |piece| self.run(piece))?)
    }

    /// The mask of an image that is too large to be held, as bands of rows.
    pub fn segment_banded(&mut self, image: &mut BandedImage, done: &mut dyn FnMut(&Mask) -> Result<()>) -> Result<()> {
        let (input, tile) = (self.metadata.input, self.tile);
        self.check_channels(image.channels())?;
        segment_banded_by(image, input, tile, &mut |piece| self.run(piece), done)
    }

    fn check_channels(&self, got: usize) -> Result<()> {
        let expected = self.metadata.normalisation.mean.len();
        if got == expected {
            return Ok(());
        }
        Err(segfit::Error::Option {
            what: "image".into(),
            expected: format!("{expected} channels, as the network was made for"),
            got: format!("{got} channels"),
        }
        .into())
    }

    /// The probabilities of a piece that the network runs at once.
    fn run(&mut self, piece: &Image) -> segfit_engine::Result<Image> {
        let Self { path, metadata, program, .. } = self;
        let name = program.name();
        let failed = |e: anyhow::Error| Error::Unsupported {
            what: path.display().to_string(),
            device: name.into(),
            reason: format!("{e:#}"),
        };
        let mut piece = piece.clone();
        if !metadata.normalised_inside {
            metadata.normalisation.apply(&mut piece);
        }
        let values = program.run(&piece).map_err(failed)?;
        understood(metadata, values, &piece).map_err(failed)
    }
}

/// The output as probabilities.
fn understood(metadata: &Metadata, values: Values, image: &Image) -> Result<Image> {
    let (height, width, pixels) = (image.height, image.width, image.height * image.width);
    let is_labels = matches!(metadata.output, Output::Labels | Output::Mask { .. });
    let classes = if matches!(metadata.output, Output::Mask { .. }) { 2 } else { metadata.classes.len() };
    let expected = if is_labels { vec![1, height, width] } else { vec![1, classes, height, width] };
    if values.shape != expected || values.data.len() != expected.iter().product::<usize>() {
        anyhow::bail!("its output is of shape {:?} instead of {expected:?}", values.shape);
    }
    if is_labels {
        let mut image = Image::filled(classes, height, width, 0.0);
        for (i, label) in values.data.iter().enumerate() {
            let class = (*label as usize).min(classes - 1);
            image.data[class * pixels + i] = 1.0;
        }
        return Ok(image);
    }
    let mut image = Image { channels: classes, height, width, data: values.data };
    if metadata.output == Output::Logits {
        to_probabilities(&mut image, metadata.loss);
    }
    Ok(image)
}

#[cfg(feature = "onnx-run")]
fn program(path: &Path, bytes: Vec<u8>, choice: &Choice) -> Result<Box<dyn Program>> {
    Ok(match choice {
        Choice::Tract => Box::new(tract::Tract::open(bytes)),
        Choice::OnnxRuntime(library) => Box::new(onnxruntime::OnnxRuntime::open(path, &bytes, library)?),
    })
}

#[cfg(not(feature = "onnx-run"))]
fn program(path: &Path, _bytes: Vec<u8>, _choice: &Choice) -> Result<Box<dyn Program>> {
    Err(Error::Unsupported {
        what: path.display().to_string(),
        device: "this segfit".into(),
        reason: "it was built without its feature onnx-run".into(),
    }
    .into())
}
