//! The image as packed planes.

use super::slots::Slot;
use crate::backend::Precision;
use crate::cpu::kernels::numbers::{to_bf16, to_u8};
use crate::cpu::ordered::for_each;
use crate::cpu::planes::Planes;

/// Packs dense NCHW values into the slots of `x`, borders included.
///
/// # Panics
/// When the length does not fit the slots.
pub fn write(precision: Precision, dense: &[f32], channels: usize, slots: &[Option<Slot>], x: &Planes) {
    let (height, width) = (x.layout.height, x.layout.width);
    assert_eq!(dense.len(), x.batch * channels * height * width);
    let per_element = slots.len() / x.channels;
    let bits = 32 / per_element;
    for_each(x.batch * x.channels, slots.len() * height * width, |k| {
        let (image, group) = (k / x.channels, k % x.channels);
        // SAFETY: a whole plane, handed to one call.
        let plane =
            unsafe { std::slice::from_raw_parts_mut(x.plane(image, group).cast::<u32>(), x.layout.plane_stride()) };
        plane.fill(0);
        for (s, slot) in slots[group * per_element..][..per_element].iter().enumerate() {
            let Some(slot) = slot else { continue };
            let factor = slot.sign() / slot.scale;
            let from = &dense[(image * channels + slot.channel) * height * width..][..height * width];
            for (row, from) in from.chunks_exact(width).enumerate() {
                let start = x.layout.origin() + row * x.layout.row_stride();
                let to = &mut plane[start..start + width];
                if precision == Precision::Int8 {
                    to.iter_mut().zip(from).for_each(|(t, f)| *t |= u32::from(to_u8(f * factor)) << (s * bits));
                } else {
                    to.iter_mut().zip(from).for_each(|(t, f)| *t |= u32::from(to_bf16(*f)) << (s * bits));
                }
            }
        }
    });
}
