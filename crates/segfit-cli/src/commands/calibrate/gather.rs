//! `segfit calibrate collect`: the records of many runs in one file.

use std::cmp::Reverse;
use std::path::PathBuf;

use anyhow::{Result, bail};
use segfit::files::write_atomically;
use segfit::predict::{Record, collect};

use crate::context::Global;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Record files, or folders of them; records of other engines are welcome
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The gathered records, one JSON object a line
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where records of one job contradict each other, keep the first one instead of refusing
    #[arg(long)]
    keep_conflicts: bool,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let mut found = collect(&args.paths)?;
    for torn in &found.torn {
        global.note(&format!("warning: {torn}: unfinished line skipped"));
    }
    for conflict in &found.conflicts {
        global.note(&format!("job {}: {} and {} contradict each other", conflict.job, conflict.kept, conflict.dropped));
    }
    let conflicts = found.conflicts.len();
    if conflicts > 0 && !args.keep_conflicts {
        bail!(
            "{conflicts} record(s) contradict others of the same job; remove the wrong ones, or --keep-conflicts keeps the first of each"
        );
    }
    found.records.sort_by(|a, b| order(a).cmp(&order(b)));
    let lines = found.records.iter().map(Record::line).collect::<segfit::Result<Vec<String>>>()?;
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    write_atomically(&args.out, text.as_bytes())?;
    let value =
        serde_json::json!({"records": found.records.len(), "duplicates": found.duplicates, "conflicts": conflicts});
    let text =
        format!("{} records in {}, {} duplicates dropped", found.records.len(), args.out.display(), found.duplicates);
    global.print(&value, &text)
}

/// By data set and family, the widest first.
fn order(r: &Record) -> (&str, &str, Reverse<usize>, usize, u64, u32, &str, &str) {
    let (width, depth) = (Reverse(r.base_width), r.depth);
    (&r.dataset.name, &r.family, width, depth, r.seed, r.attempt, &r.job, &r.engine)
}
