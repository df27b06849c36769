// Normalisation of channels over a batch, of planes, or of groups of planes: moments of every plane in parts, then their union
// over the planes of a set, then a function of every value by itself.

// What every value of a plane becomes: (x - mean) * scale + shift.
struct Affine {
    float mean;
    float scale;
    float shift;
};

// The gradient of its input: factor * g + slope * (x - mean) + shift.
struct AffineGradient {
    float factor;
    float slope;
    float shift;
    float unused;
};

struct MomentsParameters {
    Tensor x;
    // [planes][parts][3]
    double *moments;
};

KERNEL(plane_moments, MomentsParameters) {
    const Run run = run_of(p.x, PART);
    const float *x = plane_of(p.x, run.image, run.channel);
    // Sums of differences from a value of the part lose no digits to a large mean.
    const float origin = x[run.first];
    float sum = 0.0f, squares = 0.0f;
    int count = 0;
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        const float difference = x[i] - origin;
        sum += difference;
        squares += difference * difference;
        count++;
    }
    Moments mine = {(double)count, 0.0, 0.0};
    if (count > 0) {
        mine.mean = (double)origin + (double)sum / count;
        mine.squares = max(0.0, (double)squares - (double)sum * sum / count);
    }
    // max() hides what is not a number.
    if (isnan(sum)) mine.squares = (double)sum;
    const Moments all = block_union(mine);
    if (threadIdx.x == 0) {
        double *to = p.moments + 3ll * blockIdx.x;
        to[0] = all.count;
        to[1] = all.mean;
        to[2] = all.squares;
    }
}

// The sets of planes whose values are normalised together.
struct Sets {
    int batch;
    int channels;
    // Parts of a plane.
    int parts;
    // Channels of a set: all images of one channel where 0, else as many neighbouring channels of one image.
    int together;
};

DEVICE int planes_of_set(const Sets &s) {
    return s.together == 0 ? s.batch : s.together;
}

DEVICE int plane_of_set(const Sets &s, int set, int i) {
    return s.together == 0 ? i * s.channels + set : set * s.together + i;
}

struct StatisticsParameters {
    const double *moments;
    const float *scale;
    const float *shift;
    float *running_mean;
    float *running_variance;
    // By channel (batch) or plane.
    Affine *affine;
    float *inverse;
    Sets sets;
    float eps;
    float momentum;
};

// One block for each set.
KERNEL(norm_statistics, StatisticsParameters) {
    const int set = blockIdx.x, planes = planes_of_set(p.sets);
    Moments mine = {0.0, 0.0, 0.0};
    for (int i = threadIdx.x; i < planes * p.sets.parts; i += THREADS) {
        const double *from = p.moments + 3ll * (plane_of_set(p.sets, set, i / p.sets.parts) * p.sets.parts + i % p.sets.parts);
        const Moments part = {from[0], from[1], from[2]};
        mine = united(mine, part);
    }
    const Moments all = block_union(mine);
    const float inverse = (float)(1.0 / sqrt(all.squares / all.count + (double)p.eps));
    const int entries = p.sets.together == 0 ? 1 : planes;
    for (int i = threadIdx.x; i < entries; i += THREADS) {
        const int at = p.sets.together == 0 ? set : plane_of_set(p.sets, set, i), channel = at % p.sets.channels;
        p.affine[at].mean = (float)all.mean;
        p.affine[at].scale = inverse * (p.scale ? p.scale[channel] : 1.0f);
        p.affine[at].shift = p.shift ? p.shift[channel] : 0.0f;
        p.inverse[at] = inverse;
    }
    if (threadIdx.x == 0 && p.running_mean) {
        const float keep = 1.0f - p.momentum;
        p.running_mean[set] = keep * p.running_mean[set] + p.momentum * (float)all.mean;
        p.running_variance[set] = keep * p.running_variance[set] + p.momentum * (float)(all.squares / (all.count - 1.0));
    }
}

struct NormaliseParameters {
    Tensor x;
    Tensor y;
    const Affine *affine;
    // Whether `affine` has an entry for each plane, else for each channel.
    int by_plane;
    int relu;
};

DEVICE float normalised(Affine a, float x) {
    return (x - a.mean) * a.scale + a.shift;
}

KERNEL(normalise, NormaliseParameters) {
    const Run run = run_of(p.x, CHUNK);
    const Affine affine = p.affine[p.by_plane ? run.plane : run.channel];
    const float *x = plane_of(p.x, run.image, run.channel);
    float *y = plane_of(p.y, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        const float value = normalised(affine, x[i]);
        y[i] = p.relu && value <= 0.0f ? 0.0f : value;
    }
}

struct NormGradientSumsParameters {
    Tensor x;
    Tensor dy;
    const Affine *affine;
    const float *inverse;
    // [planes][parts][2]: sums of g, and of g times the normalised value, where g is dy that passes the ReLU.
    double *sums;
    int by_plane;
    int relu;
};

KERNEL(norm_gradient_sums, NormGradientSumsParameters) {
    const Run run = run_of(p.x, PART);
    const int at = p.by_plane ? run.plane : run.channel;
    const Affine affine = p.affine[at];
    const float inverse = p.inverse[at];
    const float *x = plane_of(p.x, run.image, run.channel), *dy = plane_of(p.dy, run.image, run.channel);
    double sums[2] = {0.0, 0.0};
    float sum = 0.0f, product = 0.0f;
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        const float g = p.relu && !(normalised(affine, x[i]) > 0.0f) ? 0.0f : dy[i];
        sum += g;
        product += g * ((x[i] - affine.mean) * inverse);
    }
    sums[0] = sum;
    sums[1] = product;
    block_sum(sums);
    if (threadIdx.x == 0) {
        p.sums[2ll * blockIdx.x] = sums[0];
        p.sums[2ll * blockIdx.x + 1] = sums[1];
    }
}

struct NormGradientsParameters {
    const double *sums;
    const float *scale;
    const float *inverse;
    // By channel (batch) or plane.
    AffineGradient *gradient;
    // Gradients of scale and shift of a batch norm, else null.
    float *d_scale;
    float *d_shift;
    Sets sets;
    int pixels;
};

// One block for each set.
KERNEL(norm_gradients, NormGradientsParameters) {
    const int set = blockIdx.x, planes = planes_of_set(p.sets);
    const bool batch = p.sets.together == 0;
    // Weighted by the scale of their channel; a batch norm's set has one channel.
    double sums[2] = {0.0, 0.0};
    for (int i = threadIdx.x; i < planes * p.sets.parts; i += THREADS) {
        const int plane = plane_of_set(p.sets, set, i / p.sets.parts);
        const double *from = p.sums + 2ll * (plane * p.sets.parts + i % p.sets.parts);
        const double weight = batch || !p.scale ? 1.0 : (double)p.scale[plane % p.sets.channels];
        sums[0] += weight * from[0];
        sums[1] += weight * from[1];
    }
    block_sum(sums);
    if (threadIdx.x == 0 && batch) {
        p.d_shift[set] = (float)sums[0];
        p.d_scale[set] = (float)sums[1];
    }
    const double count = (double)planes * p.pixels;
    const int entries = batch ? 1 : planes;
    for (int i = threadIdx.x; i < entries; i += THREADS) {
        const int at = batch ? set : plane_of_set(p.sets, set, i);
        const double inverse = p.inverse[at], scale = p.scale ? (double)p.scale[at % p.sets.channels] : 1.0;
        const double outer = batch ? scale : 1.0;
        p.gradient[at].factor = (float)(scale * inverse);
        p.gradient[at].slope = (float)(-outer * inverse * inverse * sums[1] / count);
        p.gradient[at].shift = (float)(-outer * inverse * sums[0] / count);
    }
}

struct NormaliseGradientParameters {
    Tensor x;
    Tensor dy;
    Tensor dx;
    const Affine *affine;
    const AffineGradient *gradient;
    int by_plane;
    int relu;
    int accumulate;
};

KERNEL(normalise_gradient, NormaliseGradientParameters) {
    const Run run = run_of(p.x, CHUNK);
    const int at = p.by_plane ? run.plane : run.channel;
    const Affine affine = p.affine[at];
    const AffineGradient gradient = p.gradient[at];
    const float *x = plane_of(p.x, run.image, run.channel), *dy = plane_of(p.dy, run.image, run.channel);
    float *dx = plane_of(p.dx, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        const float g = p.relu && !(normalised(affine, x[i]) > 0.0f) ? 0.0f : dy[i];
        put(dx + i, gradient.factor * g + (gradient.slope * (x[i] - affine.mean) + gradient.shift), p.accumulate);
    }
}
