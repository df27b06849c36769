//! The reference U-Net in burn, on its CPU backend "flex": inference and training.
#![recursion_limit = "256"]

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Distribution, Tensor};
use common::Arguments;

const DEPTH: usize = 4;

/// Two times 3x3 convolution, batch norm, ReLU.
#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
}

impl Block {
    fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        let conv =
            |inputs| Conv2dConfig::new([inputs, outputs], [3, 3]).with_padding(PaddingConfig2d::Same).init(device);
        let norm = || BatchNormConfig::new(outputs).init(device);
        Self { conv1: conv(inputs), norm1: norm(), conv2: conv(outputs), norm2: norm() }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = relu(self.norm1.forward(self.conv1.forward(x)));
        relu(self.norm2.forward(self.conv2.forward(x)))
    }
}

/// 2x2 transposed convolution of stride 2, batch norm, ReLU; then the block on the skip and that.
#[derive(Module, Debug)]
struct Up {
    conv: ConvTranspose2d,
    norm: BatchNorm,
    block: Block,
}

#[derive(Module, Debug)]
struct UNet {
    encoder: Vec<Block>,
    pool: MaxPool2d,
    /// From the deepest level up.
    decoder: Vec<Up>,
    head: Conv2d,
}

impl UNet {
    fn new(width: usize, device: &Device) -> Self {
        let up = |k: usize| {
            let (wide, narrow) = (width << (k + 1), width << k);
            let conv = ConvTranspose2dConfig::new([wide, narrow], [2, 2]).with_stride([2, 2]).init(device);
            Up { conv, norm: BatchNormConfig::new(narrow).init(device), block: Block::new(wide, narrow, device) }
        };
        let inputs = |k: usize| if k == 0 { 1 } else { width << (k - 1) };
        Self {
            encoder: (0..=DEPTH).map(|k| Block::new(inputs(k), width << k, device)).collect(),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            decoder: (0..DEPTH).rev().map(up).collect(),
            head: Conv2dConfig::new([width, 2], [1, 1]).init(device),
        }
    }

    /// Parameters without the running means and variances, which burn counts too.
    fn learned(&self) -> usize {
        let pair = |block: &Block| channels(&block.norm1) + channels(&block.norm2);
        let encoder: usize = self.encoder.iter().map(pair).sum();
        let decoder: usize = self.decoder.iter().map(|up| channels(&up.norm) + pair(&up.block)).sum();
        self.num_params() - 2 * (encoder + decoder)
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = x;
        let mut skips = Vec::new();
        for (k, block) in self.encoder.iter().enumerate() {
            if k > 0 {
                skips.push(x.clone());
                x = self.pool.forward(x);
            }
            x = block.forward(x);
        }
        for up in &self.decoder {
            let wide = relu(up.norm.forward(up.conv.forward(x)));
            x = up.block.forward(Tensor::cat(vec![skips.pop().expect("a skip for every level"), wide], 1));
        }
        self.head.forward(x)
    }
}

fn channels(norm: &BatchNorm) -> usize {
    norm.gamma.val().dims()[0]
}

/// Mean cross-entropy + 1 - soft Dice of class 1; `target` is one-hot.
fn loss(logits: Tensor<4>, target: Tensor<4>) -> Tensor<1> {
    let pixels = (logits.dims().iter().product::<usize>() / 2) as f64;
    let log_p = log_softmax(logits, 1);
    let entropy = (log_p.clone() * target.clone()).sum().div_scalar(-pixels);
    let (p, t) = (log_p.exp().narrow(1, 1, 1), target.narrow(1, 1, 1));
    let numerator = (p.clone() * t.clone()).sum().mul_scalar(2.0).add_scalar(1.0);
    let denominator = (p.sum() + t.sum()).add_scalar(1.0);
    entropy.add_scalar(1.0) - numerator / denominator
}

fn main() {
    let arguments = Arguments::parse();
    let device = if arguments.is_training { Device::flex().autodiff() } else { Device::flex() };
    let mut model = UNet::new(arguments.width, &device);
    let params = model.learned();
    let shape = [arguments.batch, 1, arguments.size, arguments.size];
    let x = Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    if !arguments.is_training {
        arguments.measure("burn", params, || {
            let y = model.forward(x.clone());
            assert_eq!(y.into_data().shape().num_elements(), 2 * shape.iter().product::<usize>());
        });
        return;
    }
    let one = x.clone().greater_scalar(0.0).float();
    let target = Tensor::cat(vec![one.clone().neg().add_scalar(1.0), one], 1);
    let mut optimiser = AdamWConfig::new().with_weight_decay(1e-4).init();
    let mut losses = Vec::new();
    arguments.measure("burn", params, || {
        let value = loss(model.forward(x.clone()), target.clone());
        losses.push(value.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(value.backward(), &model);
        model = optimiser.step(1e-3, model.clone(), gradients);
    });
    assert!(losses[losses.len() - 1] < losses[0], "nothing is learned: {losses:?}");
}
