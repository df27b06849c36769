//! Which channel lies where in the packed planes of every tensor.

use std::collections::BTreeMap;

use segfit::network::schedule::{Schedule, Step, TensorId};
use segfit::network::{NetworkSpec, Op};

use crate::backend::{ActivationRanges, Precision};
use crate::error::{Error, Result};

/// What one slot of an element holds: `scale * value` is the channel, or its negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// Channel of the tensor.
    pub channel: usize,
    /// Whether it is the negative part.
    pub negative: bool,
    /// Value of one unit, 1 for bf16.
    pub scale: f32,
}

impl Slot {
    /// -1 for a negative part, else 1.
    pub fn sign(self) -> f32 {
        if self.negative { -1.0 } else { 1.0 }
    }
}

/// Slots of a tensor, a whole number of elements; `None` is a zero that fills the last element.
pub type Slots = Vec<Option<Slot>>;

/// A schedule whose planes are packed.
#[derive(Clone, Debug)]
pub struct PackedPlan {
    /// Buffers and tensors count packed planes; the logits stay f32.
    pub schedule: Schedule,
    /// By tensor; empty for the logits.
    pub slots: Vec<Slots>,
}

struct Planner<'a> {
    schedule: &'a Schedule,
    precision: Precision,
    ranges: Option<&'a ActivationRanges>,
    device: &'a str,
    /// Slots of the tensors that a step writes, once they are known.
    written: BTreeMap<TensorId, Slots>,
}

/// Finds the slots of every tensor, and memory for the packed planes.
pub fn plan(
    spec: &NetworkSpec,
    schedule: Schedule,
    precision: Precision,
    ranges: Option<&ActivationRanges>,
    device: &str,
) -> Result<PackedPlan> {
    let mut planner = Planner { schedule: &schedule, precision, ranges, device, written: BTreeMap::new() };
    planner.walk(spec)?;
    let slots: Result<Vec<Slots>> = (0..schedule.tensors.len())
        .map(|t| if t == schedule.output { Ok(Vec::new()) } else { planner.slots(t) })
        .collect();
    let slots = slots?;
    let planes: Vec<(usize, usize)> = (0..schedule.tensors.len()).map(|t| planner.planes(t)).collect();
    Ok(PackedPlan { schedule: schedule.with_planes(&planes), slots })
}

/// The name of an operation in network files.
fn kind(op: &Op) -> String {
    let value = serde_json::to_value(op).unwrap_or_default();
    value["op"].as_str().unwrap_or("this layer").to_owned()
}

impl Planner<'_> {
    fn per_element(&self) -> usize {
        if self.precision == Precision::Int8 { 4 } else { 2 }
    }

    fn unsupported(&self, tensor: TensorId, reason: impl Into<String>) -> Error {
        Error::Unsupported {
            what: format!("layer {} in {}", self.schedule.tensors[tensor].name, self.precision.name()),
            device: self.device.into(),
            reason: reason.into(),
        }
    }

    /// Visits the steps in their order: what a step writes depends on what it reads.
    fn walk(&mut self, spec: &NetworkSpec) -> Result<()> {
        let (input, output) = (self.schedule.input, self.schedule.output);
        let image = self.fresh(input, true)?;
        self.written.insert(input, image);
        let mut has_output = false;
        for step in &self.schedule.forward {
            let (slots, y) = match *step {
                Step::Convolve { y, .. } | Step::Normalise { y, .. } if y == output => {
                    has_output = true;
                    continue;
                }
                Step::Convolve { relu, y, .. } | Step::Normalise { relu, y, .. } => (self.fresh(y, !relu)?, y),
                Step::MaxPool { x, y } => {
                    let slots = self.slots(x)?;
                    if slots.iter().flatten().any(|s| s.negative) {
                        return Err(self.unsupported(y, "it pools values that can be negative (no ReLU in front)"));
                    }
                    (slots, y)
                }
                Step::Copy { x, y } => (self.slots(x)?, y),
                Step::Apply { layer, y, .. } => {
                    return Err(
                        self.unsupported(y, format!("{} is executed in f32 only", kind(&spec.layers[layer].op)))
                    );
                }
                _ => unreachable!("an inference schedule has forward steps only"),
            };
            self.written.insert(y, slots);
        }
        let of = |t: TensorId| (self.schedule.tensors[t].buffer, t);
        let shares = self.written.keys().any(|&t| of(t).0 == of(output).0);
        let read = self.schedule.forward.iter().any(|s| s.tensors()[0] == output);
        if !has_output || shares || read {
            let reason = format!("{} must be a convolution that no other layer reads", spec.output);
            return Err(self.unsupported(output, reason));
        }
        Ok(())
    }

    /// Slots of a tensor that is computed: int8 has positive and negative parts where it is `signed`.
    fn fresh(&self, tensor: TensorId, signed: bool) -> Result<Slots> {
        let channels = 0..self.schedule.tensors[tensor].channels;
        let mut slots: Slots = if self.precision == Precision::Int8 {
            let scale = self.scale(tensor)?;
            let parts: &[bool] = if signed { &[false, true] } else { &[false] };
            channels
                .flat_map(|channel| parts.iter().map(move |&n| Some(Slot { channel, negative: n, scale })))
                .collect()
        } else {
            channels.map(|channel| Some(Slot { channel, negative: false, scale: 1.0 })).collect()
        };
        slots.resize(slots.len().next_multiple_of(self.per_element()), None);
        Ok(slots)
    }

    /// Value of one unit of an int8 tensor.
    fn scale(&self, tensor: TensorId) -> Result<f32> {
        let name = &self.schedule.tensors[tensor].name;
        let Some(&range) = self.ranges.and_then(|r| r.ranges.get(name)) else {
            return Err(self.unsupported(tensor, "int8 needs the range of its values; calibrate the network first"));
        };
        if !range.is_finite() || range < 0.0 {
            return Err(self.unsupported(tensor, format!("its calibrated range is {range}")));
        }
        // A tensor that is always zero can have any scale.
        Ok(if range < f32::MIN_POSITIVE * 1024.0 { 1.0 } else { range / 255.0 })
    }

    /// The tensors written by steps that make up a tensor: itself, or the parts of a concatenation.
    fn parts(&self, tensor: TensorId) -> Vec<TensorId> {
        if self.written.contains_key(&tensor) {
            return vec![tensor];
        }
        let whole = &self.schedule.tensors[tensor];
        let mut parts: Vec<TensorId> = self.written.keys().copied().collect();
        parts.retain(|&t| {
            let t = &self.schedule.tensors[t];
            t.buffer == whole.buffer
                && t.first_channel >= whole.first_channel
                && t.first_channel + t.channels <= whole.first_channel + whole.channels
        });
        parts.sort_by_key(|&t| self.schedule.tensors[t].first_channel);
        parts
    }

    fn slots(&self, tensor: TensorId) -> Result<Slots> {
        let whole = &self.schedule.tensors[tensor];
        let (mut slots, mut channels) = (Slots::new(), 0);
        for part in self.parts(tensor) {
            channels += self.schedule.tensors[part].channels;
            let shift = self.schedule.tensors[part].first_channel - whole.first_channel;
            slots.extend(self.written[&part].iter().map(|s| s.map(|s| Slot { channel: s.channel + shift, ..s })));
        }
        if channels != whole.channels {
            return Err(self.unsupported(tensor, "it reads channels before they are computed"));
        }
        Ok(slots)
    }

    /// First plane inside the buffer, and number of planes.
    fn planes(&self, tensor: TensorId) -> (usize, usize) {
        let this = &self.schedule.tensors[tensor];
        if tensor == self.schedule.output {
            return (0, this.channels);
        }
        let groups = |t: TensorId| self.written[&t].len() / self.per_element();
        let before = self.written.keys().filter(|&&t| {
            let t = &self.schedule.tensors[t];
            t.buffer == this.buffer && t.first_channel < this.first_channel
        });
        (before.map(|&t| groups(t)).sum(), self.parts(tensor).into_iter().map(groups).sum())
    }
}
