// The part of NVIDIA's driver that segfit calls, for a GPU that is emulated: behind `emulated.cpp` and the kernels. It notices more
// than a real one: work waits in its queue until somebody waits for it, handles of streams, graphs and modules are checked, and so is
// memory around what was asked for. Blocks and threads run one after the other: races are not found.

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <set>
#include <string>

namespace mock {

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
    STREAM_CAPTURE_UNSUPPORTED = 900,
};

typedef unsigned long long Address;

struct Kernel {
    std::string name;
    int size;
    void (*run)(const unsigned *, const void *);
};

struct Launch {
    const Kernel *kernel;
    unsigned grid[3];
    std::vector<char> parameters;
};

typedef std::vector<Launch> Graph;

struct Stream {
    bool waits_for_copies;
    bool captures;
    Graph captured;
    std::vector<Launch> queue;
};

struct Piece {
    char *all;
    size_t bytes;
};

static const size_t GUARD = 4096;
static const char UNTOUCHED = (char)0xA5;

static std::mutex lock;
static bool initialised;
static int contexts;
static thread_local void *current_context;
static int context_handle;
static std::map<Address, Piece> memory;
static std::set<Stream *> streams;
static std::set<Graph *> graphs, executables;
static std::set<std::map<std::string, Kernel> *> modules;
static size_t used;
static bool failed;

// What goes wrong, from outside: "gpus=0", "init=100", "memory=BYTES", "skip=KERNEL", "fail=KERNEL", "missing=KERNEL",
// "refused=KERNEL", "arch=75", "version=11020", "image=0", "stream=0".
static std::map<std::string, std::string> faults;

static void set_faults(const char *text) {
    faults.clear();
    std::string rest = text ? text : "";
    while (!rest.empty()) {
        size_t end = rest.find(',');
        std::string one = rest.substr(0, end);
        size_t equals = one.find('=');
        faults[one.substr(0, equals)] = one.substr(equals + 1);
        rest = end == std::string::npos ? "" : rest.substr(end + 1);
    }
    failed = false;
}

static long number(const char *fault, long otherwise) {
    auto found = faults.find(fault);
    return found == faults.end() ? otherwise : atol(found->second.c_str());
}

static struct AtStart {
    AtStart() { set_faults(getenv("SEGFIT_MOCK_DRIVER")); }
} at_start;

static size_t limit() {
    return (size_t)number("memory", 1l << 30);
}

// Every call that needs a context, and that must not be made while a stream captures.
static int usable(bool while_capturing = false) {
    if (!initialised) return NOT_INITIALIZED;
    if (contexts == 0 || current_context != &context_handle) return INVALID_CONTEXT;
    if (failed) return LAUNCH_FAILED;
    for (Stream *stream : streams) {
        if (stream->captures && !while_capturing) return STREAM_CAPTURE_UNSUPPORTED;
    }
    return SUCCESS;
}

static void run(const Launch &launch) {
    const std::string &name = launch.kernel->name;
    if (faults.count("skip") && faults["skip"] == name) return;
    if (faults.count("fail") && faults["fail"] == name) failed = true;
    if (!failed) launch.kernel->run(launch.grid, launch.parameters.data());
}

static int finish(Stream *stream) {
    for (const Launch &launch : stream->queue) run(launch);
    stream->queue.clear();
    return failed ? LAUNCH_FAILED : SUCCESS;
}

// What a copy without a stream waits for.
static int finish_all() {
    for (Stream *stream : streams) {
        if (stream->waits_for_copies && finish(stream) != SUCCESS) return LAUNCH_FAILED;
    }
    return SUCCESS;
}

static char *inside(Address address, size_t bytes) {
    auto next = memory.upper_bound(address);
    if (next == memory.begin()) return nullptr;
    auto found = --next;
    return address + bytes <= found->first + found->second.bytes ? (char *)address : nullptr;
}

static void check_guards(Address address, const Piece &piece) {
    for (const char *c = piece.all; c < piece.all + piece.bytes + 2 * GUARD; c++) {
        bool is_inside = (Address)c >= address && (Address)c < address + piece.bytes;
        if (!is_inside && *c != UNTOUCHED) {
            fprintf(stderr, "a kernel wrote outside of its memory\n");
            abort();
        }
    }
}

}  // namespace mock

using namespace mock;

typedef std::lock_guard<std::mutex> Guard;
#define CALL extern "C" int

// For tests.
CALL segfit_mock_live() {
    Guard guard(lock);
    return (int)(memory.size() + streams.size() + graphs.size() + executables.size() + modules.size()) + contexts;
}
extern "C" void segfit_mock_faults(const char *text) {
    Guard guard(lock);
    set_faults(text);
}

CALL cuInit(unsigned flags) {
    Guard guard(lock);
    int code = (int)number("init", SUCCESS);
    initialised = code == SUCCESS;
    return flags == 0 ? code : INVALID_VALUE;
}
CALL cuDriverGetVersion(int *version) {
    *version = (int)number("version", 13000);
    return SUCCESS;
}
CALL cuDeviceGetCount(int *count) {
    *count = (int)number("gpus", 1);
    return initialised ? SUCCESS : NOT_INITIALIZED;
}
CALL cuDeviceGet(int *device, int ordinal) {
    *device = 0;
    return ordinal == 0 ? SUCCESS : INVALID_VALUE;
}
CALL cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, length, "Emulated");
    return device == 0 ? SUCCESS : INVALID_VALUE;
}
CALL cuDeviceGetAttribute(int *value, int attribute, int device) {
    int architecture = (int)number("arch", 90);
    if (device != 0 || (attribute != 75 && attribute != 76)) return INVALID_VALUE;
    *value = attribute == 75 ? architecture / 10 : architecture % 10;
    return SUCCESS;
}
CALL cuDevicePrimaryCtxRetain(void **context, int) {
    Guard guard(lock);
    if (!initialised) return NOT_INITIALIZED;
    contexts++;
    *context = &context_handle;
    return SUCCESS;
}
CALL cuDevicePrimaryCtxRelease_v2(int) {
    Guard guard(lock);
    if (contexts == 0) return INVALID_CONTEXT;
    contexts--;
    return SUCCESS;
}
CALL cuCtxSetCurrent(void *context) {
    if (context != &context_handle) return INVALID_CONTEXT;
    current_context = context;
    return SUCCESS;
}
CALL cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    Guard guard(lock);
    *total = limit();
    *free_bytes = *total > used ? *total - used : 0;
    return usable();
}

CALL cuStreamCreate(Stream **stream, unsigned flags) {
    Guard guard(lock);
    if (int code = usable()) return code;
    if (faults.count("stream")) return OUT_OF_MEMORY;
    *stream = new Stream{flags == 0, false, {}, {}};
    streams.insert(*stream);
    return SUCCESS;
}
CALL cuStreamDestroy_v2(Stream *stream) {
    Guard guard(lock);
    if (!streams.count(stream)) return INVALID_HANDLE;
    finish(stream);
    streams.erase(stream);
    delete stream;
    return SUCCESS;
}
CALL cuStreamSynchronize(Stream *stream) {
    Guard guard(lock);
    if (int code = usable()) return code;
    return streams.count(stream) ? finish(stream) : INVALID_HANDLE;
}
CALL cuStreamBeginCapture_v2(Stream *stream, int) {
    Guard guard(lock);
    if (int code = usable()) return code;
    if (!streams.count(stream)) return INVALID_HANDLE;
    stream->captures = true;
    stream->captured.clear();
    return SUCCESS;
}
CALL cuStreamEndCapture(Stream *stream, Graph **graph) {
    Guard guard(lock);
    if (int code = usable(true)) return code;
    if (!streams.count(stream) || !stream->captures) return INVALID_HANDLE;
    stream->captures = false;
    graphs.insert(*graph = new Graph(stream->captured));
    return SUCCESS;
}
CALL cuGraphInstantiateWithFlags(Graph **executable, Graph *graph, unsigned long long) {
    Guard guard(lock);
    if (int code = usable()) return code;
    if (!graphs.count(graph)) return INVALID_HANDLE;
    executables.insert(*executable = new Graph(*graph));
    return SUCCESS;
}
CALL cuGraphDestroy(Graph *graph) {
    Guard guard(lock);
    if (!graphs.erase(graph)) return INVALID_HANDLE;
    delete graph;
    return SUCCESS;
}
CALL cuGraphLaunch(Graph *executable, Stream *stream) {
    Guard guard(lock);
    if (int code = usable()) return code;
    if (!executables.count(executable) || !streams.count(stream)) return INVALID_HANDLE;
    stream->queue.insert(stream->queue.end(), executable->begin(), executable->end());
    return SUCCESS;
}
CALL cuGraphExecDestroy(Graph *executable) {
    Guard guard(lock);
    if (!executables.erase(executable)) return INVALID_HANDLE;
    delete executable;
    return SUCCESS;
}

CALL cuModuleLoadData(void **module, const void *image) {
    Guard guard(lock);
    if (int code = usable()) return code;
    std::string expected = "\x7f" "ELF of sm_" + std::to_string(number("arch", 90));
    if (expected != (const char *)image || faults.count("image")) return INVALID_IMAGE;
    auto *kernels = new std::map<std::string, Kernel>;
    modules.insert(kernels);
    *module = kernels;
    return SUCCESS;
}
CALL cuModuleUnload(std::map<std::string, Kernel> *module) {
    Guard guard(lock);
    if (!modules.erase(module)) return INVALID_HANDLE;
    delete module;
    return SUCCESS;
}
CALL cuModuleGetFunction(const Kernel **kernel, std::map<std::string, Kernel> *module, const char *name) {
    Guard guard(lock);
    if (int code = usable()) return code;
    if (!modules.count(module)) return INVALID_HANDLE;
    Dl_info self;
    dladdr((void *)&set_faults, &self);
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    auto size = (int (*)())dlsym(library, (std::string(name) + "_size").c_str());
    auto run = (void (*)(const unsigned *, const void *))dlsym(library, name);
    if (!size || !run || (faults.count("missing") && faults["missing"] == name)) return NOT_FOUND;
    *kernel = &((*module)[name] = Kernel{name, size(), run});
    return SUCCESS;
}
CALL cuLaunchKernel(
    const Kernel *kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
    unsigned shared, Stream *stream, void **parameters, void **extra
) {
    Guard guard(lock);
    if (int code = usable(true)) return code;
    if (!streams.count(stream)) return INVALID_HANDLE;
    if (faults.count("refused") && faults["refused"] == kernel->name) return INVALID_VALUE;
    bool fits = grid_x >= 1 && grid_x < 1u << 31 && grid_y >= 1 && grid_y < 1u << 16 && grid_z >= 1 && grid_z < 1u << 16;
    if (!fits || block_x != BLOCK || block_y != 1 || block_z != 1 || shared != 0 || extra) return INVALID_VALUE;
    const char *bytes = (const char *)parameters[0];
    Launch launch{kernel, {grid_x, grid_y, grid_z}, std::vector<char>(bytes, bytes + kernel->size)};
    (stream->captures ? stream->captured : stream->queue).push_back(launch);
    return SUCCESS;
}

CALL cuMemAlloc_v2(Address *address, size_t bytes) {
    Guard guard(lock);
    if (int code = usable()) return code;
    if (bytes == 0) return INVALID_VALUE;
    if (used + bytes > limit()) return OUT_OF_MEMORY;
    size_t whole = (bytes + 2 * GUARD + 255) / 256 * 256;
    char *all = (char *)aligned_alloc(256, whole);
    memset(all, UNTOUCHED, whole);
    *address = (Address)all + GUARD;
    memory[*address] = Piece{all, bytes};
    used += bytes;
    return SUCCESS;
}
CALL cuMemFree_v2(Address address) {
    Guard guard(lock);
    int code = usable();
    if (code != SUCCESS && code != LAUNCH_FAILED) return code;
    auto found = memory.find(address);
    if (found == memory.end()) return INVALID_VALUE;
    finish_all();
    check_guards(address, found->second);
    used -= found->second.bytes;
    free(found->second.all);
    memory.erase(found);
    return SUCCESS;
}
CALL cuMemsetD8_v2(Address address, unsigned char value, size_t bytes) {
    Guard guard(lock);
    if (int code = usable()) return code;
    char *to = inside(address, bytes);
    if (!to) return INVALID_VALUE;
    if (int code = finish_all()) return code;
    memset(to, value, bytes);
    return SUCCESS;
}
CALL cuMemcpyHtoD_v2(Address address, const void *from, size_t bytes) {
    Guard guard(lock);
    if (int code = usable()) return code;
    char *to = inside(address, bytes);
    if (!to) return INVALID_VALUE;
    if (int code = finish_all()) return code;
    memcpy(to, from, bytes);
    return SUCCESS;
}
CALL cuMemcpyDtoH_v2(void *to, Address address, size_t bytes) {
    Guard guard(lock);
    if (int code = usable()) return code;
    char *from = inside(address, bytes);
    if (!from) return INVALID_VALUE;
    if (int code = finish_all()) return code;
    memcpy(to, from, bytes);
    return SUCCESS;
}

CALL cuGetErrorName(int code, const char **name) {
    switch (code) {
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case LAUNCH_FAILED: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
    default: *name = "CUDA_ERROR_UNKNOWN";
    }
    return SUCCESS;
}
CALL cuGetErrorString(int code, const char **text) {
    static thread_local char words[64];
    snprintf(words, sizeof words, "error %d of the emulated driver", code);
    *text = words;
    return SUCCESS;
}
