//! Loss and backward steps: the forward steps in reverse, gradients of concatenations by views as in the forward pass.

use super::super::spec::{NetworkSpec, Op};
use super::{Buffer, Schedule, Step, Tensor, TensorId};

/// Gives the losses their gradients and fills in the backward steps.
pub(super) fn plan(spec: &NetworkSpec, schedule: &mut Schedule) {
    let mut steps = std::mem::take(&mut schedule.forward);
    let mut planner = Planner {
        gradients: vec![None; schedule.tensors.len()],
        buffers: vec![None; schedule.buffers.len()],
        written: Vec::new(),
        trained: trained_channels(spec, schedule, &steps),
        owned: owned_tensors(schedule, &steps),
        first_gradient_buffer: schedule.buffers.len(),
        schedule,
    };
    for step in &mut steps {
        if let Step::Loss { logits, gradient, .. } = step {
            *gradient = planner.gradient_of_loss(*logits);
        }
    }
    for step in steps.iter().rev() {
        planner.reverse(spec, step);
    }
    schedule.forward = steps;
}

/// For each buffer: the channels whose values depend on a trained parameter.
fn trained_channels(spec: &NetworkSpec, schedule: &Schedule, steps: &[Step]) -> Vec<Vec<bool>> {
    let mut trained: Vec<Vec<bool>> = schedule.buffers.iter().map(|b| vec![false; b.channels]).collect();
    for step in steps {
        let (xs, y, own) = match step {
            Step::Convolve { x, y, .. } | Step::Normalise { x, y, .. } => (std::slice::from_ref(x), *y, true),
            Step::MaxPool { x, y } | Step::Copy { x, y } => (std::slice::from_ref(x), *y, false),
            Step::Apply { layer, xs, y } => (&xs[..], *y, spec.layers[*layer].op.has_plain_parameters()),
            _ => continue,
        };
        let range = |t: TensorId| {
            let Tensor { buffer, first_channel, channels, .. } = schedule.tensors[t];
            (buffer, first_channel..first_channel + channels)
        };
        let reached = own || xs.iter().map(|&x| range(x)).any(|(b, channels)| trained[b][channels].contains(&true));
        let (buffer, channels) = range(y);
        trained[buffer][channels].fill(reached);
    }
    trained
}

/// For each tensor: whether it has a buffer to itself and only one step that reads it, which no loss does.
fn owned_tensors(schedule: &Schedule, steps: &[Step]) -> Vec<bool> {
    let mut tensors = vec![0; schedule.buffers.len()];
    schedule.tensors.iter().for_each(|t| tensors[t.buffer] += 1);
    let mut readers = vec![0; schedule.buffers.len()];
    for step in steps {
        let read = match step {
            Step::Loss { logits, .. } => vec![*logits; 2],
            Step::Apply { xs, .. } => xs.clone(),
            _ => step.tensors()[..1].to_vec(),
        };
        read.into_iter().for_each(|t| readers[schedule.tensors[t].buffer] += 1);
    }
    schedule.tensors.iter().map(|t| tensors[t.buffer] == 1 && readers[t.buffer] == 1).collect()
}

struct Planner<'a> {
    schedule: &'a mut Schedule,
    /// Gradient of each forward tensor.
    gradients: Vec<Option<TensorId>>,
    /// Gradient buffer of each forward buffer.
    buffers: Vec<Option<usize>>,
    /// For each gradient buffer: which channels hold a gradient already.
    written: Vec<Vec<bool>>,
    /// By forward buffer: [`trained_channels`].
    trained: Vec<Vec<bool>>,
    /// By forward tensor: [`owned_tensors`].
    owned: Vec<bool>,
    first_gradient_buffer: usize,
}

impl Planner<'_> {
    fn reverse(&mut self, spec: &NetworkSpec, step: &Step) {
        match *step {
            Step::Convolve { layer, relu, x, y, .. } => {
                let dy = self.complete(y);
                if relu {
                    self.schedule.backward.push(Step::ReluBackward { y, dy });
                }
                self.schedule.backward.push(Step::ConvolveBackwardWeights { layer, x, dy });
                if let Some((dx, accumulate)) = self.claim_for(x) {
                    self.schedule.backward.push(Step::ConvolveBackwardData { layer, dy, dx, accumulate });
                }
            }
            Step::Normalise { layer, relu, x, y } => {
                let dy = self.complete(y);
                self.schedule.backward.push(Step::NormaliseBackward { layer, relu, x, dy });
                if self.owned[x] && self.gradients[x].is_none() {
                    self.gradients[x] = Some(dy);
                } else {
                    self.hand_on(dy, x);
                }
            }
            Step::MaxPool { x, y } if self.is_trained(y) => {
                let dy = self.complete(y);
                if let Some((dx, accumulate)) = self.claim_for(x) {
                    self.schedule.backward.push(Step::MaxPoolBackward { x, dy, dx, accumulate });
                }
            }
            Step::Copy { x, y } if self.is_trained(y) => {
                let dy = self.complete(y);
                self.hand_on(dy, x);
            }
            Step::Apply { layer, ref xs, y } if self.is_trained(y) => {
                let dy = self.complete(y);
                let reads = spec.layers[layer].op.backward_reads();
                self.zero_where_shared(xs);
                let in_place = self.replacing(&spec.layers[layer].op, xs);
                let gradient_of = |(k, &x): (usize, &TensorId)| {
                    if in_place == Some(k) {
                        self.gradients[x] = Some(dy);
                        return Some((dy, false));
                    }
                    self.claim_for(x)
                };
                let dxs = xs.iter().enumerate().map(gradient_of).collect();
                let xs = xs.iter().map(|&x| reads.inputs.then_some(x)).collect();
                let y = reads.output.then_some(y);
                self.schedule.backward.push(Step::ApplyBackward { layer, xs, y, dy, dxs });
            }
            _ => {}
        }
    }

    /// Inputs of one layer that share channels: all of their gradients are added to zeros, in whatever order.
    fn zero_where_shared(&mut self, xs: &[TensorId]) {
        for (i, &x) in xs.iter().enumerate() {
            let shares = |&other: &TensorId| {
                let (a, b) = (&self.schedule.tensors[x], &self.schedule.tensors[other]);
                let apart =
                    a.first_channel + a.channels <= b.first_channel || b.first_channel + b.channels <= a.first_channel;
                a.buffer == b.buffer && !apart
            };
            if xs.iter().enumerate().any(|(j, other)| i != j && shares(other)) && self.is_trained(x) {
                let gradient = self.gradient(x);
                self.zero(gradient);
            }
        }
    }

    /// The input (by position) whose gradient may take the place of the output's.
    fn replacing(&self, op: &Op, xs: &[TensorId]) -> Option<usize> {
        let fits = op.is_activation()
            || matches!(op, Op::InstanceNorm { .. } | Op::GroupNorm { .. } | Op::Dropout { .. } | Op::Add);
        let may = |x: TensorId| self.owned[x] && self.gradients[x].is_none() && self.is_trained(x);
        xs.iter().position(|&x| may(x)).filter(|_| fits)
    }

    /// The gradient `dy` also is, or is added to, that of `x`.
    fn hand_on(&mut self, dy: TensorId, x: TensorId) {
        if let Some((dx, accumulate)) = self.claim_for(x) {
            self.schedule.backward.push(Step::CopyBackward { dy, dx, accumulate });
        }
    }

    fn is_trained(&self, tensor: TensorId) -> bool {
        let Tensor { buffer, first_channel, channels, .. } = self.schedule.tensors[tensor];
        self.trained[buffer][first_channel..first_channel + channels].contains(&true)
    }

    /// The gradient of a forward tensor that a step is about to write, and whether it must add to what is there; none where
    /// no trained parameter lies behind it.
    fn claim_for(&mut self, tensor: TensorId) -> Option<(TensorId, bool)> {
        if !self.is_trained(tensor) {
            return None;
        }
        let gradient = self.gradient(tensor);
        Some((gradient, self.claim(gradient)))
    }

    /// The tensor that a loss writes its gradient to: that of the logits, or, where another loss has written it, a new one
    /// that is added to it.
    fn gradient_of_loss(&mut self, logits: TensorId) -> TensorId {
        let gradient = self.gradient(logits);
        let fresh = self.unwritten(gradient).iter().map(|run| run.len()).sum::<usize>()
            == self.schedule.tensors[gradient].channels;
        if fresh {
            self.claim(gradient);
            return gradient;
        }
        let Tensor { name, buffer, channels, .. } = self.schedule.tensors[gradient].clone();
        let layout = self.schedule.buffers[buffer].layout;
        let floats = self.schedule.batch * channels * layout.plane_stride();
        self.schedule.buffers.push(Buffer { channels, layout, floats, offset: 0, born: usize::MAX, dies: 0 });
        self.written.push(vec![true; channels]);
        let buffer = self.schedule.buffers.len() - 1;
        self.schedule.tensors.push(Tensor { name: format!("{name}[again]"), buffer, first_channel: 0, channels });
        let apart = self.schedule.tensors.len() - 1;
        self.claim(gradient);
        self.schedule.backward.push(Step::CopyBackward { dy: apart, dx: gradient, accumulate: true });
        apart
    }

    /// The gradient tensor of a forward tensor, in a buffer of the same form.
    fn gradient(&mut self, tensor: TensorId) -> TensorId {
        if let Some(id) = self.gradients[tensor] {
            return id;
        }
        let Tensor { name, buffer, first_channel, channels } = self.schedule.tensors[tensor].clone();
        let buffer = match self.buffers[buffer] {
            Some(found) => found,
            None => {
                let copy = Buffer { born: usize::MAX, dies: 0, ..self.schedule.buffers[buffer].clone() };
                self.written.push(vec![false; copy.channels]);
                self.schedule.buffers.push(copy);
                *self.buffers[buffer].insert(self.schedule.buffers.len() - 1)
            }
        };
        self.schedule.tensors.push(Tensor { name: format!("d:{name}"), buffer, first_channel, channels });
        *self.gradients[tensor].insert(self.schedule.tensors.len() - 1)
    }

    /// Runs of channels of a gradient (counted in its buffer) that nothing has been written to.
    fn unwritten(&self, gradient: TensorId) -> Vec<std::ops::Range<usize>> {
        let Tensor { buffer, first_channel, channels, .. } = self.schedule.tensors[gradient];
        let written = &self.written[buffer - self.first_gradient_buffer];
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for c in (first_channel..first_channel + channels).filter(|&c| !written[c]) {
            match runs.last_mut().filter(|run| run.end == c) {
                Some(run) => run.end += 1,
                None => runs.push(c..c + 1),
            }
        }
        runs
    }

    /// Notes that a step is about to write this gradient; whether it must add to what is there. Where that is true of some
    /// channels only, the others become zero.
    fn claim(&mut self, gradient: TensorId) -> bool {
        let Tensor { buffer, first_channel, channels, .. } = self.schedule.tensors[gradient];
        let unwritten = self.unwritten(gradient);
        if unwritten.iter().map(|run| run.len()).sum::<usize>() == channels {
            self.written[buffer - self.first_gradient_buffer][first_channel..first_channel + channels].fill(true);
            return false;
        }
        self.zero(gradient);
        true
    }

    /// The gradient of a forward tensor, to be read: zero where nothing was written.
    fn complete(&mut self, tensor: TensorId) -> TensorId {
        let gradient = self.gradient(tensor);
        self.zero(gradient);
        gradient
    }

    /// Fills the channels that nothing was written to with zeros.
    fn zero(&mut self, gradient: TensorId) {
        let Tensor { name, buffer, .. } = self.schedule.tensors[gradient].clone();
        for run in self.unwritten(gradient) {
            self.written[buffer - self.first_gradient_buffer][run.clone()].fill(true);
            let name = format!("{name}[{}..{}]", run.start, run.end);
            self.schedule.tensors.push(Tensor { name, buffer, first_channel: run.start, channels: run.len() });
            let dx = self.schedule.tensors.len() - 1;
            self.schedule.backward.push(Step::Zero { dx });
        }
    }
}
