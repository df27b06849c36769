//! What is timed: the parts of an inference run, each with the form that decides how long it takes.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::schedule::{Schedule, Step, TensorId};
use crate::network::{NetworkSpec, Shapes};

/// Everything but the channels that decides how long a part of a run takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepKind {
    /// The operation with its numbers and what is carried out with it, for example `conv2d kernel 3x3 padding 1x1 + relu`.
    pub what: String,
    /// Rows of the (first) input.
    pub rows: usize,
    /// Columns of the (first) input.
    pub columns: usize,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}x{} pixels", self.what, self.rows, self.columns)
    }
}

/// A part of an inference run that is timed as one: a step, with the pooling behind it where [`Schedule::pooled_with`] names
/// one, or the transport of the image or of the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedStep {
    /// Name of what it writes.
    pub name: String,
    /// Its form.
    pub kind: StepKind,
    /// The steps of the schedule; empty for the transport of image and logits, which come first and last.
    pub steps: Range<usize>,
    /// Channels of all inputs together.
    pub inputs: Channels,
    /// Channels of the output.
    pub outputs: Channels,
}

/// A number of channels as a sum of channel groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels(Vec<(usize, usize)>);

impl Channels {
    /// The number in a network whose groups have these channels.
    #[must_use]
    pub fn of(&self, spec: &NetworkSpec) -> usize {
        self.0.iter().map(|&(group, multiple)| spec.groups[group].channels * multiple).sum()
    }
}

/// The parts of a run of `schedule`, an inference schedule of `spec`, in order: the image, all steps, the logits.
///
/// # Errors
/// [`Error::Network`] when the schedule is not one of `spec`.
pub fn timed_steps(spec: &NetworkSpec, schedule: &Schedule) -> Result<Vec<TimedStep>> {
    let shapes = Shapes::infer(spec, schedule.height, schedule.width)?;
    let walk = Walk { spec, schedule, shapes };
    let mut parts = vec![walk.transport("image", schedule.input)?];
    let mut k = 0;
    while k < schedule.forward.len() {
        let end = if schedule.pooled_with(k).is_some() { k + 2 } else { k + 1 };
        parts.push(walk.part(k..end)?);
        k = end;
    }
    parts.push(walk.transport("logits", schedule.output)?);
    Ok(parts)
}

struct Walk<'a> {
    spec: &'a NetworkSpec,
    schedule: &'a Schedule,
    shapes: Shapes,
}

impl Walk<'_> {
    fn transport(&self, what: &str, tensor: TensorId) -> Result<TimedStep> {
        let channels = self.channels(tensor)?;
        Ok(TimedStep {
            name: self.schedule.tensors[tensor].name.clone(),
            kind: self.kind(what.into(), tensor),
            steps: 0..0,
            inputs: channels.clone(),
            outputs: channels,
        })
    }

    fn part(&self, steps: Range<usize>) -> Result<TimedStep> {
        let pooled = if steps.len() > 1 { " + max_pool" } else { "" };
        let with = |relu: bool| if relu { " + relu" } else { "" };
        let (what, xs, y) = match &self.schedule.forward[steps.start] {
            Step::Convolve { layer, relu, x, y, .. } => {
                (format!("{}{}", self.words(*layer), with(*relu)), vec![*x], *y)
            }
            Step::Normalise { layer, relu, x, y } => (format!("{}{}", self.words(*layer), with(*relu)), vec![*x], *y),
            Step::MaxPool { x, y } => ("max_pool kernel 2x2".into(), vec![*x], *y),
            Step::Copy { x, y } => ("copy".into(), vec![*x], *y),
            Step::Apply { layer, xs, y } => (format!("{}{}", self.words(*layer), self.others(xs)), xs.clone(), *y),
            _ => return Err(fail(&self.spec.output, "its schedule is not one for inference")),
        };
        let inputs: Result<Vec<Channels>> = xs.iter().map(|&x| self.channels(x)).collect();
        let is_copy = matches!(self.schedule.forward[steps.start], Step::Copy { .. });
        Ok(TimedStep {
            name: self.schedule.tensors[y].name.clone(),
            kind: self.kind(what + pooled, xs[0]),
            steps,
            inputs: Channels(inputs?.into_iter().flat_map(|c| c.0).collect()),
            // The copy has no layer of its own.
            outputs: self.channels(if is_copy { xs[0] } else { y })?,
        })
    }

    fn kind(&self, what: String, tensor: TensorId) -> StepKind {
        let layout = self.schedule.layout(tensor);
        StepKind { what, rows: layout.height, columns: layout.width }
    }

    /// Inputs beside the first one that are smaller.
    fn others(&self, xs: &[TensorId]) -> String {
        let size = |x: TensorId| (self.schedule.layout(x).height, self.schedule.layout(x).width);
        let channels = |x: TensorId| self.schedule.tensors[x].channels;
        let of = |&x: &TensorId| {
            let (rows, columns) = size(x);
            let one = if channels(x) == 1 && channels(xs[0]) > 1 { " of one channel" } else { "" };
            let small = if size(x) == size(xs[0]) { String::new() } else { format!(" of {rows}x{columns} pixels") };
            one.to_string() + &small
        };
        xs.iter().skip(1).map(of).filter(|words| !words.is_empty()).map(|words| format!(" by one{words}")).collect()
    }

    /// The operation of a layer with the numbers that change its time.
    fn words(&self, layer: usize) -> String {
        const WITHOUT_EFFECT: [&str; 8] = ["op", "group", "bias", "eps", "momentum", "p", "slope", "affine"];
        let op = serde_json::to_value(&self.spec.layers[layer].op).unwrap_or_default();
        let name = op["op"].as_str().unwrap_or("layer").to_string();
        let fields = op.as_object().into_iter().flatten().filter(|(key, _)| !WITHOUT_EFFECT.contains(&key.as_str()));
        fields.fold(name, |words, (key, value)| match value.as_array() {
            Some(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                format!("{words} {key} {}", list.join("x"))
            }
            None => format!("{words} {key} {}", value.as_str().map_or_else(|| value.to_string(), str::to_string)),
        })
    }

    fn channels(&self, tensor: TensorId) -> Result<Channels> {
        let name = &self.schedule.tensors[tensor].name;
        let layer = self.spec.layer_index(name).ok_or_else(|| fail(name, "the schedule is of another network"))?;
        let segments = &self.shapes.tensors[layer].segments;
        let channels = Channels(segments.iter().map(|s| (s.group, s.multiple)).collect());
        debug_assert_eq!(channels.of(self.spec), self.schedule.tensors[tensor].channels, "{name}");
        Ok(channels)
    }
}

fn fail(layer: &str, reason: &str) -> Error {
    Error::Network { layer: layer.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::families::{Options, build, unet};
    use crate::network::schedule::Mode;

    fn steps(spec: &NetworkSpec, size: usize) -> Vec<TimedStep> {
        timed_steps(spec, &Schedule::new(spec, Mode::Infer, 1, size, size).unwrap()).unwrap()
    }

    #[test]
    fn a_unets_parts_are_named_with_what_is_fused_into_them() {
        let spec = unet(&Options { in_channels: 1, base_width: 2, depth: 1, ..Options::default() }).unwrap();
        let steps = steps(&spec, 8);
        let line = |s: &TimedStep| format!("{}: {}, {} to {}", s.name, s.kind, s.inputs.of(&spec), s.outputs.of(&spec));
        let lines: Vec<String> = steps.iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "image: image on 8x8 pixels, 1 to 1",
                "enc0.relu1: conv2d kernel 3x3 padding 1x1 + relu on 8x8 pixels, 1 to 2",
                "enc0.relu2: conv2d kernel 3x3 padding 1x1 + relu + max_pool on 8x8 pixels, 2 to 2",
                "enc1.relu1: conv2d kernel 3x3 padding 1x1 + relu on 4x4 pixels, 2 to 4",
                "enc1.relu2: conv2d kernel 3x3 padding 1x1 + relu on 4x4 pixels, 4 to 4",
                "up0.relu: conv_transpose2d kernel 2x2 + relu on 4x4 pixels, 4 to 2",
                "dec0.relu1: conv2d kernel 3x3 padding 1x1 + relu on 8x8 pixels, 4 to 2",
                "dec0.relu2: conv2d kernel 3x3 padding 1x1 + relu on 8x8 pixels, 2 to 2",
                "head: conv2d kernel 1x1 padding 0x0 on 8x8 pixels, 2 to 2",
                "head: logits on 8x8 pixels, 2 to 2",
            ]
        );
    }

    #[test]
    fn every_step_of_every_family_is_timed_once_and_counts_channels_by_group() {
        for name in crate::network::families::FAMILIES.iter().map(|f| f.name) {
            let spec = build(name, &Options { base_width: 8, depth: 3, ..Options::default() })
                .or_else(|_| build(name, &Options { base_width: 8, ..Options::default() }));
            let Ok(spec) = spec else { continue };
            let size = spec.input_multiple() * 2;
            let schedule = Schedule::new(&spec, Mode::Infer, 1, size, size).unwrap();
            let steps = timed_steps(&spec, &schedule).unwrap();
            let covered: Vec<usize> = steps.iter().flat_map(|s| s.steps.clone()).collect();
            assert_eq!(covered, (0..schedule.forward.len()).collect::<Vec<_>>(), "{name}");
        }
    }
}
