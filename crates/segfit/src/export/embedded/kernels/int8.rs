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

/// How a layer's sums become values of the next tensor: the bias of an output channel is in units of its sums, its
/// factor is multiplier * 2^-shift. A value q of a tensor stands for scale * (q + offset), offset 0 or, where nothing
/// is negative, 128.
struct Units {
    /// Of every input channel.
    x_offset: &'static [u8],
    /// Of every output channel.
    bias: &'static [i32],
    multiplier: &'static [i32],
    shift: &'static [u8],
    y_offset: i32,
}

//# shifted
/// sum * 2^-shift to the nearest integer, halves up, cut off far outside of int8 and int16.
fn shifted(sum: i64, shift: u8) -> i32 {
    ((sum + (1_i64 << (shift - 1))) >> shift).clamp(-100_000, 100_000) as i32
}

//# to_int8
/// The nearest value of an int8 tensor.
fn to_int8(value: i32, offset: i32) -> i8 {
    (value - offset).clamp(-128, 127) as i8
}

//# write_int16
/// Logits have 16 bits, low byte first.
fn write_int16(arena: &mut [i8], at: usize, value: i32) {
    let [low, high] = (value.clamp(-32767, 32767) as i16).to_le_bytes();
    arena[at] = low as i8;
    arena[at + 1] = high as i8;
}

//# read_int16
/// A logit.
fn read_int16(arena: &[i8], at: usize) -> i32 {
    i32::from(i16::from_le_bytes([arena[at] as u8, arena[at + 1] as u8]))
}

//# conv_sum needs types
/// The sum of one output pixel of a convolution: over the inputs of the group and the kernel, weight * (x + offset).
fn conv_sum(
    arena: &[i8],
    x: usize,
    weight: &[i8],
    x_offset: &[u8],
    g: &Geometry,
    (o, row, column): (usize, usize, usize),
) -> i32 {
    let inputs = g.in_channels / g.groups;
    let first = o / (g.out_channels / g.groups) * inputs;
    let area = g.kernel_rows * g.kernel_columns;
    let mut sum = 0;
    for i in first..first + inputs {
        let offset = i32::from(x_offset[i]);
        let kernel = &weight[(o * inputs + i - first) * area..][..area];
        for a in 0..g.kernel_rows {
            let r = row * g.stride_rows + a * g.dilation_rows;
            if r < g.padding_rows || r >= g.padding_rows + g.in_rows {
                continue;
            }
            let from = x + (i * g.in_rows + r - g.padding_rows) * g.in_columns;
            for b in 0..g.kernel_columns {
                let c = column * g.stride_columns + b * g.dilation_columns;
                if c >= g.padding_columns && c < g.padding_columns + g.in_columns {
                    let value = i32::from(arena[from + c - g.padding_columns]) + offset;
                    sum += i32::from(kernel[a * g.kernel_columns + b]) * value;
                }
            }
        }
    }
    sum
}

//# conv2d needs conv_sum shifted to_int8
/// Convolution; where nothing of y is negative, the lower end of int8 is its ReLU.
fn conv2d(arena: &mut [i8], x: usize, y: usize, weight: &[i8], u: &Units, g: &Geometry) {
    let mut to = y;
    for o in 0..g.out_channels {
        for row in 0..g.out_rows {
            for column in 0..g.out_columns {
                let sum = i64::from(conv_sum(arena, x, weight, u.x_offset, g, (o, row, column))) + i64::from(u.bias[o]);
                arena[to] = to_int8(shifted(sum * i64::from(u.multiplier[o]), u.shift[o]), u.y_offset);
                to += 1;
            }
        }
    }
}

//# conv2d_logits needs conv_sum shifted write_int16
/// The last convolution, whose values have 16 bits.
fn conv2d_logits(arena: &mut [i8], x: usize, y: usize, weight: &[i8], u: &Units, g: &Geometry) {
    let mut to = y;
    for o in 0..g.out_channels {
        for row in 0..g.out_rows {
            for column in 0..g.out_columns {
                let sum = i64::from(conv_sum(arena, x, weight, u.x_offset, g, (o, row, column))) + i64::from(u.bias[o]);
                write_int16(arena, to, shifted(sum * i64::from(u.multiplier[o]), u.shift[o]));
                to += 2;
            }
        }
    }
}

//# conv_transpose2d needs types shifted to_int8
/// Transposed convolution: the pixels of x whose kernel covers a pixel of y, times weight[i][o].
fn conv_transpose2d(arena: &mut [i8], x: usize, y: usize, weight: &[i8], u: &Units, g: &Geometry) {
    let area = g.kernel_rows * g.kernel_columns;
    let mut to = y;
    for o in 0..g.out_channels {
        for (row, column) in (0..g.out_rows).flat_map(|row| (0..g.out_columns).map(move |column| (row, column))) {
            let (down, right) = (row + g.padding_rows, column + g.padding_columns);
            let mut sum = i64::from(u.bias[o]);
            for a in (down % g.stride_rows..g.kernel_rows.min(down + 1)).step_by(g.stride_rows) {
                let r = (down - a) / g.stride_rows;
                if r >= g.in_rows {
                    continue;
                }
                for b in (right % g.stride_columns..g.kernel_columns.min(right + 1)).step_by(g.stride_columns) {
                    let c = (right - b) / g.stride_columns;
                    if c >= g.in_columns {
                        continue;
                    }
                    for i in 0..g.in_channels {
                        let w = weight[(i * g.out_channels + o) * area + a * g.kernel_columns + b];
                        let value = i32::from(arena[x + (i * g.in_rows + r) * g.in_columns + c]);
                        sum += i64::from(i32::from(w) * (value + i32::from(u.x_offset[i])));
                    }
                }
            }
            arena[to] = to_int8(shifted(sum * i64::from(u.multiplier[o]), u.shift[o]), u.y_offset);
            to += 1;
        }
    }
}

//# window
/// The pixels of an axis that window `at` covers: from and to.
fn window(at: usize, stride: usize, padding: usize, kernel: usize, n: usize) -> (usize, usize) {
    let start = at * stride;
    (start.saturating_sub(padding), (start + kernel).saturating_sub(padding).min(n))
}

//# max_pool2d needs types window
/// The largest pixel of each window; pixels outside of x do not count.
fn max_pool2d(arena: &mut [i8], x: usize, y: usize, g: &Geometry) {
    let mut to = y;
    for channel in 0..g.in_channels {
        let plane = x + channel * g.in_rows * g.in_columns;
        for row in 0..g.out_rows {
            let rows = window(row, g.stride_rows, g.padding_rows, g.kernel_rows, g.in_rows);
            for column in 0..g.out_columns {
                let columns = window(column, g.stride_columns, g.padding_columns, g.kernel_columns, g.in_columns);
                let mut most = -128;
                for r in rows.0..rows.1 {
                    for c in columns.0..columns.1 {
                        most = most.max(arena[plane + r * g.in_columns + c]);
                    }
                }
                arena[to] = most;
                to += 1;
            }
        }
    }
}

//# divided
/// n / d to the nearest integer, halves up; d is positive.
fn divided(n: i32, d: i32) -> i32 {
    (2 * n + d).div_euclid(2 * d)
}

//# average_pool2d needs types window divided
/// The mean of each window: of its pixels inside of x, or of all with zeros outside (`count_padding`).
fn average_pool2d(arena: &mut [i8], x: usize, y: usize, g: &Geometry, x_offset: &[u8], count_padding: bool) {
    let mut to = y;
    for channel in 0..g.in_channels {
        let plane = x + channel * g.in_rows * g.in_columns;
        let offset = i32::from(x_offset[channel]);
        for row in 0..g.out_rows {
            let rows = window(row, g.stride_rows, g.padding_rows, g.kernel_rows, g.in_rows);
            for column in 0..g.out_columns {
                let columns = window(column, g.stride_columns, g.padding_columns, g.kernel_columns, g.in_columns);
                let mut sum = 0;
                for r in rows.0..rows.1 {
                    for c in columns.0..columns.1 {
                        sum += i32::from(arena[plane + r * g.in_columns + c]) + offset;
                    }
                }
                let inside = (rows.1 - rows.0) * (columns.1 - columns.0);
                let count = if count_padding { g.kernel_rows * g.kernel_columns } else { inside };
                arena[to] = (divided(sum, count as i32) - offset) as i8;
                to += 1;
            }
        }
    }
}

//# global_average_pool needs divided
/// The mean of every channel.
fn global_average_pool(arena: &mut [i8], x: usize, y: usize, channels: usize, pixels: usize) {
    for channel in 0..channels {
        let plane = &arena[x + channel * pixels..x + (channel + 1) * pixels];
        let sum: i32 = plane.iter().map(|&v| i32::from(v)).sum();
        arena[y + channel] = divided(sum, pixels as i32) as i8;
    }
}

//# table
/// A function of single values, read from its table; y may be x.
fn table(arena: &mut [i8], x: usize, y: usize, table: &[i8], count: usize) {
    for i in 0..count {
        arena[y + i] = table[(i32::from(arena[x + i]) + 128) as usize];
    }
}

//# upsample_nearest
/// Every pixel factor_rows x factor_columns times.
fn upsample_nearest(
    arena: &mut [i8],
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

//# upsample_bilinear needs divided
/// The pixel before output `at`, the one behind it, its share and the unit of that: bilinear between the centres of
/// pixels, or (`corners`) with the corner pixels at the corners.
fn between(at: usize, n: usize, factor: usize, corners: bool) -> (usize, usize, i32, i32) {
    let (position, unit) =
        if corners { (at * (n - 1), n * factor - 1) } else { ((2 * at + 1).saturating_sub(factor), 2 * factor) };
    let before = position / unit;
    (before, (before + 1).min(n - 1), (position % unit) as i32, unit as i32)
}

/// Bilinear enlargement.
fn upsample_bilinear(
    arena: &mut [i8],
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
            let (above, below, share_r, unit_r) = between(row, rows, factor_rows, corners);
            for column in 0..columns * factor_columns {
                let (left, right, share_c, unit_c) = between(column, columns, factor_columns, corners);
                let mixed = |row: usize| {
                    let (a, b) = (arena[plane + row * columns + left], arena[plane + row * columns + right]);
                    (unit_c - share_c) * i32::from(a) + share_c * i32::from(b)
                };
                let sum = (unit_r - share_r) * mixed(above) + share_r * mixed(below);
                arena[to] = divided(sum, unit_r * unit_c) as i8;
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
    arena: &mut [i8],
    x: usize,
    y: usize,
    x_offset: &[u8],
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
        let zero = -i32::from(x_offset[channel]) as i8;
        for row in 0..out_rows {
            for column in 0..out_columns {
                arena[to] = match (padded(row, above, rows, mode), padded(column, left, columns, mode)) {
                    (Some(r), Some(c)) => arena[x + (channel * rows + r) * columns + c],
                    _ => zero,
                };
                to += 1;
            }
        }
    }
}

//# add_sum needs shifted
/// The sum of one pixel of tensors, each times its channel's multiplier, [tensor][channel], times 2^-shift.
fn add_sum(
    arena: &[i8],
    xs: &[usize],
    (channels, channel, at): (usize, usize, usize),
    x_offset: &[u8],
    multiplier: &[i32],
    shift: u8,
) -> i32 {
    let mut sum = 0_i64;
    for (k, x) in xs.iter().enumerate() {
        let of = k * channels + channel;
        sum += i64::from(multiplier[of]) * (i64::from(arena[x + at]) + i64::from(x_offset[of]));
    }
    shifted(sum, shift)
}

//# add needs add_sum to_int8
/// The sum of tensors; y may be the first.
fn add(
    arena: &mut [i8],
    xs: &[usize],
    y: usize,
    channels: usize,
    pixels: usize,
    x_offset: &[u8],
    multiplier: &[i32],
    shift: u8,
    y_offset: i32,
) {
    for i in 0..channels * pixels {
        let sum = add_sum(arena, xs, (channels, i / pixels, i), x_offset, multiplier, shift);
        arena[y + i] = to_int8(sum, y_offset);
    }
}

//# add_logits needs add_sum write_int16
/// The last sum, whose values have 16 bits.
fn add_logits(
    arena: &mut [i8],
    xs: &[usize],
    y: usize,
    channels: usize,
    pixels: usize,
    x_offset: &[u8],
    multiplier: &[i32],
    shift: u8,
) {
    for i in 0..channels * pixels {
        let sum = add_sum(arena, xs, (channels, i / pixels, i), x_offset, multiplier, shift);
        write_int16(arena, y + 2 * i, sum);
    }
}

//# mul needs shifted to_int8
/// x times a gate of as many or one channel and as many or one pixel; y may be x.
fn mul(
    arena: &mut [i8],
    x: usize,
    gate: usize,
    y: usize,
    channels: usize,
    pixels: usize,
    gate_channels: usize,
    gate_pixels: usize,
    x_offset: &[u8],
    gate_offset: &[u8],
    multiplier: &[i32],
    shift: &[u8],
    y_offset: i32,
) {
    for channel in 0..channels {
        let from = if gate_channels == 1 { 0 } else { channel };
        for i in 0..pixels {
            let value = i64::from(arena[x + channel * pixels + i]) + i64::from(x_offset[channel]);
            let share = i64::from(arena[gate + from * gate_pixels + if gate_pixels == 1 { 0 } else { i }]);
            let product = value * (share + i64::from(gate_offset[from]));
            let value = shifted(product * i64::from(multiplier[channel]), shift[channel]);
            arena[y + channel * pixels + i] = to_int8(value, y_offset);
        }
    }
}

//# copy
/// y = x.
fn copy(arena: &mut [i8], x: usize, y: usize, count: usize) {
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
/// value * factor + shift of every channel, to the nearest integer, continued by reflection at the bottom and on the
/// right.
fn read_image(image: &[f32], arena: &mut [i8], x: usize, factor: &[f32], shift: &[f32]) {
    let mut to = x;
    for channel in 0..CHANNELS {
        for row in 0..PADDED_ROWS {
            for column in 0..PADDED_COLUMNS {
                let from = (channel * ROWS + reflect(row, ROWS)) * COLUMNS + reflect(column, COLUMNS);
                let v = image[from] * factor[channel] + shift[channel];
                arena[to] = (if v < 0.0 { v - 0.5 } else { v + 0.5 }) as i8;
                to += 1;
            }
        }
    }
}

//# read_bytes needs reflect
/// As read_image, from bytes: every channel has a table of its 256 values.
fn read_bytes(image: &[u8], arena: &mut [i8], x: usize, tables: &[i8]) {
    let mut to = x;
    for channel in 0..CHANNELS {
        for row in 0..PADDED_ROWS {
            for column in 0..PADDED_COLUMNS {
                let from = (channel * ROWS + reflect(row, ROWS)) * COLUMNS + reflect(column, COLUMNS);
                arena[to] = tables[channel * 256 + image[from] as usize];
                to += 1;
            }
        }
    }
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

//# write_probabilities needs read_int16
/// The probabilities of the classes of every pixel of the image, which sum to 1; the only floats are here.
fn write_probabilities(arena: &[i8], logits: usize, probabilities: &mut [f32], scale: f32) {
    let (from_pixels, to_pixels) = (PADDED_ROWS * PADDED_COLUMNS, ROWS * COLUMNS);
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let at = |k: usize| logits + 2 * (k * from_pixels + row * PADDED_COLUMNS + column);
            let z = |k: usize| read_int16(arena, at(k)) as f32 * scale;
            let most = (1..CLASSES).fold(z(0), |m, k| if z(k) > m { z(k) } else { m });
            let total: f32 = (0..CLASSES).map(|k| share(z(k), most)).sum();
            for k in 0..CLASSES {
                probabilities[k * to_pixels + row * COLUMNS + column] = share(z(k), most) / total;
            }
        }
    }
}

//# write_labels needs read_int16
/// The most probable class of every pixel of the image, the lower one on a tie.
fn write_labels(arena: &[i8], logits: usize, labels: &mut [u8]) {
    let pixels = PADDED_ROWS * PADDED_COLUMNS;
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let z = |k: usize| read_int16(arena, logits + 2 * (k * pixels + row * PADDED_COLUMNS + column));
            let best = (1..CLASSES).fold(0, |best, k| if z(k) > z(best) { k } else { best });
            labels[row * COLUMNS + column] = best as u8;
        }
    }
}
