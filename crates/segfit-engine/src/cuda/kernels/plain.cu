// Layers that change every value by itself, sums over planes, and copies.

DEVICE float sigmoid_of(float x) {
    const float e = expf(-fabsf(x));
    return (x >= 0.0f ? 1.0f : e) / (1.0f + e);
}

// What is not a number stays so.
DEVICE float clamped(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

// The order of `Activation` in activation.rs.
enum { LEAKY, ELU, SIGMOID, TANH, SILU, HARD_SIGMOID, HARD_SWISH, CLAMP };

struct ActivationParameters {
    Tensor x;
    Tensor y;
    int kind;
    float first;
    float second;
};

DEVICE float activated(const ActivationParameters &p, float x) {
    switch (p.kind) {
        case LEAKY: return p.first == 0.0f ? (x <= 0.0f ? 0.0f : x) : (x > 0.0f ? x : p.first * x);
        case ELU: return x > 0.0f ? x : expm1f(x);
        case SIGMOID: return sigmoid_of(x);
        case TANH: return tanhf(x);
        case SILU: return x * sigmoid_of(x);
        case HARD_SIGMOID: return clamped(x + 3.0f, 0.0f, 6.0f) / 6.0f;
        case HARD_SWISH: return x * clamped(x + 3.0f, 0.0f, 6.0f) / 6.0f;
        default: return clamped(x, p.first, p.second);
    }
}

KERNEL(activation, ActivationParameters) {
    const Run run = run_of(p.x, CHUNK);
    const float *x = plane_of(p.x, run.image, run.channel);
    float *y = plane_of(p.y, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) y[i] = activated(p, x[i]);
}

struct ActivationGradientParameters {
    // The input, or the output where the gradient follows from that.
    Tensor read;
    Tensor dy;
    Tensor dx;
    int kind;
    float first;
    float second;
    int accumulate;
};

DEVICE float activation_gradient_of(const ActivationGradientParameters &p, float v, float d) {
    switch (p.kind) {
        case LEAKY: return v > 0.0f ? d : p.first * d;
        case ELU: return v > 0.0f ? d : d * (v + 1.0f);
        case SIGMOID: return d * (1.0f - v) * v;
        case TANH: return d * (1.0f - v * v);
        case SILU: {
            const float s = sigmoid_of(v);
            return d * s * (1.0f + v * (1.0f - s));
        }
        case HARD_SIGMOID: return v > -3.0f && v < 3.0f ? d / 6.0f : 0.0f;
        case HARD_SWISH: return v <= -3.0f ? 0.0f : v >= 3.0f ? d : d * (v / 3.0f + 0.5f);
        default: return v > p.first && v < p.second ? d : 0.0f;
    }
}

KERNEL(activation_gradient, ActivationGradientParameters) {
    const Run run = run_of(p.dx, CHUNK);
    const float *read = plane_of(p.read, run.image, run.channel), *dy = plane_of(p.dy, run.image, run.channel);
    float *dx = plane_of(p.dx, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        put(dx + i, activation_gradient_of(p, read[i], dy[i]), p.accumulate);
    }
}

struct PreluParameters {
    Tensor x;
    // The output's gradient instead of the input, in the backward pass.
    Tensor d;
    Tensor y;
    const float *slopes;
    int shared;
    int accumulate;
};

// y = d where x is positive, else slope * d; forward with d = x.
KERNEL(prelu, PreluParameters) {
    const Run run = run_of(p.x, CHUNK);
    const float *x = plane_of(p.x, run.image, run.channel), *d = plane_of(p.d, run.image, run.channel);
    float *y = plane_of(p.y, run.image, run.channel);
    const float slope = p.slopes[p.shared ? 0 : run.channel];
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        put(y + i, x[i] > 0.0f ? d[i] : slope * d[i], p.accumulate);
    }
}

struct CopyParameters {
    Tensor x;
    Tensor y;
    int accumulate;
};

KERNEL(copy, CopyParameters) {
    const Run run = run_of(p.y, CHUNK);
    const float *x = plane_of(p.x, run.image, run.channel);
    float *y = plane_of(p.y, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) put(y + i, x[i], p.accumulate);
}

struct FillParameters {
    Tensor y;
    float value;
};

KERNEL(fill, FillParameters) {
    const Run run = run_of(p.y, CHUNK);
    float *y = plane_of(p.y, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) y[i] = p.value;
}

struct TwoInputsParameters {
    Tensor a;
    Tensor b;
    Tensor y;
    int accumulate;
};

KERNEL(add, TwoInputsParameters) {
    const Run run = run_of(p.y, CHUNK);
    const float *a = plane_of(p.a, run.image, run.channel), *b = plane_of(p.b, run.image, run.channel);
    float *y = plane_of(p.y, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) y[i] = a[i] + b[i];
}

// y = a * b, where b may have one channel instead of as many, and one pixel instead of as many.
KERNEL(multiply, TwoInputsParameters) {
    const Run run = run_of(p.y, CHUNK);
    const float *a = plane_of(p.a, run.image, run.channel);
    const float *b = plane_of(p.b, run.image, p.b.channels == 1 ? 0 : run.channel);
    float *y = plane_of(p.y, run.image, run.channel);
    const bool one = p.b.pixels == 1;
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) put(y + i, a[i] * b[one ? 0 : i], p.accumulate);
}

// y has one channel: the sum over channels of a * b.
KERNEL(multiply_channels, TwoInputsParameters) {
    const Run run = run_of(p.y, CHUNK);
    float *y = plane_of(p.y, run.image, 0);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        float sum = 0.0f;
        for (int c = 0; c < p.a.channels; c++) sum += plane_of(p.a, run.image, c)[i] * plane_of(p.b, run.image, c)[i];
        put(y + i, sum, p.accumulate);
    }
}

struct ReluGradientParameters {
    Tensor y;
    Tensor dy;
};

KERNEL(relu_gradient, ReluGradientParameters) {
    const Run run = run_of(p.y, CHUNK);
    const float *y = plane_of(p.y, run.image, run.channel);
    float *dy = plane_of(p.dy, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        if (!(y[i] > 0.0f)) dy[i] = 0.0f;
    }
}

// SplitMix64's finaliser, as in random.rs.
DEVICE u64 mixed(u64 z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

DEVICE u64 named(u64 key, u64 name) {
    const u64 golden = 0x9E3779B97F4A7C15ull;
    return mixed((key + golden) ^ mixed(name + golden));
}

struct DropoutParameters {
    Tensor x;
    Tensor y;
    const StepNumbers *step;
    u64 layer;
    float probability;
    int accumulate;
};

// The numbers that the CPU draws: a stream for every row.
KERNEL(dropout, DropoutParameters) {
    const u64 golden = 0x9E3779B97F4A7C15ull, purpose = 0x0064726f706f7574ull;
    const Run run = run_of(p.y, CHUNK);
    const float *x = plane_of(p.x, run.image, run.channel);
    float *y = plane_of(p.y, run.image, run.channel);
    const u64 key = named(named(named(named(golden, purpose), p.step->seed), p.step->step), p.layer);
    const float scale = 1.0f / (1.0f - p.probability);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        const u64 row = (u64)run.plane * p.y.height + i / p.y.width;
        const u64 bits = mixed(named(key, row) + (u64)(i % p.y.width + 1) * golden);
        const float unit = (float)(bits >> 40) / 16777216.0f;
        put(y + i, unit >= p.probability ? x[i] * scale : 0.0f, p.accumulate);
    }
}

// What is summed over the pixels of every plane: a, a * b, or a * b where a is not positive.
enum { SUM, PRODUCT, PRODUCT_BELOW };

struct PlaneSumsParameters {
    Tensor a;
    Tensor b;
    // [planes][parts]
    double *sums;
    int what;
};

KERNEL(plane_sums, PlaneSumsParameters) {
    const Run run = run_of(p.a, PART);
    const float *a = plane_of(p.a, run.image, run.channel), *b = plane_of(p.b, run.image, run.channel);
    float sum = 0.0f;
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        if (p.what == SUM) {
            sum += a[i];
        } else if (p.what == PRODUCT || !(a[i] > 0.0f)) {
            sum += a[i] * b[i];
        }
    }
    double sums[1] = {sum};
    block_sum(sums);
    if (threadIdx.x == 0) p.sums[blockIdx.x] = sums[0];
}

struct SumPlanesParameters {
    const double *sums;
    float *to;
    // Output k = image * per_image + c goes to to[image * image_stride + c] and is the sum of `count` planes, each `step`
    // behind the one before, from plane k * first on.
    int per_image;
    int image_stride;
    int first;
    int step;
    int count;
    int parts;
    // Of every part there are this many sums, and this one is meant.
    int kinds;
    int kind;
    float factor;
    int accumulate;
};

// One block for each output.
KERNEL(sum_planes, SumPlanesParameters) {
    const int k = blockIdx.x;
    double sums[1] = {0.0};
    for (int i = threadIdx.x; i < p.count * p.parts; i += THREADS) {
        const long long part = (long long)(k * p.first + i / p.parts * p.step) * p.parts + i % p.parts;
        sums[0] += p.sums[part * p.kinds + p.kind];
    }
    block_sum(sums);
    if (threadIdx.x == 0) {
        float *to = p.to + (long long)(k / p.per_image) * p.image_stride + k % p.per_image;
        put(to, (float)(sums[0] * p.factor), p.accumulate);
    }
}

struct MeanGradientParameters {
    Tensor dy;
    Tensor dx;
    int accumulate;
};

KERNEL(mean_gradient, MeanGradientParameters) {
    const Run run = run_of(p.dx, CHUNK);
    const float value = *plane_of(p.dy, run.image, run.channel) * (1.0f / p.dx.pixels);
    float *dx = plane_of(p.dx, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) put(dx + i, value, p.accumulate);
}
