//! Records of one data set, reduced to what the models are fitted to.

use std::collections::BTreeMap;

use super::Measures;
use super::record::Record;
use super::size::SizeFeatures;
use crate::error::{Error, Result};
use crate::network::Widths;

/// One network on one data set, averaged over seeds.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its size.
    pub size: SizeFeatures,
    /// Base width, for naming.
    pub base_width: usize,
    /// Trained parameters.
    pub params: u64,
    /// Mean test Dice over the seeds.
    pub dice: f64,
    /// Number of seeds.
    pub seeds: usize,
    /// Standard deviation of the test Dice between seeds, from two seeds on.
    pub deviation: Option<f64>,
    /// Whether this is the reference network of the calibration.
    pub is_reference: bool,
}

/// Everything known about one data set.
#[derive(Clone, Debug)]
pub struct SetSamples {
    /// Its name.
    pub name: String,
    /// Complexity of its training images.
    pub measures: Measures,
    /// D0, the Dice of the best constant mask.
    pub constant_dice: f64,
    /// D_ref, the mean Dice of the reference network.
    pub reference_dice: f64,
    /// One point per network, the smallest first.
    pub points: Vec<Point>,
}

impl SetSamples {
    /// k = (D - D0) / (D_ref - D0): 0 for the best constant mask, 1 for the reference network; may exceed 1.
    #[must_use]
    pub fn skill(&self, dice: f64) -> f64 {
        (dice - self.constant_dice) / (self.reference_dice - self.constant_dice)
    }

    /// r = D / D_ref.
    #[must_use]
    pub fn retention(&self, dice: f64) -> f64 {
        dice / self.reference_dice
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
}

/// The reference must beat the constant mask by this much Dice, or skill is not defined well enough.
const SMALLEST_GAIN: f64 = 0.02;

impl Samples {
    /// Groups records by data set. The *reference network* is the one with most parameters in all the records; data sets
    /// that lack it, or on which it does not beat the constant mask by .02 Dice, are left out and named.
    ///
    /// # Errors
    /// [`Error::Calibration`] when there are no records, or when they do not belong together: two recipes, input sizes,
    /// families or, for one data set, two fingerprints or complexity values.
    pub fn of(records: &[Record]) -> Result<Self> {
        let records = last_attempts(records);
        alike(&records)?;
        let largest =
            records.iter().max_by_key(|r| r.cost.params).ok_or_else(|| fail("there are no records".into()))?;
        let reference = (largest.depth, largest.widths.clone());
        let mut by_set: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        for record in &records {
            by_set.entry(&record.dataset.name).or_default().push(record);
        }
        let (mut sets, mut left_out) = (Vec::new(), Vec::new());
        for (name, records) in by_set {
            match set_of(name, &records, &reference)? {
                Ok(set) => sets.push(set),
                Err(reason) => left_out.push(format!("{name}: {reason}")),
            }
        }
        Ok(Self { sets, left_out, records })
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
        if record.family != first.family {
            return Err(fail(format!("records of two families: {} and {}", first.family, record.family)));
        }
    }
    Ok(())
}

type Usable<T> = std::result::Result<T, String>;

fn set_of(name: &str, records: &[&Record], reference: &(usize, Widths)) -> Result<Usable<SetSamples>> {
    let first = records[0];
    let mut measures = first.measures.clone();
    for record in records {
        if record.dataset.fingerprint != first.dataset.fingerprint {
            let (a, b) = (&first.dataset.fingerprint, &record.dataset.fingerprint);
            return Err(fail(format!("data set {name} has records of two contents, {a} and {b}")));
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
    let points = points_of(records, reference)?;
    let Some(best) = points.iter().find(|p| p.is_reference).map(|p| p.dice) else {
        return Ok(Err(format!("no record of the reference network (depth {})", reference.0)));
    };
    if best < first.constant_dice + SMALLEST_GAIN {
        let reason = format!("the reference network (Dice {best:.3}) is no better than a constant mask");
        return Ok(Err(format!("{reason} ({:.3})", first.constant_dice)));
    }
    let constant_dice = first.constant_dice;
    Ok(Ok(SetSamples { name: name.into(), measures, constant_dice, reference_dice: best, points }))
}

fn points_of(records: &[&Record], reference: &(usize, Widths)) -> Result<Vec<Point>> {
    let mut networks: BTreeMap<(u64, usize, &Widths), Vec<&Record>> = BTreeMap::new();
    for record in records {
        networks.entry((record.cost.params, record.depth, &record.widths)).or_default().push(record);
    }
    let mut points = Vec::new();
    for ((params, depth, widths), records) in networks {
        let n = records.len() as f64;
        let dice = records.iter().map(|r| r.dice).sum::<f64>() / n;
        let variance = records.iter().map(|r| (r.dice - dice).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        points.push(Point {
            size: SizeFeatures::of(&records[0].network()?)?,
            base_width: records[0].base_width,
            params,
            dice,
            seeds: records.len(),
            deviation: (records.len() > 1).then(|| variance.sqrt()),
            is_reference: depth == reference.0 && *widths == reference.1,
        });
    }
    Ok(points)
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
        assert_eq!(set.skill(set.constant_dice), 0.0);
        assert_eq!(set.skill(set.reference_dice), 1.0);
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
        assert!(Samples::of(&[]).is_err());
    }
}
