//! A layer of an executor that [`Step::Apply`] runs: its operation with the tensors of both passes.

use std::ops::Range;

use segfit::network::NetworkSpec;
use segfit::network::schedule::{Schedule, Step};

use super::ops::{Draw, PlainOp};
use super::planes::Planes;
use super::simd::Isa;
use crate::error::Result;
use crate::state::ParameterLayout;

pub(super) struct Applied {
    op: PlainOp,
    xs: Vec<Planes>,
    y: Planes,
    backward: Option<Backward>,
}

/// What the backward pass reads and writes.
struct Backward {
    xs: Vec<Option<Planes>>,
    y: Option<Planes>,
    dy: Planes,
    dxs: Vec<Option<(Planes, bool)>>,
}

impl Applied {
    /// By layer: the operations of all such steps of a schedule with these tensors.
    pub(super) fn all(
        isa: Isa,
        spec: &NetworkSpec,
        schedule: &Schedule,
        layout: &ParameterLayout,
        tensors: &[Planes],
        train: bool,
    ) -> Result<Vec<Option<Self>>> {
        let mut all: Vec<Option<Self>> = spec.layers.iter().map(|_| None).collect();
        for step in schedule.forward.iter().chain(&schedule.backward) {
            match step {
                Step::Apply { layer, xs, y } => {
                    let (xs, y): (Vec<Planes>, Planes) = (xs.iter().map(|&x| tensors[x]).collect(), tensors[*y]);
                    let op = PlainOp::new(isa, spec, *layer, layout, &xs, &y, train)?;
                    all[*layer] = Some(Self { op, xs, y, backward: None });
                }
                Step::ApplyBackward { layer, xs, y, dy, dxs } => {
                    let applied = all[*layer].as_mut().expect("the forward step comes first");
                    applied.backward = Some(Backward {
                        xs: xs.iter().map(|x| x.map(|x| tensors[x])).collect(),
                        y: y.map(|y| tensors[y]),
                        dy: tensors[*dy],
                        dxs: dxs.iter().map(|dx| dx.map(|(dx, accumulate)| (tensors[dx], accumulate))).collect(),
                    });
                }
                _ => {}
            }
        }
        Ok(all)
    }

    /// Its parameters among those of the layout, possibly none.
    pub(super) fn trained_range(&self) -> Range<usize> {
        self.op.trained_range()
    }

    /// Floats that it holds.
    pub(super) fn floats(&self) -> usize {
        self.op.floats()
    }

    pub(super) fn forward(&mut self, parameters: &[f32], draw: Option<Draw>) {
        self.op.forward(parameters, &self.xs, &self.y, draw);
    }

    /// Writes the gradients of its parameters to the beginning of `gradients`.
    pub(super) fn backward(&mut self, parameters: &[f32], gradients: &mut [f32], draw: Option<Draw>) {
        let Backward { xs, y, dy, dxs } = self.backward.as_ref().expect("compiled with the schedule");
        self.op.backward(parameters, xs, y.as_ref(), dy, dxs, gradients, draw);
    }
}
