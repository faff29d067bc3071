"""Makes keras.json: what Keras's applications give, and the order of their layers.

    KERAS_BACKEND=torch python make_keras_reference.py [NAME...]        # keras, torch, numpy

Without names all networks are made anew, otherwise those. Arrays are filled by a formula of Keras's own names
(`conv2d_3/kernel`) in Keras's layouts, so that the tests put them into place by their tables of Keras's layers. Otherwise
as make_vision_reference.py: float64, evaluation mode, two images of ten classes; gradients in the order of the layers and
of their weights, at two sizes; of VGG, whose classifier fits 224 pixels only, at that one.

`layers` holds, of each network as published, the SHA-256 of the lines `name:class` of all layers with weights, how many
there are, and how many numbers they hold.
"""
import gc
import hashlib
import json
import sys
from pathlib import Path

import keras
import numpy as np
import torch
import torch.nn.functional as F
from keras import applications as ka
from keras import layers as kl

from formula import images, numbers, summary, uniform
from kinks import TILE, TRIES, TRIES_OF_TILES, clear_images

keras.config.set_floatx("float64")
FILE = Path(__file__).parent / "keras.json"
WIDTHS = [n / 100 for n in range(7, 200, 7)]


def resnet8(input_shape, classes, **_):
    """mlcommons/tiny: benchmark/training/image_classification, for any input size."""
    inputs = kl.Input(input_shape)
    x = kl.Conv2D(16, 3, padding="same")(inputs)
    x = kl.Activation("relu")(kl.BatchNormalization()(x))
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = kl.Conv2D(filters, 3, stride, padding="same")(x)
        y = kl.Activation("relu")(kl.BatchNormalization()(y))
        y = kl.Conv2D(filters, 3, padding="same")(y)
        y = kl.BatchNormalization()(y)
        if stride > 1:
            x = kl.Conv2D(filters, 1, stride, padding="same")(x)
        x = kl.Activation("relu")(kl.add([x, y]))
    return keras.Model(inputs, kl.Dense(classes)(kl.GlobalAveragePooling2D()(x)))


def networks():
    """Key of the tests -> (how to make it, native size, another size or None, sizes for gradients)."""
    all = {"resnet8-keras": (resnet8, 32, 41, (33, 32))}
    for depth in (50, 101, 152):
        sizes = (33, 224 if depth == 50 else 32)
        all[f"resnet{depth}-keras"] = (getattr(ka, f"ResNet{depth}"), 224, 97, sizes)
        all[f"resnet{depth}_v2-keras"] = (getattr(ka, f"ResNet{depth}V2"), 224, 97, sizes)
    for depth in (16, 19):
        all[f"vgg{depth}-keras"] = (getattr(ka, f"VGG{depth}"), 224, None, (224,))
    all["inception_v3-keras"] = (ka.InceptionV3, 299, 128, (75, 80))
    all["inception_resnet_v2-keras"] = (ka.InceptionResNetV2, 299, 128, (75, 80))
    for name, make, widths in (
            ("mobilenet_v1", ka.MobileNet, (1, 0.25, 0.5, 0.75)),
            ("mobilenet_v2", ka.MobileNetV2, (1, 0.35, 0.5, 0.75, 1.3, 1.4))):
        for width in widths:
            key = name if width == 1 else f"{name}_{width}"
            sizes = (33, 224 if width == min(widths) else 32)
            all[f"{key}-keras"] = (lambda m=make, w=width, **k: m(alpha=w, **k), 224, 97, sizes)
    return all


def build(make, size, classes):
    # Keras numbers layers as long as a program runs.
    keras.utils.clear_session()
    return make(weights=None, input_shape=(size, size, 3), classes=classes, classifier_activation=None)


def variables(model):
    """(layer/variable, variable) in Keras's order."""
    for layer in model.layers:
        for variable in layer.weights:
            name = variable.name
            if isinstance(layer, kl.DepthwiseConv2D) and name == "kernel":
                name = "depthwise_kernel"
            yield f"{layer.name}/{name}", variable


def values(name, shape):
    u = uniform(name, int(np.prod(shape)))
    signed = np.float32(2) * u - np.float32(1)
    variable = name.split("/")[1]
    if variable in ("gamma", "moving_variance"):
        result = np.float32(0.5) + u
    elif variable in ("kernel", "depthwise_kernel"):
        fan = np.prod(shape[:2] if variable == "depthwise_kernel" else shape[:-1])
        result = signed * np.sqrt(np.float32(3) / np.float32(fan))
    else:
        result = np.float32(0.1) * signed
    return result.reshape(shape).astype(np.float64)


def filled(model):
    for name, variable in variables(model):
        variable.assign(values(name, tuple(variable.shape)))
    return model


def run(model, images):
    return model(images.permute(0, 2, 3, 1).contiguous(), training=False).reshape(2, 10)


def computed(make, native, other, sizes):
    logits = {}
    for size in [native] + ([other] if other else []):
        model = filled(build(make, size, 10))
        with torch.no_grad():
            logits[str(size)] = numbers(run(model, images(f"input{size}", size)))
    tries = TRIES_OF_TILES if native in sizes[1:] else TRIES
    return {"logits": logits, "passes": [backward(make, size, native, tries) for size in sizes]}


def backward(make, size, native, tries):
    model = filled(build(make, size, 10))
    tile = TILE if size == native > TILE else None
    name, distance = clear_images(lambda x: run(model, x), size, tile, tries if tile else TRIES)
    loss = F.cross_entropy(run(model, images(name, size, tile)), torch.tensor([1, 3]))
    loss.backward()
    print(f"{name}, {distance:.1e} from a kink", end=" ", flush=True)
    result = {"input": name, "size": size} | ({"tile": tile} if tile else {})
    gradients = [summary(v.value.grad) for _, v in variables(model) if v.trainable]
    return result | {"loss": loss.item(), "gradients": gradients}


def channels():
    """Width -> outputs of MobileNetV2's convolutions, as make_vision_reference.py has them."""
    names = ["Conv1", "expanded_conv_project"] + [f"block_{i}_project" for i in (1, 3, 6, 10, 13, 16)] + ["Conv_1"]
    found = {}
    for width in WIDTHS:
        model = build(lambda **k: ka.MobileNetV2(alpha=width, **k), 224, 10)
        found[str(width)] = [model.get_layer(name).filters for name in names]
    return found


def table(make, native):
    model = build(make, native, 10 if make is resnet8 else 1000)
    lines = [f"{layer.name}:{type(layer).__name__}" for layer in model.layers if layer.weights]
    return {
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(), "layers": len(lines),
        "parameters": model.count_params()}


def main():
    all = networks()
    wanted = sys.argv[1:]
    reference = json.loads(FILE.read_text()) if wanted else {}
    reference |= {"keras": keras.__version__}
    if "channels" not in reference:
        reference["channels"] = channels()
    for name in wanted or all:
        make, native = all[name][:2]
        reference.setdefault("layers", {})[name] = table(make, native)
        reference.setdefault("networks", {})[name] = computed(*all[name])
        print(name, flush=True)
        gc.collect()
        FILE.write_text(json.dumps(reference, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
