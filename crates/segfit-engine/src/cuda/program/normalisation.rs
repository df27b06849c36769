//! Batch norm, and the norms of single images.

use segfit::network::schedule::TensorId;
use segfit::network::{Op, ParameterKind};

use super::{Compiler, Folded};
use crate::cuda::kernels::{CHUNK, PART};
use crate::cuda::launch::Call;
use crate::cuda::tensor::Tensor;
use crate::error::Result;

/// Bytes of a mean, a scale and a shift.
const AFFINE: usize = 12;

/// What the passes of a norm share.
#[derive(Clone, Copy, Debug)]
pub(super) struct NormMemory {
    affine: u64,
    inverse: u64,
    gradient: u64,
    /// Channels of a set that are normalised together, 0 for one channel of all images.
    together: usize,
}

impl NormMemory {
    fn by_plane(self) -> bool {
        self.together > 0
    }

    /// Sets of planes of a tensor.
    fn sets(self, x: &Tensor) -> usize {
        x.planes().checked_div(self.together).unwrap_or(x.channels)
    }
}

impl Call {
    /// The sets of a norm of `x`.
    fn sets(self, norm: NormMemory, x: &Tensor) -> Self {
        self.ints([x.batch, x.channels, x.pixels().div_ceil(PART), norm.together])
    }
}

/// The numbers of a batch norm's running statistics.
struct Running {
    mean: u64,
    variance: u64,
    momentum: f32,
}

impl Compiler<'_> {
    /// Memory for norms of `x`.
    fn norm_memory(&mut self, layer: usize, x: &Tensor, together: usize) -> Result<NormMemory> {
        let entries = if together == 0 { x.channels } else { x.planes() };
        let [affine, inverse, gradient] = [AFFINE, 4, 16].map(|bytes| self.own(bytes * entries));
        let norm = NormMemory { affine: affine?, inverse: inverse?, gradient: gradient?, together };
        self.norms[layer] = Some(norm);
        Ok(norm)
    }

    pub(super) fn batch_norm(&mut self, layer: usize, relu: bool, x: TensorId, y: TensorId) -> Result<()> {
        let Op::BatchNorm { eps, momentum } = self.source.spec.layers[layer].op else {
            return Err(self.unsupported(layer, "is not a batch norm"));
        };
        let (x, y) = (self.tensor(x), self.tensor(y));
        if self.source.training.is_none() {
            let affine = self.own(AFFINE * x.channels)?;
            self.folded.push(Folded::Norm { layer, affine });
            self.normalise(&x, &y, affine, false, relu);
            return Ok(());
        }
        if x.values() == x.channels {
            let reason = "its statistics need more than one pixel: larger images, a larger batch or less depth";
            return Err(self.unsupported(layer, reason));
        }
        let norm = self.norm_memory(layer, &x, 0)?;
        let at = |kind| {
            self.source.layout.range(layer, kind).map(|r| self.source.memory.state.running.address + 4 * r.start as u64)
        };
        let (mean, variance) = (at(ParameterKind::RunningMean), at(ParameterKind::RunningVariance));
        let running = mean.zip(variance).map(|(mean, variance)| Running { mean, variance, momentum });
        self.statistics(layer, norm, &x, eps, running);
        self.normalise(&x, &y, norm.affine, false, relu);
        Ok(())
    }

    /// Instance norm and group norm; `parts` of the channels of an image.
    pub(super) fn part_norm(&mut self, layer: usize, parts: usize, eps: f32, x: &Tensor, y: &Tensor) -> Result<()> {
        let norm = self.norm_memory(layer, x, x.channels / parts)?;
        self.statistics(layer, norm, x, eps, None);
        self.normalise(x, y, norm.affine, true, false);
        Ok(())
    }

    fn statistics(&mut self, layer: usize, norm: NormMemory, x: &Tensor, eps: f32, running: Option<Running>) {
        let parts = x.pixels().div_ceil(PART);
        self.need_scratch(24 * x.planes() * parts);
        self.push(Call::over("plane_moments", x, PART).tensor(x).scratch(0));
        let [scale, shift] =
            [ParameterKind::Scale, ParameterKind::Shift].map(|kind| self.trained(layer, kind).unwrap_or(0));
        let (mean, variance, momentum) = running.map_or((0, 0, 0.0), |r| (r.mean, r.variance, r.momentum));
        let call = Call::new("norm_statistics", [norm.sets(x), 1, 1]).scratch(0).address(scale).address(shift);
        let call = call.address(mean).address(variance).address(norm.affine).address(norm.inverse);
        self.push(call.sets(norm, x).float(eps).float(momentum));
    }

    fn normalise(&mut self, x: &Tensor, y: &Tensor, affine: u64, by_plane: bool, relu: bool) {
        let call = Call::over("normalise", x, CHUNK).tensor(x).tensor(y).address(affine);
        self.push(call.flag(by_plane).flag(relu));
    }

    pub(super) fn batch_norm_gradient(&mut self, layer: usize, relu: bool, x: TensorId, dy: TensorId) -> Result<()> {
        let (x, dy) = (self.tensor(x), self.tensor(dy));
        let norm = self.norms[layer].ok_or_else(|| self.unsupported(layer, "has no forward pass"))?;
        self.norm_gradients(layer, norm, relu, &x, &dy);
        self.normalise_gradient(norm, relu, &x, &dy, &dy, false);
        Ok(())
    }

    pub(super) fn part_norm_gradient(
        &mut self,
        layer: usize,
        x: &Tensor,
        dy: &Tensor,
        dx: Option<(Tensor, bool)>,
    ) -> Result<()> {
        let norm = self.norms[layer].ok_or_else(|| self.unsupported(layer, "has no forward pass"))?;
        self.norm_gradients(layer, norm, false, x, dy);
        let parts = x.pixels().div_ceil(PART);
        for (kind, place) in [(ParameterKind::Shift, 0), (ParameterKind::Scale, 1)] {
            if let Some(to) = self.gradient(layer, kind) {
                let call = Call::new("sum_planes", [x.channels, 1, 1]).scratch(0).address(to);
                let call = call.ints([x.channels, x.channels, 1, x.channels, x.batch, parts, 2, place]);
                self.push(call.float(1.0).flag(false));
            }
        }
        if let Some((dx, accumulate)) = dx {
            self.normalise_gradient(norm, false, x, dy, &dx, accumulate);
        }
        Ok(())
    }

    fn norm_gradients(&mut self, layer: usize, norm: NormMemory, relu: bool, x: &Tensor, dy: &Tensor) {
        let parts = x.pixels().div_ceil(PART);
        self.need_scratch(16 * x.planes() * parts);
        let sums = Call::over("norm_gradient_sums", x, PART).tensor(x).tensor(dy).address(norm.affine);
        self.push(sums.address(norm.inverse).scratch(0).flag(norm.by_plane()).flag(relu));
        let scale = self.trained(layer, ParameterKind::Scale).unwrap_or(0);
        // Those of an image's norms are sums over images, too.
        let own = |kind| if norm.by_plane() { 0 } else { self.gradient(layer, kind).unwrap_or(0) };
        let (d_scale, d_shift) = (own(ParameterKind::Scale), own(ParameterKind::Shift));
        let call = Call::new("norm_gradients", [norm.sets(x), 1, 1]).scratch(0).address(scale).address(norm.inverse);
        let call = call.address(norm.gradient).address(d_scale).address(d_shift).sets(norm, x);
        self.push(call.int(x.pixels()));
    }

    fn normalise_gradient(
        &mut self,
        norm: NormMemory,
        relu: bool,
        x: &Tensor,
        dy: &Tensor,
        dx: &Tensor,
        accumulate: bool,
    ) {
        let call = Call::over("normalise_gradient", x, CHUNK).tensor(x).tensor(dy).tensor(dx);
        let call = call.address(norm.affine).address(norm.gradient);
        self.push(call.flag(norm.by_plane()).flag(relu).flag(accumulate));
    }
}
