//! [`Ladder`]: finished plans for many sizes, so that another size can be shown, and taken, without planning again.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::budget::{Bound, Budgets};
use super::front::{Front, Known};
use super::judge::Judge;
use super::objective::Objective;
use super::request::Request;
use super::search::{lines, search};
use super::{Plan, PlannedLatency};
use crate::error::{Error, Result};
use crate::files::as_read;
use crate::network::NetworkSpec;
use crate::predict::Mapping;
use crate::recipe::InputSpec;

/// `format` of [`Ladder`] files.
pub const LADDER_FORMAT: &str = "segfit-ladder/1";

/// Where nothing else is known of the options.
const COMMAND: &str = "segfit plan DATA";

/// Plans along the front of parameters, at most.
const MOST_BY_PARAMS: usize = 32;

/// Plans along the front of multiply-accumulates, at most; those that are there already are left out.
const MOST_BY_MACS: usize = 16;

/// Plans for many sizes, the fewest parameters first. Each is what `segfit plan` writes when its limit is the only budget.
///
/// As a file the plans share what they have in common: `pool` holds values, and `rungs` name the place of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Pooled", try_from = "Pooled")]
pub struct Ladder {
    /// The command that a rung's option completes, for example `segfit plan DATA --network unet`.
    pub command: String,
    /// By how much a prediction must exceed a share to keep, by that share in percent: [`Mapping::keep_margin`].
    pub margins: BTreeMap<u8, f64>,
    /// At least one, rising in parameters.
    pub rungs: Vec<Rung>,
}

/// One plan of a ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    /// The only budget of this plan, as the option of `segfit plan`.
    pub option: LimitOption,
    /// What the plan is.
    pub plan: Plan,
}

/// The budget of a rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitOption {
    /// `--max-params`
    MaxParams(u64),
    /// `--max-macs`
    MaxMacs(u64),
}

impl LimitOption {
    /// As typed: `--max-params 1234`.
    #[must_use]
    pub fn typed(self) -> String {
        match self {
            Self::MaxParams(limit) => format!("--max-params {limit}"),
            Self::MaxMacs(limit) => format!("--max-macs {limit}"),
        }
    }

    /// The budgets of the command line with this option alone, whose bound of a share to keep is the likely one.
    fn budgets(self) -> Budgets {
        let none = Budgets { keep_bound: Bound::Likely, ..Budgets::default() };
        match self {
            Self::MaxParams(limit) => Budgets { max_params: Some(limit), ..none },
            Self::MaxMacs(limit) => Budgets { max_macs: Some(limit), ..none },
        }
    }
}

impl Request<'_> {
    /// Plans along the fronts of parameters and multiply-accumulates, each for one limit alone; this request's own budgets and
    /// objective play no part. Networks outside of what was calibrated are left out where there are others.
    ///
    /// # Errors
    /// As [`Request::fronts`].
    pub fn ladder(&self) -> Result<Ladder> {
        let free = Request { budgets: Budgets::default(), objective: None, ..*self };
        let forms = free.space.forms(free.budgets.precision)?;
        let judge = |budgets| {
            Judge::new(free.mapping, free.subject, free.space, &forms, budgets, Objective::Accuracy, free.latency)
        };
        let whole = judge(Budgets::default());
        let lines = lines(&whole);
        let fronts = free.known_fronts(&whole, &lines)?;
        let written: Vec<Front> =
            fronts.iter().map(|(cost, known)| Front::of(&whole, *cost, known)).collect::<Result<_>>()?;
        let rungs: Vec<Option<Rung>> = limits(&fronts)
            .into_par_iter()
            .map(|option| {
                let request = Request { budgets: option.budgets(), ..free };
                let judge = judge(option.budgets());
                let Some(found) = search(&judge, &lines)? else { return Ok(None) };
                let plan = request.written(&judge, &found, &fronts, written.clone())?;
                Ok(Some(Rung { option, plan }))
            })
            .collect::<Result<_>>()?;
        Ladder::of(rungs.into_iter().flatten().collect(), margins(free.mapping))
    }
}

/// For every whole percent from 50 on.
fn margins(mapping: &Mapping) -> BTreeMap<u8, f64> {
    (50..=100).map(|percent| (percent, mapping.keep_margin(f64::from(percent) / 100.0))).collect()
}

/// Limits that give the networks of both fronts, evenly spread over each.
fn limits(fronts: &[(Objective, Vec<Known>)]) -> Vec<LimitOption> {
    let of = |cost: Objective, most: usize, option: fn(u64) -> LimitOption| -> Vec<LimitOption> {
        let front = fronts.iter().find(|(c, _)| *c == cost).map_or(&[][..], |(_, known)| known);
        let count = front.len().min(most);
        let picked = (0..count).map(|i| &front[i * (front.len() - 1) / (count - 1).max(1)]);
        picked.map(|k| option(k.cost() as u64)).collect()
    };
    let mut all = of(Objective::Params, MOST_BY_PARAMS, LimitOption::MaxParams);
    all.extend(of(Objective::Macs, MOST_BY_MACS, LimitOption::MaxMacs));
    all
}

impl Ladder {
    /// Sorted, and each network once.
    fn of(mut rungs: Vec<Rung>, margins: BTreeMap<u8, f64>) -> Result<Self> {
        let mut seen: Vec<NetworkSpec> = Vec::new();
        rungs.retain(|rung| {
            let is_new = !seen.contains(&rung.plan.spec);
            if is_new {
                seen.push(rung.plan.spec.clone());
            }
            is_new
        });
        rungs.sort_by_key(|r| (r.plan.network.params, r.plan.network.macs));
        if rungs.is_empty() {
            return Err(Error::Option {
                what: "network".into(),
                expected: "at least one size to choose from".into(),
                got: "none".into(),
            });
        }
        Ok(Self { command: COMMAND.into(), margins, rungs })
    }

    /// The ladder with its command, how images become the network's input, and the time of every network where it is known.
    ///
    /// # Errors
    /// What `latency` returns.
    pub fn completed<E>(
        mut self,
        command: String,
        input: InputSpec,
        latency: impl Fn(&NetworkSpec) -> std::result::Result<Option<PlannedLatency>, E>,
    ) -> std::result::Result<Self, E> {
        self.command = command;
        for rung in &mut self.rungs {
            rung.plan.input = Some(input);
            rung.plan.latency = latency(&rung.plan.spec)?;
        }
        Ok(self)
    }
}

/// A ladder as a file: every value that plans have in common is held once.
#[derive(Clone, Serialize, Deserialize)]
struct Pooled {
    format: String,
    command: String,
    margins: BTreeMap<u8, f64>,
    pool: Vec<Value>,
    rungs: Vec<PooledRung>,
}

/// In the order of the object.
type Places = Vec<(String, usize)>;

#[derive(Clone, Serialize, Deserialize)]
struct PooledRung {
    option: LimitOption,
    /// Keys with the place of each one's value in the pool.
    plan: Places,
    /// The same of the plan's network.
    spec: Places,
}

/// The one key that is divided further: the layers of its networks are the same.
const DIVIDED: &str = "spec";

impl From<Ladder> for Pooled {
    fn from(ladder: Ladder) -> Self {
        let mut pool = Pool::default();
        let object = |value: Value| match value {
            Value::Object(map) => map,
            other => Map::from_iter([("value".to_string(), other)]),
        };
        let mut pooled = |rung: &Rung| {
            let mut plan = object(as_read(&rung.plan));
            plan.shift_remove(DIVIDED);
            let spec = object(as_read(&rung.plan.spec));
            PooledRung { option: rung.option, plan: pool.places(plan), spec: pool.places(spec) }
        };
        let rungs = ladder.rungs.iter().map(&mut pooled).collect();
        Self {
            format: LADDER_FORMAT.into(),
            command: ladder.command,
            margins: ladder.margins,
            pool: pool.values,
            rungs,
        }
    }
}

/// Distinct values, found by their text.
#[derive(Default)]
struct Pool {
    values: Vec<Value>,
    known: BTreeMap<String, usize>,
}

impl Pool {
    fn places(&mut self, map: Map<String, Value>) -> Places {
        map.into_iter().map(|(key, value)| (key, self.place(value))).collect()
    }

    fn place(&mut self, value: Value) -> usize {
        let next = self.values.len();
        let place = *self.known.entry(value.to_string()).or_insert(next);
        if place == next {
            self.values.push(value);
        }
        place
    }
}

impl TryFrom<Pooled> for Ladder {
    type Error = String;

    fn try_from(pooled: Pooled) -> std::result::Result<Self, String> {
        let object = |places: &Places| -> std::result::Result<Map<String, Value>, String> {
            let value = |(key, place): &(String, usize)| {
                let value =
                    pooled.pool.get(*place).ok_or_else(|| format!("the pool has no value {place} for {key}"))?;
                Ok((key.clone(), value.clone()))
            };
            places.iter().map(value).collect()
        };
        let rung = |rung: &PooledRung| {
            let mut plan = object(&rung.plan)?;
            plan.insert(DIVIDED.into(), Value::Object(object(&rung.spec)?));
            let plan: Plan = serde_json::from_value(Value::Object(plan)).map_err(|e| e.to_string())?;
            plan.spec.validate().map_err(|e| e.to_string())?;
            Ok(Rung { option: rung.option, plan })
        };
        let rungs: Vec<Rung> = pooled.rungs.iter().map(rung).collect::<std::result::Result<_, String>>()?;
        if rungs.is_empty() {
            Err("a ladder without rungs".into())
        } else {
            Ok(Self { command: pooled.command, margins: pooled.margins, rungs })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Freedom, Space};
    use crate::predict::synthetic::{World, measures, records};
    use crate::predict::{DatasetId, NetworkOptions, Subject};

    #[test]
    fn every_rung_is_the_plan_of_its_limit_and_the_file_gives_it_back() {
        let mapping = Mapping::fit(&records(&World { sets: 6, ..World::default() })).unwrap();
        let dataset = DatasetId { name: "cells".into(), fingerprint: "f".into() };
        let subject = Subject { dataset, measures: measures(0.0), constant_dice: 0.4 };
        let family = "unet".into();
        let options = NetworkOptions { family, in_channels: 3, classes: 2, full_width: 64, depth: 4, size: 128 };
        let space = Space::of_family(&options, &Freedom::default()).unwrap();
        let budgets = Budgets { keep: Some(0.9), ..Budgets::default() };
        let request =
            Request { mapping: &mapping, subject: &subject, space: &space, budgets, objective: None, latency: None };
        let ladder = request.ladder().unwrap();
        assert!(ladder.rungs.len() > 5, "{}", ladder.rungs.len());
        assert!(ladder.rungs.is_sorted_by_key(|r| r.plan.network.params));
        for rung in ladder.rungs.iter().step_by(4) {
            let alone = Request { budgets: rung.option.budgets(), ..request }.plan().unwrap();
            assert_eq!(rung.plan, alone, "{}", rung.option.typed());
        }
        let text = serde_json::to_string(&ladder).unwrap();
        assert_eq!(serde_json::from_str::<Ladder>(&text).unwrap(), ladder);
        let apart: usize = ladder.rungs.iter().map(|r| serde_json::to_string(&r.plan).unwrap().len()).sum();
        assert!(text.len() * 2 < apart, "{} of {apart} bytes", text.len());
        let broken = text.replacen("[\"budgets\",", "[\"budgets\",9999999", 1);
        assert!(serde_json::from_str::<Ladder>(&broken).is_err());
    }
}
