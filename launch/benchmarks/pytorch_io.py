"""JPEG files to normalised tensors as torchvision and Pillow do it, in one thread: the peer of `graft bench io`.

Three pipelines that people write: torchvision.transforms on Pillow images (v1), transforms.v2 on Pillow images
(v2) and transforms.v2 on uint8 tensors (v2-tensor). All are timed; images_per_second is that of the fastest. Files are
taken round and round in a shuffled order, after one warm-up round over at most 64 of them.
"""

import argparse
import json
import pathlib
import random
import sys
import time

import pytorch_networks as networks

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png"}
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def pipelines(size, augment, jitter):
    import torch

    v1 = networks.torchvision().transforms
    v2 = v1.v2

    def geometry(t):
        if not augment:
            return [t.Resize(round(size * 256 / 224)), t.CenterCrop(size)]
        colours = [t.ColorJitter(0.4, 0.4, 0.4, 0.1)] if jitter else []
        return [t.RandomResizedCrop(size), t.RandomHorizontalFlip(), *colours]

    numbers = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, DEVIATION)]
    return {
        "v1": v1.Compose([*geometry(v1), v1.ToTensor(), v1.Normalize(MEAN, DEVIATION)]),
        "v2": v2.Compose([*geometry(v2), v2.ToImage(), *numbers]),
        "v2-tensor": v2.Compose([v2.ToImage(), *geometry(v2), *numbers]),
    }


def measure(transform, files, seconds, batch):
    import torch
    from PIL import Image

    def load(path):
        with Image.open(path) as image:
            return transform(image.convert("RGB"))

    for path in files[:64]:
        load(path)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        torch.stack([load(files[(done + i) % len(files)]) for i in range(batch)])
        done += batch
    return done / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder; every JPEG and PNG below it counts")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument(
        "--augment", action="store_true", help="random resized crop and flip, else resize and centre crop"
    )
    parser.add_argument(
        "--jitter", action="store_true", help="with --augment: colour jitter 0.4, 0.4, 0.4, 0.1 as well"
    )
    parser.add_argument("--seconds", type=float, default=5, help="for each of the three pipelines")
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()

    import PIL
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    files = sorted(path for path in pathlib.Path(arguments.data).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        sys.exit(f"{arguments.data}: no JPEG or PNG files below it")
    random.Random(0).shuffle(files)
    transforms = pipelines(arguments.size, arguments.augment, arguments.jitter)
    import torchvision

    rates = {
        name: measure(transform, files, arguments.seconds, arguments.batch) for name, transform in transforms.items()
    }
    fastest = max(rates, key=rates.get)
    json.dump(
        {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "pillow": PIL.__version__,
            "files": len(files),
            "pipeline": fastest,
            "images_per_second": rates[fastest],
            "images_per_second_by_pipeline": rates,
        },
        sys.stdout,
    )
    print()


if __name__ == "__main__":
    main()
