// Fused optimizer updates over flat buffers, one pass over memory each.
//
// Every function works on elements [0, count) of buffers that do not overlap; the caller splits long
// ones into ranges and spreads them over threads. Floating-point contraction is off, so that AVX-512,
// AVX2 and baseline clones (and the plain Swift reference) give the same bits.
#pragma once
#include <stddef.h>

// Stochastic gradient descent without momentum.
// g = gradientScale * gradient + weightDecay * value;  value -= learningRate * g
void graft_sgd(size_t count, float *value, const float *gradient, float gradientScale, float learningRate,
               float weightDecay);

// Stochastic gradient descent with momentum.
// buffer = momentum * buffer + g;  value -= learningRate * (nesterov ? g + momentum * buffer : buffer)
void graft_sgd_momentum(size_t count, float *value, const float *gradient, float *buffer, float gradientScale,
                        float learningRate, float weightDecay, float momentum, int nesterov);

// Adam and AdamW. `shrink` is 1 - learningRate * weightDecay for AdamW and 1 for Adam; `weightDecay` is the L2
// term added to the gradient, 0 for AdamW. `stepSize` is learningRate / (1 - beta1^t) and `rootCorrection`
// sqrt(1 - beta2^t); `oneMinusBeta1` and `oneMinusBeta2` are rounded once from double.
void graft_adam(size_t count, float *value, const float *gradient, float *firstMoment, float *secondMoment,
                float gradientScale, float shrink, float weightDecay, float oneMinusBeta1, float beta2,
                float oneMinusBeta2, float stepSize, float rootCorrection, float epsilon);

// Sum of squares in double, in 16 interleaved lanes added in a fixed order.
double graft_sum_of_squares(size_t count, const float *values);
