// The entry points of GCC's OpenMP runtime, which oneDNN and Debian's OpenMP build of OpenBLAS use too.
// Swift's compiler has no OpenMP of its own, and a second runtime would mean a second set of threads.
#pragma once

int omp_in_parallel(void);
int omp_get_max_threads(void);
void omp_set_num_threads(int count);
int omp_get_thread_num(void);
int omp_get_num_threads(void);
void GOMP_parallel(void (*body)(void *), void *context, unsigned threads, unsigned flags);

// The OpenBLAS kernel set for this processor ("SKYLAKEX", "HASWELL"), or "" to leave the choice to the library.
const char *graft_openblas_core(void);
// Widest vector instructions that the kernels of this folder use here: 512, 256 or 128 bits.
int graft_vector_bits(void);
