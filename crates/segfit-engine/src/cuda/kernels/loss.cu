// Cross-entropy plus soft Dice, its gradient, and distillation, as loss.rs and distillation.rs define them.

// Pixels of a block that sums.
#define LOSS_PIXELS 1024
#define EACH (LOSS_PIXELS / THREADS)

struct LossParameters {
    Tensor logits;
    Tensor gradient;
    const unsigned char *targets;
    // [blocks][classes][4]: entropy, p, t, p t.
    double *sums;
    // [classes][2]: d(loss)/dp = a + b t.
    float *coefficients;
    // total, cross-entropy, Dice loss.
    double *value;
    int softmax;
    int blocks;
    float weight;
};

DEVICE float logit_of(const Tensor &t, long long pixel, int c) {
    return plane_of(t, (int)(pixel / t.pixels), c)[pixel % t.pixels];
}

// What is not a number stays so.
DEVICE float log_sum_of(const Tensor &t, long long pixel, float inverse) {
    float largest = -INFINITE;
    for (int c = 0; c < t.channels; c++) {
        const float z = logit_of(t, pixel, c) * inverse;
        if (beats(z, largest)) largest = z;
    }
    float sum = 0.0f;
    for (int c = 0; c < t.channels; c++) sum += expf(logit_of(t, pixel, c) * inverse - largest);
    return largest + logf(sum);
}

// ln(1 + exp(x)).
DEVICE float softplus_of(float x) {
    return isnan(x) ? x : fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

KERNEL(loss_sums, LossParameters) {
    const long long all = (long long)p.logits.batch * p.logits.pixels, first = (long long)blockIdx.x * LOSS_PIXELS;
    float log_sums[EACH];
    for (int k = 0; k < EACH; k++) {
        const long long pixel = first + k * THREADS + threadIdx.x;
        log_sums[k] = p.softmax && pixel < all ? log_sum_of(p.logits, pixel, 1.0f) : 0.0f;
    }
    for (int c = 0; c < p.logits.channels; c++) {
        double sums[4] = {0.0, 0.0, 0.0, 0.0};
        for (int k = 0; k < EACH; k++) {
            const long long pixel = first + k * THREADS + threadIdx.x;
            if (pixel >= all) continue;
            const float z = logit_of(p.logits, pixel, c);
            const bool is = p.targets[pixel] == c;
            float probability, entropy;
            if (p.softmax) {
                probability = expf(z - log_sums[k]);
                entropy = is ? log_sums[k] - z : 0.0f;
            } else {
                probability = sigmoid_of(z);
                entropy = softplus_of(is ? -z : z);
            }
            sums[0] += entropy;
            sums[1] += probability;
            if (is) {
                sums[2] += 1.0;
                sums[3] += probability;
            }
        }
        block_sum(sums);
        if (threadIdx.x < 4) p.sums[((long long)blockIdx.x * p.logits.channels + c) * 4 + threadIdx.x] = sums[threadIdx.x];
    }
}

// One block.
KERNEL(loss_value, LossParameters) {
    const int classes = p.logits.channels;
    const double pixels = (double)p.logits.batch * p.logits.pixels;
    double entropy = 0.0, dice = 0.0;
    for (int c = 0; c < classes; c++) {
        double sums[4] = {0.0, 0.0, 0.0, 0.0};
        for (int block = threadIdx.x; block < p.blocks; block += THREADS) {
            for (int k = 0; k < 4; k++) sums[k] += p.sums[((long long)block * classes + c) * 4 + k];
        }
        block_sum(sums);
        entropy += sums[0];
        const double top = 2.0 * sums[3] + 1.0, bottom = sums[1] + sums[2] + 1.0, foreground = classes - 1;
        if (c > 0) dice += top / bottom;
        if (threadIdx.x == 0) {
            p.coefficients[2 * c] = c == 0 ? 0.0f : (float)(top / (bottom * bottom) / foreground);
            p.coefficients[2 * c + 1] = c == 0 ? 0.0f : (float)(-2.0 / bottom / foreground);
        }
    }
    if (threadIdx.x == 0) {
        const double cross_entropy = entropy / (p.softmax ? pixels : pixels * classes);
        const double dice_loss = 1.0 - dice / (classes - 1);
        p.value[0] = cross_entropy + dice_loss;
        p.value[1] = cross_entropy;
        p.value[2] = dice_loss;
    }
}

KERNEL(loss_gradient, LossParameters) {
    const long long all = (long long)p.logits.batch * p.logits.pixels;
    const long long pixel = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (pixel >= all) return;
    const int classes = p.logits.channels, target = p.targets[pixel];
    const float share = (float)(1.0 / (double)(p.softmax ? all : all * classes));
    const float log_sum = p.softmax ? log_sum_of(p.logits, pixel, 1.0f) : 0.0f;
    float mean = 0.0f;
    for (int c = 0; p.softmax && c < classes; c++) {
        const float slope = p.coefficients[2 * c] + (c == target ? p.coefficients[2 * c + 1] : 0.0f);
        mean += expf(logit_of(p.logits, pixel, c) - log_sum) * slope;
    }
    for (int c = 0; c < classes; c++) {
        const float z = logit_of(p.logits, pixel, c), t = c == target ? 1.0f : 0.0f;
        const float slope = p.coefficients[2 * c] + t * p.coefficients[2 * c + 1];
        const float probability = p.softmax ? expf(z - log_sum) : sigmoid_of(z);
        const float through = p.softmax ? probability * (slope - mean) : probability * (1.0f - probability) * slope;
        plane_of(p.gradient, (int)(pixel / p.gradient.pixels), c)[pixel % p.gradient.pixels] =
            p.weight * (share * (probability - t) + through);
    }
}

struct DistilParameters {
    Tensor logits;
    Tensor gradient;
    Tensor teacher;
    const StepNumbers *step;
    // One for each block.
    double *sums;
    double *value;
    int softmax;
    int blocks;
};

// Divergence from the teacher, whose gradient takes its share of `gradient`.
KERNEL(distil, DistilParameters) {
    const long long all = (long long)p.logits.batch * p.logits.pixels;
    const long long pixel = (long long)blockIdx.x * THREADS + threadIdx.x;
    const int classes = p.logits.channels;
    const float inverse = 1.0f / p.step->temperature;
    const float means_over = (float)(p.softmax ? all : all * classes);
    const float keep = 1.0f - p.step->teacher_weight, share = p.step->teacher_weight * p.step->temperature / means_over;
    double sums[1] = {0.0};
    if (pixel < all) {
        const float log_z = p.softmax ? log_sum_of(p.logits, pixel, inverse) : 0.0f;
        const float log_t = p.softmax ? log_sum_of(p.teacher, pixel, inverse) : 0.0f;
        for (int c = 0; c < classes; c++) {
            const float z = logit_of(p.logits, pixel, c) * inverse, t = logit_of(p.teacher, pixel, c) * inverse;
            float mine, its;
            if (p.softmax) {
                mine = expf(z - log_z);
                its = expf(t - log_t);
                // Where the teacher has no probability at all, there is nothing to learn.
                if (!(its <= 0.0f)) sums[0] += its * ((t - log_t) - (z - log_z));
            } else {
                mine = sigmoid_of(z);
                its = sigmoid_of(t);
                sums[0] += its * (softplus_of(-z) - softplus_of(-t)) + (1.0f - its) * (softplus_of(z) - softplus_of(t));
            }
            float *d = plane_of(p.gradient, (int)(pixel / p.gradient.pixels), c) + pixel % p.gradient.pixels;
            *d = keep * *d + share * (mine - its);
        }
    }
    block_sum(sums);
    if (threadIdx.x == 0) p.sums[blockIdx.x] = sums[0];
}

// One block: the teacher's share of the loss.
KERNEL(distil_value, DistilParameters) {
    double sums[1] = {0.0};
    for (int block = threadIdx.x; block < p.blocks; block += THREADS) sums[0] += p.sums[block];
    block_sum(sums);
    if (threadIdx.x == 0) {
        const double all = (double)p.logits.batch * p.logits.pixels * (p.softmax ? 1 : p.logits.channels);
        const double weight = p.step->teacher_weight, temperature = p.step->temperature;
        p.value[0] = (1.0 - weight) * p.value[0] + weight * temperature * temperature * (sums[0] / all);
    }
}
