//! What must hold before a training begins.

use segfit::data::Sample;
use segfit::network::NetworkSpec;
use segfit::recipe::Recipe;

use crate::error::{Error, Result};
use crate::trainer::{TrainOptions, TrainingData};

/// # Errors
/// [`Error::NoTrainingImages`], or an option that names what does not fit.
pub(crate) fn check(
    spec: &NetworkSpec,
    recipe: &Recipe,
    data: &TrainingData<'_>,
    options: &TrainOptions,
) -> Result<()> {
    if data.train.is_empty() {
        return Err(Error::NoTrainingImages);
    }
    if recipe.steps == 0 {
        return Err(wrong("recipe: steps", "at least 1", "0".into()));
    }
    if !(0.0..1.0).contains(&recipe.ema) {
        return Err(wrong("recipe: ema", "a decay from 0 to below 1", recipe.ema.to_string()));
    }
    if options.patience.is_some() && data.validation.is_empty() {
        return Err(wrong("patience", "validation images, whose Dice early stopping watches", "none".into()));
    }
    let channels = spec.in_channels();
    if data.normalisation.mean.len() != channels || data.normalisation.std.len() != channels {
        let got = data.normalisation.mean.len().to_string();
        return Err(wrong("channels of the normalisation", &channels.to_string(), got));
    }
    data.train.iter().chain(data.validation).try_for_each(|sample| fits(spec, sample))
}

fn fits(spec: &NetworkSpec, sample: &Sample) -> Result<()> {
    let (image, mask) = (&sample.image, &sample.mask);
    if image.channels != spec.in_channels() {
        let expected = format!("{} channels, as the network was made for", spec.in_channels());
        return Err(wrong(&format!("image {}", sample.name), &expected, image.channels.to_string()));
    }
    let largest = usize::from(mask.data.iter().copied().max().unwrap_or(0));
    if largest >= spec.classes {
        let expected = format!("classes below {}, as the network was made for", spec.classes);
        return Err(wrong(&format!("mask of {}", sample.name), &expected, format!("class {largest}")));
    }
    if (mask.height, mask.width) != (image.height, image.width) || mask.data.is_empty() {
        let expected = format!("the image's {} x {} pixels", image.height, image.width);
        let got = format!("{} x {}", mask.height, mask.width);
        return Err(wrong(&format!("mask of {}", sample.name), &expected, got));
    }
    Ok(())
}

fn wrong(what: &str, expected: &str, got: String) -> Error {
    segfit::Error::Option { what: what.into(), expected: expected.into(), got }.into()
}
