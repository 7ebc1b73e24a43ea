"""Define what the bodies of all operations share: their base and the proof of who asked."""

from __future__ import annotations

import msgspec


class BodyStruct(msgspec.Struct, array_like=True, frozen=True):
    """Base of every operation body: encoded as an array in field order."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Signed(BodyStruct, frozen=True):
    """Proof of a privileged request: its canonical bytes and the person's Ed25519 signature.

    Both are empty for what the site does by itself (init) and for acts of ordinary clients.
    """

    request: bytes = b""
    signature: bytes = b""


UNSIGNED = Signed()
