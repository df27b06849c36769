//! The convolutions of a U-Net, and the time of their three passes.

use std::fmt;

use segfit::network::layout::PlaneLayout;
use segfit_engine::cpu::conv_transpose::{self, Channels};
use segfit_engine::cpu::conv2d::Conv2d;
use segfit_engine::cpu::planes::{Arena, Planes};
use segfit_engine::cpu::simd::Isa;

use super::best;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Forward,
    Data,
    Weights,
}

impl Pass {
    pub const ALL: [Self; 3] = [Self::Forward, Self::Data, Self::Weights];

    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Data => "backward data",
            Self::Weights => "backward weights",
        }
    }
}

/// A convolution that keeps the size, or the transposed 2x2 convolution of stride 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    is_transposed: bool,
    batch: usize,
    pub in_channels: usize,
    out_channels: usize,
    kernel: usize,
    /// Rows and columns of the input.
    size: usize,
    /// How often the network has this layer.
    pub times: usize,
}

/// The distinct layers of a U-Net of depth 4, in the order of their first use.
pub fn of_unet(width: usize, batch: usize, size: usize) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut add = |is_transposed, in_channels, out_channels, kernel, size| {
        let layer = Layer { is_transposed, batch, in_channels, out_channels, kernel, size, times: 1 };
        match layers.iter_mut().find(|l| Layer { times: 1, ..**l } == layer) {
            Some(known) => known.times += 1,
            None => layers.push(layer),
        }
    };
    for k in 0..=4 {
        add(false, if k == 0 { 1 } else { width << (k - 1) }, width << k, 3, size >> k);
        add(false, width << k, width << k, 3, size >> k);
    }
    for k in (0..4).rev() {
        add(true, width << (k + 1), width << k, 2, size >> (k + 1));
        add(false, width << (k + 1), width << k, 3, size >> k);
        add(false, width << k, width << k, 3, size >> k);
    }
    add(false, width, 2, 1, size);
    layers
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_channels, out_channels, kernel, size, .. } = self;
        let transposed = if self.is_transposed { " transposed" } else { "" };
        write!(f, "{in_channels} to {out_channels}, {kernel}x{kernel}{transposed}, {size}x{size}")
    }
}

impl Layer {
    /// Rows and columns of the output.
    fn out_size(&self) -> usize {
        if self.is_transposed { 2 * self.size } else { self.size }
    }

    fn weights(&self) -> usize {
        self.in_channels * self.out_channels * self.kernel * self.kernel
    }

    /// Operations of one pass: every pixel of the input meets every weight once, in all three passes.
    pub fn flops(&self) -> f64 {
        2.0 * (self.batch * self.size * self.size * self.weights()) as f64
    }

    /// Bytes of inputs, outputs and weights (or of what stands in their places in the backward passes).
    pub fn bytes(&self) -> f64 {
        let inputs = self.in_channels * self.size * self.size;
        let outputs = self.out_channels * self.out_size() * self.out_size();
        4.0 * (self.batch * (inputs + outputs) + self.weights()) as f64
    }

    /// Seconds of forward, backward data and backward weights, bias and ReLU included, packing of the weights not.
    pub fn time(&self, isa: Isa, seconds: f64) -> [f64; 3] {
        let small = PlaneLayout { height: self.size, width: self.size, pad: 1 };
        let large = PlaneLayout { height: self.out_size(), width: self.out_size(), pad: 1 };
        let (x_stride, y_stride) = (self.in_channels * small.plane_stride(), self.out_channels * large.plane_stride());
        let mut arena = Arena::new(2 * self.batch * (x_stride + y_stride));
        let mut at = 0;
        let mut planes = |channels: usize, layout: PlaneLayout| {
            let stride = channels * layout.plane_stride();
            let planes = arena.planes(at, self.batch, channels, layout, stride);
            at += self.batch * stride;
            planes.write_dense(&vec![0.5; self.batch * channels * layout.height * layout.width]);
            planes
        };
        let tensors = [self.in_channels, self.in_channels].map(|c| planes(c, small));
        let gradients = [self.out_channels, self.out_channels].map(|c| planes(c, large));
        let ([x, dx], [y, dy]) = (tensors, gradients);
        if self.is_transposed {
            self.time_transposed(isa, seconds, x, dx, y, dy)
        } else {
            self.time_conv(isa, seconds, x, dx, y, dy)
        }
    }

    fn time_conv(&self, isa: Isa, seconds: f64, x: Planes, dx: Planes, y: Planes, dy: Planes) -> [f64; 3] {
        let conv = Conv2d::new(isa, self.in_channels, self.out_channels, self.kernel, x.layout, self.batch);
        let (weight, bias) = (vec![0.01; self.weights()], vec![0.1; self.out_channels]);
        let mut packed = vec![0.0; conv.packed_len()];
        let mut turned = vec![0.0; conv.packed_transposed_len()];
        conv.pack(&weight, &mut packed);
        conv.pack_transposed(&weight, &mut turned);
        let (mut dw, mut db) = (weight, vec![0.0; self.out_channels]);
        let mut scratch = vec![0.0; conv.gradient_scratch_len()];
        [
            best(seconds, || conv.forward(&packed, Some(&bias), true, &x, &y)),
            best(seconds, || conv.backward_data(&turned, &dy, &dx, false)),
            best(seconds, || conv.backward_weights(&x, &dy, &mut scratch, &mut dw, Some(&mut db))),
        ]
    }

    fn time_transposed(&self, isa: Isa, seconds: f64, x: Planes, dx: Planes, y: Planes, dy: Planes) -> [f64; 3] {
        let channels = Channels { input: self.in_channels, output: self.out_channels };
        let (weight, bias) = (vec![0.01; self.weights()], vec![0.1; self.out_channels]);
        let mut packed = vec![0.0; self.weights()];
        conv_transpose::pack(channels, &weight, &mut packed);
        let (mut dw, mut db) = (weight.clone(), bias.clone());
        let len = conv_transpose::forward_scratch_len(channels, x.layout)
            .max(conv_transpose::backward_data_scratch_len(channels, x.layout))
            .max(conv_transpose::backward_weights_scratch_len(channels, self.batch, x.layout));
        let mut scratch = vec![0.0; len];
        [
            best(seconds, || conv_transpose::forward(isa, &x, &packed, &bias, true, &y, &mut scratch)),
            best(seconds, || conv_transpose::backward_data(isa, &dy, &weight, &dx, false, &mut scratch)),
            best(seconds, || conv_transpose::backward_weights(isa, &x, &dy, &mut dw, Some(&mut db), &mut scratch)),
        ]
    }
}
