//! `segfit calibrate slurm`: a folder with everything that runs a list on a cluster.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use segfit::predict::Manifest;

use crate::context::Global;
use crate::together::{json, make_folder, write_together};

const SBATCH: &str = include_str!("slurm/run.sbatch");
const SNAKEFILE: &str = include_str!("slurm/Snakefile");
const SUBMITIT: &str = include_str!("slurm/submitit_example.py");
const README: &str = include_str!("slurm/README.md");

/// Slurm's own limit of an array unless the cluster says otherwise (MaxArraySize 1001).
const LARGEST_ARRAY: usize = 1001;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    segfit calibrate slurm manifest.json --out cluster --time 1:00:00 --array-limit 50\n  \
    sbatch cluster/run.sbatch")]
pub struct Args {
    /// List written by `calibrate plan`
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Folder of the scripts, the list, the logs and the results
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Time limit of one training; what is not finished by then is saved, put back into the queue and goes on
    #[arg(long, default_value = "2:00:00", value_name = "[D-]H:MM:SS", value_parser = slurm_time)]
    time: String,
    /// Cores of one training
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    cpus: u16,
    /// Memory of one training
    #[arg(long, default_value = "4G", value_name = "SIZE", value_parser = slurm_memory)]
    mem: String,
    /// Partition [default: the cluster's]
    #[arg(long, value_name = "NAME", value_parser = one_word)]
    partition: Option<String>,
    /// Trainings that run at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    array_limit: Option<u32>,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let manifest = Manifest::read(&args.manifest)?;
    if manifest.jobs.is_empty() {
        bail!("{}: the list is empty", args.manifest.display());
    }
    make_folder(&args.out)?;
    let folder = args.out.canonicalize().with_context(|| format!("finding {}", args.out.display()))?;
    // Slurm makes no folders for logs.
    make_folder(&folder.join("logs"))?;
    let values = values(args, &folder, manifest.jobs.len());
    let mut files = vec![(folder.join("manifest.json"), json(&manifest)?)];
    for (name, template) in
        [("run.sbatch", SBATCH), ("Snakefile", SNAKEFILE), ("submitit_example.py", SUBMITIT), ("README.md", README)]
    {
        files.push((folder.join(name), filled(template, &values).into_bytes()));
    }
    write_together(&folder, &files)?;
    let text =
        format!("scripts for {} trainings: sbatch {}", manifest.jobs.len(), args.out.join("run.sbatch").display());
    global.print(&serde_json::json!({"out": args.out, "jobs": manifest.jobs.len()}), &text)
}

/// What the templates' `@NAME@` stand for.
fn values(args: &Args, folder: &Path, jobs: usize) -> Vec<(&'static str, String)> {
    let limit = args.array_limit.map(|n| format!("%{n}")).unwrap_or_default();
    let partition = args.partition.as_ref().map(|p| format!("#SBATCH --partition={p}\n")).unwrap_or_default();
    let resource = args.partition.as_ref().map(|p| format!("        slurm_partition=\"{p}\",\n")).unwrap_or_default();
    let more = if jobs > LARGEST_ARRAY {
        format!(
            "#\n# The list has {jobs} trainings, more than most clusters allow in one array. Submit the others by\n#     sbatch --export=ALL,OFFSET={LARGEST_ARRAY} run.sbatch     and so on\n"
        )
    } else {
        String::new()
    };
    vec![
        ("FOLDER", folder.display().to_string()),
        ("LAST", (jobs.min(LARGEST_ARRAY) - 1).to_string()),
        ("JOBS", jobs.to_string()),
        ("LIMIT", limit),
        ("TIME", args.time.clone()),
        ("MINUTES", minutes(&args.time).to_string()),
        ("CPUS", args.cpus.to_string()),
        ("MEMORY", args.mem.clone()),
        ("MEGABYTES", megabytes(&args.mem).to_string()),
        ("PARTITION", partition),
        ("PARTITION_RESOURCE", resource),
        ("PARTITION_NAME", args.partition.clone().unwrap_or_default()),
        ("MORE", more),
    ]
}

fn filled(template: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(template.to_string(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

/// `[days-]hours:minutes:seconds`, Slurm's way.
fn slurm_time(text: &str) -> Result<String, String> {
    if parts_of_time(text).is_some_and(|seconds| seconds >= 300) {
        return Ok(text.into());
    }
    Err("expected [DAYS-]HOURS:MINUTES:SECONDS of 5 minutes or more, for example 2:00:00".into())
}

fn parts_of_time(text: &str) -> Option<u64> {
    let (days, clock) = text.split_once('-').unwrap_or(("0", text));
    let parts: Vec<u64> = clock.split(':').map(|p| p.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = parts[..] else { return None };
    let days: u64 = days.parse().ok().filter(|d| *d < 366)?;
    (hours < 1000 && minutes < 60 && seconds < 60).then_some(((24 * days + hours) * 60 + minutes) * 60 + seconds)
}

fn minutes(time: &str) -> u64 {
    parts_of_time(time).unwrap_or(0).div_ceil(60)
}

/// A whole number with K, M, G or T.
fn slurm_memory(text: &str) -> Result<String, String> {
    if megabytes(text) > 0 {
        return Ok(text.into());
    }
    Err("expected a whole number with M, G or T, for example 4G".into())
}

fn megabytes(memory: &str) -> u64 {
    let scale = match memory.chars().last() {
        Some('M') => 1,
        Some('G') => 1024,
        Some('T') => 1024 * 1024,
        _ => return 0,
    };
    memory[..memory.len() - 1].parse::<u64>().ok().filter(|n| *n < 1_000_000).map_or(0, |n| n * scale)
}

/// A name that cannot be anything else in a script.
fn one_word(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.,".contains(c);
    if !text.is_empty() && text.chars().all(fits) {
        return Ok(text.into());
    }
    Err("expected a name of letters, digits, - and _".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_memory_are_read_as_slurm_reads_them() {
        assert_eq!(["2:00:00", "1-0:00:30", "0:05:00"].map(minutes), [120, 1441, 5]);
        for bad in ["2h", "10", "0:04:59", "1:60:00", "x-1:00:00", "1:2", ""] {
            assert!(slurm_time(bad).is_err(), "{bad}");
        }
        assert_eq!(["4G", "512M", "1T"].map(megabytes), [4096, 512, 1_048_576]);
        for bad in ["4", "G", "0G", "4 G", "-1G", "é"] {
            assert!(slurm_memory(bad).is_err(), "{bad}");
        }
        assert!(one_word("gpu; rm -r x").is_err() && one_word("cpu_long").is_ok());
    }

    #[test]
    fn every_placeholder_of_the_templates_is_filled() {
        let args = Args {
            manifest: "m".into(),
            out: "o".into(),
            time: "2:00:00".into(),
            cpus: 2,
            mem: "4G".into(),
            partition: Some("long".into()),
            array_limit: Some(5),
        };
        let values = values(&args, Path::new("/somewhere"), 2000);
        for template in [SBATCH, SNAKEFILE, SUBMITIT, README] {
            let text = filled(template, &values);
            let left = text
                .split('@')
                .skip(1)
                .step_by(2)
                .find(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
            assert_eq!(left, None, "{text}");
        }
        let sbatch = filled(SBATCH, &values);
        for line in ["#SBATCH --array=0-1000%5", "#SBATCH --partition=long", "#SBATCH --time=2:00:00", "OFFSET=1001"] {
            assert!(sbatch.contains(line), "{line}\n{sbatch}");
        }
    }
}
