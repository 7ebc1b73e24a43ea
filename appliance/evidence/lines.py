"""Define the lines of an export: JSON objects, one to a line, chained by SHA-256.

type           what it tells
header         first line: schema, site, what was asked for and what was approved
conversation   who is in the conversation from here on, its title, labels, receipts
record         one message: its versions, and all that happened to it, each with its proof
destroyed      a message of which nothing is left
end            last line: how many of each, the hash over all lines before, the signature

Field by field they are described in ``docs/export.md``. The hash over lines begins with
``SHA-256("strongroom/export/1")`` and becomes ``SHA-256(hash || line)`` with each line, its
line end left out; so an export goes on from any line without being read again.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import msgspec

from appliance.evidence.openings import Proof

SCHEMA: Final = "strongroom.export/1"
CHAIN_START: Final = sha256(b"strongroom/export/1").digest()

PRESENT: Final = "present"
RECALLED: Final = "recalled"
BODY_DESTROYED: Final = "body_destroyed"
ESCROWED: Final = "escrowed"
"""It had to go, and is kept for a hold alone."""

_DOMAIN: Final = b"strongroom/export/end/1"


class Line(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", omit_defaults=False
):
    """Base of the lines; no content in its repr."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what lines are made of."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Named(Part, frozen=True):
    """A person by id (hex), with login and name as known when exported; empty once erased."""

    person: str
    login: str
    name: str


class SiteKey(Part, frozen=True):
    """An origin's node (hex) and the Ed25519 public key (hex) of its statements."""

    node: str
    public_key: str


class Scope(Part, frozen=True):
    """A predicate: ids in hex, times in Unix ms (inclusive, exclusive; 0: open)."""

    persons: tuple[Named, ...]
    conversations: tuple[str, ...]
    units: tuple[str, ...]
    labels: tuple[str, ...]
    from_at: int
    until_at: int


class Header(Line, frozen=True, tag="header"):
    """Who asked whom for what; ``request`` is the approved review, times in Unix ms."""

    schema: str
    site: str
    node: str
    sites: tuple[SiteKey, ...]
    program: str
    request: int
    by: Named
    reason: str
    asked: Scope
    approved: Scope
    started_at: int


class Member(Part, frozen=True):
    """Somebody who was there, and how far they were when exported; keys in hex, Unix ms.

    A record is delivered to, or read by, a member whose mark is at its key or behind it; the
    time is that of the newest mark, so at the latest then.
    """

    person: str
    login: str
    name: str
    unit: str
    delivered_key: str
    delivered_at: int
    read_key: str
    read_at: int


class Conversation(Line, frozen=True, tag="conversation"):
    """What holds for the records of a conversation that follow and name this ``context``.

    ``members`` were there at the time of those records; title, labels and retention class are
    today's.
    """

    context: str
    conversation: str
    kind: str
    title: str
    labels: tuple[str, ...]
    retention_class: int
    archived: bool
    created_at: int
    members: tuple[Member, ...]


class Operation(Part, frozen=True):
    """One operation as it was made; ``content`` is None when it is gone or of no known kind."""

    id: str
    kind: str
    by: Named
    device: str
    n: int
    at: int
    key: str
    content: dict[str, Any] | None
    proof: Proof


class Record(Line, frozen=True, tag="record"):
    """One message. ``copy_of`` names the urgent message that this one passed on, or is empty.

    ``delivered`` and ``read`` count members other than the author. ``lost`` counts operations
    on it of which nothing is left.
    """

    id: str
    conversation: str
    context: str
    key: str
    at: int
    state: str
    copy_of: str
    delivered: int
    read: int
    lost: int
    versions: tuple[Operation, ...]
    events: tuple[Operation, ...]


class Destroyed(Line, frozen=True, tag="destroyed"):
    """A message of which nothing is left; ``at`` is about when it was made, Unix ms.

    ``state`` is destroyed, or what else became of it here: dropped, or expired.
    """

    id: str
    conversation: str
    at: int
    state: str
    skeleton: bytes


class End(Line, frozen=True, tag="end"):
    """The export is complete; the site signs the counts and ``digest`` (hex)."""

    records: int
    destroyed: int
    operations: int
    pending: int
    digest: str
    signature: bytes


AnyLine = Header | Conversation | Record | Destroyed | End

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(AnyLine)


def encode(line: Line) -> bytes:
    """Return a line without its line end; the same value always gives the same bytes."""
    return _encode(line)


def decode(data: bytes) -> AnyLine:
    """Read a line; raises ``ValueError`` for anything but the exact bytes of ``encode``."""
    line: AnyLine = _decoder.decode(data)
    if _encode(line) != data:
        raise ValueError("not the bytes that such a line has")
    return line


def chain(before: bytes, line: bytes) -> bytes:
    """Return the hash over all lines once ``line`` is added."""
    return sha256(before + line).digest()


def named(line: Conversation) -> Conversation:
    """Return a conversation line with its name: the hash (hex) of itself with an empty one."""
    unnamed = msgspec.structs.replace(line, context="")
    return msgspec.structs.replace(line, context=sha256(_encode(unnamed)).hexdigest())


def end_bytes(end: End, node: bytes) -> bytes:
    """Return what the site signs at the end of an export."""
    unsigned = msgspec.structs.replace(end, signature=b"")
    return _DOMAIN + node + _encode(unsigned)
