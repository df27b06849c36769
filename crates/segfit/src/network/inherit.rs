//! Inheritance: the parameters of a narrowed network, cut out of a trained wider one of the same layers.
//!
//! Whole channels are kept or dropped (structured pruning; Li et al. 2017, arXiv 1608.08710). Every layer that makes
//! channels chooses its own, except where an addition or a product ties channels of several layers together: these choose
//! once, by the sum of their scores. Which channels of a tensor are kept then follows from the layers that made them,
//! through concatenations, depthwise convolutions, norms and pooling alike, so that every weight meets the channels that
//! it was trained with.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::narrow::greatest_common_divisor;
use super::parameters::{Parameter, ParameterKind};
use super::shape::Shapes;
use super::spec::{GroupKind, NetworkSpec, Op};
use crate::error::{Error, Result};

/// What makes a channel worth keeping; the largest are kept, the first of equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Sum of the magnitudes of the filter that makes it, bias left out (Li et al. 2017); of all filters where channels of
    /// several layers are added, and of the depthwise filters that it passes.
    L1,
    /// Magnitude of its scale in the norm that follows (Liu et al. 2017, arXiv 1708.06519); the sum where it passes several.
    BatchNorm,
}

impl Criterion {
    /// Name as in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::BatchNorm => "batch_norm",
        }
    }
}

/// The parameters of `narrowed`, in the order of its [`NetworkSpec::parameters`], cut out of those of `full`.
///
/// `parameters` are the values of `full.parameters()`, running statistics included. The two networks have the same layers;
/// only their groups differ in channels. (Auxiliary heads of `full` are left out where `narrowed` has none.) Kept channels
/// stay in their order. Where a grouped convolution or a group norm divides channels into parts, as many are kept of each
/// part, as far as the numbers allow; a weight between channels that the full network does not connect is 0. Nothing is
/// compensated for what is dropped.
///
/// # Errors
/// [`Error::Network`] naming the first layer or group that differs in more than its number of channels, has fewer
/// channels in the full network, or has channels to drop but no norm to judge them by.
///
/// # Example
/// A 1x1 convolution whose filters are 1 and -3, narrowed to one channel, keeps -3; the next layer keeps the weight with
/// which it read this channel.
pub fn inherit(
    full: &NetworkSpec,
    parameters: &[&[f32]],
    narrowed: &NetworkSpec,
    criterion: Criterion,
) -> Result<Vec<Vec<f32>>> {
    let named = by_name(full, parameters)?;
    let full = if narrowed.auxiliary.is_empty() && !full.auxiliary.is_empty() {
        Cow::Owned(full.without_auxiliary())
    } else {
        Cow::Borrowed(full)
    };
    check_same_layers(&full, narrowed)?;
    let network = Trained::new(&full, &named)?;
    let kept = network.choose(narrowed, criterion)?;
    let channels: Vec<Vec<usize>> = (0..full.layers.len()).map(|tensor| network.kept_of(tensor, &kept)).collect();
    Ok(network.parameters.iter().map(|(p, values)| network.cut(p, values, &channels)).collect())
}

fn by_name(full: &NetworkSpec, parameters: &[&[f32]]) -> Result<BTreeMap<String, Vec<f32>>> {
    let list = full.parameters()?;
    let lengths = |n: usize| Error::Option {
        what: "parameters of the full network".into(),
        expected: format!("{} tensors of {} values", list.len(), list.iter().map(Parameter::len).sum::<usize>()),
        got: format!("{} tensors of {n} values", parameters.len()),
    };
    let fits = list.len() == parameters.len() && list.iter().zip(parameters).all(|(p, v)| p.len() == v.len());
    if !fits {
        return Err(lengths(parameters.iter().map(|v| v.len()).sum()));
    }
    Ok(list.into_iter().zip(parameters).map(|(p, v)| (p.name, v.to_vec())).collect())
}

fn check_same_layers(full: &NetworkSpec, narrowed: &NetworkSpec) -> Result<()> {
    let fail = |name: &str, reason: String| Err(Error::Network { layer: name.into(), reason });
    for (one, other, which) in [(narrowed, full, "narrowed"), (full, narrowed, "full")] {
        if let Some(layer) = one.layers.iter().find(|l| other.layer_index(&l.name).is_none()) {
            let reason = format!("is in the {which} network only: weights are inherited at the same depth");
            return fail(&layer.name, reason);
        }
    }
    if let Some((_, layer)) = full.layers.iter().zip(&narrowed.layers).find(|(a, b)| a != b) {
        return fail(&layer.name, "is not the same layer in the full network".into());
    }
    for group in &narrowed.groups {
        let Some(wide) = full.group(&group.name) else {
            return fail(&group.name, "is a group of the narrowed network only".into());
        };
        let (n, m) = (wide.channels, group.channels);
        if m > n {
            return fail(&group.name, format!("has {m} channels, the full network {n}: there is nothing to inherit"));
        }
        if m < n && [wide.kind, group.kind].contains(&GroupKind::Fixed) {
            return fail(&group.name, format!("has {m} channels, the full network {n}, which the task decides"));
        }
    }
    Ok(())
}

/// A network with its parameters, and where every tensor's channels come from.
struct Trained<'a> {
    spec: &'a NetworkSpec,
    shapes: Shapes,
    parameters: Vec<(Parameter, &'a [f32])>,
    /// By tensor: the layers that made its channels, in the order of the channels.
    makers: Vec<Vec<usize>>,
    /// By layer: an earlier layer whose channels it is tied to, or itself.
    tied: Vec<usize>,
}

impl<'a> Trained<'a> {
    fn new(spec: &'a NetworkSpec, named: &'a BTreeMap<String, Vec<f32>>) -> Result<Self> {
        let parameters = spec.parameters()?.into_iter().map(|p| {
            let values = named[&p.name].as_slice();
            (p, values)
        });
        let mut network = Self {
            spec,
            shapes: spec.smallest_shapes()?,
            parameters: parameters.collect(),
            makers: Vec::new(),
            tied: (0..spec.layers.len()).collect(),
        };
        for layer in 0..spec.layers.len() {
            let makers = network.makers_of(layer);
            network.makers.push(makers);
        }
        Ok(network)
    }

    fn makers_of(&mut self, layer: usize) -> Vec<usize> {
        let op = &self.spec.layers[layer].op;
        if op.group().is_some() {
            return vec![layer];
        }
        let inputs = &self.shapes.inputs[layer];
        let tied = match op {
            Op::Concat => return inputs.iter().flat_map(|&i| self.makers[i].iter().copied()).collect(),
            Op::Add => &inputs[1..],
            // A gate of one channel acts on all channels.
            Op::Mul if self.shapes.tensors[inputs[1]].channels != 1 => &inputs[1..],
            _ => &[],
        };
        for &other in tied {
            for (&a, &b) in self.makers[inputs[0]].iter().zip(&self.makers[other]) {
                let (a, b) = (first_of(&self.tied, a), first_of(&self.tied, b));
                self.tied[a.max(b)] = a.min(b);
            }
        }
        self.makers[inputs[0]].clone()
    }

    fn channels(&self, layer: usize) -> usize {
        self.shapes.tensors[layer].channels
    }

    /// For every channel of a tensor the layer whose choice decides about it, and its number there.
    fn origins(&self, tensor: usize) -> impl Iterator<Item = (usize, usize)> {
        self.makers[tensor].iter().flat_map(move |&maker| {
            let first = first_of(&self.tied, maker);
            (0..self.channels(maker)).map(move |c| (first, c))
        })
    }

    /// By layer: a score for every channel, where the criterion gives one.
    fn scores(&self, criterion: Criterion) -> Vec<Option<Vec<f64>>> {
        let mut scores: Vec<Option<Vec<f64>>> = vec![None; self.spec.layers.len()];
        for (parameter, values) in &self.parameters {
            let magnitudes = match (criterion, parameter.kind) {
                (Criterion::L1, ParameterKind::Weight) => self.filter_norms(parameter, values),
                (Criterion::BatchNorm, ParameterKind::Scale) => values.iter().map(|v| f64::from(v.abs())).collect(),
                _ => continue,
            };
            for ((layer, c), magnitude) in self.origins(parameter.layer).zip(magnitudes) {
                scores[layer].get_or_insert_with(|| vec![0.0; self.channels(layer)])[c] += magnitude;
            }
        }
        scores
    }

    /// Sum of the magnitudes of every output channel's filter.
    fn filter_norms(&self, weight: &Parameter, values: &[f32]) -> Vec<f64> {
        let transposed = matches!(self.spec.layers[weight.layer].op, Op::ConvTranspose2d { .. });
        let out = self.channels(weight.layer);
        let mut norms = vec![0.0; out];
        for (k, kernel) in values.chunks_exact(weight.shape[2..].iter().product()).enumerate() {
            let c = if transposed { k % out } else { k / weight.shape[1] };
            norms[c] += kernel.iter().map(|v| f64::from(v.abs())).sum::<f64>();
        }
        norms
    }

    /// By layer: into how many parts its channels are divided somewhere, so that as many must be kept of each.
    fn parts(&self) -> Vec<usize> {
        let mut parts = vec![1; self.spec.layers.len()];
        for (i, layer) in self.spec.layers.iter().enumerate() {
            let (Op::Conv2d { groups, .. } | Op::GroupNorm { groups, .. }) = layer.op else { continue };
            for tensor in self.shapes.inputs[i].iter().copied().chain([i]) {
                let mut makers = self.makers[tensor].iter();
                for segment in &self.shapes.tensors[tensor].segments {
                    let needed = groups / greatest_common_divisor(groups, segment.multiple);
                    for &maker in makers.by_ref().take(segment.multiple) {
                        let first = first_of(&self.tied, maker);
                        parts[first] *= needed / greatest_common_divisor(parts[first], needed);
                    }
                }
            }
        }
        parts
    }

    /// By layer: the channels to keep, ascending, of those that decide for themselves or for others.
    fn choose(&self, narrowed: &NetworkSpec, criterion: Criterion) -> Result<Vec<Vec<usize>>> {
        let (scores, parts) = (self.scores(criterion), self.parts());
        let one = |layer: usize| {
            let made = self.spec.layers[layer].op.group().filter(|_| self.tied[layer] == layer);
            let Some(group) = made else { return Ok(Vec::new()) };
            let n = self.channels(layer);
            let m = narrowed.group(group).map_or(n, |g| g.channels);
            if m == n {
                return Ok((0..n).collect());
            }
            let scores = scores[layer].as_ref().ok_or_else(|| Error::Network {
                layer: self.spec.layers[layer].name.clone(),
                reason: format!("no norm follows, so that {} cannot judge its channels; use l1", criterion.name()),
            })?;
            let divisor = greatest_common_divisor(parts[layer], greatest_common_divisor(n, m));
            Ok(largest(scores, m, divisor))
        };
        (0..self.spec.layers.len()).map(one).collect()
    }

    /// The channels of a tensor that are kept.
    fn kept_of(&self, tensor: usize, kept: &[Vec<usize>]) -> Vec<usize> {
        let mut offset = 0;
        let mut all = Vec::new();
        for &maker in &self.makers[tensor] {
            all.extend(kept[first_of(&self.tied, maker)].iter().map(|c| offset + c));
            offset += self.channels(maker);
        }
        all
    }

    /// A parameter of the narrowed network; `channels` are those kept of every tensor.
    fn cut(&self, parameter: &Parameter, values: &[f32], channels: &[Vec<usize>]) -> Vec<f32> {
        let out = &channels[parameter.layer];
        match (&self.spec.layers[parameter.layer].op, parameter.kind) {
            (Op::Prelu { shared: true }, _) => values.to_vec(),
            (Op::Conv2d { groups, .. }, ParameterKind::Weight) => {
                let input = self.shapes.inputs[parameter.layer][0];
                let sides = [(self.channels(parameter.layer), out), (self.channels(input), &channels[input])];
                cut_grouped(values, parameter.shape[2..].iter().product(), *groups, sides)
            }
            (Op::ConvTranspose2d { .. }, ParameterKind::Weight) => {
                let area: usize = parameter.shape[2..].iter().product();
                let input = &channels[self.shapes.inputs[parameter.layer][0]];
                let kernels = input.iter().flat_map(|x| out.iter().map(move |o| x * parameter.shape[1] + o));
                kernels.flat_map(|k| &values[k * area..(k + 1) * area]).copied().collect()
            }
            _ => {
                let each: usize = parameter.shape[1..].iter().product();
                out.iter().flat_map(|o| &values[o * each..(o + 1) * each]).copied().collect()
            }
        }
    }
}

/// Weights of a convolution in `groups` parts. `sides`: channels of the full output and input, and which are kept.
fn cut_grouped(values: &[f32], area: usize, groups: usize, sides: [(usize, &Vec<usize>); 2]) -> Vec<f32> {
    let [(full_out, out), (full_in, input)] = sides;
    let (full_out, full_in) = (full_out / groups, full_in / groups);
    let (part_out, part_in) = (out.len() / groups, input.len() / groups);
    let mut cut = Vec::with_capacity(out.len() * part_in * area);
    for (position, &o) in out.iter().enumerate() {
        let part = position / part_out;
        for &x in &input[part * part_in..(part + 1) * part_in] {
            if o / full_out == x / full_in {
                let kernel = o * full_in + x % full_in;
                cut.extend(&values[kernel * area..(kernel + 1) * area]);
            } else {
                cut.extend(std::iter::repeat_n(0.0, area));
            }
        }
    }
    cut
}

/// The layer at the end of a chain of ties.
fn first_of(tied: &[usize], mut layer: usize) -> usize {
    while tied[layer] != layer {
        layer = tied[layer];
    }
    layer
}

/// The `count` largest scores, ascending by index, as many of each of `parts` equal runs; of equals the first.
fn largest(scores: &[f64], count: usize, parts: usize) -> Vec<usize> {
    let (run, take) = (scores.len() / parts, count / parts);
    let mut kept = Vec::with_capacity(count);
    for part in 0..parts {
        let mut order: Vec<usize> = (part * run..(part + 1) * run).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        order.truncate(take);
        kept.extend(order);
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests;
