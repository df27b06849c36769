//! Convolutions of all kinds: one kernel sums over input channels and taps, one makes the gradients of weights.

use segfit::network::schedule::TensorId;
use segfit::network::{Geometry, Op, ParameterKind};

use super::{Compiler, Folded};
use crate::cuda::kernels::THREADS;
use crate::cuda::launch::Call;
use crate::cuda::tensor::Tensor;
use crate::error::Result;

/// Which input pixels an output pixel reads.
struct Taps {
    /// By phase of the output: place in the kernel, and offsets of row and column.
    phases: Vec<Vec<[i32; 3]>>,
    in_step: [usize; 2],
    out_step: [usize; 2],
}

/// Every output pixel reads the pixels under the kernel.
fn gathered(g: &Geometry) -> Taps {
    let offset = |axis: usize, k: usize| (k * g.dilation[axis]) as i32 - g.padding[axis] as i32;
    let taps = places(g).map(|[a, b]| [(a * g.kernel[1] + b) as i32, offset(0, a), offset(1, b)]);
    Taps { phases: vec![taps.collect()], in_step: g.stride, out_step: [1; 2] }
}

/// The transposed map: every output pixel reads the pixels whose kernels lie over it.
fn scattered(g: &Geometry) -> Taps {
    // The input pixel, where the kernel's place k of it lies over pixel `phase` of the output.
    let offset = |axis: usize, phase: usize, k: usize| {
        let distance = (phase + g.padding[axis]) as i32 - (k * g.dilation[axis]) as i32;
        let stride = g.stride[axis] as i32;
        (distance % stride == 0).then_some(distance / stride)
    };
    let phase = |r: usize| {
        let tap = |[a, b]: [usize; 2]| {
            let place = (a * g.kernel[1] + b) as i32;
            Some([place, offset(0, r / g.stride[1], a)?, offset(1, r % g.stride[1], b)?])
        };
        places(g).filter_map(tap).collect()
    };
    Taps { phases: (0..g.stride[0] * g.stride[1]).map(phase).collect(), in_step: [1; 2], out_step: g.stride }
}

fn places(g: &Geometry) -> impl Iterator<Item = [usize; 2]> {
    let [rows, columns] = g.kernel;
    (0..rows).flat_map(move |a| (0..columns).map(move |b| [a, b]))
}

/// Channels of a convolution and where its weights lie; outputs and inputs are those of the map that is computed.
struct Channels {
    groups: usize,
    inputs: usize,
    outputs: usize,
    weight_group: usize,
    weight_out: usize,
    weight_in: usize,
}

/// A convolution layer.
struct Layer {
    geometry: Geometry,
    groups: usize,
    /// Channels of a group of its input and output.
    inputs: usize,
    outputs: usize,
}

impl Layer {
    fn channels(&self) -> Channels {
        let (area, outer, inner) = (self.geometry.area(), self.outputs, self.inputs);
        let weight_group = outer * inner * area;
        // [out][in][taps], or [in][out][taps] when transposed.
        let (weight_out, weight_in) =
            if self.geometry.transposed { (area, outer * area) } else { (inner * area, area) };
        Channels { groups: self.groups, inputs: inner, outputs: outer, weight_group, weight_out, weight_in }
    }

    fn forward(&self) -> (Taps, Channels) {
        let taps = if self.geometry.transposed { scattered(&self.geometry) } else { gathered(&self.geometry) };
        (taps, self.channels())
    }

    /// The gradient of the input is the transposed map of the gradient of the output.
    fn backward(&self) -> (Taps, Channels) {
        let taps = if self.geometry.transposed { gathered(&self.geometry) } else { scattered(&self.geometry) };
        let Channels { groups, inputs, outputs, weight_group, weight_out, weight_in } = self.channels();
        let swapped = Channels {
            groups,
            inputs: outputs,
            outputs: inputs,
            weight_group,
            weight_out: weight_in,
            weight_in: weight_out,
        };
        (taps, swapped)
    }
}

/// The kernel for a group of so many outputs, and how many a block computes; then the pixels of a block.
fn tile(outputs: usize) -> (&'static str, usize, usize) {
    match outputs {
        1 => ("convolve_1", 1, THREADS),
        2 => ("convolve_2", 2, THREADS),
        3..=4 => ("convolve_4", 4, THREADS),
        5..=8 => ("convolve_8", 8, THREADS),
        9..=16 => ("convolve_16", 16, THREADS),
        17..=32 => ("convolve_32", 32, THREADS),
        _ => ("convolve_64", 64, 64),
    }
}

/// What follows the sums.
#[derive(Clone, Copy, Default)]
struct After {
    bias: u64,
    relu: bool,
    accumulate: bool,
}

impl Compiler<'_> {
    fn convolution(&self, layer: usize) -> Result<Layer> {
        let op = &self.source.spec.layers[layer].op;
        let geometry = op.geometry().ok_or_else(|| self.unsupported(layer, "its kernel is not two-dimensional"))?;
        let weight = self.source.layout.parameters.iter().find(|p| p.layer == layer && p.kind == ParameterKind::Weight);
        let shape = &weight.ok_or_else(|| self.unsupported(layer, "has no weight"))?.shape;
        let groups = match op {
            Op::Conv2d { groups, .. } => *groups,
            Op::DepthwiseConv2d { .. } => shape[0],
            _ => 1,
        };
        let (outputs, inputs) = if geometry.transposed { (shape[1], shape[0]) } else { (shape[0] / groups, shape[1]) };
        Ok(Layer { geometry, groups, inputs, outputs })
    }

    pub(super) fn convolve(
        &mut self,
        layer: usize,
        norm: Option<usize>,
        relu: bool,
        x: TensorId,
        y: TensorId,
    ) -> Result<()> {
        let (taps, channels) = self.convolution(layer)?.forward();
        let (x, y) = (self.tensor(x), self.tensor(y));
        let bias = if self.source.training.is_some() {
            self.trained(layer, ParameterKind::Bias).unwrap_or(0)
        } else {
            let bias = self.own(4 * y.channels)?;
            self.folded.push(Folded::Convolution { layer, norm, bias });
            bias
        };
        self.sum_taps(layer, &taps, &channels, &x, &y, After { bias, relu, accumulate: false })
    }

    pub(super) fn input_gradient(&mut self, layer: usize, dy: TensorId, dx: TensorId, accumulate: bool) -> Result<()> {
        let (taps, channels) = self.convolution(layer)?.backward();
        let (dy, dx) = (self.tensor(dy), self.tensor(dx));
        self.sum_taps(layer, &taps, &channels, &dy, &dx, After { accumulate, ..After::default() })
    }

    fn sum_taps(
        &mut self,
        layer: usize,
        taps: &Taps,
        channels: &Channels,
        x: &Tensor,
        y: &Tensor,
        after: After,
    ) -> Result<()> {
        let mut table = Vec::new();
        let mut first = 0;
        for phase in &taps.phases {
            table.extend([first, phase.len() as i32]);
            first += phase.len() as i32;
        }
        table.extend(taps.phases.iter().flatten().flatten());
        let table = self.int_table(&table)?;
        let (kernel, outs, block) = tile(channels.outputs);
        let tiles = channels.outputs.div_ceil(outs);
        let rows = channels.groups * tiles;
        if rows >= 1 << 16 || taps.phases.len() >= 1 << 16 {
            return Err(self.unsupported(layer, "more than 65535 groups of channels or phases of a stride"));
        }
        let pixels = y.height.div_ceil(taps.out_step[0]) * y.width.div_ceil(taps.out_step[1]) * y.batch;
        let weight = self.trained(layer, ParameterKind::Weight).expect("a convolution has a weight");
        let call = Call::new(kernel, [pixels.div_ceil(block), rows, taps.phases.len()])
            .tensor(x)
            .tensor(y)
            .address(weight)
            .address(after.bias)
            .address(table)
            .ints([taps.phases.len(), channels.inputs, channels.outputs, tiles])
            .ints([channels.weight_group, channels.weight_out, channels.weight_in])
            .ints(taps.in_step)
            .ints(taps.out_step)
            .flag(after.relu)
            .flag(after.accumulate);
        self.push(call);
        Ok(())
    }

    pub(super) fn weight_gradient(&mut self, layer: usize, x: TensorId, dy: TensorId) -> Result<()> {
        let this = self.convolution(layer)?;
        let (x, dy) = (self.tensor(x), self.tensor(dy));
        let g = &this.geometry;
        let (small, large, small_channels, large_channels) =
            if g.transposed { (&x, &dy, this.inputs, this.outputs) } else { (&dy, &x, this.outputs, this.inputs) };
        let offsets: Vec<i32> = gathered(g).phases.iter().flatten().flat_map(|&[_, a, b]| [a, b]).collect();
        let offsets = self.int_table(&offsets)?;
        let (kernel, rows) = match small_channels {
            1..=4 => ("weight_gradient_4", 4),
            5..=16 => ("weight_gradient_16", 16),
            _ => ("weight_gradient_64", 64),
        };
        let (pairs, tiles) = (large_channels * g.area(), small_channels.div_ceil(rows));
        let (weights, blocks) = (this.groups * small_channels * pairs, pairs.div_ceil(64) * this.groups * tiles);
        if this.groups * tiles >= 1 << 16 {
            return Err(self.unsupported(layer, "more than 65535 groups of channels"));
        }
        let splits = splits(small.batch * small.pixels(), blocks, weights);
        let to = self.gradient(layer, ParameterKind::Weight).expect("a convolution has a weight");
        let call = Call::new(kernel, [pairs.div_ceil(64), this.groups * tiles, splits]);
        let call = call.tensor(small).tensor(large).address(offsets);
        let call = if splits == 1 { call.address(to) } else { call.scratch(0) };
        let call = call.ints([g.area(), this.groups, small_channels, large_channels, tiles]).ints(g.stride).int(splits);
        self.push(call);
        if splits > 1 {
            self.need_scratch(4 * splits * weights);
            self.push(Call::for_each("sum_splits", weights).scratch(0).address(to).ints([weights, splits]));
        }
        if let Some(to) = self.gradient(layer, ParameterKind::Bias) {
            self.sum_channels(&dy, to);
        }
        Ok(())
    }

    /// Sums of the channels over images and pixels.
    fn sum_channels(&mut self, dy: &Tensor, to: u64) {
        let parts = self.plane_sums(dy, dy, super::plain::Sum::Values);
        let sums = Call::new("sum_planes", [dy.channels, 1, 1]).scratch(0).address(to);
        let sums = sums.ints([dy.channels, dy.channels, 1, dy.channels, dy.batch, parts, 1, 0]);
        self.push(sums.float(1.0).flag(false));
    }
}

/// Into how many sums the pixels of a weight gradient are divided, by shape alone: enough to fill a large GPU, not so many that a
/// block has no work or the sums need much memory.
fn splits(pixels: usize, blocks: usize, weights: usize) -> usize {
    const BLOCKS: usize = 1024;
    const SHORTEST: usize = 256;
    const FLOATS: usize = 1 << 24;
    let wanted = (BLOCKS / blocks).min(pixels / SHORTEST).min(FLOATS / weights);
    wanted.clamp(1, 65535)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(kernel: usize, stride: usize, padding: usize, dilation: usize) -> Geometry {
        Geometry {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            dilation: [dilation; 2],
            output_padding: [0; 2],
            transposed: false,
        }
    }

    /// Pairs of input and output pixel that a tap joins, along a square of `inputs` pixels.
    fn pairs(taps: &Taps, inputs: i32, outputs: i32) -> Vec<[i32; 5]> {
        let mut all = Vec::new();
        let step = |s: [usize; 2], axis: usize| s[axis] as i32;
        for (phase, list) in taps.phases.iter().enumerate() {
            let first = [phase / taps.out_step[1], phase % taps.out_step[1]].map(|n| n as i32);
            for (r, c) in (first[0]..outputs)
                .step_by(taps.out_step[0])
                .flat_map(|r| (first[1]..outputs).step_by(taps.out_step[1]).map(move |c| (r, c)))
            {
                for [place, a, b] in list {
                    let y = r / step(taps.out_step, 0) * step(taps.in_step, 0) + a;
                    let x = c / step(taps.out_step, 1) * step(taps.in_step, 1) + b;
                    if (0..inputs).contains(&y) && (0..inputs).contains(&x) {
                        all.push([r, c, *place, y, x]);
                    }
                }
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn the_transposed_map_joins_the_same_pixels() {
        for (kernel, stride, padding, dilation) in
            [(3, 1, 1, 1), (2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 2, 2), (5, 3, 1, 1), (2, 3, 0, 1)]
        {
            let g = geometry(kernel, stride, padding, dilation);
            let (outputs, _) = g.output_size((11, 11)).unwrap();
            let mut forward = pairs(&gathered(&g), 11, outputs as i32);
            forward.iter_mut().for_each(|p| *p = [p[3], p[4], p[2], p[0], p[1]]);
            forward.sort_unstable();
            assert!(!forward.is_empty());
            assert_eq!(forward, pairs(&scattered(&g), outputs as i32, 11), "{g:?}");
        }
    }

    #[test]
    fn pixels_are_divided_where_that_gives_blocks_work() {
        assert_eq!(splits(16 * 256 * 256, 1, 144), 1024);
        assert_eq!(splits(16 * 16 * 16, 1, 144), 16, "256 pixels each at least");
        assert_eq!(splits(16, 1, 144), 1);
        assert_eq!(splits(1 << 20, 2304, 512 * 512 * 9), 1, "blocks enough");
    }
}
