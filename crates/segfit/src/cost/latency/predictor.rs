//! [`LatencyModel`]: a table at work, fast enough for a planner.

use std::sync::{Arc, Mutex, PoisonError};

use super::steps::{Channels, StepKind, TimedStep, timed_steps};
use super::table::LatencyTable;
use crate::error::{Error, Result};
use crate::network::schedule::{Mode, Schedule};
use crate::network::{Layer, NetworkSpec};

/// Networks that differ in more than their channels and are remembered; a plan looks at one for every depth.
const MOST_REMEMBERED: usize = 64;

/// Predicts the time of networks on the device of a table.
///
/// What is the same for all widths of a network, which steps it has and where the table holds them, is worked out once and
/// remembered; then a network costs a sum of some look-ups.
pub struct LatencyModel {
    table: LatencyTable,
    remembered: Mutex<Vec<Arc<Walked>>>,
}

/// The steps of all networks with these layers.
struct Walked {
    layers: Vec<Layer>,
    groups: Vec<String>,
    /// Index into the table's steps, input and output channels.
    steps: Vec<(usize, Channels, Channels)>,
}

impl Walked {
    fn fits(&self, spec: &NetworkSpec) -> bool {
        self.groups.len() == spec.groups.len()
            && self.groups.iter().zip(&spec.groups).all(|(name, g)| *name == g.name)
            && self.layers == spec.layers
    }
}

impl LatencyModel {
    /// A model that looks things up in `table`.
    #[must_use]
    pub fn new(table: LatencyTable) -> Self {
        Self { table, remembered: Mutex::default() }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &LatencyTable {
        &self.table
    }

    /// Milliseconds that `spec` is predicted to take for one image of the table's size (rounded up to what the network
    /// accepts): the sum over the steps that the engine executes, and from it the whole.
    ///
    /// # Errors
    /// [`Error::Latency`] when the table does not hold a step of the network, or only for far fewer channels.
    pub fn milliseconds(&self, spec: &NetworkSpec) -> Result<f64> {
        let walked = self.walked(spec)?;
        let mut sum = 0.0;
        for (index, inputs, outputs) in &walked.steps {
            let step = &self.table.steps[*index];
            let (inputs, outputs) = (inputs.of(spec), outputs.of(spec));
            sum += step.times.at(inputs, outputs).ok_or_else(|| {
                let most = |axis: &[usize]| axis.last().copied().unwrap_or(0);
                self.lacking(format!(
                    "holds {} for at most {} to {} channels, and the network has {inputs} to {outputs}",
                    step.kind,
                    most(&step.times.inputs),
                    most(&step.times.outputs)
                ))
            })?;
        }
        Ok(self.table.whole.at(sum) / 1e3)
    }

    /// As [`Self::milliseconds`], and longer by [`super::LatencyError::late`]: what 19 of 20 networks do not exceed.
    ///
    /// # Errors
    /// As there.
    pub fn at_most(&self, spec: &NetworkSpec) -> Result<f64> {
        Ok(self.milliseconds(spec)? * (1.0 + self.table.late()))
    }

    fn walked(&self, spec: &NetworkSpec) -> Result<Arc<Walked>> {
        let remembered = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(walked) = remembered().iter().find(|w| w.fits(spec)) {
            return Ok(walked.clone());
        }
        let walked = Arc::new(self.walk(spec)?);
        let mut all = remembered();
        if all.len() == MOST_REMEMBERED {
            all.remove(0);
        }
        all.push(walked.clone());
        Ok(walked)
    }

    fn walk(&self, spec: &NetworkSpec) -> Result<Walked> {
        let size = self.table.conditions.size.max(1).next_multiple_of(spec.input_multiple());
        let parts = timed_steps(spec, &Schedule::new(spec, Mode::Infer, 1, size, size)?)?;
        let find = |part: TimedStep| match self.table.index(&part.kind) {
            Some(index) => Ok((index, part.inputs, part.outputs)),
            None => {
                Err(self.lacking(format!("does not hold {} ({}){}", part.kind, part.name, self.nearest(&part.kind))))
            }
        };
        Ok(Walked {
            layers: spec.layers.clone(),
            groups: spec.groups.iter().map(|g| g.name.clone()).collect(),
            steps: parts.into_iter().map(find).collect::<Result<_>>()?,
        })
    }

    /// The sizes for which it holds this operation.
    fn nearest(&self, kind: &StepKind) -> String {
        let same = self.table.steps.iter().filter(|s| s.kind.what == kind.what);
        let sizes: Vec<String> = same.map(|s| format!("{}x{}", s.kind.rows, s.kind.columns)).collect();
        if sizes.is_empty() { String::new() } else { format!("; it holds this step on {}", sizes.join(", ")) }
    }

    fn lacking(&self, what: String) -> Error {
        let about = &self.table.conditions;
        Error::Latency {
            reason: format!(
                "the table of {} ({}, {} thread(s), {}, {} pixels) {what}",
                about.device, about.networks, about.threads, about.precision, about.size
            ),
            hint: "measure a table of this network on that device: segfit bench --table FILE --network FAMILY --width \
                   CHANNELS --depth LEVELS --size PIXELS (or --network-file)"
                .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::surface::Surface;
    use super::super::table::{Conditions, LATENCY_FORMAT, StepTimes};
    use super::super::{Curve, LatencyError};
    use super::*;
    use crate::network::families::{Options, unet};

    fn network(base_width: usize, depth: usize) -> NetworkSpec {
        unet(&Options { in_channels: 1, base_width, depth, ..Options::default() }).unwrap()
    }

    /// Every step takes (1 + number of the step) times its input channels times its output channels, in microseconds.
    fn hand_made(spec: &NetworkSpec, size: usize) -> LatencyTable {
        let mut steps: Vec<StepTimes> = Vec::new();
        for part in timed_steps(spec, &Schedule::new(spec, Mode::Infer, 1, size, size).unwrap()).unwrap() {
            let factor = 1.0 + steps.len() as f64;
            if steps.iter().all(|s| s.kind != part.kind) {
                let us = vec![vec![factor, 64.0 * factor], vec![64.0 * factor, 4096.0 * factor]];
                let times = Surface { inputs: vec![1, 64], outputs: vec![1, 64], us };
                steps.push(StepTimes { kind: part.kind, times });
            }
        }
        let conditions = Conditions {
            device: "a device".into(),
            threads: 1,
            precision: "f32".into(),
            size,
            networks: "a U-Net".into(),
        };
        let (format, version) = (LATENCY_FORMAT.into(), "0".into());
        LatencyTable { format, version, conditions, error: None, whole: Curve::default(), steps }
    }

    #[test]
    fn a_network_takes_the_sum_of_its_steps() {
        let table = hand_made(&network(2, 1), 8);
        // Kinds in order of appearance: image 1, 3x3 on 8x8 2, the same with pooling 3, 3x3 on 4x4 4, up 5, head 6, logits 7.
        let by_hand = 1.0 * 1.0
            + 2.0 * (1.0 * 3.0)
            + 3.0 * (3.0 * 3.0)
            + 4.0 * (3.0 * 6.0)
            + 4.0 * (6.0 * 6.0)
            + 5.0 * (6.0 * 3.0)
            + 2.0 * (6.0 * 3.0)
            + 2.0 * (3.0 * 3.0)
            + 6.0 * (3.0 * 2.0)
            + 7.0 * (2.0 * 2.0);
        let model = LatencyModel::new(table.clone());
        let have = model.milliseconds(&network(3, 1)).unwrap() * 1e3;
        assert!((have - by_hand).abs() < 1e-9, "{have}, expected {by_hand}");
        let whole = Curve(vec![[1.0, 2.0], [1e6, 2e6]]);
        let error = Some(LatencyError { networks: 9, median: 0.1, p90: 0.2, late: 0.25 });
        let corrected = LatencyModel::new(LatencyTable { whole, error, ..table });
        assert!((corrected.milliseconds(&network(3, 1)).unwrap() * 1e3 - 2.0 * by_hand).abs() < 1e-9);
        assert!((corrected.at_most(&network(3, 1)).unwrap() * 1e3 - 2.5 * by_hand).abs() < 1e-9);
    }

    #[test]
    fn widths_of_one_network_are_told_apart_and_depths_too() {
        let mut table = hand_made(&network(2, 2), 8);
        let shallow = hand_made(&network(2, 1), 8);
        let missing = shallow.steps.iter().filter(|s| table.index(&s.kind).is_none()).cloned().collect::<Vec<_>>();
        table.steps.extend(missing);
        let model = LatencyModel::new(table);
        let times: Vec<f64> = [network(2, 1), network(3, 1), network(2, 2), network(2, 1)]
            .iter()
            .map(|spec| model.milliseconds(spec).unwrap())
            .collect();
        assert!(times[0] < times[1] && times[0] < times[2] && times[1] != times[2]);
        assert_eq!(times[0], times[3]);
        let mut wide_up = network(2, 1);
        wide_up.groups.iter_mut().find(|g| g.name == "up0").unwrap().channels = 5;
        assert!(model.milliseconds(&wide_up).unwrap() > times[0]);
    }

    #[test]
    fn what_the_table_lacks_is_named_with_the_command_that_measures_it() {
        let model = LatencyModel::new(hand_made(&network(2, 1), 8));
        let refused = |spec: &NetworkSpec| model.milliseconds(spec).unwrap_err();
        let deeper = refused(&network(2, 2));
        let text = deeper.to_string();
        assert!(text.contains("does not hold") && text.contains("enc1.relu2") && text.contains("a device"), "{text}");
        assert!(deeper.hint().unwrap().contains("segfit bench --table"));
        let wider = refused(&network(128, 1)).to_string();
        assert!(wider.contains("at most 64 to 64 channels") && wider.contains("1 to 128"), "{wider}");
    }
}
