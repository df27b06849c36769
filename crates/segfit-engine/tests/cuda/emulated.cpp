// Runs the CUDA kernels on the CPU: block after block, the threads of a block as fibers that take turns at barriers.
// Included in front of the kernels' source.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define SEGFIT_EMULATED
#define INFINITE INFINITY

struct Index {
    unsigned x, y, z;
};

static Index blockIdx, threadIdx;

using std::isnan;

static inline int min(int a, int b) {
    return a < b ? a : b;
}
static inline long long min(long long a, long long b) {
    return a < b ? a : b;
}
static inline int max(int a, int b) {
    return a > b ? a : b;
}
static inline double max(double a, double b) {
    return a > b ? a : b;
}

#define DEVICE static inline
// Blocks run one at a time.
#define SHARED(type, name, count) static type name[count]

static const unsigned BLOCK = 256;
static const size_t STACK = 64 << 10;

struct Body {
    virtual void run() = 0;
};

static Body *body;
static bool finished[BLOCK];
static unsigned current;

#if defined(__x86_64__)
// A fiber is its stack pointer; what the calling convention keeps across calls is on its stack.
static void *fibers[BLOCK];
static void *host;

extern "C" void segfit_switch(void **from, void *to);
asm(R"(
.globl segfit_switch
.hidden segfit_switch
segfit_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

static void leave() {
    segfit_switch(&fibers[current], host);
}

static void enter(unsigned k) {
    segfit_switch(&host, fibers[k]);
}

static void fiber() {
    body->run();
    finished[current] = true;
    leave();
    abort();
}

static void begin(unsigned k, char *stack) {
    // As a call leaves it: 8 bytes off a multiple of 16.
    void **top = (void **)((size_t)(stack + STACK) & ~(size_t)15);
    *--top = nullptr;
    *--top = (void *)fiber;
    top -= 6;
    memset(top, 0, 6 * sizeof(void *));
    fibers[k] = top;
}
#else
static ucontext_t fibers[BLOCK];
static ucontext_t host;

static void leave() {
    swapcontext(&fibers[current], &host);
}

static void enter(unsigned k) {
    swapcontext(&host, &fibers[k]);
}

static void fiber() {
    body->run();
    finished[current] = true;
    leave();
}

static void begin(unsigned k, char *stack) {
    getcontext(&fibers[k]);
    fibers[k].uc_stack.ss_sp = stack;
    fibers[k].uc_stack.ss_size = STACK;
    fibers[k].uc_link = nullptr;
    makecontext(&fibers[k], fiber, 0);
}
#endif

static void __syncthreads() {
    leave();
}

// A thread that ends while others wait at a barrier is a fault, and so is a barrier that only some reach.
static void run_block() {
    static std::vector<char> stacks(BLOCK * STACK);
    for (unsigned k = 0; k < BLOCK; k++) {
        finished[k] = false;
        begin(k, stacks.data() + k * STACK);
    }
    for (;;) {
        unsigned ended = 0;
        for (unsigned k = 0; k < BLOCK; k++) {
            current = k;
            threadIdx = {k, 0, 0};
            enter(k);
            ended += finished[k];
        }
        if (ended == BLOCK) return;
        if (ended > 0) {
            fprintf(stderr, "%u of %u threads ended before a barrier\n", ended, BLOCK);
            abort();
        }
    }
}

static void run_grid(const unsigned *grid, Body *kernel) {
    body = kernel;
    for (unsigned z = 0; z < grid[2]; z++) {
        for (unsigned y = 0; y < grid[1]; y++) {
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                run_block();
            }
        }
    }
}

#define KERNEL(name, Parameters)                                                       \
    static void name##_body(const Parameters &p);                                      \
    struct name##_kernel : Body {                                                      \
        Parameters p;                                                                  \
        void run() override { name##_body(p); }                                        \
    };                                                                                 \
    extern "C" int name##_size() { return sizeof(Parameters); }                        \
    extern "C" void name(const unsigned *grid, const void *parameters) {               \
        name##_kernel kernel;                                                          \
        memcpy((void *)&kernel.p, parameters, sizeof(Parameters));                     \
        run_grid(grid, &kernel);                                                       \
    }                                                                                  \
    static void name##_body(const Parameters &p)

