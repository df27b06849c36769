// The optimiser's step.

struct UpdateParameters {
    float *parameters;
    const float *gradients;
    float *first;
    float *second;
    // Null without a moving average.
    float *average;
    // One for every parameter: weight decay.
    const float *decays;
    const StepNumbers *step;
    int count;
    // 1 - beta1, beta2, 1 - beta2.
    float first_share;
    float second_keep;
    float second_share;
    float eps;
};

DEVICE void follow(float *average, float value, float decay) {
    *average = fmaf(1.0f - decay, value - *average, *average);
}

KERNEL(adam_w, UpdateParameters) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= p.count) return;
    const float gradient = p.gradients[i];
    const float mean = fmaf(gradient - p.first[i], p.first_share, p.first[i]);
    const float squares = fmaf(p.second_share * gradient, gradient, p.second[i] * p.second_keep);
    const float denominator = sqrtf(squares) / p.step->root + p.eps;
    const float keep = (float)(1.0 - (double)p.step->rate * (double)p.decays[i]);
    p.first[i] = mean;
    p.second[i] = squares;
    p.parameters[i] = fmaf(-p.step->step_size, mean / denominator, p.parameters[i] * keep);
    if (p.average) follow(p.average + i, p.parameters[i], p.step->average_decay);
}

KERNEL(descend, UpdateParameters) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= p.count) return;
    p.parameters[i] = fmaf(-p.step->rate, p.gradients[i], p.parameters[i]);
    if (p.average) follow(p.average + i, p.parameters[i], p.step->average_decay);
}

struct FollowParameters {
    const float *values;
    float *average;
    const StepNumbers *step;
    int count;
};

KERNEL(follow_all, FollowParameters) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < p.count) follow(p.average + i, p.values[i], p.step->average_decay);
}
