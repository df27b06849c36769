//! The picture of a network: channels of every level, encoder on the left, decoder on the right.

use serde::Serialize;

use super::words::family;
use crate::plan::Plan;
use crate::predict::{Place, Side, places};

/// What `network.svg` draws.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Picture {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    title: String,
    rows: Vec<Row>,
    /// Group, scale, side, full and kept channels.
    #[serde(skip)]
    pub table: Vec<Vec<String>>,
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    label: String,
    middle: f64,
    skip: Option<Skip>,
    blocks: Vec<Block>,
    left_out: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Skip {
    from: f64,
    to: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Block {
    name: String,
    side: &'static str,
    channels: usize,
    full: usize,
    x: f64,
    kept_x: f64,
    whole: f64,
    kept: f64,
    y: f64,
    height: f64,
    text: String,
    text_x: f64,
    anchor: &'static str,
}

/// Groups of one place, taken together where there are many.
struct Bundle {
    name: String,
    channels: usize,
    full: usize,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 712.0;
/// The longest block: half of the figure, less room for its number and the skip.
const LONGEST: f64 = 190.0;
const BLOCK: f64 = 15.0;
/// More groups than this at one place are drawn as one block with their mean.
const MOST_BLOCKS: usize = 4;
/// No image can be halved more often; a damaged file may claim to.
const MOST_HALVINGS: usize = 31;

/// The picture of a plan's network, with the full network's channels as outlines.
pub(super) fn picture(plan: &Plan) -> Picture {
    let found = places(&plan.spec).unwrap_or_else(|_| vec![None; plan.spec.groups.len()]);
    let place = |group: &str| {
        let index = plan.spec.groups.iter().position(|g| g.name == group);
        index.and_then(|i| found[i]).unwrap_or(Place { scale: 0, side: Side::Encoder })
    };
    let deepest = plan.network.depth.max(plan.full.depth).min(MOST_HALVINGS);
    let bundles = |scale: usize, side: Side| -> Vec<Bundle> {
        let own = plan.widths.iter().filter(|w| place(&w.group) == Place { scale, side });
        bundled(own.map(|w| Bundle { name: w.group.clone(), channels: w.channels, full: w.full }).collect())
    };
    let widest = plan.widths.iter().map(|w| w.full).max().unwrap_or(1);
    let mut rows = Vec::new();
    let mut top = 26.0;
    for scale in 0..=deepest {
        let sides = [bundles(scale, Side::Encoder), bundles(scale, Side::Decoder)];
        let count = sides.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let height = count as f64 * (BLOCK + 3.0);
        let middle = top + height / 2.0;
        let left_out = sides.iter().all(Vec::is_empty);
        let is_joined = sides.iter().all(|s| !s.is_empty());
        let blocks: Vec<Block> = [Side::Encoder, Side::Decoder]
            .into_iter()
            .zip(&sides)
            .flat_map(|(side, own)| {
                own.iter().enumerate().map(move |(i, b)| block(b, side, top + i as f64 * (BLOCK + 3.0), widest))
            })
            .collect();
        let label = if scale == 0 { "full size".into() } else { format!("1/{}", 1_usize << scale) };
        // Room for the longest block and its number on either side.
        let skip = is_joined.then_some(Skip { from: LEFT + LONGEST + 86.0, to: RIGHT - LONGEST - 86.0 });
        rows.push(Row { label, middle, skip, blocks, left_out });
        top += height + 9.0;
    }
    let row = |w: &crate::plan::GroupWidth| {
        let Place { scale, side } = place(&w.group);
        let side = if side == Side::Encoder { "encoder" } else { "decoder" };
        vec![w.group.clone(), scale.to_string(), side.into(), w.full.to_string(), w.channels.to_string()]
    };
    let table = std::iter::once(super::figure::heading(["group", "halvings", "side", "full_channels", "channels"]));
    Picture {
        width: WIDTH,
        height: top + 4.0,
        left: LEFT,
        right: RIGHT,
        title: title(plan),
        rows,
        table: table.chain(plan.widths.iter().map(row)).collect(),
    }
}

fn title(plan: &Plan) -> String {
    let all = |f: fn(&crate::plan::GroupWidth) -> usize| plan.widths.iter().map(f);
    let range = |f: fn(&crate::plan::GroupWidth) -> usize| match (all(f).min(), all(f).max()) {
        (Some(low), Some(high)) => format!("{low} to {high}"),
        _ => "no".into(),
    };
    format!(
        "{} with {} poolings of {}: {} channels in its layers, {} at full size",
        family(&plan.network.family),
        plan.network.depth,
        plan.full.depth,
        range(|w| w.channels),
        range(|w| w.full)
    )
}

fn bundled(all: Vec<Bundle>) -> Vec<Bundle> {
    if all.len() <= MOST_BLOCKS {
        return all;
    }
    let mean = |f: fn(&Bundle) -> usize| {
        let sum: usize = all.iter().map(f).sum();
        (sum as f64 / all.len() as f64).round().max(1.0) as usize
    };
    vec![Bundle { name: format!("{} groups, mean", all.len()), channels: mean(|b| b.channels), full: mean(|b| b.full) }]
}

fn block(bundle: &Bundle, side: Side, y: f64, widest: usize) -> Block {
    let length = |channels: usize| {
        let share = (channels as f64 + 1.0).log2() / (widest.max(1) as f64 + 1.0).log2();
        (10.0 * LONGEST * share.min(1.0)).round() / 10.0
    };
    let (whole, kept) = (length(bundle.full.max(bundle.channels)), length(bundle.channels));
    let text = format!("{} of {}", bundle.channels, bundle.full);
    let (x, kept_x, text_x, anchor) = match side {
        Side::Encoder => (LEFT, LEFT, LEFT + whole + 6.0, "start"),
        Side::Decoder => (RIGHT - whole, RIGHT - kept, RIGHT - whole - 6.0, "end"),
    };
    Block {
        name: bundle.name.clone(),
        side: if side == Side::Encoder { "encoder" } else { "decoder" },
        channels: bundle.channels,
        full: bundle.full,
        x,
        kept_x,
        whole,
        kept,
        y,
        height: BLOCK,
        text,
        text_x,
        anchor,
    }
}
