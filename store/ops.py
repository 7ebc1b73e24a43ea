"""Define operations as the layers above see them: drafts, operations, remnants."""

from __future__ import annotations

import msgspec

from store import hlc
from store.envelope import Envelope
from store.ids import OpId, Stream, StreamKind
from store.records import (
    AHEAD,
    LANE,
    LANE_SHIFT,
    LATE,
    QUARANTINED,
    SHOWN,
    TIMELINE,
    PartState,
)
from store.skeleton import OpClass


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An operation that is to be appended to this site's log.

    ``stream`` is what its keys belong to; None means the conversation that this operation
    creates, whose id is the first 16 bytes of its own ``op_hash`` (``conversation`` is then
    empty). ``actor``, ``device`` and ``conversation`` are 16 bytes or empty, ``target`` is
    the packed OpId of the root message or empty, ``body`` is canonical bytes or empty.
    ``counter`` is the device's message number, 0 for none. ``in_timeline`` puts an operation
    into its conversation's timeline that would not be there as a root message anyway. ``lane``
    (0 to 3) says in which lane it leaves the site. ``floor`` is a timeline key that its author has
    seen, perhaps at another site: it sorts after that, and after all that is here. ``times`` are
    time and floor of an operation that was made before and is said again under another name;
    None: it is made now.
    """

    kind: int
    op_class: OpClass
    stream: Stream | None
    retention_class: int
    actor: bytes = b""
    device: bytes = b""
    counter: int = 0
    conversation: bytes = b""
    target: bytes = b""
    body: bytes = b""
    seen: int = 0
    in_timeline: bool = False
    lane: int = 0
    floor: int = 0
    times: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"<Draft of kind {self.kind}>"


class Op(msgspec.Struct, frozen=True, gc=False):
    """An operation of the log, opened.

    ``origin`` is the local number of its origin; ``pseudonym`` stands for ``stream``, ``feed``
    for the stream whose FEED and HEAD rows it is in: its conversation's, else its own.
    ``t``, ``floor`` and ``key`` are hybrid logical times, ``received_ms`` is Unix time.
    ``body`` is None once it is gone; its canonical bytes may also be empty. One that
    ``is_quarantined`` has no effect; one that ``is_ahead`` is kept out of the timeline, and its
    key is not believed.
    """

    id: OpId
    origin: int
    kind: int
    op_class: OpClass
    stream: Stream
    pseudonym: int
    feed: int
    actor: bytes
    device: bytes
    counter: int
    t: int
    floor: int
    key: int
    conversation: bytes
    target: bytes
    seen: int
    body: bytes | None
    op_hash: bytes
    pos: int
    received_ms: int
    in_timeline: bool
    late: bool
    lane: int = 0
    is_quarantined: bool = False
    is_ahead: bool = False

    def __repr__(self) -> str:
        return f"<Op {self.origin}/{self.id.seq} of kind {self.kind}>"


class Remnant(msgspec.Struct, frozen=True, gc=False):
    """What is left of an operation whose envelope is gone."""

    id: OpId
    origin: int
    op_class: OpClass
    op_hash: bytes
    pos: int
    pseudonym: int
    state: PartState


Entry = Op | Remnant
"""One entry of the log, as far as it survives."""


def build(
    op_id: OpId,
    origin: int,
    op_class: OpClass,
    envelope: Envelope,
    stream: Stream,
    pseudonym: int,
    feed: int,
    body: bytes | None,
    op_hash: bytes,
    pos: int,
    flags: int,
) -> Op:
    """Put an operation together from its parts and its place at this site."""
    t, floor = envelope.t, envelope.floor
    return Op(
        op_id,
        origin,
        envelope.kind,
        op_class,
        stream,
        pseudonym,
        feed,
        envelope.actor,
        envelope.device,
        envelope.counter,
        t,
        floor,
        hlc.key(t, floor),
        envelope.conversation,
        envelope.target,
        envelope.seen,
        body,
        op_hash,
        pos,
        hlc.millis(t),
        flags & SHOWN == TIMELINE,
        flags & LATE != 0,
        (flags & LANE) >> LANE_SHIFT,
        flags & QUARANTINED != 0,
        flags & AHEAD != 0,
    )


def is_in_timeline(
    stream: Stream | None, op_class: OpClass, conversation: bytes, target: bytes, *, asks: bool
) -> bool:
    """Tell whether readers of the conversation see an operation as an entry of its own.

    ``stream`` is None for the conversation that it creates; ``asks`` when it is to be seen though
    it is no root message.
    """
    in_conversation = stream is None or conversation or stream.kind is StreamKind.CONVERSATION
    is_root = op_class is OpClass.MESSAGE and not target
    return bool(in_conversation and (is_root or asks))
