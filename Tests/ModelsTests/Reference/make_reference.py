"""Makes the reference numbers of ModelsTests with PyTorch: reference.json and photographs.bin.

    python make_reference.py DATA_FOLDER        # torch, torchvision, numpy, h5py, pillow

Networks of which no weights are at hand are filled by a formula (`filled`) that the tests repeat; so are
inputs. The published files of DATA_FOLDER/weights are run in forward passes written here from scratch.
Everything is computed in float64, so that differences are the tests' own rounding.
"""
import json, sys, types
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

# torchvision's compiled operators need not match torch; its models do not use them.
sys.modules["torchvision._meta_registrations"] = types.ModuleType("_meta_registrations")
from torchvision import models as tv  # noqa: E402

from formula import filled, formula, images, numbers  # noqa: E402
from kinks import clear_images  # noqa: E402
from networks import CIFARResNet, MobileNetV1, move_strides  # noqa: E402

HERE = Path(__file__).parent
DATA = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)

SIZES = [64, 97]


def logits(model):
    model.eval()
    with torch.no_grad():
        return {str(s): numbers(model(formula(f"input{s}", (2, 3, s, s)))) for s in SIZES}


def training(model, size):
    """Mean cross-entropy of one training pass, and of every gradient: largest magnitude, sum, 5 entries."""
    model.train()
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0
    drawn, distance = clear_images(model, size)
    print(f"{type(model).__name__} at {size}: {drawn}, {distance:.1e} from a kink", flush=True)
    # The running statistics have followed the images that were tried.
    loss = F.cross_entropy(filled(model)(images(drawn, size)), torch.tensor([1, 3]))
    model.zero_grad()
    loss.backward()
    gradients = {}
    for name, p in model.named_parameters():
        g = p.grad.flatten()
        picks = [i * (g.numel() - 1) // 4 for i in range(5)]
        gradients[name] = numbers(torch.stack([g.abs().max(), g.sum()] + [g[i] for i in picks]))
    statistics = {n: numbers(b.flatten()[:3]) for n, b in model.named_buffers() if "running" in n}
    return {"input": drawn, "loss": loss.item(), "gradients": gradients, "statistics": statistics}


# -- variants of torchvision's networks ------------------------------------------------------------


def keras_resnet(model):
    move_strides(model)
    for name, m in model.named_modules():
        if isinstance(m, nn.Conv2d):
            m.bias = nn.Parameter(torch.zeros(m.out_channels))
        if isinstance(m, nn.BatchNorm2d):
            m.eps = 1.001e-5
    return model


class Same(nn.Module):
    """A strided convolution with the padding of keras.applications' correct_pad."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv
        conv.padding = (0, 0)

    def forward(self, x):
        before = [1 - (1 - s % 2) for s in x.shape[2:]]
        return self.conv(F.pad(x, (before[1], 1, before[0], 1)))


def keras_mobilenet_v2(model):
    filled(model)
    for m in list(model.modules()):
        if isinstance(m, nn.BatchNorm2d):
            m.eps = 1e-3
        if isinstance(m, nn.Sequential):
            for i, child in enumerate(m):
                if isinstance(child, nn.Conv2d) and child.stride == (2, 2):
                    m[i] = Same(child)
    return model


# -- the published files ------------------------------------------------------------------------------


def published_torch(model, path):
    state = torch.load(DATA / "weights" / path, map_location="cpu", weights_only=False)["state_dict"]
    state = {k.removeprefix("module."): v.double() for k, v in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(k.endswith("num_batches_tracked") for k in missing)
    return model.eval()


def mobilenet_v1_torch():
    return published_torch(MobileNetV1(0.25), "imagenet-mobilenetv1-0.25-pytorch/mobilenetV1X0.25_pretrain.tar")


def keras_weights(path):
    weights = {}
    with h5py.File(DATA / "weights" / path) as f:
        f["model_weights"].visititems(
            lambda n, d: weights.__setitem__("/".join(n.split("/")[-2:]).removesuffix(":0"), torch.tensor(d[()]).double())
            if isinstance(d, h5py.Dataset) else None)
    return weights


def keras_norm(w, name, x):
    return F.batch_norm(
        x, w[name + "/moving_mean"], w[name + "/moving_variance"], w[name + "/gamma"], w[name + "/beta"], eps=1e-3)


def mobilenet_v1_keras(x):
    w = keras_weights("imagenet-mobilenetv1-0.25-keras/mobilenet_v1_0.25_224.h5")
    x = F.conv2d(F.pad(x, (0, 1, 0, 1)), w["conv1/kernel"].permute(3, 2, 0, 1), stride=2)
    x = keras_norm(w, "conv1_bn", x).clamp(0, 6)
    for i in range(1, 14):
        kernel = w[f"conv_dw_{i}/depthwise_kernel"].permute(2, 3, 0, 1)
        if i in (2, 4, 6, 12):
            x = F.conv2d(F.pad(x, (0, 1, 0, 1)), kernel, stride=2, groups=x.shape[1])
        else:
            x = F.conv2d(x, kernel, padding=1, groups=x.shape[1])
        x = keras_norm(w, f"conv_dw_{i}_bn", x).clamp(0, 6)
        x = F.conv2d(x, w[f"conv_pw_{i}/kernel"].permute(3, 2, 0, 1))
        x = keras_norm(w, f"conv_pw_{i}_bn", x).clamp(0, 6)
    x = F.conv2d(x.mean((2, 3), keepdim=True), w["conv_preds/kernel"].permute(3, 2, 0, 1), w["conv_preds/bias"])
    return x.flatten(1)


def resnet8(x):
    w = keras_weights("cifar10-resnet8-keras/pretrainedResnet.h5")

    def conv(name, x, stride=1):
        k = w[name + "/kernel"].permute(3, 2, 0, 1)
        if k.shape[-1] == 3:
            x = F.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        return F.conv2d(x, k, w[name + "/bias"], stride=stride)

    x = F.relu(keras_norm(w, "batch_normalization", conv("conv2d", x)))
    y = F.relu(keras_norm(w, "batch_normalization_1", conv("conv2d_1", x)))
    x = F.relu(x + keras_norm(w, "batch_normalization_2", conv("conv2d_2", y)))
    for c, b in ((3, 3), (6, 5)):
        y = F.relu(keras_norm(w, f"batch_normalization_{b}", conv(f"conv2d_{c}", x, 2)))
        y = keras_norm(w, f"batch_normalization_{b + 1}", conv(f"conv2d_{c + 1}", y))
        x = F.relu(conv(f"conv2d_{c + 2}", x, 2) + y)
    return x.mean((2, 3)) @ w["dense/kernel"] + w["dense/bias"]


def photographs():
    """Five photographs of hands (Sign Language Digits, Apache-2.0), 100x100 RGB, as raw bytes."""
    folder = DATA / "sign-language-digits"
    paths = [sorted((folder / str(digit)).glob("*.JPG"))[7] for digit in (0, 2, 4, 6, 8)]
    pixels = np.stack([np.asarray(Image.open(p).convert("RGB")) for p in paths])
    assert pixels.shape == (5, 100, 100, 3)
    (HERE / "photographs.bin").write_bytes(pixels.tobytes())
    return pixels


def scaled(pixels, size):
    """Output row i is input row i * 100 // size, columns likewise; N x 3 x size x size, 0...255."""
    index = np.arange(size) * 100 // size
    return torch.from_numpy(pixels[:, index][:, :, index].astype(np.float64)).permute(0, 3, 1, 2)


def normalised(pixels, size):
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (scaled(pixels, size) / 255 - mean[:, None, None]) / deviation[:, None, None]


def loss_curve():
    """Ten steps of SGD, momentum 0.9, ResNet-20, the same batch of 8 each time.

    At this learning rate float32 PyTorch stays within 4e-4 of float64; at 0.05 it strays 4e-3 by itself.
    """
    model = filled(CIFARResNet(3)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, labels = formula("input.curve", (8, 3, 32, 32)), torch.arange(8)
    losses = []
    for _ in range(10):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    pixels = photographs()
    reference = {"torch": torch.__version__}
    with torch.no_grad():
        reference["published"] = {
            "mobilenet_v1_0.25-keras": numbers(mobilenet_v1_keras(scaled(pixels, 224) / 127.5 - 1)),
            "mobilenet_v1_0.25-pytorch": numbers(mobilenet_v1_torch()(normalised(pixels, 224))),
            "resnet20": numbers(
                published_torch(CIFARResNet(3), "cifar10-resnet-pytorch/resnet20-12fca82f.th")(normalised(pixels, 32))),
            "resnet32": numbers(
                published_torch(CIFARResNet(5), "cifar10-resnet-pytorch/resnet32-d509ac18.th")(normalised(pixels, 32))),
            "resnet8": numbers(resnet8(scaled(pixels, 32))),
        }
    ten = {"num_classes": 10, "weights": None}
    reference["logits"] = {
        "resnet18-v1.5": logits(filled(tv.resnet18(**ten))),
        "resnet50-v1.5": logits(filled(tv.resnet50(**ten))),
        "resnet50-v1": logits(move_strides(filled(tv.resnet50(**ten)))),
        "resnet50-keras": logits(filled(keras_resnet(tv.resnet50(**ten)))),
        "mobilenet_v2-torchvision": logits(filled(tv.mobilenet_v2(**ten))),
        "mobilenet_v2_0.35-torchvision": logits(filled(tv.mobilenet_v2(width_mult=0.35, **ten))),
        "vgg11-torchvision": logits(filled(tv.vgg11(**ten))),
        "vgg13_bn-torchvision": logits(filled(tv.vgg13_bn(**ten))),
        "mobilenet_v2-keras": logits(keras_mobilenet_v2(tv.mobilenet_v2(**ten))),
    }
    reference["training"] = {
        name: {str(size): training(filled(make()), size) for size in SIZES}
        for name, make in {
            "resnet18-v1.5": lambda: tv.resnet18(**ten),
            "resnet50-v1.5": lambda: tv.resnet50(**ten),
            "mobilenet_v2-torchvision": lambda: tv.mobilenet_v2(**ten),
            "resnet20-option-a": lambda: CIFARResNet(3),
        }.items()
    }
    reference["curve"] = loss_curve()
    reference["counts"] = {
        name: sum(p.numel() for p in getattr(tv, name)(weights=None).parameters())
        for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2", "vgg11", "vgg13", "vgg16", "vgg19", "vgg16_bn")
    }
    (HERE / "reference.json").write_text(json.dumps(reference, separators=(",", ":")) + "\n")


main()
