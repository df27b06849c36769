//! Smooth random textures.

use super::canvas::smooth_step;
use crate::random::Stream;

/// Value noise of `size` x `size`, about -1 to 1: random values on a lattice of `cells` x `cells`, interpolated smoothly,
/// plus `octaves` - 1 finer ones, each twice as fine and half as strong (Perlin 1985, Musgrave 1989).
pub fn clouds(size: usize, cells: usize, octaves: usize, stream: &mut Stream) -> Vec<f32> {
    let mut plane = vec![0.0; size * size];
    let mut strength = 0.6;
    for octave in 0..octaves {
        add_lattice(&mut plane, size, cells << octave, strength, stream);
        strength *= 0.5;
    }
    plane
}

fn add_lattice(plane: &mut [f32], size: usize, cells: usize, strength: f32, stream: &mut Stream) {
    let n = cells + 1;
    let lattice: Vec<f32> = (0..n * n).map(|_| stream.range(-strength, strength)).collect();
    let places: Vec<(usize, f32)> = (0..size)
        .map(|i| {
            let at = i as f32 * cells as f32 / size as f32;
            (at as usize, smooth_step(0.0, 1.0, at.fract()))
        })
        .collect();
    for (row, &(y, v)) in plane.chunks_mut(size).zip(&places) {
        let (top, low) = (&lattice[y * n..], &lattice[(y + 1) * n..]);
        for (pixel, &(x, u)) in row.iter_mut().zip(&places) {
            let a = top[x] + (top[x + 1] - top[x]) * u;
            let b = low[x] + (low[x + 1] - low[x]) * u;
            *pixel += a + (b - a) * v;
        }
    }
}
