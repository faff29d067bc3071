// Element-wise loops that need run-time dispatch between AVX-512, AVX2 and the baseline.
// Each has a plain Swift reference that it is tested against. Nothing else in Graft is C.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "CKernels_optimizers.h"
