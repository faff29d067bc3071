"""What a Graft recipe says, as the plain PyTorch loop that people write: the peer of `graft train`, in one process.

Reads the recipe that `graft train` resolved (recipe.yaml of its run directory), so that both do the same: the same
files, weights, optimizer, batches and epochs. What is frozen has requires_grad=False and runs in evaluation mode, so
that below the first layer that learns nothing is recorded, as under no_grad; Pillow and torchvision decode images in
every epoch.

Prints one JSON object: seconds (from the start of the process), seconds_import (until the network is made),
seconds_to_first_step, epoch_seconds, top1 of the validation images (a fraction), peak_rss_mib.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import pytorch_networks as networks

SUFFIXES = {".jpg", ".jpeg", ".png"}


def seconds_since_start():
    """Of this process, the interpreter's own start included."""
    ticks = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def samples(selection):
    """Paths and labels of class folders, in name order, with the recipe's first-per-class and skip-per-class."""
    if unknown := set(selection) - {"path", "first-per-class", "skip-per-class"}:
        sys.exit(f"pytorch_train.py: cannot select images by {', '.join(sorted(unknown))}")
    first, last = selection.get("skip-per-class", 0), selection.get("first-per-class")
    folders = sorted(folder for folder in pathlib.Path(selection["path"]).iterdir() if folder.is_dir())
    chosen = []
    for label, folder in enumerate(folders):
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[first:]
        chosen += [(path, label) for path in files[:last]]
    return chosen, len(folders)


class Images:
    """A torch.utils.data.Dataset of decoded, resized, cropped and normalised images."""

    def __init__(self, chosen, image):
        transforms = networks.torchvision().transforms
        size = image["size"]
        self.chosen = chosen
        self.transform = transforms.Compose(
            [
                transforms.Resize(image.get("resize", round(size * 256 / 224))),
                transforms.CenterCrop(size),
                transforms.ToTensor(),
                transforms.Normalize(image["mean"], image["standard-deviation"]),
            ]
        )

    def __len__(self):
        return len(self.chosen)

    def __getitem__(self, index):
        from PIL import Image

        path, label = self.chosen[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB")), label


def channels_last(made):
    """The network, taking images in whatever order they come."""
    import torch

    made.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(memory_format=torch.channels_last),))
    return made.to(memory_format=torch.channels_last)


def network(model, classes, seed):
    """The recipe's network with a new head, a torch.nn.Linear, as PyTorch initialises it."""
    import torch

    torch.manual_seed(seed)
    file = None if model["weights"] in ("none", "random") else model["weights"]
    if model["architecture"] != "mobilenet_v1":
        if file:
            sys.exit("pytorch_train.py: weights are read for mobilenet_v1 only")
        return channels_last(getattr(networks.torchvision().models, model["architecture"])(num_classes=classes))
    made = networks.mobilenet_v1(model.get("width", 1.0), classes, slope=0.1 if file else None)
    if file:
        # The published file has the tensors of this network in its order, under other names.
        published = [*torch.load(file, map_location="cpu", weights_only=True)["state_dict"].values()]
        own = [value for name, value in made.state_dict().items() if not name.startswith("fc.")]
        for value, new in zip(own, published[:-2], strict=True):
            value.copy_(new)
    return channels_last(made)


def freeze_all_but(made, learning):
    """Leaves `learning`, names of children, to learn; everything else is frozen and keeps its statistics."""
    for name, child in made.named_children():
        child.requires_grad_(name in learning)
        child.train(name in learning)


def optimizer(settings, parameters):
    import torch

    if settings["name"] != "sgd" or settings["nesterov"]:
        sys.exit(f"pytorch_train.py: no {settings} here; the recipes of the measurements use plain SGD")
    return torch.optim.SGD(
        parameters, settings["learning-rate"], settings["momentum"], weight_decay=settings["weight-decay"], fused=True
    )


def accuracy(made, dataset, batch):
    import torch

    made.eval()
    loader = torch.utils.data.DataLoader(dataset, batch)
    with torch.inference_mode():
        hits = sum((made(inputs).argmax(1) == labels).sum().item() for inputs, labels in loader)
    return hits / len(dataset)


def features(made, datasets, batch, path):
    """What the classifier sees of every image, the same in every epoch of a frozen network: made once, kept at PATH."""
    import torch

    if not path.exists():
        head, made.fc = made.fc, torch.nn.Identity()
        made.eval()
        with torch.no_grad():
            kept = []
            for dataset in datasets:
                batches = [(made(inputs), labels) for inputs, labels in torch.utils.data.DataLoader(dataset, batch)]
                kept.append(tuple(map(torch.cat, zip(*batches))))
        torch.save(kept, path)
        made.fc = head
    return [torch.utils.data.TensorDataset(*tensors) for tensors in torch.load(path)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="recipe.yaml of a run of graft train")
    parser.add_argument("--learn", help="children of the network that learn, such as layer4,fc; all without it")
    parser.add_argument("--epochs", type=int, help="fewer than the recipe says: all of them do the same work")
    parser.add_argument(
        "--features-once",
        type=pathlib.Path,
        metavar="PATH",
        help="with --learn fc: compute what the classifier sees once and keep it there; the same result in less time",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    import torch
    import yaml

    recipe = yaml.safe_load(pathlib.Path(arguments.recipe).read_text())
    [phase], data = recipe["phases"], recipe["data"]
    torch.set_num_threads(arguments.threads)
    classes = samples(data["train"])[1]
    made = network(recipe["model"], classes, arguments.seed)
    imported = seconds_since_start()
    learning = set(arguments.learn.split(",")) if arguments.learn else {name for name, _ in made.named_children()}
    parameters = [
        parameter for name, child in made.named_children() if name in learning for parameter in child.parameters()
    ]
    step = optimizer(phase["optimizer"], parameters)
    image = {"mean": [0.485, 0.456, 0.406], "standard-deviation": [0.229, 0.224, 0.225]} | data["image"]
    datasets = [Images(samples(data[name])[0], image) for name in ("train", "validation") if name in data]
    learner = made
    freeze_all_but(made, learning)
    if arguments.features_once:
        datasets, learner = features(made, datasets, phase["batch"], arguments.features_once), made.fc
        made.fc.train()
    loader = torch.utils.data.DataLoader(datasets[0], phase["batch"], shuffle=True)
    epochs = arguments.epochs or phase.get("epochs", 1)
    steps = phase.get("steps", epochs * len(loader))
    schedule = torch.optim.lr_scheduler.ConstantLR(step, 1)
    if phase["schedule"]["name"] == "cosine":
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(step, steps)

    epoch_seconds, first, done = [], None, 0
    while done < steps:
        start = time.perf_counter()
        for inputs, labels in loader:
            step.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(learner(inputs), labels).backward()
            step.step()
            schedule.step()
            first = first or seconds_since_start()
            done += 1
            if done == steps:
                break
        epoch_seconds.append(time.perf_counter() - start)
    answer = {
        "seconds": seconds_since_start(),
        "seconds_import": imported,
        "seconds_to_first_step": first,
        "epoch_seconds": epoch_seconds,
        "steps": done,
        "images": len(datasets[0]),
        "peak_rss_mib": networks.peak_rss_mib(),
        "torch": torch.__version__,
    }
    if len(datasets) > 1:
        answer["top1"] = accuracy(learner, datasets[1], phase["batch"])
        answer["validation_images"] = len(datasets[1])
    json.dump(answer, sys.stdout)
    print()


if __name__ == "__main__":
    main()
