//! [`Schedule`]: the order in which a network is executed, what is fused, and where every tensor lies in memory.
//!
//! A schedule is data. Any device can execute it, and the exact memory of a network is known without a device.
//!
//! - Convolution, batch norm and ReLU that follow each other are one step at inference; in training the convolution is
//!   one step, norm + ReLU another.
//! - Concatenation costs nothing: its inputs are written straight into channel ranges of one buffer, which the
//!   concatenations of a dense block share.
//! - Gradients of a norm's input take the place of the gradients of its output; where others read that input too, they are
//!   added to the gradients that these gave.
//! - Activations, norms, sums and products take the place of an input that nothing else reads, at inference; gradients do so
//!   in training.
//! - Layers that change nothing (dropout at inference) and layers that no head needs have no steps. Auxiliary heads are
//!   needed in training only.
//! - Buffers whose lives do not overlap share memory.

mod backward;
mod concat;
mod forward;
mod graph;
mod memory;
mod reads;
#[cfg(test)]
mod tests;

pub use reads::BackwardReads;

use super::layout::PlaneLayout;
use super::shape::Shapes;
use super::spec::NetworkSpec;
use crate::error::{Error, Result};

/// What the schedule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forward only, norms folded into convolutions.
    Infer,
    /// Forward, loss and backward.
    Train,
}

/// Index into [`Schedule::tensors`].
pub type TensorId = usize;

/// A tensor: a run of channels of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The layer that makes it, `d:` in front for a gradient.
    pub name: String,
    /// Index into [`Schedule::buffers`].
    pub buffer: usize,
    /// First channel inside the buffer.
    pub first_channel: usize,
    /// Number of channels.
    pub channels: usize,
}

/// A block of memory for `batch` x `channels` planes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Planes per image.
    pub channels: usize,
    /// Shape of a plane.
    pub layout: PlaneLayout,
    /// Size in floats, all images.
    pub floats: usize,
    /// Position in the arena, in floats.
    pub offset: usize,
    /// First step that touches it (index into forward, then backward).
    pub born: usize,
    /// Last step that touches it.
    pub dies: usize,
}

/// One operation. `layer` is the index of the layer whose parameters it uses.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// y = relu?(norm?(convolution(x))); ordinary or transposed, as the layer says.
    Convolve {
        /// Convolution layer.
        layer: usize,
        /// Norm layer to fold in (inference only).
        norm: Option<usize>,
        /// Whether ReLU follows.
        relu: bool,
        /// Input.
        x: TensorId,
        /// Output.
        y: TensorId,
    },
    /// y = relu?(norm(x)).
    Normalise {
        /// Norm layer.
        layer: usize,
        /// Whether ReLU follows.
        relu: bool,
        /// Input.
        x: TensorId,
        /// Output.
        y: TensorId,
    },
    /// y = max over 2x2 windows of x, side by side.
    MaxPool {
        /// Input.
        x: TensorId,
        /// Output.
        y: TensorId,
    },
    /// y = x, for a concatenation's input that lives elsewhere too.
    Copy {
        /// Input.
        x: TensorId,
        /// Output.
        y: TensorId,
    },
    /// y = layer(xs), for layers without a step of their own. At inference y may be the memory of the first input.
    Apply {
        /// The layer.
        layer: usize,
        /// Inputs.
        xs: Vec<TensorId>,
        /// Output.
        y: TensorId,
    },
    /// The loss of a head's logits and its gradient.
    Loss {
        /// Logits.
        logits: TensorId,
        /// Their gradient, times the weight.
        gradient: TensorId,
        /// Weight of this loss, 1 for the output's.
        weight: f32,
    },
    /// Gradients become zero where some later step adds to them.
    Zero {
        /// The gradient.
        dx: TensorId,
    },
    /// dy *= (y > 0), in place.
    ReluBackward {
        /// Output of the forward step.
        y: TensorId,
        /// Its gradient.
        dy: TensorId,
    },
    /// Gradients of weight and bias.
    ConvolveBackwardWeights {
        /// Convolution layer.
        layer: usize,
        /// Input of the forward step.
        x: TensorId,
        /// Gradient of its output.
        dy: TensorId,
    },
    /// Gradient of a convolution's input.
    ConvolveBackwardData {
        /// Convolution layer.
        layer: usize,
        /// Gradient of the output.
        dy: TensorId,
        /// Gradient of the input.
        dx: TensorId,
        /// Whether it is added to what is there.
        accumulate: bool,
    },
    /// Gradient through ReLU and norm, in place, and those of scale and shift.
    NormaliseBackward {
        /// Norm layer.
        layer: usize,
        /// Whether ReLU followed.
        relu: bool,
        /// Input of the forward step.
        x: TensorId,
        /// Gradient of its output, replaced by the gradient of its input.
        dy: TensorId,
    },
    /// Gradient of a max-pooling's input.
    MaxPoolBackward {
        /// Input of the forward step.
        x: TensorId,
        /// Gradient of its output.
        dy: TensorId,
        /// Gradient of its input.
        dx: TensorId,
        /// Whether it is added to what is there.
        accumulate: bool,
    },
    /// Gradient of a copied tensor, or of a norm's input that others read too.
    CopyBackward {
        /// Gradient of the copy.
        dy: TensorId,
        /// Gradient of the original.
        dx: TensorId,
        /// Whether it is added to what is there.
        accumulate: bool,
    },
    /// Gradients of the inputs and the parameters of a [`Step::Apply`]; one of them may take the place of `dy`.
    ApplyBackward {
        /// The layer.
        layer: usize,
        /// Its inputs, where [`BackwardReads`] says that they are read.
        xs: Vec<Option<TensorId>>,
        /// Its output, where that is read.
        y: Option<TensorId>,
        /// Gradient of its output.
        dy: TensorId,
        /// Gradients of its inputs, and whether they are added to what is there; none where nothing behind is trained.
        dxs: Vec<Option<(TensorId, bool)>>,
    },
}

impl Step {
    /// Every tensor that the step reads or writes.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorId> {
        match self {
            Self::Convolve { x, y, .. }
            | Self::Normalise { x, y, .. }
            | Self::MaxPool { x, y }
            | Self::Copy { x, y } => vec![*x, *y],
            Self::Apply { xs, y, .. } => xs.iter().copied().chain([*y]).collect(),
            Self::Loss { logits, gradient, .. } => vec![*logits, *gradient],
            Self::Zero { dx } => vec![*dx],
            Self::ReluBackward { y, dy } => vec![*y, *dy],
            Self::ConvolveBackwardWeights { x, dy, .. } | Self::NormaliseBackward { x, dy, .. } => vec![*x, *dy],
            Self::ConvolveBackwardData { dy, dx, .. } | Self::CopyBackward { dy, dx, .. } => vec![*dy, *dx],
            Self::MaxPoolBackward { x, dy, dx, .. } => vec![*x, *dy, *dx],
            Self::ApplyBackward { xs, y, dy, dxs, .. } => {
                let read = xs.iter().flatten().copied().chain(*y).chain([*dy]);
                read.chain(dxs.iter().flatten().map(|&(dx, _)| dx)).collect()
            }
        }
    }
}

/// Execution order and memory of one network for one batch size and image size.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What it is for.
    pub mode: Mode,
    /// Images.
    pub batch: usize,
    /// Rows of the image, a multiple of [`NetworkSpec::input_multiple`].
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// All tensors.
    pub tensors: Vec<Tensor>,
    /// All blocks of memory.
    pub buffers: Vec<Buffer>,
    /// Forward steps; in training the last ones are [`Step::Loss`], the output's before those of the auxiliary heads.
    pub forward: Vec<Step>,
    /// Backward steps, empty at inference.
    pub backward: Vec<Step>,
    /// The image.
    pub input: TensorId,
    /// The logits.
    pub output: TensorId,
    /// Size of the arena in floats.
    pub arena_floats: usize,
}

impl Schedule {
    /// Plans the execution of `spec` for `batch` images of `height` x `width` pixels.
    ///
    /// # Errors
    /// [`Error::Option`] when a size is zero or not a multiple of [`NetworkSpec::input_multiple`];
    /// [`Error::Network`] when the network does not fit together.
    pub fn new(spec: &NetworkSpec, mode: Mode, batch: usize, height: usize, width: usize) -> Result<Self> {
        let multiple = spec.input_multiple();
        for (what, got, of) in
            [("batch", batch, 1), ("image height", height, multiple), ("image width", width, multiple)]
        {
            if got == 0 || got % of != 0 {
                let expected = format!("a positive multiple of {of}");
                return Err(Error::Option { what: what.into(), expected, got: got.to_string() });
            }
        }
        let shapes = Shapes::infer(spec, height, width)?;
        let mut schedule = forward::plan(spec, &shapes, mode, batch)?;
        if mode == Mode::Train {
            backward::plan(spec, &mut schedule);
        }
        memory::assign(&mut schedule, true);
        Ok(schedule)
    }

    /// The output of the pooling that a device may carry out together with forward step `index`, because it comes next and
    /// reads what that step writes. Its memory is free to be written from that step on.
    #[must_use]
    pub fn pooled_with(&self, index: usize) -> Option<TensorId> {
        let written = match self.forward.get(index)? {
            Step::Convolve { y, .. } | Step::Normalise { y, .. } => *y,
            _ => return None,
        };
        match self.forward.get(index + 1) {
            Some(Step::MaxPool { x, y }) if *x == written => Some(*y),
            _ => None,
        }
    }

    /// Bytes of all activations (and gradients in training), as the engine allocates them.
    #[must_use]
    pub fn activation_bytes(&self) -> u64 {
        self.arena_floats as u64 * 4
    }

    /// The same steps with tensors that take other planes of their buffers, packed anew: `planes[t]` are the first plane
    /// and the number of planes of tensor t. This is for devices that put several channels into one plane.
    ///
    /// # Panics
    /// When there is not one entry for each tensor.
    #[must_use]
    pub fn with_planes(mut self, planes: &[(usize, usize)]) -> Self {
        assert_eq!(planes.len(), self.tensors.len(), "one entry for each tensor");
        for buffer in &mut self.buffers {
            buffer.channels = 0;
        }
        for (tensor, &(first, count)) in self.tensors.iter_mut().zip(planes) {
            (tensor.first_channel, tensor.channels) = (first, count);
            let buffer = &mut self.buffers[tensor.buffer];
            buffer.channels = buffer.channels.max(first + count);
        }
        for buffer in &mut self.buffers {
            buffer.floats = self.batch * buffer.channels * buffer.layout.plane_stride();
        }
        memory::assign(&mut self, true);
        self
    }

    /// The same steps with buffers of these sizes, packed anew: `sizes[b]` is that of buffer b in any unit, which is then that of
    /// [`Buffer::floats`], [`Buffer::offset`] and [`Self::arena_floats`]. This is for devices whose tensors are dense or have other
    /// numbers. No pooling is carried out together with the step before it.
    ///
    /// # Panics
    /// When there is not one size for each buffer.
    #[must_use]
    pub fn with_buffer_sizes(mut self, sizes: &[usize]) -> Self {
        assert_eq!(sizes.len(), self.buffers.len(), "one size for each buffer");
        self.buffers.iter_mut().zip(sizes).for_each(|(buffer, &size)| buffer.floats = size);
        memory::assign(&mut self, false);
        self
    }

    /// Layout of a tensor's planes.
    #[must_use]
    pub fn layout(&self, tensor: TensorId) -> PlaneLayout {
        self.buffers[self.tensors[tensor].buffer].layout
    }
}
