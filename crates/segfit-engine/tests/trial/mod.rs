//! A tiny training: network, recipe and synthetic images.

#![allow(dead_code, reason = "every test program uses a part of it")]

use std::path::Path;

use segfit::data::{Normalisation, Sample};
use segfit::network::NetworkSpec;
use segfit::network::families::{self, unet};
use segfit::phantom::{PhantomKind, PhantomOptions, make};
use segfit::recipe::{InputMode, InputSpec, Recipe};
use segfit_engine::Result;
use segfit_engine::cpu::CpuBackend;
use segfit_engine::lineage::Lineage;
use segfit_engine::material::Material;
use segfit_engine::run_log::{LogLine, RunLog};
use segfit_engine::segmenter::Segmenter;
use segfit_engine::trainer::{TrainOptions, Trained, TrainingData, train};

/// Gray images with a few clear objects.
pub fn images(kind: PhantomKind, size: usize, count: usize) -> Vec<Sample> {
    let options = PhantomOptions { size, channels: 1, complexity: 0.1, objects: Some(4), ..PhantomOptions::new(kind) };
    options.check().unwrap();
    (0..count).map(|i| make(&options, i)).collect()
}

/// What a run folder's log says.
pub fn run_log(folder: &Path) -> Vec<LogLine> {
    RunLog::lines(folder).unwrap()
}

pub struct Trial {
    pub backend: CpuBackend,
    pub spec: NetworkSpec,
    pub recipe: Recipe,
    pub material: Material,
    pub run: String,
    pub patience: Option<usize>,
    pub lineage: Lineage,
}

impl Trial {
    /// A U-Net for these images, 60 steps; the last quarter are test images, one is for validation.
    pub fn new(mut train: Vec<Sample>, base_width: usize, depth: usize) -> Self {
        let classes = 1 + train.iter().flat_map(|s| &s.mask.data).copied().max().map_or(0, usize::from);
        let size = train[0].image.height;
        let test = train.split_off(train.len() - train.len().div_ceil(4));
        let validation = train.split_off(train.len() - 1);
        let normalisation = Normalisation::fit(&train);
        let test_sources = test.iter().map(|s| s.name.clone()).collect();
        let input = InputSpec { mode: InputMode::Resize, size };
        Self {
            backend: CpuBackend::detect(),
            spec: unet(&families::Options {
                in_channels: 1,
                classes,
                base_width,
                depth,
                ..families::Options::default()
            })
            .unwrap(),
            recipe: Recipe { steps: 60, ..Recipe::r0(input) },
            material: Material { classes, train, validation, test, test_sources, normalisation },
            run: "run".into(),
            patience: None,
            lineage: Lineage::default(),
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Sample> {
        let Material { train, validation, test, .. } = &self.material;
        train.iter().chain(validation).chain(test)
    }

    pub fn options(&self, folder: Option<&Path>) -> TrainOptions {
        let folder = folder.map(Path::to_path_buf);
        TrainOptions {
            seed: 1,
            folder,
            run: self.run.clone(),
            report_every: 5,
            patience: self.patience,
            lineage: self.lineage.clone(),
        }
    }

    /// Trains until step `stop` is done or to the end; the loss of every step comes with it.
    pub fn try_train(&self, folder: Option<&Path>, stop: usize) -> Result<(Trained, Vec<f64>)> {
        let Material { train: images, validation, normalisation, .. } = &self.material;
        let data = TrainingData { train: images, validation, normalisation };
        let mut losses = Vec::new();
        let mut note = |p: &segfit_engine::trainer::Progress| {
            losses.push(p.loss);
            p.step < stop
        };
        let trained = train(&self.backend, &self.spec, &self.recipe, &data, &self.options(folder), &mut note)?;
        Ok((trained, losses))
    }

    pub fn train(&self, folder: Option<&Path>, stop: usize) -> (Trained, Vec<f64>) {
        self.try_train(folder, stop).unwrap()
    }

    pub fn segmenter(&self, trained: &Trained) -> Segmenter<'_> {
        let normalisation = self.material.normalisation.clone();
        let weights = trained.weights.clone();
        Segmenter::new(&self.backend, &self.spec, weights, normalisation, self.recipe.input).with_loss(self.recipe.loss)
    }
}
