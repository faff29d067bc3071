"""Makes vision.json: what every vision architecture of torchvision and timm gives.

    python make_vision_reference.py [NAME...]        # torch, torchvision, timm, numpy

Without names all networks are made anew, otherwise those. Each is filled by a formula, as its inputs are, has ten
classes, and is computed in float64 in evaluation mode: batch norm by its running statistics, no dropout. (In training
mode float32 itself strays by per cents at batch 2: make_reference.py has some networks in that mode.) A batch of two gives

- logits at the size the published weights were trained at and at another one;
- at two sizes (timm's VGG at one) the mean cross-entropy with labels 1 and 3, and the gradient of every parameter, in the order of their
  sorted names: largest magnitude, sum, first, middle and last entry; of images that keep clear of kinks (kinks.py). One of
  the sizes is the native one for a small network of each family, and for all whose native size is small. Of torchvision's
  InceptionV3 with the loss of the auxiliary classifier at the size it needs, without it at the other.

What float32 makes of the same gradients in PyTorch is printed: the largest difference of an entry from float64's, in units
of the tensor's largest. `channels` holds, of MobileNetV2 at several widths, the outputs of the first convolution, of the
last one of each group of blocks, and of the last.
"""
import gc
import json
import sys
import types
from pathlib import Path

import torch
import torch.nn.functional as F

# torchvision's compiled operators need not match torch; its models do not use them.
sys.modules["torchvision._meta_registrations"] = types.ModuleType("_meta_registrations")
import timm  # noqa: E402
import torchvision  # noqa: E402
from torchvision import models as tv  # noqa: E402

from formula import filled, images, numbers, summary  # noqa: E402
from kinks import TILE, TRIES, TRIES_OF_TILES, clear_images  # noqa: E402
from networks import CIFARResNet, MobileNetV1, move_strides  # noqa: E402

torch.set_default_dtype(torch.float64)
FILE = Path(__file__).parent / "vision.json"
WIDTHS = [n / 100 for n in range(7, 200, 7)]


def torch_networks():
    """Key of the tests -> (how to make it, native size, another size, sizes for gradients)."""
    ten = {"num_classes": 10, "weights": None}
    all = {}
    for depth in (11, 13, 16, 19):
        for end in ("", "_bn"):
            all[f"vgg{depth}{end}-torchvision"] = (lambda n=f"vgg{depth}{end}": getattr(tv, n)(**ten), 224, 97, (64, 48))
    for depth in (18, 34, 50, 101, 152):
        all[f"resnet{depth}-v1.5"] = (
            lambda n=f"resnet{depth}": getattr(tv, n)(**ten), 224, 97, (33, 224 if depth == 18 else 32))
    for depth in (50, 101, 152):
        all[f"resnet{depth}-v1"] = (
            lambda n=f"resnet{depth}": move_strides(getattr(tv, n)(**ten)), 224, 97,
            (33, 224 if depth == 50 else 32))
    for name in (
            "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"):
        all[f"{name}-torchvision"] = (
            lambda n=name: getattr(tv, n)(**ten), 224, 97, (33, 224 if name == "resnext50_32x4d" else 32))
    for width in (1, 0.35, 0.5, 0.75, 1.3, 1.4):
        name = "mobilenet_v2" if width == 1 else f"mobilenet_v2_{width}"
        all[f"{name}-torchvision"] = (
            lambda w=width: tv.mobilenet_v2(width_mult=w, **ten), 224, 97, (33, 224 if width == 0.35 else 32))
    all["inception_v3-torchvision"] = (
        lambda: tv.inception_v3(init_weights=False, aux_logits=True, **ten), 299, 128, (299, 80))
    for blocks in (3, 5, 7, 9):
        all[f"resnet{6 * blocks + 2}-option-a"] = (lambda n=blocks: CIFARResNet(n), 32, 41, (33, 32))
    for width in (1, 0.25, 0.5, 0.75):
        name = "mobilenet_v1" if width == 1 else f"mobilenet_v1_{width}"
        all[f"{name}-pytorch"] = (
            lambda w=width: MobileNetV1(w, 10), 224, 97, (33, 224 if width == 0.25 else 32))
    return all


def timm_networks():
    def make(name):
        return lambda: timm.create_model(name, pretrained=False, num_classes=10).double()

    # timm's own ResNet has torchvision's names, its VGG not quite; their keys say that they are timm's.
    return {
        "resnet50-v1.5 of timm": (make("resnet50"), 224, 97, (33, 32)),
        "resnext50_32x4d-torchvision of timm": (make("resnext50_32x4d"), 224, 97, (33, 32)),
        "vgg11_bn-torchvision of timm": (make("vgg11_bn"), 224, 97, (48,)),
        "vgg16-torchvision of timm": (make("vgg16"), 224, 97, (48,)),
        "inception_v3-timm": (make("inception_v3"), 299, 128, (75, 80)),
        "inception_resnet_v2-timm": (make("inception_resnet_v2"), 299, 128, (75, 80)),
    }


def channels():
    """Width -> outputs of MobileNetV2's convolutions."""
    names = ["features.0.0", "features.1.conv.1"] + [f"features.{i}.conv.2" for i in (2, 4, 7, 11, 14, 17)]
    found = {}
    for width in WIDTHS:
        with torch.device("meta"):
            state = tv.mobilenet_v2(width_mult=width).state_dict()
        found[str(width)] = [len(state[name + ".weight"]) for name in names + ["features.18.0"]]
    return found


def loss_of(model, x, result):
    labels = torch.tensor([1, 3])
    if not model.training:
        return F.cross_entropy(model(x), labels)
    logits, auxiliary = model(x)
    result["auxiliary"] = numbers(auxiliary)
    return F.cross_entropy(logits, labels) + 0.4 * F.cross_entropy(auxiliary, labels)


def gradients(model, loss):
    """Of the parameters that the loss depends on."""
    model.zero_grad()
    loss.backward()
    return {name: p.grad.double() for name, p in sorted(model.named_parameters()) if p.grad is not None}


def computed(make, native, other, sizes):
    model = filled(make()).eval()
    with torch.no_grad():
        logits = {str(s): numbers(model(images(f"input{s}", s))) for s in (native, other)}
    return {"logits": logits, "passes": [backward(model, size, native) for size in sizes]}


def backward(model, size, native):
    # Only InceptionV3 itself in training mode: its auxiliary classifier runs, its layers stay in evaluation. At its size
    # there are too many values for images that are clear of all kinks.
    model.training = size == native and getattr(model, "aux_logits", False)
    tile = TILE if size == native > TILE and not model.training else None
    name, distance = f"input{size}", 0
    if not model.training:
        name, distance = clear_images(model, size, tile, TRIES_OF_TILES if tile else TRIES)
    result = {"input": name, "size": size} | ({"tile": tile} if tile else {})
    x = images(name, size, tile)
    loss = loss_of(model, x, result)
    exact = gradients(model, loss)
    result |= {"loss": loss.item(), "gradients": [summary(g) for g in exact.values()]}
    rounded = gradients(model.float(), loss_of(model, x.float(), {}))
    model.double()
    errors = [((rounded[name] - g).abs().max() / g.abs().max()).item() for name, g in exact.items()]
    print(f"{name}, {distance:.1e} from a kink; float32 differs by {max(errors):.1e}", end=" ", flush=True)
    return result


def main():
    networks = torch_networks() | timm_networks()
    wanted = sys.argv[1:]
    reference = json.loads(FILE.read_text()) if wanted else {}
    reference |= {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__}
    if "channels" not in reference:
        reference["channels"] = channels()
    found = reference.setdefault("networks", {})
    for name in wanted or networks:
        found[name] = computed(*networks[name])
        print(name, flush=True)
        gc.collect()
        FILE.write_text(json.dumps(reference, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
