"""Write the table and the plot of docs/performance.md from the kept results.

`python -m benchmarks.report` reads benchmarks/results/*.jsonl, one file for each workload, as
`make bench-record` has written them. Text outside the two marks stays as it is.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.measure import ROOT
from benchmarks.plot import Bar, plot

RESULTS: Final = ROOT / "benchmarks/results"
PAGE: Final = ROOT / "docs/performance.md"
PLOT: Final = ROOT / "docs/performance.svg"
BEGIN: Final = "<!-- results: made by `make bench-report` -->"
END: Final = "<!-- end of results -->"

Line = dict[str, Any]


class Row(NamedTuple):
    """One line of the table: what one workload costs on one carrier of one server."""

    workload: str
    carrier: str
    server: str
    lines: list[Line]
    """The runs that were kept."""


class Measure(NamedTuple):
    """What of a workload is held to a budget."""

    field: str
    unit: str
    budgets: dict[str, float]
    """By carrier."""


CPU: Final = "server_cpu_us_per_op"
MEASURES: Final[dict[str, Measure]] = {
    "W1": Measure(CPU, "µs CPU a message", {"websocket": 80, "quic": 200}),
    "W1-saturated": Measure(CPU, "µs CPU a message", {"websocket": 83}),
    "W1-wide": Measure(CPU, "µs CPU a message", {}),
    "W2-200": Measure(CPU, "µs CPU a delivery", {"websocket": 8}),
    "W2-1000": Measure(CPU, "µs CPU a delivery", {"websocket": 8}),
    "W2-5000": Measure(CPU, "µs CPU a delivery", {"websocket": 8}),
    "W3": Measure("kib_per_connection", "KiB a connection", {"websocket": 24}),
    "W3-10000": Measure("kib_per_connection", "KiB a connection", {"websocket": 24}),
    "W4": Measure(CPU, "µs CPU a page", {"websocket": 400}),
    "W5": Measure(CPU, "µs CPU a sign-in", {"websocket": 1_200}),
    "resume": Measure(CPU, "µs CPU a return", {"websocket": 300}),
    "growth": Measure("ratio", "times the cost", {"websocket": 1.3}),
    "start": Measure("p50_ms", "ms until ready", {"websocket": 1_000}),
    "storm": Measure(CPU, "µs CPU a return", {}),
    "churn": Measure("growth_mib_per_hour", "MiB more an hour", {}),
    "traffic": Measure("active_idle_hour_bytes", "bytes an idle hour", {}),
}
"""In the table's order; the budgets are those the project set itself at its start."""


DETAILS: Final[dict[str, dict[str, str]]] = {
    "growth": {
        "messages_stored": "messages stored",
        "small_cpu_us_per_op": "µs CPU a message with 10,000 stored, in turns with it",
    },
    "storm": {
        "seconds_until_all": "seconds until everybody was back",
        "failed_attempts": "attempts that came to nothing and were made again",
        "calm_p99_ms": "ms, p99 of those already in, before",
        "chat_p50_ms": "ms, p50 of those already in, meanwhile",
        "chat_p99_ms": "ms, p99 of those already in, meanwhile",
    },
    "churn": {
        "seconds": "seconds of it",
        "messages": "messages meanwhile",
        "anonymous_mib_after_warm_up": "MiB without mapped files, after a quarter of the time",
        "growth_bytes_per_connection": "bytes more for each connection since then",
    },
    "traffic": {
        "sender_bytes_up": "bytes sent for a message of 150 bytes, by its author",
        "sender_bytes_down": "bytes received for it, its receipt included",
        "receiver_bytes_down": "bytes received by the reader, for each message alone",
        "receiver_bytes_up": "bytes sent by the reader",
        "background_receiver_bytes_down": "bytes received in background mode, many at once",
        "background_receiver_packets": "packets for each message then, both ways",
        "active_idle_hour_bytes": "bytes in an idle hour, both ways",
        "active_idle_hour_wakings": "times that a radio is woken in it",
        "background_idle_hour_bytes": "bytes in an idle hour in background mode",
        "background_idle_hour_wakings": "times that a radio is woken in it",
    },
}
"""Of some workloads, what else is worth a line, by the field."""


def kept(directory: Path = RESULTS) -> list[Line]:
    """Return every kept line of JSON."""
    texts = (path.read_text("utf-8") for path in sorted(directory.glob("*.jsonl")))
    return [json.loads(line) for text in texts for line in text.splitlines()]


def rows(lines: Iterable[Line]) -> list[Row]:
    """Return what the lines tell, in the table's order; Strongroom comes before the others."""
    found: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        key = (line["workload"], line["carrier"], line["server"])
        found.setdefault(key, []).append(line)
    order = list(MEASURES)
    mine = [Row(*key, runs) for key, runs in found.items() if key[0] in MEASURES]
    return sorted(
        mine, key=lambda row: (order.index(row.workload), row.server != "strongroom", row.server)
    )


def table(lines: Iterable[Line]) -> str:
    """Return the table in Markdown."""
    head = (
        "| workload | server, carrier | measured | budget | p50 / p99, ms "
        "| generator's CPU | RSS, MiB | revision |"
    )
    return "\n".join([head, "|" + "---|" * 8, *(_line(row) for row in rows(lines))])


def details(lines: Iterable[Line]) -> str:
    """Return the table of what else was measured."""
    found = ["| workload | carrier | measured | what |", "|" + "---|" * 4]
    for row in rows(lines):
        for field, text in DETAILS.get(row.workload, {}).items():
            if row.server == "strongroom" and field in row.lines[0]:
                cells = (row.workload, row.carrier, _range(row.lines, field), text)
                found.append(f"| {' | '.join(cells)} |")
    return "\n".join(found)


def _line(row: Row) -> str:
    measure = MEASURES[row.workload]
    budget = measure.budgets.get(row.carrier) if row.server == "strongroom" else None
    times = [_median(row.lines, name) for name in ("p50_ms", "p99_ms")]
    cells = [
        row.workload,
        f"{row.server}, {row.carrier}",
        f"{_range(row.lines, measure.field)} {measure.unit}",
        "" if budget is None else shown(budget),
        " / ".join(map(shown, times)) if any(times) else "",
        _share(_median(row.lines, "client_cpu_share")),
        shown(_median(row.lines, "rss_mib")),
        ", ".join(sorted({line["revision"] for line in row.lines})),
    ]
    return f"| {' | '.join(cells)} |"


def _median(lines: list[Line], field: str) -> float:
    return statistics.median(float(line.get(field, 0.0)) for line in lines)


def _range(lines: list[Line], field: str) -> str:
    """Return the median, and in brackets the least and the most where there are several runs."""
    values = sorted(line[field] for line in lines)
    middle = shown(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({shown(values[0])} to {shown(values[-1])})"


def _share(share: float) -> str:
    return f"{share:.0%}" if share else ""


def shown(value: float) -> str:
    """Return a number with three digits that count."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def bars(lines: Iterable[Line]) -> list[Bar]:
    """Return the plot's bars: what costs CPU, and its budget."""
    found = []
    for row in rows(lines):
        measure = MEASURES[row.workload]
        if measure.field != CPU:
            continue
        is_ours = row.server == "strongroom"
        found.append(
            Bar(
                f"{row.workload} {row.carrier if is_ours else row.server}",
                _median(row.lines, CPU),
                measure.budgets.get(row.carrier) if is_ours else None,
                is_ours,
            )
        )
    return found


def section(lines: list[Line]) -> str:
    """Return what stands between the marks: machine, table, plot, and what else was measured."""
    machines = ", ".join(sorted({line["machine"] for line in lines}))
    loads = sorted(line["load"] for line in lines if "load" in line)
    busy = (
        f", wanted by {shown(loads[0])} to {shown(loads[-1])} processes at a time" if loads else ""
    )
    return "\n".join(
        [
            BEGIN,
            "",
            f"Measured on: {machines}{busy}.",
            "",
            table(lines),
            "",
            "![Server CPU for each operation, with budgets](performance.svg)",
            "",
            details(lines),
            "",
            END,
        ]
    )


def replaced(page: str, between: str) -> str:
    """Return a page with another section; raises ``ValueError`` when its marks are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has lost the marks of its results")
    return before + between + after


def record(name: str, lines: Iterable[str], directory: Path = RESULTS) -> None:
    """Keep a workload's lines instead of those kept before."""
    (directory / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")


def main() -> int:
    """Write the page and the plot anew; returns the exit status."""
    lines = kept()
    if not lines:
        print("no results are kept: `make bench-record` takes them", file=sys.stderr)
        return 1
    PAGE.write_text(replaced(PAGE.read_text("utf-8"), section(lines)), "utf-8")
    PLOT.write_text(plot(bars(lines)), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
