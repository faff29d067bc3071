"""Writes optimizers.json and schedules.json beside this file: what PyTorch's optimizers and schedulers do.

    pip install torch==2.13.0 && python Tests/TrainingTests/Reference/make_reference.py
"""
import json
import pathlib
import warnings

import torch
from torch.optim import lr_scheduler as schedulers

warnings.filterwarnings("ignore")
here = pathlib.Path(__file__).parent
STEPS, COUNT = 12, 19


def gradient(step, value):
    """A gradient that depends on the value and on nothing random: simple enough to repeat in Swift."""
    index = torch.arange(COUNT, dtype=torch.float32)
    return value * 0.5 + ((index * 7 + step * 5) % 11 - 5) / 8


def optimizer_case(name, build, clip=None):
    value = torch.nn.Parameter((torch.arange(COUNT, dtype=torch.float32) - 9) / 4)
    optimizer = build([value])
    values, norms = [], []
    for step in range(STEPS):
        value.grad = gradient(step, value.detach()).clone()
        if clip is not None:
            norms.append(torch.nn.utils.clip_grad_norm_([value], clip).item())
        optimizer.step()
        values.append(value.detach().tolist())
    state = {k: v.tolist() for k, v in optimizer.state[value].items() if isinstance(v, torch.Tensor) and v.dim() == 1}
    return {"name": name, "clip": clip, "norms": norms, "values": values, "state": state}


O = torch.optim
optimizers = [
    optimizer_case("sgd", lambda p: O.SGD(p, lr=0.1)),
    optimizer_case("sgd-decay", lambda p: O.SGD(p, lr=0.1, weight_decay=0.01)),
    optimizer_case("sgd-momentum", lambda p: O.SGD(p, lr=0.1, momentum=0.9)),
    optimizer_case("sgd-momentum-decay", lambda p: O.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01)),
    optimizer_case("sgd-nesterov-decay", lambda p: O.SGD(p, lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01)),
    optimizer_case("sgd-momentum-clip", lambda p: O.SGD(p, lr=0.1, momentum=0.9), clip=1.0),
    optimizer_case("adam", lambda p: O.Adam(p, lr=0.01)),
    optimizer_case("adam-decay", lambda p: O.Adam(p, lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
    optimizer_case("adam-clip", lambda p: O.Adam(p, lr=0.01), clip=0.5),
    optimizer_case("adamw", lambda p: O.AdamW(p, lr=0.01)),
    optimizer_case("adamw-decay", lambda p: O.AdamW(p, lr=0.02, betas=(0.85, 0.9), eps=1e-7, weight_decay=0.2)),
]
json.dump(optimizers, open(here / "optimizers.json", "w"), indent=0)


def schedule_case(name, build, steps_per_epoch, total):
    optimizer = O.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build(optimizer)
    factors = []
    for _ in range(total):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return {"name": name, "stepsPerEpoch": steps_per_epoch, "totalSteps": total, "factors": factors}


S = schedulers
schedules = [
    schedule_case("constant", lambda o: S.ConstantLR(o, factor=1.0), 5, 20),
    schedule_case("step", lambda o: S.StepLR(o, step_size=2 * 5, gamma=0.3), 5, 40),
    schedule_case("milestones", lambda o: S.MultiStepLR(o, milestones=[3 * 5, 6 * 5], gamma=0.1), 5, 40),
    schedule_case("cosine", lambda o: S.CosineAnnealingLR(o, T_max=40), 5, 40),
    schedule_case("cosine-end", lambda o: S.CosineAnnealingLR(o, T_max=40, eta_min=0.05), 5, 40),
    schedule_case("linear", lambda o: S.LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=40), 5, 40),
    schedule_case(
        "warm-up-cosine",
        lambda o: S.SequentialLR(
            o, [S.LinearLR(o, start_factor=0.1, total_iters=10), S.CosineAnnealingLR(o, T_max=30)], milestones=[10]
        ),
        5,
        40,
    ),
    schedule_case(
        "warm-up-step",
        lambda o: S.ChainedScheduler(
            [S.LinearLR(o, start_factor=0.25, total_iters=7), S.StepLR(o, step_size=3 * 5, gamma=0.5)]
        ),
        5,
        40,
    ),
]
json.dump(schedules, open(here / "schedules.json", "w"), indent=0)
