//! [`Manifest`]: the trainings of a calibration, listed before any of them runs.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::short_hash;
use super::shape_sample::{Shape, shape_samples};
use crate::error::{Error, Result};
use crate::files::read_json;
use crate::network::families::{self, build, family};
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

    /// The job that trains `network` on a data set.
    fn of_network((dataset, recipe): &(DatasetPath, Recipe), network: &NetworkSpec, seed: u64) -> Result<Self> {
        let plain = Self {
            id: String::new(),
            dataset: dataset.clone(),
            family: network.family.clone(),
            base_width: network.base_width,
            depth: network.depth,
            widths: None,
            seed,
            recipe: recipe.clone(),
        };
        let (channels, classes) = (network.in_channels(), network.classes);
        let uniform = plain.network(channels, classes)?;
        let bent = (uniform.widths() != network.widths()).then(|| network.widths());
        let job = Self { widths: bent, ..plain };
        if job.network(channels, classes)? != *network {
            let reason =
                format!("a network is not a {} in its plain form: it cannot be described by widths", job.family);
            return Err(Error::Calibration { reason });
        }
        Ok(job.identified())
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
    /// Network families.
    pub families: Vec<String>,
    /// Base widths.
    pub widths: Vec<usize>,
    /// Depths; with none, every family has its own.
    pub depths: Vec<usize>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Bent networks instead of the uniform ones.
    pub shapes: Option<ShapeSweep>,
}

/// Networks that are wider in some places and narrower in others than the uniform network of the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeSweep {
    /// Shapes for every data set and family, divided among the widths and depths of the sweep.
    pub count: usize,
    /// Decides which shapes.
    pub seed: u64,
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
    /// most, the narrow end is cheap); the greatest depth comes first; families change slower, seeds slowest.
    ///
    /// With [`Sweep::shapes`], the networks have the parameters of the uniform ones of these widths and depths, which take
    /// turns. The first shape of each is flat, the others are [`shape_samples`], different for every data set.
    ///
    /// # Errors
    /// [`Error::Calibration`] when a list is empty or names an entry twice, or the networks are too narrow for so many
    /// shapes; [`Error::Option`] for a network that does not exist.
    pub fn of(sweep: &Sweep) -> Result<Self> {
        let names: Vec<&String> = sweep.datasets.iter().map(|(d, _)| &d.name).collect();
        distinct("data sets", &names)?;
        distinct("families", &sweep.families)?;
        distinct("widths", &sweep.widths)?;
        distinct("seeds", &sweep.seeds)?;
        if !sweep.depths.is_empty() {
            distinct("depths", &sweep.depths)?;
        }
        let mut jobs = Vec::new();
        for &seed in &sweep.seeds {
            for name in &sweep.families {
                let own = [family(name)?.depth];
                let mut depths = if sweep.depths.is_empty() { own.to_vec() } else { sweep.depths.clone() };
                depths.sort_unstable_by(|a, b| b.cmp(a));
                let turns = Turns { sweep, family: name, depths, seed };
                jobs.extend(match sweep.shapes {
                    Some(shapes) => turns.bent(shapes)?,
                    None => turns.uniform(),
                });
            }
        }
        jobs.iter().try_for_each(Job::validate)?;
        Ok(Self { format: MANIFEST_FORMAT.into(), jobs })
    }

    /// Every data set with every network of `networks` and every seed: networks change fastest, seeds slowest. Channels of the image
    /// and classes are those of the data set. The recipe goes by the network's `base_width`.
    ///
    /// # Errors
    /// [`Error::Calibration`] when a list is empty or names an entry twice, or when a network is not one of a family in its plain
    /// form, narrowed; [`Error::Option`] for a family that does not exist.
    pub fn of_networks(datasets: &[(DatasetPath, Recipe)], networks: &[NetworkSpec], seeds: &[u64]) -> Result<Self> {
        distinct("data sets", &datasets.iter().map(|(d, _)| &d.name).collect::<Vec<_>>())?;
        distinct("seeds", seeds)?;
        let mut jobs = Vec::new();
        for &seed in seeds {
            for set in datasets {
                for network in networks {
                    jobs.push(Job::of_network(set, network, seed)?);
                }
            }
        }
        distinct("networks", &jobs.iter().map(|j| &j.id).collect::<Vec<_>>())?;
        Ok(Self { format: MANIFEST_FORMAT.into(), jobs })
    }

    /// Adds the jobs of another manifest that are not here yet, behind these; returns how many.
    pub fn append(&mut self, other: Self) -> usize {
        let known: BTreeSet<String> = self.jobs.iter().map(|j| j.id.clone()).collect();
        let before = self.jobs.len();
        self.jobs.extend(other.jobs.into_iter().filter(|j| !known.contains(&j.id)));
        self.jobs.len() - before
    }

    /// Reads a manifest and checks every job.
    ///
    /// # Errors
    /// As [`read_json`]; [`Error::Json`] for a job that [`Job::validate`] refuses or that is listed twice.
    pub fn read(path: &Path) -> Result<Self> {
        let manifest: Self = read_json(path, MANIFEST_FORMAT)?;
        let bad = |error: Error| {
            let reason = match error {
                Error::Calibration { reason } => reason,
                other => other.to_string(),
            };
            Error::Json { path: path.into(), expected: MANIFEST_FORMAT.into(), reason }
        };
        distinct("jobs", &manifest.jobs.iter().map(|j| &j.id).collect::<Vec<_>>()).map_err(bad)?;
        manifest.jobs.iter().try_for_each(Job::validate).map_err(bad)?;
        Ok(manifest)
    }
}

/// The jobs of one family and seed.
struct Turns<'a> {
    sweep: &'a Sweep,
    family: &'a str,
    depths: Vec<usize>,
    seed: u64,
}

impl Turns<'_> {
    fn uniform(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for &depth in &self.depths {
            for base_width in ends_first(&self.sweep.widths) {
                jobs.extend(self.sweep.datasets.iter().map(|set| self.job(set, depth, base_width, None)));
            }
        }
        jobs
    }

    fn bent(&self, shapes: ShapeSweep) -> Result<Vec<Job>> {
        let sets = &self.sweep.datasets;
        let lists: Vec<Vec<Job>> = sets.iter().map(|set| self.bent_of(set, shapes)).collect::<Result<_>>()?;
        Ok((0..shapes.count).flat_map(|i| lists.iter().map(move |jobs| jobs[i].clone())).collect())
    }

    /// The shapes of one data set. What rounding makes equal to an earlier one, or uniform, is passed over.
    fn bent_of(&self, set: &(DatasetPath, Recipe), shapes: ShapeSweep) -> Result<Vec<Job>> {
        let widths = ends_first(&self.sweep.widths);
        let sizes: Vec<(usize, usize)> =
            self.depths.iter().flat_map(|&depth| widths.iter().map(move |&width| (depth, width))).collect();
        let tries = sizes.len() + TRIES * shapes.count;
        let flat = std::iter::repeat_n(Shape::FLAT, sizes.len());
        let mut samples = flat.chain(shape_samples(&set.0.name, shapes.seed)).take(tries);
        let mut jobs: Vec<Job> = Vec::new();
        while jobs.len() < shapes.count {
            let (depth, base_width) = sizes[jobs.len() % sizes.len()];
            let Some(shape) = samples.next() else {
                let name = &set.0.name;
                let reason = format!("width {base_width} is too narrow for {} different shapes ({name})", shapes.count);
                return Err(Error::Calibration { reason });
            };
            let uniform = self.job(set, depth, base_width, None).network(1, 2)?;
            let bent = shape.widths_of_equal_parameters(&uniform)?;
            let job = self.job(set, depth, base_width, Some(bent.clone()));
            if bent != uniform.widths() && jobs.iter().all(|j| j.id != job.id) {
                jobs.push(job);
            }
        }
        Ok(jobs)
    }

    fn job(
        &self,
        (dataset, recipe): &(DatasetPath, Recipe),
        depth: usize,
        base_width: usize,
        widths: Option<Widths>,
    ) -> Job {
        let job = Job {
            id: String::new(),
            dataset: dataset.clone(),
            family: self.family.into(),
            base_width,
            depth,
            widths,
            seed: self.seed,
            recipe: recipe.clone(),
        };
        job.identified()
    }
}

/// Shapes that are tried for every one that is wanted.
const TRIES: usize = 20;

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
            families: vec!["unet".into()],
            widths: vec![16, 8, 4, 2, 1],
            depths: vec![2, 4],
            seeds: vec![0, 1],
            shapes: None,
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
    fn families_have_their_own_depth_unless_told() {
        let families = vec!["cumednet".into(), "fc_densenet56".into()];
        let own = Sweep { families, widths: vec![4], depths: vec![], seeds: vec![0], ..sweep() };
        let jobs = Manifest::of(&own).unwrap().jobs;
        let listed: Vec<_> = jobs.iter().map(|j| (j.family.as_str(), j.dataset.name.as_str(), j.depth)).collect();
        let expected =
            [("cumednet", "a", 3), ("cumednet", "b", 3), ("fc_densenet56", "a", 5), ("fc_densenet56", "b", 5)];
        assert_eq!(listed, expected);
        assert!(Manifest::of(&Sweep { families: vec!["none".into()], ..sweep() }).is_err());
    }

    #[test]
    fn shapes_differ_from_each_other_and_from_the_uniform_network_of_about_the_same_parameters() {
        let shapes = Some(ShapeSweep { count: 8, seed: 3 });
        let swept = Sweep { widths: vec![2, 4], depths: vec![4], seeds: vec![0], shapes, ..sweep() };
        let jobs = Manifest::of(&swept).unwrap().jobs;
        assert_eq!(jobs.len(), 16);
        assert_eq!(jobs.iter().map(|j| &j.id).collect::<BTreeSet<_>>().len(), 16);
        for job in &jobs {
            let uniform = Job { widths: None, ..job.clone() }.network(1, 2).unwrap();
            let parameters = |n: &NetworkSpec| crate::cost::parameters(n).unwrap() as f64;
            let ratio = parameters(&job.network(1, 2).unwrap()) / parameters(&uniform);
            assert!((0.8..1.25).contains(&ratio), "{} {ratio}", job.base_width);
            assert_eq!(job.widths.as_ref().unwrap().len(), uniform.widths().len(), "every group is named");
        }
        let first = |i: usize| jobs[i].widths.as_ref().unwrap().values().copied().collect::<BTreeSet<usize>>();
        assert_eq!((first(0).len(), jobs[0].base_width), (1, 2), "the first of each width is flat");
        assert_eq!((first(2).len(), jobs[2].base_width), (1, 4));
        assert_eq!(Manifest::of(&swept).unwrap().jobs, jobs);
        let more = Sweep { shapes: Some(ShapeSweep { count: 10, seed: 3 }), ..swept.clone() };
        assert_eq!(Manifest::of(&more).unwrap().jobs[..16], jobs[..], "more shapes are added behind");
        let other = Manifest::of(&Sweep { shapes: Some(ShapeSweep { count: 8, seed: 4 }), ..swept }).unwrap().jobs;
        assert_ne!(other[4].id, jobs[4].id);
    }

    #[test]
    fn networks_of_ones_own_become_jobs_that_train_them() {
        let datasets = sweep().datasets;
        let options = families::Options { in_channels: 3, base_width: 4, depth: 2, ..families::Options::default() };
        let uniform = build("unet", &options).unwrap();
        let bent = NetworkSpec { base_width: 3, ..uniform.with_widths(&[("enc1".into(), 5)].into()).unwrap() };
        let manifest = Manifest::of_networks(&datasets, &[uniform, bent.clone()], &[0, 7]).unwrap();
        assert_eq!(manifest.jobs.len(), 8);
        assert_eq!(manifest.jobs[0].widths, None);
        assert_eq!((manifest.jobs[1].network(3, 2).unwrap(), manifest.jobs[7].seed), (bent.clone(), 7));
        assert_eq!(manifest.jobs[1].network(1, 2).unwrap().widths(), bent.widths());
        let twice = Manifest::of_networks(&datasets, &[bent.clone(), bent], &[0]).unwrap_err();
        assert!(twice.to_string().contains("listed twice"), "{twice}");
        let other = families::Options { upsampling: Some(families::Upsampling::Nearest), ..options };
        let refused = Manifest::of_networks(&datasets, &[build("unet", &other).unwrap()], &[0]).unwrap_err();
        assert!(refused.to_string().contains("plain form"), "{refused}");
    }

    #[test]
    fn appending_adds_what_is_new() {
        let mut all = Manifest::of(&Sweep { seeds: vec![0], ..sweep() }).unwrap();
        let n = all.jobs.len();
        assert_eq!(all.append(Manifest::of(&sweep()).unwrap()), n, "the other seed");
        assert_eq!((all.jobs.len(), all.append(Manifest::of(&sweep()).unwrap())), (2 * n, 0));
        assert_eq!(all.jobs[..n], Manifest::of(&Sweep { seeds: vec![0], ..sweep() }).unwrap().jobs[..]);
    }

    #[test]
    fn empty_and_repeated_lists_are_refused() {
        let error = Manifest::of(&Sweep { widths: vec![2, 2], ..sweep() }).unwrap_err();
        assert_eq!(error.to_string(), "calibration: widths: 2 is listed twice");
        assert!(Manifest::of(&Sweep { seeds: vec![], ..sweep() }).is_err());
        assert!(Manifest::of(&Sweep { depths: vec![9], ..sweep() }).unwrap_err().to_string().contains("--depth"));
    }
}
