// Vectors of sixteen floats, for the loops of this folder; not part of what it offers.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
// Sixteen floats side by side: one AVX-512 register, two of AVX2, four of the baseline.
typedef float vec __attribute__((ext_vector_type(16), aligned(4)));
typedef double dvec __attribute__((ext_vector_type(16)));
typedef int32_t ivec __attribute__((ext_vector_type(16), aligned(4)));

// Macros where a vector would cross a function's boundary: the baseline and AVX-512 pass them differently.
#define LOAD(p) (*(const vec *)(p))
#define STORE(p, v) (*(vec *)(p) = (v))
