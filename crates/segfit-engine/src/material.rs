//! A data set as a training uses it: prepared samples by split, and the training images' statistics.

use segfit::Result;
use segfit::data::{Dataset, Mask, Normalisation, Sample, Split, prepare};
use segfit::evaluate::{Case, Evaluation, EvaluationOptions, constant_mask_dice, evaluate};
use segfit::recipe::InputSpec;

use crate::segmenter::Segmenter;

/// Samples at the network's scale.
pub struct Material {
    /// Classes including background.
    pub classes: usize,
    /// Training images.
    pub train: Vec<Sample>,
    /// Validation images, carved from training by source.
    pub validation: Vec<Sample>,
    /// Test images; only evaluation looks at them.
    pub test: Vec<Sample>,
    /// Source of each test image.
    pub test_sources: Vec<String>,
    /// Statistics of the training images.
    pub normalisation: Normalisation,
}

impl Material {
    /// Loads and prepares all splits.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn prepare(dataset: &Dataset, input: &InputSpec) -> Result<Self> {
        let load = |split| Ok::<_, segfit::Error>(prepare(&dataset.load(&dataset.indices(split))?, input));
        let train = load(Split::Train)?;
        let normalisation = Normalisation::fit(&train);
        let sources = dataset.indices(Split::Test).iter().map(|&i| dataset.pairs[i].source.clone()).collect();
        Ok(Self {
            classes: dataset.classes,
            validation: load(Split::Validation)?,
            test: load(Split::Test)?,
            test_sources: sources,
            normalisation,
            train,
        })
    }

    /// D0: the Dice on the test images of the constant mask that is best on the training images.
    ///
    /// # Errors
    /// When there are no training or test masks.
    pub fn constant_dice(&self) -> Result<f64> {
        constant_mask_dice(&masks(&self.train), &masks(&self.test), self.classes)
    }

    /// Segments the test images at the network's scale and scores them.
    ///
    /// # Errors
    /// When there are no test images or the device fails.
    pub fn evaluate(&self, segmenter: &mut Segmenter<'_>) -> crate::Result<Evaluation> {
        let predicted =
            self.test.iter().map(|s| segmenter.segment_prepared(&s.image)).collect::<crate::Result<Vec<_>>>()?;
        let cases: Vec<Case<'_>> = self
            .test
            .iter()
            .zip(&predicted)
            .zip(&self.test_sources)
            .map(|((s, predicted), source)| Case {
                name: &s.name,
                source,
                predicted,
                truth: &s.mask,
                spacing: [1.0, 1.0],
            })
            .collect();
        Ok(evaluate(&cases, &EvaluationOptions::new(self.classes))?)
    }
}

fn masks(samples: &[Sample]) -> Vec<&Mask> {
    samples.iter().map(|s| &s.mask).collect()
}
