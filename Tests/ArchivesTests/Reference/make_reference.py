"""Makes the reference numbers and small fixtures of ArchivesTests.

    python3 Tests/ArchivesTests/Reference/make_reference.py ../shared/data

Needs torch, h5py, numpy, safetensors. Writes weights.json (shape, type, digest and first value of every
tensor of the given weight files, as PyTorch, h5py and safetensors read them) and the small fixtures.
"""

import collections
import hashlib
import json
import os
import sys
import zipfile

import h5py
import numpy
import torch
from safetensors.numpy import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))

PYTORCH = [
    ("cifar10-resnet-pytorch/resnet20-12fca82f.th", "state_dict"),
    ("cifar10-resnet-pytorch/resnet32-d509ac18.th", "state_dict"),
    ("imagenet-mobilenetv1-0.25-pytorch/mobilenetV1X0.25_pretrain.tar", "state_dict"),
    ("cityscapes-espnet-pytorch/espnet_decoder_p_2_q_3.pth", None),
    ("cityscapes-espnet-pytorch/espnet_encoder_p_2_q_3.pth", None),
    ("fastestdet-pytorch/fastestdet_coco_ap05_0.253207.pth", None),
    ("fastestdet-pytorch/shufflenetv2.pth", None),
    ("speech-commands-res8-pytorch/res8.pt", None),
]
KERAS = [
    "cifar10-resnet8-keras/pretrainedResnet.h5",
    "imagenet-mobilenetv1-0.25-keras/mobilenet_2_5_224_tf_no_top.h5",
    "imagenet-mobilenetv1-0.25-keras/mobilenet_v1_0.25_224.h5",
]
SAFETENSORS = ["silero-vad-safetensors/silero_vad_16k.safetensors"]


def describe(tensors):
    """Name, shape, type, SHA-256 (its first 16 digits) of the row-major bytes, first value, of each tensor in order."""
    described = []
    for name, value in tensors:
        value = numpy.ascontiguousarray(value).reshape(value.shape)
        digest = hashlib.sha256(value.tobytes()).hexdigest()[:16]
        described.append([name, list(value.shape), str(value.dtype), digest, float(value.reshape(-1)[0])])
    return described


def keras_tensors(path):
    with h5py.File(path) as file:
        root = file["model_weights"] if "model_weights" in file else file
        for layer in root.attrs["layer_names"]:
            group = root[layer]
            for weight in group.attrs["weight_names"]:
                name = weight.decode() if isinstance(weight, bytes) else weight
                yield name, group[name][()]


def reference(data):
    weights = os.path.join(data, "weights")
    result = {}
    for name, key in PYTORCH:
        # The bytes of the given files are known; torch's own allow-list refuses some old ones.
        state = torch.load(os.path.join(weights, name), map_location="cpu", weights_only=False)
        state = state[key] if key else state
        result[name] = describe((k, v.detach().numpy()) for k, v in state.items())
    for name in KERAS:
        result[name] = describe(keras_tensors(os.path.join(weights, name)))
    for name in SAFETENSORS:
        result[name] = describe(sorted(load_file(os.path.join(weights, name)).items()))
    with open(os.path.join(HERE, "weights.json"), "w") as file:
        json.dump(result, file, separators=(",", ":"), sort_keys=True)
        file.write("\n")


def numbers(*shape):
    return numpy.arange(numpy.prod(shape), dtype=numpy.float32).reshape(shape) / 4


def write_layer(parent, layer, weights, dtype=None, **options):
    group = parent.create_group(layer)
    names = list(weights)
    group.attrs["weight_names"] = numpy.array([n.encode() for n in names], dtype=dtype) if dtype else [n.encode() for n in names]
    for name, value in weights.items():
        group.create_dataset(name, data=value, **options)


def keras_fixture():
    """Split attributes, variable-length names, a nested model, chunked and compressed values."""
    with h5py.File(os.path.join(HERE, "keras.h5"), "w") as file:
        layers = ["conv1", "inner", "twin", "dense"]
        file.attrs["layer_names0"] = numpy.array(layers[:3], dtype="S6")
        file.attrs["layer_names1"] = numpy.array(layers[3:], dtype=h5py.string_dtype())
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["backend"] = numpy.bytes_("tensorflow")
        write_layer(file, "conv1", {"conv1/kernel:0": numbers(3, 3, 2, 4)}, chunks=(3, 3, 1, 2), compression="gzip")
        inner = {"bn/gamma:0": numbers(4), "bn/moving_mean:0": numbers(4) + 1}
        write_layer(file, "inner", inner)
        write_layer(file, "twin", {"bn/gamma:0": numbers(4) + 2}, dtype=h5py.string_dtype())
        group = file.create_group("dense")
        group.attrs["weight_names0"] = [b"dense/kernel:0"]
        group.attrs["weight_names1"] = [b"dense/bias:0"]
        group.create_dataset("dense/kernel:0", data=numbers(4, 3).astype(">f8"), shuffle=True, chunks=True, compression="gzip")
        group.create_dataset("dense/bias:0", data=numbers(3).astype(numpy.float16))


def pytorch_fixture():
    base = torch.arange(24, dtype=torch.float32)
    state = collections.OrderedDict(
        transposed=base.reshape(4, 6).t(),
        part=base.reshape(4, 6)[1:3, 2:5],
        expanded=base[:3].reshape(3, 1).expand(3, 2),
        half=base[:4].half(), brain=base[:4].bfloat16(), double=base[:2].double(),
        steps=torch.tensor(7), mask=torch.tensor([True, False]), small=torch.tensor([1, 255], dtype=torch.uint8),
        empty=torch.zeros(0, 3), parameter=torch.nn.Parameter(base[:2].clone()),
    )
    checkpoint = {
        "epoch": 3, "arch": "tiny", "best": 0.5, "ema": True, "model_state_dict": state,
        "optimizer": {"state": {0: {"momentum_buffer": base[:2]}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    }
    torch.save(checkpoint, os.path.join(HERE, "checkpoint.pt"))
    torch.save(checkpoint, os.path.join(HERE, "checkpoint-legacy.pt"), _use_new_zipfile_serialization=False)


def zip_fixtures():
    """The zip checkpoint again: deflated, with zip64 records, marked big-endian; and a zip of something else."""
    def rewrite(name, method=zipfile.ZIP_STORED, order=b"little"):
        source = zipfile.ZipFile(os.path.join(HERE, "checkpoint.pt"))
        with zipfile.ZipFile(os.path.join(HERE, name), "w", method) as target:
            for entry in source.namelist():
                target.writestr(entry, order if entry.endswith("byteorder") else source.read(entry))

    rewrite("checkpoint-deflated.pt", zipfile.ZIP_DEFLATED)
    rewrite("checkpoint-big.pt", order=b"big")
    limits = zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT
    zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT = 200, 2
    rewrite("checkpoint-zip64.pt")
    zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT = limits
    with zipfile.ZipFile(os.path.join(HERE, "no-pickle.zip"), "w") as target:
        target.writestr("hello.txt", "hello")


def keras3_fixture():
    with h5py.File(os.path.join(HERE, "keras3.weights.h5"), "w") as file:
        variables = file.create_group("layers/dense/vars")
        variables.create_dataset("0", data=numbers(4, 3))
        variables.create_dataset("1", data=numbers(3))
        file.create_group("optimizer/vars").create_dataset("0", data=numbers(2))


def safetensors_fixture():
    tensors = {"b": numbers(2, 3), "a": numpy.array([1, 2, 3], dtype=numpy.int64), "flags": numpy.array([True, False, True])}
    save_file(tensors, os.path.join(HERE, "small.safetensors"), metadata={"made_by": "safetensors"})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        reference(sys.argv[1])
    keras_fixture()
    keras3_fixture()
    pytorch_fixture()
    zip_fixtures()
    safetensors_fixture()
