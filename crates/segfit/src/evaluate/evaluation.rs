//! The scores of a set of predicted masks, as one file.

use serde::{Deserialize, Serialize};

use super::bootstrap::{Interval, Resampled, bootstrap_mean};
use super::judge::{Case, Judged, check_classes, judge, out_of_range};
use crate::error::{Error, Result};

/// `format` of [`Evaluation`] files.
pub const METRICS_FORMAT: &str = "segfit-metrics/1";

/// How to evaluate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluationOptions {
    /// Number of classes with the background.
    pub classes: usize,
    /// Bootstrap resamples.
    pub resamples: usize,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Distances of surfaces, where they are asked for.
    pub surfaces: Option<SurfaceOptions>,
}

/// How to compare surfaces.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SurfaceOptions {
    /// What distances are in.
    pub unit: LengthUnit,
    /// Surfaces that are as near as this count as the same in the normalised surface Dice.
    pub tolerance: f64,
}

/// What distances are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthUnit {
    /// Millimetres, by the spacing that the files say.
    Mm,
    /// Pixels.
    Pixels,
}

impl std::fmt::Display for LengthUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mm => "mm",
            Self::Pixels => "pixels",
        })
    }
}

impl EvaluationOptions {
    /// 2000 resamples with seed 0, no surfaces.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { classes, resamples: 2000, seed: 0, surfaces: None }
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
    /// Scores of every volume as a whole, where the images are all slices of volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_volume: Vec<ImageScore>,
    /// Distances of surfaces, averaged like Dice, where they were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surfaces: Option<SurfaceScores>,
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
    /// 95% Hausdorff distance; smaller is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hd95: Option<T>,
    /// Normalised surface Dice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nsd: Option<T>,
}

/// Distances of surfaces over a set of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SurfaceScores {
    /// How they were compared.
    #[serde(flatten)]
    pub options: SurfaceOptions,
    /// 95% Hausdorff distance; smaller is better. See [`SurfaceDistances::hd95`](super::SurfaceDistances::hd95).
    pub hd95: Interval,
    /// Normalised surface Dice, 0 to 1. See [`SurfaceDistances::nsd`](super::SurfaceDistances::nsd).
    pub nsd: Interval,
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
    /// Mean 95% Hausdorff distance over the foreground classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hd95: Option<f64>,
    /// Mean normalised surface Dice over the foreground classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nsd: Option<f64>,
    /// Every foreground class.
    pub classes: Vec<ClassScore<f64>>,
}

/// Scores of predicted masks against true ones: [`judge`] for each, and [`summarise`].
///
/// # Errors
/// As there.
pub fn evaluate(cases: &[Case<'_>], options: &EvaluationOptions) -> Result<Evaluation> {
    summarise(&cases.iter().map(|c| judge(c, options)).collect::<Result<Vec<_>>>()?, Vec::new(), options)
}

/// The scores of a set of images that were judged; see [`Evaluation`] for the averages and
/// [`bootstrap_mean`](super::bootstrap_mean) for the intervals. `per_volume` are the scores of whole volumes, if there are any.
///
/// # Errors
/// [`Error::Option`] without images, with fewer than two classes, or with images judged by other options.
pub fn summarise(judged: &[Judged], per_volume: Vec<ImageScore>, options: &EvaluationOptions) -> Result<Evaluation> {
    if judged.is_empty() {
        return Err(out_of_range("images to evaluate", "at least one", "none".into()));
    }
    check_classes(options.classes)?;
    if let Some(other) = judged.iter().find(|j| j.confusion.len() != options.classes) {
        return Err(out_of_range(
            &format!("classes of {}", other.score.name),
            &options.classes.to_string(),
            other.confusion.len().to_string(),
        ));
    }
    let per_image: Vec<ImageScore> = judged.iter().map(|j| j.score.clone()).collect();
    let sources: Vec<String> = per_image.iter().map(|i| i.source.clone()).collect();
    let mean = |score: &dyn Fn(&ImageScore) -> f64| {
        let values: Vec<f64> = per_image.iter().map(score).collect();
        bootstrap_mean(&values, &sources, options.resamples, options.seed)
    };
    // Of images too large for surfaces there are none, and then there is no mean.
    let mean_of_all = |score: &dyn Fn(&ImageScore) -> Option<f64>| {
        let all = per_image.iter().all(|i| score(i).is_some());
        all.then(|| mean(&|i| score(i).unwrap_or_default()).0)
    };
    let (dice, resampled) = mean(&|i| i.dice);
    let per_class = (0..options.classes - 1).map(|k| ClassScore {
        class: k as u8 + 1,
        dice: mean(&|i| i.classes[k].dice).0,
        iou: mean(&|i| i.classes[k].iou).0,
        hd95: mean_of_all(&|i| i.classes[k].hd95),
        nsd: mean_of_all(&|i| i.classes[k].nsd),
    });
    let surfaces = options.surfaces.and_then(|options| {
        let (hd95, nsd) = mean_of_all(&|i| i.hd95).zip(mean_of_all(&|i| i.nsd))?;
        Some(SurfaceScores { options, hd95, nsd })
    });
    Ok(Evaluation {
        format: METRICS_FORMAT.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        images: per_image.len(),
        sources: sources.iter().collect::<std::collections::BTreeSet<_>>().len(),
        dice,
        iou: mean(&|i| i.iou).0,
        resampled,
        resamples: options.resamples,
        seed: options.seed,
        per_class: per_class.collect(),
        per_volume,
        surfaces,
        confusion: total_confusion(judged, options.classes),
        per_image,
    })
}

/// How many pixels of each true class are predicted as each class, in all images.
fn total_confusion(judged: &[Judged], classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (truth, row) in counts.iter_mut().enumerate() {
        for (predicted, count) in row.iter_mut().enumerate() {
            *count = judged.iter().map(|j| j.confusion[truth][predicted]).sum();
        }
    }
    counts
}

/// The per-image scores as CSV text: `name,source,dice,iou,dice_1,iou_1,...`, one line per image. With surfaces, `hd95` and
/// `nsd` follow `iou` everywhere; they are empty for images without.
///
/// # Errors
/// [`Error::Decode`] when a name cannot be written, which does not happen for names that are text.
pub fn per_image_csv(evaluation: &Evaluation) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let bad = |reason: String| Error::Decode { path: "per_image.csv".into(), format: "CSV".into(), reason };
    let with_surfaces = evaluation.per_image.iter().any(|i| i.hd95.is_some());
    let measures: &[&str] = if with_surfaces { &["dice", "iou", "hd95", "nsd"] } else { &["dice", "iou"] };
    let mut header: Vec<String> = ["name", "source"].iter().chain(measures).map(ToString::to_string).collect();
    header.extend(evaluation.per_class.iter().flat_map(|c| measures.iter().map(|m| format!("{m}_{}", c.class))));
    writer.write_record(&header).map_err(|e| bad(e.to_string()))?;
    let cells = |dice: f64, iou: f64, hd95: Option<f64>, nsd: Option<f64>| {
        let text = |v: Option<f64>| v.map_or(String::new(), |v| v.to_string());
        [dice.to_string(), iou.to_string(), text(hd95), text(nsd)].into_iter().take(measures.len())
    };
    for image in &evaluation.per_image {
        let mut line = vec![image.name.clone(), image.source.clone()];
        line.extend(cells(image.dice, image.iou, image.hd95, image.nsd));
        line.extend(image.classes.iter().flat_map(|c| cells(c.dice, c.iou, c.hd95, c.nsd)));
        writer.write_record(&line).map_err(|e| bad(e.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|e| bad(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Mask;

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
            spacing: [1.0, 1.0],
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
            let case = Case { name: "x", source: "s", predicted, truth, spacing: [1.0, 1.0] };
            evaluate(&[case], &EvaluationOptions::new(classes)).unwrap_err().to_string()
        };
        assert!(try_with(&short, &long, 2).contains("1 x 2"), "{}", try_with(&short, &long, 2));
        assert!(try_with(&strange, &long, 2).contains("class 7"));
        assert!(try_with(&long, &long, 1).contains("classes"));
        assert!(evaluate(&[], &EvaluationOptions::new(2)).is_err());
    }
}
