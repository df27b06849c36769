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
} segfit_geometry;

//# relu
/* max(x, 0) in place. */
static void segfit_relu(float *x, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        if (x[i] < 0.0f) {
            x[i] = 0.0f;
        }
    }
}

//# range
/* The first j for which j * stride + offset is not negative. */
static int32_t segfit_first(int32_t offset, int32_t stride)
{
    return offset < 0 ? (stride - 1 - offset) / stride : 0;
}

/* The number of j, at most `count`, for which j * stride + offset is less than n. */
static int32_t segfit_end(int32_t offset, int32_t stride, int32_t n, int32_t count)
{
    const int32_t end = n > offset ? (n - offset + stride - 1) / stride : 0;
    return end < count ? end : count;
}

//# conv2d needs types range relu
/* Convolution: y[o] = bias[o] + sum over the inputs i of its group and the kernel of weight[o][i] * x[i], zeros
 * around x. One kernel position after the other is added to a whole plane, so that the borders are settled outside of
 * the inner loop. */
static void segfit_conv2d(const float *x, float *y, const float *weight, const float *bias, const segfit_geometry *g,
                          int relu)
{
    const int32_t in_pixels = g->in_rows * g->in_columns, out_pixels = g->out_rows * g->out_columns;
    const int32_t inputs = g->in_channels / g->groups, outputs = g->out_channels / g->groups;
    int32_t o, i, a, b, row, column;
    for (o = 0; o < g->out_channels; o++) {
        for (i = 0; i < out_pixels; i++) {
            y[o * out_pixels + i] = bias[o];
        }
        for (i = 0; i < inputs; i++) {
            const float *plane = x + (o / outputs * inputs + i) * in_pixels;
            for (a = 0; a < g->kernel_rows; a++) {
                const int32_t down = a * g->dilation_rows - g->padding_rows;
                const int32_t end_row = segfit_end(down, g->stride_rows, g->in_rows, g->out_rows);
                for (b = 0; b < g->kernel_columns; b++, weight++) {
                    const int32_t right = b * g->dilation_columns - g->padding_columns;
                    const int32_t first = segfit_first(right, g->stride_columns);
                    const int32_t end = segfit_end(right, g->stride_columns, g->in_columns, g->out_columns);
                    const float w = *weight;
                    for (row = segfit_first(down, g->stride_rows); row < end_row; row++) {
                        const float *from = plane + (row * g->stride_rows + down) * g->in_columns;
                        float *to = y + o * out_pixels + row * g->out_columns;
                        for (column = first; column < end; column++) {
                            to[column] += w * from[column * g->stride_columns + right];
                        }
                    }
                }
            }
        }
    }
    if (relu) {
        segfit_relu(y, g->out_channels * out_pixels);
    }
}

//# conv_transpose2d needs types range relu
/* Transposed convolution: every pixel of x adds itself times weight[i][o] to the places of y that its kernel covers.
 * */
static void segfit_conv_transpose2d(const float *x, float *y, const float *weight, const float *bias,
                                    const segfit_geometry *g, int relu)
{
    const int32_t in_pixels = g->in_rows * g->in_columns, out_pixels = g->out_rows * g->out_columns;
    int32_t o, i, a, b, row, column;
    for (o = 0; o < g->out_channels; o++) {
        for (i = 0; i < out_pixels; i++) {
            y[o * out_pixels + i] = bias[o];
        }
    }
    for (i = 0; i < g->in_channels; i++) {
        for (o = 0; o < g->out_channels; o++) {
            for (a = 0; a < g->kernel_rows; a++) {
                const int32_t down = a - g->padding_rows;
                const int32_t end_row = segfit_end(down, g->stride_rows, g->out_rows, g->in_rows);
                for (b = 0; b < g->kernel_columns; b++, weight++) {
                    const int32_t right = b - g->padding_columns;
                    const int32_t first = segfit_first(right, g->stride_columns);
                    const int32_t end = segfit_end(right, g->stride_columns, g->out_columns, g->in_columns);
                    const float w = *weight;
                    for (row = segfit_first(down, g->stride_rows); row < end_row; row++) {
                        const float *from = x + i * in_pixels + row * g->in_columns;
                        float *to = y + o * out_pixels + (row * g->stride_rows + down) * g->out_columns;
                        for (column = first; column < end; column++) {
                            to[column * g->stride_columns + right] += w * from[column];
                        }
                    }
                }
            }
        }
    }
    if (relu) {
        segfit_relu(y, g->out_channels * out_pixels);
    }
}

//# max_pool2d needs types
/* The largest pixel of each window; pixels outside of x do not count. */
static void segfit_max_pool2d(const float *x, float *y, const segfit_geometry *g)
{
    int32_t channel, row, column, a, b;
    for (channel = 0; channel < g->in_channels; channel++) {
        const float *from = x + channel * g->in_rows * g->in_columns;
        for (row = 0; row < g->out_rows; row++) {
            for (column = 0; column < g->out_columns; column++) {
                float most = -INFINITY;
                for (a = 0; a < g->kernel_rows; a++) {
                    for (b = 0; b < g->kernel_columns; b++) {
                        const int32_t r = row * g->stride_rows + a - g->padding_rows;
                        const int32_t c = column * g->stride_columns + b - g->padding_columns;
                        if (r >= 0 && r < g->in_rows && c >= 0 && c < g->in_columns) {
                            const float value = from[r * g->in_columns + c];
                            most = value > most ? value : most;
                        }
                    }
                }
                *y++ = most;
            }
        }
    }
}

//# average_pool2d needs types
/* The mean of each window: of its pixels inside of x, or of all with zeros outside (`count_padding`). */
static void segfit_average_pool2d(const float *x, float *y, const segfit_geometry *g, int count_padding)
{
    int32_t channel, row, column, a, b;
    for (channel = 0; channel < g->in_channels; channel++) {
        const float *from = x + channel * g->in_rows * g->in_columns;
        for (row = 0; row < g->out_rows; row++) {
            for (column = 0; column < g->out_columns; column++) {
                float sum = 0.0f;
                int32_t count = 0;
                for (a = 0; a < g->kernel_rows; a++) {
                    for (b = 0; b < g->kernel_columns; b++) {
                        const int32_t r = row * g->stride_rows + a - g->padding_rows;
                        const int32_t c = column * g->stride_columns + b - g->padding_columns;
                        if (r >= 0 && r < g->in_rows && c >= 0 && c < g->in_columns) {
                            sum += from[r * g->in_columns + c];
                            count++;
                        }
                    }
                }
                *y++ = sum / (float)(count_padding ? g->kernel_rows * g->kernel_columns : count);
            }
        }
    }
}

//# global_average_pool
/* The mean of every channel. */
static void segfit_global_average_pool(const float *x, float *y, int32_t channels, int32_t pixels)
{
    int32_t channel, i;
    for (channel = 0; channel < channels; channel++) {
        float sum = 0.0f;
        for (i = 0; i < pixels; i++) {
            sum += x[channel * pixels + i];
        }
        y[channel] = sum / (float)pixels;
    }
}

//# leaky_relu
/* x where positive, else slope * x. y may be x, as in all functions of single values. */
static void segfit_leaky_relu(const float *x, float *y, int32_t count, float slope)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = x[i] > 0.0f ? x[i] : slope * x[i];
    }
}

//# prelu
/* x where positive, else x times the channel's slope. */
static void segfit_prelu(const float *x, float *y, const float *slopes, int32_t channels, int32_t pixels)
{
    int32_t i;
    for (i = 0; i < channels * pixels; i++) {
        y[i] = x[i] > 0.0f ? x[i] : slopes[i / pixels] * x[i];
    }
}

//# elu
/* x where positive, else exp(x) - 1. */
static void segfit_elu(const float *x, float *y, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = x[i] > 0.0f ? x[i] : expf(x[i]) - 1.0f;
    }
}

//# sigmoid
/* 1 / (1 + exp(-x)). */
static void segfit_sigmoid(const float *x, float *y, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = 1.0f / (1.0f + expf(-x[i]));
    }
}

//# tanh
/* Hyperbolic tangent. */
static void segfit_tanh(const float *x, float *y, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = tanhf(x[i]);
    }
}

//# silu
/* x / (1 + exp(-x)). */
static void segfit_silu(const float *x, float *y, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = x[i] / (1.0f + expf(-x[i]));
    }
}

//# clamp
/* min(max(x, low), high). */
static void segfit_clamp(const float *x, float *y, int32_t count, float low, float high)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = x[i] < low ? low : x[i] > high ? high : x[i];
    }
}

//# hard_sigmoid
/* min(max(x + 3, 0), 6) / 6. */
static void segfit_hard_sigmoid(const float *x, float *y, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        const float t = x[i] + 3.0f;
        y[i] = (t < 0.0f ? 0.0f : t > 6.0f ? 6.0f : t) / 6.0f;
    }
}

//# hard_swish
/* x times its hard sigmoid. */
static void segfit_hard_swish(const float *x, float *y, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        const float t = x[i] + 3.0f;
        y[i] = x[i] * (t < 0.0f ? 0.0f : t > 6.0f ? 6.0f : t) / 6.0f;
    }
}

//# part_norm
/* Instance or group norm: every part of channels / parts channels gets mean 0 and variance 1, then scale and shift.
 * */
static void segfit_part_norm(const float *x, float *y, const float *scale, const float *shift, int32_t channels,
                             int32_t pixels, int32_t parts, float eps)
{
    const int32_t count = channels / parts * pixels;
    int32_t part, i;
    for (part = 0; part < parts; part++) {
        const float *from = x + part * count;
        float mean = 0.0f, variance = 0.0f;
        for (i = 0; i < count; i++) {
            mean += (from[i] - mean) / (float)(i + 1);
        }
        for (i = 0; i < count; i++) {
            variance += ((from[i] - mean) * (from[i] - mean) - variance) / (float)(i + 1);
        }
        for (i = 0; i < count; i++) {
            const int32_t channel = part * (channels / parts) + i / pixels;
            y[part * count + i] = (from[i] - mean) / sqrtf(variance + eps) * scale[channel] + shift[channel];
        }
    }
}

//# upsample_nearest
/* Every pixel factor_rows x factor_columns times. */
static void segfit_upsample_nearest(const float *x, float *y, int32_t channels, int32_t rows, int32_t columns,
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

//# upsample_bilinear
/* Bilinear: between the centres of pixels, or (`corners`) with the corner pixels at the corners. */
static void segfit_upsample_bilinear(const float *x, float *y, int32_t channels, int32_t rows, int32_t columns,
                                     int32_t factor_rows, int32_t factor_columns, int corners)
{
    /* The position of output j is (j * step + start) / unit, at least 0. */
    const int32_t step_r = corners ? rows - 1 : 2, start_r = corners ? 0 : 1 - factor_rows;
    const int32_t unit_r = corners ? rows * factor_rows - 1 : 2 * factor_rows;
    const int32_t step_c = corners ? columns - 1 : 2, start_c = corners ? 0 : 1 - factor_columns;
    const int32_t unit_c = corners ? columns * factor_columns - 1 : 2 * factor_columns;
    int32_t channel, row, column;
    for (channel = 0; channel < channels; channel++) {
        const float *from = x + channel * rows * columns;
        for (row = 0; row < rows * factor_rows; row++) {
            const int32_t r = row * step_r + start_r > 0 ? row * step_r + start_r : 0;
            const float share_r = (float)(r % unit_r) / (float)unit_r;
            const float *above = from + r / unit_r * columns;
            const float *below = r / unit_r + 1 < rows ? above + columns : above;
            for (column = 0; column < columns * factor_columns; column++) {
                const int32_t c = column * step_c + start_c > 0 ? column * step_c + start_c : 0;
                const float share_c = (float)(c % unit_c) / (float)unit_c;
                const int32_t left = c / unit_c, right = left + 1 < columns ? left + 1 : left;
                const float top = above[left] + share_c * (above[right] - above[left]);
                const float bottom = below[left] + share_c * (below[right] - below[left]);
                *y++ = top + share_r * (bottom - top);
            }
        }
    }
}

//# pad
/* x with rows and columns around it: mode 0 zeros, 1 the nearest pixel, 2 x mirrored at its outermost pixels. */
static void segfit_pad(const float *x, float *y, int32_t channels, int32_t rows, int32_t columns, int32_t out_rows,
                       int32_t out_columns, int32_t above, int32_t left, int mode)
{
    int32_t channel, row, column;
    for (channel = 0; channel < channels; channel++) {
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
                *y++ = r < 0 || r >= rows || c < 0 || c >= columns ? 0.0f : x[(channel * rows + r) * columns + c];
            }
        }
    }
}

//# add
/* The sum of n tensors; y may be the first. */
static void segfit_add(const float *const *xs, int32_t n, float *y, int32_t count)
{
    int32_t i, k;
    for (i = 0; i < count; i++) {
        float sum = xs[0][i];
        for (k = 1; k < n; k++) {
            sum += xs[k][i];
        }
        y[i] = sum;
    }
}

//# mul
/* x times a gate of as many or one channel and as many or one pixel; y may be x. */
static void segfit_mul(const float *x, const float *gate, float *y, int32_t channels, int32_t pixels,
                       int32_t gate_channels, int32_t gate_pixels)
{
    int32_t channel, i;
    for (channel = 0; channel < channels; channel++) {
        const float *g = gate + (gate_channels == 1 ? 0 : channel) * gate_pixels;
        for (i = 0; i < pixels; i++) {
            y[channel * pixels + i] = x[channel * pixels + i] * g[gate_pixels == 1 ? 0 : i];
        }
    }
}

//# copy
/* y = x. */
static void segfit_copy(const float *x, float *y, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = x[i];
    }
}

//# reflect
/* The pixel that stands at `position` when a line of n pixels is mirrored at its ends again and again. */
static int32_t segfit_reflect(int32_t position, int32_t n)
{
    const int32_t period = n > 1 ? 2 * (n - 1) : 1;
    const int32_t p = position % period;
    return p < n ? p : period - p;
}

//# read_image needs reflect
/* (value - mean) / std of every channel, continued by reflection at the bottom and on the right. */
static void segfit_read_image(const float *image, float *x, const float *mean, const float *std)
{
    int32_t channel, row, column;
    for (channel = 0; channel < SEGFIT_CHANNELS; channel++) {
        const float *from = image + channel * SEGFIT_ROWS * SEGFIT_COLUMNS;
        for (row = 0; row < SEGFIT_PADDED_ROWS; row++) {
            for (column = 0; column < SEGFIT_PADDED_COLUMNS; column++) {
                const int32_t r = segfit_reflect(row, SEGFIT_ROWS), c = segfit_reflect(column, SEGFIT_COLUMNS);
                *x++ = (from[r * SEGFIT_COLUMNS + c] - mean[channel]) / std[channel];
            }
        }
    }
}

//# share_exp
/* What the logit z counts in its pixel's probabilities; exp(-most) is a common factor, so that nothing overflows. */
static float segfit_share(float z, float most)
{
    return expf(z - most);
}

//# share_sigmoid
/* What the logit z counts in its pixel's probabilities: its sigmoid, times a common factor where all are tiny. */
static float segfit_share(float z, float most)
{
    const float common = most < 0.0f ? most : 0.0f;
    return z >= 0.0f ? 1.0f / (1.0f + expf(-z)) : expf(z - common) / (1.0f + expf(z));
}

//# write_probabilities
/* The probabilities of the classes of every pixel of the image, which sum to 1. */
static void segfit_write_probabilities(const float *logits, float *probabilities)
{
    const int32_t from_pixels = SEGFIT_PADDED_ROWS * SEGFIT_PADDED_COLUMNS, to_pixels = SEGFIT_ROWS * SEGFIT_COLUMNS;
    int32_t row, column, k;
    for (row = 0; row < SEGFIT_ROWS; row++) {
        for (column = 0; column < SEGFIT_COLUMNS; column++) {
            const float *z = logits + row * SEGFIT_PADDED_COLUMNS + column;
            float *p = probabilities + row * SEGFIT_COLUMNS + column;
            float most = z[0], total = 0.0f;
            for (k = 1; k < SEGFIT_CLASSES; k++) {
                most = z[k * from_pixels] > most ? z[k * from_pixels] : most;
            }
            for (k = 0; k < SEGFIT_CLASSES; k++) {
                p[k * to_pixels] = segfit_share(z[k * from_pixels], most);
                total += p[k * to_pixels];
            }
            for (k = 0; k < SEGFIT_CLASSES; k++) {
                p[k * to_pixels] /= total;
            }
        }
    }
}
