//! What a prediction needs to know of a data set: its complexity and what a constant mask would score on it.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use segfit::complexity::{ComplexityProfile, PROFILE_FORMAT};
use segfit::data::{Dataset, Mask, Split};
use segfit::evaluate::{Evaluation, METRICS_FORMAT, constant_mask_dice};
use segfit::files::read_json;
use segfit::predict::{DatasetId, KnownRun, Mapping, Subject};
use segfit::recipe::InputSpec;
use segfit_engine::run_folder::RunFolder;

use crate::commands::measure::{Measured, profile_of};
use crate::context::Global;
use crate::data_options::prepared;

/// The data set as a prediction sees it, with the profile behind it. Only training images and masks are looked at.
///
/// A profile file is used when it is of the same files, input and split; otherwise the data set is measured again.
///
/// # Errors
/// When a file cannot be read, or there are no training masks.
pub fn subject(
    dataset: &Dataset,
    input: &InputSpec,
    profile: Option<&Path>,
    global: &Global,
) -> Result<(Subject, ComplexityProfile)> {
    let profile = match profile.map(|path| fitting(path, dataset, input, global)).transpose()?.flatten() {
        Some(profile) => profile,
        None => profile_of(dataset, Measured::Train, input, false)?,
    };
    let train = prepared(dataset, Split::Train, input)?;
    let masks: Vec<&Mask> = train.iter().map(|s| &s.mask).collect();
    let subject = Subject {
        dataset: DatasetId { name: dataset.name.clone(), fingerprint: dataset.fingerprint.clone() },
        measures: profile.measures.iter().map(|(name, summary)| (name.clone(), summary.mean)).collect(),
        constant_dice: constant_mask_dice(&masks, &masks, dataset.classes)?,
    };
    Ok((subject, profile))
}

/// The profile in `path`, if it describes what would be measured.
fn fitting(path: &Path, dataset: &Dataset, input: &InputSpec, global: &Global) -> Result<Option<ComplexityProfile>> {
    let profile: ComplexityProfile = read_json(path, PROFILE_FORMAT)?;
    let differs = if profile.fingerprint != dataset.fingerprint {
        "other files or labels"
    } else if profile.input != *input {
        "another input size or mode"
    } else if profile.split != "train" {
        "other images than the training split"
    } else if profile.sample.is_some() {
        "a sample of the images"
    } else if profile.measures.is_empty() {
        "no measures"
    } else if profile.version != env!("CARGO_PKG_VERSION") {
        "another version of segfit"
    } else {
        return Ok(Some(profile));
    };
    global.note(&format!("warning: {} is of {differs}; measuring again", path.display()));
    Ok(None)
}

/// The mapping in a file, or the one inside the program; where it comes from goes to standard error.
///
/// # Errors
/// When the file cannot be read or is no mapping.
pub fn mapping(file: Option<&Path>, global: &Global) -> Result<Mapping> {
    let mapping = match file {
        Some(path) => Mapping::read(path)?,
        None => Mapping::embedded().clone(),
    };
    let on = &mapping.calibrated_on;
    let remark = on.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
    global.note(&format!(
        "mapping {}: {} trainings on {} data sets at input size {}{remark}",
        mapping.id,
        on.records,
        on.data_sets.len(),
        on.input_size
    ));
    Ok(mapping)
}

/// `mapping` with its predictions for `subject` shifted by what the run in `folder` reached, where one is given.
///
/// # Errors
/// When the folder is no run, was not evaluated, or is of other files than the subject.
pub fn anchored(mapping: Mapping, folder: Option<&Path>, subject: &Subject, global: &Global) -> Result<Mapping> {
    let Some(folder) = folder else { return Ok(mapping) };
    let run = RunFolder::open(folder)?;
    if run.info.fingerprint != subject.dataset.fingerprint {
        bail!("{} was trained on other files than {}", folder.display(), subject.dataset.name);
    }
    let metrics: Evaluation = read_json(&folder.join("metrics.json"), METRICS_FORMAT)
        .with_context(|| format!("{} is not evaluated yet; run `segfit evaluate`", folder.display()))?;
    let known = KnownRun { network: &run.network, dice: metrics.dice.mean };
    global.note(&format!("anchored on {}: Dice {:.3}", folder.display(), metrics.dice.mean));
    Ok(mapping.anchored(&subject.measures, subject.constant_dice, &known)?)
}
