"""Define the commands that no client frame stands for: the clock's, and those about duties.

``who`` is a login name, or ``id:`` and 32 hex digits. Requests are signed by who asks: an
administrator or, to hand a duty over, its holder.
"""

from __future__ import annotations

from typing import Final

import msgspec

from appliance.directory.commands import Command


class Tick(msgspec.Struct, frozen=True):
    """Do what is due for urgent messages; by the site itself. The reply is ``Ticked``."""


class Ticked(msgspec.Struct, frozen=True):
    """How many urgent messages were handled, and when the next is due (Unix ms, 0: none)."""

    handled: int
    due_ms: int


class CreateDuty(Command, frozen=True):
    """Make a duty that is addressed as ``duty:NAME``."""

    name: str
    title: str


class AssignDuty(Command, frozen=True):
    """Give a duty to a person, or to nobody."""

    duty: str
    who: str = ""


class SetChain(Command, frozen=True):
    """Say to whom urgent messages of a duty go on, each after so many seconds."""

    duty: str
    chain: tuple[str, ...]
    step_seconds: int


class HandOver(Command, frozen=True):
    """Hand a duty that one holds over to somebody else."""

    duty: str
    who: str


REQUESTS: Final[dict[str, type[Command]]] = {
    "duty.create": CreateDuty,
    "duty.assign": AssignDuty,
    "duty.chain": SetChain,
    "duty.handover": HandOver,
}
"""Signed requests by name."""

NAMES: Final = {kind: name for name, kind in REQUESTS.items()}
