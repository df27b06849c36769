// What all kernels share. The source is compiled by NVRTC on the machine that runs it. Defining SEGFIT_EMULATED makes it
// plain C++ instead, one block after the other: the tests run every kernel that way where there is no GPU.

#ifndef SEGFIT_EMULATED
#define KERNEL(name, Parameters) extern "C" __global__ void __launch_bounds__(256) name(const Parameters p)
#define DEVICE __device__ __forceinline__
#define SHARED(type, name, count) __shared__ type name[count]
#define INFINITE __int_as_float(0x7f800000)
#endif

typedef unsigned long long u64;

// Threads of a block in all kernels.
#define THREADS 256
// Pixels of a plane that a block handles in kernels that change every value by itself.
#define CHUNK 1024
// Pixels of a plane that a block sums up.
#define PART 4096

// Planes of `batch` images: plane c of image n begins at data + n * image + c * pixels.
struct Tensor {
    float *data;
    int image;
    int batch;
    int channels;
    int height;
    int width;
    int pixels;
};

// A run of pixels of one plane, one block's work.
struct Run {
    int plane;
    int image;
    int channel;
    int first;
    int end;
};

DEVICE Run run_of(const Tensor &t, int length) {
    const int runs = (t.pixels + length - 1) / length;
    Run run;
    run.plane = blockIdx.x / runs;
    run.image = run.plane / t.channels;
    run.channel = run.plane % t.channels;
    run.first = (int)(blockIdx.x % runs) * length;
    run.end = min(run.first + length, t.pixels);
    return run;
}

DEVICE float *plane_of(const Tensor &t, int image, int channel) {
    return t.data + (long long)image * t.image + (long long)channel * t.pixels;
}

DEVICE void put(float *to, float value, int accumulate) {
    *to = accumulate ? *to + value : value;
}

// Sum over the block in a fixed order; thread 0 has it.
template <int COUNT> DEVICE void block_sum(double (&values)[COUNT]) {
    SHARED(double, memory, THREADS * COUNT);
    for (int k = 0; k < COUNT; k++) memory[k * THREADS + threadIdx.x] = values[k];
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) {
            for (int k = 0; k < COUNT; k++) memory[k * THREADS + threadIdx.x] += memory[k * THREADS + threadIdx.x + half];
        }
        __syncthreads();
    }
    for (int k = 0; k < COUNT; k++) values[k] = memory[k * THREADS];
    __syncthreads();
}

// Number of values, their mean, and the sum of squared differences from it.
struct Moments {
    double count;
    double mean;
    double squares;
};

// Of the union of two sets (Chan, Golub and LeVeque 1979).
DEVICE Moments united(Moments a, Moments b) {
    Moments all;
    all.count = a.count + b.count;
    const double difference = b.mean - a.mean, share = all.count > 0.0 ? b.count / all.count : 0.0;
    all.mean = a.mean + difference * share;
    all.squares = a.squares + b.squares + difference * difference * a.count * share;
    return all;
}

DEVICE Moments block_union(Moments mine) {
    SHARED(Moments, memory, THREADS);
    memory[threadIdx.x] = mine;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) memory[threadIdx.x] = united(memory[threadIdx.x], memory[threadIdx.x + half]);
        __syncthreads();
    }
    const Moments all = memory[0];
    __syncthreads();
    return all;
}

// What changes from step to step, written by the host.
struct StepNumbers {
    u64 seed;
    u64 step;
    float step_size;
    float root;
    float rate;
    float average_decay;
    float teacher_weight;
    float temperature;
};
