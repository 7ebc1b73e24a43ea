"""Tell every mistake of a document at once: where each stands, what it is, what instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands (file, variable, flag, rule and key), what, what instead."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.where}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class ProblemsError(ValueError):
    """A document cannot be used; ``problems`` tells every mistake found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)))
