// Conversions between the element types of files and float32. Reading is exact; writing rounds to the nearest, ties
// to even.
#pragma once
#include <stddef.h>
#include <stdint.h>

void graft_widen_bfloat16(const uint16_t *x, float *y, size_t count);
void graft_widen_float16(const uint16_t *x, float *y, size_t count);
void graft_widen_float64(const double *x, float *y, size_t count);
void graft_widen_uint8(const uint8_t *x, float *y, size_t count);
void graft_widen_int8(const int8_t *x, float *y, size_t count);
void graft_narrow_bfloat16(const float *x, uint16_t *y, size_t count);
void graft_narrow_float16(const float *x, uint16_t *y, size_t count);
