//! The folder of a training run: what is written when it begins, and what is read to evaluate or segment with it.

use std::path::{Path, PathBuf};

use segfit::data::{Axis, Dataset, LabelMap, Normalisation};
use segfit::files::{read_json, write_json};
use segfit::network::NetworkSpec;
use segfit::recipe::Recipe;
use serde::{Deserialize, Serialize};

use crate::checkpoint::load_weights;
use crate::error::{Error, Result};
use crate::lineage::LineageRecord;
use crate::state::Weights;
use crate::trainer::checkpoint_path;

/// `format` of `run.json`.
pub const RUN_FORMAT: &str = "segfit-run/1";

/// `run.json`: everything that segmenting needs besides the network and its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// [`RUN_FORMAT`].
    pub format: String,
    /// Version of segfit.
    pub version: String,
    /// Hash of network, recipe, data, seed and lineage; a checkpoint belongs to one such.
    pub id: String,
    /// Device, for example `cpu/avx512`; all of them, as in `cuda/NVIDIA H200, then cpu/avx512`, where a training went on on
    /// another one.
    pub engine: String,
    /// Name of the data set.
    pub dataset: String,
    /// Fingerprint of the data set.
    pub fingerprint: String,
    /// What the masks' values mean.
    pub label_map: LabelMap,
    /// Statistics of the training images.
    pub normalisation: Normalisation,
    /// How it is trained.
    pub recipe: Recipe,
    /// Seed of weights, order and augmentation.
    pub seed: u64,
    /// The axis that the slices of volumes follow, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axis: Option<Axis>,
    /// What was taken over from earlier trainings.
    #[serde(default, skip_serializing_if = "LineageRecord::is_empty")]
    pub lineage: LineageRecord,
}

impl RunInfo {
    /// In which way `other`, whose `id` is another one, is another run.
    fn difference(&self, other: &Self) -> String {
        let what = if other.fingerprint != self.fingerprint && other.dataset != self.dataset {
            format!("data set {}", other.dataset)
        } else if other.fingerprint != self.fingerprint {
            format!("other images, masks or split than {} has now", self.dataset)
        } else if other.seed != self.seed {
            format!("seed {}", other.seed)
        } else if other.recipe != self.recipe {
            format!("another recipe ({})", other.recipe.name)
        } else if other.lineage != self.lineage {
            "other initial weights or another teacher".into()
        } else {
            "another network".into()
        };
        format!("a run with {what}")
    }

    /// What the network needs and what is there instead, where the two do not fit.
    fn check(&self, network: &NetworkSpec) -> std::result::Result<(), (String, String)> {
        let (channels, Normalisation { mean, std }) = (network.in_channels(), &self.normalisation);
        if (mean.len(), std.len()) != (channels, channels) {
            let got = format!("means of {} and deviations of {}", mean.len(), std.len());
            return Err((format!("the normalisation of {channels} channel(s)"), got));
        }
        if let Some(v) = std.iter().find(|v| !(v.is_finite() && **v > 0.0)) {
            return Err(("deviations above 0".into(), v.to_string()));
        }
        if let Some(v) = mean.iter().find(|v| !v.is_finite()) {
            return Err(("finite means".into(), v.to_string()));
        }
        if self.label_map.classes() != network.classes {
            let got = format!("labels of {}", self.label_map.classes());
            return Err((format!("a map of labels for the network's {} classes", network.classes), got));
        }
        Ok(())
    }
}

/// A run on disk.
pub struct RunFolder {
    /// The folder.
    pub path: PathBuf,
    /// `run.json`.
    pub info: RunInfo,
    /// The network: of a run that is opened, what is deployed; `network.json` has the auxiliary heads too.
    pub network: NetworkSpec,
}

impl RunFolder {
    /// Makes the folder of a new run, or opens that of the same run to go on with it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the folder holds another run; an I/O error when it cannot be written.
    pub fn create(
        path: &Path,
        network: &NetworkSpec,
        recipe: &Recipe,
        dataset: &Dataset,
        normalisation: &Normalisation,
        engine: &str,
        seed: u64,
        lineage: LineageRecord,
    ) -> Result<Self> {
        let mut info = RunInfo {
            format: RUN_FORMAT.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            id: identity(network, recipe, &dataset.fingerprint, seed, &lineage),
            engine: engine.into(),
            dataset: dataset.name.clone(),
            fingerprint: dataset.fingerprint.clone(),
            label_map: dataset.label_map.clone(),
            normalisation: normalisation.clone(),
            recipe: recipe.clone(),
            seed,
            axis: dataset.axis,
            lineage,
        };
        std::fs::create_dir_all(path).map_err(|source| segfit::Error::Io { path: path.into(), source })?;
        let file = path.join("run.json");
        if file.exists() {
            let found: RunInfo = read_json(&file, RUN_FORMAT)?;
            if found.id != info.id {
                return Err(Error::Checkpoint {
                    path: path.into(),
                    expected:
                        "an empty folder or one of the same network, recipe, data and seed, initial weights and teacher"
                            .into(),
                    got: info.difference(&found),
                });
            }
            info.engine = engines(path, &found.engine, engine);
        }
        write_json(&path.join("network.json"), network)?;
        write_json(&path.join("recipe.json"), recipe)?;
        write_json(&file, &info)?;
        Ok(Self { path: path.into(), info, network: network.clone() })
    }

    /// `run.json` of a folder, which need not hold more.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn info(path: &Path) -> Result<RunInfo> {
        Ok(read_json(&path.join("run.json"), RUN_FORMAT)?)
    }

    /// Opens a run to evaluate or segment with it, without its auxiliary heads.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join("run.json");
        let info = Self::info(path)?;
        let network = NetworkSpec::read(&path.join("network.json"))?;
        info.check(&network).map_err(|(expected, got)| segfit::Error::Content {
            path: file,
            expected,
            got,
            hint: "run.json and network.json must be those of one training: copy the run's folder again".into(),
        })?;
        Ok(Self { path: path.into(), info, network: network.without_auxiliary() })
    }

    /// The trained (averaged) weights of [`Self::network`], found by their names.
    ///
    /// # Errors
    /// When the training has not finished or the file does not fit the network.
    pub fn weights(&self) -> Result<Weights> {
        let path = self.path.join("weights.safetensors");
        if !path.exists() {
            return Err(segfit::Error::Content {
                path,
                expected: "the weights of a finished training".into(),
                got: "no such file".into(),
                hint: "run the same `segfit train` again to finish it".into(),
            }
            .into());
        }
        load_weights(&path, &self.network)
    }
}

/// The devices of a training that goes on: a finished one keeps those it had, one without a checkpoint begins again.
fn engines(run: &Path, before: &str, now: &str) -> String {
    if run.join("weights.safetensors").exists() {
        return before.into();
    }
    let last = before.rsplit(", then ").next();
    match checkpoint_path(run).exists() {
        true if last == Some(now) => before.into(),
        true => format!("{before}, then {now}"),
        false => now.into(),
    }
}

/// Hash of what makes a run.
pub(crate) fn identity(
    network: &NetworkSpec,
    recipe: &Recipe,
    fingerprint: &str,
    seed: u64,
    lineage: &LineageRecord,
) -> String {
    let mut text = serde_json::to_string(&(network, recipe, fingerprint, seed)).expect("plain data is JSON");
    if !lineage.is_empty() {
        text += &serde_json::to_string(&lineage.identity()).expect("plain data is JSON");
    }
    blake3::hash(text.as_bytes()).to_hex()[..16].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use segfit::data::LabelEntry;
    use segfit::network::families::{Options, unet};
    use segfit::recipe::{InputMode, InputSpec};

    #[test]
    fn a_run_whose_files_do_not_belong_together_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let network = unet(&Options { in_channels: 1, base_width: 1, depth: 1, ..Options::default() }).unwrap();
        let entry = |class: u8| LabelEntry { value: class.into(), class, name: None };
        let write = |channels: usize, size: usize| {
            let info = RunInfo {
                format: RUN_FORMAT.into(),
                version: String::new(),
                id: String::new(),
                engine: String::new(),
                dataset: String::new(),
                fingerprint: String::new(),
                label_map: LabelMap { entries: vec![entry(0), entry(1)], ..LabelMap::empty() },
                normalisation: Normalisation { mean: vec![0.0; channels], std: vec![1.0; channels] },
                recipe: Recipe::r0(InputSpec { mode: InputMode::Resize, size }),
                seed: 0,
                axis: None,
                lineage: LineageRecord::default(),
            };
            write_json(&dir.path().join("run.json"), &info).unwrap();
            write_json(&dir.path().join("network.json"), &network).unwrap();
            RunFolder::open(dir.path()).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(write(1, 32), Ok(()));
        let error = write(3, 32).unwrap_err();
        assert!(error.contains("run.json") && error.contains("means of 3 and deviations of 3"), "{error}");
        for size in [0, usize::MAX] {
            let error = write(1, size).unwrap_err();
            assert!(error.contains("run.json") && error.contains("pixels along a side"), "{error}");
        }
    }
}
