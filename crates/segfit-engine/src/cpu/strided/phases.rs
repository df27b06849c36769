//! Taking the planes of the larger side apart into phases, and putting them together.

use std::ops::Range;

use super::Strided;
use crate::cpu::kernels::norm_rows::zero_few;
use crate::cpu::kernels::phase_rows::{join_pairs, put_every, split_pairs, take_every};
use crate::cpu::ordered::{RowPieces, Slots, for_each, zero_columns, zero_ends};
use crate::cpu::planes::Planes;

impl Strided {
    /// Number of a phase that holds a tap.
    fn phase(&self, row: usize, column: usize) -> Option<usize> {
        self.phases[row * self.columns.stride + column]
    }

    /// Columns of a phase that hold pixels which a tap may reach.
    fn phase_width(&self, column: usize) -> usize {
        self.columns.phase_len(column).min(self.small.width + self.columns.beyond())
    }

    /// Writes some rows of the phases of some images of `x` into scratch memory; zeros above with the first row, zeros below
    /// with the last.
    pub(super) fn split(&self, x: &Planes, images: Range<usize>, band: Range<usize>, scratch: &mut [f32]) {
        let (rows, channels, count) = (self.rows.stride, x.channels, self.taps.len());
        let slots = Slots::new(scratch);
        let work = images.len() * channels * count * band.len() * self.small.row_stride();
        for_each(images.len() * channels * rows, work, |k| {
            let (image, channel, row) = (k / rows / channels, k / rows % channels, k % rows);
            let plane = (image * channels + channel) * count * self.split.len;
            // SAFETY: the phases with these rows of this channel belong to no other job.
            unsafe { self.split_rows(x, (images.start + image, channel, row), band.clone(), plane, &slots) };
        });
    }

    /// # Safety
    /// Nobody else touches the phases with row phase `row` of the plane whose phases begin at float `plane`.
    unsafe fn split_rows(
        &self,
        x: &Planes,
        (image, channel, row): (usize, usize, usize),
        band: Range<usize>,
        plane: usize,
        slots: &Slots<'_, f32>,
    ) {
        let (stride, columns) = (self.small.row_stride(), self.columns.stride);
        let first = (self.small.origin() as isize - self.split.first) as usize;
        let most = self.small.height + self.rows.beyond();
        let height = self.rows.phase_len(row).min(most);
        let behind = first + height * stride;
        let base = |column: usize| {
            let phase = self.phase(row, column)?;
            // SAFETY: the caller's; the room of a phase holds all these rows, each with the gap behind it.
            Some(unsafe { slots.range(plane + phase * self.split.len, self.split.len) }.as_mut_ptr())
        };
        for to in (0..columns).filter_map(base) {
            // SAFETY: as above.
            unsafe {
                if band.start == 0 {
                    to.write_bytes(0, first);
                }
                if band.end == most {
                    to.add(behind).write_bytes(0, self.split.len - behind);
                }
            }
        }
        let pairs = (columns == 2).then(|| [base(0), base(1)].map(|p| p.unwrap_or(std::ptr::null_mut())));
        let whole = self.phase_width(0).min(if columns == 2 { self.phase_width(1) } else { 0 });
        for i in band.start..band.end.min(height) {
            let from = x.row(image, channel, i * self.rows.stride + row);
            let at = first + i * stride;
            // SAFETY: as above; the row has all pixels of its phases.
            unsafe {
                if let Some([even, odd]) = pairs {
                    let place = |p: *mut f32| if p.is_null() { p } else { p.add(at) };
                    split_pairs(self.isa, from, whole, place(even), place(odd));
                }
                let done = if pairs.is_some() { whole } else { 0 };
                for column in 0..columns {
                    let Some(to) = base(column) else { continue };
                    let width = self.phase_width(column);
                    let from = from.add(column + done * columns);
                    take_every(from, columns, width - done, to.add(at + done));
                    zero_few(to.add(at + width), stride - width);
                }
            }
        }
    }

    /// Writes the phases of some images in scratch memory to `x`, or adds them.
    pub(super) fn join(
        &self,
        scratch: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        accumulate: bool,
        x: &Planes,
        images: Range<usize>,
    ) {
        let (pieces, channels) = (RowPieces::of(x.layout), x.channels);
        let jobs = images.len() * channels * pieces.per_plane;
        for_each(jobs, images.len() * channels * self.large.plane_stride(), |k| {
            let (plane, rows) = (k / pieces.per_plane, pieces.rows_of(k));
            let (image, channel) = (images.start + plane / channels, plane % channels);
            let phases = &scratch[plane * self.taps.len() * self.joined.len..][..self.taps.len() * self.joined.len];
            // What no tap reaches.
            let fill = bias.map_or(0.0, |b| if relu { b[channel].max(0.0) } else { b[channel] });
            for y in rows.0..rows.1 {
                // SAFETY: these rows of this plane belong to no other job.
                unsafe { self.join_row(phases, y, fill, accumulate, x.row(image, channel, y)) };
            }
            // SAFETY: as above.
            unsafe {
                zero_columns(x.plane(image, channel), x.layout, rows);
                zero_ends(x.plane(image, channel), x.layout, rows);
            }
        });
    }

    /// # Safety
    /// `to` is row `y` of the larger side, which nobody else touches.
    unsafe fn join_row(&self, phases: &[f32], y: usize, fill: f32, accumulate: bool, to: *mut f32) {
        let (columns, row) = (self.columns.stride, y % self.rows.stride);
        let i = y / self.rows.stride;
        let is_reached = i < self.small.height + self.rows.beyond();
        let first = (self.small.origin() as isize - self.joined.first) as usize + i * self.small.row_stride();
        let source = |column: usize| match self.phase(row, column) {
            Some(phase) if is_reached => phases[phase * self.joined.len + first..].as_ptr(),
            _ => std::ptr::null(),
        };
        // SAFETY: every phase has these columns of its row; the rest of the row is filled.
        unsafe {
            let mut done = 0;
            if columns == 2 {
                done = self.phase_width(0).min(self.phase_width(1));
                join_pairs(self.isa, source(0), source(1), done, fill, accumulate, to);
            }
            for column in 0..columns {
                let (width, all) = (self.phase_width(column), self.columns.phase_len(column));
                let from = source(column);
                let rest = if from.is_null() { from } else { from.add(done) };
                put_every(rest, columns, width - done, fill, accumulate, to.add(column + done * columns));
                put_every(std::ptr::null(), columns, all - width, fill, accumulate, to.add(column + width * columns));
            }
        }
    }
}
