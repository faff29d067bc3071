"""Makes the reference data of DatasetsTests with Pillow 13 (pixels) and h5py (an HDF5 file).

    python make_reference.py [SHARED_DATA]

Writes small files beside itself: images/ (generated pictures of every kind), images.json (SHA-256 of their
pixels as Pillow decodes them), resize.json (digests of resized pictures), operations.json, and
photographs.json (digests for real photographs under SHARED_DATA, which themselves are not committed).
"""
import hashlib, io, json, pathlib, struct, sys, zlib
import numpy as np
import PIL
from PIL import Image, ImageEnhance, ImageOps

here = pathlib.Path(__file__).parent
out = here / "images"
out.mkdir(exist_ok=True)
FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def digest(image):
    return hashlib.sha256(np.asarray(image).tobytes()).hexdigest()


def picture(width, height, channels=3):
    """Smooth waves with a hard edge: the same formula as Picture in the Swift tests."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    return ((x * (7 + 2 * c) + y * (11 - 3 * c) + (x * y * (c + 1)) // 5 + 90 * ((x // 9 + y // 6) % 2)) % 256).astype(np.uint8)


def smooth(width, height, channels=3):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    return (127 + 100 * np.sin(x / (5 + c)) * np.cos(y / (7 - c))).astype(np.uint8)


def png(width, height, depth, color, rows, extra=b"", interlace=0):
    """A PNG by hand, for kinds Pillow does not write."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
            + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b""))


def interlaced(pixels):
    """Adam7 rows of an H x W x C uint8 array, each with filter 0 added by the caller."""
    for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = pixels[y0::dy, x0::dx]
        if part.size:
            yield from (row.tobytes() for row in part)


def write_images():
    rgb = Image.fromarray(smooth(37, 29))
    grey = Image.fromarray(smooth(37, 29, 1)[:, :, 0])
    rgb.save(out / "rgb.jpg", quality=85)
    rgb.save(out / "rgb-444.jpg", quality=90, subsampling=0)
    rgb.save(out / "rgb-422.jpg", quality=90, subsampling=1)
    rgb.save(out / "progressive.jpg", quality=80, progressive=True)
    grey.save(out / "grey.jpg", quality=85)
    cmyk = Image.fromarray(np.concatenate([smooth(37, 29), smooth(29, 37, 1).transpose(1, 0, 2)], axis=2), "CMYK")
    cmyk.save(out / "cmyk.jpg", quality=90)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        rgb.save(out / f"orientation-{orientation}.jpg", quality=75, exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(out / "orientation-6.png", exif=exif)

    rgb.save(out / "rgb.png")
    grey.save(out / "grey.png")
    rgb.quantize(20).save(out / "palette-20.png")
    rgb.quantize(3).save(out / "palette-3.png", bits=2)
    rgb.quantize(9).save(out / "palette-alpha.png", transparency=4)
    Image.fromarray(np.dstack([smooth(37, 29), picture(37, 29, 1)])).save(out / "rgba.png")
    Image.fromarray(np.dstack([smooth(37, 29, 1), picture(37, 29, 1)])).save(out / "grey-alpha.png")
    grey.convert("1").save(out / "one-bit.png")
    deep = (np.array(smooth(37, 29), dtype=">u2") * 255 + 77).astype(">u2")
    (out / "rgb-16.png").write_bytes(png(37, 29, 16, 2, [r.tobytes() for r in deep]))
    deep = np.dstack([deep, deep[:, :, :1]]).astype(">u2")
    (out / "rgba-16.png").write_bytes(png(37, 29, 16, 6, [r.tobytes() for r in deep]))
    for depth in (2, 4):
        levels = smooth(40, 8, 1)[:, :, 0] >> (8 - depth)
        per_byte = 8 // depth
        rows = [bytes(sum(int(v) << (8 - depth * (k + 1)) for k, v in enumerate(row[i:i + per_byte]))
                      for i in range(0, 40, per_byte)) for row in levels]
        (out / f"grey-{depth}.png").write_bytes(png(40, 8, depth, 0, rows))
    (out / "interlaced.png").write_bytes(png(37, 29, 8, 2, list(interlaced(smooth(37, 29))), interlace=1))
    short = b"\x00\x00\x00\x06PLTE\x10\x20\x30\x40\x50\x60"
    short += struct.pack(">I", zlib.crc32(short[4:]))
    (out / "palette-short.png").write_bytes(png(4, 1, 8, 3, [bytes([0, 1, 0, 1])], extra=short))
    gamma = b"\x00\x00\x00\x04gAMA" + struct.pack(">I", 100000)
    gamma += struct.pack(">I", zlib.crc32(gamma[4:]))
    (out / "gamma.png").write_bytes(png(37, 29, 8, 2, [r.tobytes() for r in smooth(37, 29)], extra=gamma))

    result = {}
    for path in sorted(out.iterdir()):
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        result[path.name] = {"width": image.width, "height": image.height, "sha256": digest(image)}
    # Of 16-bit grey Graft takes the high byte, where Pillow cuts at 255: the digest is of the former.
    deep = (np.array(smooth(37, 29, 1), dtype=">u2") * 255 + 77).astype(">u2")
    (out / "grey-16.png").write_bytes(png(37, 29, 16, 0, [r.tobytes() for r in deep]))
    high = np.repeat((deep >> 8).astype(np.uint8), 3, axis=2)
    result["grey-16.png"] = {"width": 37, "height": 29, "sha256": digest(high)}
    (here / "images.json").write_text(json.dumps(result, indent=1) + "\n")


def write_resizes():
    cases = []
    for width, height in [(1, 1), (2, 3), (17, 13), (64, 48), (100, 100), (251, 173)]:
        for channels in (1, 3):
            pixels = picture(width, height, channels)
            image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
            for new in [(1, 1), (3, 2), (16, 16), (33, 57), (64, 48), (128, 128), (299, 300), (width, 7), (9, height)]:
                for name, filter in FILTERS.items():
                    cases.append([width, height, channels, *new, name, digest(image.resize(new, filter))])
    (here / "resize.json").write_text(json.dumps(cases).replace("], [", "],\n ["))


def write_operations():
    levels = np.arange(0, 256, 7, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(len(levels), -1, 3)
    image = Image.fromarray(cube)

    def hue(image, turn):
        h, s, v = image.convert("HSV").split()
        h = np.array(h)
        h = h + np.array(int(turn * 255)).astype(np.uint8)
        return Image.merge("HSV", (Image.fromarray(h.astype(np.uint8)), s, v)).convert("RGB")

    result = {"grey": digest(image.convert("L"))}
    for factor in (0.0, 0.3, 0.77, 1.0, 1.25, 2.5):
        result[f"brightness {factor}"] = digest(ImageEnhance.Brightness(image).enhance(factor))
        result[f"contrast {factor}"] = digest(ImageEnhance.Contrast(image).enhance(factor))
        result[f"saturation {factor}"] = digest(ImageEnhance.Color(image).enhance(factor))
    for turn in (-0.5, -0.1, 0.0, 0.03, 0.25, 0.5):
        result[f"hue {turn}"] = digest(hue(image, turn))
    (here / "operations.json").write_text(json.dumps(result, indent=1) + "\n")


def write_photographs(data):
    result = {}
    groups = {
        "flickr8k-mini": sorted((data / "flickr8k-mini/images").iterdir())[::12],
        "cifar10": sorted((data / "cifar10/test").glob("*/*.jpg"))[::20],
        "sign-language-digits": sorted((data / "sign-language-digits").glob("*/*.JPG"))[::20],
    }
    for paths in groups.values():
        for path in paths:
            image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
            result[str(path.relative_to(data))] = [
                digest(image), digest(image.resize((128, 128), Image.BILINEAR)),
                digest(image.resize((224, 160), Image.BICUBIC))]
    (here / "photographs.json").write_text(json.dumps(result, indent=0) + "\n")


if __name__ == "__main__":
    assert PIL.__version__.startswith("13."), PIL.__version__
    write_images()
    write_resizes()
    write_operations()
    if len(sys.argv) > 1:
        write_photographs(pathlib.Path(sys.argv[1]))
