//! [`Schedule`]: the order in which a network is executed, what is fused, and where every tensor lies in memory.
//!
//! A schedule is data. Any device can execute it, and the exact memory of a network is known without a device.
//!
//! - Convolution, batch norm and ReLU that follow each other are one step at inference; in training the convolution is
//!   one step, norm + ReLU another.
//! - Concatenation costs nothing: its inputs are written straight into channel ranges of one buffer.
//! - Gradients of a norm's input take the place of the gradients of its output.
//! - Buffers whose lives do not overlap share memory.

mod backward;
mod forward;
mod memory;

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// y = max over windows of x.
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
    /// The loss of the logits and its gradient.
    Loss {
        /// Logits.
        logits: TensorId,
        /// Their gradient.
        gradient: TensorId,
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
    /// Gradient of a copied tensor.
    CopyBackward {
        /// Gradient of the copy.
        dy: TensorId,
        /// Gradient of the original.
        dx: TensorId,
        /// Whether it is added to what is there.
        accumulate: bool,
    },
}

impl Step {
    /// Every tensor that the step reads or writes.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorId> {
        match *self {
            Self::Convolve { x, y, .. }
            | Self::Normalise { x, y, .. }
            | Self::MaxPool { x, y }
            | Self::Copy { x, y } => vec![x, y],
            Self::Loss { logits, gradient } => vec![logits, gradient],
            Self::Zero { dx } => vec![dx],
            Self::ReluBackward { y, dy } => vec![y, dy],
            Self::ConvolveBackwardWeights { x, dy, .. } | Self::NormaliseBackward { x, dy, .. } => vec![x, dy],
            Self::ConvolveBackwardData { dy, dx, .. } | Self::CopyBackward { dy, dx, .. } => vec![dy, dx],
            Self::MaxPoolBackward { x, dy, dx, .. } => vec![x, dy, dx],
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
    /// Forward steps; in training the last one is [`Step::Loss`].
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
    /// [`Error::Network`] when the network does not fit together or, in training, has a layer without a gradient.
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
            backward::plan(spec, &mut schedule)?;
        }
        memory::assign(&mut schedule);
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
        memory::assign(&mut self);
        self
    }

    /// Layout of a tensor's planes.
    #[must_use]
    pub fn layout(&self, tensor: TensorId) -> PlaneLayout {
        self.buffers[self.tensors[tensor].buffer].layout
    }
}

#[cfg(test)]
mod tests {
    use super::super::families::{self, unet};
    use super::*;

    fn small(mode: Mode) -> Schedule {
        let net = unet(&families::Options {
            in_channels: 1,
            classes: 2,
            base_width: 4,
            depth: 2,
            ..families::Options::default()
        })
        .unwrap();
        Schedule::new(&net, mode, 2, 16, 24).unwrap()
    }

    #[test]
    fn inference_fuses_norm_and_relu_and_copies_nothing() {
        let s = small(Mode::Infer);
        let convolutions = s.forward.iter().filter(|s| matches!(s, Step::Convolve { .. })).count();
        assert_eq!(convolutions, 2 * 5 + 2 + 1);
        assert_eq!(s.forward.len(), convolutions + 2, "two poolings and nothing else");
        assert!(
            s.forward.iter().filter(|s| matches!(s, Step::Convolve { norm: Some(_), relu: true, .. })).count() == 12
        );
    }

    #[test]
    fn a_skip_and_its_upsampled_partner_are_views_of_one_buffer() {
        let s = small(Mode::Infer);
        let find = |name: &str| s.tensors.iter().find(|t| t.name == name).unwrap();
        let (skip, up, joined) = (find("enc0.relu2"), find("up0.relu"), find("dec0.concat"));
        assert_eq!((skip.buffer, up.buffer), (joined.buffer, joined.buffer));
        assert_eq!((skip.first_channel, up.first_channel, joined.channels), (0, 4, 8));
    }

    #[test]
    fn buffers_that_live_at_the_same_time_never_overlap_in_memory() {
        for mode in [Mode::Infer, Mode::Train] {
            let s = small(mode);
            for (i, a) in s.buffers.iter().enumerate() {
                assert!(a.offset + a.floats <= s.arena_floats);
                for b in &s.buffers[..i] {
                    let in_time = a.born <= b.dies && b.born <= a.dies;
                    let in_space = a.offset < b.offset + b.floats && b.offset < a.offset + a.floats;
                    assert!(!(in_time && in_space), "{a:?} {b:?}");
                }
            }
            let total: usize = s.buffers.iter().map(|b| b.floats).sum();
            assert!(s.arena_floats < total, "some memory is shared");
        }
    }

    #[test]
    fn the_pooled_skip_adds_to_the_gradient_that_the_decoder_wrote() {
        let s = small(Mode::Train);
        let pools: Vec<bool> = s
            .backward
            .iter()
            .filter_map(|s| if let Step::MaxPoolBackward { accumulate, .. } = s { Some(*accumulate) } else { None })
            .collect();
        assert_eq!(pools, [true, true]);
        assert!(!s.backward.iter().any(|s| matches!(s, Step::Zero { .. })));
        let data = s.backward.iter().filter(|s| matches!(s, Step::ConvolveBackwardData { .. })).count();
        let weights = s.backward.iter().filter(|s| matches!(s, Step::ConvolveBackwardWeights { .. })).count();
        assert_eq!(weights, 13);
        assert_eq!(data, 12, "the image needs no gradient");
    }

    #[test]
    fn a_pooling_may_be_carried_out_with_the_step_before_it() {
        for (mode, steps) in [(Mode::Infer, 2), (Mode::Train, 2)] {
            let s = small(mode);
            let pooled: Vec<_> = (0..s.forward.len()).filter_map(|k| Some((k, s.pooled_with(k)?))).collect();
            assert_eq!(pooled.len(), steps, "{mode:?}");
            for (k, y) in pooled {
                let buffer = &s.buffers[s.tensors[y].buffer];
                assert_eq!(buffer.born, k, "its memory belongs to it when the step before begins");
                assert!(matches!(s.forward[k + 1], Step::MaxPool { .. }));
            }
        }
    }

    #[test]
    fn four_channels_in_one_plane_take_about_a_quarter_of_the_memory() {
        let s = small(Mode::Infer);
        let planes: Vec<_> = s.tensors.iter().map(|t| (t.first_channel / 4, t.channels.div_ceil(4))).collect();
        let packed = s.clone().with_planes(&planes);
        let joined = packed.tensors.iter().find(|t| t.name == "dec0.concat").unwrap();
        assert_eq!((joined.channels, packed.buffers[joined.buffer].channels), (2, 2));
        assert!(packed.arena_floats * 3 < s.arena_floats, "{} of {}", packed.arena_floats, s.arena_floats);
        assert_eq!(packed.forward, s.forward);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let net = unet(&families::Options {
            in_channels: 1,
            classes: 2,
            base_width: 1,
            depth: 2,
            ..families::Options::default()
        })
        .unwrap();
        let error = Schedule::new(&net, Mode::Infer, 1, 18, 16).unwrap_err();
        assert!(error.to_string().contains("multiple of 4"), "{error}");
    }
}
