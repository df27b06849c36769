//! One predicted mask against the true one: counts of pixels, distances of surfaces, and the scores that follow.

use std::path::Path;

use super::evaluation::{ClassScore, EvaluationOptions, ImageScore};
use super::overlap::Overlap;
use super::surface::{Grid, SurfaceDistances};
use crate::data::Mask;
use crate::error::{Error, Result};

/// One image to judge.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Name of the image.
    pub name: &'a str,
    /// Where it comes from: tiles and frames of one source share it.
    pub source: &'a str,
    /// The mask a network made.
    pub predicted: &'a Mask,
    /// The true mask, of the same size.
    pub truth: &'a Mask,
    /// Distances between its rows and between its columns, in the unit of the options.
    pub spacing: [f64; 2],
}

/// The scores of one image, and what they were counted from.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The scores.
    pub score: ImageScore,
    /// `confusion[truth][predicted]`: pixels of a true class that are predicted as a class.
    pub confusion: Vec<Vec<u64>>,
}

impl Judged {
    /// The scores that follow from counts, without surfaces.
    ///
    /// # Panics
    /// When the counts are not a square of at least two classes.
    #[must_use]
    pub fn of_counts(name: &str, source: &str, confusion: Vec<Vec<u64>>) -> Self {
        let classes = confusion.len();
        assert!(classes > 1 && confusion.iter().all(|row| row.len() == classes), "counts of each class by each class");
        let score = |class: usize| {
            let overlap = Overlap {
                both: confusion[class][class],
                predicted: confusion.iter().map(|row| row[class]).sum(),
                truth: confusion[class].iter().sum(),
            };
            ClassScore { class: class as u8, dice: overlap.dice(), iou: overlap.iou(), hd95: None, nsd: None }
        };
        let score = averaged(name, source, (1..classes).map(score).collect());
        Self { score, confusion }
    }
}

/// The mean over classes.
fn averaged(name: &str, source: &str, classes: Vec<ClassScore<f64>>) -> ImageScore {
    let n = classes.len() as f64;
    let some = |of: fn(&ClassScore<f64>) -> Option<f64>| classes.iter().map(of).sum::<Option<f64>>().map(|sum| sum / n);
    ImageScore {
        name: name.into(),
        source: source.into(),
        dice: classes.iter().map(|s| s.dice).sum::<f64>() / n,
        iou: classes.iter().map(|s| s.iou).sum::<f64>() / n,
        hd95: some(|c| c.hd95),
        nsd: some(|c| c.nsd),
        classes,
    }
}

/// The scores of a predicted mask against the true one. A class that neither mask holds scores 1.
///
/// # Errors
/// [`Error::Option`] with fewer than two classes; [`Error::Content`] when the masks differ in size or hold a class that was not
/// announced.
pub fn judge(case: &Case<'_>, options: &EvaluationOptions) -> Result<Judged> {
    check_classes(options.classes)?;
    let (p, t) = (case.predicted, case.truth);
    if (p.height, p.width) != (t.height, t.width) {
        let size = |m: &Mask| format!("{} x {} pixels", m.height, m.width);
        return Err(unfit(case.name, size(t), size(p), "resize the prediction to the mask"));
    }
    let mut counts = vec![vec![0; options.classes]; options.classes];
    count(case.name, &p.data, &t.data, &mut counts)?;
    let mut judged = Judged::of_counts(case.name, case.source, counts);
    if options.surfaces.is_some() {
        let grid = Grid::picture(t.height, t.width, case.spacing);
        judged.score = with_surfaces(judged.score, &p.data, &t.data, grid, options);
    }
    Ok(judged)
}

/// The scores of all slices of a volume together: `predicted` and `truth` are classes in the grid's order.
///
/// # Errors
/// As [`judge`].
///
/// # Panics
/// When the classes are not as many as the grid has voxels.
pub fn judge_volume(
    (name, source): (&str, &str),
    predicted: &[u8],
    truth: &[u8],
    grid: Grid,
    options: &EvaluationOptions,
) -> Result<ImageScore> {
    check_classes(options.classes)?;
    let mut counts = vec![vec![0; options.classes]; options.classes];
    count(name, predicted, truth, &mut counts)?;
    let score = Judged::of_counts(name, source, counts).score;
    Ok(match options.surfaces {
        Some(_) => with_surfaces(score, predicted, truth, grid, options),
        None => score,
    })
}

/// Adds pixels to the counts `counts[truth][predicted]`.
///
/// # Errors
/// [`Error::Content`] for a class that the counts do not have.
pub fn count(name: &str, predicted: &[u8], truth: &[u8], counts: &mut [Vec<u64>]) -> Result<()> {
    let classes = counts.len();
    for (&p, &t) in predicted.iter().zip(truth) {
        let cell = counts.get_mut(usize::from(t)).and_then(|row| row.get_mut(usize::from(p)));
        let Some(cell) = cell else {
            let expected = format!("classes 0 to {}", classes - 1);
            return Err(unfit(name, expected, format!("class {}", p.max(t)), "check the label map"));
        };
        *cell += 1;
    }
    Ok(())
}

fn with_surfaces(
    score: ImageScore,
    predicted: &[u8],
    truth: &[u8],
    grid: Grid,
    options: &EvaluationOptions,
) -> ImageScore {
    let Some(surfaces) = options.surfaces else { return score };
    let one = |class: &ClassScore<f64>| {
        let object = |data: &[u8]| data.iter().map(|&c| c == class.class).collect::<Vec<bool>>();
        let distances = SurfaceDistances::between(&object(predicted), &object(truth), grid);
        ClassScore { hd95: Some(distances.hd95()), nsd: Some(distances.nsd(surfaces.tolerance)), ..*class }
    };
    averaged(&score.name, &score.source, score.classes.iter().map(one).collect())
}

pub(super) fn check_classes(classes: usize) -> Result<()> {
    if (2..=256).contains(&classes) {
        return Ok(());
    }
    Err(out_of_range("classes", "2 to 256", classes.to_string()))
}

pub(super) fn out_of_range(what: &str, expected: &str, got: String) -> Error {
    Error::Option { what: what.into(), expected: expected.into(), got }
}

fn unfit(name: &str, expected: String, got: String, hint: &str) -> Error {
    Error::Content { path: Path::new(name).into(), expected, got, hint: hint.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{LengthUnit, SurfaceOptions};

    #[test]
    fn surfaces_are_averaged_over_classes_and_a_volume_is_one_object() {
        let options = EvaluationOptions {
            surfaces: Some(SurfaceOptions { unit: LengthUnit::Mm, tolerance: 0.5 }),
            ..EvaluationOptions::new(3)
        };
        let mask = |data: &[u8]| Mask { height: 1, width: 4, data: data.to_vec() };
        let (p, t) = (mask(&[1, 0, 0, 2]), mask(&[0, 0, 1, 2]));
        let case = Case { name: "a", source: "s", predicted: &p, truth: &t, spacing: [9.0, 0.5] };
        let score = judge(&case, &options).unwrap().score;
        assert_eq!((score.classes[0].hd95, score.classes[0].nsd), (Some(1.0), Some(0.0)));
        assert_eq!((score.classes[1].hd95, score.classes[1].nsd), (Some(0.0), Some(1.0)));
        assert_eq!((score.hd95, score.nsd), (Some(0.5), Some(0.5)));
        // Slices 3 apart: class 1 lies in the first slice of one and in the second of the other.
        let grid = Grid { shape: [2, 1, 2], spacing: [3.0, 1.0, 1.0] };
        let volume = judge_volume(("v", "v"), &[1, 0, 0, 0], &[0, 0, 1, 0], grid, &options).unwrap();
        assert_eq!((volume.dice, volume.classes[0].hd95), (0.5, Some(3.0)));
    }

    #[test]
    fn counts_give_the_scores_of_masks() {
        let judged = Judged::of_counts("a", "s", vec![vec![5, 1], vec![2, 4]]);
        assert_eq!((judged.score.dice, judged.score.iou, judged.score.hd95), (8.0 / 11.0, 4.0 / 7.0, None));
    }
}
