//! The network while it is read: layers with their weights, and channel groups that are found by propagation.
//!
//! Every convolution makes a new *variable*, a number of channels that may change. Tensors are lists of variables: concat
//! joins lists, an addition makes the variables of its inputs equal (union-find). In the end every set of equal
//! variables is a group.

use super::names::Names;
use crate::network::{Group, GroupKind, Layer, NETWORK_FORMAT, NetworkSpec, Op};

/// No image that is read is larger, along an axis.
pub const LARGEST_SIDE: usize = 1 << 16;
/// No tensor that is read has more channels.
const MOST_CHANNELS: usize = 1 << 20;

/// Shape of a tensor: channels, rows, columns.
pub type Shape = (usize, usize, usize);

/// A layer while it is read.
pub struct DraftLayer {
    pub name: String,
    pub op: Op,
    pub inputs: Vec<usize>,
    /// Its parameters in the order of [`NetworkSpec::parameters`].
    pub weights: Vec<Vec<f32>>,
    pub shape: Shape,
    /// Variables of its channels, in order.
    pub channels: Vec<usize>,
    /// Whether several nodes read it, so that it must not be changed any more.
    pub shared: bool,
    /// Whether it has one pixel whatever the image's size, because it was averaged over all pixels.
    pub global: bool,
    /// How many pixels of the image one of its pixels stands for, along the larger axis.
    reduction: usize,
}

/// What a new layer computes.
pub struct New {
    pub name: String,
    pub op: Op,
    pub inputs: Vec<usize>,
    pub weights: Vec<Vec<f32>>,
}

impl New {
    /// A layer of one input without parameters.
    pub fn plain(name: String, op: Op, input: usize) -> Self {
        Self { name, op, inputs: vec![input], weights: Vec::new() }
    }
}

struct Variable {
    parent: usize,
    channels: usize,
    fixed: bool,
}

/// The network while it is read.
#[derive(Default)]
pub struct Draft {
    pub layers: Vec<DraftLayer>,
    variables: Vec<Variable>,
    names: Names,
}

impl Draft {
    /// The image.
    ///
    /// # Errors
    /// When it is larger than anything that is read.
    pub fn image(&mut self, shape: Shape) -> Result<usize, String> {
        let variable = self.variable(shape.0, true);
        // The names of the two groups that the task gives.
        self.names.unique("classes");
        let new = New { name: "image".into(), op: Op::Input { group: String::new() }, inputs: vec![], weights: vec![] };
        self.push(new, shape, vec![variable])
    }

    fn variable(&mut self, channels: usize, fixed: bool) -> usize {
        self.variables.push(Variable { parent: self.variables.len(), channels, fixed });
        self.variables.len() - 1
    }

    /// A layer that makes `channels` new channels.
    ///
    /// # Errors
    /// When a tensor gets too large, or the image is reduced too often.
    pub fn push_new(&mut self, new: New, channels: usize, size: (usize, usize)) -> Result<usize, String> {
        let variable = self.variable(channels, false);
        self.push(new, (channels, size.0, size.1), vec![variable])
    }

    /// A layer that has the channels of its first input.
    ///
    /// # Errors
    /// As [`Self::push_new`].
    pub fn push_like(&mut self, new: New, size: (usize, usize)) -> Result<usize, String> {
        let first = &self.layers[new.inputs[0]];
        let (shape, channels) = ((first.shape.0, size.0, size.1), first.channels.clone());
        self.push(new, shape, channels)
    }

    /// A layer that has the shape of its first input.
    ///
    /// # Errors
    /// As [`Self::push_new`].
    pub fn push_same(&mut self, new: New) -> Result<usize, String> {
        let (_, height, width) = self.layers[new.inputs[0]].shape;
        self.push_like(new, (height, width))
    }

    /// Any layer; `channels` are its variables.
    ///
    /// # Errors
    /// As [`Self::push_new`].
    pub fn push(&mut self, new: New, shape: Shape, channels: Vec<usize>) -> Result<usize, String> {
        if shape.0 > MOST_CHANNELS || shape.1.max(shape.2) > LARGEST_SIDE || shape.0.min(shape.1).min(shape.2) == 0 {
            return Err(format!(
                "its output would be {} x {} x {} (channels, rows, columns)",
                shape.0, shape.1, shape.2
            ));
        }
        let inputs = new.inputs.iter().map(|&i| &self.layers[i]);
        let larger = |n: [usize; 2]| n[0].max(n[1]);
        let before = inputs.clone().map(|l| l.reduction).max().unwrap_or(1);
        let reduction = match (&new.op, new.op.geometry(), new.op.window()) {
            (_, Some(g), _) if g.transposed => (before / larger(g.stride)).max(1),
            (_, Some(g), _) => before * larger(g.stride),
            (_, _, Some(w)) => before * larger(w.stride),
            (Op::Upsample { factor, .. }, ..) => (before / factor.iter().copied().max().unwrap_or(1)).max(1),
            (Op::GlobalAveragePool, ..) => 1,
            _ => before,
        };
        if reduction > LARGEST_SIDE {
            return Err(format!("the image is reduced more than {LARGEST_SIDE} times"));
        }
        let global =
            matches!(new.op, Op::GlobalAveragePool) || (!new.inputs.is_empty() && inputs.clone().all(|l| l.global));
        let name = self.names.unique(&new.name);
        let New { op, inputs, weights, .. } = new;
        self.layers.push(DraftLayer { name, op, inputs, weights, shape, channels, shared: false, global, reduction });
        Ok(self.layers.len() - 1)
    }

    fn root(&self, mut variable: usize) -> usize {
        while self.variables[variable].parent != variable {
            variable = self.variables[variable].parent;
        }
        variable
    }

    /// Makes the channels of two layers equal for ever.
    ///
    /// `false` when they are made of different parts, so that they can only be fixed.
    pub fn unify(&mut self, a: usize, b: usize) -> bool {
        let (x, y) = (self.layers[a].channels.clone(), self.layers[b].channels.clone());
        let count = |v: &usize| self.variables[*v].channels;
        if !x.iter().map(count).eq(y.iter().map(count)) {
            self.fix(a);
            self.fix(b);
            return false;
        }
        for (v, w) in x.into_iter().zip(y) {
            let (v, w) = (self.root(v), self.root(w));
            // The earlier one stays, so that groups are called after the first layer that makes them.
            let (keep, drop) = (v.min(w), v.max(w));
            self.variables[drop].parent = keep;
            self.variables[keep].fixed |= self.variables[drop].fixed;
        }
        true
    }

    /// Keeps the channels of a layer as they are.
    pub fn fix(&mut self, layer: usize) {
        for i in 0..self.layers[layer].channels.len() {
            let root = self.root(self.layers[layer].channels[i]);
            self.variables[root].fixed = true;
        }
    }

    /// The network whose logits are in `output`, and the weights of its layers.
    pub fn finish(mut self, output: usize) -> (NetworkSpec, Vec<Vec<Vec<f32>>>) {
        self.fix(output);
        let needed = self.needed(output);
        let classes = self.layers[output].shape.0;
        let class_group = match self.layers[output].channels[..] {
            [only] => Some(self.root(only)),
            _ => None,
        };
        let image_group = self.root(self.layers[0].channels[0]);
        let mut groups: Vec<(usize, Group)> = Vec::new();
        let (mut layers, mut weights) = (Vec::new(), Vec::new());
        for (i, _) in needed.iter().enumerate().filter(|(_, needed)| **needed) {
            let mut op = self.layers[i].op.clone();
            if let Op::Input { group } | Op::Conv2d { group, .. } | Op::ConvTranspose2d { group, .. } = &mut op {
                let root = self.root(self.layers[i].channels[0]);
                let name = match root {
                    r if r == image_group => "image".into(),
                    r if Some(r) == class_group => "classes".into(),
                    _ => self.layers[i].name.clone(),
                };
                if !groups.iter().any(|(r, _)| *r == root) {
                    let kind = if self.variables[root].fixed { GroupKind::Fixed } else { GroupKind::Free };
                    let channels = self.variables[root].channels;
                    groups.push((root, Group { name, channels, kind, divisible_by: 1, sum: Vec::new() }));
                }
                let found = groups.iter().find(|(r, _)| *r == root);
                *group = found.map(|(_, g)| g.name.clone()).unwrap_or_default();
            }
            let inputs = self.layers[i].inputs.iter().map(|&j| self.layers[j].name.clone()).collect();
            layers.push(Layer { name: self.layers[i].name.clone(), op, inputs });
            weights.push(std::mem::take(&mut self.layers[i].weights));
        }
        let base_width = layers.iter().find_map(|l| {
            let group = if l.op.is_convolution() { l.op.group() } else { None }?;
            groups.iter().find(|(_, g)| g.name == group).map(|(_, g)| g.channels)
        });
        let mut spec = NetworkSpec {
            format: NETWORK_FORMAT.into(),
            family: "imported".into(),
            base_width: base_width.unwrap_or(1),
            depth: 0,
            rank: 2,
            classes,
            groups: groups.into_iter().map(|(_, g)| g).collect(),
            layers,
            output: self.layers[output].name.clone(),
            auxiliary: Vec::new(),
        };
        spec.depth = spec.input_multiple().ilog2() as usize;
        (spec, weights)
    }

    /// Which layers the output and the image are made of.
    fn needed(&self, output: usize) -> Vec<bool> {
        let mut needed = vec![false; self.layers.len()];
        (needed[0], needed[output]) = (true, true);
        for i in (0..self.layers.len()).rev() {
            if needed[i] {
                self.layers[i].inputs.iter().for_each(|&j| needed[j] = true);
            }
        }
        needed
    }

    /// Shapes of the layers that [`Self::finish`] keeps, by name.
    pub fn shapes(&self, output: usize) -> Vec<(String, Shape)> {
        let needed = self.needed(output);
        let kept = self.layers.iter().zip(needed).filter(|(_, needed)| *needed);
        kept.map(|(l, _)| (l.name.clone(), l.shape)).collect()
    }
}
