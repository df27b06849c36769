//! Convolution with stride 1 and zero padding that keeps the size ("same"), dilated or not, in groups or not, on planes.

use segfit::network::Geometry;
use segfit::network::layout::PlaneLayout;

use super::max_pool::assert_pooled;
use super::planes::Planes;
use super::simd::Isa;

pub(super) mod pack;
#[cfg(test)]
mod tests;
pub(super) mod tiles;
pub(super) mod weight_gradient;

use tiles::{Flat, GroupChannels, TapSet, TileJob, TilePlan, assert_readable, pixel_range, tile_range};
use weight_gradient::{Positions, WeightPlan};

/// Channels and kernel of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Parts into which inputs and outputs are divided; a depthwise convolution has one for each channel.
    pub groups: usize,
    /// Kernel, stride, padding and dilation.
    pub geometry: Geometry,
}

impl ConvShape {
    /// Channels of every group.
    ///
    /// # Panics
    /// When a number is zero or the groups do not divide the channels: bugs of the schedule.
    pub(super) fn channels(&self) -> GroupChannels {
        let Self { in_channels, out_channels, groups, .. } = *self;
        assert!(in_channels > 0 && out_channels > 0 && groups > 0);
        assert!(in_channels.is_multiple_of(groups) && out_channels.is_multiple_of(groups), "{self:?}");
        GroupChannels { inputs: in_channels / groups, outputs: out_channels / groups, groups }
    }

    /// Number of weights.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.channels().pairs() * self.geometry.area()
    }
}

/// A convolution `y[o] = bias[o] + sum over i of w[o][i] * x[i]` (cross-correlation, as networks define it), prepared for
/// one shape of input.
///
/// All results are the same bits for any number of threads: the division of the work depends on shapes only.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    isa: Isa,
    channels: GroupChannels,
    taps: usize,
    layout: PlaneLayout,
    batch: usize,
    forward: TilePlan,
    backward: TilePlan,
    weights: WeightPlan,
}

impl Conv2d {
    /// Prepares a convolution with an odd square kernel, neither dilated nor grouped, for `batch` images of one layout.
    ///
    /// # Panics
    /// As [`Conv2d::of`], and when the kernel is even.
    #[must_use]
    pub fn new(
        isa: Isa,
        in_channels: usize,
        out_channels: usize,
        kernel_size: usize,
        layout: PlaneLayout,
        batch: usize,
    ) -> Self {
        let geometry = Geometry {
            kernel: [kernel_size; 2],
            stride: [1; 2],
            padding: [kernel_size / 2; 2],
            dilation: [1; 2],
            output_padding: [0; 2],
            transposed: false,
        };
        Self::of(isa, &ConvShape { in_channels, out_channels, groups: 1, geometry }, layout, batch)
    }

    /// Prepares a convolution for `batch` images of one layout.
    ///
    /// # Panics
    /// When a number is zero, the groups do not divide the channels, the convolution does not keep the size, or the
    /// layout's border is narrower than the padding: bugs of the schedule.
    #[must_use]
    pub fn of(isa: Isa, shape: &ConvShape, layout: PlaneLayout, batch: usize) -> Self {
        let (channels, geometry) = (shape.channels(), shape.geometry);
        assert!(batch > 0 && layout.height > 0 && layout.width > 0);
        assert!(geometry.keeps_size(), "{geometry:?}");
        assert!(geometry.padding.iter().all(|&p| p <= layout.pad), "{geometry:?}, border {}", layout.pad);
        let along = |axis: usize| {
            let [dilation, padding] = [geometry.dilation[axis], geometry.padding[axis]].map(usize::cast_signed);
            (0..geometry.kernel[axis] as isize).map(move |k| k * dilation - padding)
        };
        let shifts: Vec<isize> =
            along(0).flat_map(|y| along(1).map(move |x| y * layout.row_stride() as isize + x)).collect();
        let (range, pixels) = (tile_range(layout), layout.height * layout.width);
        assert_readable(layout, range, &shifts);
        let plan = |channels, shifts| {
            let all = vec![TapSet { shifts, planes: 1, weights: 0, offset: 0 }];
            TilePlan::new(isa, channels, all, range, pixels, batch)
        };
        let (first, last) = pixel_range(layout);
        let positions = Positions { first, last, pixels, turnable: true };
        Self {
            in_channels: shape.in_channels,
            out_channels: shape.out_channels,
            isa,
            channels,
            taps: shifts.len(),
            layout,
            batch,
            // In the gradient of the input the kernel is turned by 180 degrees.
            backward: plan(channels.turned(), shifts.iter().map(|s| -s).collect()),
            weights: WeightPlan::new(isa, channels, &shifts, positions, batch),
            forward: plan(channels, shifts),
        }
    }

    /// Floats that [`Conv2d::pack`] writes.
    #[must_use]
    pub fn packed_len(&self) -> usize {
        self.channels.pairs() * self.taps
    }

    /// Floats that [`Conv2d::pack_transposed`] writes.
    #[must_use]
    pub fn packed_transposed_len(&self) -> usize {
        self.packed_len()
    }

    /// Orders weights `[out][in / groups][row][column]` for [`Conv2d::forward`].
    ///
    /// # Panics
    /// When a length differs from [`Conv2d::packed_len`].
    pub fn pack(&self, weight: &[f32], packed: &mut [f32]) {
        assert_eq!((weight.len(), packed.len()), (self.packed_len(), self.packed_len()));
        pack::pack(self.isa, weight, packed, self.channels, self.taps, &self.forward.blocks);
    }

    /// Orders weights `[out][in / groups][row][column]` for [`Conv2d::backward_data`]: inputs and outputs change places.
    ///
    /// # Panics
    /// When a length differs from [`Conv2d::packed_transposed_len`].
    pub fn pack_transposed(&self, weight: &[f32], packed: &mut [f32]) {
        assert_eq!((weight.len(), packed.len()), (self.packed_len(), self.packed_len()));
        pack::pack_transposed(self.isa, weight, packed, self.channels, self.taps, &self.backward.blocks);
    }

    /// Writes `y`, borders included; with `relu`, negative results become zero.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones.
    pub fn forward(&self, packed: &[f32], bias: Option<&[f32]>, relu: bool, x: &Planes, y: &Planes) {
        self.check(x, y);
        assert_eq!(packed.len(), self.packed_len());
        assert!(bias.is_none_or(|b| b.len() == self.out_channels));
        let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
        self.run(&self.forward, packed, bias, relu, false, x, y, None);
    }

    /// [`Conv2d::forward`], and the 2x2 max pooling of `y` into `pooled`.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones.
    pub fn forward_and_pool(
        &self,
        packed: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        x: &Planes,
        y: &Planes,
        pooled: &Planes,
    ) {
        self.check(x, y);
        assert_pooled(y, pooled);
        assert_eq!(packed.len(), self.packed_len());
        assert!(bias.is_none_or(|b| b.len() == self.out_channels));
        let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
        self.run(&self.forward, packed, bias, relu, false, x, y, Some(pooled));
    }

    /// Writes the gradient of the input, borders included, or adds it to what `dx` holds; the borders of `dy` must be
    /// zero.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones.
    pub fn backward_data(&self, packed_transposed: &[f32], dy: &Planes, dx: &Planes, accumulate: bool) {
        self.check(dx, dy);
        assert_eq!(packed_transposed.len(), self.packed_len());
        self.run(&self.backward, packed_transposed, std::ptr::null(), false, accumulate, dy, dx, None);
    }

    fn run(
        &self,
        plan: &TilePlan,
        packed: &[f32],
        bias: *const f32,
        relu: bool,
        accumulate: bool,
        x: &Planes,
        y: &Planes,
        pooled: Option<&Planes>,
    ) {
        let (isa, layout, batch, pieces) = (self.isa, Some(self.layout), self.batch, plan.pieces());
        let pooled = pooled.map(|pooled| (y, pooled));
        let (x, y) = (Flat::of(x, 0), Flat::of(y, 0));
        let job = TileJob { isa, plan, packed, bias, relu, accumulate, x, y, layout, pooled, batch, pieces };
        // SAFETY: the planes and lengths were checked against the plan; a shifted tile stays within the arena's slack.
        unsafe { job.run() };
    }

    /// Floats of scratch memory that [`Conv2d::backward_weights`] needs.
    #[must_use]
    pub fn gradient_scratch_len(&self) -> usize {
        self.weights.scratch_len()
    }

    /// Writes the gradients of the weights `[out][in / groups][row][column]` and of the biases; the borders of `x` and `dy` must be
    /// zero.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones.
    pub fn backward_weights(
        &self,
        x: &Planes,
        dy: &Planes,
        scratch: &mut [f32],
        dweight: &mut [f32],
        dbias: Option<&mut [f32]>,
    ) {
        self.check(x, dy);
        assert_eq!(dweight.len(), self.packed_len());
        assert!(scratch.len() >= self.gradient_scratch_len());
        assert!(dbias.as_ref().is_none_or(|b| b.len() == self.out_channels));
        // SAFETY: the planes were checked against the plan; the border is as wide as the padding.
        unsafe { self.weights.run(Flat::of(x, 0), Flat::of(dy, 0), scratch, dweight, dbias) };
    }

    fn check(&self, x: &Planes, y: &Planes) {
        assert_eq!((x.channels, y.channels), (self.in_channels, self.out_channels));
        assert_eq!((x.batch, y.batch), (self.batch, self.batch));
        assert_eq!((x.layout, y.layout), (self.layout, self.layout));
    }
}
