"""Follow urgent messages until they are confirmed: what is held of each, and its URGENT row.

A message to a duty is done when anybody who was asked confirms it; any other when everybody
who was a member confirms it, or has left. Until then it repeats, and after a time it goes on:
along the duty's chain, or else once to an owner of the group, or back to its sender.

    URGENT row value
    offset  size  type   meaning
    0       2     u16    step: how often it has gone on
    2       2     u16    repetitions in this step
    4       8     u64    when this step began, Unix ms
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from appliance.limits import REPEAT_SECONDS, SECOND_MS
from appliance.messaging.model import Place
from store.tables import URGENT

_ROW = struct.Struct(">HHQ")

ELSEWHERE_MS: Final = 1 << 62
"""When a message of another site needs attention here: never, that site attends to it."""


@dataclass(frozen=True, slots=True)
class Urgent:
    """An urgent message that is not confirmed yet.

    ``root`` is the message, ``key`` its timeline key; ``copies`` are the messages that passed
    it on, newest last. ``waiting`` are those whose confirmation is missing, ``asked`` all who
    were ever asked for a duty. ``due_ms`` is when it needs attention next, in Unix ms.
    """

    root: Place
    key: int
    conversation: bytes
    sender: bytes
    duty: bytes
    waiting: frozenset[bytes]
    asked: frozenset[bytes]
    step: int
    repeats: int
    step_ms: int
    due_ms: int
    copies: tuple[Place, ...] = ()

    @property
    def current(self) -> Place:
        """The message to repeat: the newest copy, or the message itself."""
        return self.copies[-1] if self.copies else self.root

    def row(self) -> tuple[bytes, bytes]:
        """Return key and value of the URGENT row."""
        return self.row_key(), _ROW.pack(self.step, self.repeats, self.step_ms)

    def row_key(self) -> bytes:
        """Return the key of the URGENT row."""
        return URGENT.key(self.due_ms, *self.root)

    def confirmed(self, person: bytes) -> Urgent | None:
        """Return what is left to do once ``person`` has confirmed; None when it is done."""
        return None if self.duty else self.without(person)

    def without(self, person: bytes) -> Urgent | None:
        """Return what is left to do without ``person``; None when nobody is left."""
        waiting = self.waiting - {person}
        return replace(self, waiting=waiting) if waiting else None

    def repeated(self, at_ms: int, step_seconds: int) -> Urgent:
        """Return the state after a repetition at ``at_ms``."""
        after = replace(self, repeats=self.repeats + 1)
        return replace(after, due_ms=after.next_ms(at_ms, step_seconds))

    def passed_on(self, person: bytes, at_ms: int, step_seconds: int) -> Urgent | None:
        """Return the state after it went on to ``person``; None when that ends it."""
        if not self.duty or person == self.sender:
            return None
        after = replace(
            self,
            step=self.step + 1,
            repeats=0,
            step_ms=at_ms,
            asked=self.asked | {person},
            waiting=self.waiting | {person},
        )
        return replace(after, due_ms=after.next_ms(at_ms, step_seconds))

    def next_ms(self, at_ms: int, step_seconds: int) -> int:
        """Return when it is due after something was done at ``at_ms``.

        ``step_seconds`` is how long a step of its chain lasts, 0 without a chain.
        """
        repeat_ms = at_ms + REPEAT_SECONDS * SECOND_MS
        if not step_seconds:
            return repeat_ms
        return min(repeat_ms, self.step_ms + step_seconds * SECOND_MS)


def unpack(value: bytes) -> tuple[int, int, int]:
    """Return step, repetitions and the step's beginning (Unix ms) from a row's value."""
    step, repeats, step_ms = _ROW.unpack(value)
    return step, repeats, step_ms
