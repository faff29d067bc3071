// Kernels over 8-bit images, channels interleaved (H×W×C). All give the pixels that Pillow gives, bit for bit.
#pragma once
#include <stddef.h>
#include <stdint.h>

// One pass of a separable resize. Output position i is the sum over j < counts[i] of
// weights[i * pitch + j] times input position starts[i] + j, in fixed point with 22 bits after the point, rounded
// and clamped to 0-255.
typedef struct {
    size_t size;
    const int32_t *starts, *counts, *weights;
    size_t pitch;
} graft_resampling;

// Along rows: `rows` rows `stride` bytes apart become packed rows of plan->size pixels.
void graft_resample_across(const graft_resampling *plan, const uint8_t *source, size_t stride, size_t rows,
                           size_t channels, uint8_t *out);
// Along columns: rows of `samples` bytes, `stride` apart, become plan->size packed rows.
void graft_resample_down(const graft_resampling *plan, const uint8_t *source, size_t stride, size_t samples,
                         uint8_t *out);

// Red, green and blue to grey (ITU-R 601-2 luma).
void graft_luma(const uint8_t *pixels, size_t count, uint8_t *grey);
// Each pixel between its grey (factor 0) and itself (factor 1), or beyond; in place.
void graft_saturate(uint8_t *pixels, size_t count, float factor);
// Each pixel's hue moved by `shift` 256ths of the colour circle, through 8-bit HSV; in place.
void graft_turn_hue(uint8_t *pixels, size_t count, uint8_t shift);
