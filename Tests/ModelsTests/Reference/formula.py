"""Values by formula: what the tests and the scripts here fill networks and inputs with."""
import math

import numpy as np
import torch


def uniform(name, count):
    """`count` numbers in [0, 1): splitmix64 of (FNV-1a of the name) + index, upper 24 bits."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        x = np.uint64(h) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(40)).astype(np.float32) / np.float32(2**24)


def formula(name, shape):
    u = uniform(name, int(np.prod(shape, dtype=np.int64)))
    signed = np.float32(2) * u - np.float32(1)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        values = np.float32(0.5) + u
    elif len(shape) >= 2 and name.endswith("weight"):
        values = signed * np.float32(math.sqrt(np.float32(3) / np.float32(np.prod(shape[1:]))))
    elif name.startswith("input"):
        values = np.float32(2) * signed
    else:
        values = np.float32(0.1) * signed
    return torch.from_numpy(values.reshape(shape).astype(np.float64))


def filled(model):
    state = model.state_dict()
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = formula(name, tuple(value.shape))
    model.load_state_dict(state)
    return model


def images(name, size, tile=None):
    """Two images of that height and width; of a tile of that size repeated, where there is one."""
    tile = tile or size
    times = -(-size // tile)
    return formula(name, (2, 3, tile, tile)).repeat(1, 1, times, times)[:, :, :size, :size]


def numbers(tensor):
    return [float("%.9g" % v) for v in tensor.detach().flatten().tolist()]


def summary(gradient):
    """Largest magnitude, sum, first, middle and last entry; what float32 cannot hold is 0."""
    g = gradient.detach().flatten()
    values = [g.abs().max(), g.sum(), g[0], g[(g.numel() - 1) // 2], g[-1]]
    return [float("%.5g" % v) if abs(v) > 1e-30 else 0.0 for v in values]


def tokens(name, shape, vocabulary):
    """Any token but 0."""
    count = shape[0] * shape[1]
    return torch.tensor([int(u * (vocabulary - 1)) + 1 for u in uniform(name, count).tolist()]).reshape(shape)


def gradients(model, prefix=""):
    """Of every parameter's gradient the largest magnitude, the sum and five entries evenly spaced."""
    found = {}
    for name, parameter in model.named_parameters():
        g = parameter.grad.flatten()
        picks = [i * (g.numel() - 1) // 4 for i in range(5)]
        found[prefix + name] = numbers(torch.stack([g.abs().max(), g.sum()] + [g[i] for i in picks]))
    return found
