"""Run workloads and print one line of JSON for each: `python -m benchmarks.run [NAME ...]`.

Each name runs over WebSocket and, where it says something, over QUIC. Wall times and rates of a
shared machine are noise; CPU time per operation and ratios hold.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import chatting, connecting, expiring, linking, merging, reading, thin, vault
from benchmarks.measure import Result

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
    "W2-200": (ONE, _chat(chatting.W2_200)),
    "W2-1000": (ONE, _chat(chatting.W2_1000)),
    "W3": (BOTH, connecting.idle),
    "W4": (ONE, reading.history),
    "W5": (BOTH, connecting.login),
    "resume": (ONE, reading.resume),
    "start": (ONE, connecting.start),
    "expiry": (NONE, expiring.run),
    "link": (NONE, linking.run),
    "thin": (NONE, partial(thin.run, 1.0)),
    "thin-week": (NONE, partial(thin.run, 7.0)),
    "thin-month": (NONE, partial(thin.run, 30.0)),
    "merge": (NONE, merging.run),
    "vault-1e5": (NONE, partial(vault.run, 100_000)),
    "vault-1e6": (NONE, partial(vault.run, 1_000_000)),
}
"""Name -> carriers and what runs; the names are those of docs/performance.md."""

LONG: Final = frozenset({"thin-week", "thin-month"})
"""Runs only when named: a thin line takes its time."""


def main(names: list[str]) -> int:
    """Run what is named, or everything; returns the exit status."""
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join(WORKLOADS)}", file=sys.stderr)
        return 2
    for name in names or [each for each in WORKLOADS if each not in LONG]:
        carriers, workload = WORKLOADS[name]
        for carrier in carriers:
            with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as directory:
                print(workload(carrier, Path(directory)).line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
