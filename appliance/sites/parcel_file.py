"""Keep a parcel in a file that only its receiver can open.

    offset  size  type   meaning
    0       15    bytes  "strongroom/site"
    15      1     u8     version: 1
    16      16    bytes  NodeId of the receiver
    32      n     bytes  the parcel, sealed to the receiver's key as ``appliance.evidence.sealed``

The receiver is told in clear, so that whoever carries several files knows where each belongs, and
a file that was brought to the wrong site is refused for what it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from io import BufferedReader
from pathlib import Path
from typing import Final

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from appliance.evidence.sealed import START, SealedFileError, Sealer, open_sealed
from appliance.sites.limits import PARCEL_CHUNKS
from store.ids import ID_BYTES
from transports.wire.errors import Refusal

MAGIC: Final = b"strongroom/site\x01"
HEAD_BYTES: Final = len(MAGIC) + ID_BYTES

_PRIVATE: Final = 0o600


class ParcelFile:
    """A new file that appears under its name once it is whole.

    Raises ``Refusal``: "site.parcel_exists", "site.parcel_file" where nothing can be written.
    """

    def __init__(self, path: Path, receiver: bytes, public_key: bytes) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        if path.exists():
            raise Refusal("site.parcel_exists")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._file = os.fdopen(os.open(self._part, flags, _PRIVATE), "wb")
        except OSError:
            raise Refusal("site.parcel_file") from None
        self._file.write(MAGIC + receiver)
        recipient = bytes(VerifyKey(public_key).to_curve25519_public_key())
        self._sealer = Sealer(recipient, self._file.write, START)

    def write(self, data: bytes) -> None:
        """Seal and write some bytes; raises ``Refusal`` ("site.parcel_file")."""
        try:
            self._sealer.add(data)
        except OSError:
            raise Refusal("site.parcel_file") from None

    def finish(self) -> int:
        """End the file, make it durable, and give it its name; return its size in bytes."""
        try:
            size = self._sealer.finish().size + HEAD_BYTES
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.rename(self._path)
        except OSError:
            raise Refusal("site.parcel_file") from None
        return size

    def drop(self) -> None:
        """Leave nothing of a file that could not be finished."""
        self._file.close()
        self._part.unlink(missing_ok=True)


class OpenedFile:
    """A parcel that was brought here, to be read twice: to be checked, then to be taken.

    The second time it must be what it was the first time, chunk by chunk: a medium may show
    another file meanwhile.

    Raises ``Refusal``: "site.parcel_file", "site.parcel", "site.parcel_addressee".
    """

    def __init__(self, path: Path, node: bytes, seed: bytes) -> None:
        try:
            self._file: BufferedReader = path.open("rb")
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError:
            raise Refusal("site.parcel_file") from None
        self._node = node
        self._seed = seed
        self._seen: list[bytes] = []

    @property
    def done_bytes(self) -> int:
        """How far it has been read."""
        return self._file.tell()

    def chunks(self) -> Iterator[bytes]:
        """Yield its plaintext; raises ``Refusal`` for what is not whole, or not the same."""
        is_again = bool(self._seen)
        for number, chunk in enumerate(self._opened()):
            digest = sha256(chunk).digest()
            if not is_again and number < PARCEL_CHUNKS:
                self._seen.append(digest)
            elif self._seen[number : number + 1] != [digest]:
                raise Refusal("site.parcel")
            yield chunk

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _opened(self) -> Iterator[bytes]:
        try:
            self._file.seek(0)
            head = self._file.read(HEAD_BYTES)
            if len(head) < HEAD_BYTES or not head.startswith(MAGIC):
                raise Refusal("site.parcel")
            if head[len(MAGIC) :] != self._node:
                raise Refusal("site.parcel_addressee")
            key = bytes(SigningKey(self._seed).to_curve25519_private_key())
            yield from open_sealed(self._file.read, key)
        except SealedFileError:
            raise Refusal("site.parcel") from None
        except OSError:
            raise Refusal("site.parcel_file") from None


def is_signed(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Tell whether a signature is of this key."""
    try:
        VerifyKey(public_key).verify(data, signature)
    except CryptoError:
        return False
    return True
