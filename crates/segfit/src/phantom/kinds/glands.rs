//! Colon glands in stained tissue: a bright lumen, pale cells, a rim of dark nuclei, in fibrous pink stroma.

use crate::phantom::Look;
use crate::phantom::blob::{Blob, scattered};
use crate::phantom::canvas::{Canvas, Colour, mix, smooth_step};
use crate::phantom::texture::clouds;
use crate::random::Stream;

const STROMA: Colour = [0.88, 0.60, 0.76];
const NUCLEUS: Colour = [0.38, 0.22, 0.52];
const CYTOPLASM: Colour = [0.83, 0.69, 0.84];
const LUMEN: Colour = [0.95, 0.92, 0.95];

pub fn paint(canvas: &mut Canvas, look: &Look, stream: &mut Stream) {
    let size = canvas.size;
    let c = look.complexity;
    let fibres = clouds(size, 6, 4, stream);
    canvas.fill(|i| mix(STROMA, NUCLEUS, ((0.05 + 0.3 * c) * fibres[i] + 0.1 * c).clamp(-0.3, 0.8)));
    stromal_nuclei(canvas, look, stream);
    let radius = size as f32 * (0.21 - 0.1 * c);
    let glands = scattered(look.objects, size, radius, 1.12, 1.2 + 0.8 * c, look.roughness, stream);
    for (number, gland) in glands.iter().enumerate() {
        fill_gland(canvas, gland, number as u32 + 1, look, &fibres, stream);
    }
}

fn fill_gland(canvas: &mut Canvas, gland: &Blob, number: u32, look: &Look, fibres: &[f32], stream: &mut Stream) {
    let cell = canvas.size as f32 * 0.022;
    let turns = (std::f32::consts::TAU * gland.radius / (2.4 * cell)).round().max(6.0);
    let phase = stream.range(0.0, 6.0);
    let lumen = stream.range(0.25, 0.5);
    for (i, dy, dx) in canvas.around(gland.y, gland.x, gland.reach() + 2.0) {
        let (share, depth) = gland.at(dy, dx);
        if depth <= -0.6 {
            continue;
        }
        let rim = smooth_step(0.0, 0.8, depth) * smooth_step(3.2 * cell, 2.0 * cell, depth);
        let beads = 0.65 + 0.35 * (turns * gland.direction(dy, dx) + phase + 3.0 * fibres[i]).sin();
        let mut colour = mix(LUMEN, CYTOPLASM, smooth_step(lumen - 0.08, lumen + 0.08, share));
        colour = mix(colour, NUCLEUS, (rim * beads).clamp(0.0, 1.0));
        colour = mix(colour, STROMA, 0.12 * look.complexity * (1.0 + fibres[i]));
        let ground = canvas.pixels[i];
        canvas.over(i, mix(ground, colour, look.contrast), smooth_step(-0.6, 0.6, depth));
        if depth > 0.0 && canvas.owner[i] == 0 {
            canvas.owner[i] = number;
        }
    }
}

/// Single dark nuclei between the glands: clutter of the colour that marks a gland's rim.
fn stromal_nuclei(canvas: &mut Canvas, look: &Look, stream: &mut Stream) {
    let size = canvas.size;
    let count = (10.0 + 90.0 * look.complexity) as usize;
    let radius = size as f32 * 0.013;
    for nucleus in scattered(count, size, radius, 1.0, 2.5, 0.1, stream) {
        for (i, dy, dx) in canvas.around(nucleus.y, nucleus.x, nucleus.reach() + 1.0) {
            let (_, depth) = nucleus.at(dy, dx);
            canvas.over(i, NUCLEUS, 0.85 * smooth_step(-0.6, 0.6, depth));
        }
    }
}
