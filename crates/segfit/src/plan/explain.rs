//! [`Explanation`]: why every group has its width.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::judge::{Candidate, Judge};
use super::search::Found;
use super::space::Free;
use crate::error::Result;
use crate::numbers::short;
use crate::predict::table::align;
use crate::predict::{ShapeGain, Side, Subject};

/// Measures that say how much there is to see at a scale.
const MEASURES: [&str; 5] = ["survival", "boundary", "edge", "jpeg", "entropy"];

/// Why a plan has its widths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Predicted retention of the uniform network of the same depth that meets the same limits and costs no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uniform_retention: Option<f64>,
    /// What predicted gains of shapes are worth; absent where nothing is known of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape_gain: Option<ShapeGain>,
    /// Every free group.
    pub groups: Vec<GroupReason>,
    /// Every scale and side.
    pub levels: Vec<LevelReason>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupReason {
    /// Its name.
    pub group: String,
    /// Channels of the full network.
    pub full: usize,
    /// Channels of the uniform network of the same cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uniform: Option<usize>,
    /// Channels that were chosen.
    pub channels: usize,
    /// Number of halvings of the input.
    pub scale: usize,
    /// Encoder or decoder.
    pub side: Side,
    /// Parameters that one channel costs, beside all others as they are.
    pub params_per_channel: f64,
    /// Multiply-accumulates that one channel costs.
    pub macs_per_channel: f64,
    /// Predicted retention that is lost with one channel; of the only channel, of halving what it stands for.
    pub loss_per_channel: f64,
}

/// One scale and side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelReason {
    /// Number of halvings of the input.
    pub scale: usize,
    /// Encoder or decoder.
    pub side: Side,
    /// Channels over those of the uniform network of the same cost, the geometric mean over its groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_uniform: Option<f64>,
    /// Predicted gain of a parameter here over the average of all groups.
    pub value: f64,
    /// Measures of the training images and masks at this scale.
    pub complexity: BTreeMap<String, f64>,
    /// One sentence.
    pub words: String,
}

/// The explanation of what was found.
///
/// # Errors
/// None that the plan itself did not have.
pub(super) fn explain(judge: &Judge<'_>, found: &Found) -> Result<Explanation> {
    let level = judge.level(found.candidate.level);
    let worth: Vec<Worth> = (0..level.groups.len()).map(|g| Worth::of(judge, &found.candidate, g)).collect();
    let rival = found.rival.as_ref();
    let reason = |i: usize| {
        let (group, worth) = (&level.groups[i], &worth[i]);
        let (scale, side) = place(group);
        GroupReason {
            group: group.name.clone(),
            full: group.full,
            uniform: rival.map(|r| r.channels[i]),
            channels: found.candidate.channels[i],
            scale,
            side,
            params_per_channel: worth.params,
            macs_per_channel: worth.macs,
            loss_per_channel: worth.loss,
        }
    };
    let groups: Vec<GroupReason> = (0..level.groups.len()).map(reason).collect();
    let mut places: Vec<(usize, Side)> = groups.iter().map(|g| (g.scale, g.side)).collect();
    places.sort_by_key(|&(scale, side)| match side {
        Side::Encoder => (0, scale),
        Side::Decoder => (1, usize::MAX - scale),
    });
    places.dedup();
    let levels = places.iter().map(|&at| LevelReason::of(at, &groups, &worth, judge.subject)).collect();
    Ok(Explanation {
        uniform_retention: rival.map(|r| judge.retention(r)),
        shape_gain: judge.mapping.shape_gain,
        groups,
        levels,
    })
}

fn place(group: &Free) -> (usize, Side) {
    group.place.map_or((0, Side::Encoder), |p| (p.scale, p.side))
}

/// What a channel of a group is worth.
struct Worth {
    params: f64,
    macs: f64,
    loss: f64,
    /// Effective width gained per parameter.
    rank: f64,
}

impl Worth {
    /// From one step less, or one more where there is none less.
    fn of(judge: &Judge<'_>, now: &Candidate, group: usize) -> Self {
        let free = &judge.level(now.level).groups[group];
        let less = now.channels[group] > free.step;
        let mut channels = now.channels.clone();
        channels[group] = if less { channels[group] - free.step } else { channels[group] + free.step };
        let other = judge.candidate(now.level, channels);
        let (low, high) = if less { (&other, now) } else { (now, &other) };
        let step = free.step as f64;
        let params = (high.params - low.params) as f64;
        Self {
            params: params / step,
            macs: (high.macs - low.macs) as f64 / step,
            loss: (judge.retention(high) - judge.retention(low)) / step,
            rank: (judge.rank(high) - judge.rank(low)) / params.max(1.0),
        }
    }
}

impl LevelReason {
    fn of((scale, side): (usize, Side), groups: &[GroupReason], worth: &[Worth], subject: &Subject) -> Self {
        let own: Vec<usize> =
            (0..groups.len()).filter(|&i| (groups[i].scale, groups[i].side) == (scale, side)).collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) = values.fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
            sum / f64::max(count, 1.0)
        };
        // A geometric mean, because parameters per channel differ by orders of magnitude.
        let log = |i: usize| worth[i].rank.max(1e-300).ln();
        let here = mean(&mut own.iter().map(|&i| log(i)));
        let value = (here - mean(&mut (0..groups.len()).map(log))).exp();
        let ratio = |i: usize| Some((groups[i].channels as f64 / groups[i].uniform? as f64).ln());
        let ratios: Option<Vec<f64>> = own.iter().map(|&i| ratio(i)).collect();
        let of_uniform = ratios.map(|r| mean(&mut r.into_iter()).exp());
        let complexity = complexity(subject, scale);
        let words = words(scale, side, of_uniform, value, &complexity);
        Self { scale, side, of_uniform, value, complexity, words }
    }
}

/// The measures of a scale, by their plain names.
fn complexity(subject: &Subject, scale: usize) -> BTreeMap<String, f64> {
    let name = |measure: &str| if scale == 0 { measure.into() } else { format!("{measure}@1/{}", 1_usize << scale) };
    let found = |m: &&str| Some(((*m).to_string(), *subject.measures.get(&name(m))?));
    MEASURES.iter().filter_map(found).collect()
}

fn words(scale: usize, side: Side, ratio: Option<f64>, value: f64, complexity: &BTreeMap<String, f64>) -> String {
    let side = if side == Side::Encoder { "Encoder" } else { "Decoder" };
    let at = if scale == 0 { "full resolution".into() } else { format!("1/{} resolution", 1_usize << scale) };
    let worth = match value {
        v if (0.8..=1.25).contains(&v) => {
            "a parameter here gains about as much predicted accuracy as on average".into()
        }
        v if v > 1.25 => format!("a parameter here gains {v:.1} times the predicted accuracy of the average one"),
        v => format!("a parameter here gains only {v:.2} times the predicted accuracy of the average one"),
    };
    let width = match ratio {
        None => format!("no uniform network is as cheap; {worth}"),
        Some(r) if r > 1.02 => format!("{r:.2} times as wide as uniform, as {worth}"),
        Some(r) if r < 0.98 => format!("{r:.2} times as wide as uniform, as {worth}"),
        Some(_) => format!("as wide as uniform; {worth}"),
    };
    let mut seen = Vec::new();
    if let Some(survival) = complexity.get("survival") {
        seen.push(format!("{:.0}% of the masks survive at this scale", 100.0 * survival));
    }
    if let Some(edge) = complexity.get("edge") {
        seen.push(format!("edge density {edge:.3}"));
    }
    let seen = if seen.is_empty() { String::new() } else { format!(" ({})", seen.join(", ")) };
    format!("{side} at {at}: {width}{seen}.")
}

impl Explanation {
    /// The explanation as aligned text.
    #[must_use]
    pub fn table(&self) -> String {
        let heading =
            ["channels of", "side", "scale", "full", "uniform", "chosen", "params/ch", "MACs/ch", "retention lost/ch"];
        let mut rows = vec![heading.map(String::from).to_vec()];
        for g in &self.groups {
            rows.push(vec![
                g.group.clone(),
                if g.side == Side::Encoder { "encoder".into() } else { "decoder".into() },
                if g.scale == 0 { "1".into() } else { format!("1/{}", 1_usize << g.scale) },
                g.full.to_string(),
                g.uniform.map_or_else(|| "-".into(), |u| u.to_string()),
                g.channels.to_string(),
                short(g.params_per_channel.round() as u64),
                short(g.macs_per_channel.round() as u64),
                format!("{:.5}", g.loss_per_channel),
            ]);
        }
        let mut text = align(&rows);
        text.push('\n');
        text.push_str(&self.complexity_table());
        text.push('\n');
        self.levels.iter().for_each(|level| text.push_str(&format!("{}\n", level.words)));
        text.push_str(&match self.shape_gain {
            None => "Nothing is known of what other shapes gain: only the uniform one is taken.\n".into(),
            Some(gain) => format!(
                "{} Of what shapes were predicted to gain, {} was measured on {} data sets.\n",
                if gain.pays() {
                    "Another shape than the uniform one is taken where it is predicted to keep more."
                } else {
                    "Only the uniform shape is taken."
                },
                gain.in_words(),
                gain.sets
            ),
        });
        text
    }

    fn complexity_table(&self) -> String {
        let seen: Vec<&LevelReason> = self.levels.iter().filter(|l| !l.complexity.is_empty()).collect();
        let mut names: Vec<&String> = seen.iter().flat_map(|l| l.complexity.keys()).collect();
        names.sort();
        names.dedup();
        let mut rows = vec![[vec!["measured at".to_string()], names.iter().map(|n| (*n).clone()).collect()].concat()];
        let mut scales: Vec<usize> = seen.iter().map(|l| l.scale).collect();
        scales.sort_unstable();
        scales.dedup();
        for scale in scales {
            let Some(level) = seen.iter().find(|l| l.scale == scale) else { continue };
            let cell = |n: &&String| level.complexity.get(*n).map_or_else(|| "-".into(), |v| format!("{v:.3}"));
            let at = if scale == 0 { "scale 1".into() } else { format!("scale 1/{}", 1_usize << scale) };
            rows.push([vec![at], names.iter().map(cell).collect()].concat());
        }
        if rows.len() > 1 { align(&rows) } else { String::new() }
    }
}
