//! [`Program`]: a network as a list of calls on one arena, before it is written down in a language.

use super::constants::{ConstantId, Constants, Values};
use crate::error::{Error, Result};
use crate::export::Deployment;
use crate::network::schedule::{Mode, Schedule, TensorId};
use crate::network::{Geometry, Op, Window};

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a program has a few hundred arguments and is written down at once")]
pub enum Arg {
    /// A place in the arena, in elements.
    Tensor(usize),
    /// Several places.
    Tensors(Vec<usize>),
    Constant(ConstantId),
    Geometry(Place),
    Units(Units),
    Int(i64),
    Bool(bool),
    Float(f32),
}

/// The kernels' `geometry`, in the order of its fields.
pub type Place = [(&'static str, usize); 15];

/// The kernels' `units`.
#[derive(Clone, Debug, PartialEq)]
pub struct Units {
    pub x_offset: ConstantId,
    pub bias: ConstantId,
    pub multiplier: ConstantId,
    pub shift: ConstantId,
    pub y_offset: i32,
}

/// A call of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The layer.
    pub comment: String,
    pub kernel: &'static str,
    pub args: Vec<Arg>,
}

/// How an image is read and a result is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Ends {
    /// Mean and deviation of every channel.
    F32 { mean: ConstantId, std: ConstantId },
    /// Factor and shift of every channel, a table of every channel's bytes, scale of the logits.
    Int8 { factor: ConstantId, shift: ConstantId, tables: ConstantId, scale: f32 },
}

/// A network for one image size.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub channels: usize,
    pub classes: usize,
    /// Rows and columns of the image.
    pub size: (usize, usize),
    /// Rows and columns that the network runs on.
    pub padded: (usize, usize),
    /// Elements of the arena.
    pub arena: usize,
    pub constants: Constants,
    pub calls: Vec<Call>,
    /// Places of the image and of the logits.
    pub image: usize,
    pub logits: usize,
    pub ends: Ends,
    /// `share_exp` or `share_sigmoid`: how logits become probabilities.
    pub share: &'static str,
}

impl Program {
    pub fn element_bytes(&self) -> usize {
        match self.ends {
            Ends::F32 { .. } => 4,
            Ends::Int8 { .. } => 1,
        }
    }
}

/// A tensor in the arena: place, channels, rows, columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    pub at: usize,
    pub channels: usize,
    pub rows: usize,
    pub columns: usize,
}

impl Tensor {
    pub fn pixels(self) -> usize {
        self.rows * self.columns
    }

    /// A convolution from this tensor to `to`.
    pub fn convolved(self, to: Self, g: &Geometry, groups: usize) -> Place {
        self.place(to, g.kernel, g.stride, g.padding, g.dilation, groups)
    }

    /// A pooling from this tensor to `to`.
    pub fn pooled(self, to: Self, w: &Window) -> Place {
        self.place(to, w.kernel, w.stride, w.padding, [1, 1], self.channels)
    }

    /// Every channel times a number.
    pub fn pointwise(self, to: Self) -> Place {
        self.place(to, [1, 1], [1, 1], [0, 0], [1, 1], self.channels)
    }

    fn place(
        self,
        to: Self,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
        groups: usize,
    ) -> Place {
        [
            ("in_channels", self.channels),
            ("in_rows", self.rows),
            ("in_columns", self.columns),
            ("out_channels", to.channels),
            ("out_rows", to.rows),
            ("out_columns", to.columns),
            ("kernel_rows", kernel[0]),
            ("kernel_columns", kernel[1]),
            ("stride_rows", stride[0]),
            ("stride_columns", stride[1]),
            ("padding_rows", padding[0]),
            ("padding_columns", padding[1]),
            ("dilation_rows", dilation[0]),
            ("dilation_columns", dilation[1]),
            ("groups", groups),
        ]
    }
}

/// What both kinds of programs are made from.
pub struct Network<'a> {
    pub deployment: &'a Deployment,
    pub schedule: Schedule,
}

impl<'a> Network<'a> {
    pub fn new(deployment: &'a Deployment, size: (usize, usize)) -> Result<Self> {
        if let Some(bad) = deployment.weights.iter().find(|t| t.values.iter().any(|v| !v.is_finite())) {
            let reason = "it holds a value that is not finite".into();
            return Err(Error::Network { layer: bad.name.clone(), reason });
        }
        let multiple = deployment.network.input_multiple();
        let (height, width) = (size.0.next_multiple_of(multiple), size.1.next_multiple_of(multiple));
        let schedule = Schedule::new(&deployment.network, Mode::Infer, 1, height, width)?;
        deployment.network.check_output_size(height, width)?;
        Ok(Self { deployment, schedule })
    }

    pub fn op(&self, layer: usize) -> &'a Op {
        &self.deployment.network.layers[layer].op
    }

    pub fn name(&self, layer: usize) -> &'a str {
        &self.deployment.network.layers[layer].name
    }

    pub fn geometry(&self, layer: usize) -> Result<Geometry> {
        self.op(layer).geometry().ok_or_else(|| self.unsupported(layer, "its kernel is not two-dimensional"))
    }

    pub fn window(&self, layer: usize) -> Result<Window> {
        self.op(layer).window().ok_or_else(|| self.unsupported(layer, "its window is not two-dimensional"))
    }

    pub fn unsupported(&self, layer: usize, reason: impl Into<String>) -> Error {
        Error::Network { layer: self.name(layer).into(), reason: reason.into() }
    }

    /// Where a tensor lies; the unit is that of the schedule's buffers.
    pub fn tensor(&self, id: TensorId) -> Tensor {
        let t = &self.schedule.tensors[id];
        let (buffer, layout) = (&self.schedule.buffers[t.buffer], self.schedule.layout(id));
        let at = buffer.offset + t.first_channel * layout.height * layout.width;
        Tensor { at, channels: t.channels, rows: layout.height, columns: layout.width }
    }

    /// Values of a buffer.
    pub fn elements(&self, buffer: usize) -> usize {
        let b = &self.schedule.buffers[buffer];
        b.channels * b.layout.height * b.layout.width
    }

    fn parameter(&self, layer: usize, what: &str) -> Option<&'a [f32]> {
        let name = format!("{}.{what}", self.name(layer));
        self.deployment.weights.iter().find(|t| t.name == name).map(|t| &t.values[..])
    }

    pub fn required(&self, layer: usize, what: &str) -> Result<&'a [f32]> {
        self.parameter(layer, what).ok_or_else(|| self.unsupported(layer, format!("its parameter {what} is missing")))
    }

    /// The bias of a convolution; zeros where it has none.
    pub fn bias(&self, layer: usize, channels: usize) -> Vec<f32> {
        self.parameter(layer, "bias").map_or_else(|| vec![0.0; channels], <[f32]>::to_vec)
    }

    /// Channels that do not see each other.
    pub fn groups(&self, layer: usize, channels: usize) -> usize {
        match self.op(layer) {
            Op::Conv2d { groups, .. } => *groups,
            Op::DepthwiseConv2d { .. } => channels,
            _ => 1,
        }
    }

    /// Factor and constant of every channel of a batch norm.
    pub fn norm(&self, layer: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let Op::BatchNorm { eps, .. } = *self.op(layer) else {
            return Err(self.unsupported(layer, "it is no batch norm"));
        };
        let [gamma, beta] = [self.required(layer, "weight")?, self.required(layer, "bias")?];
        let [mean, variance] = [self.required(layer, "running_mean")?, self.required(layer, "running_var")?];
        let factor = |c: usize| f64::from(gamma[c]) / (f64::from(variance[c]) + f64::from(eps)).sqrt();
        let constant = |c: usize| f64::from(beta[c]) - f64::from(mean[c]) * factor(c);
        let all = 0..gamma.len();
        Ok((all.clone().map(|c| factor(c) as f32).collect(), all.map(|c| constant(c) as f32).collect()))
    }
}

/// Ints as arguments.
pub fn ints(values: &[usize]) -> Vec<Arg> {
    values.iter().map(|&v| Arg::Int(v as i64)).collect()
}

/// A constant of floats.
pub fn floats(constants: &mut Constants, layer: &str, what: &str, values: &[f32]) -> Arg {
    Arg::Constant(constants.add(layer, what, Values::F32(values.to_vec())))
}
