//! The answer for a terminal, with the curve as text.

use super::Content;
use super::words::{answer, round_count};
use crate::plan::Plan;
use crate::predict::Interval;

const ROWS: usize = 9;

/// The plan's answer in one sentence; with `columns`, also the curve of predicted Dice over the number of parameters as a plot of
/// that many characters in width, at least 40. `:` is the 90% interval, `o` the prediction, `#` the plan.
#[must_use]
pub fn summary(plan: &Plan, columns: Option<usize>) -> String {
    let mut text = answer(plan);
    if let Some(columns) = columns {
        text.push_str("\n\n");
        text.push_str(&plot(plan, columns.clamp(40, 100)));
    }
    text
}

/// What a page says at its top.
pub(super) fn headline(content: &Content<'_>) -> String {
    match (&content.runs[..], content.plan, content.profile) {
        ([run], ..) => run.headline(),
        (_, Some(plan), _) => answer(plan),
        ([_, _, ..], ..) => compared(content),
        (.., Some(profile)) => {
            format!("How complex the {} training images of {} are.", profile.images, profile.dataset)
        }
        _ => content.title.clone(),
    }
}

fn compared(content: &Content<'_>) -> String {
    let scored = content.runs.iter().filter_map(|r| Some((r, r.evaluation?.dice.mean)));
    match scored.max_by(|a, b| a.1.total_cmp(&b.1)) {
        Some((best, dice)) => {
            format!("Of {} runs, {} has the highest test Dice, {dice:.3}.", content.runs.len(), best.name)
        }
        None => format!("{} runs, none of them evaluated yet.", content.runs.len()),
    }
}

fn plot(plan: &Plan, columns: usize) -> String {
    let rows: Vec<(f64, Interval)> =
        plan.alternatives.iter().map(|r| ((r.params.max(1) as f64).log10(), r.dice)).collect();
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return String::new() };
    let width = columns.saturating_sub(8).max(1);
    let range =
        |values: &mut dyn Iterator<Item = f64>| values.fold((1.0_f64, 0.0_f64), |(l, h), v| (l.min(v), h.max(v)));
    let (low, high) = range(&mut rows.iter().flat_map(|(_, d)| [d.low, d.high]));
    let span = (high - low).max(1e-3);
    let row = |dice: f64| (((high - dice) / span) * (ROWS - 1) as f64).round().clamp(0.0, (ROWS - 1) as f64) as usize;
    let reach = (last.0 - first.0).max(1e-9);
    let column = |log: f64| ((((log - first.0) / reach) * (width - 1) as f64).round() as usize).min(width - 1);
    let mut grid = vec![vec![' '; width]; ROWS];
    for (log, dice) in &rows {
        let at = column(*log);
        // A file may say them in another order.
        let (top, bottom) = (row(dice.high).min(row(dice.low)), row(dice.low).max(row(dice.high)));
        grid[top..=bottom].iter_mut().for_each(|line| line[at] = ':');
        grid[row(dice.mean)][at] = 'o';
    }
    let at = column((plan.network.params.max(1) as f64).log10());
    grid[row(plan.predicted.dice.mean)][at] = '#';
    let mut text = String::from("predicted Dice (: 90% interval, # this plan)\n");
    for (i, line) in grid.iter().enumerate() {
        let value = high - span * i as f64 / (ROWS - 1) as f64;
        let label = if i % 4 == 0 { format!("{value:6.3}") } else { " ".repeat(6) };
        text.push_str(format!("{label} |{}", line.iter().collect::<String>()).trim_end());
        text.push('\n');
    }
    let (from, to) = (round_count(10_f64.powf(first.0)), round_count(10_f64.powf(last.0)));
    let middle = format!("{:^1$}", "weights, logarithmic", width.saturating_sub(from.len() + to.len()));
    text + &format!("{}+{}\n{}{from}{middle}{to}\n", " ".repeat(7), "-".repeat(width), " ".repeat(8))
}
