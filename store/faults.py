"""Cut the power at a chosen step of the simulated engine and disk."""

from __future__ import annotations

from collections.abc import Callable

Probe = Callable[[str], None]
"""Called by a simulated device at every step with the step's name; may raise.

``PowerCut`` stops the run there; ``EngineFullError`` or ``EngineError`` is what the device then
answers. Steps: ``batch`` (before anything of a batch is durable), ``committed`` (durable, not
yet answered); ``settle`` and ``settled``, around the two batches of settling. Small files:
``write``, ``wrote``, ``sync``, ``synced``, ``remove``, ``removed``.
"""


class PowerCut(BaseException):
    """The simulated machine lost its power.

    Not an ``Exception``: nothing but the simulation may catch it and go on.
    """


class CutAt:
    """A probe that cuts the power at one step, counting from 0 over all devices that share it.

    Run once with ``step=None`` to learn how many steps there are (``count``), then once for
    each of them.
    """

    def __init__(self, step: int | None = None) -> None:
        self.count = 0
        self.seen: list[str] = []
        self._step = step

    def __call__(self, name: str) -> None:
        """Count the step; raise ``PowerCut`` if it is the chosen one."""
        number, self.count = self.count, self.count + 1
        self.seen.append(name)
        if number == self._step:
            raise PowerCut(name)
