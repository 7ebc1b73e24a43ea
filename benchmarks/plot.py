"""Draw bars on a logarithmic scale as SVG: a few rectangles and lines of text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final, NamedTuple

ROW: Final = 22
LEFT: Final = 210
RIGHT: Final = 90
WIDTH: Final = 800
TOP: Final = 40
OURS: Final = "#2f6f9f"
OTHERS: Final = "#a8a8a8"
BUDGET: Final = "#c0392b"


class Bar(NamedTuple):
    """One bar: its name, its length, and the budget to be marked on it, if any."""

    name: str
    value: float
    budget: float | None
    is_ours: bool


def plot(bars: Sequence[Bar]) -> str:
    """Return the picture; values must be above zero."""
    values = [bar.value for bar in bars] + [bar.budget for bar in bars if bar.budget]
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values)))
    height = TOP + ROW * len(bars) + 10

    def place(value: float) -> float:
        share = (math.log10(value) - low) / max(1, high - low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="14">Server CPU for each operation, µs (logarithmic); '
        f'<tspan fill="{BUDGET}">| budget</tspan></text>',
    ]
    for power in range(low, high + 1):
        x = place(10.0**power)
        parts.append(f'<path d="M{x} {TOP - 4}V{height - 8}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x}" y="{TOP - 8}" text-anchor="middle">{10.0**power:,.10g}</text>')
    for number, bar in enumerate(bars):
        parts += _bar(bar, TOP + ROW * number, place(bar.value), place)
    return "\n".join([*parts, "</svg>", ""])


def _bar(bar: Bar, top: int, end: float, place: Callable[[float], float]) -> list[str]:
    middle = top + ROW - 8
    colour = OURS if bar.is_ours else OTHERS
    drawn = [
        f'<text x="{LEFT - 6}" y="{middle}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect x="{LEFT}" y="{top + 3}" width="{round(end - LEFT, 1)}" height="{ROW - 6}" '
        f'fill="{colour}"/>',
        f'<text x="{end + 4}" y="{middle}">{bar.value:,.3g}</text>'
        if bar.value < 1_000
        else f'<text x="{end + 4}" y="{middle}">{bar.value:,.0f}</text>',
    ]
    if bar.budget:
        x = place(bar.budget)
        drawn.append(
            f'<path d="M{x} {top + 1}V{top + ROW - 1}" stroke="{BUDGET}" stroke-width="2"/>'
        )
    return drawn
