// Dropout: masks made of Philox4x32-10, never stored. Tested against the plain generator in Swift.
#pragma once
#include <stddef.h>
#include <stdint.h>

// A stream of random words: word i is word i % 4 of the Philox block of counter (i / 4, stream) under the key.
struct graft_random_stream {
    uint32_t key[2];
    uint32_t stream[2];
};

// For elements first ..< first + count of a mask: 0 with probability `rate`, else 1 / (1 - rate).
void graft_dropout_factors(struct graft_random_stream random, uint64_t first, size_t count, float rate, float *factors);
// y = x · factor; y may be x.
void graft_dropout(struct graft_random_stream random, uint64_t first, size_t count, float rate, const float *x,
                   float *y);
// y = residual + (x + bias[column]) · factor, for rows of `width`; bias may be null, and a rate of 0 keeps all.
void graft_dropout_add(struct graft_random_stream random, uint64_t first, size_t rows, size_t width, float rate,
                       const float *x, const float *bias, const float *residual, float *y);
