//! The sheet that phantoms are painted on.

use crate::data::{Image, Mask, Sample};
use crate::random::Stream;

/// An RGB colour, each value 0..1.
pub type Colour = [f32; 3];

/// A square picture and the number of the object that owns each pixel (0 is nobody).
pub struct Canvas {
    pub size: usize,
    pub pixels: Vec<Colour>,
    pub owner: Vec<u32>,
}

/// Share `alpha` of `b` over `a`.
pub fn mix(a: Colour, b: Colour, alpha: f32) -> Colour {
    [0, 1, 2].map(|k| a[k] + (b[k] - a[k]) * alpha)
}

/// A colour made brighter or darker.
pub fn scaled(a: Colour, factor: f32) -> Colour {
    a.map(|v| v * factor)
}

/// 0 below `low`, 1 above `high`, smooth between.
pub fn smooth_step(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

impl Canvas {
    pub fn new(size: usize) -> Self {
        Self { size, pixels: vec![[0.0; 3]; size * size], owner: vec![0; size * size] }
    }

    /// Sets every pixel by its index.
    pub fn fill(&mut self, colour: impl Fn(usize) -> Colour) {
        for (i, pixel) in self.pixels.iter_mut().enumerate() {
            *pixel = colour(i);
        }
    }

    /// Paints `alpha` of a colour over one pixel.
    pub fn over(&mut self, index: usize, colour: Colour, alpha: f32) {
        self.pixels[index] = mix(self.pixels[index], colour, alpha.clamp(0.0, 1.0));
    }

    /// The indices of the pixels within `radius` of (y, x), with their offsets from it.
    pub fn around(&self, y: f32, x: f32, radius: f32) -> impl Iterator<Item = (usize, f32, f32)> + use<> {
        let size = self.size;
        let span = move |c: f32| {
            let low = (c - radius).floor().max(0.0) as usize;
            let high = (c + radius).ceil().min(size as f32 - 1.0);
            low..if high < 0.0 { low } else { high as usize + 1 }
        };
        let columns = span(x);
        span(y).flat_map(move |r| columns.clone().map(move |c| (r * size + c, r as f32 - y, c as f32 - x)))
    }

    /// Adds noise, rounds to 8 bits and turns the canvas into a sample.
    pub fn finish(self, name: String, channels: usize, noise: f32, keep: bool, stream: &mut Stream) -> Sample {
        let n = self.size * self.size;
        let mut data = Vec::with_capacity(channels * n);
        for c in 0..channels {
            let value = |p: &Colour| match channels {
                1 => 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2],
                _ => p[c % 3] * 0.8_f32.powi((c / 3) as i32),
            };
            data.extend(self.pixels.iter().map(|p| byte(value(p) + noise * bell(stream))));
        }
        Sample {
            name,
            image: Image { channels, height: self.size, width: self.size, data },
            mask: Mask {
                height: self.size,
                width: self.size,
                data: self.owner.iter().map(|&o| u8::from(o > 0)).collect(),
            },
            instances: keep.then_some(self.owner),
        }
    }
}

fn byte(value: f32) -> f32 {
    (value.clamp(0.0, 1.0) * 255.0).round() / 255.0
}

/// Nearly normal, of mean 0 and variance 1: the sum of four 16-bit uniforms of one draw (Irwin-Hall).
fn bell(stream: &mut Stream) -> f32 {
    let bits = stream.bits();
    let sum: u64 = (0..4).map(|k| (bits >> (16 * k)) & 0xFFFF).sum();
    (sum as f32 / 65_536.0 - 2.0) * 3.0_f32.sqrt()
}
