"""Training or inference steps in PyTorch on the CPU: the peer of `graft bench step`, with the same work and options.

Prints one JSON object: items_per_second, step_seconds_min, step_seconds_median, peak_rss_mib (VmHWM of this process),
the version, and with --count flops_per_item: twice the multiplications of convolutions and matrix products.
"""

import argparse
import json
import os
import statistics
import sys
import time

import pytorch_networks as networks


def training_step(network, architecture):
    import torch

    if architecture in networks.LANGUAGE:
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    else:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)

    def step(batch):
        optimizer.zero_grad(set_to_none=True)
        networks.loss(network, architecture, batch).backward()
        optimizer.step()

    return step


def inference_step(network, architecture, arguments):
    """PyTorch's inference, plain or at its best: folded, and fused where PyTorch's compiler for inference can."""
    import torch

    network.eval()
    if arguments.folded:
        example = networks.batch(architecture, arguments.batch, arguments.size, arguments.sequence)[0]
        with torch.inference_mode():
            network = torch.jit.optimize_for_inference(torch.jit.trace(network, example))

    def step(batch):
        with torch.inference_mode():
            network(batch[0])

    return step


def flops_per_item(arguments):
    """Of one item: forward as PyTorch's counter finds it (with the plain attention, whose products it knows); in
    training three times that, less what the first convolution of a network need not do, the gradient of its input."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    network = networks.make(arguments.architecture).eval()
    spared = []
    first = next((layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)), None)
    if first:
        count = 2 * first.weight[0].numel()
        first.register_forward_hook(lambda layer, inputs, output: spared.append(count * output.numel()))
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        networks.loss(
            network,
            arguments.architecture,
            networks.batch(arguments.architecture, 1, arguments.size, arguments.sequence),
        )
    forward = counter.get_total_flops()
    return forward if arguments.mode == "infer" else 3 * forward - sum(spared)


def measure(arguments, rank=0):
    """The seconds of the steps that count, and the peak of memory after them."""
    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(rank)
    network = networks.make(arguments.architecture)
    if arguments.mode == "train":
        network.train()
        if arguments.ranks > 1:
            network = torch.nn.parallel.DistributedDataParallel(network)
        step = training_step(network, arguments.architecture)
    else:
        step = inference_step(network, arguments.architecture, arguments)
    batch = networks.batch(arguments.architecture, arguments.batch, arguments.size, arguments.sequence)
    seconds = []
    for _ in range(arguments.warmup + arguments.steps):
        start = time.perf_counter()
        step(batch)
        seconds.append(time.perf_counter() - start)
    return seconds[arguments.warmup :], networks.peak_rss_mib()


def ranked(rank, arguments, queue):
    import torch.distributed

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(arguments.port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=arguments.ranks)
    queue.put((rank, *measure(arguments, rank)))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def measure_ranks(arguments):
    """DistributedDataParallel over gloo: the slowest rank's seconds, and the largest peak."""
    import socket

    import torch.multiprocessing

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        arguments.port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    torch.multiprocessing.start_processes(ranked, (arguments, queue), arguments.ranks, start_method="spawn")
    results = [queue.get() for _ in range(arguments.ranks)]
    return max((seconds for _, seconds, _ in results), key=statistics.median), max(peak for _, _, peak in results)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", default="resnet50", choices=sorted(networks.NAMES))
    parser.add_argument("--batch", type=int, default=16, help="images or sequences of a step, on each rank")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--sequence", type=int, default=128, help="tokens")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=1, help="processes with DistributedDataParallel")
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--folded", action="store_true", help="inference: batch norm folded into convolutions")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--count", action="store_true", help="count the multiplications too")
    parser.add_argument("--json", action="store_true", help="accepted, as graft does: the answer is always JSON")
    arguments = parser.parse_args()

    import torch

    seconds, peak = measure_ranks(arguments) if arguments.ranks > 1 else measure(arguments)
    answer = {
        "architecture": arguments.architecture,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "ranks": arguments.ranks,
        "mode": arguments.mode,
        "items_per_second": arguments.batch * arguments.ranks / statistics.median(seconds),
        "step_seconds_min": min(seconds),
        "step_seconds_median": statistics.median(seconds),
        "peak_rss_mib": peak,
        "torch": torch.__version__,
    }
    if arguments.count:
        answer["flops_per_item"] = flops_per_item(arguments)
    json.dump(answer, sys.stdout)
    print()


if __name__ == "__main__":
    main()
