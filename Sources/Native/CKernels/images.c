#include "CKernels.h"

// Clones with and without fused multiply-add must round alike.
#pragma STDC FP_CONTRACT OFF
#define INLINE static inline __attribute__((always_inline))
typedef uint8_t bytes16 __attribute__((ext_vector_type(16), aligned(1)));
typedef int32_t ints16 __attribute__((ext_vector_type(16), aligned(4)));
typedef uint32_t words4 __attribute__((ext_vector_type(4), aligned(4)));

#define HALF (1 << 21)
// Macros where a vector would cross a function's boundary: the baseline and AVX-512 pass them differently.
#define WIDEN(bytes) __builtin_convertvector((bytes), ints16)
#define CLAMP(v)                                                                                                       \
    ({                                                                                                                 \
        ints16 v_ = (v) >> 22, zero_ = 0, most_ = 255;                                                                 \
        v_ = v_ < zero_ ? zero_ : v_;                                                                                  \
        __builtin_convertvector(v_ > most_ ? most_ : v_, bytes16);                                                     \
    })

INLINE uint8_t clamped(int32_t sum) {
    sum >>= 22;
    return sum < 0 ? 0 : sum > 255 ? 255 : sum;
}

INLINE void across_row(const graft_resampling *plan, const uint8_t *source, size_t channels, uint8_t *out) {
    for (size_t i = 0; i < plan->size; i++) {
        const uint8_t *first = source + (size_t)plan->starts[i] * channels;
        const int32_t *weights = plan->weights + i * plan->pitch;
        for (size_t c = 0; c < channels; c++) {
            int32_t sum = HALF;
            for (int32_t j = 0; j < plan->counts[i]; j++) sum += first[(size_t)j * channels + c] * weights[j];
            out[i * channels + c] = clamped(sum);
        }
    }
}

// Four rows at once, a pixel of each in four of sixteen lanes; the fourth lane is the next pixel's red and is dropped.
INLINE void across_four_rows(const graft_resampling *plan, const uint8_t *source, size_t stride, uint8_t *out) {
    const size_t pitch = plan->size * 3;
    for (size_t i = 0; i < plan->size; i++) {
        const uint8_t *first = source + (size_t)plan->starts[i] * 3;
        const int32_t *weights = plan->weights + i * plan->pitch;
        ints16 sum = HALF;
        for (int32_t j = 0; j < plan->counts[i]; j++, first += 3) {
            uint32_t a, b, c, d;
            __builtin_memcpy(&a, first, 4);
            __builtin_memcpy(&b, first + stride, 4);
            __builtin_memcpy(&c, first + 2 * stride, 4);
            __builtin_memcpy(&d, first + 3 * stride, 4);
            words4 words = {a, b, c, d};
            bytes16 pixels;
            __builtin_memcpy(&pixels, &words, 16);
            sum += WIDEN(pixels) * weights[j];
        }
        bytes16 pixels = CLAMP(sum);
        uint8_t four[16];
        __builtin_memcpy(four, &pixels, 16);
        for (size_t row = 0; row < 4; row++) __builtin_memcpy(out + row * pitch + 3 * i, four + 4 * row, 3);
    }
}

GRAFT_CLONES
void graft_resample_across(const graft_resampling *plan, const uint8_t *source, size_t stride, size_t rows,
                           size_t channels, uint8_t *out) {
    size_t row = 0;
    // Four bytes are read where a pixel has three: the last row is left to the loop that does not.
    if (channels == 3)
        for (; row + 4 < rows; row += 4) across_four_rows(plan, source + row * stride, stride, out + row * plan->size * 3);
    for (; row < rows; row++) across_row(plan, source + row * stride, channels, out + row * plan->size * channels);
}

GRAFT_CLONES
void graft_resample_down(const graft_resampling *plan, const uint8_t *source, size_t stride, size_t samples,
                         uint8_t *out) {
    for (size_t i = 0; i < plan->size; i++, out += samples) {
        const uint8_t *first = source + (size_t)plan->starts[i] * stride;
        const int32_t *weights = plan->weights + i * plan->pitch, count = plan->counts[i];
        size_t x = 0;
        for (; x + 64 <= samples; x += 64) {
            ints16 a = HALF, b = HALF, c = HALF, d = HALF;
            for (int32_t j = 0; j < count; j++) {
                const bytes16 *row = (const bytes16 *)(first + (size_t)j * stride + x);
                a += WIDEN(row[0]) * weights[j];
                b += WIDEN(row[1]) * weights[j];
                c += WIDEN(row[2]) * weights[j];
                d += WIDEN(row[3]) * weights[j];
            }
            bytes16 *to = (bytes16 *)(out + x);
            to[0] = CLAMP(a);
            to[1] = CLAMP(b);
            to[2] = CLAMP(c);
            to[3] = CLAMP(d);
        }
        for (; x < samples; x++) {
            int32_t sum = HALF;
            for (int32_t j = 0; j < count; j++) sum += first[(size_t)j * stride + x] * weights[j];
            out[x] = clamped(sum);
        }
    }
}

INLINE uint8_t luma(uint32_t red, uint32_t green, uint32_t blue) {
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

GRAFT_CLONES
void graft_luma(const uint8_t *pixels, size_t count, uint8_t *grey) {
    for (size_t i = 0; i < count; i++) grey[i] = luma(pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2]);
}

INLINE uint8_t mixed(uint8_t from, uint8_t to, float factor) {
    float value = (float)from + factor * ((float)to - (float)from);
    value = value < 0 ? 0 : value;
    return (uint8_t)(int32_t)(value > 255 ? 255 : value);
}

GRAFT_CLONES
void graft_saturate(uint8_t *pixels, size_t count, float factor) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t red = pixels[3 * i], green = pixels[3 * i + 1], blue = pixels[3 * i + 2];
        const uint8_t grey = luma(red, green, blue);
        pixels[3 * i] = mixed(grey, red, factor);
        pixels[3 * i + 1] = mixed(grey, green, factor);
        pixels[3 * i + 2] = mixed(grey, blue, factor);
    }
}

// Half away from zero, of a number that is not negative.
INLINE int32_t nearest(double value) {
    int32_t whole = (int32_t)value;
    return whole + (value - whole >= 0.5);
}

// Float where Pillow has float, double where it has double.
INLINE void turn(int32_t *red, int32_t *green, int32_t *blue, uint8_t shift) {
    const int32_t r = *red, g = *green, b = *blue;
    int32_t most = r > g ? r : g, least = r < g ? r : g;
    most = b > most ? b : most;
    least = b < least ? b : least;
    const float range = most > least ? (float)(most - least) : 1;
    const float saturation = most > least ? range / (float)most : 0;
    const float rc = (float)(most - r) / range, gc = (float)(most - g) / range, bc = (float)(most - b) / range;
    const float afterGreen = (float)(2.0 + (double)rc - (double)bc), afterBlue = (float)(4.0 + (double)gc - (double)rc);
    const float sextant = r == most ? bc - gc : g == most ? afterGreen : afterBlue;
    // From 5/6 to 11/6: what fmod(…, 1) leaves of it.
    const double turns = (double)sextant / 6.0 + 1.0;
    const float hue = (float)(turns - (double)(int32_t)turns);
    int32_t h = (int32_t)((double)hue * 255);
    h = (h + shift) & 255;
    const int32_t s = (int32_t)((double)saturation * 255);

    const double place = (double)h * 6.0 / 255.0;
    const int32_t index = (int32_t)place;
    const double fraction = (double)(float)(place - index), strength = (double)(float)((double)s / 255.0);
    const double value = most;
    const int32_t p = nearest(value * (1.0 - strength)), q = nearest(value * (1.0 - strength * fraction));
    const int32_t t = nearest(value * (1.0 - strength * (1.0 - fraction)));
    const int32_t sector = index == 6 ? 0 : index;
    *red = sector == 0 || sector == 5 ? most : sector == 1 ? q : sector == 4 ? t : p;
    *green = sector == 1 || sector == 2 ? most : sector == 0 ? t : sector == 3 ? q : p;
    *blue = sector == 3 || sector == 4 ? most : sector == 2 ? t : sector == 5 ? q : p;
}

GRAFT_CLONES
void graft_turn_hue(uint8_t *pixels, size_t count, uint8_t shift) {
    enum { RUN = 64 };
    int32_t red[RUN] = {0}, green[RUN] = {0}, blue[RUN] = {0};
    for (size_t start = 0; start < count; start += RUN) {
        const size_t run = count - start < RUN ? count - start : RUN;
        uint8_t *part = pixels + 3 * start;
        for (size_t i = 0; i < run; i++) {
            red[i] = part[3 * i];
            green[i] = part[3 * i + 1];
            blue[i] = part[3 * i + 2];
        }
        for (size_t i = 0; i < RUN; i++) turn(&red[i], &green[i], &blue[i], shift);
        for (size_t i = 0; i < run; i++) {
            part[3 * i] = red[i];
            part[3 * i + 1] = green[i];
            part[3 * i + 2] = blue[i];
        }
    }
}
