"""Writes reference.json: small whole inputs and outputs of operations, as PyTorch computes them.

Run:  python make_reference.py        (PyTorch 2.x, CPU; any version with these functions gives the same)

Each case has the operation's name, its settings, and named tensors. "output" is the operation's result,
"seed" the gradient it is given, "gradient.X" what backward finds for the tensor X.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(20240607)
torch.set_num_threads(1)
cases = []


def pack(tensor):
    if tensor.dtype in (torch.int64, torch.int32):
        return {"shape": list(tensor.shape), "integers": tensor.flatten().tolist()}
    values = tensor.detach().flatten().tolist()
    return {"shape": list(tensor.shape), "values": [float(f"{v:.7g}") for v in values]}


def case(operation, name, settings, inputs, function, learns=None, extra=None):
    """Runs `function` on `inputs` in double precision and keeps inputs, output and gradients."""
    learns = [k for k, v in inputs.items() if v.dtype.is_floating_point] if learns is None else learns
    # Inputs are rounded first, so that both sides start from the same numbers.
    inputs = {k: v.float() if v.dtype.is_floating_point else v for k, v in inputs.items()}
    leaves = {
        k: v.double().requires_grad_(k in learns) if v.dtype.is_floating_point else v for k, v in inputs.items()
    }
    output = function(**leaves)
    tensors = {k: pack(v) for k, v in inputs.items()}
    tensors["output"] = pack(output)
    if learns:
        seed = torch.randn(output.shape) if output.dim() else torch.tensor(1.5)
        seed = torch.tensor(seed.numpy().round(3)) if output.dim() else seed
        output.backward(seed.double())
        tensors["seed"] = pack(seed)
        for k in learns:
            tensors["gradient." + k] = pack(leaves[k].grad)
    for k, v in (extra() if extra else {}).items():
        tensors[k] = pack(v)
    cases.append({"operation": operation, "name": name, "settings": settings, "tensors": tensors})


def numbers(*shape):
    return torch.tensor(torch.randn(*shape).numpy().round(3))


# Convolution. Settings: [height, width] pairs; padding as top, bottom, left, right.
def convolution(name, n, c, h, w, o, k, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1, bias=True):
    top, bottom, left, right = padding
    inputs = {"input": numbers(n, c, h, w), "weight": numbers(o, c // groups, *k) * 0.5}
    if bias:
        inputs["bias"] = numbers(o)

    def run(input, weight, bias=None):
        padded = F.pad(input, (left, right, top, bottom))
        return F.conv2d(padded, weight, bias, stride, 0, dilation, groups)

    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    case("convolution", name, settings, inputs, run)


convolution("plain", 2, 3, 5, 6, 4, (3, 3))
convolution("pointwise", 2, 5, 4, 3, 6, (1, 1), bias=False)
convolution("pointwise strided", 1, 3, 5, 5, 4, (1, 1), stride=(2, 2))
convolution("strided padded", 1, 3, 7, 6, 5, (3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
convolution("uneven strides and kernel", 1, 2, 7, 8, 3, (3, 2), stride=(2, 3), padding=(1, 1, 0, 0))
convolution("asymmetric padding as Keras", 2, 3, 6, 6, 4, (3, 3), stride=(2, 2), padding=(0, 1, 0, 1))
convolution("asymmetric padding on all sides", 1, 2, 4, 5, 3, (3, 3), padding=(2, 1, 0, 3))
convolution("dilated", 1, 2, 8, 7, 3, (3, 3), padding=(2, 2, 2, 2), dilation=(2, 2))
convolution("dilated unevenly", 1, 2, 8, 7, 2, (2, 3), dilation=(3, 2), bias=False)
convolution("grouped", 2, 6, 4, 4, 4, (3, 3), padding=(1, 1, 1, 1), groups=2)
convolution("depthwise", 2, 5, 5, 5, 5, (3, 3), padding=(1, 1, 1, 1), groups=5)
convolution("depthwise strided as Keras", 1, 8, 6, 6, 8, (3, 3), stride=(2, 2), padding=(0, 1, 0, 1), groups=8, bias=False)
convolution("depthwise with two outputs each", 1, 3, 4, 5, 6, (3, 3), groups=3)
convolution("whole blocks of channels", 1, 16, 3, 4, 16, (3, 3), padding=(1, 1, 1, 1), bias=False)
convolution("channels in and a half blocks", 1, 20, 3, 3, 24, (1, 1))
convolution("stem of a residual network", 1, 3, 11, 11, 8, (7, 7), stride=(2, 2), padding=(3, 3, 3, 3), bias=False)
convolution("input smaller than kernel", 1, 2, 2, 2, 3, (3, 3), padding=(1, 1, 1, 1))


# Pooling.
def pooling(kind, name, shape, window, stride, padding=(0, 0), counts=True):
    values = numbers(*shape)
    if kind == "maxPool":  # No ties.
        values = (torch.randperm(values.numel()).reshape(shape).float() - values.numel() / 2) / 8

    def run(input):
        if kind == "maxPool":
            return F.max_pool2d(input, window, stride, padding)
        return F.avg_pool2d(input, window, stride, padding, count_include_pad=counts)

    settings = {"window": window, "stride": stride, "countsPadding": counts,
                "padding": (padding[0], padding[0], padding[1], padding[1])}
    case(kind, name, settings, {"input": values}, run)


for kind in ("maxPool", "averagePool"):
    pooling(kind, "even", (2, 3, 4, 6), (2, 2), (2, 2))
    pooling(kind, "with a rest", (1, 3, 7, 8), (3, 2), (2, 3))
    pooling(kind, "overlapping, padded", (2, 4, 5, 6), (3, 3), (2, 2), (1, 1))
    pooling(kind, "whole blocks", (1, 16, 4, 4), (3, 3), (2, 2), (1, 1))
pooling("averagePool", "padding not counted", (2, 4, 5, 6), (3, 3), (2, 2), (1, 1), counts=False)
pooling("averagePool", "uneven padding not counted", (1, 2, 5, 6), (3, 2), (1, 2), (1, 0), counts=False)
case("globalAveragePool", "odd", {}, {"input": numbers(2, 5, 3, 4)}, lambda input: F.adaptive_avg_pool2d(input, 1).flatten(1))
case("globalAveragePool", "blocks", {}, {"input": numbers(1, 16, 7, 7)}, lambda input: F.adaptive_avg_pool2d(input, 1).flatten(1))


# Batch norm. Activations: relu and relu6 after an optional residual sum.
def batch_norm(name, shape, epsilon, momentum=0.1, training=True, residual=False, activation="identity"):
    c = shape[1]
    inputs = {"input": numbers(*shape) * 2 + 0.5, "scale": numbers(c) + 1, "shift": numbers(c)}
    if residual:
        inputs["residual"] = numbers(*shape)
    mean, variance = numbers(c), numbers(c).abs() + 0.5
    after = mean.double().clone(), variance.double().clone()

    def run(input, scale, shift, residual=None):
        y = F.batch_norm(input, after[0], after[1], scale, shift, training, momentum, epsilon)
        y = y if residual is None else y + residual
        return {"relu": F.relu, "relu6": F.relu6, "identity": lambda v: v}[activation](y)

    settings = {"epsilon": epsilon, "momentum": momentum, "activation": activation}
    inputs_and_state = lambda: {"mean": mean, "variance": variance, "meanAfter": after[0], "varianceAfter": after[1]}
    case("batchNormTraining" if training else "batchNormInference", name, settings, inputs, run, extra=inputs_and_state)


for training in (True, False):
    batch_norm("epsilon 1e-5", (2, 3, 4, 3), 1e-5, training=training)
    batch_norm("epsilon 1e-3, momentum 0.01", (3, 5, 2, 3), 1e-3, 0.01, training=training)
    batch_norm("relu", (2, 4, 3, 3), 1e-5, training=training, activation="relu")
    batch_norm("relu6", (2, 4, 3, 3), 1e-3, training=training, activation="relu6")
    batch_norm("residual", (2, 3, 3, 4), 1e-5, training=training, residual=True)
    batch_norm("residual and relu", (2, 5, 3, 3), 1e-5, training=training, residual=True, activation="relu")
    batch_norm("whole blocks, residual and relu6", (2, 16, 2, 3), 1e-5, training=training, residual=True, activation="relu6")

# Activations.
line = torch.tensor([-9.0, -6.5, -3.0, -1.2, -0.7, -0.1, 0.1, 0.4, 0.9, 1.7, 2.5, 5.5, 6.5, 9.0, 30.0])
for name, function in {
    "relu": F.relu, "relu6": F.relu6, "leakyRelu 0.1": lambda v: F.leaky_relu(v, 0.1), "gelu": F.gelu,
    "gelu tanh": lambda v: F.gelu(v, approximate="tanh"), "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "exp": torch.exp, "square": torch.square, "clamped": lambda v: v.clamp(-1.25, 2.5),
}.items():
    case("activation", name, {}, {"input": line[:-1] if name == "exp" else line}, lambda input: function(input))
for name, function in {"log": torch.log, "sqrt": torch.sqrt}.items():
    case("activation", name, {}, {"input": line.abs()}, lambda input: function(input))

# Softmax along each axis; large numbers too.
for axis in range(3):
    for name, function in {"softmax": F.softmax, "logSoftmax": F.log_softmax}.items():
        case(name, f"axis {axis}", {"axis": axis}, {"input": numbers(3, 4, 5) * 3}, lambda input: function(input, axis))
extreme = torch.tensor([[1000.0, 999.0, -1000.0], [-1e4, -1e4, -1e4], [88.0, 89.0, 90.0]])
case("softmax", "extreme", {"axis": 1}, {"input": extreme}, lambda input: F.softmax(input, 1))
case("logSoftmax", "extreme", {"axis": 1}, {"input": extreme}, lambda input: F.log_softmax(input, 1))

# Cross-entropy, summed over samples.
for name, smoothing, ignored in (
    ("plain", 0.0, None), ("smoothed", 0.1, None), ("ignoring", 0.0, 3), ("smoothed and ignoring", 0.25, 3),
    ("ignoring -100", 0.1, -100),
):
    labels = torch.tensor([0, 3, 6, 3, 2], dtype=torch.int64)
    if ignored == -100:
        labels[1] = -100
    case(
        "crossEntropy", name, {"labelSmoothing": smoothing, "ignoreIndex": ignored},
        {"logits": numbers(5, 7) * 4, "labels": labels},
        lambda logits, labels: F.cross_entropy(
            logits, labels, reduction="sum", label_smoothing=smoothing,
            ignore_index=-1000 if ignored is None else ignored))

# Reductions, extremes and comparisons.
for axes in ([0], [1], [2], [0, 2], [0, 1, 2]):
    case("sum", str(axes), {"axes": axes}, {"input": numbers(3, 4, 5)}, lambda input: input.sum(axes))
    case("mean", str(axes), {"axes": axes}, {"input": numbers(3, 4, 5)}, lambda input: input.mean(axes))
    case("variance", str(axes), {"axes": axes}, {"input": numbers(3, 4, 5)}, lambda input: input.var(axes, correction=0))
    case("unbiasedVariance", str(axes), {"axes": axes}, {"input": numbers(3, 4, 5)}, lambda input: input.var(axes, correction=1))
    case("max", str(axes), {"axes": axes}, {"input": numbers(3, 4, 5)}, lambda input: input.amax(axes))
for axis in range(3):
    case("argmax", str(axis), {"axis": axis}, {"input": numbers(3, 4, 5)}, lambda input: input.argmax(axis), learns=[])
tied = {"a": torch.tensor([1.0, 2.0, 3.0, -1.0]), "b": torch.tensor([1.0, 5.0, -3.0, -1.0])}
case("maximum", "ties", {}, tied, lambda a, b: torch.maximum(a, b))
case("minimum", "ties", {}, tied, lambda a, b: torch.minimum(a, b))

# Products.
case("matmul", "plain", {}, {"a": numbers(3, 4), "b": numbers(4, 5)}, lambda a, b: a @ b)
case("matmul", "batched, broadcast", {}, {"a": numbers(2, 1, 3, 4), "b": numbers(3, 4, 2)}, lambda a, b: a @ b)
case("matmul", "batch and matrix", {}, {"a": numbers(2, 3, 4), "b": numbers(4, 2)}, lambda a, b: a @ b)
case("linear", "bias", {}, {"input": numbers(3, 4), "weight": numbers(5, 4), "bias": numbers(5)},
     lambda input, weight, bias: F.linear(input, weight, bias))

# Broadcasting arithmetic.
for name, function in {
    "add": torch.add, "subtract": torch.subtract, "multiply": torch.multiply, "divide": torch.divide,
}.items():
    case(name, "broadcast", {}, {"a": numbers(2, 1, 3), "b": numbers(4, 1).sign() * (numbers(4, 1).abs() + 0.5)},
         lambda a, b: function(a, b))

# What transformers are made of.
for name, shape, epsilon in (("sequence", (2, 3, 20), 1e-5), ("one row", (7,), 1e-12)):
    width = shape[-1]
    case("layerNorm", name, {"epsilon": epsilon},
         {"input": numbers(*shape) * 2 + 0.5, "scale": numbers(width) + 1, "shift": numbers(width)},
         lambda input, scale, shift: F.layer_norm(input, (width,), scale, shift, epsilon))
for approximate in ("none", "tanh"):
    case("geluBias", approximate, {}, {"input": numbers(5, 19) * 2, "bias": numbers(19)},
         lambda input, bias: F.gelu(input + bias, approximate=approximate))


def attention(name, samples, queries, keys, width, heads, causal=False, masked=False):
    inputs = {"query": numbers(samples, queries, width), "key": numbers(samples, keys, width), "value": numbers(samples, keys, width)}
    mask = torch.zeros(samples, keys)
    if masked:
        mask[0, keys // 2:] = -math.inf
    split = lambda x: x.unflatten(-1, (heads, -1)).transpose(1, 2)
    hidden = torch.zeros(queries, keys)
    if causal:
        hidden = torch.full((queries, keys), -math.inf).triu(keys - queries + 1)

    def run(query, key, value):
        whole = mask[:, None, None, :].double() + hidden.double()
        output = F.scaled_dot_product_attention(split(query), split(key), split(value), attn_mask=whole)
        return output.transpose(1, 2).flatten(2)

    lengths = torch.tensor([keys // 2 if masked and n == 0 else keys for n in range(samples)])
    case("attention", name, {"groups": heads, "countsPadding": causal}, inputs, run, extra=lambda: {"lengths": lengths})


attention("plain", 2, 5, 5, 12, 3)
attention("other keys", 1, 3, 20, 8, 2)
attention("masked", 2, 4, 6, 8, 2, masked=True)
attention("causal", 2, 18, 18, 8, 2, causal=True)
attention("causal behind a cache, masked", 2, 3, 9, 8, 1, causal=True, masked=True)

folder = pathlib.Path(__file__).parent
text = "[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n"
(folder / "reference.json").write_text(text)
print(f"{len(cases)} cases, {len(text)} bytes")
