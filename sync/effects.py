"""Define what happens around a link, and what a session asks of whoever drives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sync.errors import LinkError
from sync.frames import Have, Note
from sync.pieces import Lane, Piece, Standing


class Moment(NamedTuple):
    """When something happens: ``now`` in seconds of a clock that only rises, and Unix time."""

    now: float
    unix_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """Give a piece to the replica; then call ``taken`` with this, or ``failed``."""

    channel: int
    piece: Piece


@dataclass(frozen=True, slots=True)
class Up:
    """The link stands. ``peer`` is what the other site said of itself."""

    peer: Standing
    unix_ms: int
    software: str
    version: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The peer has a lane durable up to ``cursor``."""

    lane: Lane
    cursor: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """A note for the layers above."""

    note: Note


@dataclass(frozen=True, slots=True)
class Answered:
    """A question for history is answered; its pieces have been taken."""

    have: Have


@dataclass(frozen=True, slots=True)
class Lost:
    """A channel other than the main one ended; the link goes on."""

    channel: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The link is over; what ``pull`` still gives are its last words."""

    error: LinkError


Effect = Take | Up | Acknowledged | Deliver | Answered | Lost | Ended
