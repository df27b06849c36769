//! [`Front`]: the most accurate network at every cost.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::judge::{Candidate, Judge};
use super::lines::{Bend, Line};
use super::objective::Objective;
use crate::error::Result;
use crate::predict::Interval;

/// Networks of a line to an octave of its overall width.
const STATIONS: f64 = 8.0;

/// Networks of a line to an octave for which memory and latency are looked at.
const DEAR_STATIONS: f64 = 2.0;

/// Networks that no other is both cheaper and predicted to be as accurate as, the cheapest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Front {
    /// What is costly.
    pub cost: Objective,
    /// Rising in cost and retention.
    pub points: Vec<FrontPoint>,
}

/// One network of a front; `segfit plan` with its cost as the budget gives it, or a better one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrontPoint {
    /// Parameters, multiply-accumulates, bytes or milliseconds.
    pub cost: f64,
    /// Poolings.
    pub depth: usize,
    /// Trained values.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Whether all groups have the same share of their full width.
    pub uniform: bool,
    /// Slope over depth, in octaves per level.
    pub slope: f64,
    /// Decoder-to-encoder ratio, in octaves.
    pub decoder_ratio: f64,
    /// Predicted share of the reference network's Dice.
    pub retention: Interval,
    /// Whether this lies outside of what was calibrated.
    pub extrapolated: bool,
}

/// A network of a front as the search knows it.
pub(super) struct Known {
    pub candidate: Candidate,
    pub uniform: bool,
    cost: f64,
    retention: f64,
}

/// The networks of the front of `cost`, over all lines and without any budget. Memory and latency are looked at for the networks of
/// `among` and few uniform ones only.
pub(super) fn front(judge: &Judge<'_>, lines: &[Line], cost: Objective, among: &[Known]) -> Result<Vec<Known>> {
    let dear = matches!(cost, Objective::Memory | Objective::Latency);
    let of_line = |line: &Line| -> Result<Vec<(Candidate, bool, f64)>> {
        let uniform = line.bend == Bend::Uniform;
        if dear && !uniform {
            return Ok(Vec::new());
        }
        let stations = line.stations(if dear { DEAR_STATIONS } else { STATIONS });
        let level = judge.level(line.level);
        let candidates = stations.into_iter().map(|i| judge.candidate(line.level, line.channels(level, i)));
        candidates.map(|c| judge.cost_of(&c, cost).map(|cost| (c, uniform, cost))).collect()
    };
    let mut all: Vec<(Candidate, bool, f64)> =
        lines.par_iter().map(of_line).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    if dear {
        let more = among.par_iter().map(|k| Ok((k.candidate.clone(), k.uniform, judge.cost_of(&k.candidate, cost)?)));
        all.extend(more.collect::<Result<Vec<_>>>()?);
    }
    let tier = all.iter().map(|(c, ..)| c.tier).min().unwrap_or(0);
    all.retain(|(c, ..)| c.tier == tier);
    let mut best = Vec::new();
    for level in 0..judge.space.levels.len() {
        for uniform in [true, false] {
            let own = all.iter().filter(|(c, u, _)| c.level == level && *u == uniform);
            best.extend(undominated(own.map(|(c, u, cost)| (c.clone(), *u, *cost, judge.rank(c))).collect()));
        }
    }
    let known = best.into_par_iter().map(|(candidate, uniform, at, _)| {
        let retention = judge.retention(&candidate);
        (candidate, uniform, at, retention)
    });
    let known = known.collect();
    let made = |(candidate, uniform, cost, retention)| Known { candidate, uniform, cost, retention };
    Ok(undominated(known).into_iter().map(made).collect())
}

/// Those than which none is cheaper and as good, in a fixed order; of equals the one with the smaller channels.
fn undominated(mut all: Vec<(Candidate, bool, f64, f64)>) -> Vec<(Candidate, bool, f64, f64)> {
    let counts = |c: &Candidate| (c.params, c.macs, c.level);
    all.sort_by(|a, b| {
        let value = a.2.total_cmp(&b.2).then(b.3.total_cmp(&a.3));
        value.then(counts(&a.0).cmp(&counts(&b.0))).then_with(|| a.0.channels.cmp(&b.0.channels))
    });
    let mut highest = f64::NEG_INFINITY;
    all.retain(|(.., value)| {
        let better = *value > highest;
        highest = highest.max(*value);
        better
    });
    all
}

impl Known {
    /// What the front is about.
    pub(super) fn cost(&self) -> f64 {
        self.cost
    }
}

impl Front {
    /// With the whole prediction of every network.
    pub(super) fn of(judge: &Judge<'_>, cost: Objective, known: &[Known]) -> Result<Self> {
        let point = |k: &Known| -> Result<FrontPoint> {
            let prediction = judge.prediction(&k.candidate)?;
            Ok(FrontPoint {
                cost: k.cost,
                depth: judge.level(k.candidate.level).full.depth,
                params: k.candidate.params,
                macs: k.candidate.macs,
                uniform: k.uniform,
                slope: k.candidate.size.slope,
                decoder_ratio: k.candidate.size.decoder_ratio,
                retention: Interval { mean: k.retention, ..prediction.retention },
                extrapolated: prediction.extrapolated,
            })
        };
        Ok(Self { cost, points: known.iter().map(point).collect::<Result<_>>()? })
    }
}
