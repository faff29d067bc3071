"""Makes the generated parts of docs/performance.md, and the plot beside it, of records; prints them too.

usage: report.py RECORDS.jsonl PAGE.md
"""

import pathlib
import re
import statistics
import sys

import plot
import workloads
from records import Records

MEMORY_TARGET = 0.8


def figure(row, record):
    """What is compared: items per second, or the seconds that a thing took."""
    result = record["result"]
    if row.part == "start-up":
        return result["seconds_to_first_step"]
    if row.part == "transfer":
        # All epochs of the plain loop do the same work.
        epochs = result.get("epoch_seconds", [])
        left = workloads.EPOCHS - len(epochs) if epochs else 0
        return record["wall"] + (left * statistics.median(epochs) if left else 0)
    return result["items_per_second" if "items_per_second" in result else "images_per_second"]


def accuracy(record):
    result = record["result"]
    return 100 * (result["last"]["top1"] if "last" in result else result["top1"])


def said(row, record):
    """A line for who waits."""
    if "accuracy" in row.key:
        return f"{accuracy(record):.1f} %"
    return f"{figure(row, record):.3g} {row.unit}"


class Comparison:
    """Two sides of a row, round by round. A ratio above 1 says that ours is faster."""

    def __init__(self, row, ours, theirs, target=None):
        self.row, self.target = row, target
        rounds = sorted(set(ours) & set(theirs))
        self.ours, self.theirs = [ours[round] for round in rounds], [theirs[round] for round in rounds]
        pairs = [(figure(row, a), figure(row, b)) for a, b in zip(self.ours, self.theirs)]
        self.ratios = [b / a if row.unit == "seconds" else a / b for a, b in pairs]
        if pairs:
            self.our_figure, self.their_figure = (statistics.median(figures) for figures in zip(*pairs))

    def __bool__(self):
        return bool(self.ratios)

    @property
    def ratio(self):
        return statistics.median(self.ratios)

    @property
    def is_reached(self):
        return self.target is None or self.ratio >= self.target

    def text(self):
        return f"**{self.ratio:.2f}** ({min(self.ratios):.2f}-{max(self.ratios):.2f})"

    def verdict(self):
        return "" if self.target is None else f"{self.target:g}{'' if self.is_reached else ', not reached'}"


def median(records, name):
    """Of a number that all results hold, else None."""
    values = [record["result"].get(name) for record in records]
    return statistics.median(values) if values and None not in values else None


def number(value, digits=0, unit=""):
    return "–" if value is None else f"{value:.{digits}f}{unit}"


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]


class Report:
    def __init__(self, records, place):
        self.records = records
        self.rows = workloads.rows(place)
        self.bars = []
        self.missed = []
        text = (pathlib.Path(__file__).parent / "reasons.md").read_text()
        self.reasons = dict(re.findall(r"^- `([^`]+)`: (.+)$", text, re.MULTILINE))

    def compare(self, row, ours="graft", theirs="pytorch", target=None, label=None):
        """A comparison, its bar in the plot and, where it falls short, a line for the notes."""
        sides = self.records.by_side(row.key)
        found = Comparison(row, sides[ours], sides[theirs], target)
        if found and target:
            name = label or row.title
            self.bars.append(plot.Bar(row.part, name, found.ratio, min(found.ratios), max(found.ratios), target))
            if not found.is_reached:
                self.miss(row.key, name, f"{found.ratio:.2f} of {target:g}")
        return found

    def miss(self, key, name, by):
        self.missed.append(f"- {name}: {by}. {self.reasons.get(key, 'The reason has not been found yet.')}")

    def part(self, name):
        return [row for row in self.rows if row.part == name]

    # The sections

    def machine(self):
        newest = self.records.machine()
        if not newest:
            return []
        at = newest["machine"]
        measured = {
            row.key: [record for side in self.records.by_side(row.key).values() for record in side.values()]
            for row in self.rows
        }
        used = [record for records in measured.values() for record in records]
        ours = [record["result"] for record in used if "matrix_product_gflops_one_thread" in record["result"]]
        peaks = [result["matrix_product_gflops_one_thread"] for result in ours]
        kernels = {result["openblas_kernel"] for result in ours if "openblas_kernel" in result}
        lines = [
            ("machine", f"{at['processor']}, {at['cores']} cores, {at['memory_gib']:.0f} GiB"),
            ("system", f"{at['system']}; {at['libraries']}"),
            ("Graft", f"{at['commit']}, build {newest['build']}, {newest['date']}"),
            ("peer", f"{at['peer']}, Python {at['python']}"),
        ]
        if peaks:
            peak = f"{min(peaks):.0f}-{max(peaks):.0f} GFLOP/s, median {statistics.median(peaks):.0f}"
            lines.append(("matrix products, one thread", f"{peak}; OpenBLAS {', '.join(sorted(kernels))}"))
        builds = {key: records[0]["build"] for key, records in measured.items() if records}
        for build in sorted({*builds.values()} - {newest["build"]}):
            commit = next((line["machine"]["commit"] for line in self.records.lines if line.get("build") == build), "?")
            rows = []
            for part in workloads.PARTS:
                keys = [key for key in builds if key.startswith(part + "/")]
                theirs = [re.sub(r"/\d+$", "", key) for key in keys if builds[key] == build]
                rows += [part] if len(theirs) == len(keys) > 0 else dict.fromkeys(theirs)
            lines.append((f"Graft {commit}, build {build}", f"measured {', '.join(rows)}"))
        return table(["", ""], [list(line) for line in lines])

    def training(self):
        cells = []
        for row in self.part("training"):
            found = (
                self.compare(row, target=row.target, label=self.thread_label(row)) if "pytorch" in row.sides else None
            )
            if not found:
                continue
            threads = row.details["threads"]
            flops = median(found.theirs, "flops_per_item")
            name = "matrix_product_gflops_one_thread" if threads == 1 else "matrix_product_gflops"
            peak = median(found.ours, name)
            shares = (
                [100 * flops * rate / 1e9 / peak for rate in (found.our_figure, found.their_figure)]
                if flops and peak
                else [None] * 2
            )
            cells.append(
                [
                    row.title,
                    str(row.details["batch"]),
                    str(threads),
                    str(len(found.ratios)),
                    f"{found.our_figure:.2f}",
                    f"{found.their_figure:.2f}",
                    found.text(),
                    found.verdict(),
                    *(number(share, 0, " %") for share in shares),
                ]
            )
        head = [
            "training step",
            "batch",
            "threads",
            "rounds",
            "Graft, items/s",
            "PyTorch, items/s",
            "ratio (range)",
            "to reach",
        ]
        return cells and [*table([*head, "share of peak", "PyTorch"], cells), *self.profile()]

    @staticmethod
    def thread_label(row):
        return row.title if row.details["threads"] == 1 else f"{row.title}, 2 threads"

    def profile(self):
        [row] = [row for row in self.part("training") if row.name == "profile"]
        found = self.records.by_side(row.key)["graft"].values()
        if not found or "profile" not in (result := [*found][-1]["result"]):
            return []
        whole = result["overhead_seconds"] + sum(entry["seconds"] for entry in result["profile"])
        overhead = 100 * result["overhead_seconds"] / whole
        if overhead >= 3:
            self.miss(row.key, "Overhead of a ResNet-50 step", f"{overhead:.1f} % where below 3 % is asked for")
        entries = sorted(result["profile"], key=lambda entry: -entry["seconds"])
        cells = [
            [
                entry["name"],
                str(entry["calls"]),
                f"{1e3 * entry['seconds']:.1f}",
                f"{100 * entry['seconds'] / whole:.1f} %",
                f"{entry['bytes'] / entry['seconds'] / 1e9:.1f}",
                (
                    f"{100 * entry['operations'] / entry['seconds'] / 1e9 / result['matrix_product_gflops']:.0f} %"
                    if entry["operations"]
                    else ""
                ),
            ]
            for entry in entries
            if entry["seconds"] > 0
        ]
        cells.append(
            [
                "overhead: no kernel (to stay below 3 %)",
                "",
                f"{1e3 * result['overhead_seconds']:.1f}",
                f"{overhead:.1f} %",
                "",
                "",
            ]
        )
        return ["", *table([f"{row.title}, one thread", "calls", "ms", "share", "GB/s", "of peak"], cells)]

    def memory(self):
        cells = []
        for row in self.part("memory"):
            name = row.name
            step = next(step for step in self.part("training") if step.name == f"{name}/1")
            sides, again = self.records.by_side(step.key), [*self.records.by_side(row.key)["graft"].values()]
            ours, theirs = ([*sides[side].values()] for side in ("graft", "pytorch"))
            if not theirs or not (ours or again):
                continue
            peaks = [median(found, "peak_rss_mib") for found in (ours, theirs, again)]
            ratios = [peak and peak / peaks[1] for peak in (peaks[0], peaks[2])]
            for ratio, target, key, words in zip(
                ratios,
                (MEMORY_TARGET, row.target),
                (f"memory/{name}/plain", row.key),
                ("memory", "memory, recomputing"),
            ):
                if ratio:
                    self.bars.append(
                        plot.Bar(
                            "memory",
                            f"{row.title}{', recomputing' if target == row.target else ''}",
                            1 / ratio,
                            1 / ratio,
                            1 / ratio,
                            1 / target,
                        )
                    )
                    if ratio > target:
                        self.miss(key, f"{row.title}, {words}", f"{ratio:.2f} where at most {target:g} is asked for")
            times = [median(found, "step_seconds_median") for found in (ours, again)]
            cost = 100 * (times[1] / times[0] - 1) if None not in times else None
            cells.append(
                [
                    row.title,
                    number(peaks[0]),
                    number(peaks[1]),
                    self.against(ratios[0], MEMORY_TARGET),
                    number(peaks[2]),
                    self.against(ratios[1], row.target),
                    number(cost, 0, " %"),
                    number(median(ours, "system_allocations")),
                ]
            )
        head = [
            "training step, one thread",
            "Graft, MiB",
            "PyTorch, MiB",
            f"ratio (at most {MEMORY_TARGET})",
            "recomputing, MiB",
            "ratio (at most 0.5)",
            "its cost in time",
            "allocations from the system",
        ]
        return cells and table(head, cells)

    @staticmethod
    def against(ratio, target):
        return "–" if ratio is None else f"**{ratio:.2f}**{'' if ratio <= target else ', not reached'}"

    def inference(self):
        [row] = self.part("inference")
        cells = []
        ways = [
            ("graft", "pytorch", row.target, "float32; PyTorch as it is"),
            ("graft", "pytorch-folded", row.target, "float32; PyTorch folded and frozen"),
            ("graft-int8", "graft", row.details["int8"], "int8; Graft in float32"),
        ]
        flops = median([*self.records.by_side(row.key)["pytorch"].values()], "flops_per_item")
        for ours, theirs, target, words in ways:
            found = self.compare(row, ours, theirs, target, f"{row.title}, {words}")
            if found:
                peak = median(found.ours, "matrix_product_gflops_one_thread")
                share = 100 * flops * found.our_figure / 1e9 / peak if flops and peak else None
                cells.append(
                    [
                        f"{row.title}, {words}",
                        str(row.details["batch"]),
                        str(len(found.ratios)),
                        f"{found.our_figure:.2f}",
                        f"{found.their_figure:.2f}",
                        found.text(),
                        found.verdict(),
                        number(share, 0, " %"),
                        number(median(found.ours, "peak_rss_mib")),
                        number(median(found.theirs, "peak_rss_mib")),
                    ]
                )
        head = [
            "inference, one thread",
            "batch",
            "rounds",
            "Graft, images/s",
            "against, images/s",
            "ratio (range)",
            "to reach",
        ]
        return cells and table([*head, "share of peak", "MiB", "against, MiB"], cells)

    def transfer(self):
        cells = []
        for row in self.part("transfer"):
            if row.target and (found := self.compare(row, target=row.target)):
                cells.append(
                    [
                        row.title,
                        str(len(found.ratios)),
                        f"{found.our_figure:.1f}",
                        f"{found.their_figure:.1f}",
                        found.text(),
                        found.verdict(),
                        number(median(found.theirs, "peak_rss_mib")),
                    ]
                )
        head = [
            "ResNet-50, 500 images, 10 epochs, one thread",
            "rounds",
            "Graft, s",
            "PyTorch, s",
            "ratio (range)",
            "to reach",
        ]
        lines = table([*head, "PyTorch, MiB"], cells) if cells else []
        networks = [
            ("accuracy", "MobileNetV1 0.25"),
            ("accuracy-resnet20", "CIFAR-10's ResNet-20"),
            ("accuracy-resnet50", "a ResNet-50 trained for it"),
        ]
        for row, name in networks:
            accuracies = self.transfer_accuracies(row, name)
            lines += ([""] if lines and accuracies else []) + accuracies
        for record in self.records.by_side("transfer/pre-training")["graft"].values():
            lines += [
                "",
                "That ResNet-50 learnt from nothing on 3,000 images of CIFAR-10 (64 px) and names "
                f"{accuracy(record):.1f} % of 600 others rightly.",
            ]
        return lines

    def transfer_accuracies(self, key, network):
        """Of the rows KEY/SEED."""
        seeds = [row for row in self.part("transfer") if row.name.startswith(f"{key}/")]
        values, cells = {}, []
        for side, name in [("graft", "Graft"), ("graft-int8", "Graft, int8 trunk"), ("pytorch", "PyTorch")]:
            found = {row.key: self.records.by_side(row.key)[side] for row in seeds}
            if mine := {key: accuracy(record) for key, rounds in found.items() for record in rounds.values()}:
                values[side] = mine
                spread = f"{min(mine.values()):.1f}-{max(mine.values()):.1f}"
                cells.append([name, str(len(mine)), spread, f"{statistics.mean(mine.values()):.1f} %"])
        if not cells:
            return []
        lines = table(
            [f"feature extraction with {network}, accuracy on 500 other images", "seeds", "range, %", "mean"], cells
        )
        for a, b, bound, words in [
            ("graft", "pytorch", 0.5, "Graft to PyTorch"),
            ("graft-int8", "graft", 1, "int8 to float32"),
        ]:
            both = [values[a][key] - values[b][key] for key in values.get(a, {}) if key in values.get(b, {})]
            if len(both) > 1:
                difference, error = statistics.mean(both), statistics.stdev(both) / len(both) ** 0.5
                lines += [
                    "",
                    f"Difference of the means over {len(both)} seeds, {words}: {difference:+.1f} points, standard error "
                    f"{error:.1f} (asked for: within {bound:g}).",
                ]
                if abs(difference) > bound:
                    self.miss(
                        f"transfer/{key}/{a}",
                        f"Accuracy of {network}, {words}",
                        f"{difference:+.1f} points, {bound:g} asked for",
                    )
        return lines

    def io(self):
        cells = []
        for row in self.part("io"):
            if found := self.compare(row, target=row.target):
                pipelines = sorted({record["result"].get("pipeline", "") for record in found.theirs})
                cells.append(
                    [
                        row.title,
                        str(len(found.ratios)),
                        f"{found.our_figure:.0f}",
                        f"{found.their_figure:.0f}",
                        found.text(),
                        found.verdict(),
                        ", ".join(pipelines),
                    ]
                )
        head = [
            "JPEG to tensor of 224 px, one core",
            "rounds",
            "Graft, images/s",
            "torchvision, images/s",
            "ratio (range)",
        ]
        lines = table([*head, "to reach", "torchvision's fastest"], cells) if cells else []
        return lines + self.waiting(bool(lines))

    def waiting(self, after):
        """The share of a run of `graft train` on photographs in which it waited for data."""
        [row] = self.part("ranks")
        found = [*self.records.by_side(row.key)["graft-1"].values()]
        share = median(found, "data_percent")
        if share is None:
            return []
        if share >= 2:
            self.miss("io/waiting", "Waiting for data", f"{share:.1f} % where below 2 % is asked for")
        return [""] * after + [
            "A run of `graft train` (ResNet-50 on 100-pixel photographs, one rank) waited "
            f"{share:.2f} % of its time for data (asked for: below 2 %)."
        ]

    def start_up(self):
        [row] = self.part("start-up")
        found = self.compare(row)
        if not found:
            return []
        limit = row.details["seconds"]
        if found.our_figure >= limit:
            self.miss(row.key, "Start-up", f"{found.our_figure:.2f} s where below {limit:g} s is asked for")
        imports = median(found.theirs, "seconds_import")
        cells = [
            [
                row.title,
                str(len(found.ratios)),
                f"{found.our_figure:.2f}",
                f"{limit:g}",
                f"{found.their_figure:.2f}",
                number(imports, 2),
                found.text(),
            ]
        ]
        head = ["from the command to the first finished step", "rounds", "Graft, s", "to stay below, s", "PyTorch, s"]
        return table([*head, "of it importing and building", "ratio (range)"], cells)

    def ranks(self):
        [row] = self.part("ranks")
        cells = []
        ways = [
            ("graft", "pytorch", row.target, "two ranks; PyTorch's DistributedDataParallel over gloo"),
            ("graft", "graft-1", None, "two ranks; one rank of Graft"),
            ("pytorch", "pytorch-1", None, "two ranks of PyTorch; one rank of PyTorch"),
        ]
        for ours, theirs, target, words in ways:
            if found := self.compare(row, ours, theirs, target, f"ResNet-50, {words.split(';')[0]}"):
                cells.append(
                    [
                        words,
                        str(len(found.ratios)),
                        f"{found.our_figure:.2f}",
                        f"{found.their_figure:.2f}",
                        found.text(),
                        found.verdict(),
                    ]
                )
        return cells and table(
            [row.title, "rounds", "images/s", "against, images/s", "ratio (range)", "to reach"], cells
        )

    def accuracy(self):
        cells = []
        for row in self.part("accuracy"):
            for record in self.records.by_side(row.key)["graft"].values():
                cells.append([row.title, f"{accuracy(record):.1f} %", f"{record['wall']:.0f}"])
        return cells and table(["what", "accuracy", "seconds"], cells)

    def notes(self):
        return (
            ["Not reached, and why:", "", *self.missed]
            if self.missed
            else ["Everything that was measured reached what was asked for."]
        )


SECTIONS = ["machine", "training", "memory", "inference", "transfer", "io", "start-up", "ranks", "accuracy"]


def fill(text, name, lines):
    """The page with new lines between the markers of a section."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        sys.exit(f"report.py: the page has no '{begin.strip()}' and '{end}'")
    before, rest = text.split(begin, 1)
    return before + begin + "\n" + "".join(line + "\n" for line in lines) + "\n" + end + rest.split(end, 1)[1]


def write(records, place, page):
    made = Report(records, place)
    text = page.read_text()
    absent = ["Not measured yet."]
    sections = {name: getattr(made, name.replace("-", "_"))() or absent for name in SECTIONS}
    sections["notes"] = made.notes() if records.lines else absent
    for name, lines in sections.items():
        text = fill(text, name, lines)
    picture = page.with_suffix(".svg")
    if made.bars:
        picture.write_text(plot.svg(made.bars))
        alternative = "Ratios of Graft to PyTorch, with the ratio to reach; the numbers are in the tables below"
        text = fill(text, "plot", [f"![{alternative}]({picture.name})"])
    else:
        text = fill(text, "plot", absent)
    page.write_text(text)
    for name, lines in sections.items():
        print("\n".join([f"\n## {name}\n", *lines]))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    here = pathlib.Path(".")
    write(Records(pathlib.Path(sys.argv[1])), workloads.Place(here, here, "graft", "python"), pathlib.Path(sys.argv[2]))
