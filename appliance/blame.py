"""Say where an unexpected error arose, without what it was about: no message, no values."""

from __future__ import annotations

import traceback
from pathlib import PurePath
from typing import Final

FRAMES: Final = 4
"""Innermost frames that are named."""


def blame(error: BaseException) -> dict[str, str]:
    """Return an error's type and its innermost frames, as fields of a log line."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = [f"{PurePath(each.filename).name}:{each.lineno}:{each.name}" for each in frames]
    return {"error": type(error).__name__, "at": " < ".join(reversed(places))}
