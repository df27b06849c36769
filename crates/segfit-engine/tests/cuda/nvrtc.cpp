// The part of NVRTC that segfit calls, for the emulated GPU, whose kernels are compiled beforehand.

#include <cstdlib>
#include <cstring>
#include <string>

struct Program {
    std::string source, code, log;
};

enum { SUCCESS = 0, INVALID_INPUT = 3, INVALID_OPTION = 5, COMPILATION = 6 };

#define CALL extern "C" int

CALL nvrtcCreateProgram(Program **program, const char *source, const char *, int headers, const char *const *, const char *const *) {
    *program = new Program{source, "", ""};
    return headers == 0 ? SUCCESS : INVALID_INPUT;
}
CALL nvrtcCompileProgram(Program *program, int count, const char *const *options) {
    const char *prefix = "--gpu-architecture=";
    for (int k = 0; k < count; k++) {
        if (strncmp(options[k], prefix, strlen(prefix)) != 0) continue;
        std::string architecture = options[k] + strlen(prefix);
        const char *newest = getenv("SEGFIT_MOCK_NVRTC");
        if (architecture > (newest ? newest : "sm_90")) {
            program->log = "nvrtc: error: invalid value for --gpu-architecture (-arch)\n";
            return INVALID_OPTION;
        }
        program->code = "\x7f" "ELF of " + architecture + '\0';
    }
    bool is_whole = program->source.find("KERNEL(") != std::string::npos && !program->code.empty();
    return is_whole ? SUCCESS : COMPILATION;
}
CALL nvrtcGetProgramLogSize(Program *program, size_t *size) {
    *size = program->log.size() + 1;
    return SUCCESS;
}
CALL nvrtcGetProgramLog(Program *program, char *log) {
    memcpy(log, program->log.c_str(), program->log.size() + 1);
    return SUCCESS;
}
CALL nvrtcGetCUBINSize(Program *program, size_t *size) {
    *size = program->code.size();
    return program->code.empty() ? INVALID_INPUT : SUCCESS;
}
CALL nvrtcGetCUBIN(Program *program, char *code) {
    memcpy(code, program->code.data(), program->code.size());
    return SUCCESS;
}
CALL nvrtcDestroyProgram(Program **program) {
    delete *program;
    *program = nullptr;
    return SUCCESS;
}
