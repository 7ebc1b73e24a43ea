"""Gather what goes with a record that ends, and take it out of the log and every view.

Everything that targets a message goes with it: edits, recalls, reactions, confirmations,
escalations, and copies that passed an urgent message on, with what targets those.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from appliance.messaging import targets
from appliance.messaging.model import Place
from appliance.operations import Kind, Mark
from store import destruction
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import PartGoneError
from store.feeds import FEED_ROW
from store.ids import OpId, Stream, StreamKind
from store.oplog import Op, UnknownOpError
from store.skeleton import OpClass
from store.tables import FEED, HEAD, REGISTER, TARGET
from store.vault import Locator

if TYPE_CHECKING:
    from appliance.core import Core


class Group(NamedTuple):
    """A record and all that goes with it, the record first."""

    ops: tuple[Op, ...]

    @property
    def root(self) -> Op:
        """The record itself."""
        return self.ops[0]

    def messages(self) -> Iterator[Op]:
        """Yield the message and its copies: what somebody could read on its own."""
        return (op for op in self.ops if op.kind == Kind.MESSAGE)

    def copies(self) -> Iterator[Op]:
        """Yield the messages that passed the first one on, each in a conversation of its own."""
        return (op for op in self.ops[1:] if op.kind == Kind.MESSAGE)


def group(core: Core, reader: Reader, place: Place) -> Group | None:
    """Return the record at ``place`` with all that targets it; None once its body is gone.

    Opens each operation: O(targets).
    """
    root = _read(core, reader, place)
    return None if root is None or root.body is None else around(core, reader, root)


def around(core: Core, reader: Reader, root: Op) -> Group:
    """Return a record that is opened already with all that targets it; O(targets)."""
    return Group((root, *_targeting(core, reader, (root.origin, root.id.seq))))


def destroy(
    core: Core, txn: Txn, found: Group, *, keep_envelopes: bool, now_ms: int
) -> list[Locator]:
    """Take a group out of log, feeds and views; return the keys that must die with the commit."""
    doomed = []
    for op in found.ops:
        if keep_envelopes:
            doomed.append(destruction.destroy_body(txn, core.log, core.vault, op, now_ms))
        else:
            doomed.append(destruction.destroy(txn, op))
        if op.body is not None:  # else it is out of the views already
            core.forget(txn, op)
    return doomed


def above(core: Core, reader: Reader, op: Op) -> Iterator[Op]:
    """Yield the message that an operation targets, and what that one targets, as far as known."""
    while op.target:
        place = core.conversations.place(OpId.unpack(op.target))
        found = None if place is None else _read(core, reader, place)
        if found is None:
            return
        op = found
        yield op


def erased(core: Core, reader: Reader, person: bytes) -> list[Place]:
    """Return the places of what the directory knows of a person and of their devices.

    Every device that they ever had, and those first: whose they are is told by registers that
    go with the person. O(devices + operations).
    """
    own = core.streams.pseudonym(Stream(StreamKind.PERSON, person))
    if own is None:
        return []
    rows = reader.range(*REGISTER.span(own, Kind.DEVICE_ADDED))
    feeds = [*(REGISTER.columns(key)[2] for key, _ in rows), own]
    return [
        FEED_ROW.unpack(value)[:2] for feed in feeds for _, value in reader.range(*FEED.span(feed))
    ]


def is_device_of(core: Core, reader: Reader, person: bytes, device: bytes) -> bool:
    """Tell whether a device is one that a person ever had, and is not erased yet; O(1)."""
    own = core.streams.pseudonym(Stream(StreamKind.PERSON, person))
    item = core.streams.pseudonym(Stream(StreamKind.DEVICE, device))
    if own is None or item is None:
        return False
    return reader.get(REGISTER.key(own, Kind.DEVICE_ADDED, item)) is not None


def drop_head(txn: Txn, feed: int) -> None:
    """Let a feed of which nothing is left have no head either."""
    if next(iter(txn.range(*FEED.span(feed), limit=1)), None) is None:
        txn.delete(HEAD.key(feed))


def is_superseded(core: Core, reader: Reader, op: Op) -> bool:
    """Tell whether a control operation says nothing any more that a newer one does not say.

    Memberships tell the whole history of one person, so an older one may go. What was wiped is
    never superseded: a device that was away must still hear of it. A mark is superseded by one
    that is as far in both of its numbers: receipts are the largest of each.
    """
    if op.op_class is not OpClass.CONTROL or op.kind not in _SWEPT:
        return False
    key = core.register_key(op)
    value = None if key is None else reader.get(key)
    if value is None:
        return False
    newest = core.place_in(value)
    if newest == (op.origin, op.id.seq):
        return False
    if op.kind not in (Kind.READ, Kind.DELIVERED):
        return True
    return _reaches(core, reader, newest, op)


_SWEPT = frozenset(
    (
        Kind.CONVERSATION_TITLE,
        Kind.CONVERSATION_MEMBER,
        Kind.CONVERSATION_SETTINGS,
        Kind.READ,
        Kind.DELIVERED,
    )
)


def _reaches(core: Core, reader: Reader, newest: Place, op: Op) -> bool:
    later = _read(core, reader, newest)
    if later is None:
        return False
    old, new = targets.body_of(op), targets.body_of(later)
    if not isinstance(old, Mark) or not isinstance(new, Mark):
        return False
    return new.upto >= old.upto and new.seen >= old.seen


def _targeting(core: Core, reader: Reader, root: Place) -> Iterator[Op]:
    for key, _ in reader.range(*TARGET.span(*root)):
        _, _, origin, seq = TARGET.columns(key)
        op = _read(core, reader, (origin, seq))
        if op is None:
            continue
        yield op
        if op.kind == Kind.MESSAGE:
            yield from _targeting(core, reader, (origin, seq))


def _read(core: Core, reader: Reader, place: Place) -> Op | None:
    try:
        return core.log.read(reader, *place)
    except (PartGoneError, UnknownOpError):
        return None
