//! Functions of every value by itself. Gradients at corners are PyTorch's.

use segfit::network::Op;

use super::exponential::{exp_m1_of_negative, sigmoid, tanh};
use super::rows::{Run, write_pieces, zip_rows};
use crate::cpu::ordered::{assert_same_shape, floats};
use crate::cpu::planes::Planes;
use crate::cpu::simd::{Isa, Simd};
use crate::dispatch;

/// An activation without parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// x where positive, otherwise slope x; ReLU has slope 0.
    Leaky(f32),
    /// x where positive, otherwise exp(x) - 1.
    Elu,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// x sigmoid(x).
    Silu,
    /// min(max(x + 3, 0), 6) / 6.
    HardSigmoid,
    /// x times the hard sigmoid.
    HardSwish,
    /// min(max(x, low), high), with gradient 0 at the bounds (measured: PyTorch 2.15, `clamp` and `relu6` alike).
    Clamp(f32, f32),
}

impl Activation {
    /// The activation of a layer, if it is one.
    pub fn of(op: &Op) -> Option<Self> {
        Some(match *op {
            Op::Relu => Self::Leaky(0.0),
            Op::LeakyRelu { slope } => Self::Leaky(slope),
            Op::Elu => Self::Elu,
            Op::Sigmoid => Self::Sigmoid,
            Op::Tanh => Self::Tanh,
            Op::Silu => Self::Silu,
            Op::HardSigmoid => Self::HardSigmoid,
            Op::HardSwish => Self::HardSwish,
            Op::Clamp { low, high } => Self::Clamp(low, high),
            _ => return None,
        })
    }

    /// Whether the gradient is a function of the output; otherwise it is one of the input.
    pub fn reads_output(self) -> bool {
        match self {
            Self::Leaky(slope) => slope >= 0.0,
            Self::Elu | Self::Sigmoid | Self::Tanh => true,
            _ => false,
        }
    }

    /// y = f(x). `y` may be `x`.
    ///
    /// # Panics
    /// When shapes differ.
    pub fn forward(self, isa: Isa, x: &Planes, y: &Planes) {
        assert_same_shape(x, y);
        write_pieces(y, floats(y), |piece| {
            let size = (piece.rows.1 - piece.rows.0, y.layout.width);
            // SAFETY: this piece's rows of y belong to no other piece.
            unsafe { value_rows(isa, self, size, Run::of(x, piece), Run::of(y, piece)) };
        });
    }

    /// dx = dy f'(x), or that added to dx. `read` is the output if [`Self::reads_output`], else the input. `dx` may be `dy`.
    ///
    /// # Panics
    /// When shapes differ.
    pub fn backward(self, isa: Isa, read: &Planes, dy: &Planes, dx: &Planes, accumulate: bool) {
        assert_same_shape(read, dy);
        assert_same_shape(dy, dx);
        write_pieces(dx, floats(dx), |piece| {
            let size = (piece.rows.1 - piece.rows.0, dx.layout.width);
            let [read, dy, dx] = [read, dy, dx].map(|p| Run::of(p, piece));
            // SAFETY: this piece's rows of dx belong to no other piece.
            unsafe { gradient_rows(isa, self, size, read, dy, dx, accumulate) };
        });
    }
}

dispatch!(unsafe fn value_rows = values(f: Activation, size: (usize, usize), x: Run, y: Run));

#[inline(always)]
unsafe fn values<S: Simd>(f: Activation, size: (usize, usize), x: Run, y: Run) {
    // SAFETY: the caller's.
    unsafe {
        match f {
            // Not `x > 0`: what is not a number must not become zero.
            Activation::Leaky(0.0) => zip_rows(size, [x], y, |[x]| if x <= 0.0 { 0.0 } else { x }),
            Activation::Leaky(slope) => zip_rows(size, [x], y, |[x]| if x > 0.0 { x } else { slope * x }),
            Activation::Elu => zip_rows(size, [x], y, |[x]| if x > 0.0 { x } else { exp_m1_of_negative(x) }),
            Activation::Sigmoid => zip_rows(size, [x], y, |[x]| sigmoid(x)),
            Activation::Tanh => zip_rows(size, [x], y, |[x]| tanh(x)),
            Activation::Silu => zip_rows(size, [x], y, |[x]| x * sigmoid(x)),
            Activation::HardSigmoid => zip_rows(size, [x], y, |[x]| clamped(x + 3.0, 0.0, 6.0) / 6.0),
            Activation::HardSwish => zip_rows(size, [x], y, |[x]| x * clamped(x + 3.0, 0.0, 6.0) / 6.0),
            Activation::Clamp(low, high) => zip_rows(size, [x], y, |[x]| clamped(x, low, high)),
        }
    }
}

/// min(max(x, low), high); what is not a number stays so.
#[inline(always)]
fn clamped(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

dispatch!(
    unsafe fn gradient_rows =
        gradients(f: Activation, size: (usize, usize), read: Run, dy: Run, dx: Run, accumulate: bool)
);

#[inline(always)]
unsafe fn gradients<S: Simd>(f: Activation, size: (usize, usize), read: Run, dy: Run, dx: Run, accumulate: bool) {
    let run = Gradients { size, read, dy, dx, accumulate };
    // SAFETY: the caller's.
    unsafe {
        match f {
            Activation::Leaky(slope) => run.with(|y, d| if y > 0.0 { d } else { slope * d }),
            Activation::Elu => run.with(|y, d| if y > 0.0 { d } else { d * (y + 1.0) }),
            Activation::Sigmoid => run.with(|y, d| d * (1.0 - y) * y),
            Activation::Tanh => run.with(|y, d| d * (1.0 - y * y)),
            Activation::Silu => run.with(|x, d| {
                let s = sigmoid(x);
                d * s * (1.0 + x * (1.0 - s))
            }),
            Activation::HardSigmoid => run.with(|x, d| if x > -3.0 && x < 3.0 { d / 6.0 } else { 0.0 }),
            Activation::HardSwish => run.with(|x, d| {
                let inside = d * (x / 3.0 + 0.5);
                let right = if x >= 3.0 { d } else { inside };
                if x <= -3.0 { 0.0 } else { right }
            }),
            Activation::Clamp(low, high) => run.with(|x, d| if x > low && x < high { d } else { 0.0 }),
        }
    }
}

/// Rows of a backward pass.
struct Gradients {
    size: (usize, usize),
    read: Run,
    dy: Run,
    dx: Run,
    accumulate: bool,
}

impl Gradients {
    /// Applies f(value, gradient of the output).
    #[inline(always)]
    unsafe fn with(&self, f: impl Fn(f32, f32) -> f32) {
        // SAFETY: the caller's.
        unsafe {
            if self.accumulate {
                zip_rows(self.size, [self.read, self.dy, self.dx], self.dx, |[v, d, before]| before + f(v, d));
            } else {
                zip_rows(self.size, [self.read, self.dy], self.dx, |[v, d]| f(v, d));
            }
        }
    }
}
