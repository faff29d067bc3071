#include "CKernels.h"

int graft_vector_bits(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl")) return 512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 256;
#endif
    return 128;
}

const char *graft_openblas_core(void) {
    switch (graft_vector_bits()) {
    case 512: return "SKYLAKEX";
    case 256: return "HASWELL";
    default: return "";
    }
}
