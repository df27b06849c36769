//! `segfit predict`: the accuracy to expect at every size.

use std::path::PathBuf;

use anyhow::Result;
use segfit::files::write_json;
use segfit::predict::{NetworkOptions, curve};

use crate::context::Global;
use crate::data_options::{DataOptions, InputOptions};
use crate::network_options::FamilyOptions;
use crate::subject::{anchored, mapping, subject};

#[derive(Debug, clap::Args)]
#[command(after_help = "Nothing is trained. The complexity of the training images is measured and compared with data \
    sets on which networks of many sizes were trained before. Dice is what to expect on new images \
    of the same kind; retention is the share of the reference network's Dice. In brackets: the \
    interval that should hold the result nine times in ten.\n\n\
    Examples:\n  \
    segfit predict DATA\n  \
    segfit predict DATA --width 32 --depth 3 --size 128 --json\n  \
    segfit predict DATA --mapping mapping.json --profile profile.json")]
pub struct Args {
    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    input: InputOptions,
    #[command(flatten)]
    family: FamilyOptions,
    #[command(flatten)]
    source: PredictionOptions,
    /// Write the table as JSON to this file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// What a prediction is made from.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Prediction")]
pub struct PredictionOptions {
    /// Mapping of `segfit calibrate fit`, instead of the built-in one
    #[arg(long, value_name = "FILE")]
    pub mapping: Option<PathBuf>,
    /// Profile of `segfit measure --out`; it is measured again when it does not fit
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// A finished and evaluated run on the same data: what it reached shifts the prediction of all sizes
    #[arg(long, value_name = "RUN")]
    pub anchor: Option<PathBuf>,
}

pub fn run(args: &Args, global: &Global) -> Result<()> {
    let mapping = mapping(args.source.mapping.as_deref(), global)?;
    let dataset = args.data.open(global)?;
    let options = network_options(&args.family, &dataset, args.input.size)?;
    args.family.build(dataset.channels, dataset.classes)?;
    let (subject, _) = subject(&dataset, &args.input.spec(), args.source.profile.as_deref(), global)?;
    let mapping = anchored(mapping, args.source.anchor.as_deref(), &subject, global)?;
    let curve = curve(&mapping, &subject, &options)?;
    if let Some(path) = &args.out {
        write_json(path, &curve)?;
        global.note(&format!("written: {}", path.display()));
    }
    global.print(&curve, &curve.table())
}

/// The family of networks for a data set.
///
/// # Errors
/// When there is no such family.
pub fn network_options(
    family: &FamilyOptions,
    dataset: &segfit::data::Dataset,
    size: usize,
) -> segfit::Result<NetworkOptions> {
    let full = family.options(dataset.channels, dataset.classes)?;
    Ok(NetworkOptions {
        family: family.network.clone(),
        in_channels: full.in_channels,
        classes: full.classes,
        full_width: full.base_width,
        depth: full.depth,
        size,
    })
}
