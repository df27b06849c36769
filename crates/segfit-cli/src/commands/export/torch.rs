//! `segfit export --pytorch`, `--bioimageio` and `--monai`: folders of files.

use anyhow::Result;
use segfit::export::{PixelType, Publication, bioimageio, monai, onnx, pytorch};
use segfit_engine::segmenter::Segmenter;

use super::{Work, Written};

// What a package says of its authors and images. (A doc comment would become the help of the whole command.)
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "bioimage.io and MONAI")]
pub struct PublicationOptions {
    /// Name of the network [default: family, width and data set]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Name of an author; once for each
    #[arg(long = "author", value_name = "NAME")]
    authors: Vec<String>,
    /// SPDX identifier of the licence, for example CC-BY-4.0
    #[arg(long, value_name = "SPDX")]
    licence: Option<String>,
    /// How the images of the users are stored
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = PixelName::Uint8)]
    pixels: PixelName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PixelName {
    /// 0 to 255
    Uint8,
    /// 0 to 65535
    Uint16,
    /// 0 to 1
    Float32,
}

impl PublicationOptions {
    fn publication(&self) -> Publication {
        let pixels = match self.pixels {
            PixelName::Uint8 => PixelType::Uint8,
            PixelName::Uint16 => PixelType::Uint16,
            PixelName::Float32 => PixelType::Float32,
        };
        Publication { name: self.name.clone(), authors: self.authors.clone(), licence: self.licence.clone(), pixels }
    }
}

/// `model.py` and `weights.safetensors`.
pub fn pytorch(work: &Work<'_>) -> Result<Vec<Written>> {
    let folder = work.folder.join("pytorch");
    pytorch::write(&work.deployment, &folder)?;
    Ok(vec![Written::folder("pytorch", &folder)?])
}

/// A bundle.
pub fn monai(work: &Work<'_>) -> Result<Vec<Written>> {
    let folder = work.folder.join("monai");
    monai::write(&work.deployment, &work.args.publication.publication(), &folder)?;
    Ok(vec![Written::folder("monai", &folder)?])
}

/// A package as a folder and as an archive, with the engine's probabilities of a test image.
pub fn bioimageio(work: &Work<'_>) -> Result<Vec<Written>> {
    let publication = work.args.publication.publication();
    let folder = work.folder.join("bioimageio");
    let image = bioimageio::test_image(&work.deployment, publication.pixels);
    let info = &work.run.info;
    // The image has the network's size: in resize mode, resizing changes nothing.
    let (network, normalisation) = (&work.run.network, info.normalisation.clone());
    let probabilities = Segmenter::new(&work.backend, network, work.run.weights()?, normalisation, info.recipe.input)
        .with_loss(info.recipe.loss)
        .with_tile(image.height.max(image.width))
        .probabilities(&image)?;
    let pair = bioimageio::TestPair { image: &image, probabilities: &probabilities };
    let bytes = onnx::bytes(&work.deployment, &onnx::Options::default())?;
    let weights = bioimageio::OnnxWeights { bytes: &bytes, opset: onnx::OPSET };
    bioimageio::write(&work.deployment, &publication, &pair, Some(weights), &folder)?;
    let archive = folder.with_extension("zip");
    Ok(vec![Written::folder("bioimageio", &folder)?, Written::file("bioimageio", &archive, None)?])
}
