//! The arithmetic of convolutions in space: sizes, borders, and how a stride divides a plane into phases.

use super::spec::Op;

/// Where the kernel of a convolution lies, rows first: every list of an [`Op`] resolved to two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Kernel size, at least 1.
    pub kernel: [usize; 2],
    /// Step of the kernel (ordinary) or of the output (transposed), at least 1.
    pub stride: [usize; 2],
    /// Zeros added on each side (ordinary) or cut off (transposed).
    pub padding: [usize; 2],
    /// Distance of neighbouring kernel positions, at least 1.
    pub dilation: [usize; 2],
    /// Rows and columns added at the end of a transposed convolution's output, less than the stride.
    pub output_padding: [usize; 2],
    /// Whether it is a transposed convolution.
    pub transposed: bool,
}

impl Geometry {
    /// Kernel positions.
    #[must_use]
    pub fn area(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Height and width of the output for an input of `size` (height, width), as PyTorch defines them:
    /// `(n + 2 padding - dilation (kernel - 1) - 1) / stride + 1`, rounded down, or, transposed,
    /// `(n - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1`.
    ///
    /// # Errors
    /// The reason, when nothing is left.
    pub fn output_size(&self, size: (usize, usize)) -> Result<(usize, usize), String> {
        let along = |axis: usize, n: usize| {
            let span = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
            if self.transposed {
                let all = (n.checked_sub(1)? * self.stride[axis]) + span + self.output_padding[axis];
                all.checked_sub(2 * self.padding[axis]).filter(|&n| n > 0)
            } else {
                Some((n + 2 * self.padding[axis]).checked_sub(span)? / self.stride[axis] + 1)
            }
        };
        match (along(0, size.0), along(1, size.1)) {
            (Some(height), Some(width)) => Ok((height, width)),
            _ if self.transposed => Err(format!("its padding leaves nothing of {}x{} pixels", size.0, size.1)),
            _ => Err(format!("the kernel is larger than its input of {}x{} pixels", size.0, size.1)),
        }
    }

    /// Whether it is an ordinary convolution of stride 1 whose output is as large as its input: a sum of shifts of the
    /// input's own planes.
    #[must_use]
    pub fn keeps_size(&self) -> bool {
        let same = |axis: usize| 2 * self.padding[axis] == self.dilation[axis] * (self.kernel[axis] - 1);
        !self.transposed && self.stride == [1, 1] && same(0) && same(1)
    }

    /// The zero border that the planes of the smaller side (the output; the input if transposed) need, in pixels.
    ///
    /// `input` and `output` are heights and widths.
    #[must_use]
    pub fn border(&self, input: (usize, usize), output: (usize, usize)) -> usize {
        if self.keeps_size() {
            return self.padding[0].max(self.padding[1]);
        }
        let (large, small) = if self.transposed { (output, input) } else { (input, output) };
        self.axis(0, large.0, small.0).gap().max(self.axis(1, large.1, small.1).gap())
    }

    /// One axis (0: rows, 1: columns) of a convolution from `large` to `small` pixels, or of a transposed one from `small`
    /// to `large`.
    #[must_use]
    pub fn axis(&self, axis: usize, large: usize, small: usize) -> Axis {
        let taps = (0..self.kernel[axis]).map(|k| {
            let offset = (k * self.dilation[axis]) as isize - self.padding[axis] as isize;
            let stride = self.stride[axis] as isize;
            Tap { phase: offset.rem_euclid(stride) as usize, shift: offset.div_euclid(stride) }
        });
        Axis { stride: self.stride[axis], large, small, taps: taps.collect() }
    }
}

/// One axis of a strided convolution, as a convolution of stride 1 on phases.
///
/// Phase r of a row x holds x\[r], x\[r + stride], ... The product of output j and kernel position k then takes element
/// `j + shift` of one phase: `stride * j + k * dilation - padding = stride * (j + shift) + phase`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Pixels from one element of a phase to the next.
    pub stride: usize,
    /// Pixels of the larger side.
    pub large: usize,
    /// Pixels of the smaller side.
    pub small: usize,
    /// Every kernel position.
    pub taps: Vec<Tap>,
}

/// A kernel position: element `j + shift` of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// The phase, less than the stride.
    pub phase: usize,
    /// Elements from the output's position.
    pub shift: isize,
}

impl Axis {
    /// Elements that a phase has inside of the larger side.
    #[must_use]
    pub fn phase_len(&self, phase: usize) -> usize {
        self.large.saturating_sub(phase).div_ceil(self.stride)
    }

    /// Elements before the first that a tap reaches; they are all outside of the larger side, thus zeros.
    #[must_use]
    pub fn before(&self) -> usize {
        self.taps.iter().map(|t| -t.shift).max().map_or(0, |n| n.max(0) as usize)
    }

    /// Elements behind the last that a tap reaches, zeros or not.
    #[must_use]
    pub fn reach(&self) -> usize {
        self.taps.iter().map(|t| t.shift).max().map_or(0, |n| n.max(0) as usize)
    }

    /// Elements behind the smaller side's last that a tap reaches inside of the larger side.
    #[must_use]
    pub fn beyond(&self) -> usize {
        let of = |t: &Tap| self.phase_len(t.phase).min(self.small.saturating_add_signed(t.shift));
        self.taps.iter().map(of).max().map_or(0, |n| n.saturating_sub(self.small))
    }

    /// Elements that must lie between two rows of a phase, so that no tap reads another row's.
    #[must_use]
    pub fn gap(&self) -> usize {
        (self.before() + self.beyond()).max(self.reach())
    }
}

/// Where the window of a pooling lies, rows first: every list of an [`Op`] resolved to two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its size, at least 1.
    pub kernel: [usize; 2],
    /// Its step, at least 1.
    pub stride: [usize; 2],
    /// Pixels added on each side, at most half of the window.
    pub padding: [usize; 2],
}

impl Window {
    /// Height and width of the output for an input of `size` (height, width):
    /// `(n + 2 padding - kernel) / stride + 1`, rounded down.
    ///
    /// # Errors
    /// The reason, when nothing is left.
    pub fn output_size(&self, size: (usize, usize)) -> Result<(usize, usize), String> {
        let along = |axis: usize, n: usize| {
            Some((n + 2 * self.padding[axis]).checked_sub(self.kernel[axis])? / self.stride[axis] + 1)
        };
        along(0, size.0).zip(along(1, size.1)).ok_or_else(|| "nothing is left after pooling".into())
    }

    /// Whether windows lie side by side: a step as large as the window, no padding.
    #[must_use]
    pub fn tiles(&self) -> bool {
        self.kernel == self.stride && self.padding == [0, 0]
    }
}

/// The resolved lists of a pooling; `None` for other layers, and for lists that are not two sensible numbers.
pub(super) fn window(op: &Op) -> Option<Window> {
    let (Op::MaxPool { kernel, stride, padding } | Op::AveragePool { kernel, stride, padding, .. }) = op else {
        return None;
    };
    let kernel = pair(kernel, [0; 2])?;
    let found = Window { kernel, stride: pair(stride, kernel)?, padding: pair(padding, [0; 2])? };
    let positive = [found.kernel, found.stride].concat().iter().all(|&n| n > 0);
    let within = (0..2).all(|axis| 2 * found.padding[axis] <= found.kernel[axis]);
    (positive && within).then_some(found)
}

/// A list of two numbers, or `default` for an empty one.
fn pair(list: &[usize], default: [usize; 2]) -> Option<[usize; 2]> {
    match list {
        [] => Some(default),
        [a, b] => Some([*a, *b]),
        _ => None,
    }
}

/// The resolved lists of a convolution; `None` for other layers, and for lists that are not two sensible numbers.
pub(super) fn of(op: &Op) -> Option<Geometry> {
    let found = match op {
        Op::Conv2d { kernel, stride, padding, dilation, .. }
        | Op::DepthwiseConv2d { kernel, stride, padding, dilation, .. } => Geometry {
            kernel: pair(kernel, [0; 2])?,
            stride: pair(stride, [1; 2])?,
            padding: pair(padding, [0; 2])?,
            dilation: pair(dilation, [1; 2])?,
            output_padding: [0; 2],
            transposed: false,
        },
        Op::ConvTranspose2d { kernel, stride, padding, output_padding, .. } => {
            let kernel = pair(kernel, [0; 2])?;
            Geometry {
                kernel,
                stride: pair(stride, kernel)?,
                padding: pair(padding, [0; 2])?,
                dilation: [1; 2],
                output_padding: pair(output_padding, [0; 2])?,
                transposed: true,
            }
        }
        _ => return None,
    };
    let positive = [found.kernel, found.stride, found.dilation].concat().iter().all(|&n| n > 0);
    let within = (0..2).all(|axis| !found.transposed || found.output_padding[axis] < found.stride[axis]);
    (positive && within).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(kernel: usize, stride: usize, padding: usize, dilation: usize) -> Geometry {
        Geometry {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            dilation: [dilation; 2],
            output_padding: [0; 2],
            transposed: false,
        }
    }

    #[test]
    fn sizes_are_pytorchs() {
        // From torch.nn.Conv2d and ConvTranspose2d.
        assert_eq!(square(3, 2, 1, 1).output_size((7, 8)), Ok((4, 4)));
        assert_eq!(square(3, 1, 2, 2).output_size((7, 8)), Ok((7, 8)));
        assert_eq!(square(7, 4, 3, 1).output_size((30, 33)), Ok((8, 9)));
        assert!(square(5, 1, 0, 1).output_size((4, 9)).is_err());
        let transposed = Geometry { transposed: true, ..square(4, 2, 1, 1) };
        assert_eq!(transposed.output_size((7, 8)), Ok((14, 16)));
        let transposed = Geometry { transposed: true, output_padding: [1, 0], ..square(3, 2, 1, 1) };
        assert_eq!(transposed.output_size((7, 8)), Ok((14, 15)));
    }

    #[test]
    fn a_kernel_of_three_with_stride_two_has_two_phases() {
        let axis = square(3, 2, 1, 1).axis(0, 8, 4);
        let taps: Vec<_> = axis.taps.iter().map(|t| (t.phase, t.shift)).collect();
        assert_eq!(taps, [(1, -1), (0, 0), (1, 0)], "pixels -1, 0 and 1");
        assert_eq!((axis.before(), axis.beyond(), axis.reach(), axis.gap()), (1, 0, 0, 1));
    }

    #[test]
    fn a_kernel_without_padding_needs_room_behind_every_row() {
        let axis = square(3, 1, 0, 1).axis(1, 10, 8);
        assert_eq!((axis.before(), axis.beyond(), axis.gap()), (0, 2, 2));
        let axis = square(7, 2, 3, 1).axis(1, 16, 8);
        assert_eq!((axis.before(), axis.beyond(), axis.reach(), axis.gap()), (2, 0, 1, 2));
    }
}
