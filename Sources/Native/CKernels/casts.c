#include "CKernels.h"
#include <string.h>

static inline __attribute__((always_inline)) float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline __attribute__((always_inline)) uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

GRAFT_CLONES
void graft_widen_bfloat16(const uint16_t *x, float *y, size_t count) {
    for (size_t i = 0; i < count; i++) y[i] = from_bits((uint32_t)x[i] << 16);
}

// Exponents are moved by a multiplication, which makes subnormal numbers right too; infinities and NaNs are set apart.
GRAFT_CLONES
void graft_widen_float16(const uint16_t *x, float *y, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t sign = (uint32_t)(x[i] & 0x8000) << 16, rest = (uint32_t)(x[i] & 0x7fff) << 13;
        uint32_t finite = to_bits(from_bits(rest) * 0x1p112f);
        uint32_t bits = rest >= 0x0f800000 ? rest | 0x7f800000 : finite;
        y[i] = from_bits(bits | sign);
    }
}

GRAFT_CLONES
void graft_widen_float64(const double *x, float *y, size_t count) {
    for (size_t i = 0; i < count; i++) y[i] = (float)x[i];
}

GRAFT_CLONES
void graft_widen_uint8(const uint8_t *x, float *y, size_t count) {
    for (size_t i = 0; i < count; i++) y[i] = x[i];
}

GRAFT_CLONES
void graft_widen_int8(const int8_t *x, float *y, size_t count) {
    for (size_t i = 0; i < count; i++) y[i] = x[i];
}

GRAFT_CLONES
void graft_narrow_bfloat16(const float *x, uint16_t *y, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = to_bits(x[i]);
        uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        // A NaN must not be rounded into an infinity.
        y[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
    }
}

GRAFT_CLONES
void graft_narrow_float16(const float *x, uint16_t *y, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = to_bits(x[i]), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
        // Adding a power of two rounds a small number where a subnormal half has its last bit.
        uint32_t small = to_bits(from_bits(size) + 0.5f) - to_bits(0.5f);
        uint32_t normal = (size - (112u << 23) + 0xfff + (size >> 13 & 1)) >> 13;
        uint32_t half = size < (113u << 23) ? small : normal;
        half = size >= 0x477ff000 ? 0x7c00 : half;
        half = size > 0x7f800000 ? 0x7e00 | (size >> 13 & 0x3ff) : half;
        y[i] = (uint16_t)(half | sign);
    }
}
