//! What of a network is run: identities left out, and layers that nothing needs.

use super::super::shape::Shapes;
use super::super::spec::{NetworkSpec, Op};
use super::Mode;
use crate::error::{Error, Result};

/// The layers that are run and what each of them reads.
pub(super) struct Graph {
    /// By layer: its inputs, identities replaced by what they show.
    pub(super) inputs: Vec<Vec<usize>>,
    /// By layer: whether it is run.
    pub(super) needed: Vec<bool>,
    /// Layers that hold logits and the weights of their losses, the output first.
    pub(super) heads: Vec<(usize, f32)>,
}

impl Graph {
    /// In training the auxiliary heads are needed too.
    pub(super) fn new(spec: &NetworkSpec, shapes: &Shapes, mode: Mode) -> Result<Self> {
        let mut shown: Vec<usize> = Vec::with_capacity(spec.layers.len());
        let mut inputs = Vec::with_capacity(spec.layers.len());
        for (i, layer) in spec.layers.iter().enumerate() {
            let seen: Vec<usize> = shapes.inputs[i].iter().map(|&j| shown[j]).collect();
            shown.push(if is_identity(&layer.op, mode, seen.len()) { seen[0] } else { i });
            inputs.push(seen);
        }
        let head = |name: &str, weight: f32| {
            let found = spec.layer_index(name).map(|i| (shown[i], weight));
            found.ok_or_else(|| Error::Network { layer: name.into(), reason: "the output is not computed".into() })
        };
        let mut heads = vec![head(&spec.output, 1.0)?];
        if mode == Mode::Train {
            for auxiliary in &spec.auxiliary {
                heads.push(head(&auxiliary.layer, auxiliary.weight)?);
            }
        }
        let mut needed: Vec<bool> = spec.layers.iter().map(|l| matches!(l.op, Op::Input { .. })).collect();
        heads.iter().for_each(|&(i, _)| needed[i] = true);
        for i in (0..needed.len()).rev().filter(|&i| shown[i] == i) {
            if needed[i] {
                inputs[i].iter().for_each(|&j| needed[j] = true);
            }
        }
        Ok(Self { inputs, needed, heads })
    }

    /// The layers that are run and read the tensor of `layer`.
    pub(super) fn readers(&self, layer: usize) -> impl Iterator<Item = usize> {
        (0..self.needed.len()).filter(move |&j| self.needed[j] && self.inputs[j].contains(&layer))
    }

    /// Whether the tensor of `layer` holds logits.
    pub(super) fn is_head(&self, layer: usize) -> bool {
        self.heads.iter().any(|&(head, _)| head == layer)
    }
}

/// Whether a layer shows its (first) input unchanged.
fn is_identity(op: &Op, mode: Mode, inputs: usize) -> bool {
    match op {
        Op::Dropout { p } => mode == Mode::Infer || *p == 0.0,
        Op::Pad { before, after, .. } => before.iter().chain(after).all(|&n| n == 0),
        Op::Upsample { factor, .. } => factor.iter().all(|&n| n == 1),
        Op::Concat | Op::Add => inputs == 1,
        _ => false,
    }
}
