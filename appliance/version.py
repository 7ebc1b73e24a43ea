"""Say which version of the program this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

RELEASE: Final = 1
"""Counts the releases; goes up by one with each, so that no older one passes for an upgrade."""

UNKNOWN = "0+unknown"
"""What a checkout calls itself that was never installed."""


def program_version() -> str:
    """Return the version of this program."""
    try:
        return version("strongroom")
    except PackageNotFoundError:
        return UNKNOWN
