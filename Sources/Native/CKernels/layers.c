#include "CKernels.h"
#include "vectors.h"

// Rows summed in single precision before they go into the double-precision totals.
#define RUN 128

// Loops run over *tiles*: rows of 16 floats, `stride` floats apart. Where the channels of a position divide 16,
// the plane is one tile of its rows and parameters repeat along the lanes; else every 16 channels make a tile.
// What is left over is done one float at a time.

// Comparisons are written so that a NaN stays one: a diverged run must not look well behind a ReLU.
#define ACTIVATE(v, activation, slope)                                                                                \
    ({                                                                                                                \
        vec v_ = (v), zero_ = 0, six_ = 6, r_;                                                                        \
        switch (activation) {                                                                                         \
        case GRAFT_RELU: r_ = v_ < zero_ ? zero_ : v_; break;                                                         \
        case GRAFT_RELU6: r_ = v_ < zero_ ? zero_ : v_; r_ = r_ > six_ ? six_ : r_; break;                            \
        case GRAFT_LEAKY_RELU: r_ = v_ > zero_ ? v_ : v_ * slope; break;                                              \
        default: r_ = v_;                                                                                             \
        }                                                                                                             \
        r_;                                                                                                           \
    })
// The gradient through the activation, told from its output: all of them keep the sign.
#define MASK(dy, y, activation, slope)                                                                                \
    ({                                                                                                                \
        vec g_ = (dy), y_ = (y), zero_ = 0, six_ = 6, r_;                                                             \
        switch (activation) {                                                                                         \
        case GRAFT_RELU: r_ = y_ > zero_ ? g_ : zero_; break;                                                         \
        case GRAFT_RELU6: r_ = y_ > zero_ ? g_ : zero_; r_ = y_ < six_ ? r_ : zero_; break;                           \
        case GRAFT_LEAKY_RELU: r_ = y_ > zero_ ? g_ : g_ * slope; break;                                              \
        default: r_ = g_;                                                                                             \
        }                                                                                                             \
        r_;                                                                                                           \
    })
// Parameters of `period` channels, repeated along the lanes.
#define REPEAT(parameters, period)                                                                                    \
    ({                                                                                                                \
        float lanes_[16];                                                                                             \
        for (size_t lane_ = 0; lane_ < 16; lane_++) lanes_[lane_] = (parameters)[lane_ % (period)];                   \
        LOAD(lanes_);                                                                                                 \
    })
#define FOLD(lanes, totals, period)                                                                                   \
    do {                                                                                                              \
        double lanes_[16];                                                                                            \
        __builtin_memcpy(lanes_, &(lanes), sizeof lanes_);                                                            \
        for (size_t lane_ = 0; lane_ < 16; lane_++) (totals)[lane_ % (period)] += lanes_[lane_];                      \
    } while (0)

INLINE float activate_one(float v, int activation, float slope) {
    switch (activation) {
    case GRAFT_RELU: return v < 0 ? 0 : v;
    case GRAFT_RELU6: { float w = v < 0 ? 0 : v; return w > 6 ? 6 : w; }
    case GRAFT_LEAKY_RELU: return v > 0 ? v : v * slope;
    default: return v;
    }
}

INLINE float masked_one(float dy, float y, int activation, float slope) {
    switch (activation) {
    case GRAFT_RELU: return y > 0 ? dy : 0;
    case GRAFT_RELU6: return y > 0 && y < 6 ? dy : 0;
    case GRAFT_LEAKY_RELU: return y > 0 ? dy : dy * slope;
    default: return dy;
    }
}

// A tile of 16 channels, or of `period` channels repeated: where it starts, its rows, its first channel.
#define FOR_EACH_TILE(TILE, REST)                                                                                     \
    do {                                                                                                              \
        if (16 % inner == 0) {                                                                                        \
            size_t rows = spatial * inner / 16;                                                                       \
            TILE((size_t)0, rows, (size_t)16, (size_t)0, inner);                                                      \
            for (size_t k = rows * 16; k < spatial * inner; k++) REST(k, k % inner);                                  \
        } else {                                                                                                      \
            size_t c = 0;                                                                                             \
            for (; c + 16 <= inner; c += 16) TILE(c, spatial, inner, c, (size_t)16);                                  \
            for (; c < inner; c++)                                                                                    \
                for (size_t i = 0; i < spatial; i++) REST(i * inner + c, c);                                          \
        }                                                                                                             \
    } while (0)

GRAFT_CLONES
void graft_norm_sums(const float *x, size_t spatial, size_t inner, const float *shift, double *sum, double *square) {
    for (size_t c = 0; c < inner; c++) sum[c] = square[c] = 0;
#define TILE(o, rows, stride, channel, period)                                                                        \
    do {                                                                                                              \
        vec mean = REPEAT(shift + (channel), period);                                                                 \
        dvec total = 0, totalSquare = 0;                                                                              \
        for (size_t begin = 0; begin < (rows); begin += RUN) {                                                        \
            size_t end = begin + RUN < (rows) ? begin + RUN : (rows);                                                 \
            vec s = 0, q = 0;                                                                                         \
            for (size_t i = begin; i < end; i++) {                                                                    \
                vec v = LOAD(x + (o) + i * (stride)) - mean;                                                          \
                s += v;                                                                                               \
                q += v * v;                                                                                           \
            }                                                                                                         \
            total += __builtin_convertvector(s, dvec);                                                                \
            totalSquare += __builtin_convertvector(q, dvec);                                                          \
        }                                                                                                             \
        FOLD(total, sum + (channel), period);                                                                         \
        FOLD(totalSquare, square + (channel), period);                                                                \
    } while (0)
#define REST(k, c)                                                                                                    \
    do {                                                                                                              \
        float v = x[k] - shift[c];                                                                                    \
        sum[c] += v;                                                                                                  \
        square[c] += (double)v * v;                                                                                   \
    } while (0)
    FOR_EACH_TILE(TILE, REST);
#undef TILE
#undef REST
}

INLINE void norm_apply(const float *x, const float *residual, float *y, size_t spatial, size_t inner,
                       const float *scale, const float *offset, int activation, float slope) {
#define TILE(o, rows, stride, channel, period)                                                                        \
    do {                                                                                                              \
        vec a = REPEAT(scale + (channel), period), b = REPEAT(offset + (channel), period);                            \
        for (size_t i = 0; i < (rows); i++) {                                                                         \
            size_t k = (o) + i * (stride);                                                                            \
            vec v = LOAD(x + k) * a + b;                                                                              \
            if (residual) v += LOAD(residual + k);                                                                    \
            STORE(y + k, ACTIVATE(v, activation, slope));                                                         \
        }                                                                                                             \
    } while (0)
#define REST(k, c)                                                                                                    \
    do {                                                                                                              \
        float v = x[k] * scale[c] + offset[c];                                                                        \
        if (residual) v += residual[k];                                                                               \
        y[k] = activate_one(v, activation, slope);                                                                    \
    } while (0)
    FOR_EACH_TILE(TILE, REST);
#undef TILE
#undef REST
}

INLINE void norm_gradient_sums(const float *dy, const float *y, const float *x, float *out, size_t spatial,
                               size_t inner, const float *scale, const float *offset, const float *mean,
                               int activation, float slope, double *sum, double *product) {
    for (size_t c = 0; c < inner; c++) sum[c] = product[c] = 0;
#define TILE(o, rows, stride, channel, period)                                                                        \
    do {                                                                                                              \
        vec m = REPEAT(mean + (channel), period);                                                                     \
        vec ya = REPEAT(scale + (channel), period), yb = REPEAT(offset + (channel), period);                          \
        dvec total = 0, totalProduct = 0;                                                                             \
        for (size_t begin = 0; begin < (rows); begin += RUN) {                                                        \
            size_t end = begin + RUN < (rows) ? begin + RUN : (rows);                                                 \
            vec s = 0, p = 0;                                                                                         \
            for (size_t i = begin; i < end; i++) {                                                                    \
                size_t k = (o) + i * (stride);                                                                        \
                vec g = LOAD(dy + k), v = LOAD(x + k);                                                                \
                if (activation != GRAFT_IDENTITY) g = MASK(g, y ? LOAD(y + k) : v * ya + yb, activation, slope);      \
                if (out) STORE(out + k, g);                                                                           \
                s += g;                                                                                               \
                p += g * (v - m);                                                                                     \
            }                                                                                                         \
            total += __builtin_convertvector(s, dvec);                                                                \
            totalProduct += __builtin_convertvector(p, dvec);                                                         \
        }                                                                                                             \
        FOLD(total, sum + (channel), period);                                                                         \
        FOLD(totalProduct, product + (channel), period);                                                              \
    } while (0)
#define REST(k, c)                                                                                                    \
    do {                                                                                                              \
        float g = masked_one(dy[k], y ? y[k] : x[k] * scale[c] + offset[c], activation, slope);                       \
        if (out) out[k] = g;                                                                                          \
        sum[c] += g;                                                                                                  \
        product[c] += (double)g * (x[k] - mean[c]);                                                                   \
    } while (0)
    FOR_EACH_TILE(TILE, REST);
#undef TILE
#undef REST
}

INLINE void norm_gradient_apply(const float *dy, const float *y, const float *x, float *dx, size_t spatial,
                                size_t inner, const float *scale, const float *offset, const float *a,
                                const float *b, const float *d, int activation, float slope) {
#define TILE(o, rows, stride, channel, period)                                                                        \
    do {                                                                                                              \
        vec va = REPEAT(a + (channel), period), vb = REPEAT(b + (channel), period),                                   \
            vd = REPEAT(d + (channel), period);                                                                       \
        vec ya = REPEAT(scale + (channel), period), yb = REPEAT(offset + (channel), period);                          \
        for (size_t i = 0; i < (rows); i++) {                                                                         \
            size_t k = (o) + i * (stride);                                                                            \
            vec g = LOAD(dy + k), v = LOAD(x + k);                                                                    \
            if (activation != GRAFT_IDENTITY) g = MASK(g, y ? LOAD(y + k) : v * ya + yb, activation, slope);          \
            STORE(dx + k, g * va + v * vb + vd);                                                                      \
        }                                                                                                             \
    } while (0)
#define REST(k, c)                                                                                                    \
    do {                                                                                                              \
        float g = masked_one(dy[k], y ? y[k] : x[k] * scale[c] + offset[c], activation, slope);                       \
        dx[k] = g * a[c] + x[k] * b[c] + d[c];                                                                        \
    } while (0)
    FOR_EACH_TILE(TILE, REST);
#undef TILE
#undef REST
}

// Compiled once for each activation (and with and without the optional argument), so that the loops hold no branches.
#define FOR_EACH_ACTIVATION(CALL)                                                                                     \
    switch (activation) {                                                                                             \
    case GRAFT_RELU: CALL(GRAFT_RELU); break;                                                                         \
    case GRAFT_RELU6: CALL(GRAFT_RELU6); break;                                                                       \
    case GRAFT_LEAKY_RELU: CALL(GRAFT_LEAKY_RELU); break;                                                             \
    default: CALL(GRAFT_IDENTITY); break;                                                                             \
    }

GRAFT_CLONES
void graft_norm_apply(const float *x, const float *residual, float *y, size_t spatial, size_t inner,
                      const float *scale, const float *offset, int activation, float slope) {
#define WITH(A) norm_apply(x, residual, y, spatial, inner, scale, offset, A, slope)
#define WITHOUT(A) norm_apply(x, 0, y, spatial, inner, scale, offset, A, slope)
    if (residual) { FOR_EACH_ACTIVATION(WITH) } else { FOR_EACH_ACTIVATION(WITHOUT) }
#undef WITH
#undef WITHOUT
}

GRAFT_CLONES
void graft_norm_gradient_sums(const float *dy, const float *y, const float *x, float *out, size_t spatial,
                              size_t inner, const float *scale, const float *offset, const float *mean,
                              int activation, float slope, double *sum, double *product) {
#define WITH(A) norm_gradient_sums(dy, y, x, out, spatial, inner, scale, offset, mean, A, slope, sum, product)
#define WITHOUT(A) norm_gradient_sums(dy, y, x, 0, spatial, inner, scale, offset, mean, A, slope, sum, product)
#define FROM_X(A) norm_gradient_sums(dy, 0, x, 0, spatial, inner, scale, offset, mean, A, slope, sum, product)
    if (out) { FOR_EACH_ACTIVATION(WITH) } else if (y) { FOR_EACH_ACTIVATION(WITHOUT) } else { FOR_EACH_ACTIVATION(FROM_X) }
#undef WITH
#undef WITHOUT
#undef FROM_X
}

GRAFT_CLONES
void graft_norm_gradient_apply(const float *dy, const float *y, const float *x, float *dx, size_t spatial,
                               size_t inner, const float *scale, const float *offset, const float *a,
                               const float *b, const float *d, int activation, float slope) {
#define CALL(A) norm_gradient_apply(dy, y, x, dx, spatial, inner, scale, offset, a, b, d, A, slope)
#define FROM_X(A) norm_gradient_apply(dy, 0, x, dx, spatial, inner, scale, offset, a, b, d, A, slope)
    if (y) { FOR_EACH_ACTIVATION(CALL) } else { FOR_EACH_ACTIVATION(FROM_X) }
#undef CALL
#undef FROM_X
}

GRAFT_CLONES
void graft_activate(const float *x, float *y, size_t count, int activation, float slope) {
#define CALL(A)                                                                                                       \
    do {                                                                                                              \
        size_t i = 0;                                                                                                 \
        for (; i + 16 <= count; i += 16) STORE(y + i, ACTIVATE(LOAD(x + i), A, slope));                           \
        for (; i < count; i++) y[i] = activate_one(x[i], A, slope);                                                   \
    } while (0)
    FOR_EACH_ACTIVATION(CALL)
#undef CALL
}

GRAFT_CLONES
void graft_activate_gradient(const float *dy, const float *y, float *dx, size_t count, int activation, float slope) {
#define CALL(A)                                                                                                       \
    do {                                                                                                              \
        size_t i = 0;                                                                                                 \
        for (; i + 16 <= count; i += 16) STORE(dx + i, MASK(LOAD(dy + i), LOAD(y + i), A, slope));              \
        for (; i < count; i++) dx[i] = masked_one(dy[i], y[i], A, slope);                                             \
    } while (0)
    FOR_EACH_ACTIVATION(CALL)
#undef CALL
}
