#include "CKernels.h"
#include "vectors.h"

typedef uint32_t uvec __attribute__((ext_vector_type(16), aligned(4)));
typedef uint64_t wide __attribute__((ext_vector_type(8)));

// Words that are made at one time: of sixteen counters, four each.
#define WORDS 64

// A word as a multiple of 2^-24 in [0, 1), compared with the rate: kept elements are `scale`, the others 0.
#define FACTORS(words, rate, scale)                                                                                   \
    ({                                                                                                                \
        vec u_ = __builtin_convertvector(__builtin_convertvector((words) >> 8, ivec), vec) * 0x1p-24f;                \
        vec zero_ = 0, scale_ = (scale);                                                                              \
        u_ < (rate) ? zero_ : scale_;                                                                                 \
    })
#define ZIP(a, b, from)                                                                                               \
    __builtin_shufflevector(a, b, from, 16 + from, from + 1, 17 + from, from + 2, 18 + from, from + 3, 19 + from,     \
                            from + 4, 20 + from, from + 5, 21 + from, from + 6, 22 + from, from + 7, 23 + from)
#define ZIP_PAIRS(a, b, from)                                                                                         \
    __builtin_shufflevector(a, b, from, from + 1, 16 + from, 17 + from, from + 2, from + 3, 18 + from, 19 + from,     \
                            from + 4, from + 5, 20 + from, 21 + from, from + 6, from + 7, 22 + from, 23 + from)

// The upper and lower halves of sixteen products with a constant: of the words in even and in odd places.
#define MULTIPLY(words, factor, high, low)                                                                            \
    do {                                                                                                              \
        wide pairs_ = __builtin_bit_cast(wide, words), lower_ = 0xffffffffull;                                        \
        wide even_ = (pairs_ & lower_) * factor, odd_ = (pairs_ >> 32) * factor;                                      \
        high = __builtin_bit_cast(uvec, even_ >> 32 | (odd_ & ~lower_));                                              \
        low = __builtin_bit_cast(uvec, (even_ & lower_) | odd_ << 32);                                                \
    } while (0)

// The factors of mask elements 4 · block ..< 4 · block + 64. No carry: blocks begin at multiples of 16.
#define BLOCK_FACTORS(random, block, rate, scale, out)                                                                \
    do {                                                                                                              \
        uvec c0_ = (uint32_t)(block) + (uvec){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};                  \
        uvec c1_ = (uint32_t)((block) >> 32), c2_ = (random).stream[0], c3_ = (random).stream[1];                     \
        uint32_t k0_ = (random).key[0], k1_ = (random).key[1];                                                        \
        for (int round_ = 0; round_ < 10; round_++) {                                                                 \
            uvec highA_, lowA_, highB_, lowB_;                                                                        \
            MULTIPLY(c0_, 0xd2511f53ull, highA_, lowA_);                                                              \
            MULTIPLY(c2_, 0xcd9e8d57ull, highB_, lowB_);                                                              \
            c0_ = highB_ ^ c1_ ^ k0_;                                                                                 \
            c1_ = lowB_;                                                                                              \
            c2_ = highA_ ^ c3_ ^ k1_;                                                                                 \
            c3_ = lowA_;                                                                                              \
            k0_ += 0x9e3779b9u;                                                                                       \
            k1_ += 0xbb67ae85u;                                                                                       \
        }                                                                                                             \
        uvec l01_ = ZIP(c0_, c1_, 0), h01_ = ZIP(c0_, c1_, 8), l23_ = ZIP(c2_, c3_, 0), h23_ = ZIP(c2_, c3_, 8);      \
        STORE((out), FACTORS(ZIP_PAIRS(l01_, l23_, 0), rate, scale));                                                 \
        STORE((out) + 16, FACTORS(ZIP_PAIRS(l01_, l23_, 8), rate, scale));                                            \
        STORE((out) + 32, FACTORS(ZIP_PAIRS(h01_, h23_, 0), rate, scale));                                            \
        STORE((out) + 48, FACTORS(ZIP_PAIRS(h01_, h23_, 8), rate, scale));                                            \
    } while (0)

GRAFT_CLONES
void graft_dropout_factors(struct graft_random_stream random, uint64_t first, size_t count, float rate,
                           float *factors) {
    float scale = 1 / (1 - rate), buffer[WORDS];
    size_t skip = first % WORDS, done = 0;
    for (uint64_t block = first / WORDS * (WORDS / 4); done < count; block += WORDS / 4, skip = 0) {
        size_t take = WORDS - skip < count - done ? WORDS - skip : count - done;
        if (take == WORDS) {
            BLOCK_FACTORS(random, block, rate, scale, factors + done);
        } else {
            BLOCK_FACTORS(random, block, rate, scale, buffer);
            for (size_t i = 0; i < take; i++) factors[done + i] = buffer[skip + i];
        }
        done += take;
    }
}

// Elements whose factors are made before they are used: few enough to stay in the first cache.
#define STRETCH 1024

GRAFT_CLONES
void graft_dropout(struct graft_random_stream random, uint64_t first, size_t count, float rate, const float *x,
                   float *y) {
    float factors[STRETCH];
    for (size_t start = 0; start < count; start += STRETCH) {
        size_t length = count - start < STRETCH ? count - start : STRETCH;
        graft_dropout_factors(random, first + start, length, rate, factors);
        size_t i = 0;
        for (; i + 16 <= length; i += 16) STORE(y + start + i, LOAD(x + start + i) * LOAD(factors + i));
        for (; i < length; i++) y[start + i] = x[start + i] * factors[i];
    }
}

GRAFT_CLONES
void graft_dropout_add(struct graft_random_stream random, uint64_t first, size_t rows, size_t width, float rate,
                       const float *x, const float *bias, const float *residual, float *y) {
    float factors[STRETCH];
    for (size_t row = 0; row < rows; row++) {
        for (size_t start = 0; start < width; start += STRETCH) {
            size_t length = width - start < STRETCH ? width - start : STRETCH, at = row * width + start;
            if (rate > 0) graft_dropout_factors(random, first + at, length, rate, factors);
            else for (size_t i = 0; i < length; i++) factors[i] = 1;
            size_t i = 0;
            for (; i + 16 <= length; i += 16) {
                vec v = LOAD(x + at + i);
                if (bias) v += LOAD(bias + start + i);
                STORE(y + at + i, LOAD(residual + at + i) + v * LOAD(factors + i));
            }
            for (; i < length; i++)
                y[at + i] = residual[at + i] + (x[at + i] + (bias ? bias[start + i] : 0)) * factors[i];
        }
    }
}
