//! Bright discs on an even ground.

use crate::phantom::Look;
use crate::phantom::blob::scattered;
use crate::phantom::canvas::{Canvas, smooth_step};
use crate::phantom::texture::clouds;
use crate::random::Stream;

pub fn paint(canvas: &mut Canvas, look: &Look, stream: &mut Stream) {
    let size = canvas.size;
    let ground = clouds(size, 4, 3, stream);
    canvas.fill(|i| [0.35 + 0.2 * look.complexity * ground[i]; 3]);
    let radius = size as f32 * (0.15 - 0.085 * look.complexity);
    let discs = scattered(look.objects, size, radius, 1.15, 1.0 + 0.5 * look.complexity, look.roughness, stream);
    for (number, disc) in discs.iter().enumerate() {
        let tone = 0.35 + 0.45 * look.contrast * stream.range(0.8, 1.1);
        for (i, dy, dx) in canvas.around(disc.y, disc.x, disc.reach() + 1.0) {
            let (_, depth) = disc.at(dy, dx);
            canvas.over(i, [tone; 3], smooth_step(-0.7, 0.7, depth));
            if depth > 0.0 {
                canvas.owner[i] = number as u32 + 1;
            }
        }
    }
}
