//! The search: the best network of every line, then of all lines; the uniform shape is left only for a predicted gain.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::best::{best_on_line, rival};
use super::exchange::exchange;
use super::judge::{Candidate, Judge};
use super::lines::{Bend, Line};
use super::objective::Objective;
use crate::error::Result;

/// Lines of each depth whose best networks are refined.
const STARTS: usize = 4;

/// What was chosen.
pub(super) struct Found {
    pub candidate: Candidate,
    pub bend: Bend,
    /// The uniform network of its depth that meets the same limits of cost and costs no more.
    pub rival: Option<Candidate>,
}

/// All lines of all depths: the uniform ones alone where shapes are not known to gain.
pub(super) fn lines(judge: &Judge<'_>) -> Vec<Line> {
    let levels = judge.space.levels.iter().enumerate();
    levels
        .flat_map(|(index, level)| match judge.mapping.shapes_pay() {
            true => Line::all(level, index, &judge.mapping.hull),
            false => vec![Line::new(level, index, Bend::Uniform)],
        })
        .collect()
}

/// The best network that meets all budgets; `None` when there is none. The order of `lines` and the number of threads do not
/// matter.
pub(super) fn search(judge: &Judge<'_>, lines: &[Line]) -> Result<Option<Found>> {
    let found = best_of_lines(judge, lines)?;
    let Some(tier) = found.iter().map(|(c, _)| c.tier).min() else { return Ok(None) };
    let depths: std::collections::BTreeSet<usize> = found.iter().map(|(c, _)| c.level).collect();
    let mut starts: Vec<&(Candidate, &Line)> = Vec::new();
    for level in depths {
        let own = found.iter().filter(|(c, _)| c.level == level && c.tier == tier);
        starts.extend(best(judge, own.collect())?);
    }
    let refined: Vec<(Candidate, Bend)> = starts
        .par_iter()
        .map(|(start, line)| {
            // Single groups are moved only in other shapes: moving them is a shape, too.
            let refined = match line.bend {
                Bend::Uniform => start.clone(),
                _ => exchange(judge, line, start.clone())?,
            };
            Ok((refined, line.bend))
        })
        .collect::<Result<_>>()?;
    let mut chosen: Option<(Candidate, Bend)> = None;
    for other in refined {
        let better = match &chosen {
            Some(known) => order(judge, &other.0, &known.0)?.is_lt(),
            None => true,
        };
        if better {
            chosen = Some(other);
        }
    }
    let Some((candidate, bend)) = chosen else { return Ok(None) };
    let rival = uniform_rival(judge, lines, &candidate)?;
    Ok(Some(Found { candidate, bend, rival }))
}

/// The best network of every line that may be chosen, without any change of single groups.
pub(super) fn best_of_lines<'l>(judge: &Judge<'_>, lines: &'l [Line]) -> Result<Vec<(Candidate, &'l Line)>> {
    let of_line = |line: &'l Line| -> Result<Option<(Candidate, &'l Line)>> {
        let Some(candidate) = best_on_line(judge, line)? else { return Ok(None) };
        let allowed = line.bend == Bend::Uniform || gains(judge, lines, &candidate)?;
        Ok(allowed.then_some((candidate, line)))
    };
    let found: Vec<Option<_>> = lines.par_iter().map(of_line).collect::<Result<_>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// Whether a shape is predicted to keep more than the uniform network of the same depth and cost, or no uniform network is as cheap.
fn gains(judge: &Judge<'_>, lines: &[Line], shaped: &Candidate) -> Result<bool> {
    let rival = uniform_rival(judge, lines, shaped)?;
    Ok(rival.is_none_or(|rival| judge.retention(shaped) > judge.retention(&rival)))
}

fn uniform_rival(judge: &Judge<'_>, lines: &[Line], candidate: &Candidate) -> Result<Option<Candidate>> {
    let uniform = lines.iter().find(|l| l.level == candidate.level && l.bend == Bend::Uniform);
    let most = match judge.objective {
        Objective::Accuracy => f64::INFINITY,
        _ => judge.cost(candidate)?,
    };
    uniform.map_or(Ok(None), |line| rival(judge, line, most))
}

/// The best few, the first of which is the best: single groups may make more of another.
fn best<'c, 'l>(judge: &Judge<'_>, found: Vec<&'c (Candidate, &'l Line)>) -> Result<Vec<&'c (Candidate, &'l Line)>> {
    let mut best: Vec<&(Candidate, &Line)> = Vec::new();
    for other in found {
        let mut at = best.len();
        while at > 0 && order(judge, &other.0, &best[at - 1].0)?.is_lt() {
            at -= 1;
        }
        best.insert(at, other);
        best.truncate(STARTS);
    }
    Ok(best)
}

/// A total order, the better one first: what was calibrated, then the objective, then fewer parameters, less work, the shallower
/// one, and the channels themselves.
pub(super) fn order(judge: &Judge<'_>, a: &Candidate, b: &Candidate) -> Result<Ordering> {
    let cost = judge.cost(a)?.total_cmp(&judge.cost(b)?);
    let accuracy = judge.retention(b).total_cmp(&judge.retention(a));
    let counts = a.params.cmp(&b.params).then(a.macs.cmp(&b.macs));
    let name = a.level.cmp(&b.level).then_with(|| a.channels.cmp(&b.channels));
    Ok(a.tier.cmp(&b.tier).then(cost).then(accuracy).then(counts).then(name))
}
