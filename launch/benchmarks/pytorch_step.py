"""One training step of a torchvision network in PyTorch on the CPU, measured as `graft bench step` measures ours.

Prints one JSON object: items_per_second, step_seconds (min, median), peak_rss_mib (VmHWM of this process).
"""
import argparse
import json
import pathlib
import statistics
import sys
import time


def torchvision_models():
    """torchvision's compiled operators do not load beside the CPU build of PyTorch; the networks do not need them."""
    import importlib.util

    folder = pathlib.Path(importlib.util.find_spec("torchvision").origin).parent
    registrations = folder / "_meta_registrations.py"
    if registrations.stat().st_size:
        registrations.write_text("")
    import torchvision.models

    return torchvision.models


def mobilenet_v1():
    """Howard et al. 2017, width 1: torchvision has no MobileNetV1."""
    from torch import nn

    def block(inputs, outputs, size, stride, groups=1):
        convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True)]

    layers, inputs = block(3, 32, 3, 2), 32
    for outputs, stride in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]:
        layers += block(inputs, inputs, 3, stride, groups=inputs) + block(inputs, outputs, 1, 1)
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", default="resnet50")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    make = mobilenet_v1 if arguments.architecture == "mobilenet_v1" else getattr(torchvision_models(), arguments.architecture)
    network = make().to(memory_format=torch.channels_last)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (arguments.batch,))

    seconds = []
    for _ in range(arguments.warmup + arguments.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    seconds = seconds[arguments.warmup :]
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    json.dump(
        {
            "torch": torch.__version__,
            "items_per_second": arguments.batch / statistics.median(seconds),
            "step_seconds": {"min": min(seconds), "median": statistics.median(seconds)},
            "peak_rss_mib": int(peak.split()[1]) / 1024,
        },
        sys.stdout,
    )
    print()


if __name__ == "__main__":
    main()
