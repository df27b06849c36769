//! The best network of one line: costs and predicted retention rise along it, so that bisection finds it.

use super::budget::Bound;
use super::judge::{Candidate, Judge};
use super::lines::Line;
use super::objective::Objective;
use crate::error::Result;

/// Networks to an octave at which the lower end of the interval is looked at, because it may fall where retention rises.
const STATIONS: f64 = 8.0;

/// The best network of `line` that meets all budgets: inside the calibrated hull if there is one, otherwise outside.
///
/// Counts and the mean prediction never fall along a line, so that for them the result is the best. Memory, latency and the lower end of the
/// interval may: then a better network of the line may be missed, but what is found still meets the budgets.
pub(super) fn best_on_line(judge: &Judge<'_>, line: &Line) -> Result<Option<Candidate>> {
    let walk = Walk { judge, line };
    let end = walk.widest()?;
    for outside in [0, 1] {
        let tier = judge.levels_away(line.level) + outside;
        let found = match judge.objective {
            Objective::Accuracy => walk.most_accurate(end, tier)?,
            _ => walk.cheapest(end, tier)?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The most accurate network of `line` that meets all budgets other than the share to keep and costs at most `most` by the
/// objective; anywhere, inside the hull or not.
pub(super) fn rival(judge: &Judge<'_>, line: &Line, most: f64) -> Result<Option<Candidate>> {
    let walk = Walk { judge, line };
    let end = walk.widest()?;
    let end = partition(0, end, |i| Ok(judge.cost(&walk.at(i))? <= most))?;
    Ok((end > 0).then(|| walk.at(end - 1)))
}

struct Walk<'a, 'b> {
    judge: &'a Judge<'b>,
    line: &'a Line,
}

impl Walk<'_, '_> {
    fn at(&self, i: usize) -> Candidate {
        self.judge.candidate(self.line.level, self.line.channels(self.judge.level(self.line.level), i))
    }

    /// Number of networks, from the first on, that meet the limits of cost.
    fn widest(&self) -> Result<usize> {
        let counted = partition(0, self.line.len(), |i| Ok(self.judge.fits_counts(&self.at(i))))?;
        if self.judge.is_dear() { partition(0, counted, |i| self.judge.fits_dear(&self.at(i))) } else { Ok(counted) }
    }

    /// The widest of the first `end` at this tier that meets all budgets; then the narrowest of those with its retention.
    fn most_accurate(&self, end: usize, tier: usize) -> Result<Option<Candidate>> {
        let Some(widest) = self.first((0..end).rev(), tier)? else { return Ok(None) };
        let (i, best) = widest;
        let retention = self.judge.retention(&best);
        let first = partition(0, i, |j| Ok(self.judge.retention(&self.at(j)) < retention))?;
        Ok(Some(self.first(first..i, tier)?.map_or(best, |(_, narrow)| narrow)))
    }

    /// The narrowest of the first `end` at this tier that meets all budgets.
    fn cheapest(&self, end: usize, tier: usize) -> Result<Option<Candidate>> {
        let first = self.first_kept(end)?;
        Ok(self.first(first..end, tier)?.map(|(_, found)| found))
    }

    /// The first that keeps the share.
    fn first_kept(&self, end: usize) -> Result<usize> {
        let drops = |i: usize| Ok(!self.judge.keeps(&self.at(i))?);
        if self.judge.budgets.keep_bound != Bound::Low {
            return partition(0, end, drops);
        }
        let mut before = 0;
        for station in self.line.stations(STATIONS) {
            if station >= end {
                break;
            }
            if !drops(station)? {
                return partition(before, station, drops);
            }
            before = station + 1;
        }
        partition(before.min(end), end, drops)
    }

    /// The first of `order` at this tier that meets all budgets.
    fn first(&self, order: impl Iterator<Item = usize>, tier: usize) -> Result<Option<(usize, Candidate)>> {
        let mut missed = 0;
        for i in order {
            let candidate = self.at(i);
            if candidate.tier != tier {
                continue;
            }
            if self.judge.meets(&candidate)? {
                return Ok(Some((i, candidate)));
            }
            // Only memory, latency and the lower end may fail here, near their edge.
            missed += 1;
            if missed > MOST_MISSES {
                break;
            }
        }
        Ok(None)
    }
}

/// Networks at the edge of a budget that may miss it before a line is given up.
const MOST_MISSES: usize = 32;

/// The first of `start..end` for which `low` does not hold, where it holds for a first part; `end` when it always holds.
fn partition(start: usize, end: usize, low: impl Fn(usize) -> Result<bool>) -> Result<usize> {
    let (mut start, mut end) = (start, end);
    while start < end {
        let middle = usize::midpoint(start, end);
        if low(middle)? { start = middle + 1 } else { end = middle }
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_finds_the_edge() {
        for edge in 0..9 {
            assert_eq!(partition(0, 8, |i| Ok(i < edge)).unwrap(), edge.min(8));
        }
        assert_eq!(partition(5, 8, |i| Ok(i < 2)).unwrap(), 5);
    }
}
