//! Exports of a run, until the command has them; probabilities of raw images.
use std::path::Path;

use segfit::data::Image;
use segfit::export::{Deployment, PixelType, Provenance, Publication, bioimageio, monai, pytorch};
use segfit::onnx::Tensor;
use segfit::recipe::{InputMode, InputSpec};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::segmenter::Segmenter;
use segfit_engine::state::ParameterLayout;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let out = Path::new(&arguments[1]);
    let run = RunFolder::open(Path::new(&arguments[0]))?;
    let weights = run.weights()?;
    let layout = ParameterLayout::new(&run.network)?;
    let tensors = layout.parameters.iter().zip(&layout.ranges).map(|(p, r)| {
        let from = if p.kind.is_trained() { &weights.trained } else { &weights.running };
        Tensor { name: p.name.clone(), shape: p.shape.clone(), values: from[r.clone()].to_vec() }
    });
    let info = &run.info;
    let deployment = Deployment {
        network: run.network.clone(),
        weights: tensors.collect(),
        normalisation: info.normalisation.clone(),
        input: info.recipe.input,
        loss: info.recipe.loss,
        labels: info.label_map.clone(),
        provenance: Provenance {
            version: info.version.clone(),
            run: info.id.clone(),
            dataset: info.dataset.clone(),
            fingerprint: info.fingerprint.clone(),
            dice: None,
            test_images: None,
            plan: None,
        },
        ranges: None,
    }
    .checked()?;
    let backend = CpuBackend::detect();
    let input = InputSpec { mode: InputMode::Patch, size: info.recipe.input.size };
    let mut segmenter = Segmenter::new(&backend, &run.network, weights, info.normalisation.clone(), input)
        .with_loss(info.recipe.loss)
        .with_tile(4096);
    pytorch::write(&deployment, &out.join("pytorch"))?;
    let publication = Publication::default();
    monai::write(&deployment, &publication, &out.join("monai"))?;
    let image = bioimageio::test_image(&deployment, PixelType::Uint8);
    let probabilities = segmenter.probabilities(&image)?;
    let pair = bioimageio::TestPair { image: &image, probabilities: &probabilities };
    bioimageio::write(&deployment, &publication, &pair, None, &out.join("bioimageio"))?;
    for four in arguments[2..].chunks_exact(4) {
        let (height, width) = (four[0].parse()?, four[1].parse()?);
        let data = std::fs::read(&four[2])?.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let image = Image { channels: run.network.in_channels(), height, width, data };
        let p = segmenter.probabilities(&image)?;
        std::fs::write(&four[3], p.data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())?;
    }
    Ok(())
}
