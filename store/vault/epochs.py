"""Lay out the row of an epoch: where its slot is, and its cover under the slot's key.

    EPOCH value, big-endian
    offset  size  type    meaning
    0       1     u8      format version, 1
    1       1     u8      suite of the epoch's keys and of everything sealed under them
    2       2     u16     retention class when the epoch opened
    4       4     u32     tree of the forest
    8       8     u64     slot in the tree
    16      8     u64     opened, in Unix milliseconds
    24      ...   sealed  index seed (32 bytes), then the cover (see ``ggm``);
                          associated data = label || row key || bytes 0 to 23;
                          absent when no part is left

The row of an epoch outlives its parts: a stream's serials never repeat.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from store.engine.contract import Reader
from store.errors import FormatError, IntegrityError, LimitError, PartGoneError
from store.ports import Entropy
from store.tables import EPOCH
from store.vault import ggm
from store.vault.forest import SlotId
from store.vault.limits import (
    EPOCH_AGE_MAX_MS,
    EPOCH_AGE_MIN_MS,
    EPOCH_AGE_SHARE,
    EPOCH_SERIAL_MAX,
)
from store.vault.suites import KEY_BYTES, SEALING_BYTES_MAX, Suite, seal, suite_of, unseal

_VERSION = 1
_HEADER = struct.Struct(">BBHIQQ")
_LABEL = b"strongroom/epoch/1"

HEADER_BYTES: Final = _HEADER.size
"""Length of a row of which no part is left."""

ROW_KEY_BYTES: Final = len(EPOCH.key(0, 0))
"""Length of a row's key."""

ROW_BYTES_MAX: Final = HEADER_BYTES + SEALING_BYTES_MAX + KEY_BYTES + ggm.COVER_BYTES_MAX
"""Longest row of an epoch."""


class EpochHeader(NamedTuple):
    """The open part of an epoch's row: all but the keys. Cheap to make, for 30,000 at a time."""

    suite: Suite
    retention_class: int
    place: SlotId
    opened_ms: int

    def pack(self) -> bytes:
        """Return the 24 bytes."""
        tree, slot = self.place
        return _HEADER.pack(
            _VERSION, self.suite.number, self.retention_class, tree, slot, self.opened_ms
        )


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """The sealed part of an epoch's row."""

    index_seed: bytes = field(repr=False)
    cover: Mapping[int, bytes] = field(repr=False)


def birth_keys(entropy: Entropy) -> EpochKeys:
    """Return the keys of a new epoch, with all its parts."""
    seeds = entropy.bytes(KEY_BYTES * (1 + len(ggm.BIRTH_NODES)))
    return EpochKeys(seeds[:KEY_BYTES], ggm.birth_cover(seeds[KEY_BYTES:]))


def read_header(value: bytes) -> EpochHeader:
    """Read the open part of a row; ``FormatError`` when its version or suite is unknown."""
    if len(value) < _HEADER.size:
        raise IntegrityError("an epoch's row is too short")
    version, suite, retention_class, tree, slot, opened_ms = _HEADER.unpack_from(value)
    if version != _VERSION:
        raise FormatError("an epoch's row has an unknown version")
    return EpochHeader(suite_of(suite), retention_class, SlotId(tree, slot), opened_ms)


def seal_row(
    row_key: bytes, header: EpochHeader, keys: EpochKeys, slot_key: bytes, entropy: Entropy
) -> bytes:
    """Return an epoch's stored value; ``slot_key`` must never have sealed another (K3)."""
    packed = header.pack()
    plain = keys.index_seed + ggm.encode_cover(keys.cover)
    nonce = entropy.bytes(header.suite.nonce_bytes)
    return packed + seal(header.suite, slot_key, nonce, plain, _LABEL + row_key + packed)


def open_row(row_key: bytes, value: bytes, slot_key: bytes) -> EpochKeys:
    """Open the sealed part.

    Raises ``IntegrityError`` when any byte of the row or its place differs, ``PartGoneError``
    when no part is left.
    """
    plain = _open_plain(row_key, value, slot_key)
    return EpochKeys(plain[:KEY_BYTES], ggm.decode_cover(plain[KEY_BYTES:]))


def check_row(row_key: bytes, value: bytes, slot_key: bytes) -> None:
    """Raise as ``open_row`` would; cheaper."""
    _open_plain(row_key, value, slot_key)


def _open_plain(row_key: bytes, value: bytes, slot_key: bytes) -> bytes:
    suite = read_header(value).suite
    if is_emptied(value):
        raise PartGoneError("the epoch's keys were destroyed")
    packed = value[: _HEADER.size]
    return unseal(suite, slot_key, value[_HEADER.size :], _LABEL + row_key + packed)


def emptied_row(value: bytes) -> bytes:
    """Return what stays of a row when no part is left."""
    return value[: _HEADER.size]


def is_emptied(value: bytes) -> bool:
    """Tell whether no part is left."""
    return len(value) == _HEADER.size


def next_serial(reader: Reader, stream: int) -> int:
    """Return the serial of a stream's next epoch; ``LimitError`` when there is none left."""
    for key, _ in reader.range(*EPOCH.span(stream), reverse=True, limit=1):
        serial = EPOCH.columns(key)[1] + 1
        if serial > EPOCH_SERIAL_MAX:
            raise LimitError("a stream has used all its epochs")
        return serial
    return 0


def open_for_ms(max_retention_ms: int | None) -> int:
    """Return how long an epoch may stay open, from its class's maximum retention (None: no end).

    A part then outlives its epoch's oldest by at most a 64th of the maximum.
    """
    if max_retention_ms is None:
        return EPOCH_AGE_MAX_MS
    return min(max(max_retention_ms // EPOCH_AGE_SHARE, EPOCH_AGE_MIN_MS), EPOCH_AGE_MAX_MS)
