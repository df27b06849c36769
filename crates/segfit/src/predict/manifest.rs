//! [`Manifest`]: the trainings of a calibration, listed before any of them runs.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::short_hash;
use crate::error::{Error, Result};
use crate::files::read_json;
use crate::network::families::{self, build};
use crate::network::{NetworkSpec, Widths};
use crate::recipe::Recipe;

/// `format` of manifest files.
pub const MANIFEST_FORMAT: &str = "segfit-manifest/1";

/// A data set as the user named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetPath {
    /// Name; part of a job's identity.
    pub name: String,
    /// Folder as given; not part of a job's identity, so that records of several machines can be merged.
    pub path: String,
}

/// One training to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Hash of everything below except the data set's path.
    pub id: String,
    /// The data set.
    pub dataset: DatasetPath,
    /// Network family.
    pub family: String,
    /// Channels at full resolution.
    pub base_width: usize,
    /// Poolings.
    pub depth: usize,
    /// Channels of single groups, where they differ from the uniform network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widths: Option<Widths>,
    /// Seed.
    pub seed: u64,
    /// The whole recipe.
    pub recipe: Recipe,
}

impl Job {
    /// The job with its identity filled in.
    #[must_use]
    pub fn identified(mut self) -> Self {
        self.id = self.identity();
        self
    }

    /// The identity that the content asks for.
    #[must_use]
    pub fn identity(&self) -> String {
        let dataset = DatasetPath { path: String::new(), ..self.dataset.clone() };
        let content = Self { id: String::new(), dataset, ..self.clone() };
        short_hash(&serde_json::to_string(&content).unwrap_or_default())
    }

    /// Checks that the identity is that of the content (a hand-edited job needs a new one) and the network exists.
    ///
    /// # Errors
    /// [`Error::Calibration`] or [`Error::Option`].
    pub fn validate(&self) -> Result<()> {
        if self.id != self.identity() {
            let reason = format!(
                "job {} was edited and its identity is now {}: write the manifest again with `segfit calibrate plan`",
                self.id,
                self.identity()
            );
            return Err(Error::Calibration { reason });
        }
        self.network(1, 2).map(drop)
    }

    /// The network to train on images of `in_channels` channels with `classes` classes.
    ///
    /// # Errors
    /// [`Error::Option`] or [`Error::Network`] when it does not exist.
    pub fn network(&self, in_channels: usize, classes: usize) -> Result<NetworkSpec> {
        let options = families::Options {
            in_channels,
            classes,
            base_width: self.base_width,
            depth: self.depth,
            ..families::Options::default()
        };
        let network = build(&self.family, &options)?;
        self.widths.as_ref().map_or(Ok(network.clone()), |widths| network.with_widths(widths))
    }
}

/// What to sweep over.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Data sets, in the order in which they take turns, each with its recipe (frames and patches differ).
    pub datasets: Vec<(DatasetPath, Recipe)>,
    /// Network family.
    pub family: String,
    /// Base widths.
    pub widths: Vec<usize>,
    /// Depths.
    pub depths: Vec<usize>,
    /// Seeds.
    pub seeds: Vec<u64>,
}

/// Jobs in the order in which to run them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: String,
    /// The jobs.
    pub jobs: Vec<Job>,
}

impl Manifest {
    /// All combinations of the sweep. Data sets alternate fastest, so that every part of the list covers all of them; the
    /// widths come in the order narrowest, widest, then always the middle of the largest gap (the ends of the curve tell
    /// most, the narrow end is cheap); the greatest depth comes first; seeds change slowest.
    ///
    /// # Errors
    /// [`Error::Calibration`] when a list is empty or names an entry twice; [`Error::Option`] for a network that does not
    /// exist.
    pub fn of(sweep: &Sweep) -> Result<Self> {
        let names: Vec<&String> = sweep.datasets.iter().map(|(d, _)| &d.name).collect();
        distinct("data sets", &names)?;
        distinct("widths", &sweep.widths)?;
        distinct("depths", &sweep.depths)?;
        distinct("seeds", &sweep.seeds)?;
        let mut depths = sweep.depths.clone();
        depths.sort_unstable_by(|a, b| b.cmp(a));
        let mut jobs = Vec::new();
        for &seed in &sweep.seeds {
            for &depth in &depths {
                for base_width in ends_first(&sweep.widths) {
                    for (dataset, recipe) in &sweep.datasets {
                        let job = Job {
                            id: String::new(),
                            dataset: dataset.clone(),
                            family: sweep.family.clone(),
                            base_width,
                            depth,
                            widths: None,
                            seed,
                            recipe: recipe.clone(),
                        };
                        jobs.push(job.identified());
                    }
                }
            }
        }
        jobs.iter().try_for_each(Job::validate)?;
        Ok(Self { format: MANIFEST_FORMAT.into(), jobs })
    }

    /// Reads a manifest and checks every job.
    ///
    /// # Errors
    /// As [`read_json`] and [`Job::validate`]; [`Error::Calibration`] for a job that is listed twice.
    pub fn read(path: &Path) -> Result<Self> {
        let manifest: Self = read_json(path, MANIFEST_FORMAT)?;
        distinct("jobs", &manifest.jobs.iter().map(|j| &j.id).collect::<Vec<_>>())?;
        manifest.jobs.iter().try_for_each(Job::validate)?;
        Ok(manifest)
    }
}

fn distinct<T: Ord + std::fmt::Display>(what: &str, list: &[T]) -> Result<()> {
    let mut sorted: Vec<&T> = list.iter().collect();
    sorted.sort();
    if sorted.is_empty() {
        return Err(Error::Calibration { reason: format!("no {what} were given") });
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::Calibration { reason: format!("{what}: {} is listed twice", pair[0]) }),
        None => Ok(()),
    }
}

/// Smallest, largest, then repeatedly the middle of the largest gap (in positions of the sorted list, left one first).
fn ends_first(list: &[usize]) -> Vec<usize> {
    let mut sorted = list.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    let mut taken = if last == 0 { vec![0] } else { vec![0, last] };
    let mut order = taken.clone();
    while order.len() < sorted.len() {
        let gap = (1..taken.len()).max_by_key(|&i| (taken[i] - taken[i - 1], std::cmp::Reverse(i))).unwrap_or(1);
        let middle = usize::midpoint(taken[gap - 1], taken[gap]);
        taken.insert(gap, middle);
        order.push(middle);
    }
    order.into_iter().map(|i| sorted[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{InputMode, InputSpec};

    fn sweep() -> Sweep {
        let recipe = Recipe::r0(InputSpec { mode: InputMode::Resize, size: 128 });
        let dataset = |n: &str| (DatasetPath { name: n.into(), path: format!("data/{n}") }, recipe.clone());
        Sweep {
            datasets: vec![dataset("a"), dataset("b")],
            family: "unet".into(),
            widths: vec![16, 8, 4, 2, 1],
            depths: vec![2, 4],
            seeds: vec![0, 1],
        }
    }

    #[test]
    fn jobs_alternate_over_data_sets_and_begin_with_the_ends_of_the_curve() {
        let jobs = Manifest::of(&sweep()).unwrap().jobs;
        assert_eq!(jobs.len(), 2 * 5 * 2 * 2);
        let first: Vec<_> = jobs[..6].iter().map(|j| (j.dataset.name.as_str(), j.base_width, j.depth)).collect();
        assert_eq!(first, [("a", 1, 4), ("b", 1, 4), ("a", 16, 4), ("b", 16, 4), ("a", 4, 4), ("b", 4, 4)]);
        assert_eq!(ends_first(&[1, 2, 4, 8, 16]), [1, 16, 4, 2, 8]);
        assert_eq!(ends_first(&[3]), [3]);
    }

    #[test]
    fn the_identity_ignores_where_the_data_lie_and_notices_an_edit() {
        let job = Manifest::of(&sweep()).unwrap().jobs.remove(0);
        let mut moved = job.clone();
        moved.dataset.path = "elsewhere".into();
        assert_eq!(moved.identity(), job.id);
        moved.seed = 9;
        assert!(moved.validate().unwrap_err().to_string().contains("was edited"));
    }

    #[test]
    fn a_manifest_file_comes_back_and_a_repeated_job_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        let mut manifest = Manifest::of(&sweep()).unwrap();
        crate::files::write_json(&path, &manifest).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), manifest);
        manifest.jobs.push(manifest.jobs[0].clone());
        crate::files::write_json(&path, &manifest).unwrap();
        assert!(Manifest::read(&path).unwrap_err().to_string().contains("listed twice"));
    }

    #[test]
    fn empty_and_repeated_lists_are_refused() {
        let error = Manifest::of(&Sweep { widths: vec![2, 2], ..sweep() }).unwrap_err();
        assert_eq!(error.to_string(), "calibration: widths: 2 is listed twice");
        assert!(Manifest::of(&Sweep { seeds: vec![], ..sweep() }).is_err());
        assert!(Manifest::of(&Sweep { depths: vec![9], ..sweep() }).unwrap_err().to_string().contains("--depth"));
    }
}
