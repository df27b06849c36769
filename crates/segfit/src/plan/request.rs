//! [`Request`]: everything that a plan is made from.

use super::budget::{Budgets, option};
use super::explain::explain;
use super::front::{Front, Known, front};
use super::infeasible::infeasible;
use super::judge::{Judge, Latency};
use super::lines::{Bend, Line};
use super::objective::Objective;
use super::offer::Offer;
use super::search::{Found, lines, search};
use super::space::{Freedom, Space};
use super::weights::Precision;
use super::{GroupWidth, PLAN_FORMAT, Plan, PlannedNetwork};
use crate::error::Result;
use crate::network::NetworkSpec;
use crate::predict::{Mapping, NetworkOptions, SizeRow, Subject, reference_in_words};

/// What a plan is to be made from.
pub struct Request<'a> {
    /// What predicts.
    pub mapping: &'a Mapping,
    /// The data set.
    pub subject: &'a Subject,
    /// The networks to choose from.
    pub space: &'a Space,
    /// What the network must keep and may cost.
    pub budgets: Budgets,
    /// What it is to be best at; by default [`Objective::of`] the budgets.
    pub objective: Option<Objective>,
    /// Milliseconds that a network takes at most for one image; needed where a budget or the objective is latency.
    pub latency: Option<&'a Latency<'a>>,
}

/// The plan over all depths and widths of a family: with `keep`, fewest parameters; without, most accurate.
///
/// # Errors
/// As [`Request::plan`].
pub fn plan(mapping: &Mapping, subject: &Subject, options: &NetworkOptions, budgets: &Budgets) -> Result<Plan> {
    let space = Space::of_family(options, &Freedom::default())?;
    Request { mapping, subject, space: &space, budgets: *budgets, objective: None, latency: None }.plan()
}

impl Request<'_> {
    /// The network that is best by the objective among those that meet all budgets.
    ///
    /// Networks are looked for along lines: one for every depth and shape (slope over depth and decoder ratio on a fixed grid
    /// inside the calibrated hull), over all overall widths. A shape other than the uniform one is taken only where it is
    /// predicted to keep more than the uniform network of the same depth and cost, and where such gains are to be expected ([`Mapping::shapes_pay`]).
    /// In such a shape single groups then move by at most half an octave, to use up what rounding leaves. Networks outside of what
    /// was calibrated are taken only when nothing else meets the budgets, the nearest first. The result does not depend on the
    /// number of threads.
    ///
    /// # Errors
    /// [`crate::Error::Infeasible`] naming the tightest budget and the nearest network; [`crate::Error::Option`] for budgets out of
    /// range, for a cost as objective without a share to keep, and for latency without a table.
    pub fn plan(&self) -> Result<Plan> {
        self.budgets.validate()?;
        Request { budgets: self.budgets.with_margin(self.mapping), ..*self }.planned()
    }

    fn planned(&self) -> Result<Plan> {
        let objective = self.objective.unwrap_or_else(|| Objective::of(&self.budgets));
        objective.check(&self.budgets)?;
        if self.latency.is_none() && (objective == Objective::Latency || self.budgets.max_latency_ms.is_some()) {
            let what = if objective == Objective::Latency { "--objective latency" } else { "--max-latency" };
            return Err(option(what, "a latency table of the machine that is to run the network", "none"));
        }
        let forms = self.space.forms(self.budgets.precision)?;
        let judge = Judge::new(self.mapping, self.subject, self.space, &forms, self.budgets, objective, self.latency);
        let lines = lines(&judge);
        let found = search(&judge, &lines)?.ok_or_else(|| infeasible(&judge, &lines))?;
        let known = self.known_fronts(&judge, &lines)?;
        let fronts = known.iter().map(|(cost, known)| Front::of(&judge, *cost, known)).collect::<Result<_>>()?;
        self.written(&judge, &found, &known, fronts)
    }

    /// The fronts of accuracy against parameters and multiply-accumulates, and against memory and latency where a budget or the
    /// objective is about them. Budgets play no part.
    ///
    /// # Errors
    /// When a network does not fit together, or latency cannot be known.
    pub fn fronts(&self) -> Result<Vec<Front>> {
        let forms = self.space.forms(self.budgets.precision)?;
        let free = Budgets { precision: Precision::default(), ..Budgets::default() };
        let judge = Judge::new(self.mapping, self.subject, self.space, &forms, free, Objective::Accuracy, self.latency);
        let known = self.known_fronts(&judge, &lines(&judge))?;
        known.iter().map(|(cost, known)| Front::of(&judge, *cost, known)).collect()
    }

    pub(super) fn known_fronts(&self, judge: &Judge<'_>, lines: &[Line]) -> Result<Vec<(Objective, Vec<Known>)>> {
        let judge = judge.asked(Budgets::default(), Objective::Accuracy);
        let mut fronts = vec![
            (Objective::Params, front(&judge, lines, Objective::Params, &[])?),
            (Objective::Macs, front(&judge, lines, Objective::Macs, &[])?),
        ];
        let is_asked = |objective, limit: bool| limit || self.objective == Some(objective);
        for (cost, asked) in [
            (Objective::Memory, is_asked(Objective::Memory, self.budgets.max_memory.is_some())),
            (Objective::Latency, is_asked(Objective::Latency, self.budgets.max_latency_ms.is_some())),
        ] {
            if asked {
                let found = front(&judge, lines, cost, &fronts[0].1)?;
                fronts.push((cost, found));
            }
        }
        Ok(fronts)
    }

    /// The plan of what was found; `fronts` are the `known` ones with their predictions.
    pub(super) fn written(
        &self,
        judge: &Judge<'_>,
        found: &Found,
        known: &[(Objective, Vec<Known>)],
        fronts: Vec<Front>,
    ) -> Result<Plan> {
        let (offer, predicted, spec) = judge.offer(&found.candidate)?;
        debug_assert!(self.budgets.missed(&offer).is_empty(), "the search and the slow way agree");
        let full = self.space.full();
        let everything = judge.candidate(self.space.levels.len() - 1, full.groups.iter().map(|g| g.full).collect());
        let full_offer = judge.offer(&everything)?.0;
        let base_width = full.full.base_width;
        let full_row = SizeRow { base_width, ..full_offer.row.clone() };
        let full_offer = Offer { row: full_row, ..full_offer };
        let family = &full.full.family;
        Ok(Plan {
            format: PLAN_FORMAT.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            dataset: self.subject.dataset.clone(),
            input: None,
            latency: None,
            mapping: self.mapping.id.clone(),
            network: planned(&offer, family, self.space.size),
            full: planned(&full_offer, family, self.space.size),
            predicted,
            reference: reference_in_words(self.mapping),
            choice: self.choice(judge, found),
            widths: group_widths(&spec, &full.full),
            budgets: self.budgets,
            objective: Some(judge.objective),
            alternatives: alternatives(judge, &known[0].1, &offer.row)?,
            fronts,
            explanation: Some(explain(judge, found)?),
            spec,
        })
    }

    fn choice(&self, judge: &Judge<'_>, found: &Found) -> Vec<String> {
        let mut choice = vec![judge.objective.in_words(&self.budgets)];
        if let Some(margin) = self.budgets.keep_margin {
            choice.push(format!(
                "the prediction exceeds the share by a margin of {:.1} points: with it, nine in ten choices kept the share on other data sets",
                100.0 * margin
            ));
        }
        let depth = judge.level(found.candidate.level).full.depth;
        let away = judge.levels_away(found.candidate.level);
        if away > 0 {
            choice.push(format!("depth {depth} was not calibrated; nothing nearer to it meets the budgets"));
        }
        if found.candidate.tier > away {
            choice.push("its shape or width was not calibrated; nothing nearer to it meets the budgets".into());
        }
        choice.push(self.shape_choice(judge, found));
        choice
    }

    /// Why the shape was left, or was not.
    fn shape_choice(&self, judge: &Judge<'_>, found: &Found) -> String {
        let Some(gain) = self.mapping.shape_gain else {
            return "uniform shape: the mapping knows nothing of what others gain".into();
        };
        let measured = format!("on {} data sets shapes gained {} of what was predicted", gain.sets, gain.in_words());
        match (found.bend, &found.rival) {
            (Bend::Uniform, _) if !gain.pays() => {
                format!("uniform shape: what others are predicted to gain is not sure: {measured}")
            }
            (Bend::Uniform, _) => "uniform shape: no other is predicted to keep more at this cost".into(),
            (bend, Some(rival)) => format!(
                "{} is predicted to keep {:.1} points more than the uniform network of this cost; {measured}",
                in_words(bend),
                100.0 * (judge.retention(&found.candidate) - judge.retention(rival)),
            ),
            (bend, None) => format!("{}: no uniform network is as cheap", in_words(bend)),
        }
    }
}

fn in_words(bend: Bend) -> String {
    match bend {
        Bend::Uniform => "the uniform shape".into(),
        Bend::Flat => "the flat shape, the same channels everywhere,".into(),
        Bend::Bent { slope, ratio } => {
            let side = |octaves: f64, what: &str| match octaves {
                0.0 => String::new(),
                o if o < 0.0 => format!("{:.2}x narrower {what}", (-o).exp2()),
                o => format!("{:.2}x wider {what}", o.exp2()),
            };
            let parts = [side(slope, "with every level down"), side(ratio, "in the decoder")];
            let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
            format!("a shape {}", parts.join(" and "))
        }
    }
}

fn planned(offer: &Offer, family: &str, size: usize) -> PlannedNetwork {
    let row = &offer.row;
    PlannedNetwork {
        family: family.into(),
        base_width: row.base_width,
        depth: row.depth,
        size,
        params: row.params,
        macs: row.macs,
        peak_activation_bytes: row.peak_activation_bytes,
        memory_bytes: row.memory_bytes,
        weight_bytes: offer.weight_bytes,
        latency_ms: offer.latency_ms,
        retention: row.retention,
    }
}

fn group_widths(spec: &NetworkSpec, full: &NetworkSpec) -> Vec<GroupWidth> {
    let full = full.widths();
    let narrowed = spec.widths();
    let free = spec.groups.iter().filter_map(|g| Some((&g.name, *narrowed.get(&g.name)?, *full.get(&g.name)?)));
    free.map(|(group, channels, full)| GroupWidth {
        group: group.clone(),
        full,
        channels,
        multiplier: channels as f64 / full as f64,
    })
    .collect()
}

/// Rows of a table of alternatives, at most.
const MOST_ALTERNATIVES: usize = 12;

/// Networks of the front of parameters, evenly spread over it, and the chosen one, the smallest first.
fn alternatives(judge: &Judge<'_>, front: &[Known], chosen: &SizeRow) -> Result<Vec<SizeRow>> {
    let count = front.len().min(MOST_ALTERNATIVES);
    let picked = (0..count).map(|i| &front[i * (front.len() - 1) / (count - 1).max(1)]);
    let rows = picked.map(|k| Ok(judge.offer(&k.candidate)?.0.row)).collect::<Result<Vec<_>>>()?;
    let mut rows: Vec<SizeRow> = rows.into_iter().filter(|r| r.widths != chosen.widths).collect();
    rows.push(chosen.clone());
    rows.sort_by(|a, b| a.params.cmp(&b.params).then(a.macs.cmp(&b.macs)));
    Ok(rows)
}
