"""Makes vision.json: what every vision architecture of torchvision and timm gives.

    python make_vision_reference.py [NAME...]        # torch, torchvision, timm, numpy

Without names all networks are made anew, otherwise those. Each is filled by a formula, as its inputs are, has ten
classes, and is computed in float64 in evaluation mode: batch norm by its running statistics, no dropout. (In training
mode float32 itself strays by per cents at batch 2: make_reference.py has some networks in that mode.) A batch of two gives

- logits at the size the published weights were trained at and at another one;
- the mean cross-entropy with labels 1 and 3, and the gradient of every parameter, in the order of their sorted names:
  largest magnitude, sum, first, middle and last entry; at the smaller size, with the loss of the auxiliary classifier of
  torchvision's InceptionV3 at the size it needs.
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

from formula import filled, formula, numbers, summary  # noqa: E402
from networks import CIFARResNet, MobileNetV1, move_strides  # noqa: E402

torch.set_default_dtype(torch.float64)
FILE = Path(__file__).parent / "vision.json"


def torch_networks():
    """Key of the tests -> (how to make it, native size, another size)."""
    ten = {"num_classes": 10, "weights": None}
    all = {}
    for depth in (11, 13, 16, 19):
        for end in ("", "_bn"):
            all[f"vgg{depth}{end}-torchvision"] = (lambda n=f"vgg{depth}{end}": getattr(tv, n)(**ten), 224, 97)
    for depth in (18, 34, 50, 101, 152):
        all[f"resnet{depth}-v1.5"] = (lambda n=f"resnet{depth}": getattr(tv, n)(**ten), 224, 97)
    for depth in (50, 101, 152):
        all[f"resnet{depth}-v1"] = (lambda n=f"resnet{depth}": move_strides(getattr(tv, n)(**ten)), 224, 97)
    for name in (
            "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"):
        all[f"{name}-torchvision"] = (lambda n=name: getattr(tv, n)(**ten), 224, 97)
    for width in (1, 0.35, 1.4):
        name = "mobilenet_v2" if width == 1 else f"mobilenet_v2_{width}"
        all[f"{name}-torchvision"] = (lambda w=width: tv.mobilenet_v2(width_mult=w, **ten), 224, 97)
    all["inception_v3-torchvision"] = (
        lambda: tv.inception_v3(init_weights=False, aux_logits=True, **ten), 299, 128)
    for blocks in (3, 5, 7, 9):
        all[f"resnet{6 * blocks + 2}-option-a"] = (lambda n=blocks: CIFARResNet(n), 32, 41)
    for width in (1, 0.25):
        name = "mobilenet_v1" if width == 1 else f"mobilenet_v1_{width}"
        all[f"{name}-pytorch"] = (lambda w=width: MobileNetV1(w, 10), 224, 97)
    return all


def timm_networks():
    def make(name):
        return lambda: timm.create_model(name, pretrained=False, num_classes=10).double()

    # timm's own ResNet has torchvision's names; its key says that it is timm's.
    return {
        "resnet50-v1.5 of timm": (make("resnet50"), 224, 97),
        "resnext50_32x4d-torchvision of timm": (make("resnext50_32x4d"), 224, 97),
        "inception_v3-timm": (make("inception_v3"), 299, 128),
        "inception_resnet_v2-timm": (make("inception_resnet_v2"), 299, 128),
    }


def computed(make, native, other):
    model = filled(make()).eval()
    result = {}
    with torch.no_grad():
        result["logits"] = {str(s): numbers(model(formula(f"input{s}", (2, 3, s, s)))) for s in (native, other)}
    labels = torch.tensor([1, 3])
    size = other
    if getattr(model, "aux_logits", False):
        # Only the network itself in training mode: its auxiliary classifier runs, its layers stay in evaluation.
        model.training, size = True, native
        logits, auxiliary = model(formula(f"input{size}", (2, 3, size, size)))
        result["auxiliary"] = numbers(auxiliary)
        loss = F.cross_entropy(logits, labels) + 0.4 * F.cross_entropy(auxiliary, labels)
    else:
        loss = F.cross_entropy(model(formula(f"input{size}", (2, 3, size, size))), labels)
    loss.backward()
    result |= {"size": size, "loss": loss.item()}
    result["gradients"] = [summary(p.grad) for _, p in sorted(model.named_parameters())]
    return result


def main():
    networks = torch_networks() | timm_networks()
    wanted = sys.argv[1:]
    reference = json.loads(FILE.read_text()) if wanted else {}
    reference |= {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__}
    found = reference.setdefault("networks", {})
    for name in wanted or networks:
        found[name] = computed(*networks[name])
        print(name, found[name]["loss"], flush=True)
        gc.collect()
        FILE.write_text(json.dumps(reference, separators=(",", ":")) + "\n")


main()
