//! A table out of networks that were measured step by step.

use std::collections::BTreeMap;

use super::curve::Curve;
use super::steps::StepKind;
use super::surface::{Point, Surface};
use super::table::{Conditions, LATENCY_FORMAT, LatencyError, LatencyTable, StepTimes};

/// A network that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredNetwork {
    /// Its steps in order.
    pub steps: Vec<MeasuredStep>,
    /// Microseconds of the whole network.
    pub us: f64,
}

/// A step that was measured inside of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredStep {
    /// Its form.
    pub kind: StepKind,
    /// Channels of all inputs.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Microseconds.
    pub us: f64,
}

/// Parts into which networks are divided; each part is predicted from the others.
const FOLDS: usize = 5;

impl LatencyTable {
    /// The table through measured networks. Its error is that of predicting each fifth of them from the others; networks
    /// that the others do not reach, the widest and those with steps of their own, are not compared.
    #[must_use]
    pub fn of(conditions: Conditions, networks: &[MeasuredNetwork]) -> Self {
        let all: Vec<&MeasuredNetwork> = networks.iter().collect();
        let mut ratios = Vec::new();
        for fold in 0..FOLDS {
            let part = |i: &usize| i % FOLDS == fold;
            let rest: Vec<&MeasuredNetwork> = (0..all.len()).filter(|i| !part(i)).map(|i| all[i]).collect();
            let steps = surfaces(&rest);
            let whole = whole(&steps, &rest);
            for network in (0..all.len()).filter(part).map(|i| all[i]) {
                ratios.extend(sum(&steps, network).map(|sum| whole.at(sum) / network.us));
            }
        }
        let steps = surfaces(&all);
        Self {
            format: LATENCY_FORMAT.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            conditions,
            error: error(&ratios),
            whole: whole(&steps, &all),
            steps: steps.into_iter().map(|(kind, times)| StepTimes { kind, times }).collect(),
        }
    }
}

type Surfaces = BTreeMap<StepKind, Surface>;

fn surfaces(networks: &[&MeasuredNetwork]) -> Surfaces {
    let mut points: BTreeMap<&StepKind, Vec<Point>> = BTreeMap::new();
    for step in networks.iter().flat_map(|n| &n.steps) {
        points.entry(&step.kind).or_default().push([step.inputs as f64, step.outputs as f64, step.us]);
    }
    points.into_iter().map(|(kind, points)| (kind.clone(), Surface::through(&points))).collect()
}

/// The sum over a network's steps, if the surfaces reach them.
fn sum(surfaces: &Surfaces, network: &MeasuredNetwork) -> Option<f64> {
    network.steps.iter().map(|step| surfaces.get(&step.kind)?.at(step.inputs, step.outputs)).sum()
}

fn whole(surfaces: &Surfaces, networks: &[&MeasuredNetwork]) -> Curve {
    let pairs: Vec<[f64; 2]> = networks.iter().filter_map(|n| Some([sum(surfaces, n)?, n.us])).collect();
    Curve::through(&pairs)
}

/// The error of predictions, from predicted / measured.
fn error(ratios: &[f64]) -> Option<LatencyError> {
    let quantile = |share: f64, of: &dyn Fn(f64) -> f64| {
        let mut values: Vec<f64> = ratios.iter().map(|&r| of(r)).collect();
        values.sort_by(f64::total_cmp);
        values.get(((values.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied()
    };
    let away = |ratio: f64| (ratio - 1.0).abs();
    Some(LatencyError {
        networks: ratios.len(),
        median: quantile(0.5, &away)?,
        p90: quantile(0.9, &away)?,
        late: quantile(0.95, &|ratio| 1.0 / ratio - 1.0)?.max(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(what: &str) -> StepKind {
        StepKind { what: what.into(), rows: 8, columns: 8 }
    }

    /// Networks of two steps, i to o and o to 2; `whole` tells their time from the sum.
    fn networks(whole: impl Fn(usize, f64) -> f64) -> Vec<MeasuredNetwork> {
        let network = |k: usize| {
            let (i, o) = (1 + k * 11 % 23, 1 + k * 7 % 29);
            let step = |what: &str, inputs: usize, outputs: usize, us: f64| MeasuredStep {
                kind: kind(what),
                inputs,
                outputs,
                us,
            };
            let steps = vec![step("wide", i, o, 5.0 + (i * o) as f64), step("head", o, 2, 1.0 + o as f64)];
            let sum = steps.iter().map(|s| s.us).sum();
            MeasuredNetwork { steps, us: whole(k, sum) }
        };
        (0..100).map(network).collect()
    }

    fn conditions() -> Conditions {
        Conditions { device: "d".into(), threads: 1, precision: "f32".into(), size: 8, networks: "n".into() }
    }

    #[test]
    fn what_whole_networks_take_beyond_their_steps_is_learnt() {
        let table = LatencyTable::of(conditions(), &networks(|_, sum| 1.5 * sum));
        let error = table.error.unwrap();
        assert!(error.networks > 90 && error.median < 0.02 && error.p90 < 0.06 && error.late < 0.08, "{error:?}");
        let wide = &table.steps.iter().find(|s| s.kind == kind("wide")).unwrap().times;
        assert!((wide.at(10, 20).unwrap() / 205.0 - 1.0).abs() < 0.03);
        assert!((table.whole.at(200.0) / 300.0 - 1.0).abs() < 0.02);
    }

    #[test]
    fn networks_that_take_longer_than_predicted_widen_what_is_promised() {
        let table = LatencyTable::of(conditions(), &networks(|k, sum| if k % 8 == 0 { 1.4 * sum } else { sum }));
        let late = table.error.unwrap().late;
        assert!((0.2..0.5).contains(&late), "{late}");
    }

    #[test]
    fn a_table_comes_back_from_its_file_and_a_spoilt_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.json");
        let table = LatencyTable::of(conditions(), &networks(|_, sum| sum));
        std::fs::write(&path, table.to_json()).unwrap();
        assert_eq!(LatencyTable::read(&path).unwrap(), table);
        let mut spoilt = table.clone();
        spoilt.steps[0].times.us[0][0] = -1.0;
        std::fs::write(&path, spoilt.to_json()).unwrap();
        let error = LatencyTable::read(&path).unwrap_err().to_string();
        assert!(error.contains("a time must be above 0"), "{error}");
        let bare = LatencyTable { steps: Vec::new(), error: None, ..table };
        std::fs::write(&path, bare.to_json()).unwrap();
        assert_eq!(LatencyTable::read(&path).unwrap(), bare);
    }
}
