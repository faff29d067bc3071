// libpng: PNG decoding. libpng reports errors by longjmp, which must not cross Swift frames: these
// functions catch it and return the message.
#pragma once
#if !__has_include(<png.h>)
#error "Graft needs png.h. Install it with: sudo apt-get install libpng-dev"
#endif
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

/// What the file says, and the text of the error that ended reading it.
typedef struct {
    unsigned width, height;
    int bit_depth, color_type;
    /// Samples per pixel of the decoded rows: 1 (grey or palette index) or 3.
    int channels;
    char message[128];
} GraftPNG;

typedef struct {
    const unsigned char *bytes;
    size_t count, position;
    GraftPNG *result;
} GraftPNGSource;

static void graft_png_read(png_structp png, png_bytep out, size_t count) {
    GraftPNGSource *source = (GraftPNGSource *)png_get_io_ptr(png);
    if (count > source->count - source->position) png_error(png, "the file ends too early");
    memcpy(out, source->bytes + source->position, count);
    source->position += count;
}

static void graft_png_fail(png_structp png, png_const_charp message) {
    GraftPNGSource *source = (GraftPNGSource *)png_get_error_ptr(png);
    strncpy(source->result->message, message, sizeof(source->result->message) - 1);
    png_longjmp(png, 1);
}

static void graft_png_warn(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

/// Reads the header (`pixels` NULL), or the header and the pixels: 8-bit samples, row by row,
/// `channels` per pixel, alpha dropped, 16-bit samples cut to their high byte. `capacity` is in
/// bytes; `palette` (768 bytes) is overwritten as far as the file has one. Returns 0, or -1 with
/// `result->message` set.
static inline int graft_png_decode(
    const unsigned char *bytes, size_t count, GraftPNG *result,
    unsigned char *pixels, size_t capacity, unsigned char *palette) {
    GraftPNGSource source = {bytes, count, 0, result};
    memset(result, 0, sizeof(*result));
    png_structp png =
        png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, graft_png_fail, graft_png_warn);
    if (!png) {
        strncpy(result->message, "out of memory", sizeof(result->message) - 1);
        return -1;
    }
    // Volatile: read after a longjmp.
    png_infop volatile info = png_create_info_struct(png);
    if (!info || setjmp(png_jmpbuf(png))) {
        png_infop made = info;
        png_destroy_read_struct(&png, made ? &made : NULL, NULL);
        return -1;
    }
    png_set_read_fn(png, &source, graft_png_read);
    png_read_info(png, info);
    result->width = png_get_image_width(png, info);
    result->height = png_get_image_height(png, info);
    result->bit_depth = png_get_bit_depth(png, info);
    result->color_type = png_get_color_type(png, info);
    result->channels = (result->color_type & PNG_COLOR_MASK_PALETTE)
        ? 1 : ((result->color_type & PNG_COLOR_MASK_COLOR) ? 3 : 1);
    if (pixels) {
        if (result->bit_depth == 16) png_set_strip_16(png);
        if (result->color_type & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(png);
        if (result->color_type == PNG_COLOR_TYPE_GRAY && result->bit_depth < 8)
            png_set_expand_gray_1_2_4_to_8(png);
        else if (result->bit_depth < 8)
            png_set_packing(png);
        int passes = png_set_interlace_handling(png);
        png_read_update_info(png, info);
        size_t pitch = (size_t)result->width * (size_t)result->channels;
        if (png_get_rowbytes(png, info) != pitch || pitch * result->height > capacity)
            png_error(png, "rows of an unexpected size");
        for (int pass = 0; pass < passes; pass++)
            for (unsigned row = 0; row < result->height; row++)
                png_read_row(png, pixels + pitch * row, NULL);
        png_colorp colors;
        int colorCount = 0;
        if (palette && png_get_PLTE(png, info, &colors, &colorCount))
            for (int i = 0; i < colorCount && i < 256; i++) {
                palette[3 * i] = colors[i].red;
                palette[3 * i + 1] = colors[i].green;
                palette[3 * i + 2] = colors[i].blue;
            }
    }
    png_infop made = info;
    png_destroy_read_struct(&png, &made, NULL);
    return 0;
}
