"""What is measured: rows of the tables, the commands of their sides, and what they are to reach."""

import dataclasses
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
EPOCHS = 10
# All epochs of the plain loop do the same work: PyTorch runs so many in the first round.
PEER_EPOCHS = 3
# Seeds of an accuracy, and of one whose two sides begin alike and differ in precision only. The standard error of the
# difference of two means over the former was a tenth of a point.
SEEDS, PAIRED_SEEDS = 60, 20
# The folder of the run that leaves a ResNet-50 that knows something.
PRE_TRAINED = "resnet50-pre-trained"

PARTS = {
    "start-up": "seconds to the first finished step",
    "io": "photographs to tensors",
    "training": "training steps, one thread and two",
    "memory": "training steps that recompute",
    "inference": "inference, folded and in int8",
    "transfer": "feature extraction and fine-tuning of the last stage",
    "ranks": "two ranks",
    "accuracy": "accuracies, once",
}


@dataclasses.dataclass
class Row:
    """One workload. `sides` are commands by name; `rounds` limits how often they run; `target` is the ratio to reach,
    `hope` the one hoped for; `needs` are files without which the row is left out."""

    part: str
    name: str
    title: str
    sides: dict
    unit: str = "images/s"
    target: float | None = None
    hope: float | None = None
    rounds: int | None = None
    details: dict = dataclasses.field(default_factory=dict)
    needs: list = dataclasses.field(default_factory=list)

    @property
    def key(self):
        return f"{self.part}/{self.name}"


class Place:
    """Where things lie: the program, the peer's Python, the data and the folder of records."""

    def __init__(self, output, data, graft, python):
        self.output, self.data, self.graft, self.python = (pathlib.Path(path) for path in (output, data, graft, python))
        self.large_photographs = self.output / "photographs"

    def photographs(self):
        return self.data / "sign-language-digits"

    def peer(self, script, *arguments):
        return [str(self.python), str(HERE / script), *map(str, arguments)]

    def train(self, recipe, run, *settings, ranks=1):
        """`graft train`, one thread per rank, into a new folder beside the records: RUN@ROUND is that of a round."""
        start = [str(ROOT / "launch" / "mpirun"), "-np", str(ranks)] if ranks > 1 else []
        more = [word for setting in settings for word in ("--set", setting)]
        recipe = str(ROOT / "launch" / "recipes" / recipe)
        return [*start, str(self.graft), "train", recipe, "--output", f"{self.output}/runs/{run}", *more]


#       name, title, batch, steps, target and hope of the training step on one thread
STEPS = [
    ("resnet50", "ResNet-50", 16, 3, 1.5, 1.8),
    ("vgg16", "VGG16", 8, 2, 2.5, 3.3),
    ("mobilenet_v2", "MobileNetV2", 16, 5, 1.8, 2.3),
    ("mobilenet_v1", "MobileNetV1", 16, 5, 1.8, 2.3),
    ("bert_base", "BERT-base, 128 tokens", 8, 2, 1.3, 1.5),
    ("gpt2", "GPT-2 small, 128 tokens", 4, 2, 1.4, 1.7),
]
SEQUENCES = {"bert_base", "gpt2"}


def step(name, batch, threads, steps, mode="train"):
    words = ["--architecture", name, "--batch", batch, "--threads", threads, "--warmup", 1, "--steps", steps]
    return [*map(str, words), "--mode", mode, *(["--sequence", "128"] if name in SEQUENCES else []), "--json"]


def training(place):
    for threads in (1, 2):
        for name, title, batch, steps, target, hope in STEPS:
            words = step(name, batch, threads, steps)
            sides = {
                "graft": [str(place.graft), "bench", "step", *words],
                "pytorch": place.peer("pytorch_step.py", *words, "--count"),
            }
            unit = "sequences/s" if name in SEQUENCES else "images/s"
            yield Row(
                "training",
                f"{name}/{threads}",
                title,
                sides,
                unit,
                target,
                hope,
                details={"batch": batch, "threads": threads},
            )
    profile = step("resnet50", 16, 1, 3) + ["--profile"]
    sides = {"graft": [str(place.graft), "bench", "step", *profile]}
    yield Row("training", "profile", "ResNet-50, where a step goes", sides, rounds=1)


def memory(place):
    for name, title, batch, _, _, _ in STEPS:
        sides = {"graft": [str(place.graft), "bench", "step", *step(name, batch, 1, 2), "--recompute"]}
        yield Row("memory", name, title, sides, target=0.5, rounds=3, details={"batch": batch})


def inference(place):
    words = step("resnet50", 16, 1, 5, mode="infer")
    graft = [str(place.graft), "bench", "step", *words]
    sides = {
        "graft": graft,
        "pytorch": place.peer("pytorch_step.py", *words, "--count"),
        "pytorch-folded": place.peer("pytorch_step.py", *words, "--folded"),
        "graft-int8": [*graft, "--precision", "int8"],
    }
    yield Row("inference", "resnet50", "ResNet-50", sides, target=1.7, hope=2.0, details={"batch": 16, "int8": 2.5})


def learning(name):
    return "fc" if name == "feature-extraction" else "layer4,fc"


def transfer(place):
    """Timed without validation. PyTorch does some of its epochs in the first round, and one of them in every other."""
    ways = [("feature-extraction", "feature extraction", 12.0), ("last-stage", "layer4 and head", 2.5)]
    for name, title, target in ways:
        recipe, run = f"benchmark-{name}.yaml", f"{name}"
        settings = [
            f"data.train.path={place.photographs()}",
            "run.threads=1",
            f"train.epochs={EPOCHS}",
            f"trunk.cache={place.output}/runs/{run}@ROUND.trunk",
        ]
        resolved = f"{place.output}/runs/{run}@ROUND/recipe.yaml"
        sides = {
            "graft": place.train(recipe, f"{run}@ROUND", *settings),
            "pytorch": place.peer("pytorch_train.py", resolved, "--learn", learning(name), "--epochs", "EPOCHS"),
        }
        yield Row("transfer", name, title, sides, "seconds", target, needs=[place.photographs()])
    yield from transfer_accuracies(place)


def transfer_accuracies(place):
    """Of classifiers on networks that know something, because random layers would leave nothing to compare."""
    needs = [place.photographs()]
    cifar10 = place.data / "cifar10"
    settings = [f"data.{part}.path={cifar10 / name}" for part, name in [("train", "train"), ("validation", "test")]]
    sides = {"graft": place.train("benchmark-pre-training.yaml", PRE_TRAINED, *settings, "run.threads=1")}
    yield Row("transfer", "pre-training", "a ResNet-50 from nothing", sides, "seconds", rounds=1, needs=[cifar10])
    weights = place.data / "weights"
    mobilenet = weights / "imagenet-mobilenetv1-0.25-pytorch" / "mobilenetV1X0.25_pretrain.tar"
    resnet20 = weights / "cifar10-resnet-pytorch" / "resnet20-12fca82f.th"
    networks = {
        "accuracy": [
            "model.architecture=mobilenet_v1",
            "model.variant=pytorch",
            "model.width=0.25",
            f"model.weights={mobilenet}",
            "data.image.resize=256",
            "data.image.mean=[0.485, 0.456, 0.406]",
            "data.image.standard-deviation=[0.229, 0.224, 0.225]",
        ],
        "accuracy-resnet20": ["model.architecture=resnet20", f"model.weights={resnet20}", "data.image.size=64"],
        "accuracy-resnet50": [f"model.weights={place.output}/runs/{PRE_TRAINED}/weights.h5", "data.image.size=64"],
    }
    files = {"accuracy": [mobilenet], "accuracy-resnet20": [resnet20], "accuracy-resnet50": [cifar10]}
    for name, network in networks.items():
        for seed in range(SEEDS if name == "accuracy" else PAIRED_SEEDS):
            sides = classifiers(place, name, network, seed)
            yield Row("transfer", f"{name}/{seed}", f"seed {seed}", sides, rounds=1, needs=[*files[name], *needs])


def classifiers(place, name, network, seed):
    """New classifiers on frozen layers in float32 and 8 bits, and PyTorch's on MobileNetV1's."""
    settings = [
        *network,
        f"data.train.path={place.photographs()}",
        "data.validation.skip-per-class=50",
        f"train.epochs={EPOCHS}",
        "train.schedule=cosine",  # a constant rate leaves noise of some points in the last steps
        f"run.seed={seed}",
        "run.threads=1",
        f"run.validate-every.epochs={EPOCHS}",
        f"trunk.cache={place.output}/runs/{name}-trunk",
    ]
    recipe, run = "benchmark-feature-extraction.yaml", f"{name}-{seed}"
    sides = {"graft": place.train(recipe, f"{run}@ROUND", *settings)}
    if seed < PAIRED_SEEDS:
        sides["graft-int8"] = place.train(recipe, f"{run}-int8@ROUND", *settings, "trunk.precision=int8")
    if name == "accuracy":
        resolved, once = f"{place.output}/runs/{run}@ROUND/recipe.yaml", f"{place.output}/runs/features.pt"
        words = [resolved, "--learn", "fc", "--features-once", once, "--seed", seed]
        sides["pytorch"] = place.peer("pytorch_train.py", *words)
    return sides


def large_photographs(place):
    """The files that the links in `Place.large_photographs` lead to."""
    return place.data / "flickr8k-mini" / "images"


def io(place):
    photographs = large_photographs(place)
    for name, title, more in [
        ("plain", "resized and cropped", []),
        ("augmented", "random crop and flip", ["--augment"]),
    ]:
        words = ["--data", str(place.large_photographs), "--size", "224", *more]
        sides = {
            "graft": [str(place.graft), "bench", "io", *words, "--threads", "1", "--seconds", "4", "--json"],
            "pytorch": place.peer("pytorch_io.py", *words, "--seconds", 4),
        }
        yield Row("io", name, title, sides, target=2.0, needs=[photographs])


def start_up(place):
    settings = [f"data.train.path={place.photographs()}", "run.threads=1"]
    sides = {
        "graft": place.train("benchmark-start-up.yaml", "start-up@ROUND", *settings),
        "pytorch": place.peer("pytorch_train.py", f"{place.output}/runs/start-up@ROUND/recipe.yaml"),
    }
    title = "MobileNetV1 0.25, 128 px, batch 32"
    yield Row(
        "start-up",
        "mobilenet_v1_0.25",
        title,
        sides,
        "seconds",
        target=None,
        details={"seconds": 1.5},
        needs=[place.photographs()],
    )


def ranks(place):
    def run(count):
        settings = [f"data.train={place.photographs()}", f"train.batch={8 * count}", "run.threads=1"]
        return place.train("benchmark-resnet50.yaml", f"ranks-{count}@ROUND", *settings, ranks=count)

    words = step("resnet50", 8, 1, 5)
    sides = {
        "graft-1": run(1),
        "graft": run(2),
        "pytorch-1": place.peer("pytorch_step.py", *words),
        "pytorch": place.peer("pytorch_step.py", *words, "--ranks", 2),
    }
    title = "ResNet-50, 8 images of 224 px per rank"
    yield Row("ranks", "resnet50", title, sides, target=1.5, hope=1.8, needs=[place.photographs()])


def accuracy(place):
    weights = place.data / "weights"
    for name, title in [("resnet20-12fca82f.th", "ResNet-20"), ("resnet32-d509ac18.th", "ResNet-32")]:
        path = weights / "cifar10-resnet-pytorch" / name
        sides = {
            "graft": [
                str(place.graft),
                "evaluate",
                "--weights",
                str(path),
                "--data",
                str(place.data / "cifar10" / "test"),
                "--json",
            ]
        }
        yield Row(
            "accuracy", name, f"CIFAR-10, {title} of the published file, 600 JPEGs", sides, rounds=1, needs=[path]
        )
    keras = weights / "imagenet-mobilenetv1-0.25-keras" / "mobilenet_2_5_224_tf_no_top.h5"
    for seed in (0, 1, 2):
        settings = [
            f"model.weights={keras}",
            f"data.train.path={place.photographs()}",
            f"run.seed={seed}",
            "run.threads=1",
        ]
        sides = {"graft": place.train("sign-language-digits.yaml", f"signs-{seed}@ROUND", *settings, ranks=2)}
        title = f"sign-language digits, MobileNetV1 0.25 from Keras, 2 ranks, seed {seed}"
        yield Row("accuracy", f"signs/{seed}", title, sides, rounds=1, needs=[keras, place.photographs()])


def rows(place):
    made = {
        "start-up": start_up,
        "io": io,
        "training": training,
        "memory": memory,
        "inference": inference,
        "transfer": transfer,
        "ranks": ranks,
        "accuracy": accuracy,
    }
    return [row for part in PARTS for row in made[part](place)]
