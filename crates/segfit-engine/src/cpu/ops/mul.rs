//! Product of a tensor and a gate, which may have one channel, one pixel, or both.

use super::rows::{Run, pixels, sum_rows, write_pieces, write_rows, zip_rows};
use crate::cpu::ordered::floats;
use crate::cpu::planes::Planes;

/// Channel of the gate for a channel of x.
fn gate_channel(gate: &Planes, channel: usize) -> usize {
    if gate.channels == 1 { 0 } else { channel }
}

fn has_one_pixel(gate: &Planes) -> bool {
    (gate.layout.height, gate.layout.width) == (1, 1)
}

/// # Panics
/// When the gate does not fit.
fn assert_gates(gate: &Planes, x: &Planes) {
    let same = (gate.layout.height, gate.layout.width) == (x.layout.height, x.layout.width);
    assert!(gate.batch == x.batch && (gate.channels == 1 || gate.channels == x.channels), "channels of the gate");
    assert!(same || has_one_pixel(gate), "pixels of the gate");
}

/// y = x * gate. `y` may be `x`.
///
/// # Panics
/// When the shapes do not fit.
pub fn forward(x: &Planes, gate: &Planes, y: &Planes) {
    times_gate(x, gate, y, false);
}

/// to = from * gate, or that added to it.
fn times_gate(from: &Planes, gate: &Planes, to: &Planes, accumulate: bool) {
    crate::cpu::ordered::assert_same_shape(from, to);
    assert_gates(gate, from);
    write_pieces(to, 2 * floats(to), |piece| {
        let size = (piece.rows.1 - piece.rows.0, to.layout.width);
        let (x, y) = (Run::of(from, piece), Run::of(to, piece));
        let channel = gate_channel(gate, piece.channel);
        // SAFETY: this piece's rows of `to` belong to no other piece.
        unsafe {
            if has_one_pixel(gate) {
                let g = pixels(gate, piece.image, channel, 0)[0];
                if accumulate {
                    zip_rows(size, [x, y], y, |[x, before]| before + x * g);
                } else {
                    zip_rows(size, [x], y, |[x]| x * g);
                }
            } else {
                let g = Run::of(gate, super::rows::Piece { channel, ..piece });
                if accumulate {
                    zip_rows(size, [x, g, y], y, |[x, g, before]| before + x * g);
                } else {
                    zip_rows(size, [x, g], y, |[x, g]| x * g);
                }
            }
        }
    });
}

/// Gradients of x and of the gate, each added where the flag is set.
///
/// # Panics
/// When the shapes do not fit.
pub fn backward(x: &Planes, gate: &Planes, dy: &Planes, dxs: &[Option<(Planes, bool)>]) {
    if let Some(Some((d_gate, accumulate))) = dxs.get(1) {
        assert_gates(d_gate, x);
        match (has_one_pixel(d_gate), d_gate.channels == x.channels) {
            (true, _) => gradient_of_one_pixel(x, dy, d_gate, *accumulate),
            (false, true) => times_gate(dy, x, d_gate, *accumulate),
            (false, false) => gradient_of_one_channel(x, dy, d_gate, *accumulate),
        }
    }
    if let Some(Some((dx, accumulate))) = dxs.first() {
        times_gate(dy, gate, dx, *accumulate);
    }
}

/// Sums over the pixels, and over the channels if the gate has but one.
fn gradient_of_one_pixel(x: &Planes, dy: &Planes, d_gate: &Planes, accumulate: bool) {
    let size = (x.layout.height, x.layout.width);
    write_rows(d_gate, 2 * floats(x), |image, channel, _, to| {
        let channels = if d_gate.channels == 1 { 0..x.channels } else { channel..channel + 1 };
        let sum: f64 = channels
            .map(|c| {
                let from = [x, dy].map(|p| Run::of_plane(p, image, c));
                // SAFETY: x and dy are only read.
                let [sum] = unsafe { sum_rows(size, from, |[x, d]| [x * d]) };
                sum
            })
            .sum();
        to[0] = if accumulate { to[0] + sum as f32 } else { sum as f32 };
    });
}

/// Sums over the channels, in their order.
fn gradient_of_one_channel(x: &Planes, dy: &Planes, d_gate: &Planes, accumulate: bool) {
    write_rows(d_gate, 2 * floats(x), |image, _, row, to| {
        if !accumulate {
            to.fill(0.0);
        }
        for c in 0..x.channels {
            for ((t, x), d) in to.iter_mut().zip(pixels(x, image, c, row)).zip(pixels(dy, image, c, row)) {
                *t += x * d;
            }
        }
    });
}
