//! Convolution with stride 1 and "same" padding on packed planes.

use segfit::network::layout::{LINE, PlaneLayout};

use super::weights::PackedWeights;
use crate::cpu::kernels::amx::{self, MatrixRun, Steps};
use crate::cpu::kernels::dot::DotSet;
use crate::cpu::kernels::packed_tile::{Finish, PackedRun, convolve_packed};
use crate::cpu::planes::Planes;
use crate::cpu::team;

/// What a convolution stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Elements.
    Packed,
    /// One f32 plane for each channel.
    Floats,
}

/// A convolution prepared for one input and one output.
#[derive(Clone, Debug)]
pub struct PackedConvolution {
    set: DotSet,
    /// How the matrix unit goes through the input's planes.
    matrix: Option<Steps>,
    x: Planes,
    y: Planes,
    target: Target,
    relu: bool,
    shifts: Vec<isize>,
    /// First output slot and number of slots of every tile.
    blocks: Vec<(usize, usize)>,
    weights: Vec<u32>,
    scale: Vec<f32>,
    bias: Vec<f32>,
    cut: Cut,
}

/// Division of the positions.
#[derive(Clone, Copy, Debug)]
struct Cut {
    start: usize,
    end: usize,
    /// Positions of a piece.
    piece: usize,
    pieces: usize,
    blocks_per_job: usize,
    /// Dot products of vectors of all jobs.
    work: usize,
}

impl PackedConvolution {
    /// A convolution with an odd square kernel; `matrix` allows the matrix unit.
    ///
    /// # Panics
    /// When batches or layouts differ, or the kernel reaches beyond the border: bugs of the caller.
    pub fn new(
        set: DotSet,
        matrix: bool,
        kernel_size: usize,
        x: Planes,
        y: Planes,
        target: Target,
        relu: bool,
    ) -> Self {
        assert_eq!((x.batch, x.layout), (y.batch, y.layout), "a convolution keeps the shape");
        assert!(
            kernel_size % 2 == 1 && kernel_size / 2 <= x.layout.pad,
            "kernel {kernel_size}, border {}",
            x.layout.pad
        );
        let reach = (kernel_size / 2) as isize;
        let row = x.layout.row_stride() as isize;
        let shifts: Vec<isize> = (-reach..=reach).flat_map(|a| (-reach..=reach).map(move |b| a * row + b)).collect();
        let outputs = if target == Target::Packed { y.channels * set.slots() } else { y.channels };
        let steps = Steps::new(x.channels, kernel_size);
        let matrix = (matrix && steps.beat_vectors(set, outputs, x.channels * shifts.len())).then_some(steps);
        let mut blocks = Vec::new();
        let mut first = 0;
        while first < outputs {
            let size = match (matrix, outputs - first) {
                (Some(_), left) => left.min(16),
                (None, 8..) => set.max_outputs(),
                (None, 3..) => 4,
                (None, _) => 2,
            };
            blocks.push((first, size));
            first += size;
        }
        let cut = Cut::new(&x, blocks.len(), outputs * shifts.len() / set.slots());
        Self {
            set,
            matrix,
            x,
            y,
            target,
            relu,
            shifts,
            blocks,
            weights: Vec::new(),
            scale: vec![0.0; outputs.next_multiple_of(16)],
            bias: vec![0.0; outputs.next_multiple_of(16)],
            cut,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * (self.weights.len() + self.scale.len() + self.bias.len())
    }

    /// Orders the weights as the tiles read them.
    pub fn load(&mut self, packed: &PackedWeights) {
        let (groups, taps) = (self.x.channels, self.shifts.len());
        let element =
            |o: usize, g: usize, t: usize| packed.elements.get((o * groups + g) * taps + t).copied().unwrap_or(0);
        self.weights.clear();
        for &(first, size) in &self.blocks {
            match self.matrix {
                Some(steps) => {
                    let size_of_kernel = taps.isqrt();
                    let columns = if steps.folded { size_of_kernel } else { taps };
                    for (part, t) in (0..steps.parts).flat_map(|p| (0..columns).map(move |t| (p, t))) {
                        for (o, k) in (first..first + size).flat_map(|o| (0..steps.depth).map(move |k| (o, k))) {
                            let plane = part * steps.depth + k;
                            let row_of_kernel = plane / groups;
                            self.weights.push(element(o, plane % groups, row_of_kernel * size_of_kernel + t));
                        }
                    }
                }
                None => {
                    for (g, t) in (0..groups).flat_map(|g| (0..taps).map(move |t| (g, t))) {
                        for o in first..first + size {
                            self.weights.extend(self.set.weight_words(element(o, g, t)));
                        }
                    }
                }
            }
        }
        self.weights.shrink_to_fit();
        self.scale[..packed.scale.len()].copy_from_slice(&packed.scale);
        self.bias[..packed.bias.len()].copy_from_slice(&packed.bias);
    }

    /// Writes the output, borders included.
    pub fn run(&self) {
        let cut = self.cut;
        let block_jobs = self.blocks.len().div_ceil(cut.blocks_per_job);
        let jobs = self.x.batch * cut.pieces * block_jobs;
        let job = |job: usize| {
            let (rest, blocks) = (job / block_jobs, job % block_jobs);
            let (image, piece) = (rest / cut.pieces, rest % cut.pieces);
            let first = blocks * cut.blocks_per_job;
            let start = cut.start + piece * cut.piece;
            let end = cut.end.min(start + cut.piece);
            self.run_blocks(image, (start, end), first..(first + cut.blocks_per_job).min(self.blocks.len()));
        };
        const WORTH_SHARING: usize = 1 << 12;
        if cut.work < WORTH_SHARING {
            (0..jobs).for_each(job);
        } else {
            team::for_each(jobs, job);
        }
    }

    fn run_blocks(&self, image: usize, (start, end): (usize, usize), blocks: std::ops::Range<usize>) {
        let layout = self.x.layout;
        let x = self.x.plane(image, 0).cast::<u32>().cast_const();
        let words = self.weights.len() / self.blocks.iter().map(|b| b.1).sum::<usize>();
        let planes = |slots: usize| if self.target == Target::Packed { slots / self.set.slots() } else { slots };
        let finish = |first: usize, size: usize| Finish {
            scale: self.scale[first..].as_ptr(),
            bias: self.bias[first..].as_ptr(),
            relu: self.relu,
            floats: if self.target == Target::Packed { 0 } else { size.min(self.y.channels - first) },
        };
        let y = |first: usize| self.y.plane(image, planes(first)).cast::<u32>();
        // SAFETY: the planes have one layout; a shifted tile reaches at most a few lines beyond the planes, which the slack
        // holds; jobs write disjoint blocks of channels or pieces of images.
        unsafe {
            match self.matrix {
                Some(steps) => {
                    let (first, last) = (self.blocks[blocks.start], self.blocks[blocks.end - 1]);
                    let run = MatrixRun {
                        x,
                        plane_stride: layout.plane_stride(),
                        planes: self.x.channels,
                        steps,
                        shifts: &self.shifts,
                        weights: self.weights[first.0 * words..].as_ptr(),
                        y: y(first.0),
                        outputs: last.0 + last.1 - first.0,
                        start,
                        end,
                        finish: finish(first.0, last.0 + last.1 - first.0),
                    };
                    amx::convolve(self.set, &run);
                }
                None => {
                    for &(first, size) in &self.blocks[blocks.clone()] {
                        let run = PackedRun {
                            x,
                            plane_stride: layout.plane_stride(),
                            groups: self.x.channels,
                            shifts: &self.shifts,
                            weights: self.weights[first * words..].as_ptr(),
                            y: y(first),
                            outputs: size,
                            start,
                            end,
                            finish: finish(first, size),
                        };
                        convolve_packed(self.set, &run);
                    }
                }
            }
            let (first, last) = (self.blocks[blocks.start], self.blocks[blocks.end - 1]);
            for plane in planes(first.0)..planes(last.0 + last.1).min(self.y.channels) {
                zero_borders(layout, self.y.plane(image, plane).cast(), start, end);
            }
        }
    }
}

impl Cut {
    fn new(x: &Planes, blocks: usize, dots_per_input: usize) -> Self {
        /// Elements of the inputs of a piece: a part of the second cache.
        const PIECE_ELEMENTS: usize = 64 * 1024;
        const MIN_JOBS: usize = 12;
        const MIN_JOB_WORK: usize = 1 << 14;
        let (first, last) = pixel_range(x.layout);
        let (start, end) = (first / LINE * LINE, last.next_multiple_of(LINE));
        let work = (dots_per_input * x.channels + 16 * x.channels) * (end - start) / LINE * x.batch;
        let pieces = (end - start).div_ceil((PIECE_ELEMENTS / x.channels).clamp(512, 8 * 1024));
        let piece = (end - start).div_ceil(pieces).next_multiple_of(LINE);
        let pieces = (end - start).div_ceil(piece);
        let jobs = pieces * x.batch;
        let splits = MIN_JOBS.div_ceil(jobs).min((work / jobs / MIN_JOB_WORK).max(1)).min(blocks);
        Self { start, end, piece, pieces, blocks_per_job: blocks.div_ceil(splits), work }
    }
}

/// First and last (exclusive) flat position of the pixels.
fn pixel_range(layout: PlaneLayout) -> (usize, usize) {
    (layout.origin(), layout.origin() + (layout.height - 1) * layout.row_stride() + layout.width)
}

/// Zeroes what is not a pixel in [start, end) of a plane, and the plane's ends if the range has its first or last pixel.
///
/// # Safety
/// `plane` is the first element of a plane of that layout, and nobody else touches the range.
unsafe fn zero_borders(layout: PlaneLayout, plane: *mut u32, start: usize, end: usize) {
    let (first, last) = pixel_range(layout);
    // SAFETY: every index is inside the range or in an end that belongs to this range's job.
    unsafe {
        if start <= first {
            plane.write_bytes(0, first);
        }
        if end >= last {
            plane.add(last).write_bytes(0, layout.plane_stride() - last);
        }
        let row_before = start.saturating_sub(first) / layout.row_stride();
        let mut gap = first + row_before * layout.row_stride() + layout.width;
        while gap < end.min(last) {
            for q in gap.max(start)..(gap + layout.pad).min(end) {
                *plane.add(q) = 0;
            }
            gap += layout.row_stride();
        }
    }
}
