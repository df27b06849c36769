//! Forward steps: fusion, and concatenation by views.

use std::collections::BTreeMap;

use super::super::layout::PlaneLayout;
use super::super::shape::Shapes;
use super::super::spec::{NetworkSpec, Op};
use super::concat::Places;
use super::graph::Graph;
use super::{Buffer, Mode, Schedule, Step, Tensor, TensorId};
use crate::error::{Error, Result};

/// Forward steps with tensors and buffers; offsets and lives are not assigned yet. In training the losses come last.
pub(super) fn plan(spec: &NetworkSpec, shapes: &Shapes, mode: Mode, batch: usize) -> Result<Schedule> {
    let graph = Graph::new(spec, shapes, mode)?;
    let fusion = Fusion::find(spec, &graph);
    let places = Places::find(spec, &graph);
    let mut planner = Planner {
        spec,
        shapes,
        batch,
        borders: borders(spec, shapes, &graph),
        blocks: vec![None; places.blocks.len()],
        filled: places.blocks.iter().map(|block| vec![false; block.len()]).collect(),
        made: vec![None; spec.layers.len()],
        places,
        graph: &graph,
    };
    let first = &shapes.tensors[0];
    let mut schedule = Schedule {
        mode,
        batch,
        height: first.height,
        width: first.width,
        tensors: Vec::new(),
        buffers: Vec::new(),
        forward: Vec::new(),
        backward: Vec::new(),
        input: 0,
        output: 0,
        arena_floats: 0,
    };
    for layer in 0..spec.layers.len() {
        if graph.needed[layer] && !fusion.absorbed[layer] {
            planner.emit(&mut schedule, layer, &fusion, mode)?;
        }
    }
    schedule.output = planner.made(graph.heads[0].0)?;
    let input = spec.layers.iter().position(|l| matches!(l.op, Op::Input { .. }));
    schedule.input = planner.made(
        input.ok_or_else(|| Error::Network { layer: "input".into(), reason: "the network has no input".into() })?,
    )?;
    if mode == Mode::Train {
        for &(head, weight) in &graph.heads {
            // The gradient's tensor is known when the backward steps are planned.
            let logits = planner.made(head)?;
            schedule.forward.push(Step::Loss { logits, gradient: logits, weight });
        }
    }
    Ok(schedule)
}

/// Height and width of a plane.
type Size = (usize, usize);

/// The zero border that the convolutions need on planes of each size: planes of one size have one layout. Sizes that are
/// not listed get one pixel.
fn borders(spec: &NetworkSpec, shapes: &Shapes, graph: &Graph) -> BTreeMap<Size, usize> {
    let mut borders = BTreeMap::new();
    for (i, layer) in spec.layers.iter().enumerate().filter(|(i, _)| graph.needed[*i]) {
        let (Some(geometry), Some(&input)) = (layer.op.geometry(), graph.inputs[i].first()) else { continue };
        let size = |i: usize| (shapes.tensors[i].height, shapes.tensors[i].width);
        let small = if geometry.transposed { size(input) } else { size(i) };
        let border = borders.entry(small).or_insert(1);
        *border = geometry.border(size(input), size(i)).max(*border);
    }
    borders
}

/// Which layers are carried out by the step of an earlier layer.
struct Fusion {
    /// The norm behind a convolution.
    norm: Vec<Option<usize>>,
    /// The ReLU behind a convolution (and its norm) or behind a norm.
    relu: Vec<Option<usize>>,
    /// Layers that have no step of their own.
    absorbed: Vec<bool>,
}

impl Fusion {
    fn find(spec: &NetworkSpec, graph: &Graph) -> Self {
        let n = spec.layers.len();
        let mut fusion = Self { norm: vec![None; n], relu: vec![None; n], absorbed: vec![false; n] };
        let only_consumer = |layer: usize| {
            let mut all = graph.readers(layer);
            let first = all.next();
            first.filter(|_| all.next().is_none() && !graph.is_head(layer))
        };
        for i in (0..n).filter(|&i| graph.needed[i]) {
            let convolution = spec.layers[i].op.is_convolution();
            let own_norm = matches!(spec.layers[i].op, Op::BatchNorm { .. }) && !fusion.absorbed[i];
            if !convolution && !own_norm {
                continue;
            }
            let mut end = i;
            if convolution
                && let Some(norm) = only_consumer(i).filter(|&j| matches!(spec.layers[j].op, Op::BatchNorm { .. }))
            {
                fusion.norm[i] = Some(norm);
                fusion.absorbed[norm] = true;
                end = norm;
            }
            if let Some(relu) = only_consumer(end).filter(|&j| spec.layers[j].op == Op::Relu) {
                fusion.relu[i] = Some(relu);
                fusion.absorbed[relu] = true;
            }
        }
        fusion
    }

    /// The layer whose tensor a step that begins at `layer` writes.
    fn end(&self, layer: usize) -> usize {
        self.relu[layer].or(self.norm[layer]).unwrap_or(layer)
    }
}

struct Planner<'a> {
    spec: &'a NetworkSpec,
    shapes: &'a Shapes,
    graph: &'a Graph,
    batch: usize,
    borders: BTreeMap<Size, usize>,
    places: Places,
    /// Buffer of each block, once it exists.
    blocks: Vec<Option<usize>>,
    /// By block and leaf: whether the leaf has been copied there.
    filled: Vec<Vec<bool>>,
    /// Tensor of each layer, once it exists.
    made: Vec<Option<TensorId>>,
}

impl Planner<'_> {
    fn made(&self, layer: usize) -> Result<TensorId> {
        self.made[layer].ok_or_else(|| Error::Network {
            layer: self.spec.layers[layer].name.clone(),
            reason: "its tensor is read but not computed".into(),
        })
    }

    fn emit(&mut self, schedule: &mut Schedule, layer: usize, fusion: &Fusion, mode: Mode) -> Result<()> {
        let xs: Result<Vec<TensorId>> = self.graph.inputs[layer].iter().map(|&i| self.made(i)).collect();
        let xs = xs?;
        let (norm, relu) = (fusion.norm[layer], fusion.relu[layer].is_some());
        let op = &self.spec.layers[layer].op;
        match (op, &xs[..]) {
            (Op::Input { .. }, _) => {
                self.tensor(schedule, layer);
            }
            (Op::Conv2d { .. } | Op::DepthwiseConv2d { .. } | Op::ConvTranspose2d { .. }, &[x]) => match norm {
                Some(norm) if mode == Mode::Train => {
                    let z = self.tensor(schedule, layer);
                    let y = self.tensor(schedule, fusion.end(layer));
                    schedule.forward.push(Step::Convolve { layer, norm: None, relu: false, x, y: z });
                    schedule.forward.push(Step::Normalise { layer: norm, relu, x: z, y });
                }
                _ => {
                    let y = self.tensor(schedule, fusion.end(layer));
                    schedule.forward.push(Step::Convolve { layer, norm, relu, x, y });
                }
            },
            (Op::BatchNorm { .. }, &[x]) => {
                let y = self.tensor(schedule, fusion.end(layer));
                schedule.forward.push(Step::Normalise { layer, relu, x, y });
            }
            (Op::MaxPool { .. }, &[x]) if op.window().is_some_and(|w| w.tiles() && w.kernel == [2, 2]) => {
                let y = self.tensor(schedule, layer);
                schedule.forward.push(Step::MaxPool { x, y });
            }
            (Op::Concat, _) => self.concat(schedule, layer)?,
            _ => {
                let mut xs = xs;
                let y = match self.replaced(layer).filter(|_| mode == Mode::Infer) {
                    Some(k) => {
                        xs.swap(0, k);
                        self.in_place(schedule, layer, xs[0])
                    }
                    None => self.tensor(schedule, layer),
                };
                schedule.forward.push(Step::Apply { layer, xs, y });
            }
        }
        Ok(())
    }

    /// The input (by position) whose memory the layer's output may take at inference, because nothing else reads it; 0, or 1 for
    /// a sum of two.
    fn replaced(&self, layer: usize) -> Option<usize> {
        let op = &self.spec.layers[layer].op;
        let inputs = &self.graph.inputs[layer];
        let fits = op.is_activation()
            || matches!(op, Op::Prelu { .. } | Op::InstanceNorm { .. } | Op::GroupNorm { .. } | Op::Add | Op::Mul);
        if !fits || self.places.of[layer].is_some() {
            return None;
        }
        let may_be = if *op == Op::Add && inputs.len() == 2 { 0..2 } else { 0..1 };
        may_be.into_iter().find(|&k| {
            let x = inputs[k];
            let once = inputs.iter().filter(|&&i| i == x).count() == 1 && self.graph.readers(x).count() == 1;
            let own = self.places.of[x].is_none() && !self.graph.is_head(x);
            once && own && !matches!(self.spec.layers[x].op, Op::Input { .. })
        })
    }

    /// The tensor of a layer in the memory of its input.
    fn in_place(&mut self, schedule: &mut Schedule, layer: usize, x: TensorId) -> TensorId {
        let name = self.spec.layers[layer].name.clone();
        schedule.tensors.push(Tensor { name, ..schedule.tensors[x].clone() });
        *self.made[layer].insert(schedule.tensors.len() - 1)
    }

    /// Leaves that live in this concatenation's block are there already; the others are copied, once.
    fn concat(&mut self, schedule: &mut Schedule, layer: usize) -> Result<()> {
        let whole = self.tensor(schedule, layer);
        let Some((block, start)) = self.places.of[layer] else { return Ok(()) };
        let Tensor { buffer, mut first_channel, .. } = schedule.tensors[whole];
        for position in 0..self.places.leaves[layer].len() {
            let (leaf, at) = (self.places.leaves[layer][position], start + position);
            let channels = self.shapes.tensors[leaf].channels;
            if self.places.is_copy(block, at) && !self.filled[block][at] {
                self.filled[block][at] = true;
                let x = self.made(leaf)?;
                let name = format!("{}[{position}]", self.spec.layers[layer].name);
                schedule.tensors.push(Tensor { name, buffer, first_channel, channels });
                schedule.forward.push(Step::Copy { x, y: schedule.tensors.len() - 1 });
            }
            first_channel += channels;
        }
        Ok(())
    }

    /// The tensor of a layer, made on first use: a range of a block's buffer, or a buffer of its own.
    fn tensor(&mut self, schedule: &mut Schedule, layer: usize) -> TensorId {
        if let Some(id) = self.made[layer] {
            return id;
        }
        let shape = &self.shapes.tensors[layer];
        let channels_of = |leaves: &[usize]| leaves.iter().map(|&i| self.shapes.tensors[i].channels).sum::<usize>();
        let (buffer, first_channel) = match self.places.of[layer] {
            Some((block, at)) => {
                let leaves = &self.places.blocks[block];
                let (all, before) = (channels_of(leaves), channels_of(&leaves[..at]));
                let buffer = match self.blocks[block] {
                    Some(buffer) => buffer,
                    None => self.buffer(schedule, (shape.height, shape.width), all),
                };
                self.blocks[block] = Some(buffer);
                (buffer, before)
            }
            None => (self.buffer(schedule, (shape.height, shape.width), shape.channels), 0),
        };
        let name = self.spec.layers[layer].name.clone();
        schedule.tensors.push(Tensor { name, buffer, first_channel, channels: shape.channels });
        self.made[layer] = Some(schedule.tensors.len() - 1);
        schedule.tensors.len() - 1
    }

    fn buffer(&self, schedule: &mut Schedule, (height, width): Size, channels: usize) -> usize {
        let pad = self.borders.get(&(height, width)).copied().unwrap_or(1);
        let layout = PlaneLayout { height, width, pad };
        let floats = self.batch * channels * layout.plane_stride();
        schedule.buffers.push(Buffer { channels, layout, floats, offset: 0, born: usize::MAX, dies: 0 });
        schedule.buffers.len() - 1
    }
}
