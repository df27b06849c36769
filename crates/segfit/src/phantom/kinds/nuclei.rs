//! Fluorescent nuclei: bright textured ellipses with haze, some faint, some touching.

use crate::phantom::Look;
use crate::phantom::blob::scattered;
use crate::phantom::canvas::{Canvas, smooth_step};
use crate::phantom::texture::clouds;
use crate::random::Stream;

pub fn paint(canvas: &mut Canvas, look: &Look, stream: &mut Stream) {
    let size = canvas.size;
    let c = look.complexity;
    let haze = clouds(size, 3, 2, stream);
    let chromatin = clouds(size, (size / 6).max(2), 2, stream);
    canvas.fill(|i| [0.09 + 0.05 * c + (0.03 + 0.08 * c) * haze[i]; 3]);
    let radius = size as f32 * (0.085 - 0.04 * c);
    let gap = 1.2 - 0.3 * c;
    let nuclei = scattered(look.objects, size, radius, gap, 1.3 + 0.7 * c, look.roughness, stream);
    let soft = 0.012 * size as f32 * (0.5 + c);
    for (number, nucleus) in nuclei.iter().enumerate() {
        let tone = 0.12 + 0.6 * look.contrast * stream.range(1.0 - 0.7 * c, 1.2);
        for (i, dy, dx) in canvas.around(nucleus.y, nucleus.x, nucleus.reach() + 4.0 * soft) {
            let (share, depth) = nucleus.at(dy, dx);
            let glow = 0.12 * c * smooth_step(1.9, 1.0, share);
            let alpha = smooth_step(-soft, soft, depth).max(glow);
            let grain = 1.0 + (0.15 + 0.35 * c) * chromatin[i];
            if canvas.pixels[i][0] < tone * grain {
                canvas.over(i, [tone * grain; 3], alpha);
            }
            if depth > 0.0 && canvas.owner[i] == 0 {
                canvas.owner[i] = number as u32 + 1;
            }
        }
    }
}
