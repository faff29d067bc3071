// Element-wise loops that need run-time dispatch between AVX-512, AVX2 and the baseline.
// Optimizers are tested against plain Swift; layers against finite differences and PyTorch's numbers.
// Nothing else in Graft is C.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "CKernels_threads.h"
#include "CKernels_images.h"
#include "CKernels_layers.h"
#include "CKernels_transformers.h"
#include "CKernels_random.h"
#include "CKernels_casts.h"
#include "CKernels_optimizers.h"

// Compiles a function three times; the best one for the processor is chosen when the program is loaded.
#if defined(__x86_64__)
#define GRAFT_CLONES __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define GRAFT_CLONES
#endif
