"""Makes the tables of launch/benchmarks/training-step, prints them and writes them into docs/performance.md.

usage: report_training_step.py FOLDER PERFORMANCE.md
"""
import datetime
import json
import pathlib
import statistics
import sys

BEGIN, END = "<!-- training-step: begin -->\n", "<!-- training-step: end -->\n"


def objects(path):
    text, decoder, found = path.read_text().strip(), json.JSONDecoder(), []
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def steps(work):
    names = [("resnet50", "ResNet-50"), ("vgg16", "VGG16"), ("mobilenet_v2", "MobileNetV2"), ("mobilenet_v1", "MobileNetV1")]
    yield "| training step, 224 px, 1 thread | batch | rounds | Graft, images/s | PyTorch, images/s | ratio (range) | memory, MiB | PyTorch, MiB | ratio |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for key, name in names:
        graft, torch = (objects(work / f"{key}.{peer}.json") for peer in ("graft", "pytorch"))
        pairs = [a["items_per_second"] / b["items_per_second"] for a, b in zip(graft, torch)]
        memory = [median(runs, "peak_rss_mib") for runs in (graft, torch)]
        yield (
            f"| {name} | {graft[0]['batch']} | {len(pairs)} | {median(graft, 'items_per_second'):.2f} | {median(torch, 'items_per_second'):.2f} "
            f"| {statistics.median(pairs):.2f} ({min(pairs):.2f}-{max(pairs):.2f}) "
            f"| {memory[0]:.0f} | {memory[1]:.0f} | {memory[0] / memory[1]:.2f} |"
        )


def ranks(work):
    one, two = ([run["images_per_second"] for run in objects(work / f"ranks{count}.json")] for count in (1, 2))
    pairs = [b / a for a, b in zip(one, two)]
    yield "| ResNet-50 in `graft train`, 8 images of 224 px per rank, 1 thread per rank | rounds | 1 rank | 2 ranks | ratio (range) |"
    yield "|---|---|---|---|---|"
    yield (
        f"| images/s | {len(pairs)} | {statistics.median(one):.2f} | {statistics.median(two):.2f} "
        f"| {statistics.median(pairs):.2f} ({min(pairs):.2f}-{max(pairs):.2f}) |"
    )


def main():
    work, page = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    graft, torch = objects(work / "resnet50.graft.json"), objects(work / "resnet50.pytorch.json")
    processor = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    peak = [run["matrix_product_gflops_one_thread"] for run in graft]
    text = "\n".join(
        [
            f"{processor}, {datetime.date.today()}; PyTorch {torch[0]['torch']}; OpenBLAS {graft[0]['openblas_kernel']}; matrix products "
            f"of one thread at {min(peak):.0f}-{max(peak):.0f} GFLOP/s. Medians.",
            "",
            *steps(work),
            "",
            *ranks(work),
            "",
        ]
    )
    print(text)
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1])


main()
