//! The scores of a set of predicted masks, as one file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bootstrap::{Interval, Resampled, bootstrap_mean};
use super::overlap::Overlap;
use crate::data::Mask;
use crate::error::{Error, Result};

/// `format` of [`Evaluation`] files.
pub const METRICS_FORMAT: &str = "segfit-metrics/1";

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
}

/// How to evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvaluationOptions {
    /// Number of classes with the background.
    pub classes: usize,
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
}

impl EvaluationOptions {
    /// 2000 resamples with seed 0.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { classes, resamples: 2000, seed: 0 }
    }
}

/// Scores of a set of images. Larger is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// `segfit-metrics/1`.
    pub format: String,
    /// Version of segfit that evaluated.
    pub version: String,
    /// Number of images.
    pub images: usize,
    /// Number of sources the images come from.
    pub sources: usize,
    /// Dice: the mean over foreground classes of each image, then the mean over images, with its 95% interval.
    pub dice: Interval,
    /// Intersection over union, likewise.
    pub iou: Interval,
    /// What the bootstrap drew.
    pub resampled: Resampled,
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Mean over images of each foreground class.
    pub per_class: Vec<ClassScore<Interval>>,
    /// Scores of every image, in the order given.
    pub per_image: Vec<ImageScore>,
    /// Pixels of all images together by true and predicted class: `confusion[truth][predicted]`, background (0) included.
    ///
    /// A row sums to the pixels of a true class, a column to those of a predicted one; the diagonal is right. Empty in
    /// files of versions that did not count them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<u64>>,
}

/// Scores of one class: numbers for one image, intervals for a set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore<T> {
    /// The class, 1 or higher.
    pub class: u8,
    /// Dice.
    pub dice: T,
    /// Intersection over union.
    pub iou: T,
}

/// Scores of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageScore {
    /// Name of the image.
    pub name: String,
    /// Its source.
    pub source: String,
    /// Mean Dice over the foreground classes.
    pub dice: f64,
    /// Mean intersection over union over the foreground classes.
    pub iou: f64,
    /// Every foreground class.
    pub classes: Vec<ClassScore<f64>>,
}

/// Scores of predicted masks against true ones; see [`Evaluation`] for the averages and
/// [`bootstrap_mean`](super::bootstrap_mean) for the intervals.
///
/// A class that neither mask of an image holds scores 1 there.
///
/// # Errors
/// [`Error::Option`] without images or with fewer than two classes; [`Error::Content`] when two masks differ in size or
/// hold a class that was not announced.
pub fn evaluate(cases: &[Case<'_>], options: &EvaluationOptions) -> Result<Evaluation> {
    if cases.is_empty() {
        return Err(out_of_range("images to evaluate", "at least one", "none".into()));
    }
    if !(2..=256).contains(&options.classes) {
        return Err(out_of_range("classes", "2 to 256", options.classes.to_string()));
    }
    let per_image = cases.iter().map(|c| judge(c, options.classes)).collect::<Result<Vec<_>>>()?;
    let sources: Vec<String> = cases.iter().map(|c| c.source.to_string()).collect();
    let mean = |score: &dyn Fn(&ImageScore) -> f64| {
        let values: Vec<f64> = per_image.iter().map(score).collect();
        bootstrap_mean(&values, &sources, options.resamples, options.seed)
    };
    let (dice, resampled) = mean(&|i| i.dice);
    let per_class = (0..options.classes - 1).map(|k| ClassScore {
        class: k as u8 + 1,
        dice: mean(&|i| i.classes[k].dice).0,
        iou: mean(&|i| i.classes[k].iou).0,
    });
    Ok(Evaluation {
        format: METRICS_FORMAT.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        images: cases.len(),
        sources: sources.iter().collect::<std::collections::BTreeSet<_>>().len(),
        dice,
        iou: mean(&|i| i.iou).0,
        resampled,
        resamples: options.resamples,
        seed: options.seed,
        per_class: per_class.collect(),
        per_image,
        confusion: confusion(cases, options.classes),
    })
}

/// How many pixels of each true class are predicted as each class; the masks have been checked.
fn confusion(cases: &[Case<'_>], classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    for case in cases {
        for (&truth, &predicted) in case.truth.data.iter().zip(&case.predicted.data) {
            counts[usize::from(truth)][usize::from(predicted)] += 1;
        }
    }
    counts
}

fn judge(case: &Case<'_>, classes: usize) -> Result<ImageScore> {
    let (p, t) = (case.predicted, case.truth);
    if (p.height, p.width) != (t.height, t.width) {
        let size = |m: &Mask| format!("{} x {} pixels", m.height, m.width);
        return Err(unfit(case, size(t), size(p), "resize the prediction to the mask"));
    }
    if let Some(class) = p.data.iter().chain(&t.data).find(|&&c| usize::from(c) >= classes) {
        return Err(unfit(
            case,
            format!("classes 0 to {}", classes - 1),
            format!("class {class}"),
            "check the label map",
        ));
    }
    let score = |class: u8| {
        let overlap = Overlap::of(p, t, class);
        ClassScore { class, dice: overlap.dice(), iou: overlap.iou() }
    };
    let scores: Vec<ClassScore<f64>> = (1..classes).map(|c| score(c as u8)).collect();
    let n = scores.len() as f64;
    Ok(ImageScore {
        name: case.name.into(),
        source: case.source.into(),
        dice: scores.iter().map(|s| s.dice).sum::<f64>() / n,
        iou: scores.iter().map(|s| s.iou).sum::<f64>() / n,
        classes: scores,
    })
}

fn out_of_range(what: &str, expected: &str, got: String) -> Error {
    Error::Option { what: what.into(), expected: expected.into(), got }
}

fn unfit(case: &Case<'_>, expected: String, got: String, hint: &str) -> Error {
    Error::Content { path: Path::new(case.name).into(), expected, got, hint: hint.into() }
}

/// The per-image scores as CSV text: `name,source,dice,iou,dice_1,iou_1,...`, one line per image.
///
/// # Errors
/// [`Error::Decode`] when a name cannot be written, which does not happen for names that are text.
pub fn per_image_csv(evaluation: &Evaluation) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let bad = |reason: String| Error::Decode { path: "per_image.csv".into(), format: "CSV".into(), reason };
    let mut header: Vec<String> = ["name", "source", "dice", "iou"].map(String::from).to_vec();
    header.extend(evaluation.per_class.iter().flat_map(|c| [format!("dice_{}", c.class), format!("iou_{}", c.class)]));
    writer.write_record(&header).map_err(|e| bad(e.to_string()))?;
    for image in &evaluation.per_image {
        let mut line = vec![image.name.clone(), image.source.clone(), image.dice.to_string(), image.iou.to_string()];
        line.extend(image.classes.iter().flat_map(|c| [c.dice.to_string(), c.iou.to_string()]));
        writer.write_record(&line).map_err(|e| bad(e.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|e| bad(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(data: &[u8]) -> Mask {
        Mask { height: 1, width: data.len(), data: data.to_vec() }
    }

    fn example() -> Evaluation {
        let truth = [mask(&[1, 1, 0, 0]), mask(&[1, 2, 2, 0]), mask(&[0, 0, 0, 0])];
        let predicted = [mask(&[1, 0, 0, 0]), mask(&[1, 2, 0, 0]), mask(&[0, 0, 0, 0])];
        let case = |i: usize| Case {
            name: ["a", "b,c", "d"][i],
            source: ["s", "s", "t"][i],
            predicted: &predicted[i],
            truth: &truth[i],
        };
        evaluate(&[case(0), case(1), case(2)], &EvaluationOptions::new(3)).unwrap()
    }

    #[test]
    fn classes_are_averaged_within_an_image_and_then_images() {
        let e = example();
        // Image a: class 1 has 2/3, class 2 is in neither: 1. Image b: 1 and 2/3. Image d: 1 and 1.
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} against {b}");
        close(e.per_image[0].dice, 5.0 / 6.0);
        close(e.dice.mean, (5.0 / 6.0 + 5.0 / 6.0 + 1.0) / 3.0);
        close(e.per_class[0].dice.mean, (2.0 / 3.0 + 2.0) / 3.0);
        close(e.iou.mean, (0.75 + 0.75 + 1.0) / 3.0);
        close(e.dice.low, 5.0 / 6.0);
        close(e.dice.high, 1.0);
        assert_eq!((e.images, e.sources, e.resampled), (3, 2, Resampled::Sources));
    }

    #[test]
    fn pixels_are_counted_by_true_and_predicted_class() {
        // Image a: truth 1 1 0 0, predicted 1 0 0 0. Image b: 1 2 2 0 and 1 2 0 0. Image d: 0 and 0, four times.
        assert_eq!(example().confusion, [vec![7, 0, 0], vec![1, 2, 0], vec![1, 0, 1]]);
    }

    #[test]
    fn a_file_without_the_confusion_is_read_and_written_as_it_was() {
        let mut value = serde_json::to_value(example()).unwrap();
        value.as_object_mut().unwrap().remove("confusion").unwrap();
        let old: Evaluation = serde_json::from_value(value.clone()).unwrap();
        assert!(old.confusion.is_empty());
        assert_eq!(serde_json::to_value(old).unwrap(), value);
    }

    #[test]
    fn the_json_has_the_promised_keys_and_comes_back() {
        let e = example();
        let value = serde_json::to_value(&e).unwrap();
        assert_eq!((value["format"].as_str(), value["images"].as_u64()), (Some("segfit-metrics/1"), Some(3)));
        assert!(value["dice"]["mean"].is_f64() && value["dice"]["low"].is_f64() && value["dice"]["high"].is_f64());
        assert!(value["iou"]["mean"].is_f64());
        assert_eq!(serde_json::from_value::<Evaluation>(value).unwrap(), e);
    }

    #[test]
    fn the_csv_quotes_names_and_has_a_column_per_class() {
        let text = per_image_csv(&example()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "name,source,dice,iou,dice_1,iou_1,dice_2,iou_2");
        assert!(lines[2].starts_with("\"b,c\",s,0.8333"), "{}", lines[2]);
        assert_eq!(lines[3], "d,t,1,1,1,1,1,1");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn masks_that_do_not_fit_are_refused_by_name() {
        let (short, long, strange) = (mask(&[0]), mask(&[0, 1]), mask(&[0, 7]));
        let try_with = |predicted: &Mask, truth: &Mask, classes: usize| {
            let case = Case { name: "x", source: "s", predicted, truth };
            evaluate(&[case], &EvaluationOptions::new(classes)).unwrap_err().to_string()
        };
        assert!(try_with(&short, &long, 2).contains("1 x 2"), "{}", try_with(&short, &long, 2));
        assert!(try_with(&strange, &long, 2).contains("class 7"));
        assert!(try_with(&long, &long, 1).contains("classes"));
        assert!(evaluate(&[], &EvaluationOptions::new(2)).is_err());
    }
}
