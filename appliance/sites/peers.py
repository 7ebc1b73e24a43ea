"""Remember of each other site what it last said of itself: where it stands, and what it asked.

A link needs nothing of it. A parcel does: it is made for a site that cannot be asked.

    META row "peer." and the NodeId in hex   msgpack array: the fields of ``Peer``
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from appliance.context import Context, refuse
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.ids import Origin
from store.tables import meta_key
from sync.frames import Stand, Want
from sync.limits import NOTE_BYTES, WANTS
from sync.pieces import Cursors, Standing

NOBODY: Final = Standing(Origin(b"", 0), 0, b"", Origin(b"", 0), Cursors())
"""Where a site stands of which nothing is known."""


class Peer(msgspec.Struct, frozen=True, array_like=True):
    """What is known of another site; the last two are notes of its last parcel, or empty.

    ``wants`` are questions for history, ``asked`` is its question for a lease, ``wanted`` its
    question for segments.
    """

    stand: Stand | None = None
    wants: Annotated[list[Want], msgspec.Meta(max_length=WANTS)] = []
    asked: Annotated[bytes, msgspec.Meta(max_length=NOTE_BYTES)] = b""
    wanted: Annotated[bytes, msgspec.Meta(max_length=NOTE_BYTES)] = b""

    @property
    def standing(self) -> Standing:
        """Where it stood last."""
        return NOBODY if self.stand is None else self.stand.standing()


@dataclass(frozen=True, slots=True)
class NotePeer:
    """By the site alone: a peer stands so; ``told`` is all that its parcel said, if it was one."""

    node: bytes
    standing: Standing
    told: Peer | None = None


_decoder = msgspec.msgpack.Decoder(Peer)


def get(reader: Reader, node: bytes) -> Peer:
    """Return what is known of a site."""
    row = reader.get(_key(node))
    return Peer() if row is None else _decoder.decode(row)


def _put(txn: Txn, node: bytes, peer: Peer) -> None:
    txn.put(_key(node), msgspec.msgpack.encode(peer))


def _key(node: bytes) -> bytes:
    return meta_key(f"peer.{node.hex()}")


def furthest(known: Standing, told: Standing) -> Standing:
    """Return the later of two standings, of which the second may be from an older parcel."""
    if (known.origin, known.peer) != (told.origin, told.peer):
        return told
    reached = map(max, known.cursors, told.cursors)
    latest = told if told.seq >= known.seq else known
    return latest._replace(cursors=Cursors(*reached))


def note(ctx: Context, command: NotePeer) -> None:
    """Decide ``NotePeer``."""
    if not ctx.actor.is_site:
        raise refuse("permission.denied")
    known, standing = get(ctx.txn, command.node), command.standing
    if command.told is not None:
        known, standing = command.told, furthest(known.standing, standing)
    _put(ctx.txn, command.node, msgspec.structs.replace(known, stand=Stand.of(standing)))


DECISIONS: Final[dict[type, Callable[[Context, Any], Any]]] = {NotePeer: note}
"""What ``appliance.core`` dispatches on."""
