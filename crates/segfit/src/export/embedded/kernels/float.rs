//# types
/// Where a kernel or window lies; a tensor is [channels][rows][columns].
struct Geometry {
    in_channels: usize,
    in_rows: usize,
    in_columns: usize,
    out_channels: usize,
    out_rows: usize,
    out_columns: usize,
    kernel_rows: usize,
    kernel_columns: usize,
    stride_rows: usize,
    stride_columns: usize,
    padding_rows: usize,
    padding_columns: usize,
    dilation_rows: usize,
    dilation_columns: usize,
    groups: usize,
}

//# exp
/// exp(x): 2^k exp(r) with |r| <= ln(2) / 2 and the power series of exp(r), since `core` has no exponential.
fn exp(x: f32) -> f32 {
    if x < -87.0 {
        return 0.0;
    }
    let x = if x > 88.0 { 88.0 } else { x };
    let k = (x * core::f32::consts::LOG2_E + if x < 0.0 { -0.5 } else { 0.5 }) as i32;
    // ln(2) in two parts, of which the first times k is exact.
    let r = (x - k as f32 * 0.693_359_375) + k as f32 * 2.121_944_4e-4;
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r / 720.0)))));
    let half = k / 2;
    let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    series * power(half) * power(k - half)
}

//# sqrt
/// The square root of a number that is not negative, by Newton's iteration, since `core` has none.
fn sqrt(x: f32) -> f32 {
    if x <= 0.0 {
        return 0.0;
    }
    let mut root = f32::from_bits((x.to_bits() >> 1) + 0x1fbd_1df5);
    for _ in 0..3 {
        root = 0.5 * (root + x / root);
    }
    root
}

//# each
/// y = f(x) for every value; y may be x, as in all functions of single values.
fn each(arena: &mut [f32], x: usize, y: usize, count: usize, f: impl Fn(f32) -> f32) {
    for i in 0..count {
        arena[y + i] = f(arena[x + i]);
    }
}

//# relu needs each
/// max(x, 0) in place.
fn relu(arena: &mut [f32], x: usize, count: usize) {
    each(arena, x, x, count, |v| if v < 0.0 { 0.0 } else { v });
}

//# range
/// The first j for which j * stride + at is at least `padding`.
fn first(at: usize, padding: usize, stride: usize) -> usize {
    padding.saturating_sub(at).div_ceil(stride)
}

/// The number of j, at most `count`, for which j * stride + at is less than n + padding.
fn end(at: usize, padding: usize, stride: usize, n: usize, count: usize) -> usize {
    (n + padding).saturating_sub(at).div_ceil(stride).min(count)
}

//# conv2d needs types range relu
/// Convolution: y[o] = bias[o] + sum over the inputs i of its group and the kernel of weight[o][i] * x[i], zeros
/// around x. One kernel position after the other is added to a whole plane, so that the borders are settled outside
/// of the inner loop.
fn conv2d(arena: &mut [f32], x: usize, y: usize, weight: &[f32], bias: &[f32], g: &Geometry, with_relu: bool) {
    let (in_pixels, out_pixels) = (g.in_rows * g.in_columns, g.out_rows * g.out_columns);
    let (inputs, outputs) = (g.in_channels / g.groups, g.out_channels / g.groups);
    let mut weights = weight.iter();
    for o in 0..g.out_channels {
        let plane_y = y + o * out_pixels;
        arena[plane_y..plane_y + out_pixels].fill(bias[o]);
        for i in 0..inputs {
            let plane_x = x + (o / outputs * inputs + i) * in_pixels;
            for a in 0..g.kernel_rows {
                let down = a * g.dilation_rows;
                let end_row = end(down, g.padding_rows, g.stride_rows, g.in_rows, g.out_rows);
                for b in 0..g.kernel_columns {
                    let right = b * g.dilation_columns;
                    let start = first(right, g.padding_columns, g.stride_columns);
                    let stop = end(right, g.padding_columns, g.stride_columns, g.in_columns, g.out_columns);
                    let Some(&w) = weights.next() else { return };
                    for row in first(down, g.padding_rows, g.stride_rows)..end_row {
                        let from = plane_x + (row * g.stride_rows + down - g.padding_rows) * g.in_columns;
                        let to = plane_y + row * g.out_columns;
                        for column in start..stop {
                            let value = arena[from + column * g.stride_columns + right - g.padding_columns];
                            arena[to + column] += w * value;
                        }
                    }
                }
            }
        }
    }
    if with_relu {
        relu(arena, y, g.out_channels * out_pixels);
    }
}

//# conv_transpose2d needs types range relu
/// Transposed convolution: every pixel of x adds itself times weight[i][o] to the places of y that its kernel covers.
fn conv_transpose2d(
    arena: &mut [f32],
    x: usize,
    y: usize,
    weight: &[f32],
    bias: &[f32],
    g: &Geometry,
    with_relu: bool,
) {
    let (in_pixels, out_pixels) = (g.in_rows * g.in_columns, g.out_rows * g.out_columns);
    let mut weights = weight.iter();
    for o in 0..g.out_channels {
        arena[y + o * out_pixels..y + (o + 1) * out_pixels].fill(bias[o]);
    }
    for i in 0..g.in_channels {
        for o in 0..g.out_channels {
            for a in 0..g.kernel_rows {
                let end_row = end(a, g.padding_rows, g.stride_rows, g.out_rows, g.in_rows);
                for b in 0..g.kernel_columns {
                    let start = first(b, g.padding_columns, g.stride_columns);
                    let stop = end(b, g.padding_columns, g.stride_columns, g.out_columns, g.in_columns);
                    let Some(&w) = weights.next() else { return };
                    for row in first(a, g.padding_rows, g.stride_rows)..end_row {
                        let from = x + i * in_pixels + row * g.in_columns;
                        let to = y + o * out_pixels + (row * g.stride_rows + a - g.padding_rows) * g.out_columns;
                        for column in start..stop {
                            let value = arena[from + column];
                            arena[to + column * g.stride_columns + b - g.padding_columns] += w * value;
                        }
                    }
                }
            }
        }
    }
    if with_relu {
        relu(arena, y, g.out_channels * out_pixels);
    }
}

//# window needs types
/// The pixels of an axis that window `at` covers: from and to.
fn window(at: usize, stride: usize, padding: usize, kernel: usize, n: usize) -> (usize, usize) {
    let start = at * stride;
    (start.saturating_sub(padding), (start + kernel).saturating_sub(padding).min(n))
}

//# max_pool2d needs window
/// The largest pixel of each window; pixels outside of x do not count.
fn max_pool2d(arena: &mut [f32], x: usize, y: usize, g: &Geometry) {
    let mut to = y;
    for channel in 0..g.in_channels {
        let plane = x + channel * g.in_rows * g.in_columns;
        for row in 0..g.out_rows {
            let rows = window(row, g.stride_rows, g.padding_rows, g.kernel_rows, g.in_rows);
            for column in 0..g.out_columns {
                let columns = window(column, g.stride_columns, g.padding_columns, g.kernel_columns, g.in_columns);
                let mut most = f32::NEG_INFINITY;
                for r in rows.0..rows.1 {
                    for c in columns.0..columns.1 {
                        let value = arena[plane + r * g.in_columns + c];
                        most = if value > most { value } else { most };
                    }
                }
                arena[to] = most;
                to += 1;
            }
        }
    }
}

//# average_pool2d needs window
/// The mean of each window: of its pixels inside of x, or of all with zeros outside (`count_padding`).
fn average_pool2d(arena: &mut [f32], x: usize, y: usize, g: &Geometry, count_padding: bool) {
    let mut to = y;
    for channel in 0..g.in_channels {
        let plane = x + channel * g.in_rows * g.in_columns;
        for row in 0..g.out_rows {
            let rows = window(row, g.stride_rows, g.padding_rows, g.kernel_rows, g.in_rows);
            for column in 0..g.out_columns {
                let columns = window(column, g.stride_columns, g.padding_columns, g.kernel_columns, g.in_columns);
                let mut sum = 0.0;
                for r in rows.0..rows.1 {
                    for c in columns.0..columns.1 {
                        sum += arena[plane + r * g.in_columns + c];
                    }
                }
                let inside = (rows.1 - rows.0) * (columns.1 - columns.0);
                arena[to] = sum / if count_padding { g.kernel_rows * g.kernel_columns } else { inside } as f32;
                to += 1;
            }
        }
    }
}

//# global_average_pool
/// The mean of every channel.
fn global_average_pool(arena: &mut [f32], x: usize, y: usize, channels: usize, pixels: usize) {
    for channel in 0..channels {
        let plane = &arena[x + channel * pixels..x + (channel + 1) * pixels];
        arena[y + channel] = plane.iter().sum::<f32>() / pixels as f32;
    }
}

//# leaky_relu needs each
/// x where positive, else slope * x.
fn leaky_relu(arena: &mut [f32], x: usize, y: usize, count: usize, slope: f32) {
    each(arena, x, y, count, |v| if v > 0.0 { v } else { slope * v });
}

//# prelu needs leaky_relu
/// x where positive, else x times the channel's slope.
fn prelu(arena: &mut [f32], x: usize, y: usize, slopes: &[f32], channels: usize, pixels: usize) {
    for channel in 0..channels {
        leaky_relu(arena, x + channel * pixels, y + channel * pixels, pixels, slopes[channel]);
    }
}

//# elu needs each exp
/// x where positive, else exp(x) - 1.
fn elu(arena: &mut [f32], x: usize, y: usize, count: usize) {
    each(arena, x, y, count, |v| if v > 0.0 { v } else { exp(v) - 1.0 });
}

//# sigmoid needs each exp
/// 1 / (1 + exp(-x)).
fn sigmoid(arena: &mut [f32], x: usize, y: usize, count: usize) {
    each(arena, x, y, count, |v| 1.0 / (1.0 + exp(-v)));
}

//# tanh needs each exp
/// Hyperbolic tangent.
fn tanh(arena: &mut [f32], x: usize, y: usize, count: usize) {
    each(arena, x, y, count, |v| 1.0 - 2.0 / (exp(2.0 * v) + 1.0));
}

//# silu needs each exp
/// x / (1 + exp(-x)).
fn silu(arena: &mut [f32], x: usize, y: usize, count: usize) {
    each(arena, x, y, count, |v| v / (1.0 + exp(-v)));
}

//# clamp needs each
/// min(max(x, low), high).
fn clamp(arena: &mut [f32], x: usize, y: usize, count: usize, low: f32, high: f32) {
    each(arena, x, y, count, |v| if v < low { low } else if v > high { high } else { v });
}

//# hard_sigmoid needs each
/// min(max(x + 3, 0), 6) / 6.
fn hard_sigmoid(arena: &mut [f32], x: usize, y: usize, count: usize) {
    each(arena, x, y, count, |v| (v + 3.0).max(0.0).min(6.0) / 6.0);
}

//# hard_swish needs each
/// x times its hard sigmoid.
fn hard_swish(arena: &mut [f32], x: usize, y: usize, count: usize) {
    each(arena, x, y, count, |v| v * (v + 3.0).max(0.0).min(6.0) / 6.0);
}

//# part_norm needs sqrt
/// Instance or group norm: every part of channels / parts channels gets mean 0 and variance 1, then scale and shift.
fn part_norm(
    arena: &mut [f32],
    x: usize,
    y: usize,
    scale: &[f32],
    shift: &[f32],
    channels: usize,
    pixels: usize,
    parts: usize,
    eps: f32,
) {
    let count = channels / parts * pixels;
    for part in 0..parts {
        let start = part * count;
        let (mut mean, mut variance) = (0.0, 0.0);
        for i in 0..count {
            mean += (arena[x + start + i] - mean) / (i + 1) as f32;
        }
        for i in 0..count {
            let d = arena[x + start + i] - mean;
            variance += (d * d - variance) / (i + 1) as f32;
        }
        let deviation = sqrt(variance + eps);
        for i in 0..count {
            let channel = part * (channels / parts) + i / pixels;
            arena[y + start + i] = (arena[x + start + i] - mean) / deviation * scale[channel] + shift[channel];
        }
    }
}

//# upsample_nearest
/// Every pixel factor_rows x factor_columns times.
fn upsample_nearest(
    arena: &mut [f32],
    x: usize,
    y: usize,
    channels: usize,
    rows: usize,
    columns: usize,
    factor_rows: usize,
    factor_columns: usize,
) {
    let mut to = y;
    for channel in 0..channels {
        for row in 0..rows * factor_rows {
            for column in 0..columns * factor_columns {
                arena[to] = arena[x + (channel * rows + row / factor_rows) * columns + column / factor_columns];
                to += 1;
            }
        }
    }
}

//# upsample_bilinear
/// The pixel before output `at`, the one behind it, and its share: bilinear between the centres of pixels, or
/// (`corners`) with the corner pixels at the corners.
fn between(at: usize, n: usize, factor: usize, corners: bool) -> (usize, usize, f32) {
    let (position, unit) =
        if corners { (at * (n - 1), n * factor - 1) } else { ((2 * at + 1).saturating_sub(factor), 2 * factor) };
    let before = position / unit;
    (before, (before + 1).min(n - 1), (position % unit) as f32 / unit as f32)
}

/// Bilinear enlargement.
fn upsample_bilinear(
    arena: &mut [f32],
    x: usize,
    y: usize,
    channels: usize,
    rows: usize,
    columns: usize,
    factor_rows: usize,
    factor_columns: usize,
    corners: bool,
) {
    let mut to = y;
    for channel in 0..channels {
        let plane = x + channel * rows * columns;
        for row in 0..rows * factor_rows {
            let (above, below, share_r) = between(row, rows, factor_rows, corners);
            for column in 0..columns * factor_columns {
                let (left, right, share_c) = between(column, columns, factor_columns, corners);
                let mixed = |row: usize| {
                    let (a, b) = (arena[plane + row * columns + left], arena[plane + row * columns + right]);
                    a + share_c * (b - a)
                };
                let (top, bottom) = (mixed(above), mixed(below));
                arena[to] = top + share_r * (bottom - top);
                to += 1;
            }
        }
    }
}

//# pad
/// The pixel of an axis of n that stands at `at` of the padded one: mode 0 none outside, 1 the nearest, 2 mirrored.
fn padded(at: usize, before: usize, n: usize, mode: usize) -> Option<usize> {
    match mode {
        1 => Some(at.saturating_sub(before).min(n - 1)),
        2 if at < before => Some(before - at),
        2 if at >= before + n => Some(2 * n - 2 + before - at),
        _ => at.checked_sub(before).filter(|&i| i < n),
    }
}

/// x with rows and columns around it: mode 0 zeros, 1 the nearest pixel, 2 x mirrored at its outermost pixels.
fn pad(
    arena: &mut [f32],
    x: usize,
    y: usize,
    channels: usize,
    rows: usize,
    columns: usize,
    out_rows: usize,
    out_columns: usize,
    above: usize,
    left: usize,
    mode: usize,
) {
    let mut to = y;
    for channel in 0..channels {
        for row in 0..out_rows {
            for column in 0..out_columns {
                arena[to] = match (padded(row, above, rows, mode), padded(column, left, columns, mode)) {
                    (Some(r), Some(c)) => arena[x + (channel * rows + r) * columns + c],
                    _ => 0.0,
                };
                to += 1;
            }
        }
    }
}

//# add
/// The sum of tensors; y may be the first.
fn add(arena: &mut [f32], xs: &[usize], y: usize, count: usize) {
    for i in 0..count {
        arena[y + i] = xs.iter().map(|x| arena[x + i]).sum();
    }
}

//# mul
/// x times a gate of as many or one channel and as many or one pixel; y may be x.
fn mul(
    arena: &mut [f32],
    x: usize,
    gate: usize,
    y: usize,
    channels: usize,
    pixels: usize,
    gate_channels: usize,
    gate_pixels: usize,
) {
    for channel in 0..channels {
        let plane = gate + if gate_channels == 1 { 0 } else { channel } * gate_pixels;
        for i in 0..pixels {
            let share = arena[plane + if gate_pixels == 1 { 0 } else { i }];
            arena[y + channel * pixels + i] = arena[x + channel * pixels + i] * share;
        }
    }
}

//# copy
/// y = x.
fn copy(arena: &mut [f32], x: usize, y: usize, count: usize) {
    arena.copy_within(x..x + count, y);
}

//# reflect
/// The pixel that stands at `position` when a line of n pixels is mirrored at its ends again and again.
fn reflect(position: usize, n: usize) -> usize {
    let period = if n > 1 { 2 * (n - 1) } else { 1 };
    let p = position % period;
    if p < n { p } else { period - p }
}

//# read_image needs reflect
/// (value - mean) / std of every channel, continued by reflection at the bottom and on the right.
fn read_image(image: &[f32], arena: &mut [f32], x: usize, mean: &[f32], std: &[f32]) {
    let mut to = x;
    for channel in 0..CHANNELS {
        for row in 0..PADDED_ROWS {
            for column in 0..PADDED_COLUMNS {
                let from = (channel * ROWS + reflect(row, ROWS)) * COLUMNS + reflect(column, COLUMNS);
                arena[to] = (image[from] - mean[channel]) / std[channel];
                to += 1;
            }
        }
    }
}

//# share_exp needs exp
/// What the logit z counts in its pixel's probabilities; exp(-most) is a common factor, so that nothing overflows.
fn share(z: f32, most: f32) -> f32 {
    exp(z - most)
}

//# share_sigmoid needs exp
/// What the logit z counts in its pixel's probabilities: its sigmoid, times a common factor where all are tiny.
fn share(z: f32, most: f32) -> f32 {
    let common = if most < 0.0 { most } else { 0.0 };
    if z >= 0.0 { 1.0 / (1.0 + exp(-z)) } else { exp(z - common) / (1.0 + exp(z)) }
}

//# write_probabilities
/// The probabilities of the classes of every pixel of the image, which sum to 1.
fn write_probabilities(arena: &[f32], logits: usize, probabilities: &mut [f32]) {
    let (from_pixels, to_pixels) = (PADDED_ROWS * PADDED_COLUMNS, ROWS * COLUMNS);
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let z = |k: usize| arena[logits + k * from_pixels + row * PADDED_COLUMNS + column];
            let most = (1..CLASSES).fold(z(0), |m, k| if z(k) > m { z(k) } else { m });
            let total: f32 = (0..CLASSES).map(|k| share(z(k), most)).sum();
            for k in 0..CLASSES {
                probabilities[k * to_pixels + row * COLUMNS + column] = share(z(k), most) / total;
            }
        }
    }
}
