//! Star-shaped objects with a rough boundary.

use std::f32::consts::TAU;

use crate::random::Stream;

/// Waves along the boundary: 2 to 7 per turn.
const WAVES: usize = 6;

/// An ellipse whose radius swings along the boundary.
#[derive(Clone, Debug)]
pub struct Blob {
    pub y: f32,
    pub x: f32,
    pub radius: f32,
    aspect: f32,
    axis: (f32, f32),
    waves: [(f32, f32); WAVES],
}

impl Blob {
    /// A blob at (y, x); `aspect` is the longer over the shorter axis, `roughness` the relative deviation of the radius.
    pub fn new(y: f32, x: f32, radius: f32, aspect: f32, roughness: f32, stream: &mut Stream) -> Self {
        let angle = stream.range(0.0, TAU);
        let waves = std::array::from_fn(|k| {
            let strength = roughness * stream.range(0.3, 1.0) * (2.0 / (k + 2) as f32).sqrt();
            let phase = stream.range(0.0, TAU);
            (strength * phase.cos(), strength * phase.sin())
        });
        Self { y, x, radius, aspect: aspect.sqrt(), axis: (angle.cos(), angle.sin()), waves }
    }

    /// No point of the blob is farther from its centre, in pixels.
    pub fn reach(&self) -> f32 {
        self.radius * self.aspect * (1.0 + self.waves.iter().map(|w| w.0.hypot(w.1)).sum::<f32>())
    }

    /// The area over that of the ellipse without waves.
    pub fn relative_area(&self) -> f32 {
        1.0 + self.waves.iter().map(|w| w.0 * w.0 + w.1 * w.1).sum::<f32>() / 2.0
    }

    /// At an offset from the centre: the distance as a share of the boundary's (below 1 is inside), and how deep inside
    /// in pixels (about).
    pub fn at(&self, dy: f32, dx: f32) -> (f32, f32) {
        let (u, v) = self.along_axes(dy, dx);
        let distance = (u * u + v * v).sqrt();
        let (c, s) = if distance > 0.0 { (u / distance, v / distance) } else { (1.0, 0.0) };
        // (p, q) is the cosine and sine of 2, 3, ... times the direction.
        let (mut p, mut q) = (c * c - s * s, 2.0 * c * s);
        let mut edge = 1.0;
        for wave in &self.waves {
            edge += wave.0 * p - wave.1 * q;
            (p, q) = (p * c - q * s, p * s + q * c);
        }
        let edge = self.radius * edge.max(0.3);
        (distance / edge, edge - distance)
    }

    /// The direction of an offset from the centre, in radians, in the blob's own axes.
    pub fn direction(&self, dy: f32, dx: f32) -> f32 {
        let (u, v) = self.along_axes(dy, dx);
        v.atan2(u)
    }

    fn along_axes(&self, dy: f32, dx: f32) -> (f32, f32) {
        let (c, s) = self.axis;
        ((c * dx + s * dy) / self.aspect, (c * dy - s * dx) * self.aspect)
    }
}

/// Places up to `count` blobs of about `radius` (0.7 to 1.3 times it) that keep `gap` times the sum of
/// their radii apart; places that cannot be found within 40 tries each are left out.
pub fn scattered(
    count: usize,
    size: usize,
    radius: f32,
    gap: f32,
    aspect: f32,
    roughness: f32,
    stream: &mut Stream,
) -> Vec<Blob> {
    let mut blobs: Vec<Blob> = Vec::new();
    for _ in 0..count {
        for _ in 0..40 {
            let r = radius * stream.range(0.7, 1.3);
            let (y, x) = (stream.range(0.0, size as f32), stream.range(0.0, size as f32));
            let far = |b: &Blob| (b.y - y).hypot(b.x - x) >= gap * (b.radius + r);
            if blobs.iter().all(far) {
                let a = 1.0 + (aspect - 1.0) * stream.unit();
                blobs.push(Blob::new(y, x, r, a, roughness, stream));
                break;
            }
        }
    }
    blobs
}
