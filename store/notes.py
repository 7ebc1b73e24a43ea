"""Write and read C2SP signed notes: the ledger's checkpoints, and the day keys that sign them.

A note (https://c2sp.org/signed-note) is UTF-8 text that ends in a newline, an empty line, and
signature lines ``— name base64(key hash 4 || signature)``. The key hash of an Ed25519 key is
``SHA-256(name || 0x0A || 0x01 || public key)[:4]``. A checkpoint
(https://c2sp.org/tlog-checkpoint) is a note whose text has these lines:

    origin        ``strongroom/<NodeId, 32 hex>/<Inc, 16 hex>``; the name of the key as well
    tree size     decimal
    root          base64 of 32 bytes
    extensions    any further lines, none of them empty; this site writes none

Checkpoints are signed by a key of the day, which the site's key certifies by signing

    offset  size  type   meaning
    0       20    bytes  "strongroom/day-key/1"
    20      16    bytes  NodeId
    36      4     u32    first day of use, days since 1970-01-01
    40      32    bytes  Ed25519 public key of the day

and kept, with the certified key, by size of the tree:

    CHECKPOINT row value
    offset  size  type   meaning
    0       4     u32    first day of use of the key of the day
    4       32    bytes  its public key
    36      64    bytes  the site key's signature for it
    100     n     bytes  the note
"""

from __future__ import annotations

import binascii
import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import FormatError, IntegrityError
from store.ids import Origin
from store.limits import NOTE_BYTES, NOTE_SIGNATURES
from store.merkle import HASH_BYTES
from store.segments import Sign
from store.tables import CHECKPOINT

KEY_HASH_BYTES = 4
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_ED25519 = b"\x01"
_MARK = "\N{EM DASH} "
_NAME = re.compile(r"[^\s+]+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")
_LOG = re.compile(r"strongroom/([0-9a-f]{32})/([0-9a-f]{16})")
_VERIFIER_KEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")
_DAY_KEY = struct.Struct(">20s16sI32s")
_ROW = struct.Struct(">I32s64s")
_DAY_KEY_LABEL = b"strongroom/day-key/1"


# --- notes ------------------------------------------------------------------------------------


class NoteSignature(NamedTuple):
    """One signature line: whose key, the hash that tells their keys apart, and the signature."""

    name: str
    key_hash: bytes
    signature: bytes


class Note(NamedTuple):
    """A note as read; nothing of it is to be believed before ``verify``."""

    text: str
    signatures: tuple[NoteSignature, ...]


def key_hash(name: str, public_key: bytes) -> bytes:
    """Return the four bytes by which signature lines name an Ed25519 key."""
    return sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:KEY_HASH_BYTES]


def verifier_key(name: str, public_key: bytes) -> str:
    """Return the text by which an Ed25519 key is handed to verifiers: ``name+hash+key``."""
    encoded = b64encode(_ED25519 + public_key).decode()
    return f"{name}+{key_hash(name, public_key).hex()}+{encoded}"


def read_verifier_key(text: str) -> tuple[str, bytes]:
    """Return name and public key; raises ``FormatError`` for anything but an Ed25519 key."""
    match = _VERIFIER_KEY.fullmatch(text)
    if match is None:
        raise FormatError("not a verifier key")
    name, key = match[1], _unbase64(match[3])
    if len(key) != 1 + PUBLIC_KEY_BYTES or key[:1] != _ED25519:
        raise FormatError("a verifier key of another kind")
    if key_hash(name, key[1:]).hex() != match[2]:
        raise FormatError("a verifier key whose hash is another's")
    return name, key[1:]


def sign(text: str, name: str, public_key: bytes, sign: Sign) -> NoteSignature:
    """Return the signature line of a note with this text; ``sign`` belongs to ``public_key``.

    Raises ``ValueError`` for a name or text that no note can have.
    """
    if not _is_text(text) or not _NAME.fullmatch(name):
        raise ValueError("not the text or the name of a note")
    return NoteSignature(name, key_hash(name, public_key), sign(text.encode()))


def write(text: str, signatures: Sequence[NoteSignature]) -> bytes:
    """Return the bytes of a note; raises ``ValueError`` for what ``read`` would refuse."""
    lines = [
        f"{_MARK}{name} {b64encode(short + signature).decode()}\n"
        for name, short, signature in signatures
    ]
    data = (text + "\n" + "".join(lines)).encode()
    try:
        if read(data) == (text, tuple(signatures)):
            return data
    except FormatError:
        pass
    raise ValueError("not the parts of a note")


def read(data: bytes) -> Note:
    """Read a note; raises ``FormatError`` for anything that is not one, byte for byte."""
    if len(data) > NOTE_BYTES:
        raise FormatError("a note is too long")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise FormatError("a note that is not UTF-8") from None
    head, empty, tail = whole.rpartition("\n\n")
    text = head + "\n"
    if not empty or not _is_text(text) or _CONTROL.search(tail) or not tail.endswith("\n"):
        raise FormatError("not a signed note")
    lines = tail[:-1].split("\n")
    if len(lines) > NOTE_SIGNATURES:
        raise FormatError("a note with too many signatures")
    return Note(text, tuple(_read_signature(line) for line in lines))


def verify(note: Note, name: str, public_key: bytes) -> None:
    """Check that a key signed the note; other keys' signatures are ignored.

    Raises ``IntegrityError`` when the key's signature is missing or wrong.
    """
    short = key_hash(name, public_key)
    own = [item.signature for item in note.signatures if item[:2] == (name, short)]
    if not own:
        raise IntegrityError("a note that the key did not sign")
    for signature in own:
        if not _is_signed(public_key, note.text.encode(), signature):
            raise IntegrityError("a note whose signature is wrong")


def _read_signature(line: str) -> NoteSignature:
    if not line.startswith(_MARK):
        raise FormatError("not a signature line")
    name, space, encoded = line.removeprefix(_MARK).partition(" ")
    data = _unbase64(encoded)
    if not space or not _NAME.fullmatch(name) or len(data) <= KEY_HASH_BYTES:
        raise FormatError("not a signature line")
    return NoteSignature(name, data[:KEY_HASH_BYTES], data[KEY_HASH_BYTES:])


def _is_text(text: str) -> bool:
    return len(text) > 1 and text.endswith("\n") and not _CONTROL.search(text)


def _unbase64(text: str) -> bytes:
    """Decode base64 that is the only way to write its bytes; raises ``FormatError``."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FormatError("not base64") from None
    if b64encode(data).decode() != text:
        raise FormatError("base64 that is not written in the one right way")
    return data


def _is_signed(public_key: bytes, data: bytes, signature: bytes) -> bool:
    if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
        return False
    try:
        VerifyKey(public_key).verify(data, signature)
    except CryptoError:
        return False
    return True


# --- checkpoints ------------------------------------------------------------------------------


def log_name(origin: Origin) -> str:
    """Return what checkpoints call the ledger of an origin."""
    return f"strongroom/{origin.node.hex()}/{origin.incarnation:016x}"


def read_log_name(text: str) -> Origin:
    """Return the origin whose ledger is called so; raises ``FormatError``."""
    match = _LOG.fullmatch(text)
    if match is None:
        raise FormatError("not the name of a ledger")
    return Origin(bytes.fromhex(match[1]), int(match[2], 16))


class Checkpoint(NamedTuple):
    """What a ledger says about itself: its name, number of leaves and root."""

    log: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text of its note."""
        root = b64encode(self.root).decode()
        return "\n".join((self.log, str(self.size), root, *self.extensions)) + "\n"

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        """Read a note's text; raises ``FormatError`` when it is not a checkpoint's."""
        lines = text.split("\n")
        if len(lines) < 4 or not all(lines[:-1]) or lines[-1] or not _DECIMAL.fullmatch(lines[1]):
            raise FormatError("not a checkpoint")
        root = _unbase64(lines[2])
        if len(root) != HASH_BYTES:
            raise FormatError("a checkpoint whose root is no hash")
        return cls(lines[0], int(lines[1]), root, tuple(lines[3:-1]))


def sign_checkpoint(checkpoint: Checkpoint, public_key: bytes, day_sign: Sign) -> bytes:
    """Return the note of a checkpoint, signed by the key of the day under the log's name."""
    text = checkpoint.text
    return write(text, [sign(text, checkpoint.log, public_key, day_sign)])


def open_checkpoint(data: bytes, public_key: bytes) -> Checkpoint:
    """Return the checkpoint in a note that ``public_key`` signed under the log's name.

    Raises ``FormatError`` for another thing and ``IntegrityError`` for a wrong signature.
    """
    note = read(data)
    checkpoint = Checkpoint.read(note.text)
    verify(note, checkpoint.log, public_key)
    return checkpoint


# --- day keys ---------------------------------------------------------------------------------


class DayKey(NamedTuple):
    """A key that signs checkpoints from ``day`` on, with the site key's signature for it."""

    day: int
    public_key: bytes
    signature: bytes

    @property
    def text(self) -> str:
        """How certificates and exports write it: day and, in base64, key and signature."""
        key, signature = b64encode(self.public_key), b64encode(self.signature)
        return f"{self.day} {key.decode()} {signature.decode()}"


def day_key_bytes(node: bytes, day: int, public_key: bytes) -> bytes:
    """Return what the site's key signs to certify a key of the day.

    Raises ``ValueError`` for a day, NodeId or key that is none.
    """
    if len(node) != 16 or len(public_key) != PUBLIC_KEY_BYTES or not 0 <= day < 1 << 32:
        raise ValueError("not a day, a node or a key")
    return _DAY_KEY.pack(_DAY_KEY_LABEL, node, day, public_key)


def certify_day_key(node: bytes, day: int, public_key: bytes, site_sign: Sign) -> DayKey:
    """Certify a key of the day with the site's key; raises as ``day_key_bytes`` does."""
    return DayKey(day, public_key, site_sign(day_key_bytes(node, day, public_key)))


def is_certified(day_key: DayKey, node: bytes, site_key: bytes) -> bool:
    """Tell whether the site's public key certified this key of the day for this node."""
    try:
        data = day_key_bytes(node, day_key.day, day_key.public_key)
    except ValueError:
        return False
    return _is_signed(site_key, data, day_key.signature)


# --- rows -------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """A checkpoint as it is kept: the size of its tree, its note and the key that signed it."""

    size: int
    note: bytes
    day_key: DayKey


def save_checkpoint(txn: Txn, origin: int, note: bytes, day_key: DayKey) -> None:
    """Keep the note of a checkpoint of the origin with this local number.

    Raises ``FormatError`` or ``IntegrityError`` when the key did not sign such a note.
    """
    size = open_checkpoint(note, day_key.public_key).size
    txn.put(CHECKPOINT.key(origin, size), _ROW.pack(*day_key) + note)


def checkpoints(reader: Reader, origin: int, after: int = -1) -> Iterator[Kept]:
    """Yield an origin's checkpoints of trees larger than ``after``, smallest first."""
    for key, value in reader.range(CHECKPOINT.key(origin, after + 1), CHECKPOINT.span(origin)[1]):
        yield read_row(key, value)


def newest_checkpoint(reader: Reader, origin: int) -> Kept | None:
    """Return an origin's checkpoint of the largest tree, or None."""
    for key, value in reader.range(*CHECKPOINT.span(origin), reverse=True, limit=1):
        return read_row(key, value)
    return None


def read_row(key: bytes, value: bytes) -> Kept:
    """Read a CHECKPOINT row; raises ``FormatError``. Nothing in it is to be believed yet."""
    if len(value) <= _ROW.size:
        raise FormatError("not a checkpoint's row")
    day_key = DayKey(*_ROW.unpack_from(value))
    return Kept(CHECKPOINT.columns(key)[1], value[_ROW.size :], day_key)
