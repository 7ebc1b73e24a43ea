"""Define what the link asks the writer to decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from store.errors import StoreError
from store.ids import Origin, Stream
from sync.pieces import Piece


class GapError(StoreError):
    """A piece does not follow what is durable here: the link begins again from the cursor."""

    code: ClassVar[str] = "site.gap"
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Nothing to do: the link asks again for what is missing."


class PieceError(StoreError):
    """A piece that no honest site sends: nothing of it was applied."""

    code: ClassVar[str] = "site.piece"
    hint: ClassVar[str] = "Look at the site that sent it: its program or its keys are not ours."


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
class NoteHistory:
    """The history of a conversation has come, back to headquarters' position ``before``."""

    stream: Stream
    before: int
    is_end: bool


@dataclass(frozen=True, slots=True)
class TakeIncarnation:
    """Headquarters knows more, or other, of this incarnation: go on under a new one."""

    instead_of: int
    reason: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The lane's cursor once the piece is durable."""

    cursor: int
