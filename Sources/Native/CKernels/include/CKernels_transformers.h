// Kernels over rows of a row-major matrix: what a transformer does between its matrix products.
#pragma once
#include <stddef.h>

// The largest of some numbers (-inf for none; NaN where any is), and Σ exp(x - shift) in double precision.
float graft_largest(const float *x, size_t count);
double graft_sum_of_exponentials(const float *x, size_t count, float shift);
// y = exp(x - shift) · scale - offset; y may be x.
void graft_exponentials(const float *x, float *y, size_t count, float shift, float scale, float offset);

// GELU of x + bias[column]; bias may be null. `approximate`: with tanh, as GPT-2 has it.
void graft_gelu(const float *x, const float *bias, float *y, size_t rows, size_t width, int approximate);
// dx = dy · gelu'(x + bias); adds dx to sums[column] unless null.
void graft_gelu_gradient(const float *dy, const float *x, const float *bias, float *dx, float *sums, size_t rows,
                         size_t width, int approximate);

// y = (x - mean) · inverse · scale + shift for each row; keeps mean and inverse = 1 / sqrt(variance + epsilon).
void graft_layer_norm(const float *x, const float *scale, const float *shift, float *y, float *mean, float *inverse,
                      size_t rows, size_t width, float epsilon);
// The gradients of x (unless dx is null) and, added to what is there, of scale and shift (unless null).
void graft_layer_norm_gradient(const float *dy, const float *x, const float *scale, const float *mean,
                               const float *inverse, float *dx, float *dscale, float *dshift, size_t rows,
                               size_t width);

// Adds each row to sums[column], in double precision.
void graft_column_sums(const float *x, double *sums, size_t rows, size_t width);

// Rows of attention scores, in place: probabilities softmax(scale · score + mask[key]) over the first
// min(keys, first + row + 1) keys where `causal` (first: the position of row 0), over all elsewhere; 0 behind them.
// logarithms[row] = log Σ exp. A row without any key becomes zeros. mask may be null.
void graft_attention_probabilities(float *scores, const float *mask, float *logarithms, size_t rows, size_t keys,
                                   float scale, int causal, size_t first);
// Scores → the scores' gradient, and the probabilities' gradient `dp` → the probabilities that met the values:
//   p = exp(scale · score + mask - logarithm);  scores = p · (dp · factors - delta[row]) · scale;  dp = p · factors.
// factors (dropout) may be null: ones.
void graft_attention_gradient(float *scores, float *dp, const float *mask, const float *logarithms,
                              const float *delta, const float *factors, size_t rows, size_t keys, float scale,
                              int causal, size_t first);
// sums[row] = Σ a · b, for rows of two matrices.
void graft_row_products(const float *a, size_t strideA, const float *b, size_t strideB, float *sums, size_t rows,
                        size_t width);
// y = a · b.
void graft_multiply(const float *a, const float *b, float *y, size_t count);
