"""Define what the link asks the writer to decide."""

from __future__ import annotations

from dataclasses import dataclass

from store.ids import Origin, Stream
from sync.pieces import Piece


@dataclass(frozen=True, slots=True)
class TakePiece:
    """Apply what another site has sent.

    ``node`` is who the link has proved it to be, ``numbered_by`` the incarnation of the peer
    whose order or log the piece is of.
    """

    node: bytes
    numbered_by: Origin
    piece: Piece


@dataclass(frozen=True, slots=True)
class TakeControl(TakePiece):
    """At a branch: what headquarters says of holds, orders and people, also on a full disk."""


@dataclass(frozen=True, slots=True)
class NoteHistory:
    """The history of a conversation has come, back to headquarters' position ``before``."""

    stream: Stream
    before: int
    is_end: bool


@dataclass(frozen=True, slots=True)
class TakeIncarnation:
    """Another site knows more, or other, of this incarnation: go on under a new one.

    ``forgotten`` is an incarnation of this site that only the other site knows; 0 for none.
    """

    instead_of: int
    reason: str
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """The lane's cursor once the piece is durable."""

    cursor: int
