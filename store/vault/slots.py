"""Keep the root of all keys in two small files that can be overwritten: root.0 and root.1.

    root slot: 4,096 bytes, big-endian
    offset  size  type   meaning
    0       8     bytes  magic "STRGROOT"
    8       1     u8     format version, 1
    9       1     u8     suite that seals the root
    10      1     u8     wrap: 0 none, 1 passphrase, 2 credential file
    11      1     u8     zero
    12      8     u64    generation
    20      16    bytes  salt of the wrap
    36      4     u32    argon2 memory in KiB     (zero unless the wrap is a passphrase)
    40      4     u32    argon2 passes
    44      4     u32    argon2 lanes
    48      24    bytes  nonce (suite 1 uses 12 bytes, the rest is zero)
    72      48    bytes  root, encrypted, with its tag; associated data = bytes 0 to 47
    120     3944  bytes  random fill
    4064    32    bytes  SHA-256 of bytes 0 to 4063: tells a torn or effaced slot

The root is sealed under HMAC-SHA-256(wrapping key, label || fill). So no sector alone gives it
away, and one sector of the slot truly overwritten is enough to lose it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from hashlib import sha256

from store.errors import FormatError, IntegrityError, VaultLockedError
from store.ports import Disk, Entropy
from store.vault.errors import EffaceError
from store.vault.suites import KEY_BYTES, TAG_BYTES, Suite, hmac_sha256, suite_of
from store.vault.wrap import SALT_BYTES, Argon2Cost, WrapKind, WrapParameters

SLOT_BYTES = 4_096
SLOT_NAMES = ("root.0", "root.1")

_MAGIC = b"STRGROOT"
_VERSION = 1
_DIGEST_BYTES = 32
_NONCE_FIELD_BYTES = 24
_SEALED_BYTES = KEY_BYTES + TAG_BYTES
_HEADER = struct.Struct(f">8sBBBxQ{SALT_BYTES}sIII")
_FILL_BYTES = SLOT_BYTES - _HEADER.size - _NONCE_FIELD_BYTES - _SEALED_BYTES - _DIGEST_BYTES
_BODY = struct.Struct(f">{_NONCE_FIELD_BYTES}s{_SEALED_BYTES}s{_FILL_BYTES}s")
_LABEL = b"strongroom/root-slot/1"
_BLANK = bytes(SLOT_BYTES)


@dataclass(frozen=True, slots=True)
class RootSlot:
    """One valid slot, still sealed; its bytes never show in a repr."""

    generation: int
    suite: Suite = field(repr=False)
    wrap: WrapParameters
    header: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    fill: bytes = field(repr=False)

    def open(self, wrapping_key: bytes) -> bytes:
        """Return the root; raises ``VaultLockedError`` when the wrapping key is another."""
        key = hmac_sha256(wrapping_key, _LABEL + self.fill)
        try:
            return self.suite.decrypt(key, self.nonce, self.sealed, self.header)
        except IntegrityError:
            raise VaultLockedError("the root slot does not open with the wrap given") from None


def encode_slot(
    generation: int,
    root: bytes,
    suite: Suite,
    wrap: WrapParameters,
    wrapping_key: bytes,
    entropy: Entropy,
) -> bytes:
    """Seal the root into the 4,096 bytes of a slot."""
    cost = wrap.cost
    header = _HEADER.pack(
        _MAGIC,
        _VERSION,
        suite.number,
        wrap.kind,
        generation,
        wrap.salt,
        cost.memory_kib,
        cost.passes,
        cost.lanes,
    )
    nonce, fill = entropy.bytes(suite.nonce_bytes), entropy.bytes(_FILL_BYTES)
    key = hmac_sha256(wrapping_key, _LABEL + fill)
    body = _BODY.pack(nonce, suite.encrypt(key, nonce, root, header), fill)
    return header + body + sha256(header + body).digest()


def decode_slot(data: bytes | None) -> RootSlot | None:
    """Read a slot; None when it is absent, blank, torn or effaced.

    Raises ``FormatError`` for a whole slot that this build does not know.
    """
    if data is None or len(data) != SLOT_BYTES:
        return None
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if sha256(content).digest() != digest:
        return None
    header = content[: _HEADER.size]
    magic, version, suite, kind, generation, salt, memory, passes, lanes = _HEADER.unpack(header)
    if magic != _MAGIC or version != _VERSION or kind not in set(WrapKind):
        raise FormatError("a root slot of unknown format")
    wrap = WrapParameters(WrapKind(kind), salt, Argon2Cost(memory, passes, lanes))
    wrap.check()
    known = suite_of(suite)
    nonce, sealed, fill = _BODY.unpack_from(content, _HEADER.size)
    if any(nonce[known.nonce_bytes :]):
        raise FormatError("a root slot of unknown format")
    return RootSlot(generation, known, wrap, header, nonce[: known.nonce_bytes], sealed, fill)


class RootSlots:
    """The two slots of a key directory: effacement tier ``file``."""

    tier = "file"

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def load(self) -> tuple[RootSlot | None, RootSlot | None]:
        """Read both slots as the device has them now."""
        first, second = (decode_slot(self._disk.read(name)) for name in SLOT_NAMES)
        return first, second

    def write(self, number: int, data: bytes) -> None:
        """Put a slot in place; durable on return."""
        assert len(data) == SLOT_BYTES
        self._disk.write(SLOT_NAMES[number], data)
        self._disk.sync(SLOT_NAMES[number])

    def is_blank(self, number: int) -> bool:
        """Tell whether a slot is durably all zeros."""
        name = SLOT_NAMES[number]
        if self._disk.read(name) is None:
            return False
        self._disk.sync(name)
        return self._disk.read_back(name) == _BLANK

    def efface(self, number: int, entropy: Entropy) -> None:
        """Overwrite a slot: random pass, sync, zero pass, sync, read back.

        Raises ``EffaceError`` when the device does not return the zeros.
        """
        name = SLOT_NAMES[number]
        self.write(number, entropy.bytes(SLOT_BYTES))
        self.write(number, _BLANK)
        if self._disk.read_back(name) != _BLANK:
            raise EffaceError(f"{name} does not read back as zeros")
