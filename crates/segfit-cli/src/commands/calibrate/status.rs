//! `segfit calibrate status`: what is done, running and failed, and how long the rest will take.

use std::path::{Path, PathBuf};

use anyhow::Result;
use segfit::cost::Cost;
use segfit::predict::{Job, Manifest, collect};
use segfit_engine::run_log::RunLog;
use serde::Serialize;

use super::experiments::{failure, record_path, run_folder};
use crate::claim::is_claimed;
use crate::context::Global;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// List written by `calibrate plan`
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Folder given to `calibrate run`
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Status {
    jobs: usize,
    done: usize,
    running: usize,
    /// Begun, but no process is at it.
    interrupted: usize,
    failed: Vec<Failed>,
    left: usize,
    /// What is left for one process.
    seconds_left: Option<f64>,
    /// With as many processes as run now, at least one.
    eta_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Failed {
    index: usize,
    job: String,
    error: String,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let manifest = Manifest::read(&args.manifest)?;
    let status = status(&manifest, &args.out)?;
    global.print(&status, &text(&status))
}

fn status(manifest: &Manifest, out: &Path) -> Result<Status> {
    let (mut running, mut interrupted) = (0, 0);
    let (mut failed, mut finished, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for (index, job) in manifest.jobs.iter().enumerate() {
        let work = work(job)?;
        let record = record_path(out, &job.id);
        if record.exists() {
            let seconds = collect(&[record])?.records.iter().map(|r| r.seconds).sum();
            finished.push((work, seconds));
            continue;
        }
        let folder = run_folder(out, &job.id);
        open.push(work * (1.0 - share_done(&folder, job)));
        if is_claimed(out, &job.id) {
            running += 1;
        } else if let Some(error) = failure(out, &job.id) {
            failed.push(Failed { index, job: job.id.clone(), error });
        } else if folder.exists() {
            interrupted += 1;
        }
    }
    let seconds_left = open.iter().map(|&work| seconds_of(work, &finished)).sum::<Option<f64>>();
    Ok(Status {
        jobs: manifest.jobs.len(),
        done: finished.len(),
        running,
        interrupted,
        failed,
        left: open.len(),
        seconds_left,
        eta_seconds: seconds_left.map(|s| s / running.max(1) as f64),
    })
}

/// Multiply-accumulates of a training's forward passes, for one channel and two classes.
fn work(job: &Job) -> Result<f64> {
    let macs = Cost::of(&job.network(1, 2)?, job.recipe.input.size)?.macs;
    Ok(macs as f64 * job.recipe.steps_for(job.base_width) as f64 * job.recipe.batch as f64)
}

/// Share of the steps that the training's last log line has done.
fn share_done(folder: &Path, job: &Job) -> f64 {
    let step = RunLog::lines(folder).ok().and_then(|lines| lines.last().map(|line| line.step)).unwrap_or(0);
    (step as f64 / job.recipe.steps_for(job.base_width).max(1) as f64).min(1.0)
}

/// Finished jobs that an expectation is taken from.
const NEIGHBOURS: usize = 5;

/// Seconds to expect for `work`: at the median rate of those finished jobs whose work is most alike (in ratio), since narrow
/// networks do less work per second. `None` while nothing is finished.
fn seconds_of(work: f64, finished: &[(f64, f64)]) -> Option<f64> {
    let distance = |other: f64| (other.ln() - work.ln()).abs();
    let mut near: Vec<&(f64, f64)> = finished.iter().collect();
    if work <= 0.0 {
        return Some(0.0);
    }
    near.sort_by(|a, b| distance(a.0).total_cmp(&distance(b.0)));
    let mut rates: Vec<f64> = near.iter().take(NEIGHBOURS).map(|(work, seconds)| seconds / work).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len().saturating_sub(1) / 2).map(|rate| rate * work)
}

fn text(status: &Status) -> String {
    let Status { jobs, done, running, interrupted, left, .. } = status;
    let mut text = format!("{done} of {jobs} trainings are done, {running} running, {} failed", status.failed.len());
    if *interrupted > 0 {
        text += &format!(", {interrupted} interrupted");
    }
    match (left, status.seconds_left, status.eta_seconds) {
        (0, _, _) => {}
        (_, Some(left), Some(eta)) if *running > 1 => {
            text += &format!("\nthe rest takes {} of work: {} with {running} at a time", words(left), words(eta));
        }
        (_, Some(left), _) => text += &format!("\nthe rest takes about {}, one at a time", words(left)),
        _ => text += "\nhow long the rest takes is known when the first training is done",
    }
    for failed in &status.failed {
        text += &format!("\njob {} ({}) failed: {}", failed.index, failed.job, failed.error);
    }
    text
}

/// `45 s`, `12 min`, `3 h 05 min`.
fn words(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match (seconds, minutes) {
        (s, _) if s < 90.0 => format!("{s:.0} s"),
        (_, m) if m < 100 => format!("{m} min"),
        (_, m) => format!("{} h {:02} min", m / 60, m % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_expected_at_the_median_rate_of_like_jobs() {
        let narrow = [(10.0, 10.0), (11.0, 22.0), (12.0, 12.0)];
        let wide = [(1000.0, 100.0), (1100.0, 110.0), (900.0, 90.0), (1001.0, 300.0), (999.0, 99.9)];
        let all = [&narrow[..], &wide[..]].concat();
        assert_eq!(seconds_of(5.0, &narrow), Some(5.0), "rates 1, 1, 2");
        assert!((seconds_of(2000.0, &all).unwrap() - 200.0).abs() < 1e-9);
        assert_eq!(seconds_of(5.0, &[]), None);
        assert_eq!(seconds_of(0.0, &narrow), Some(0.0));
    }

    #[test]
    fn times_are_said_in_words() {
        assert_eq!([45.0, 700.0, 11_100.0].map(words), ["45 s", "12 min", "3 h 05 min"]);
    }
}
