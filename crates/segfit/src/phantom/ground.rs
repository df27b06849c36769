//! The texture of an endless plane: the same wherever a frame lies on it and whatever its magnification.

use super::canvas::smooth_step;
use crate::random::Stream;

/// Value noise, about -1 to 1, on the part of a plane that a frame sees.
///
/// As [`clouds`](super::texture::clouds): random values on lattices, each twice as fine and half as strong as the one
/// before, interpolated smoothly (Perlin 1985). A lattice value depends on its place and its names alone.
pub struct Ground {
    lattices: Vec<Lattice>,
}

impl Ground {
    /// The ground of the square between `from` and `to` (in both directions); the coarsest lattice has a point every
    /// `cell`.
    pub fn covering(from: f32, to: f32, cell: f32, octaves: usize, names: [u64; 3]) -> Self {
        let lattice = |octave: usize| {
            let name = [names[0], names[1], names[2], octave as u64];
            Lattice::covering(from, to, cell / (1_u32 << octave) as f32, 0.6 / (1_u32 << octave) as f32, name)
        };
        Self { lattices: (0..octaves).map(lattice).collect() }
    }

    /// The texture at a place of the plane that is covered.
    pub fn at(&self, y: f32, x: f32) -> f32 {
        self.lattices.iter().map(|l| l.at(y, x)).sum()
    }
}

struct Lattice {
    cell: f32,
    /// Number of the first line of the lattice, counted from the plane's origin.
    first: i64,
    lines: usize,
    values: Vec<f32>,
}

impl Lattice {
    fn covering(from: f32, to: f32, cell: f32, strength: f32, name: [u64; 4]) -> Self {
        // One line more on both sides, so that rounding leads to no place outside.
        let first = (from / cell).floor() as i64 - 1;
        let lines = ((to / cell).ceil() as i64 + 2 - first) as usize;
        let value = |i: usize| {
            let (y, x) = (first + (i / lines) as i64, first + (i % lines) as i64);
            Stream::new(&[name[0], name[1], name[2], name[3], y as u64, x as u64]).range(-strength, strength)
        };
        Self { cell, first, lines, values: (0..lines * lines).map(value).collect() }
    }

    fn at(&self, y: f32, x: f32) -> f32 {
        let place = |v: f32| {
            let v = v / self.cell - self.first as f32;
            (v as usize, smooth_step(0.0, 1.0, v.fract()))
        };
        let ((row, v), (column, u)) = (place(y), place(x));
        let at = row * self.lines + column;
        let between = |i: usize| self.values[i] + (self.values[i + 1] - self.values[i]) * u;
        let (top, low) = (between(at), between(at + self.lines));
        top + (low - top) * v
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ground_is_the_same_for_every_frame_that_sees_it() {
        let near = Ground::covering(0.0, 64.0, 16.0, 3, [1, 2, 3]);
        let far = Ground::covering(-100.0, 300.0, 16.0, 3, [1, 2, 3]);
        for i in 0..1000 {
            let (y, x) = (0.064 * i as f32, 64.0 - 0.064 * i as f32);
            assert!((near.at(y, x) - far.at(y, x)).abs() < 1e-4, "{y} {x}");
        }
        assert_ne!(near.at(7.0, 7.0), Ground::covering(0.0, 64.0, 16.0, 3, [1, 2, 4]).at(7.0, 7.0));
    }
}
