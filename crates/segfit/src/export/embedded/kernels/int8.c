//# types
/* Where a kernel or window lies; a tensor is [channels][rows][columns]. */
typedef struct {
    int32_t in_channels, in_rows, in_columns;
    int32_t out_channels, out_rows, out_columns;
    int32_t kernel_rows, kernel_columns;
    int32_t stride_rows, stride_columns;
    int32_t padding_rows, padding_columns;
    int32_t dilation_rows, dilation_columns;
    int32_t groups;
} segfit_int8_geometry;

/* How a layer's sums become values of the next tensor: the bias of an output channel is in units of its sums, its
 * factor is multiplier * 2^-shift. A value q of a tensor stands for scale * (q + offset), offset 0 or, where nothing
 * is negative, 128. */
typedef struct {
    const uint8_t *x_offset; /* of every input channel */
    const int32_t *bias;     /* of every output channel */
    const int32_t *multiplier;
    const uint8_t *shift;
    int32_t y_offset;
} segfit_int8_units;

//# shifted
/* sum * 2^-shift to the nearest integer, halves up, cut off far outside of int8 and int16. The shift of a negative
 * number is the arithmetic one of every compiler in use. */
static int32_t segfit_int8_shifted(int64_t sum, int32_t shift)
{
    const int64_t value = (sum + ((int64_t)1 << (shift - 1))) >> shift;
    return (int32_t)(value < -100000 ? -100000 : value > 100000 ? 100000 : value);
}

//# to_int8
/* The nearest value of an int8 tensor. */
static int8_t segfit_int8_to_int8(int32_t value, int32_t offset)
{
    value -= offset;
    return (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
}

//# write_int16
/* Logits have 16 bits, low byte first. */
static void segfit_int8_write_int16(int8_t *to, int32_t value)
{
    const uint32_t bits = (uint32_t)(value < -32767 ? -32767 : value > 32767 ? 32767 : value);
    to[0] = (int8_t)((int32_t)(bits & 255u) - ((bits & 128u) != 0u ? 256 : 0));
    to[1] = (int8_t)((int32_t)(bits >> 8 & 255u) - ((bits & 32768u) != 0u ? 256 : 0));
}

//# read_int16
static int32_t segfit_int8_read_int16(const int8_t *from)
{
    return (int32_t)from[1] * 256 + ((int32_t)from[0] & 255);
}

//# conv_sum needs types
/* The sum of one output pixel of a convolution: over the inputs of the group and the kernel, weight * (x + offset).
 * */
static int32_t segfit_int8_conv_sum(const int8_t *x, const int8_t *weight, const uint8_t *x_offset,
                                    const segfit_int8_geometry *g, int32_t o, int32_t row, int32_t column)
{
    const int32_t inputs = g->in_channels / g->groups, first = o / (g->out_channels / g->groups) * inputs;
    int32_t i, a, b, sum = 0;
    weight += o * inputs * g->kernel_rows * g->kernel_columns;
    for (i = first; i < first + inputs; i++) {
        const int32_t offset = x_offset[i];
        for (a = 0; a < g->kernel_rows; a++) {
            const int32_t r = row * g->stride_rows + a * g->dilation_rows - g->padding_rows;
            const int8_t *from;
            if (r < 0 || r >= g->in_rows) {
                weight += g->kernel_columns;
                continue;
            }
            from = x + (i * g->in_rows + r) * g->in_columns;
            for (b = 0; b < g->kernel_columns; b++, weight++) {
                const int32_t c = column * g->stride_columns + b * g->dilation_columns - g->padding_columns;
                if (c >= 0 && c < g->in_columns) {
                    sum += *weight * (from[c] + offset);
                }
            }
        }
    }
    return sum;
}

//# conv2d needs conv_sum shifted to_int8
/* Convolution; where nothing of y is negative, the lower end of int8 is its ReLU. */
static void segfit_int8_conv2d(const int8_t *x, int8_t *y, const int8_t *weight, const segfit_int8_units *u,
                               const segfit_int8_geometry *g)
{
    int32_t o, row, column;
    for (o = 0; o < g->out_channels; o++) {
        for (row = 0; row < g->out_rows; row++) {
            for (column = 0; column < g->out_columns; column++) {
                const int64_t sum =
                    (int64_t)segfit_int8_conv_sum(x, weight, u->x_offset, g, o, row, column) + u->bias[o];
                *y++ = segfit_int8_to_int8(segfit_int8_shifted(sum * u->multiplier[o], u->shift[o]), u->y_offset);
            }
        }
    }
}

//# conv2d_logits needs conv_sum shifted write_int16
/* The last convolution, whose values have 16 bits. */
static void segfit_int8_conv2d_logits(const int8_t *x, int8_t *y, const int8_t *weight, const segfit_int8_units *u,
                                      const segfit_int8_geometry *g)
{
    int32_t o, row, column;
    for (o = 0; o < g->out_channels; o++) {
        for (row = 0; row < g->out_rows; row++) {
            for (column = 0; column < g->out_columns; column++, y += 2) {
                const int64_t sum =
                    (int64_t)segfit_int8_conv_sum(x, weight, u->x_offset, g, o, row, column) + u->bias[o];
                segfit_int8_write_int16(y, segfit_int8_shifted(sum * u->multiplier[o], u->shift[o]));
            }
        }
    }
}

//# conv_transpose2d needs types shifted to_int8
/* Transposed convolution: the pixels of x whose kernel covers a pixel of y, times weight[i][o]. */
static void segfit_int8_conv_transpose2d(const int8_t *x, int8_t *y, const int8_t *weight, const segfit_int8_units *u,
                                         const segfit_int8_geometry *g)
{
    const int32_t area = g->kernel_rows * g->kernel_columns;
    int32_t o, i, a, b, row, column;
    for (o = 0; o < g->out_channels; o++) {
        for (row = 0; row < g->out_rows; row++) {
            for (column = 0; column < g->out_columns; column++) {
                int64_t sum = u->bias[o];
                for (a = (row + g->padding_rows) % g->stride_rows; a < g->kernel_rows; a += g->stride_rows) {
                    const int32_t r = (row + g->padding_rows - a) / g->stride_rows;
                    if (row + g->padding_rows < a || r >= g->in_rows) {
                        continue;
                    }
                    for (b = (column + g->padding_columns) % g->stride_columns; b < g->kernel_columns;
                         b += g->stride_columns) {
                        const int32_t c = (column + g->padding_columns - b) / g->stride_columns;
                        if (column + g->padding_columns < b || c >= g->in_columns) {
                            continue;
                        }
                        for (i = 0; i < g->in_channels; i++) {
                            sum += weight[(i * g->out_channels + o) * area + a * g->kernel_columns + b] *
                                   (x[(i * g->in_rows + r) * g->in_columns + c] + u->x_offset[i]);
                        }
                    }
                }
                *y++ = segfit_int8_to_int8(segfit_int8_shifted(sum * u->multiplier[o], u->shift[o]), u->y_offset);
            }
        }
    }
}

//# max_pool2d needs types
/* The largest pixel of each window; pixels outside of x do not count. */
static void segfit_int8_max_pool2d(const int8_t *x, int8_t *y, const segfit_int8_geometry *g)
{
    int32_t channel, row, column, a, b;
    for (channel = 0; channel < g->in_channels; channel++) {
        const int8_t *from = x + channel * g->in_rows * g->in_columns;
        for (row = 0; row < g->out_rows; row++) {
            for (column = 0; column < g->out_columns; column++) {
                int8_t most = -128;
                for (a = 0; a < g->kernel_rows; a++) {
                    for (b = 0; b < g->kernel_columns; b++) {
                        const int32_t r = row * g->stride_rows + a - g->padding_rows;
                        const int32_t c = column * g->stride_columns + b - g->padding_columns;
                        if (r >= 0 && r < g->in_rows && c >= 0 && c < g->in_columns) {
                            const int8_t value = from[r * g->in_columns + c];
                            most = value > most ? value : most;
                        }
                    }
                }
                *y++ = most;
            }
        }
    }
}

//# divided
/* n / d to the nearest integer, halves up; d is positive. */
static int32_t segfit_int8_divided(int32_t n, int32_t d)
{
    const int32_t doubled = 2 * n + d;
    return doubled >= 0 ? doubled / (2 * d) : -((-doubled + 2 * d - 1) / (2 * d));
}

//# average_pool2d needs types divided
/* The mean of each window: of its pixels inside of x, or of all with zeros outside (`count_padding`). */
static void segfit_int8_average_pool2d(const int8_t *x, int8_t *y, const segfit_int8_geometry *g,
                                       const uint8_t *x_offset, int count_padding)
{
    int32_t channel, row, column, a, b;
    for (channel = 0; channel < g->in_channels; channel++) {
        const int8_t *from = x + channel * g->in_rows * g->in_columns;
        const int32_t offset = x_offset[channel];
        for (row = 0; row < g->out_rows; row++) {
            for (column = 0; column < g->out_columns; column++) {
                int32_t sum = 0, count = 0;
                for (a = 0; a < g->kernel_rows; a++) {
                    for (b = 0; b < g->kernel_columns; b++) {
                        const int32_t r = row * g->stride_rows + a - g->padding_rows;
                        const int32_t c = column * g->stride_columns + b - g->padding_columns;
                        if (r >= 0 && r < g->in_rows && c >= 0 && c < g->in_columns) {
                            sum += from[r * g->in_columns + c] + offset;
                            count++;
                        }
                    }
                }
                count = count_padding ? g->kernel_rows * g->kernel_columns : count;
                *y++ = (int8_t)(segfit_int8_divided(sum, count) - offset);
            }
        }
    }
}

//# global_average_pool needs divided
/* The mean of every channel. */
static void segfit_int8_global_average_pool(const int8_t *x, int8_t *y, int32_t channels, int32_t pixels)
{
    int32_t channel, i;
    for (channel = 0; channel < channels; channel++) {
        int32_t sum = 0;
        for (i = 0; i < pixels; i++) {
            sum += x[channel * pixels + i];
        }
        y[channel] = (int8_t)segfit_int8_divided(sum, pixels);
    }
}

//# table
/* A function of single values, read from its table; y may be x. */
static void segfit_int8_table(const int8_t *x, int8_t *y, const int8_t *table, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = table[x[i] + 128];
    }
}

//# upsample_nearest
/* Every pixel factor_rows x factor_columns times. */
static void segfit_int8_upsample_nearest(const int8_t *x, int8_t *y, int32_t channels, int32_t rows, int32_t columns,
                                         int32_t factor_rows, int32_t factor_columns)
{
    int32_t channel, row, column;
    for (channel = 0; channel < channels; channel++) {
        for (row = 0; row < rows * factor_rows; row++) {
            for (column = 0; column < columns * factor_columns; column++) {
                *y++ = x[(channel * rows + row / factor_rows) * columns + column / factor_columns];
            }
        }
    }
}

//# upsample_bilinear needs divided
/* Bilinear: between the centres of pixels, or (`corners`) with the corner pixels at the corners. */
static void segfit_int8_upsample_bilinear(const int8_t *x, int8_t *y, int32_t channels, int32_t rows, int32_t columns,
                                          int32_t factor_rows, int32_t factor_columns, int corners)
{
    /* The position of output j is (j * step + start) / unit, at least 0. */
    const int32_t step_r = corners ? rows - 1 : 2, start_r = corners ? 0 : 1 - factor_rows;
    const int32_t unit_r = corners ? rows * factor_rows - 1 : 2 * factor_rows;
    const int32_t step_c = corners ? columns - 1 : 2, start_c = corners ? 0 : 1 - factor_columns;
    const int32_t unit_c = corners ? columns * factor_columns - 1 : 2 * factor_columns;
    int32_t channel, row, column;
    for (channel = 0; channel < channels; channel++) {
        const int8_t *from = x + channel * rows * columns;
        for (row = 0; row < rows * factor_rows; row++) {
            const int32_t r = row * step_r + start_r > 0 ? row * step_r + start_r : 0;
            const int8_t *above = from + r / unit_r * columns;
            const int8_t *below = r / unit_r + 1 < rows ? above + columns : above;
            const int32_t share_r = r % unit_r;
            for (column = 0; column < columns * factor_columns; column++) {
                const int32_t c = column * step_c + start_c > 0 ? column * step_c + start_c : 0;
                const int32_t left = c / unit_c, right = left + 1 < columns ? left + 1 : left;
                const int32_t share_c = c % unit_c;
                const int32_t top = (unit_c - share_c) * above[left] + share_c * above[right];
                const int32_t bottom = (unit_c - share_c) * below[left] + share_c * below[right];
                const int32_t sum = (unit_r - share_r) * top + share_r * bottom;
                *y++ = (int8_t)segfit_int8_divided(sum, unit_r * unit_c);
            }
        }
    }
}

//# pad
/* x with rows and columns around it: mode 0 zeros, 1 the nearest pixel, 2 x mirrored at its outermost pixels. */
static void segfit_int8_pad(const int8_t *x, int8_t *y, const uint8_t *x_offset, int32_t channels, int32_t rows,
                            int32_t columns, int32_t out_rows, int32_t out_columns, int32_t above, int32_t left,
                            int mode)
{
    int32_t channel, row, column;
    for (channel = 0; channel < channels; channel++) {
        const int8_t zero = (int8_t)-x_offset[channel];
        for (row = 0; row < out_rows; row++) {
            for (column = 0; column < out_columns; column++) {
                int32_t r = row - above, c = column - left;
                if (mode == 1) {
                    r = r < 0 ? 0 : r >= rows ? rows - 1 : r;
                    c = c < 0 ? 0 : c >= columns ? columns - 1 : c;
                } else if (mode == 2) {
                    r = r < 0 ? -r : r >= rows ? 2 * rows - 2 - r : r;
                    c = c < 0 ? -c : c >= columns ? 2 * columns - 2 - c : c;
                }
                *y++ = r < 0 || r >= rows || c < 0 || c >= columns ? zero : x[(channel * rows + r) * columns + c];
            }
        }
    }
}

//# add_sum needs shifted
/* The sum of one pixel of n tensors, each times its channel's multiplier, [tensor][channel], times 2^-shift. */
static int32_t segfit_int8_add_sum(const int8_t *const *xs, int32_t n, int32_t channels, int32_t channel, int32_t at,
                                   const uint8_t *x_offset, const int32_t *multiplier, int32_t shift)
{
    int64_t sum = 0;
    int32_t k;
    for (k = 0; k < n; k++) {
        sum += (int64_t)multiplier[k * channels + channel] * (xs[k][at] + x_offset[k * channels + channel]);
    }
    return segfit_int8_shifted(sum, shift);
}

//# add needs add_sum to_int8
/* The sum of n tensors; y may be the first. */
static void segfit_int8_add(const int8_t *const *xs, int32_t n, int8_t *y, int32_t channels, int32_t pixels,
                            const uint8_t *x_offset, const int32_t *multiplier, int32_t shift, int32_t y_offset)
{
    int32_t i;
    for (i = 0; i < channels * pixels; i++) {
        const int32_t sum = segfit_int8_add_sum(xs, n, channels, i / pixels, i, x_offset, multiplier, shift);
        y[i] = segfit_int8_to_int8(sum, y_offset);
    }
}

//# add_logits needs add_sum write_int16
/* The last sum, whose values have 16 bits. */
static void segfit_int8_add_logits(const int8_t *const *xs, int32_t n, int8_t *y, int32_t channels, int32_t pixels,
                                   const uint8_t *x_offset, const int32_t *multiplier, int32_t shift)
{
    int32_t i;
    for (i = 0; i < channels * pixels; i++) {
        const int32_t sum = segfit_int8_add_sum(xs, n, channels, i / pixels, i, x_offset, multiplier, shift);
        segfit_int8_write_int16(y + 2 * i, sum);
    }
}

//# mul needs shifted to_int8
/* x times a gate of as many or one channel and as many or one pixel; y may be x. */
static void segfit_int8_mul(const int8_t *x, const int8_t *gate, int8_t *y, int32_t channels, int32_t pixels,
                            int32_t gate_channels, int32_t gate_pixels, const uint8_t *x_offset,
                            const uint8_t *gate_offset, const int32_t *multiplier, const uint8_t *shift,
                            int32_t y_offset)
{
    int32_t channel, i;
    for (channel = 0; channel < channels; channel++) {
        const int32_t from = gate_channels == 1 ? 0 : channel;
        for (i = 0; i < pixels; i++) {
            const int32_t value = x[channel * pixels + i] + x_offset[channel];
            const int32_t share = gate[from * gate_pixels + (gate_pixels == 1 ? 0 : i)] + gate_offset[from];
            y[channel * pixels + i] = segfit_int8_to_int8(
                segfit_int8_shifted((int64_t)value * share * multiplier[channel], shift[channel]), y_offset);
        }
    }
}

//# copy
/* y = x. */
static void segfit_int8_copy(const int8_t *x, int8_t *y, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = x[i];
    }
}

//# reflect
/* The pixel that stands at `position` when a line of n pixels is mirrored at its ends again and again. */
static int32_t segfit_int8_reflect(int32_t position, int32_t n)
{
    const int32_t period = n > 1 ? 2 * (n - 1) : 1;
    const int32_t p = position % period;
    return p < n ? p : period - p;
}

//# read_image needs reflect
/* value * factor + shift of every channel, to the nearest integer, continued by reflection at the bottom and on the
 * right. */
static void segfit_int8_read_image(const float *image, int8_t *x, const float *factor, const float *shift)
{
    int32_t channel, row, column;
    for (channel = 0; channel < SEGFIT_INT8_CHANNELS; channel++) {
        const float *from = image + channel * SEGFIT_INT8_ROWS * SEGFIT_INT8_COLUMNS;
        for (row = 0; row < SEGFIT_INT8_PADDED_ROWS; row++) {
            for (column = 0; column < SEGFIT_INT8_PADDED_COLUMNS; column++) {
                const int32_t r = segfit_int8_reflect(row, SEGFIT_INT8_ROWS);
                const int32_t c = segfit_int8_reflect(column, SEGFIT_INT8_COLUMNS);
                const float v = from[r * SEGFIT_INT8_COLUMNS + c] * factor[channel] + shift[channel];
                *x++ = (int8_t)(v <= -128.0f ? -128 : v >= 127.0f ? 127 : (int32_t)(v < 0.0f ? v - 0.5f : v + 0.5f));
            }
        }
    }
}

//# read_bytes needs reflect
/* As read_image, from bytes: every channel has a table of its 256 values. */
static void segfit_int8_read_bytes(const uint8_t *image, int8_t *x, const int8_t *tables)
{
    int32_t channel, row, column;
    for (channel = 0; channel < SEGFIT_INT8_CHANNELS; channel++) {
        const uint8_t *from = image + channel * SEGFIT_INT8_ROWS * SEGFIT_INT8_COLUMNS;
        for (row = 0; row < SEGFIT_INT8_PADDED_ROWS; row++) {
            for (column = 0; column < SEGFIT_INT8_PADDED_COLUMNS; column++) {
                const int32_t r = segfit_int8_reflect(row, SEGFIT_INT8_ROWS);
                const int32_t c = segfit_int8_reflect(column, SEGFIT_INT8_COLUMNS);
                *x++ = tables[channel * 256 + from[r * SEGFIT_INT8_COLUMNS + c]];
            }
        }
    }
}

//# share_exp
/* What the logit z counts in its pixel's probabilities; exp(-most) is a common factor, so that nothing overflows. */
static float segfit_int8_share(float z, float most)
{
    return expf(z - most);
}

//# share_sigmoid
/* What the logit z counts in its pixel's probabilities: its sigmoid, times a common factor where all are tiny. */
static float segfit_int8_share(float z, float most)
{
    const float common = most < 0.0f ? most : 0.0f;
    return z >= 0.0f ? 1.0f / (1.0f + expf(-z)) : expf(z - common) / (1.0f + expf(z));
}

//# write_probabilities needs read_int16
/* The probabilities of the classes of every pixel of the image, which sum to 1; the only floats are here. */
static void segfit_int8_write_probabilities(const int8_t *logits, float *probabilities, float scale)
{
    const int32_t from_pixels = SEGFIT_INT8_PADDED_ROWS * SEGFIT_INT8_PADDED_COLUMNS;
    const int32_t to_pixels = SEGFIT_INT8_ROWS * SEGFIT_INT8_COLUMNS;
    int32_t row, column, k;
    for (row = 0; row < SEGFIT_INT8_ROWS; row++) {
        for (column = 0; column < SEGFIT_INT8_COLUMNS; column++) {
            const int8_t *z = logits + 2 * (row * SEGFIT_INT8_PADDED_COLUMNS + column);
            float *p = probabilities + row * SEGFIT_INT8_COLUMNS + column;
            int32_t most = segfit_int8_read_int16(z);
            float total = 0.0f;
            for (k = 1; k < SEGFIT_INT8_CLASSES; k++) {
                const int32_t value = segfit_int8_read_int16(z + 2 * k * from_pixels);
                most = value > most ? value : most;
            }
            for (k = 0; k < SEGFIT_INT8_CLASSES; k++) {
                const float value = (float)segfit_int8_read_int16(z + 2 * k * from_pixels);
                p[k * to_pixels] = segfit_int8_share(value * scale, (float)most * scale);
                total += p[k * to_pixels];
            }
            for (k = 0; k < SEGFIT_INT8_CLASSES; k++) {
                p[k * to_pixels] /= total;
            }
        }
    }
}

//# write_labels needs read_int16
/* The most probable class of every pixel of the image, the lower one on a tie. */
static void segfit_int8_write_labels(const int8_t *logits, uint8_t *labels)
{
    const int32_t pixels = SEGFIT_INT8_PADDED_ROWS * SEGFIT_INT8_PADDED_COLUMNS;
    int32_t row, column, k;
    for (row = 0; row < SEGFIT_INT8_ROWS; row++) {
        for (column = 0; column < SEGFIT_INT8_COLUMNS; column++) {
            const int8_t *z = logits + 2 * (row * SEGFIT_INT8_PADDED_COLUMNS + column);
            int32_t best = 0, most = segfit_int8_read_int16(z);
            for (k = 1; k < SEGFIT_INT8_CLASSES; k++) {
                const int32_t value = segfit_int8_read_int16(z + 2 * k * pixels);
                if (value > most) {
                    most = value;
                    best = k;
                }
            }
            labels[row * SEGFIT_INT8_COLUMNS + column] = (uint8_t)best;
        }
    }
}
