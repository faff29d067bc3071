#include "CKernels.h"
#include "vectors.h"
#include <math.h>

// e to the power of x, to 2 units in the last place: 2^n · polynomial (the coefficients of the Cephes library). Below
// -87.3 it is 0; a NaN stays one.
#define EXP(argument)                                                                                                 \
    ({                                                                                                                \
        vec x_ = (argument), zero_ = 0, high_ = 88.37f;                                                               \
        vec c_ = x_ > high_ ? high_ : x_;                                                                             \
        /* Rounds to a whole number, which then lies in the low bits. */                                              \
        vec t_ = c_ * 1.44269504f + 12582912.0f;                                                                      \
        vec n_ = t_ - 12582912.0f;                                                                                    \
        vec r_ = c_ - n_ * 0.693359375f + n_ * 2.12194440e-4f;                                                        \
        vec p_ = r_ * 1.9875691500e-4f + 1.3981999507e-3f;                                                            \
        p_ = p_ * r_ + 8.3334519073e-3f;                                                                              \
        p_ = p_ * r_ + 4.1665795894e-2f;                                                                              \
        p_ = p_ * r_ + 1.6666665459e-1f;                                                                              \
        p_ = p_ * r_ + 5.0000001201e-1f;                                                                              \
        p_ = p_ * r_ * r_ + r_ + 1.0f;                                                                                \
        ivec bits_ = __builtin_bit_cast(ivec, p_) + (__builtin_bit_cast(ivec, t_) << 23);                             \
        vec e_ = __builtin_bit_cast(vec, bits_);                                                                      \
        x_ < -87.33f ? zero_ : e_;                                                                                    \
    })

// The error function as a quotient of polynomials, to 3e-7 (the coefficients of the Eigen library).
#define ERF(argument)                                                                                                 \
    ({                                                                                                                \
        vec y_ = (argument), four_ = 4;                                                                               \
        y_ = y_ > four_ ? four_ : y_;                                                                                 \
        y_ = y_ < -four_ ? -four_ : y_;                                                                               \
        vec s_ = y_ * y_;                                                                                             \
        vec a_ = s_ * -2.72614225801306e-10f + 2.77068142495902e-08f;                                                 \
        a_ = a_ * s_ + -2.10102402082508e-06f;                                                                        \
        a_ = a_ * s_ + -5.69250639462346e-05f;                                                                        \
        a_ = a_ * s_ + -7.34990630326855e-04f;                                                                        \
        a_ = a_ * s_ + -2.95459980854025e-03f;                                                                        \
        a_ = a_ * s_ + -1.60960333262415e-02f;                                                                        \
        vec b_ = s_ * -1.45660718464996e-05f + -2.13374055278905e-04f;                                                \
        b_ = b_ * s_ + -1.68282697438203e-03f;                                                                        \
        b_ = b_ * s_ + -7.37332916720468e-03f;                                                                        \
        b_ = b_ * s_ + -1.42647390514189e-02f;                                                                        \
        y_ * a_ / b_;                                                                                                 \
    })

#define SUM(lanes)                                                                                                    \
    ({                                                                                                                \
        float lanes_[16], total_ = 0;                                                                                 \
        STORE(lanes_, lanes);                                                                                         \
        for (size_t lane_ = 0; lane_ < 16; lane_++) total_ += lanes_[lane_];                                          \
        total_;                                                                                                       \
    })

// Sixteen floats of which only `count` are there; the others are `rest`.
#define LOAD_PART(p, count, rest)                                                                                     \
    ({                                                                                                                \
        float part_[16];                                                                                              \
        for (size_t lane_ = 0; lane_ < 16; lane_++) part_[lane_] = lane_ < (count) ? (p)[lane_] : (rest);             \
        LOAD(part_);                                                                                                  \
    })
#define STORE_PART(p, v, count)                                                                                       \
    do {                                                                                                              \
        float part_[16];                                                                                              \
        STORE(part_, v);                                                                                              \
        for (size_t lane_ = 0; lane_ < (count); lane_++) (p)[lane_] = part_[lane_];                                   \
    } while (0)

// The whole blocks of sixteen in a row, then its end: WORK(i, n, LOAD…, STORE…).
#define FOR_EACH_BLOCK(count, WORK)                                                                                   \
    do {                                                                                                              \
        size_t i = 0;                                                                                                 \
        for (; i + 16 <= (count); i += 16) WORK(i, WHOLE, WHOLE_STORE, 16);                                           \
        if (i < (count)) WORK(i, PART, PART_STORE, (count) - i);                                                      \
    } while (0)
#define WHOLE(p, n, rest) LOAD(p)
#define PART(p, n, rest) LOAD_PART(p, n, rest)
#define WHOLE_STORE(p, v, n) STORE(p, v)
#define PART_STORE(p, v, n) STORE_PART(p, v, n)

GRAFT_CLONES
float graft_largest(const float *x, size_t count) {
    vec most = -INFINITY;
#define WORK(i, GET, PUT, n)                                                                                          \
    do {                                                                                                              \
        vec v = GET(x + i, n, -INFINITY);                                                                             \
        most = v <= most ? most : v;                                                                                  \
        most = v != v ? v : most;                                                                                     \
    } while (0)
    FOR_EACH_BLOCK(count, WORK);
#undef WORK
    float result = -INFINITY;
    for (size_t lane = 0; lane < 16; lane++) {
        if (!(most[lane] <= result)) result = most[lane];
        if (result != result) return result;
    }
    return result;
}

GRAFT_CLONES
double graft_sum_of_exponentials(const float *x, size_t count, float shift) {
    dvec total = 0;
#define WORK(i, GET, PUT, n)                                                                                          \
    do {                                                                                                              \
        vec e = EXP(GET(x + i, n, -INFINITY) - shift);                                                                \
        total += __builtin_convertvector(e, dvec);                                                                    \
    } while (0)
    FOR_EACH_BLOCK(count, WORK);
#undef WORK
    double sum = 0;
    for (size_t lane = 0; lane < 16; lane++) sum += total[lane];
    return sum;
}

GRAFT_CLONES
void graft_exponentials(const float *x, float *y, size_t count, float shift, float scale, float offset) {
#define WORK(i, GET, PUT, n) PUT(y + i, EXP(GET(x + i, n, 0) - shift) * scale - offset, n)
    FOR_EACH_BLOCK(count, WORK);
#undef WORK
}

// √(2/π), and what the cube counts.
#define GELU_SLOPE 0.79788456f
#define GELU_CUBE 0.044715f

// x / 2 · (1 + tanh(u)) = x · logistic(2u), with u = √(2/π) · (x + 0.044715 x³).
#define LOGISTIC_OF_TWICE(x) (1.0f / (1.0f + EXP(-2.0f * GELU_SLOPE * ((x) + GELU_CUBE * (x) * (x) * (x)))))
#define DISTRIBUTION(x) (0.5f + 0.5f * ERF((x) * 0.70710678f))

GRAFT_CLONES
void graft_gelu(const float *x, const float *bias, float *y, size_t rows, size_t width, int approximate) {
    for (size_t row = 0; row < rows; row++, x += width, y += width) {
#define INPUT(i, GET, n) (bias ? GET(x + i, n, 0) + GET(bias + i, n, 0) : GET(x + i, n, 0))
#define EXACT(i, GET, PUT, n)                                                                                         \
    do {                                                                                                              \
        vec v = INPUT(i, GET, n);                                                                                     \
        PUT(y + i, v * DISTRIBUTION(v), n);                                                                           \
    } while (0)
#define APPROXIMATE(i, GET, PUT, n)                                                                                   \
    do {                                                                                                              \
        vec v = INPUT(i, GET, n);                                                                                     \
        PUT(y + i, v * LOGISTIC_OF_TWICE(v), n);                                                                      \
    } while (0)
        if (approximate) FOR_EACH_BLOCK(width, APPROXIMATE);
        else FOR_EACH_BLOCK(width, EXACT);
#undef EXACT
#undef APPROXIMATE
    }
}

GRAFT_CLONES
void graft_gelu_gradient(const float *dy, const float *x, const float *bias, float *dx, float *sums, size_t rows,
                         size_t width, int approximate) {
    for (size_t row = 0; row < rows; row++, x += width, dy += width, dx += width) {
#define FINISH(i, GET, PUT, n, slope)                                                                                 \
    do {                                                                                                              \
        vec g = GET(dy + i, n, 0) * (slope);                                                                          \
        PUT(dx + i, g, n);                                                                                            \
        if (sums) PUT(sums + i, GET(sums + i, n, 0) + g, n);                                                          \
    } while (0)
#define EXACT(i, GET, PUT, n)                                                                                         \
    do {                                                                                                              \
        vec v = INPUT(i, GET, n);                                                                                     \
        vec slope = DISTRIBUTION(v) + v * (EXP(-0.5f * v * v) * 0.39894228f);                                         \
        FINISH(i, GET, PUT, n, slope);                                                                                \
    } while (0)
#define APPROXIMATE(i, GET, PUT, n)                                                                                   \
    do {                                                                                                              \
        vec v = INPUT(i, GET, n);                                                                                     \
        vec p = LOGISTIC_OF_TWICE(v);                                                                                 \
        vec slope = p + v * p * (1.0f - p) * (2.0f * GELU_SLOPE) * (1.0f + 3.0f * GELU_CUBE * v * v);                 \
        FINISH(i, GET, PUT, n, slope);                                                                                \
    } while (0)
        if (approximate) FOR_EACH_BLOCK(width, APPROXIMATE);
        else FOR_EACH_BLOCK(width, EXACT);
#undef EXACT
#undef APPROXIMATE
#undef FINISH
#undef INPUT
    }
}

GRAFT_CLONES
void graft_layer_norm(const float *x, const float *scale, const float *shift, float *y, float *mean, float *inverse,
                      size_t rows, size_t width, float epsilon) {
    for (size_t row = 0; row < rows; row++, x += width, y += width) {
        vec total = 0, square = 0;
#define WORK(i, GET, PUT, n) total += GET(x + i, n, 0)
        FOR_EACH_BLOCK(width, WORK);
#undef WORK
        float centre = SUM(total) / width;
#define WORK(i, GET, PUT, n)                                                                                          \
    do {                                                                                                              \
        vec d = GET(x + i, n, centre) - centre;                                                                       \
        square += d * d;                                                                                              \
    } while (0)
        FOR_EACH_BLOCK(width, WORK);
#undef WORK
        float slope = 1 / sqrtf(SUM(square) / width + epsilon);
        mean[row] = centre;
        inverse[row] = slope;
#define WORK(i, GET, PUT, n)                                                                                          \
    PUT(y + i, (GET(x + i, n, 0) - centre) * slope * GET(scale + i, n, 0) + GET(shift + i, n, 0), n)
        FOR_EACH_BLOCK(width, WORK);
#undef WORK
    }
}

GRAFT_CLONES
void graft_layer_norm_gradient(const float *dy, const float *x, const float *scale, const float *mean,
                               const float *inverse, float *dx, float *dscale, float *dshift, size_t rows,
                               size_t width) {
    for (size_t row = 0; row < rows; row++, x += width, dy += width) {
        float centre = mean[row], slope = inverse[row];
        vec sum = 0, product = 0;
#define WORK(i, GET, PUT, n)                                                                                          \
    do {                                                                                                              \
        vec g = GET(dy + i, n, 0), normal = (GET(x + i, n, centre) - centre) * slope;                                 \
        vec weighted = g * GET(scale + i, n, 0);                                                                      \
        sum += weighted;                                                                                              \
        product += weighted * normal;                                                                                 \
        if (dscale) {                                                                                                 \
            PUT(dscale + i, GET(dscale + i, n, 0) + g * normal, n);                                                   \
            PUT(dshift + i, GET(dshift + i, n, 0) + g, n);                                                            \
        }                                                                                                             \
    } while (0)
        FOR_EACH_BLOCK(width, WORK);
#undef WORK
        if (!dx) continue;
        float average = SUM(sum) / width, correlation = SUM(product) / width;
#define WORK(i, GET, PUT, n)                                                                                          \
    do {                                                                                                              \
        vec normal = (GET(x + i, n, centre) - centre) * slope;                                                        \
        PUT(dx + i, slope * (GET(dy + i, n, 0) * GET(scale + i, n, 0) - average - normal * correlation), n);          \
    } while (0)
        FOR_EACH_BLOCK(width, WORK);
#undef WORK
        dx += width;
    }
}

GRAFT_CLONES
void graft_column_sums(const float *x, double *sums, size_t rows, size_t width) {
    size_t column = 0;
    // Two registers' worth of columns side by side: every line of memory is read once.
    for (; column + 32 <= width; column += 32) {
        dvec first = 0, second = 0;
        for (size_t row = 0; row < rows; row++) {
            const float *at = x + row * width + column;
            first += __builtin_convertvector(LOAD(at), dvec);
            second += __builtin_convertvector(LOAD(at + 16), dvec);
        }
        for (size_t lane = 0; lane < 16; lane++) {
            sums[column + lane] += first[lane];
            sums[column + 16 + lane] += second[lane];
        }
    }
    for (; column < width; column++)
        for (size_t row = 0; row < rows; row++) sums[column] += x[row * width + column];
}

// The keys that a row may look at.
INLINE size_t visible(size_t keys, int causal, size_t position) {
    return causal && position + 1 < keys ? position + 1 : keys;
}

GRAFT_CLONES
void graft_attention_probabilities(float *scores, const float *mask, float *logarithms, size_t rows, size_t keys,
                                   float scale, int causal, size_t first) {
    for (size_t row = 0; row < rows; row++, scores += keys) {
        size_t count = visible(keys, causal, first + row);
        vec most = -INFINITY, total = 0;
#define WORK(i, GET, PUT, n)                                                                                          \
    do {                                                                                                              \
        vec v = GET(scores + i, n, -INFINITY) * scale;                                                                \
        if (mask) v += GET(mask + i, n, 0);                                                                           \
        PUT(scores + i, v, n);                                                                                        \
        most = v <= most ? most : v;                                                                                  \
        most = v != v ? v : most;                                                                                     \
    } while (0)
        FOR_EACH_BLOCK(count, WORK);
#undef WORK
        float largest = -INFINITY;
        for (size_t lane = 0; lane < 16; lane++) {
            if (largest == largest && !(most[lane] <= largest)) largest = most[lane];
        }
        if (largest == -INFINITY) {
            for (size_t i = 0; i < keys; i++) scores[i] = 0;
            logarithms[row] = 0;
            continue;
        }
#define WORK(i, GET, PUT, n)                                                                                          \
    do {                                                                                                              \
        vec e = EXP(GET(scores + i, n, -INFINITY) - largest);                                                         \
        total += e;                                                                                                   \
        PUT(scores + i, e, n);                                                                                        \
    } while (0)
        FOR_EACH_BLOCK(count, WORK);
#undef WORK
        float sum = SUM(total), factor = 1 / sum;
#define WORK(i, GET, PUT, n) PUT(scores + i, GET(scores + i, n, 0) * factor, n)
        FOR_EACH_BLOCK(count, WORK);
#undef WORK
        for (size_t i = count; i < keys; i++) scores[i] = 0;
        logarithms[row] = largest + logf(sum);
    }
}

GRAFT_CLONES
void graft_attention_gradient(float *scores, float *dp, const float *mask, const float *logarithms,
                              const float *delta, const float *factors, size_t rows, size_t keys, float scale,
                              int causal, size_t first) {
    for (size_t row = 0; row < rows; row++, scores += keys, dp += keys) {
        size_t count = visible(keys, causal, first + row);
        const float *factor = factors ? factors + row * keys : 0;
        float logarithm = logarithms[row], mean = delta[row];
#define WORK(i, GET, PUT, n)                                                                                          \
    do {                                                                                                              \
        vec v = GET(scores + i, n, 0) * scale - logarithm;                                                            \
        if (mask) v += GET(mask + i, n, 0);                                                                           \
        vec p = EXP(v), g = GET(dp + i, n, 0), met = p;                                                               \
        if (factor) {                                                                                                 \
            vec f = GET(factor + i, n, 0);                                                                            \
            g *= f;                                                                                                   \
            met *= f;                                                                                                 \
        }                                                                                                             \
        PUT(scores + i, p * (g - mean) * scale, n);                                                                   \
        PUT(dp + i, met, n);                                                                                          \
    } while (0)
        FOR_EACH_BLOCK(count, WORK);
#undef WORK
        for (size_t i = count; i < keys; i++) scores[i] = dp[i] = 0;
    }
}

GRAFT_CLONES
void graft_row_products(const float *a, size_t strideA, const float *b, size_t strideB, float *sums, size_t rows,
                        size_t width) {
    for (size_t row = 0; row < rows; row++, a += strideA, b += strideB) {
        vec total = 0;
#define WORK(i, GET, PUT, n) total += GET(a + i, n, 0) * GET(b + i, n, 0)
        FOR_EACH_BLOCK(width, WORK);
#undef WORK
        sums[row] = SUM(total);
    }
}

GRAFT_CLONES
void graft_multiply(const float *a, const float *b, float *y, size_t count) {
#define WORK(i, GET, PUT, n) PUT(y + i, GET(a + i, n, 0) * GET(b + i, n, 0), n)
    FOR_EACH_BLOCK(count, WORK);
#undef WORK
}
