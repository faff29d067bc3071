#include "CKernels.h"
#include <math.h>

// Contraction would fuse a multiply and an add where the CPU can, and so change bits between machines.
#pragma STDC FP_CONTRACT OFF

// `sqrtf` may set errno, which keeps a loop from being vectorised; the builtin does not.
#if __has_builtin(__builtin_elementwise_sqrt)
#define GRAFT_SQRT(x) __builtin_elementwise_sqrt(x)
#else
#define GRAFT_SQRT(x) sqrtf(x)
#endif

GRAFT_CLONES
void graft_sgd(size_t count, float *restrict value, const float *restrict gradient, float gradientScale,
               float learningRate, float weightDecay) {
    for (size_t i = 0; i < count; i++) {
        float g = gradient[i] * gradientScale + weightDecay * value[i];
        value[i] -= learningRate * g;
    }
}

GRAFT_CLONES
void graft_sgd_momentum(size_t count, float *restrict value, const float *restrict gradient,
                        float *restrict buffer, float gradientScale, float learningRate, float weightDecay,
                        float momentum, int nesterov) {
    if (nesterov) {
        for (size_t i = 0; i < count; i++) {
            float g = gradient[i] * gradientScale + weightDecay * value[i];
            float b = momentum * buffer[i] + g;
            buffer[i] = b;
            value[i] -= learningRate * (g + momentum * b);
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            float g = gradient[i] * gradientScale + weightDecay * value[i];
            float b = momentum * buffer[i] + g;
            buffer[i] = b;
            value[i] -= learningRate * b;
        }
    }
}

GRAFT_CLONES
void graft_adam(size_t count, float *restrict value, const float *restrict gradient,
                float *restrict firstMoment, float *restrict secondMoment, float gradientScale, float shrink,
                float weightDecay, float oneMinusBeta1, float beta2, float oneMinusBeta2, float stepSize,
                float rootCorrection, float epsilon) {
    for (size_t i = 0; i < count; i++) {
        float v = value[i];
        float g = gradient[i] * gradientScale + weightDecay * v;
        float m = firstMoment[i] + oneMinusBeta1 * (g - firstMoment[i]);
        float s = beta2 * secondMoment[i] + oneMinusBeta2 * (g * g);
        firstMoment[i] = m;
        secondMoment[i] = s;
        float denominator = GRAFT_SQRT(s) / rootCorrection + epsilon;
        value[i] = v * shrink - stepSize * (m / denominator);
    }
}

GRAFT_CLONES
double graft_sum_of_squares(size_t count, const float *values) {
    double lanes[16] = {0};
    size_t whole = count - count % 16;
    for (size_t i = 0; i < whole; i += 16) {
        for (int j = 0; j < 16; j++) {
            double x = values[i + j];
            lanes[j] += x * x;
        }
    }
    for (size_t i = whole; i < count; i++) {
        double x = values[i];
        lanes[i - whole] += x * x;
    }
    double sum = 0;
    for (int j = 0; j < 16; j++) sum += lanes[j];
    return sum;
}
