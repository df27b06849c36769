//! `segfit calibrate plan`: the list of trainings.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use segfit::files::write_json;
use segfit::predict::{DatasetPath, Manifest, ShapeSweep, Sweep};
use segfit::recipe::{InputMode, InputSpec, Recipe};

use crate::commands::train::read_network;
use crate::context::Global;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    segfit calibrate plan A B --patch C --widths 16,8,4,2,1\n  \
    segfit calibrate plan A B --patch C --widths 4,2,1 --seeds 1,2 --append\n  \
    segfit calibrate plan A B --patch C --widths 4,2 --shapes 8 --append\n  \
    segfit calibrate plan A B --patch C --families cumednet,fc_densenet56 --widths 48,12,4 --append\n  \
    segfit calibrate plan A --networks plans/a/plan.json plans/b/plan.json --seeds 0,1,2")]
pub struct Args {
    /// Data sets whose frames are resized
    #[arg(value_name = "DATA")]
    data: Vec<PathBuf>,
    /// Data sets that are trained on patches at native resolution (tiles, large images)
    #[arg(long, value_name = "DATA", num_args = 1..)]
    patch: Vec<PathBuf>,
    /// Families of networks; see `segfit network list`
    #[arg(long, value_delimiter = ',', default_value = "unet", value_name = "FAMILY,...")]
    families: Vec<String>,
    /// Channels at full resolution
    #[arg(long, value_delimiter = ',', default_value = "16,8,4,2,1", value_name = "N,N,...")]
    widths: Vec<usize>,
    /// Poolings [default: the family's own]
    #[arg(long, value_delimiter = ',', value_name = "N,N,...")]
    depths: Vec<usize>,
    /// Seeds
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "N,N,...")]
    seeds: Vec<u64>,
    /// Instead of uniform networks, N for each data set and family that are wider in some places and narrower in others, each
    /// with the parameters of a uniform one of these widths and depths; --seed decides which
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    shapes: Option<u16>,
    /// Instead of a sweep, train these networks on every data set: plan.json or network.json of `segfit plan`
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["families", "widths", "depths", "shapes"])]
    networks: Vec<PathBuf>,
    /// Rows and columns of the network's input
    #[arg(long, default_value_t = 128, value_name = "PIXELS")]
    size: usize,
    /// Recipe file instead of the built-in one
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The list
    #[arg(long, value_name = "FILE", default_value = "manifest.json")]
    out: PathBuf,
    /// Add to the list, if it exists, what it does not have yet
    #[arg(long)]
    append: bool,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let new = listed(args, global)?;
    let (manifest, added) = if args.append && args.out.exists() {
        let mut manifest = Manifest::read(&args.out)?;
        let added = manifest.append(new);
        (manifest, added)
    } else {
        let added = new.jobs.len();
        (new, added)
    };
    write_json(&args.out, &manifest)?;
    let total = manifest.jobs.len();
    let more = if added == total { String::new() } else { format!(", {added} of them new") };
    global.print(&manifest, &format!("{total} trainings listed in {}{more}", args.out.display()))
}

fn listed(args: &Args, global: &Global) -> Result<Manifest> {
    if !args.networks.is_empty() {
        let networks = args.networks.iter().map(|path| Ok(read_network(path)?.0)).collect::<Result<Vec<_>>>()?;
        return Ok(Manifest::of_networks(&datasets(args)?, &networks, &args.seeds)?);
    }
    Ok(Manifest::of(&Sweep {
        datasets: datasets(args)?,
        families: args.families.clone(),
        widths: args.widths.clone(),
        depths: args.depths.clone(),
        seeds: args.seeds.clone(),
        shapes: args.shapes.map(|count| ShapeSweep { count: count.into(), seed: global.seed }),
    })?)
}

fn datasets(args: &Args) -> Result<Vec<(DatasetPath, Recipe)>> {
    let recipe = |mode| -> Result<Recipe> {
        let input = InputSpec { mode, size: args.size };
        match &args.recipe {
            Some(path) => Ok(Recipe { input, ..Recipe::read(path)? }),
            None => Ok(Recipe::r1(input)),
        }
    };
    let mut datasets = Vec::new();
    for (paths, mode) in [(&args.data, InputMode::Resize), (&args.patch, InputMode::Patch)] {
        for path in paths {
            datasets.push((dataset_path(path)?, recipe(mode)?));
        }
    }
    if datasets.is_empty() {
        bail!("name at least one data set");
    }
    Ok(datasets)
}

fn dataset_path(path: &Path) -> Result<DatasetPath> {
    let full = path.canonicalize().with_context(|| format!("data set {}", path.display()))?;
    let name = full.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(DatasetPath { name, path: full.display().to_string() })
}
