"""Run workloads and print one line of JSON for each: `python -m benchmarks.run [NAME ...]`.

Each name runs over WebSocket and, where it says something, over QUIC. Wall times and rates of a
shared machine are noise; CPU time per operation and ratios hold. Where Debian's prosody or
ejabberd is installed, the workloads that it can do are run against it too, right afterwards.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from msgspec.structs import replace

from benchmarks import (
    chatting,
    churning,
    connecting,
    expiring,
    growing,
    idling,
    linking,
    merging,
    reading,
    returning,
    storming,
    thin,
    travelling,
    vault,
)
from benchmarks.comparing import COMPARED
from benchmarks.measure import Result
from benchmarks.report import record
from benchmarks.rivals import RIVALS, program_of

Run = Callable[[str, Path], Result]


def _chat(chat: chatting.Chat) -> Run:
    return partial(_run_chat, chat)


def _run_chat(chat: chatting.Chat, carrier: str, directory: Path) -> Result:
    return chatting.run(chat, carrier, directory)


NONE: Final = ("-",)
BOTH: Final = ("websocket", "quic")
ONE: Final = ("websocket",)

WORKLOADS: Final[dict[str, tuple[tuple[str, ...], Run]]] = {
    "W1": (BOTH, _chat(chatting.W1)),
    "W1-saturated": (BOTH, _chat(chatting.W1_SATURATED)),
    "W1-wide": (ONE, _chat(chatting.W1_WIDE)),
    "W2-200": (BOTH, _chat(chatting.W2_200)),
    "W2-1000": (BOTH, _chat(chatting.W2_1000)),
    "W2-5000": (ONE, _chat(chatting.W2_5000)),
    "W3": (BOTH, idling.W3),
    "W3-10000": (ONE, idling.W3_10000),
    "W4": (BOTH, reading.history),
    "W5": (BOTH, connecting.login),
    "resume": (BOTH, reading.resume),
    "growth": (ONE, growing.run),
    "start": (ONE, connecting.start),
    "storm": (ONE, storming.run),
    "churn": (ONE, churning.run),
    "traffic": (BOTH, travelling.run),
    "expiry": (NONE, expiring.run),
    "link": (NONE, linking.run),
    "thin": (NONE, partial(thin.run, 1.0)),
    "thin-week": (NONE, partial(thin.run, 7.0)),
    "thin-month": (NONE, partial(thin.run, 30.0)),
    "merge": (NONE, merging.run),
    "storm-of-branches": (NONE, returning.run),
    "vault-1e5": (NONE, partial(vault.run, 100_000)),
    "vault-1e6": (NONE, partial(vault.run, 1_000_000)),
}
"""Name -> carriers and what runs; the names are those of docs/performance.md."""

LONG: Final = frozenset({"churn", "thin-week", "thin-month"})
"""Runs only when named: an hour of coming and going, and thin lines, take their time."""


def results(name: str) -> Iterator[Result]:
    """Run one workload on its carriers, then against the rivals that are installed."""
    carriers, workload = WORKLOADS[name]
    rivals = RIVALS if name in COMPARED else ()
    absent = [rival.name for rival in rivals if program_of(rival) is None]
    note = {"not_compared": f"not installed: {', '.join(absent)}"} if absent else {}
    for carrier in carriers:
        with _directory() as directory:
            result = workload(carrier, directory)
        yield replace(result, details=result.details | note)
    for rival in rivals:
        if rival.name not in absent:
            with _directory() as directory:
                yield COMPARED[name](rival, directory)


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as directory:
        yield Path(directory)


def main(arguments: list[str]) -> int:
    """Run what is named, or everything; returns the exit status: 1 when something failed.

    ``--record N`` in front runs each N times and keeps the lines for the report.
    """
    times, names = 0, arguments
    if arguments[:1] == ["--record"]:
        times, names = int(arguments[1]), arguments[2:]
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join(WORKLOADS)}", file=sys.stderr)
        return 2
    chosen = names or [name for name in WORKLOADS if name not in LONG]
    return max([_run(name, times) for name in chosen])


def _run(name: str, times: int) -> int:
    """Run one workload; a failure is told and ends this workload only."""
    lines: list[str] = []
    status = 0
    try:
        for _ in range(max(1, times)):
            for result in results(name):
                lines.append(result.line())
                print(lines[-1], flush=True)
    except Exception as error:  # noqa: BLE001 - the other workloads are worth running
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        status = 1
    if times and lines:
        record(name, lines)
    return status


def _terminated(number: int, frame: object) -> NoReturn:
    """End in good order, so that servers are stopped and directories removed."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(main(sys.argv[1:]))
