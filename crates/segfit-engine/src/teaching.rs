//! The teacher of a training, at work.

use segfit::data::Normalisation;
use segfit::network::NetworkSpec;
use segfit::network::schedule::{Mode, Schedule};
use segfit::recipe::Recipe;

use crate::backend::{Backend, Executor};
use crate::error::Result;
use crate::lineage::Teacher;
use crate::loss::SoftTargets;

/// A teacher compiled for the batches of a training.
pub(crate) struct Teaching {
    executor: Box<dyn Executor>,
    /// Scale and shift of every channel from the training's normalisation to the teacher's, where they differ.
    change: Option<Vec<(f32, f32)>>,
    /// The batch in the teacher's normalisation, where that differs.
    images: Vec<f32>,
    /// Pixels of an image.
    pixels: usize,
    logits: Vec<f32>,
    weight: f32,
    temperature: f32,
}

impl Teaching {
    /// # Errors
    /// When the teacher does not fit the images or classes, or an option is out of range.
    pub(crate) fn new(
        backend: &dyn Backend,
        teacher: &Teacher,
        student: &NetworkSpec,
        recipe: &Recipe,
        normalisation: &Normalisation,
    ) -> Result<Self> {
        teacher.check(student, recipe.input.size)?;
        let size = recipe.input.size;
        let schedule = Schedule::new(&teacher.network, Mode::Infer, recipe.batch, size, size)?;
        teacher.network.check_output_size(size, size)?;
        let mut executor = backend.compile(&teacher.network, schedule, None)?;
        executor.load(&teacher.weights)?;
        let change = (teacher.normalisation != *normalisation).then(|| change(normalisation, &teacher.normalisation));
        let pixels = size * size;
        Ok(Self {
            executor,
            images: vec![0.0; if change.is_some() { recipe.batch * pixels * student.in_channels() } else { 0 }],
            change,
            pixels,
            logits: vec![0.0; recipe.batch * pixels * student.classes],
            weight: teacher.weight,
            temperature: teacher.temperature,
        })
    }

    /// What the teacher says about a batch.
    pub(crate) fn soft_targets(&mut self, batch: &[f32]) -> Result<SoftTargets<'_>> {
        let images = match &self.change {
            None => batch,
            Some(change) => {
                let planes = self.images.chunks_exact_mut(self.pixels).zip(batch.chunks_exact(self.pixels));
                for ((to, from), (scale, shift)) in planes.zip(change.iter().cycle()) {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = from * scale + shift);
                }
                &self.images
            }
        };
        self.executor.infer(images, &mut self.logits)?;
        Ok(SoftTargets { logits: &self.logits, weight: self.weight, temperature: self.temperature })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.executor.bytes() + 4 * (self.images.len() + self.logits.len()) as u64
    }
}

/// From `(x - mean) / std` of the training to that of the teacher.
fn change(from: &Normalisation, to: &Normalisation) -> Vec<(f32, f32)> {
    let channels = from.mean.iter().zip(&from.std).zip(to.mean.iter().zip(&to.std));
    channels.map(|((m, s), (mean, std))| (s / std, (m - mean) / std)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_changes_from_one_normalisation_to_the_other() {
        let a = Normalisation { mean: vec![10.0, 1.0], std: vec![4.0, 2.0] };
        let b = Normalisation { mean: vec![6.0, 1.0], std: vec![2.0, 4.0] };
        // A pixel of 18 and 5 is 2 and 2 in a's terms, 6 and 1 in b's.
        let changed: Vec<f32> = change(&a, &b).iter().map(|(scale, shift)| 2.0 * scale + shift).collect();
        assert_eq!(changed, [6.0, 1.0]);
    }
}
