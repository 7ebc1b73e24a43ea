"""Show how far long work is while it goes on in another thread."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import click

T = TypeVar("T")

LOOK_SECONDS: Final = 0.2
"""How often progress is looked at, in seconds."""

SHOWN_AFTER_SECONDS: Final = 0.5
"""Work that takes no longer shows no bar."""

Look = Callable[[], tuple[int, int]]
"""Returns how much is done and how much there is."""


def watched(work: Callable[[], T], look: Look, label: str, *, is_shown: bool) -> T:
    """Run ``work`` and return what it returns, or raise what it raises.

    With ``is_shown`` and a terminal, a bar on stderr says how far it is; what ``look`` raises is
    no reason to end the work.
    """
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        if is_shown and sys.stderr.isatty():
            _show(future.done, look, label)
        return future.result()


def _show(is_done: Callable[[], bool], look: Look, label: str) -> None:
    started = time.monotonic()
    while time.monotonic() - started < SHOWN_AFTER_SECONDS:
        if is_done():
            return
        time.sleep(LOOK_SECONDS)
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:
        while not is_done():
            done, total = _looked(look)
            if total:
                bar.length = max(total, done)
                bar.update(max(0, done - bar.pos))
            time.sleep(LOOK_SECONDS)
        bar.update(max(0, (bar.length or 0) - bar.pos))


def _looked(look: Look) -> tuple[int, int]:
    try:
        return look()
    except Exception:  # noqa: BLE001 (the work itself will tell)
        return 0, 0
