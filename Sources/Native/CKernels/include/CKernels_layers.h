// Kernels over activation tensors, one sample and one block of channels at a time.
//
// A *plane* holds `spatial` positions × `inner` channels, channels contiguous: inner is the block size in
// blocked layouts, C in channels-last, and 1 in N×C×H×W. Arrays per channel have `inner` entries.
#pragma once
#include <stddef.h>

enum graft_activation { GRAFT_IDENTITY = 0, GRAFT_RELU = 1, GRAFT_RELU6 = 2, GRAFT_LEAKY_RELU = 3 };

// sum[c] = Σ (x - shift[c]), square[c] = Σ (x - shift[c])²
void graft_norm_sums(const float *x, size_t spatial, size_t inner, const float *shift, double *sum, double *square);

// y = activation(x · scale[c] + offset[c] + residual); residual may be null.
void graft_norm_apply(const float *x, const float *residual, float *y, size_t spatial, size_t inner,
                      const float *scale, const float *offset, int activation, float slope);

// g = dy · activation'(y); sum[c] = Σ g, product[c] = Σ g · (x - mean[c]). Writes g to `masked` unless null.
// y may be null: it is then x · scale[c] + offset[c] again, which costs less than reading it.
void graft_norm_gradient_sums(const float *dy, const float *y, const float *x, float *masked, size_t spatial,
                              size_t inner, const float *scale, const float *offset, const float *mean,
                              int activation, float slope, double *sum, double *product);

// dx = (dy · activation'(y)) · a[c] + x · b[c] + d[c]; y may be null, as above.
void graft_norm_gradient_apply(const float *dy, const float *y, const float *x, float *dx, size_t spatial,
                               size_t inner, const float *scale, const float *offset, const float *a,
                               const float *b, const float *d, int activation, float slope);

// y = activation(x), and dx = dy · activation'(y).
void graft_activate(const float *x, float *y, size_t count, int activation, float slope);
void graft_activate_gradient(const float *dy, const float *y, float *dx, size_t count, int activation, float slope);
