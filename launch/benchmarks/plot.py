"""Bars of ratios as an SVG picture that can be read on light and dark pages."""

import dataclasses
import html
import math

WIDTH, LABELS, RIGHT, ROW, TOP = 900, 330, 70, 22, 44
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .part { font-weight: 600 }
  .axis { stroke: #8c959f; stroke-width: 1 }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .reached { fill: #2da44e }
  .short { fill: #bf8700 }
  .range { stroke: #57606a; stroke-width: 1.5 }
  .target { stroke: #cf222e; stroke-width: 2.5 }
  .ground { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #30363d }
    .range { stroke: #9198a1 }
    .reached { fill: #238636 }
    .short { fill: #9e6a03 }
    .target { stroke: #ff7b72 }
    .ground { fill: #0d1117 }
  }
"""
PARTS = {
    "training": "Training step: items per second",
    "inference": "Inference: items per second",
    "ranks": "Two ranks: items per second",
    "transfer": "Transfer learning: seconds",
    "io": "JPEG to tensor: images per second",
    "memory": "Training step: peak of memory",
}


@dataclasses.dataclass
class Bar:
    """A ratio with its range over the rounds and the ratio to reach. `part` groups bars."""

    part: str
    name: str
    ratio: float
    lowest: float
    highest: float
    target: float


def svg(bars):
    """Bars on a logarithmic axis, from 1, where both sides are equal."""
    low = min([1.0] + [bar.lowest for bar in bars])
    high = max([2.0] + [max(bar.highest, bar.target) for bar in bars]) * 1.05
    ticks = [tick for tick in (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128) if low <= tick <= high]

    def x(ratio):
        span = WIDTH - LABELS - RIGHT
        return LABELS + span * (math.log(ratio) - math.log(low)) / (math.log(high) - math.log(low))

    body, y = [], TOP
    for part, heading in PARTS.items():
        group = [bar for bar in bars if bar.part == part]
        if group:
            body.append(f'<text class="part" x="8" y="{y + 15}">{html.escape(heading)}</text>')
            y += ROW + 2
        for bar in group:
            body += drawn(bar, x, y)
            y += ROW
        y += 8 if group else 0
    height = y + 8
    grid = [
        f'<line class="{kind}" x1="{x(tick):.1f}" y1="{TOP - 8}" x2="{x(tick):.1f}" y2="{y}"/>'
        for tick in ticks
        for kind in ["axis" if tick == 1 else "grid"]
    ]
    numbers = [f'<text x="{x(tick):.1f}" y="{TOP - 14}" text-anchor="middle">{tick:g}×</text>' for tick in ticks]
    legend = (
        f'<line class="target" x1="12" y1="{TOP - 28}" x2="12" y2="{TOP - 12}"/>'
        f'<text x="20" y="{TOP - 15}">to reach; thin line: range of the rounds</text>'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
            "<title>Graft against PyTorch</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
            *grid,
            *numbers,
            legend,
            *body,
            "</svg>",
            "",
        ]
    )


def drawn(bar, x, y):
    start, end = sorted((x(1), x(bar.ratio)))
    middle = y + ROW / 2
    kind = "reached" if bar.ratio >= bar.target else "short"
    last = max(x(bar.ratio), x(bar.highest), x(bar.target))
    return [
        f'<text x="{LABELS - 8}" y="{y + 15}" text-anchor="end">{html.escape(bar.name)}</text>',
        f'<rect class="{kind}" x="{start:.1f}" y="{y + 4}" width="{max(end - start, 1):.1f}" height="{ROW - 8}"/>',
        f'<line class="range" x1="{x(bar.lowest):.1f}" y1="{middle}" x2="{x(bar.highest):.1f}" y2="{middle}"/>',
        f'<line class="target" x1="{x(bar.target):.1f}" y1="{y + 2}" x2="{x(bar.target):.1f}" y2="{y + ROW - 2}"/>',
        f'<text x="{last + 6:.1f}" y="{y + 15}">{bar.ratio:.2f}</text>',
    ]
