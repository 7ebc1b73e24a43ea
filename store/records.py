"""Lay out the record of one operation in the log, and the plaintext that it seals.

LOG row value
offset  size  type   meaning
0       1     u8     version: 1
1       2     u16    tenant
3       1     u8     suite of the sealing (0 when nothing is sealed any more)
4       1     u8     states: envelope in the high four bits, body in the low four
5       1     u8     flags: 1 in the timeline, 2 late, 4 and 8 the lane, 16 quarantined, 32 ahead
6       98    bytes  skeleton
104     32    bytes  hash chain up to this operation; zero where it is not kept (below)
136     8     u64    pos
144     8     u64    stream pseudonym of the sealing
152     4     u32    epoch of the sealing
156     2     u16    index of the sealing
158     n     bytes  sealed part; empty once the envelope is gone

Operations of other sites do not arrive in the order of their numbers. Their rows have no chain,
except the last row of each segment that has been attested. Where not even the envelope has come,
nothing is sealed and the pseudonym is 0.

Sealed plaintext
offset  size  type   meaning
0       1     u8     kind: 1 envelope and body, 2 envelope only
1       16    bytes  salt: the body's (kind 1), the envelope's own (kind 2)
17      4     u32    envelope length n
21      n     bytes  envelope
21+n    m     bytes  body (kind 1; may be empty)
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from store import canonical
from store.errors import FormatError
from store.skeleton import SKELETON_BYTES
from store.tables import TENANT
from store.vault import Locator

VERSION = 1
HEADER_BYTES = 158

# Flags: what this site decided about an operation when it applied it. Plain integers, since
# arithmetic on enum flags is slow and this is the hot path.
TIMELINE = 1
LATE = 2
LANE = 4 | 8
"""The lane in which it leaves the site, 0 to 3; shifted by ``LANE_SHIFT``."""
LANE_SHIFT = 2
QUARANTINED = 16
"""Logged and without any effect: in no feed, no timeline, no view."""
AHEAD = 32
"""Its time was ahead of the clock here: not believed, and kept out of the timeline."""

SHOWN = TIMELINE | QUARANTINED | AHEAD
"""Flags that decide about a TIMELINE row: there is one when of these only ``TIMELINE`` is set."""

_FLAGS = TIMELINE | LATE | LANE | QUARANTINED | AHEAD

_HEADER = struct.Struct(f">BHBBB{SKELETON_BYTES}s32sQQIH")
_FLAGS_OFFSET = 5
_SKELETON_OFFSET = 6
_PLAIN = struct.Struct(">B16sI")
_WHOLE = 1
_ENVELOPE_ONLY = 2


class PartState(IntEnum):
    """What became of a part; stored."""

    PRESENT = 1
    DROPPED = 2
    """Left with a conversation's scope; may be fetched again."""
    ESCROWED = 3
    DESTROYED = 4
    """Gone by an order; never again."""


class Record(NamedTuple):
    """One row of the log."""

    envelope_state: PartState
    body_state: PartState
    flags: int
    skeleton: bytes
    chain: bytes
    pos: int
    locator: Locator
    sealed: bytes

    @property
    def lane(self) -> int:
        """The lane in which the operation leaves this site."""
        return (self.flags & LANE) >> LANE_SHIFT

    def pack(self) -> bytes:
        """Return the row's value."""
        part_states = states(self.envelope_state, self.body_state)
        return pack(
            self.flags,
            self.skeleton,
            self.chain,
            self.pos,
            self.locator,
            self.sealed,
            part_states,
        )

    @classmethod
    def unpack(cls, data: bytes) -> Record:
        """Read a row; raises ``FormatError`` when it is not one this build knows."""
        try:
            version, tenant, suite, states, flags, skeleton, chain, pos, stream, epoch, index = (
                _HEADER.unpack_from(data)
            )
            envelope_state, body_state = _STATES[states >> 4], _STATES[states & 15]
        except (struct.error, KeyError):
            raise FormatError("not a log record") from None
        sealed = data[HEADER_BYTES:]
        if version != VERSION or tenant != TENANT or flags & ~_FLAGS:
            raise FormatError("a log record of another version or tenant")
        if (sealed[0] if sealed else 0) != suite:
            raise FormatError("a log record whose suite is not its sealing's")
        if (envelope_state is PartState.PRESENT) != bool(sealed) or (
            body_state is PartState.PRESENT and not sealed
        ):
            raise FormatError("a log record whose states contradict its sealing")
        locator = Locator(stream, epoch, index)
        return cls(envelope_state, body_state, flags, skeleton, chain, pos, locator, sealed)


def skeleton_of(data: bytes) -> bytes:
    """Return the skeleton in a row, and look at nothing else of it.

    Raises ``FormatError`` when it is not one this build knows.
    """
    if len(data) < HEADER_BYTES or data[0] != VERSION:
        raise FormatError("not a log record")
    return data[_SKELETON_OFFSET : _SKELETON_OFFSET + SKELETON_BYTES]


def lane_flags(lane: int) -> int:
    """Return the flags that say a lane; raises ``ValueError`` unless it is 0 to 3."""
    flags = lane << LANE_SHIFT
    if flags & ~LANE:
        raise ValueError("malformed")
    return flags


def lane_of(data: bytes) -> int:
    """Return the lane in a row, and look at nothing else of it.

    Raises ``FormatError`` when it is not one this build knows.
    """
    if len(data) < HEADER_BYTES or data[0] != VERSION:
        raise FormatError("not a log record")
    return (data[_FLAGS_OFFSET] & LANE) >> LANE_SHIFT


def states(envelope: PartState, body: PartState) -> int:
    """Return what a row says of both parts."""
    return envelope << 4 | body


ALL_PRESENT = states(PartState.PRESENT, PartState.PRESENT)


def pack(
    flags: int,
    skeleton: bytes,
    chain: bytes,
    pos: int,
    locator: Locator,
    sealed: bytes,
    part_states: int = ALL_PRESENT,
) -> bytes:
    """Return the row of an operation; nothing sealed is ``b""``."""
    head = _HEADER.pack(
        VERSION,
        TENANT,
        sealed[0] if sealed else 0,
        part_states,
        flags,
        skeleton,
        chain,
        pos,
        locator.stream,
        locator.epoch,
        locator.index,
    )
    return head + sealed


def repack(
    record: Record,
    envelope_state: PartState,
    body_state: PartState,
    locator: Locator,
    sealed: bytes,
) -> bytes:
    """Return a row again with other states and sealing; nothing sealed is ``b""``."""
    return record._replace(
        envelope_state=envelope_state, body_state=body_state, locator=locator, sealed=sealed
    ).pack()


class Parts(NamedTuple):
    """An opened sealing; ``body`` is None once it is gone.

    ``salt`` is the body's while there is one, then the envelope's own.
    """

    salt: bytes
    envelope: bytes
    body: bytes | None

    @property
    def envelope_salt(self) -> bytes:
        """The salt of the envelope's commitment."""
        return self.salt if self.body is None else canonical.envelope_salt(self.salt)

    @classmethod
    def unpack(cls, plaintext: bytes) -> Parts:
        """Read a sealed plaintext; raises ``FormatError`` when it is not one."""
        try:
            kind, salt, envelope_bytes = _PLAIN.unpack_from(plaintext)
        except struct.error:
            raise FormatError("not a sealed operation") from None
        end = _PLAIN.size + envelope_bytes
        envelope, body = plaintext[_PLAIN.size : end], plaintext[end:]
        if kind == _WHOLE and len(plaintext) >= end:
            return cls(salt, envelope, body)
        if kind == _ENVELOPE_ONLY and len(plaintext) == end:
            return cls(salt, envelope, None)
        raise FormatError("not a sealed operation")


def whole(body_salt: bytes, envelope: bytes, body: bytes) -> bytes:
    """Return the plaintext that holds both parts."""
    return _PLAIN.pack(_WHOLE, body_salt, len(envelope)) + envelope + body


def envelope_only(envelope_salt: bytes, envelope: bytes) -> bytes:
    """Return the plaintext that outlives the body."""
    return _PLAIN.pack(_ENVELOPE_ONLY, envelope_salt, len(envelope)) + envelope


_STATES = {int(state): state for state in PartState}
