//! Forward steps: fusion, and concatenation by views.

use std::collections::BTreeMap;

use super::super::layout::PlaneLayout;
use super::super::shape::Shapes;
use super::super::spec::{NetworkSpec, Op};
use super::{Buffer, Mode, Schedule, Step, Tensor, TensorId};
use crate::error::{Error, Result};

/// Forward steps with tensors and buffers; offsets and lives are not assigned yet.
pub(super) fn plan(spec: &NetworkSpec, shapes: &Shapes, mode: Mode, batch: usize) -> Result<Schedule> {
    let fusion = Fusion::find(spec, shapes);
    let views = find_views(spec, shapes);
    let mut planner =
        Planner { spec, shapes, batch, borders: borders(spec, shapes), views, made: vec![None; spec.layers.len()] };
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
        if !fusion.absorbed[layer] {
            planner.emit(&mut schedule, layer, &fusion, mode)?;
        }
    }
    let made = |name: &str| spec.layer_index(name).and_then(|i| planner.made[i]);
    schedule.output = made(&spec.output)
        .ok_or_else(|| Error::Network { layer: spec.output.clone(), reason: "the output is not computed".into() })?;
    schedule.input = spec
        .layers
        .iter()
        .position(|l| matches!(l.op, Op::Input { .. }))
        .and_then(|i| planner.made[i])
        .ok_or_else(|| Error::Network { layer: "input".into(), reason: "the network has no input".into() })?;
    Ok(schedule)
}

/// Height and width of a plane.
type Size = (usize, usize);

/// The zero border that the convolutions need on planes of each size: planes of one size have one layout. Sizes that are
/// not listed get one pixel.
fn borders(spec: &NetworkSpec, shapes: &Shapes) -> BTreeMap<Size, usize> {
    let mut borders = BTreeMap::new();
    for (i, layer) in spec.layers.iter().enumerate() {
        let (Some(geometry), Some(&input)) = (layer.op.geometry(), shapes.inputs[i].first()) else { continue };
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
    fn find(spec: &NetworkSpec, shapes: &Shapes) -> Self {
        let n = spec.layers.len();
        let mut fusion = Self { norm: vec![None; n], relu: vec![None; n], absorbed: vec![false; n] };
        let only_consumer = |layer: usize| {
            let mut all = (0..n).filter(|&j| shapes.inputs[j].contains(&layer));
            let first = all.next();
            first.filter(|_| all.next().is_none() && spec.layers[layer].name != spec.output)
        };
        for i in 0..n {
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

/// For every layer: the concatenation that its tensor is written into, and the first channel there.
fn find_views(spec: &NetworkSpec, shapes: &Shapes) -> Vec<Option<(usize, usize)>> {
    let mut views = vec![None; spec.layers.len()];
    for (concat, layer) in spec.layers.iter().enumerate() {
        if layer.op != Op::Concat {
            continue;
        }
        let mut first = 0;
        for &input in &shapes.inputs[concat] {
            if views[input].is_none() {
                views[input] = Some((concat, first));
            }
            first += shapes.tensors[input].channels;
        }
    }
    views
}

struct Planner<'a> {
    spec: &'a NetworkSpec,
    shapes: &'a Shapes,
    batch: usize,
    borders: BTreeMap<Size, usize>,
    views: Vec<Option<(usize, usize)>>,
    /// Tensor of each layer, once it exists.
    made: Vec<Option<TensorId>>,
}

impl Planner<'_> {
    fn emit(&mut self, schedule: &mut Schedule, layer: usize, fusion: &Fusion, mode: Mode) -> Result<()> {
        let x = self.shapes.inputs[layer].first().and_then(|&i| self.made[i]);
        let need = |x: Option<TensorId>| {
            x.ok_or_else(|| Error::Network {
                layer: self.spec.layers[layer].name.clone(),
                reason: "its input was fused away".into(),
            })
        };
        match &self.spec.layers[layer].op {
            Op::Input { .. } => {
                self.tensor(schedule, layer);
            }
            Op::Conv2d { .. } | Op::DepthwiseConv2d { .. } | Op::ConvTranspose2d { .. } => {
                let x = need(x)?;
                let (norm, relu) = (fusion.norm[layer], fusion.relu[layer].is_some());
                match (mode, norm) {
                    (Mode::Train, Some(norm)) => {
                        let z = self.tensor(schedule, layer);
                        let y = self.tensor(schedule, fusion.end(layer));
                        schedule.forward.push(Step::Convolve { layer, norm: None, relu: false, x, y: z });
                        schedule.forward.push(Step::Normalise { layer: norm, relu, x: z, y });
                    }
                    _ => {
                        let y = self.tensor(schedule, fusion.end(layer));
                        schedule.forward.push(Step::Convolve { layer, norm, relu, x, y });
                    }
                }
            }
            Op::BatchNorm { .. } => {
                let x = need(x)?;
                let y = self.tensor(schedule, fusion.end(layer));
                schedule.forward.push(Step::Normalise { layer, relu: fusion.relu[layer].is_some(), x, y });
            }
            Op::Relu => {
                let reason = "ReLU must follow a convolution or a norm and be its only reader".into();
                return Err(Error::Network { layer: self.spec.layers[layer].name.clone(), reason });
            }
            Op::MaxPool { .. } => {
                let x = need(x)?;
                let y = self.tensor(schedule, layer);
                schedule.forward.push(Step::MaxPool { x, y });
            }
            Op::Concat => self.concat(schedule, layer)?,
            _ => {
                let reason = "no schedule for this kind of layer yet".into();
                return Err(Error::Network { layer: self.spec.layers[layer].name.clone(), reason });
            }
        }
        Ok(())
    }

    /// Inputs that live in this concatenation are there already; the others are copied.
    fn concat(&mut self, schedule: &mut Schedule, layer: usize) -> Result<()> {
        let whole = self.tensor(schedule, layer);
        let mut first = 0;
        for (position, &input) in self.shapes.inputs[layer].iter().enumerate() {
            let channels = self.shapes.tensors[input].channels;
            let earlier = self.shapes.inputs[layer][..position].contains(&input);
            if self.views[input] != Some((layer, first)) || earlier {
                let x = self.made[input].ok_or_else(|| Error::Network {
                    layer: self.spec.layers[layer].name.clone(),
                    reason: "an input was fused away".into(),
                })?;
                let Tensor { buffer, first_channel, .. } = schedule.tensors[whole];
                let name = format!("{}[{position}]", self.spec.layers[layer].name);
                schedule.tensors.push(Tensor { name, buffer, first_channel: first_channel + first, channels });
                schedule.forward.push(Step::Copy { x, y: schedule.tensors.len() - 1 });
            }
            first += channels;
        }
        Ok(())
    }

    /// The tensor of a layer, made on first use: a range of its concatenation's buffer, or a buffer of its own.
    fn tensor(&mut self, schedule: &mut Schedule, layer: usize) -> TensorId {
        if let Some(id) = self.made[layer] {
            return id;
        }
        let shape = &self.shapes.tensors[layer];
        let (buffer, first_channel) = match self.views[layer] {
            Some((concat, first)) => {
                let parent = self.tensor(schedule, concat);
                (schedule.tensors[parent].buffer, schedule.tensors[parent].first_channel + first)
            }
            None => {
                let pad = self.borders.get(&(shape.height, shape.width)).copied().unwrap_or(1);
                let layout = PlaneLayout { height: shape.height, width: shape.width, pad };
                let floats = self.batch * shape.channels * layout.plane_stride();
                let channels = shape.channels;
                schedule.buffers.push(Buffer { channels, layout, floats, offset: 0, born: usize::MAX, dies: 0 });
                (schedule.buffers.len() - 1, 0)
            }
        };
        let name = self.spec.layers[layer].name.clone();
        schedule.tensors.push(Tensor { name, buffer, first_channel, channels: shape.channels });
        self.made[layer] = Some(schedule.tensors.len() - 1);
        schedule.tensors.len() - 1
    }
}
