"""Make release keys and sign with them in minisign's format; Debian's minisign reads both.

    python packaging/minisign.py generate strongroom-release     two files: .key (secret) and .pub
    python packaging/minisign.py sign strongroom-release.key FILE "the trusted comment"

The secret key file is minisign's own, without a passphrase (as `minisign -G -W` writes it), so it
belongs on the encrypted disk of a machine without a network:

    offset  size  type   meaning
    0       2     bytes  "Ed"
    2       2     bytes  key derivation: zeros for none
    4       2     bytes  checksum: "B2" for BLAKE2b-256
    6       48    bytes  salt and limits of the derivation: zeros
    54      8     bytes  the key's id
    62      64    bytes  Ed25519 seed and public key
    126     32    bytes  checksum: zeros, as there is no passphrase to check
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

from nacl.signing import SigningKey

from store.minisign import (
    HASHED,
    KEY_ALGORITHM,
    TRUSTED,
    UNTRUSTED,
    PublicKey,
    prehashed,
    read_public,
    verify,
)

_HEAD: Final = KEY_ALGORITHM + bytes(2) + b"B2" + bytes(48)
_BYTES: Final = 158
_FILE: Final = re.compile(rf"{UNTRUSTED}[^\n]*\n([A-Za-z0-9+/=]+)\n?")

__all__ = ["PublicKey", "SecretKey", "generate", "read_public", "read_secret", "sign", "verify"]


class SecretKey(NamedTuple):
    """A release key: its id (8 bytes) and its Ed25519 seed (32 bytes)."""

    id: bytes
    seed: bytes

    @property
    def public(self) -> PublicKey:
        """The other half."""
        return PublicKey(self.id, bytes(SigningKey(self.seed).verify_key))

    def text(self) -> str:
        """Return the secret key file."""
        data = _HEAD + self.id + self.seed + self.public.key + bytes(32)
        line = base64.b64encode(data).decode("ascii")
        return f"{UNTRUSTED}minisign secret key {self.public.name}\n{line}\n"


def generate() -> SecretKey:
    """Return a new key."""
    return SecretKey(os.urandom(8), os.urandom(32))


def read_secret(text: str) -> SecretKey:
    """Read a secret key file without passphrase; raises ``ValueError``."""
    found = _FILE.fullmatch(text)
    data = base64.b64decode(found[1], validate=True) if found else b""
    if data[:6] == _HEAD[:6] and len(data) == _BYTES:
        secret = SecretKey(data[54:62], data[62:94])
        if secret.public.key == data[94:126]:
            return secret
    raise ValueError("not a secret key without passphrase in minisign's format")


def sign(secret: SecretKey, data: bytes, comment: str) -> str:
    """Return the signature file of ``data``; ``comment`` is one line that is signed too."""
    if not comment.isprintable():
        raise ValueError("a trusted comment is one line of printable text")
    key = SigningKey(secret.seed)
    signed = bytes(key.sign(prehashed(data)).signature)
    whole = bytes(key.sign(signed + comment.encode("utf-8")).signature)
    lines = [
        f"{UNTRUSTED}signature by key {secret.public.name}",
        base64.b64encode(HASHED + secret.id + signed).decode("ascii"),
        TRUSTED + comment,
        base64.b64encode(whole).decode("ascii"),
    ]
    return "".join(f"{line}\n" for line in lines)


def _write_new(path: Path, text: str, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> int:
    """Make a key, or write FILE.minisig beside FILE; return 0."""
    parser = argparse.ArgumentParser(description="Make release keys and sign with them.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("generate").add_argument("name", help="NAME.key and NAME.pub are made")
    signing = actions.add_parser("sign")
    signing.add_argument("key", type=Path, help="the secret key file")
    signing.add_argument("file", type=Path)
    signing.add_argument("comment", help="one line that is signed too, such as the version")
    arguments = parser.parse_args()
    if arguments.action == "generate":
        secret = generate()
        _write_new(Path(f"{arguments.name}.key"), secret.text(), 0o600)
        _write_new(Path(f"{arguments.name}.pub"), secret.public.text(), 0o644)
        print(f"release key {secret.public.name}: {arguments.name}.key, {arguments.name}.pub")
        return 0
    secret = read_secret(arguments.key.read_text("utf-8"))
    signature = sign(secret, arguments.file.read_bytes(), arguments.comment)
    arguments.file.with_name(arguments.file.name + ".minisig").write_text(signature, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
