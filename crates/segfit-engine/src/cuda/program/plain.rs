//! Layers that are neither convolution nor batch norm.

use segfit::network::schedule::TensorId;
use segfit::network::{Op, ParameterKind, Window};

use super::Compiler;
use crate::cpu::axis_taps;
use crate::cuda::kernels::{CHUNK, PART};
use crate::cuda::launch::Call;
use crate::cuda::tensor::Tensor;
use crate::error::Result;

/// What is summed over pixels, `p.what` in the source.
#[derive(Clone, Copy)]
pub(super) enum Sum {
    /// The first tensor.
    Values,
    /// The product of both.
    Products,
    /// The product where the first is not positive.
    ProductsBelow,
}

/// An activation as the kernels know it: its kind and its two numbers.
fn activation(op: &Op) -> Option<(usize, [f32; 2])> {
    Some(match *op {
        Op::Relu => (0, [0.0; 2]),
        Op::LeakyRelu { slope } => (0, [slope, 0.0]),
        Op::Elu => (1, [0.0; 2]),
        Op::Sigmoid => (2, [0.0; 2]),
        Op::Tanh => (3, [0.0; 2]),
        Op::Silu => (4, [0.0; 2]),
        Op::HardSigmoid => (5, [0.0; 2]),
        Op::HardSwish => (6, [0.0; 2]),
        Op::Clamp { low, high } => (7, [low, high]),
        _ => return None,
    })
}

impl Call {
    fn window(self, x: &Tensor, y: &Tensor, w: Window) -> Self {
        self.tensor(x).tensor(y).ints(w.kernel).ints(w.stride).ints(w.padding)
    }
}

impl Compiler<'_> {
    pub(super) fn max_pool(&mut self, window: Window, x: TensorId, y: TensorId) {
        let (x, y) = (self.tensor(x), self.tensor(y));
        self.push(Call::over("max_pool", &y, CHUNK).window(&x, &y, window));
    }

    pub(super) fn max_pool_gradient(&mut self, window: Window, x: Tensor, dy: Tensor, dx: Tensor, accumulate: bool) {
        let call = Call::over("max_pool_gradient", &dx, CHUNK).window(&x, &dy, window);
        self.push(call.tensor(&dx).flag(accumulate));
    }

    /// Sums over the pixels of every plane, in scratch memory; into how many parts a plane is divided.
    pub(super) fn plane_sums(&mut self, a: &Tensor, b: &Tensor, what: Sum) -> usize {
        let parts = a.pixels().div_ceil(PART);
        self.need_scratch(8 * a.planes() * parts);
        self.push(Call::over("plane_sums", a, PART).tensor(a).tensor(b).scratch(0).int(what as usize));
        parts
    }

    fn window(&self, layer: usize) -> Result<Window> {
        let window = self.source.spec.layers[layer].op.window();
        window.ok_or_else(|| self.unsupported(layer, "a window that is not two-dimensional"))
    }

    pub(super) fn apply(&mut self, layer: usize, xs: &[TensorId], y_id: TensorId) -> Result<()> {
        let op = self.source.spec.layers[layer].op.clone();
        let (x, y) = (self.tensor(xs[0]), self.tensor(y_id));
        match op {
            Op::Prelu { shared } => {
                let slopes = self.trained(layer, ParameterKind::Slope).expect("PReLU has slopes");
                let call = Call::over("prelu", &x, CHUNK).tensor(&x).tensor(&x).tensor(&y).address(slopes);
                self.push(call.flag(shared).flag(false));
            }
            Op::InstanceNorm { eps, .. } => self.part_norm(layer, x.channels, eps, &x, &y)?,
            Op::GroupNorm { groups, eps } => self.part_norm(layer, groups, eps, &x, &y)?,
            Op::MaxPool { .. } => {
                let window = self.window(layer)?;
                self.max_pool(window, xs[0], y_id);
            }
            Op::GlobalAveragePool => {
                let parts = self.plane_sums(&x, &x, Sum::Values);
                let call = Call::new("sum_planes", [x.planes(), 1, 1]).scratch(0).address(y.address);
                let call = call.ints([x.channels, y.image, 1, 1, 1, parts, 1, 0]);
                self.push(call.float(1.0 / x.pixels() as f32).flag(false));
            }
            Op::AveragePool { .. } | Op::Upsample { .. } | Op::Pad { .. } => self.separable(layer, &x, &y, None)?,
            Op::Dropout { p } => self.dropout(layer, p, &x, &y, false),
            Op::Add => self.sum(xs, &y),
            Op::Mul => self.multiply(&x, &self.tensor(xs[1]), &y, false),
            ref op => {
                let (kind, numbers) = activation(op).ok_or_else(|| self.unsupported(layer, "it has no kernel"))?;
                let call = Call::over("activation", &x, CHUNK).tensor(&x).tensor(&y).int(kind);
                self.push(call.float(numbers[0]).float(numbers[1]));
            }
        }
        Ok(())
    }

    fn dropout(&mut self, layer: usize, p: f32, x: &Tensor, y: &Tensor, accumulate: bool) {
        let Some(loss) = &self.source.memory.loss else { return self.copy(x, y, accumulate) };
        let call = Call::over("dropout", y, CHUNK).tensor(x).tensor(y).address(loss.numbers.address);
        self.push(call.long(layer as u64).float(p).flag(accumulate));
    }

    /// y may be the first input.
    fn sum(&mut self, xs: &[TensorId], y: &Tensor) {
        let xs: Vec<Tensor> = xs.iter().map(|&x| self.tensor(x)).collect();
        match &xs[..] {
            [x] => self.copy(x, y, false),
            [a, b, rest @ ..] => {
                self.push(Call::over("add", y, CHUNK).tensor(a).tensor(b).tensor(y).flag(false));
                rest.iter().for_each(|x| self.copy(x, y, true));
            }
            [] => unreachable!("a sum has inputs"),
        }
    }

    fn multiply(&mut self, a: &Tensor, b: &Tensor, y: &Tensor, accumulate: bool) {
        self.push(Call::over("multiply", y, CHUNK).tensor(a).tensor(b).tensor(y).flag(accumulate));
    }

    /// The layer's map of `x`, or, with the flag of accumulation, the transposed map of the gradient of its output.
    fn separable(&mut self, layer: usize, x: &Tensor, y: &Tensor, backward: Option<bool>) -> Result<()> {
        let op = &self.source.spec.layers[layer].op;
        let size = |t: &Tensor| (t.height, t.width);
        let (inner, outer) = if backward.is_some() { (size(y), size(x)) } else { (size(x), size(y)) };
        let axes = axis_taps(op, inner, outer, backward.is_some());
        let axes = axes.ok_or_else(|| self.unsupported(layer, "it has no kernel"))?;
        let mut call = Call::over("separable", y, CHUNK).tensor(x).tensor(y);
        for taps in axes {
            let mut starts = vec![0];
            taps.iter().for_each(|list| starts.push(starts[starts.len() - 1] + list.len() as i32));
            let inputs: Vec<i32> = taps.iter().flatten().map(|&(i, _)| i as i32).collect();
            let weights: Vec<u8> = taps.iter().flatten().flat_map(|(_, w)| w.to_ne_bytes()).collect();
            let tables = [self.int_table(&starts)?, self.int_table(&inputs)?, self.table(&weights)?];
            call = tables.into_iter().fold(call, Call::address);
        }
        self.push(call.flag(backward.unwrap_or(false)));
        Ok(())
    }

    pub(super) fn apply_gradient(
        &mut self,
        layer: usize,
        xs: &[Option<TensorId>],
        y: Option<TensorId>,
        dy: TensorId,
        dxs: &[Option<(TensorId, bool)>],
    ) -> Result<()> {
        let op = self.source.spec.layers[layer].op.clone();
        let tensors = |list: &[Option<TensorId>]| -> Vec<Option<Tensor>> {
            list.iter().map(|t| t.map(|t| self.tensor(t))).collect()
        };
        let (xs, y, dy) = (tensors(xs), y.map(|y| self.tensor(y)), self.tensor(dy));
        let dxs: Vec<_> = dxs.iter().map(|d| d.map(|(t, accumulate)| (self.tensor(t), accumulate))).collect();
        let x = || xs[0].expect("the schedule keeps the input that this gradient reads");
        let dx = dxs.first().copied().flatten();
        match (&op, dx) {
            (Op::Prelu { shared }, _) => self.prelu_gradient(layer, *shared, &x(), &dy, dx),
            (Op::InstanceNorm { .. } | Op::GroupNorm { .. }, _) => self.part_norm_gradient(layer, &x(), &dy, dx)?,
            (Op::Add, _) => {
                // The gradient may be the memory of the output's.
                for (dx, accumulate) in dxs.into_iter().flatten().filter(|(dx, add)| dx.address != dy.address || *add) {
                    self.copy(&dy, &dx, accumulate);
                }
            }
            (Op::Mul, _) => {
                let gate = xs.get(1).copied().flatten().expect("the schedule keeps the gate of a product");
                if let Some((d_gate, accumulate)) = dxs.get(1).copied().flatten() {
                    self.gate_gradient(&x(), &dy, &d_gate, accumulate);
                }
                if let Some((dx, accumulate)) = dx {
                    self.multiply(&dy, &gate, &dx, accumulate);
                }
            }
            (_, None) => {}
            (Op::MaxPool { .. }, Some((dx, accumulate))) => {
                let window = self.window(layer)?;
                self.max_pool_gradient(window, x(), dy, dx, accumulate);
            }
            (Op::GlobalAveragePool, Some((dx, accumulate))) => {
                self.push(Call::over("mean_gradient", &dx, CHUNK).tensor(&dy).tensor(&dx).flag(accumulate));
            }
            (Op::AveragePool { .. } | Op::Upsample { .. } | Op::Pad { .. }, Some((dx, accumulate))) => {
                self.separable(layer, &dy, &dx, Some(accumulate))?;
            }
            (Op::Dropout { p }, Some((dx, accumulate))) => self.dropout(layer, *p, &dy, &dx, accumulate),
            (op, Some((dx, accumulate))) => {
                let (kind, numbers) = activation(op).ok_or_else(|| self.unsupported(layer, "it has no kernel"))?;
                let read = if op.backward_reads().output { y.expect("the schedule keeps the output") } else { x() };
                let call = Call::over("activation_gradient", &dx, CHUNK).tensor(&read).tensor(&dy).tensor(&dx);
                self.push(call.int(kind).float(numbers[0]).float(numbers[1]).flag(accumulate));
            }
        }
        Ok(())
    }

    fn prelu_gradient(&mut self, layer: usize, shared: bool, x: &Tensor, dy: &Tensor, dx: Option<(Tensor, bool)>) {
        let [slopes, to] = [self.trained(layer, ParameterKind::Slope), self.gradient(layer, ParameterKind::Slope)]
            .map(|address| address.expect("PReLU has slopes"));
        let parts = self.plane_sums(x, dy, Sum::ProductsBelow);
        let (outputs, step, count) = if shared { (1, 1, x.planes()) } else { (x.channels, x.channels, x.batch) };
        let call = Call::new("sum_planes", [outputs, 1, 1]).scratch(0).address(to);
        self.push(call.ints([outputs, outputs, 1, step, count, parts, 1, 0]).float(1.0).flag(false));
        if let Some((dx, accumulate)) = dx {
            let call = Call::over("prelu", x, CHUNK).tensor(x).tensor(dy).tensor(&dx).address(slopes);
            self.push(call.flag(shared).flag(accumulate));
        }
    }

    /// The gate has one pixel or as many as `x`, one channel or as many.
    fn gate_gradient(&mut self, x: &Tensor, dy: &Tensor, d_gate: &Tensor, accumulate: bool) {
        let all_channels = d_gate.channels == x.channels;
        if d_gate.pixels() == 1 && x.pixels() > 1 {
            let parts = self.plane_sums(x, dy, Sum::Products);
            let (first, count) = if all_channels { (1, 1) } else { (x.channels, x.channels) };
            let call = Call::new("sum_planes", [d_gate.planes(), 1, 1]).scratch(0).address(d_gate.address);
            let call = call.ints([d_gate.channels, d_gate.image, first, 1, count, parts, 1, 0]);
            self.push(call.float(1.0).flag(accumulate));
        } else if all_channels {
            self.multiply(dy, x, d_gate, accumulate);
        } else {
            let call = Call::over("multiply_channels", d_gate, CHUNK).tensor(x).tensor(dy).tensor(d_gate);
            self.push(call.flag(accumulate));
        }
    }
}
