"""Say what a check found: an id, how grave it is, the evidence and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple


class Severity(IntEnum):
    """How grave a finding is; the exit code follows the gravest."""

    NOTICE = 1
    WARNING = 2
    FAILURE = 3
    INTEGRITY = 4


class Finding(NamedTuple):
    """One observation. ``evidence`` never holds content, keys or names."""

    id: str
    severity: Severity
    evidence: str
    remedy: str


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0, 1 from a warning on, or 5 for a failed integrity check."""
    worst = max((finding.severity for finding in findings), default=Severity.NOTICE)
    return {Severity.NOTICE: 0, Severity.INTEGRITY: 5}.get(worst, 1)
