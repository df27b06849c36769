//! The reference U-Net in candle: inference (batch norm folded into the convolutions where candle can) and training.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{
    AdamW, BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig, Module, ModuleT,
    Optimizer, ParamsAdamW, VarBuilder, VarMap, batch_norm, conv_transpose2d, conv2d, ops,
};
use common::Arguments;

const DEPTH: usize = 4;

/// Convolution, batch norm (None once it is folded), ReLU.
struct Layer {
    conv: Conv2d,
    norm: Option<BatchNorm>,
}

impl Layer {
    fn new(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        let options = Conv2dConfig { padding: 1, ..Default::default() };
        let norm = Some(batch_norm(outputs, BatchNormConfig::default(), vb.pp("norm"))?);
        Ok(Self { conv: conv2d(inputs, outputs, 3, options, vb.pp("conv"))?, norm })
    }

    fn fold(&mut self) -> Result<()> {
        if let Some(norm) = self.norm.take() {
            self.conv = self.conv.absorb_bn(&norm)?;
        }
        Ok(())
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let x = self.conv.forward(x)?;
        match &self.norm {
            Some(norm) => norm.forward_t(&x, train)?.relu(),
            None => x.relu(),
        }
    }
}

struct UNet {
    encoder: Vec<[Layer; 2]>,
    /// From the deepest level up.
    decoder: Vec<(ConvTranspose2d, BatchNorm, [Layer; 2])>,
    head: Conv2d,
}

impl UNet {
    fn new(width: usize, vb: VarBuilder) -> Result<Self> {
        let block = |inputs, outputs, vb: VarBuilder| -> Result<[Layer; 2]> {
            Ok([Layer::new(inputs, outputs, vb.pp("0"))?, Layer::new(outputs, outputs, vb.pp("1"))?])
        };
        let mut encoder = Vec::new();
        for k in 0..=DEPTH {
            let inputs = if k == 0 { 1 } else { width << (k - 1) };
            encoder.push(block(inputs, width << k, vb.pp(format!("enc{k}")))?);
        }
        let mut decoder = Vec::new();
        for k in (0..DEPTH).rev() {
            let (wide, narrow, vb) = (width << (k + 1), width << k, vb.pp(format!("dec{k}")));
            let options = ConvTranspose2dConfig { stride: 2, ..Default::default() };
            let up = conv_transpose2d(wide, narrow, 2, options, vb.pp("up"))?;
            let norm = batch_norm(narrow, BatchNormConfig::default(), vb.pp("norm"))?;
            decoder.push((up, norm, block(wide, narrow, vb.pp("block"))?));
        }
        Ok(Self { encoder, decoder, head: conv2d(width, 2, 1, Conv2dConfig::default(), vb.pp("head"))? })
    }

    fn fold(&mut self) -> Result<()> {
        let decoder = self.decoder.iter_mut().map(|(_, _, block)| block);
        self.encoder.iter_mut().chain(decoder).flatten().try_for_each(Layer::fold)
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = x.clone();
        let mut skips = Vec::new();
        for (k, block) in self.encoder.iter().enumerate() {
            if k > 0 {
                skips.push(x.clone());
                x = x.max_pool2d(2)?;
            }
            x = block[1].forward(&block[0].forward(&x, train)?, train)?;
        }
        for (up, norm, block) in &self.decoder {
            let up = norm.forward_t(&up.forward(&x)?, train)?.relu()?;
            x = Tensor::cat(&[&skips.pop().expect("a skip for every level"), &up], 1)?;
            x = block[1].forward(&block[0].forward(&x, train)?, train)?;
        }
        self.head.forward(&x)
    }
}

/// Mean cross-entropy + 1 - soft Dice of class 1; `target` is one-hot.
fn loss(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    let log_p = ops::log_softmax(logits, 1)?;
    let pixels = (logits.elem_count() / 2) as f64;
    let entropy = ((&log_p * target)?.sum_all()? * (-1.0 / pixels))?;
    let (p, t) = (log_p.exp()?.narrow(1, 1, 1)?, target.narrow(1, 1, 1)?);
    let numerator = (((&p * &t)?.sum_all()? * 2.0)? + 1.0)?;
    let denominator = ((p.sum_all()? + t.sum_all()?)? + 1.0)?;
    (entropy + 1.0)? - (numerator / denominator)?
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (device, size) = (Device::Cpu, arguments.size);
    let variables = VarMap::new();
    let mut model = UNet::new(arguments.width, VarBuilder::from_varmap(&variables, DType::F32, &device))?;
    let x = Tensor::randn(0_f32, 1.0, (arguments.batch, 1, size, size), &device)?;
    // The running means and variances are variables too, but no parameters.
    let parameters: Vec<_> = {
        let all = variables.data().lock().expect("no other thread");
        all.iter().filter(|(name, _)| !name.contains("running_")).map(|(_, v)| v.clone()).collect()
    };
    let params = parameters.iter().map(|v| v.elem_count()).sum();
    if !arguments.is_training {
        model.fold()?;
        arguments.measure("candle", params, || {
            let y = model.forward(&x, false).expect("a forward pass");
            assert_eq!(y.dims(), [arguments.batch, 2, size, size]);
        });
        return Ok(());
    }
    let one = x.gt(0_f32)?.to_dtype(DType::F32)?;
    let target = Tensor::cat(&[&(1.0 - &one)?, &one], 1)?;
    let (mut losses, options) = (Vec::new(), ParamsAdamW { lr: 1e-3, weight_decay: 1e-4, ..Default::default() });
    let mut optimiser = AdamW::new(parameters, options)?;
    arguments.measure("candle", params, || {
        let value = model.forward(&x, true).and_then(|y| loss(&y, &target)).expect("a forward pass");
        optimiser.backward_step(&value).expect("a step");
        losses.push(value.to_scalar::<f32>().expect("a number"));
    });
    assert!(losses[losses.len() - 1] < losses[0], "nothing is learned: {losses:?}");
    Ok(())
}
