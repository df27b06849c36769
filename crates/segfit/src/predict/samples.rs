//! Records of one data set, reduced to what the models are fitted to.

use std::collections::BTreeMap;

use super::Measures;
use super::noise::{SourceSpread, source_spread};
use super::record::Record;
use super::size::SizeFeatures;
use crate::error::{Error, Result};
use crate::network::Widths;

/// One network on one data set, averaged over seeds.
#[derive(Clone, Debug)]
pub struct Point {
    /// Network family.
    pub family: String,
    /// Its size.
    pub size: SizeFeatures,
    /// Channels of every free group; with family and depth the identity of a network.
    pub widths: Widths,
    /// Base width, for naming.
    pub base_width: usize,
    /// Trained parameters.
    pub params: u64,
    /// Mean test Dice over the seeds.
    pub dice: f64,
    /// D_ref, the mean test Dice of its family's reference network.
    pub reference_dice: f64,
    /// Number of seeds.
    pub seeds: usize,
    /// Standard deviation of the test Dice between seeds, from two seeds on.
    pub deviation: Option<f64>,
    /// What another draw of the test images would change; `None` without scores of single images.
    pub spread: Option<SourceSpread>,
    /// Whether this is the reference network of its family.
    pub is_reference: bool,
    /// Whether it is the family's network of its base width, with no group narrowed or widened.
    pub is_uniform: bool,
}

impl Point {
    /// r = D / D_ref.
    #[must_use]
    pub fn retention(&self) -> f64 {
        self.dice / self.reference_dice
    }

    /// Whether it is the same network as `other`, up to the channels of the image.
    #[must_use]
    pub fn is_network(&self, other: &Self) -> bool {
        self.family == other.family && self.size.depth == other.size.depth && self.widths == other.widths
    }
}

/// Everything known about one data set.
#[derive(Clone, Debug)]
pub struct SetSamples {
    /// Its name.
    pub name: String,
    /// The data set it was made from.
    pub parent: Option<String>,
    /// Whether its images are drawn by a program.
    pub synthetic: bool,
    /// Complexity of its training images.
    pub measures: Measures,
    /// D0, the Dice of the best constant mask.
    pub constant_dice: f64,
    /// D_ref of the main family.
    pub reference_dice: f64,
    /// Channels of the images.
    pub in_channels: usize,
    /// Classes including background.
    pub classes: usize,
    /// Parameters of the main family's network of base width 64 for these images, at the reference's depth.
    pub full_params: u64,
    /// One point per network, the smallest first.
    pub points: Vec<Point>,
}

impl SetSamples {
    /// k = (D - D0) / (D_ref - D0): 0 for the best constant mask, 1 for the reference network; may exceed 1.
    #[must_use]
    pub fn skill(&self, point: &Point) -> f64 {
        (point.dice - self.constant_dice) / (point.reference_dice - self.constant_dice)
    }

    /// 1 - D0 / D_ref: how much retention a unit of skill is.
    #[must_use]
    pub fn stake(&self, point: &Point) -> f64 {
        1.0 - self.constant_dice / point.reference_dice
    }

    /// Real images, not made from another data set: those that errors are reported on.
    #[must_use]
    pub fn is_original(&self) -> bool {
        self.parent.is_none() && !self.synthetic
    }

    /// The data set that it is left out together with: its parent, or itself.
    #[must_use]
    pub fn root(&self) -> &str {
        self.parent.as_deref().unwrap_or(&self.name)
    }

    /// All points but the reference networks, whose retention is 1 by definition.
    pub(crate) fn inner(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(|p| !p.is_reference)
    }
}

/// The samples of all data sets.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Those that can be used, by name.
    pub sets: Vec<SetSamples>,
    /// `name: reason` of those that cannot.
    pub left_out: Vec<String>,
    /// Records used: the last attempt of every job, collapsed or not (a user, too, gets the last attempt).
    pub records: Vec<Record>,
    /// The family with most records.
    pub family: String,
    /// Its reference network: depth and widths.
    pub reference: (usize, Widths),
}

/// The reference must beat the constant mask by this much Dice, or skill is not defined well enough.
const SMALLEST_GAIN: f64 = 0.02;

/// Base width of the network that savings are counted from.
const FULL_WIDTH: usize = 64;

type Networks<'a> = BTreeMap<&'a str, (usize, &'a Widths)>;

impl Samples {
    /// Groups records by data set. The *reference network* of a family is the largest of its networks that were trained on
    /// at least half as many data sets as the most common one, so that few wider trainings move nothing. Data sets that lack
    /// the reference of the main family, or on which it does not beat the constant mask by .02 Dice, are left out and named;
    /// so are single other families of a data set.
    ///
    /// # Errors
    /// [`Error::Calibration`] when there are no records, or when they do not belong together: two recipes, input sizes, or,
    /// for one data set, two fingerprints or complexity values.
    pub fn of(records: &[Record]) -> Result<Self> {
        let records = last_attempts(records);
        alike(&records)?;
        let family = main_family(&records).ok_or_else(|| fail("there are no records".into()))?;
        let references = references(&records);
        let mut by_set: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        for record in &records {
            by_set.entry(&record.dataset.name).or_default().push(record);
        }
        let (mut sets, mut left_out) = (Vec::new(), Vec::new());
        for (name, records) in by_set {
            match set_of(name, &records, &references, &family, &mut left_out)? {
                Ok(set) => sets.push(set),
                Err(reason) => left_out.push(format!("{name}: {reason}")),
            }
        }
        let reference = references.get(family.as_str()).map(|(depth, widths)| (*depth, (*widths).clone()));
        let reference = reference.unwrap_or_default();
        Ok(Self { sets, left_out, records, family, reference })
    }

    /// The data sets to learn from: the original ones, and with `variants` those made from others or by a program.
    pub(crate) fn training(&self, variants: bool) -> Vec<&SetSamples> {
        self.sets.iter().filter(|s| variants || s.is_original()).collect()
    }
}

fn fail(reason: String) -> Error {
    Error::Calibration { reason }
}

fn last_attempts(records: &[Record]) -> Vec<Record> {
    let mut last: BTreeMap<&str, u32> = BTreeMap::new();
    for record in records {
        let attempt = last.entry(&record.job).or_default();
        *attempt = (*attempt).max(record.attempt);
    }
    records.iter().filter(|r| last[r.job.as_str()] == r.attempt).cloned().collect()
}

/// Refuses to mix what cannot be compared.
fn alike(records: &[Record]) -> Result<()> {
    let Some(first) = records.first() else { return Ok(()) };
    for record in records {
        if record.recipe != first.recipe {
            let names = [&first.recipe, &record.recipe].map(|r| format!("{} ({})", r.name, r.digest));
            return Err(fail(format!("records of two recipes: {} and {}", names[0], names[1])));
        }
        if record.input.size != first.input.size {
            return Err(fail(format!("records of two input sizes: {} and {}", first.input.size, record.input.size)));
        }
    }
    Ok(())
}

fn main_family(records: &[Record]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    records.iter().for_each(|r| *counts.entry(&r.family).or_default() += 1);
    counts.into_iter().max_by_key(|&(name, n)| (n, std::cmp::Reverse(name))).map(|(name, _)| name.to_string())
}

/// Depth and widths of every family's reference network.
fn references(records: &[Record]) -> Networks<'_> {
    let mut sets: BTreeMap<(&str, usize, &Widths), (std::collections::BTreeSet<&str>, u64)> = BTreeMap::new();
    for record in records {
        let entry = sets.entry((&record.family, record.depth, &record.widths)).or_default();
        entry.0.insert(&record.dataset.name);
        entry.1 = entry.1.max(record.cost.params);
    }
    let mut references = Networks::new();
    for family in sets.keys().map(|k| k.0).collect::<std::collections::BTreeSet<_>>() {
        let own = || sets.iter().filter(|(key, _)| key.0 == family);
        let most = own().map(|(_, value)| value.0.len()).max().unwrap_or(0);
        let common = own().filter(|(_, value)| 2 * value.0.len() >= most);
        if let Some((&(_, depth, widths), _)) = common.max_by_key(|(_, value)| value.1) {
            references.insert(family, (depth, widths));
        }
    }
    references
}

type Usable<T> = std::result::Result<T, String>;

fn set_of(
    name: &str,
    records: &[&Record],
    references: &Networks<'_>,
    family: &str,
    left_out: &mut Vec<String>,
) -> Result<Usable<SetSamples>> {
    let measures = consistent(name, records)?;
    let first = records[0];
    let mut points = Vec::new();
    let mut reference_dice = None;
    for (&own, reference) in references {
        let records: Vec<&Record> = records.iter().filter(|r| r.family == own).copied().collect();
        if records.is_empty() && own != family {
            continue;
        }
        match points_of(&records, reference, first.constant_dice)? {
            Ok((dice, own_points)) => {
                points.extend(own_points);
                if own == family {
                    reference_dice = Some(dice);
                }
            }
            Err(reason) if own == family => return Ok(Err(reason)),
            Err(reason) => left_out.push(format!("{name}, family {own}: {reason}")),
        }
    }
    let full_params = match records.iter().find(|r| r.family == family && r.depth == references[family].0) {
        Some(record) => crate::cost::parameters(&record.uniform_network(FULL_WIDTH)?)?,
        None => 0,
    };
    points.sort_by(|a, b| (a.params, &a.family, &a.widths).cmp(&(b.params, &b.family, &b.widths)));
    Ok(reference_dice.ok_or_else(|| "no record of the main family".to_string()).map(|reference_dice| SetSamples {
        name: name.into(),
        parent: first.parent.clone(),
        synthetic: first.synthetic,
        measures,
        constant_dice: first.constant_dice,
        reference_dice,
        in_channels: first.in_channels,
        classes: first.classes,
        full_params,
        points,
    }))
}

/// The measures of a data set; refuses records that contradict each other.
fn consistent(name: &str, records: &[&Record]) -> Result<Measures> {
    let first = records[0];
    let mut measures = first.measures.clone();
    for record in records {
        if record.dataset.fingerprint != first.dataset.fingerprint {
            let (a, b) = (&first.dataset.fingerprint, &record.dataset.fingerprint);
            return Err(fail(format!("data set {name} has records of two contents, {a} and {b}")));
        }
        if record.parent != first.parent || record.synthetic != first.synthetic {
            return Err(fail(format!("data set {name} has records that disagree on where it comes from")));
        }
        if (record.constant_dice - first.constant_dice).abs() > 1e-6 {
            let (a, b) = (first.constant_dice, record.constant_dice);
            return Err(fail(format!("data set {name} has two values of constant_dice, {a} and {b}")));
        }
        for (measure, &value) in &record.measures {
            let known = *measures.entry(measure.clone()).or_insert(value);
            if (known - value).abs() > 1e-6 * known.abs().max(1.0) {
                return Err(fail(format!("data set {name} has two values of {measure}, {known} and {value}")));
            }
        }
    }
    Ok(measures)
}

/// D_ref and the points of one family on one data set.
fn points_of(
    records: &[&Record],
    reference: &(usize, &Widths),
    constant_dice: f64,
) -> Result<Usable<(f64, Vec<Point>)>> {
    let mut networks: BTreeMap<(u64, usize, &Widths), Vec<&Record>> = BTreeMap::new();
    for record in records {
        networks.entry((record.cost.params, record.depth, &record.widths)).or_default().push(record);
    }
    let is_reference = |depth: usize, widths: &Widths| depth == reference.0 && widths == reference.1;
    let dice_of = |records: &[&Record]| records.iter().map(|r| r.dice).sum::<f64>() / records.len() as f64;
    let Some((_, best)) = networks.iter().find(|(key, _)| is_reference(key.1, key.2)) else {
        return Ok(Err(format!("no record of the reference network (depth {})", reference.0)));
    };
    let reference_dice = dice_of(best);
    if reference_dice < constant_dice + SMALLEST_GAIN {
        let reason = format!("the reference network (Dice {reference_dice:.3}) is no better than a constant mask");
        return Ok(Err(format!("{reason} ({constant_dice:.3})")));
    }
    let mut points = Vec::new();
    for ((params, depth, widths), records) in &networks {
        let n = records.len() as f64;
        let dice = dice_of(records);
        let variance = records.iter().map(|r| (r.dice - dice).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let uniform = records[0].uniform_network(records[0].base_width)?;
        points.push(Point {
            family: records[0].family.clone(),
            size: SizeFeatures::of(&records[0].network()?)?,
            widths: (*widths).clone(),
            base_width: records[0].base_width,
            params: *params,
            dice,
            reference_dice,
            seeds: records.len(),
            deviation: (records.len() > 1).then(|| variance.sqrt()),
            spread: source_spread(records, best),
            is_reference: is_reference(*depth, widths),
            is_uniform: uniform.widths() == **widths,
        });
    }
    Ok(Ok((reference_dice, points)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::synthetic::{World, records};

    #[test]
    fn seeds_are_averaged_and_the_largest_network_is_the_reference() {
        let world = World { sets: 2, seeds: 2, noise: 0.02, ..World::default() };
        let samples = Samples::of(&records(&world)).unwrap();
        let set = &samples.sets[0];
        assert_eq!(set.points.len(), 5);
        let last = set.points.last().unwrap();
        assert!(last.is_reference && last.base_width == 16 && last.seeds == 2 && last.deviation.unwrap() > 0.0);
        assert_eq!(set.reference_dice, last.dice);
        assert_eq!((set.skill(last), last.retention()), (1.0, 1.0));
        let none = Point { dice: set.constant_dice, ..last.clone() };
        assert_eq!(set.skill(&none), 0.0);
        assert!((none.retention() - (1.0 - set.stake(last))).abs() < 1e-12);
    }

    #[test]
    fn a_wider_network_on_few_sets_does_not_become_the_reference() {
        let mut all = records(&World { sets: 5, ..World::default() });
        let mut wider = all.iter().find(|r| r.base_width == 16).unwrap().clone();
        wider.job = "wider".into();
        wider.base_width = 32;
        wider.widths.values_mut().for_each(|c| *c *= 2);
        wider.cost.params *= 4;
        all.push(wider);
        let samples = Samples::of(&all).unwrap();
        assert_eq!(samples.sets.len(), 5, "{:?}", samples.left_out);
        let last = samples.sets[0].points.last().unwrap();
        assert!(last.base_width == 32 && !last.is_reference);
    }

    #[test]
    fn a_variant_belongs_to_its_parent() {
        let mut all = records(&World { sets: 3, ..World::default() });
        let plain = Samples::of(&all).unwrap();
        assert_eq!(plain.training(true).len(), 3);
        all.iter_mut().filter(|r| r.dataset.name == "set02").for_each(|r| r.parent = Some("set01".into()));
        let samples = Samples::of(&all).unwrap();
        assert_eq!((samples.training(false).len(), samples.training(true).len()), (2, 3));
        assert_eq!(samples.sets[2].root(), "set01");
    }

    #[test]
    fn a_retry_replaces_the_collapsed_attempt() {
        let mut all = records(&World::default());
        let mut failed = all[0].clone();
        (failed.dice, failed.collapsed) = (0.0, true);
        all[0].attempt = 1;
        all.push(failed);
        let kept = Samples::of(&all).unwrap().records;
        assert_eq!(kept.len(), all.len() - 1);
        assert!(kept.iter().all(|r| !r.collapsed));
    }

    #[test]
    fn sets_without_reference_or_without_gain_are_left_out_by_name() {
        let mut all = records(&World::default());
        let name = |i: usize| format!("set{i:02}");
        all.retain(|r| !(r.dataset.name == name(0) && r.base_width == 16));
        for record in all.iter_mut().filter(|r| r.dataset.name == name(1)) {
            record.constant_dice = 0.99;
        }
        let samples = Samples::of(&all).unwrap();
        assert_eq!(samples.left_out.len(), 2, "{:?}", samples.left_out);
        assert!(samples.left_out[0].starts_with("set00: no record of the reference"));
    }

    #[test]
    fn what_cannot_be_compared_is_not_mixed() {
        let all = records(&World::default());
        let check = |change: fn(&mut Record), expected: &str| {
            let mut all = all.clone();
            change(&mut all[1]);
            let error = Samples::of(&all).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(|r| r.recipe.digest = "x".into(), "two recipes");
        check(|r| r.input.size = 64, "two input sizes");
        check(|r| *r.measures.get_mut("jpeg").unwrap() += 1.0, "two values of jpeg");
        check(|r| r.synthetic = true, "where it comes from");
        assert!(Samples::of(&[]).is_err());
    }
}
