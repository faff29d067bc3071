"""Images for which no value in a network lies next to a kink, where rounding would decide on which side.

The gradient of ReLU jumps at 0. Of a million values a few lie nearer to 0 than float32 rounds, and one that changes sides
in a layer of n values moves gradients by about 1/sqrt(n) of their size: by thousandths in deep networks, whoever
computes them. So images are drawn until the nearest value is far enough away; large ones repeat a tile, so that there are
fewer different values.
"""
import math

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from formula import images

# float32 rounds values by 3e-7 (ResNet-18) to 7e-7 (ResNet-152) of the same, in the root mean square.
ENOUGH = 2e-6
TRIES = 30
# Of large images one try takes long.
TRIES_OF_TILES = 5
TILE = 32


class Kinks(TorchDispatchMode):
    """Of what is computed within: the least distance of a value to a kink of ReLU, LeakyReLU or ReLU6, and of the largest
    value of a pooling window to the second, in units of the root mean square of all values there."""

    def __init__(self):
        super().__init__()
        self.distance = math.inf

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::").rstrip("_")
        if name in ("relu", "leaky_relu"):
            self.note(args[0].abs(), args[0])
        elif name in ("hardtanh", "clamp"):
            for kink in args[1:3]:
                self.note((args[0] - kink).abs(), args[0])
        elif name == "max_pool2d_with_indices":
            self.note(lead(*args[:4]), args[0])
        return function(*args, **(kwargs or {}))

    def note(self, distances, values):
        self.distance = min(self.distance, (distances.min() / values.square().mean().sqrt()).item())


def lead(x, size, stride=(), padding=(0, 0)):
    """Of each window the largest value less the second; infinite where they are the same, such as zeros behind ReLU."""
    if math.prod(size) == 1:
        return x.new_tensor(math.inf)
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]), value=-math.inf)
    (h, w), (down, right) = size, stride or size
    first, second = x.unfold(2, h, down).unfold(3, w, right).flatten(4).topk(2).values.unbind(-1)
    return torch.where(first > second, first - second, math.inf)


def clear_images(run, size, tile=None, tries=TRIES):
    """The name by which the formula gives the first images that are clear of kinks, or the clearest of `tries`, and how far
    from a kink the nearest value is."""
    best = (0.0, "")
    for seed in range(tries):
        name = f"input{tile or size}.{seed}"
        with torch.no_grad(), Kinks() as kinks:
            run(images(name, size, tile))
        best = max(best, (kinks.distance, name))
        if best[0] >= ENOUGH:
            break
    return best[1], best[0]
