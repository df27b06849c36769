//! Single groups: what rounding leaves of the budgets is used up, or what is kept beyond the share is saved.
//!
//! A group moves at most half an octave from the line's exact width, or one step where steps are coarser, and the network stays as
//! near to what was calibrated. Every move is costed exactly; it is the greedy choice by predicted gain per cost, first in large strides, then one by one; then
//! every group is tried one stride the other way, in case the others make more of it.

use super::judge::{Candidate, Judge};
use super::lines::Line;
use super::objective::Objective;
use crate::error::Result;

/// Octaves by which a group may leave its line.
const OCTAVES: f64 = 0.5;

/// First strides are this share of a group's channels.
const FIRST_STRIDE: usize = 8;

/// Rounds in which groups are tried the other way.
const ROUNDS: usize = 6;

/// The network that single groups make of `start`, the best of `line`; never worse than it by the objective.
pub(super) fn exchange(judge: &Judge<'_>, line: &Line, start: Candidate) -> Result<Candidate> {
    let search = Exchange { judge, range: range(judge, line, &start), tier: start.tier };
    if judge.objective == Objective::Accuracy { search.more_accurate(start) } else { search.cheaper(start) }
}

/// Fewest and most channels of every group.
fn range(judge: &Judge<'_>, line: &Line, start: &Candidate) -> Vec<(usize, usize)> {
    let level = judge.level(line.level);
    let last = (0..line.len()).rfind(|&i| line.channels(level, i) == start.channels).unwrap_or(0);
    let (narrow, wide) = line.exact(level, last);
    let exact = narrow.into_iter().zip(wide);
    let groups = level.groups.iter().zip(&start.channels).zip(exact);
    groups
        .map(|((g, &now), (narrow, wide))| {
            let step = g.step as f64;
            let low = (narrow * (-OCTAVES).exp2() / step).ceil() as usize * g.step;
            let high = (wide * OCTAVES.exp2() / step).floor() as usize * g.step;
            (low.min(now.saturating_sub(g.step)).max(g.low), high.max(now + g.step).min(g.high))
        })
        .collect()
}

struct Exchange<'a, 'b> {
    judge: &'a Judge<'b>,
    range: Vec<(usize, usize)>,
    tier: usize,
}

impl Exchange<'_, '_> {
    fn more_accurate(&self, start: Candidate) -> Result<Candidate> {
        let before = self.judge.retention(&start);
        let mut best = self.widened(start.clone())?;
        let improve = |known: &Candidate, from: Candidate| -> Result<Option<Candidate>> {
            let other = self.widened(from)?;
            Ok((self.judge.rank(&other) > self.judge.rank(known) + 1e-12).then_some(other))
        };
        self.kicked(&mut best, false, &improve)?;
        // Where the prediction is flat, nothing was gained.
        let after = self.judge.retention(&best);
        if after <= before || !self.judge.meets(&best)? {
            return Ok(start);
        }
        self.narrowed(best, &|c: &Candidate| Ok(self.judge.retention(c) >= after), Objective::Params)
    }

    fn cheaper(&self, start: Candidate) -> Result<Candidate> {
        let objective = self.judge.objective;
        let keeps = |c: &Candidate| self.judge.meets(c);
        let mut best = self.narrowed(start, &keeps, objective)?;
        let improve = |known: &Candidate, from: Candidate| -> Result<Option<Candidate>> {
            let other = self.narrowed(from, &keeps, objective)?;
            let cheaper = self.judge.cost(&other)? < self.judge.cost(known)?;
            Ok((cheaper && self.judge.meets(&other)?).then_some(other))
        };
        self.kicked(&mut best, true, &improve)?;
        Ok(best)
    }

    /// Tries every group one step the other way. Not where memory or latency count: each try needs many of them.
    fn kicked(
        &self,
        best: &mut Candidate,
        wider: bool,
        improve: &dyn Fn(&Candidate, Candidate) -> Result<Option<Candidate>>,
    ) -> Result<()> {
        let costs = [Objective::Memory, Objective::Latency];
        if self.judge.is_dear() || costs.contains(&self.judge.objective) {
            return Ok(());
        }
        for _ in 0..ROUNDS {
            let mut improved = false;
            for group in 0..self.range.len() {
                let Some(kick) = self.moved(best, group, 1, wider) else { continue };
                if let Some(better) = improve(best, kick)? {
                    *best = better;
                    improved = true;
                }
            }
            if !improved {
                break;
            }
        }
        Ok(())
    }

    /// The network with `steps` more (or fewer) steps in a group, if that is inside its range and no farther from what was calibrated.
    fn moved(&self, from: &Candidate, group: usize, steps: usize, wider: bool) -> Option<Candidate> {
        self.calibrated(from.level, self.channels(from, group, steps, wider)?)
    }

    fn channels(&self, from: &Candidate, group: usize, steps: usize, wider: bool) -> Option<Vec<usize>> {
        let step = self.judge.level(from.level).groups[group].step * steps;
        let now = from.channels[group];
        let next = if wider { now + step } else { now.checked_sub(step)? };
        let (low, high) = self.range[group];
        if !(low..=high).contains(&next) {
            return None;
        }
        let mut channels = from.channels.clone();
        channels[group] = next;
        Some(channels)
    }

    fn calibrated(&self, level: usize, channels: Vec<usize>) -> Option<Candidate> {
        Some(self.judge.candidate(level, channels)).filter(|c| c.tier <= self.tier)
    }

    /// [`Self::moved`] to a wider network that meets the limits of what is counted, which are looked at first: most moves fail there.
    fn affordable(&self, from: &Candidate, group: usize, steps: usize) -> Option<Candidate> {
        let channels = self.channels(from, group, steps, true).filter(|c| self.judge.fits(from.level, c))?;
        self.calibrated(from.level, channels)
    }

    fn first_strides(&self, from: &Candidate) -> Vec<usize> {
        let groups = self.judge.level(from.level).groups.iter().zip(&from.channels);
        groups.map(|(g, c)| (c / g.step / FIRST_STRIDE).max(1)).collect()
    }

    /// Widens the group with the best gain for the largest share that it takes of any budget, while all budgets hold.
    fn widened(&self, mut now: Candidate) -> Result<Candidate> {
        let mut strides = self.first_strides(&now);
        while strides.iter().any(|&s| s > 0) {
            let rank = self.judge.rank(&now);
            let mut best: Option<(f64, usize, Candidate)> = None;
            for (group, stride) in strides.iter_mut().enumerate() {
                while *stride > 0 {
                    let Some(moved) = self.affordable(&now, group, *stride) else {
                        *stride /= 2;
                        continue;
                    };
                    let value = (self.judge.rank(&moved) - rank) / self.price(&now, &moved);
                    if best.as_ref().is_none_or(|b| value > b.0) {
                        best = Some((value, group, moved));
                    }
                    break;
                }
            }
            let Some((_, group, moved)) = best else { break };
            if !self.judge.is_dear() || self.judge.fits_dear(&moved)? {
                now = moved;
            } else {
                strides[group] /= 2;
            }
        }
        Ok(now)
    }

    /// The largest share that a move takes of what a budget has left; of the parameters where no count has a limit.
    fn price(&self, now: &Candidate, moved: &Candidate) -> f64 {
        let budgets = &self.judge.budgets;
        let share = |most: Option<u64>, now: u64, then: u64| {
            most.map(|most| (then - now) as f64 / (most.saturating_sub(now)).max(1) as f64)
        };
        let shares = [
            share(budgets.max_params, now.params, moved.params),
            share(budgets.max_macs, now.macs, moved.macs),
            share(budgets.max_weights, now.weight_bytes, moved.weight_bytes),
        ];
        let largest = shares.into_iter().flatten().fold(0.0, f64::max);
        if largest > 0.0 { largest } else { (moved.params - now.params) as f64 / now.params.max(1) as f64 }
    }

    /// Narrows the group that saves most for what it loses, while `allowed`.
    fn narrowed(
        &self,
        mut now: Candidate,
        allowed: &dyn Fn(&Candidate) -> Result<bool>,
        saving: Objective,
    ) -> Result<Candidate> {
        let mut strides = self.first_strides(&now);
        while strides.iter().any(|&s| s > 0) {
            let (rank, cost) = (self.judge.rank(&now), self.judge.cost_of(&now, saving)?);
            let mut moves: Vec<(f64, usize, Candidate)> = Vec::new();
            for (group, stride) in strides.iter_mut().enumerate() {
                while *stride > 0 {
                    let Some(moved) = self.moved(&now, group, *stride, false) else {
                        *stride /= 2;
                        continue;
                    };
                    let saved = cost - self.judge.cost_of(&moved, saving)?;
                    if saved > 0.0 {
                        moves.push((saved / (rank - self.judge.rank(&moved)).max(1e-12), group, moved));
                    } else {
                        *stride = 0;
                    }
                    break;
                }
            }
            moves.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let mut next = None;
            for (_, group, moved) in moves {
                if allowed(&moved)? {
                    next = Some(moved);
                    break;
                }
                // Narrower networks only lose more: this stride stays too long.
                strides[group] /= 2;
            }
            match next {
                Some(moved) => now = moved,
                None if strides.iter().all(|&s| s == 0) => break,
                None => {}
            }
        }
        Ok(now)
    }
}
