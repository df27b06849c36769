// Convolutions, ordinary and transposed, and the gradients of their inputs: all of them are sums over input channels and taps
// of one weight times one input pixel. Output pixel (j * out_step + phase) of a phase reads input pixel (j * in_step + offset)
// for every tap of that phase; an ordinary convolution has one phase, a transposed one as many as its stride has pixels.

struct ConvolveParameters {
    Tensor x;
    Tensor y;
    const float *weight;
    const float *bias;
    // For every phase its first tap and the number of its taps; then, for every tap, its place in the kernel, and the offset
    // of the input's row and column.
    const int *taps;
    int phases;
    int in_per_group;
    int out_per_group;
    int out_tiles;
    // Floats between weights: of groups, of outputs, of inputs.
    int weight_group;
    int weight_out;
    int weight_in;
    int in_step_rows;
    int in_step_columns;
    int out_step_rows;
    int out_step_columns;
    int relu;
    int accumulate;
};

// The pixel of a phase that a thread computes.
struct OutputPixel {
    bool inside;
    int image;
    int row;
    int column;
};

DEVICE OutputPixel output_pixel(const ConvolveParameters &p, int phase, long long index) {
    const int first_row = phase / p.out_step_columns, first_column = phase % p.out_step_columns;
    const int rows = (p.y.height - first_row + p.out_step_rows - 1) / p.out_step_rows;
    const int columns = (p.y.width - first_column + p.out_step_columns - 1) / p.out_step_columns;
    const int pixels = rows * columns;
    OutputPixel pixel = {false, 0, 0, 0};
    if (pixels <= 0 || index >= (long long)pixels * p.y.batch) return pixel;
    pixel.inside = true;
    pixel.image = (int)(index / pixels);
    const int within = (int)(index % pixels);
    pixel.row = within / columns;
    pixel.column = within % columns;
    return pixel;
}

DEVICE void store_output(const ConvolveParameters &p, int phase, OutputPixel pixel, int channel, float sum) {
    const int row = pixel.row * p.out_step_rows + phase / p.out_step_columns;
    const int column = pixel.column * p.out_step_columns + phase % p.out_step_columns;
    float *to = plane_of(p.y, pixel.image, channel) + row * p.y.width + column;
    if (p.bias) sum += p.bias[channel];
    if (p.relu && sum <= 0.0f) sum = 0.0f;
    put(to, sum, p.accumulate);
}

// For few outputs: a thread computes OUT outputs of one pixel; the weights stand in shared memory.
template <int OUT> DEVICE void convolve_narrow(const ConvolveParameters &p) {
    const int WEIGHTS = 4096, BLOCK = WEIGHTS / OUT;
    SHARED(float, weights, WEIGHTS);
    const int phase = blockIdx.z, group = blockIdx.y / p.out_tiles, tile = blockIdx.y % p.out_tiles;
    const int first_out = tile * OUT, outs = min(OUT, p.out_per_group - first_out);
    const int *taps = p.taps + 2 * p.phases + 3 * p.taps[2 * phase];
    const int count = p.taps[2 * phase + 1], terms = p.in_per_group * count;
    const OutputPixel pixel = output_pixel(p, phase, (long long)blockIdx.x * THREADS + threadIdx.x);
    const float *weight = p.weight + group * p.weight_group + first_out * p.weight_out;
    const float *input = plane_of(p.x, pixel.image, group * p.in_per_group);
    const int row = pixel.row * p.in_step_rows, column = pixel.column * p.in_step_columns;
    float sums[OUT];
    for (int m = 0; m < OUT; m++) sums[m] = 0.0f;
    int tap = 0;
    for (int begin = 0; begin < terms; begin += BLOCK) {
        const int length = min(BLOCK, terms - begin);
        __syncthreads();
        for (int i = threadIdx.x; i < length * OUT; i += THREADS) {
            const int m = i % OUT, term = begin + i / OUT, c = term / count;
            const int place = c * p.weight_in + taps[3 * (term - c * count)];
            weights[i] = m < outs ? weight[m * p.weight_out + place] : 0.0f;
        }
        __syncthreads();
        if (pixel.inside) {
            for (int k = 0; k < length; k++) {
                const int y = row + taps[3 * tap + 1], x = column + taps[3 * tap + 2];
                if ((unsigned)y < (unsigned)p.x.height && (unsigned)x < (unsigned)p.x.width) {
                    const float value = input[y * p.x.width + x];
                    for (int m = 0; m < OUT; m++) sums[m] += weights[k * OUT + m] * value;
                }
                if (++tap == count) {
                    tap = 0;
                    input += p.x.pixels;
                }
            }
        }
    }
    if (!pixel.inside) return;
    for (int m = 0; m < OUT; m++) {
        if (m < outs) store_output(p, phase, pixel, group * p.out_per_group + first_out + m, sums[m]);
    }
}

KERNEL(convolve_1, ConvolveParameters) { convolve_narrow<1>(p); }
KERNEL(convolve_2, ConvolveParameters) { convolve_narrow<2>(p); }
KERNEL(convolve_4, ConvolveParameters) { convolve_narrow<4>(p); }
KERNEL(convolve_8, ConvolveParameters) { convolve_narrow<8>(p); }
KERNEL(convolve_16, ConvolveParameters) { convolve_narrow<16>(p); }
KERNEL(convolve_32, ConvolveParameters) { convolve_narrow<32>(p); }

// For many outputs: a matrix product in tiles of 64 outputs and 64 pixels, one tap after the other; a thread computes 4 x 4.
KERNEL(convolve_64, ConvolveParameters) {
    const int TILE = 64, DEPTH = 16;
    SHARED(float, weights, 64 * 16);
    SHARED(float, inputs, 16 * 64);
    const int phase = blockIdx.z, group = blockIdx.y / p.out_tiles, tile = blockIdx.y % p.out_tiles;
    const int first_out = tile * TILE, outs = min(TILE, p.out_per_group - first_out);
    const int *taps = p.taps + 2 * p.phases + 3 * p.taps[2 * phase];
    const int count = p.taps[2 * phase + 1];
    const float *weight = p.weight + group * p.weight_group + first_out * p.weight_out;
    const int lane = threadIdx.x % TILE, slice = threadIdx.x / TILE;
    const OutputPixel loaded = output_pixel(p, phase, (long long)blockIdx.x * TILE + lane);
    const float *input = plane_of(p.x, loaded.image, group * p.in_per_group);
    const int part_out = threadIdx.x / 16 * 4, part_pixel = threadIdx.x % 16 * 4;
    float sums[4][4];
    for (int m = 0; m < 4; m++) {
        for (int n = 0; n < 4; n++) sums[m][n] = 0.0f;
    }
    for (int tap = 0; tap < count; tap++) {
        const int y = loaded.row * p.in_step_rows + taps[3 * tap + 1];
        const int x = loaded.column * p.in_step_columns + taps[3 * tap + 2];
        const bool inside = loaded.inside && (unsigned)y < (unsigned)p.x.height && (unsigned)x < (unsigned)p.x.width;
        const float *from = input + (inside ? y * p.x.width + x : 0);
        for (int begin = 0; begin < p.in_per_group; begin += DEPTH) {
            __syncthreads();
            for (int k = slice; k < DEPTH; k += THREADS / TILE) {
                const int c = begin + k;
                inputs[k * TILE + lane] = inside && c < p.in_per_group ? from[(long long)c * p.x.pixels] : 0.0f;
                const bool used = c < p.in_per_group && lane < outs;
                weights[k * TILE + lane] = used ? weight[lane * p.weight_out + c * p.weight_in + taps[3 * tap]] : 0.0f;
            }
            __syncthreads();
            for (int k = 0; k < DEPTH; k++) {
                float a[4], b[4];
                for (int m = 0; m < 4; m++) a[m] = weights[k * TILE + part_out + m];
                for (int n = 0; n < 4; n++) b[n] = inputs[k * TILE + part_pixel + n];
                for (int m = 0; m < 4; m++) {
                    for (int n = 0; n < 4; n++) sums[m][n] += a[m] * b[n];
                }
            }
        }
    }
    for (int n = 0; n < 4; n++) {
        const OutputPixel pixel = output_pixel(p, phase, (long long)blockIdx.x * TILE + part_pixel + n);
        for (int m = 0; m < 4; m++) {
            const int out = part_out + m;
            if (pixel.inside && out < outs) {
                store_output(p, phase, pixel, group * p.out_per_group + first_out + out, sums[m][n]);
            }
        }
    }
}

// Gradient of the weights: for every channel m of the smaller side (the output; the input if transposed), channel c of the
// larger side and tap, the sum over the smaller side's pixels j of small[m][j] * large[c][j * step + offset of the tap].
// The pixels are divided among the blocks of blockIdx.z, whose sums `sum_splits` adds.
struct WeightGradientParameters {
    Tensor small;
    Tensor large;
    // For every tap the offset of the larger side's row and column.
    const int *offsets;
    // [splits][groups][small_per_group][large_per_group][taps]
    float *sums;
    int taps;
    int groups;
    int small_per_group;
    int large_per_group;
    int small_tiles;
    int step_rows;
    int step_columns;
    int splits;
};

// SMALL channels of the smaller side and 64 pairs of a channel of the larger side and a tap; a thread sums ROWS x COLUMNS.
template <int SMALL, int ROWS, int COLUMNS> DEVICE void weight_gradient(const WeightGradientParameters &p) {
    const int PAIRS = 64, DEPTH = 32;
    SHARED(float, smalls, SMALL * 33);
    SHARED(float, larges, 64 * 33);
    SHARED(int, planes, 64);
    SHARED(int, rows, 64);
    SHARED(int, columns, 64);
    const int group = blockIdx.y / p.small_tiles, first_small = blockIdx.y % p.small_tiles * SMALL;
    const int smalls_here = min(SMALL, p.small_per_group - first_small);
    const int pairs = p.large_per_group * p.taps, first_pair = blockIdx.x * PAIRS;
    for (int i = threadIdx.x; i < PAIRS; i += THREADS) {
        const int pair = first_pair + i, tap = pair % p.taps;
        planes[i] = pair < pairs ? group * p.large_per_group + pair / p.taps : -1;
        rows[i] = p.offsets[2 * tap];
        columns[i] = p.offsets[2 * tap + 1];
    }
    const long long all = (long long)p.small.batch * p.small.pixels;
    const long long share = ((all + p.splits - 1) / p.splits + DEPTH - 1) / DEPTH * DEPTH;
    const long long first = blockIdx.z * share, end = min(first + share, all);
    const int lane = threadIdx.x % DEPTH, slice = threadIdx.x / DEPTH;
    const int across = PAIRS / COLUMNS, part_small = threadIdx.x / across * ROWS, part_pair = threadIdx.x % across * COLUMNS;
    float sums[ROWS][COLUMNS];
    for (int m = 0; m < ROWS; m++) {
        for (int n = 0; n < COLUMNS; n++) sums[m][n] = 0.0f;
    }
    for (long long begin = first; begin < end; begin += DEPTH) {
        const long long index = begin + lane;
        const bool used = index < end;
        const int image = used ? (int)(index / p.small.pixels) : 0, within = used ? (int)(index % p.small.pixels) : 0;
        const int y = within / p.small.width * p.step_rows, x = within % p.small.width * p.step_columns;
        __syncthreads();
        for (int m = slice; m < SMALL; m += THREADS / DEPTH) {
            const float *from = plane_of(p.small, image, group * p.small_per_group + first_small + m);
            smalls[m * 33 + lane] = used && m < smalls_here ? from[within] : 0.0f;
        }
        for (int n = slice; n < PAIRS; n += THREADS / DEPTH) {
            const int row = y + rows[n], column = x + columns[n];
            const bool inside = used && planes[n] >= 0 && (unsigned)row < (unsigned)p.large.height &&
                                (unsigned)column < (unsigned)p.large.width;
            larges[n * 33 + lane] = inside ? plane_of(p.large, image, planes[n])[row * p.large.width + column] : 0.0f;
        }
        __syncthreads();
        for (int k = 0; k < DEPTH; k++) {
            float a[ROWS], b[COLUMNS];
            for (int m = 0; m < ROWS; m++) a[m] = smalls[(part_small + m) * 33 + k];
            for (int n = 0; n < COLUMNS; n++) b[n] = larges[(part_pair + n) * 33 + k];
            for (int m = 0; m < ROWS; m++) {
                for (int n = 0; n < COLUMNS; n++) sums[m][n] += a[m] * b[n];
            }
        }
    }
    float *to = p.sums + ((long long)blockIdx.z * p.groups + group) * p.small_per_group * pairs;
    for (int m = 0; m < ROWS; m++) {
        for (int n = 0; n < COLUMNS; n++) {
            const int small = part_small + m, pair = first_pair + part_pair + n;
            if (small < smalls_here && pair < pairs) to[(long long)(first_small + small) * pairs + pair] = sums[m][n];
        }
    }
}

KERNEL(weight_gradient_4, WeightGradientParameters) { weight_gradient<4, 1, 1>(p); }
KERNEL(weight_gradient_16, WeightGradientParameters) { weight_gradient<16, 4, 1>(p); }
KERNEL(weight_gradient_64, WeightGradientParameters) { weight_gradient<64, 4, 4>(p); }

struct SumSplitsParameters {
    const float *sums;
    float *to;
    int count;
    int splits;
};

KERNEL(sum_splits, SumSplitsParameters) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= p.count) return;
    double sum = 0.0;
    for (int k = 0; k < p.splits; k++) sum += p.sums[(long long)k * p.count + i];
    p.to[i] = (float)sum;
}
