"""Keep the process's memory away from core dumps and from other processes of the same user."""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4
"""See prctl(2)."""


def harden() -> list[str]:
    """Make the process non-dumpable and forbid core files; call it before keys are read.

    Returns what the kernel refused, as sentences for `doctor`; empty when all was granted.
    """
    refused = []
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        refused.append("the process can be dumped and traced by its own user")
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        refused.append("core files are not forbidden")
    return refused
