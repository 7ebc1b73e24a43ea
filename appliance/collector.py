"""Keep Python's collector of cycles away from what lives as long as the process.

The collector stops every thread while it walks the objects it knows. What a site opens into
memory stays until the end, so walking it finds nothing: with 5,000 people and 20,000
conversations one full pass took 0.35 s, in which nobody was answered.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ALLOCATIONS: Final = 10_000
"""Objects made and not freed until the young ones are looked through (Python's own: 700).

A busy server makes 700 in a dozen messages and nearly all of them go by reference count. More
would leave the cycles of closed connections in memory for longer."""


@contextmanager
def paused() -> Iterator[None]:
    """Collect nothing while much is made that stays, as at load."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def at_rest() -> Iterator[None]:
    """Leave everything that exists now alone, and look at the rest less often.

    The settings are the process's: of several at one time, the first decides.
    """
    if gc.get_freeze_count():
        yield
        return
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
