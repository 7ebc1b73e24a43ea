"""Let an export go on where it stopped: a cursor that only this site can make.

A cursor says how far the export is and what its lines hash to. The client keeps it, unread;
the site's signature on it is why the site can believe it, and sign the whole export at the
end, without remembering any.

    canonical msgpack array, then the site's Ed25519 signature (64 bytes)
    field  type   meaning
    0      text   "strongroom/export/cursor/1"
    1      bytes  SHA-256 of what was asked for and by whom (32)
    2      int    position at the start: later records are left out
    3      int    phase: 1 records, 2 what is destroyed, 3 done
    4      int    stream pseudonym of the last record (1), or origin number (2)
    5      int    its timeline key (1), or seq (2)
    6      bytes  its OpId (1, 32 bytes)
    7      int    Unix ms of the newest surviving operation before (2)
    8-11   int    records, destroyed, operations and pending operations so far
    12     bytes  hash over the lines so far (32)
    13     text   context of the last line about a conversation, or empty
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final, NamedTuple

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from appliance.evidence.limits import CURSOR_CHARACTERS
from store import canonical
from store.errors import StoreError
from store.ids import OP_ID_BYTES
from transports.wire.errors import Refusal

LABEL: Final = "strongroom/export/cursor/1"

_SIGNATURE_BYTES: Final = 64
_DOMAIN: Final = LABEL.encode()


class Phase(IntEnum):
    """What an export is about to hand out."""

    RECORDS = 1
    DESTROYED = 2
    DONE = 3


class Position(NamedTuple):
    """How far an export is; the fields' meanings depend on the phase."""

    phase: Phase
    place: int = 0
    key: int = 0
    op_id: bytes = bytes(OP_ID_BYTES)
    at_ms: int = 0


class Tally(NamedTuple):
    """What has been handed out: records, tombstones, operations, and those without a segment."""

    records: int = 0
    destroyed: int = 0
    operations: int = 0
    pending: int = 0


class Cursor(NamedTuple):
    """The state of an export between two pages."""

    binding: bytes
    horizon: int
    position: Position
    tally: Tally
    chain: bytes
    context: str

    def __repr__(self) -> str:
        return f"<Cursor {self.position.phase.name} {self.tally.records}>"


def write(cursor: Cursor, sign: Callable[[bytes], bytes]) -> str:
    """Return the cursor as the client keeps it; ``sign`` makes the site's signatures."""
    fields = (
        LABEL,
        cursor.binding,
        cursor.horizon,
        int(cursor.position.phase),
        *cursor.position[1:],
        *cursor.tally,
        cursor.chain,
        cursor.context,
    )
    data = canonical.encode(fields)
    return urlsafe_b64encode(data + sign(_DOMAIN + data)).decode("ascii")


def read(text: str, keys: Iterable[bytes], binding: bytes) -> Cursor:
    """Read a cursor that one of the site's ``keys`` signed for this very question.

    Raises ``Refusal`` ("evidence.cursor") for everything else.
    """
    try:
        if len(text) > CURSOR_CHARACTERS:
            raise ValueError
        raw = urlsafe_b64decode(text.encode("ascii"))
    except ValueError:
        raise Refusal("evidence.cursor") from None
    data, signature = raw[:-_SIGNATURE_BYTES], raw[-_SIGNATURE_BYTES:]
    if not any(_is_signed(key, data, signature) for key in keys):
        raise Refusal("evidence.cursor")
    cursor = _decode(data)
    if cursor.binding != binding:
        raise Refusal("evidence.cursor")
    return cursor


def _decode(data: bytes) -> Cursor:
    """Read what the site has signed; a later version of it is refused."""
    try:
        fields = canonical.decode(data)
    except StoreError:
        raise Refusal("evidence.cursor") from None
    match fields:
        case [
            str(label),
            bytes(binding),
            int(horizon),
            int(phase),
            int(place),
            int(key),
            bytes(op_id),
            int(at_ms),
            int(records),
            int(destroyed),
            int(operations),
            int(pending),
            bytes(chain),
            str(context),
        ] if label == LABEL and phase in _PHASES:
            position = Position(Phase(phase), place, key, op_id, at_ms)
            tally = Tally(records, destroyed, operations, pending)
            return Cursor(binding, horizon, position, tally, chain, context)
    raise Refusal("evidence.cursor")


_PHASES: Final = frozenset(map(int, Phase))


def _is_signed(key: bytes, data: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(_DOMAIN + data, signature)
    except (CryptoError, ValueError, TypeError):
        return False
    return True
