"""Write, read and check the canonical bytes that a person signs for a privileged request.

    canonical msgpack array
    field  type   meaning
    0      text   "strongroom/request/1"
    1      bytes  NodeId of the site that is asked (16)
    2      bytes  the site's one-time challenge (16)
    3      bytes  PersonId of who asks (16)
    4      text   command name, as "person.roles"
    5      text   arguments: JSON, keys sorted, no white space

The signature is Ed25519 (RFC 8032) over these bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

import msgspec
from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from appliance.directory.limits import CHALLENGE_SECONDS, CHALLENGES, REQUEST_BYTES
from store import canonical
from store.errors import StoreError
from store.ids import ID_BYTES, NODE_BYTES
from transports.wire.errors import Refusal

LABEL: Final = "strongroom/request/1"
CHALLENGE_BYTES: Final = 16
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class Request(NamedTuple):
    """A privileged request as it was signed; ``arguments`` is canonical JSON text."""

    node: bytes
    challenge: bytes
    person: bytes
    command: str
    arguments: str

    def __repr__(self) -> str:
        return f"<Request {len(self.arguments)} characters>"


def canonical_request(
    node: bytes, challenge: bytes, person: bytes, command: str, arguments: str
) -> bytes:
    """Return the bytes to sign; raises ``Refusal`` ("request.invalid") for a wrong argument."""
    sizes = (len(node), len(challenge), len(person))
    if sizes != (NODE_BYTES, CHALLENGE_BYTES, ID_BYTES) or not _is_canonical_json(arguments):
        raise Refusal("request.invalid")
    try:
        data = canonical.encode((LABEL, node, challenge, person, command, arguments))
    except (StoreError, ValueError):
        raise Refusal("request.invalid") from None
    if len(data) > REQUEST_BYTES:
        raise Refusal("request.invalid")
    return data


def read_request(data: bytes) -> Request:
    """Read canonical request bytes; raises ``Refusal`` ("request.invalid") for all others."""
    if len(data) > REQUEST_BYTES:
        raise Refusal("request.invalid")
    try:
        fields = canonical.decode(data)
    except StoreError:
        raise Refusal("request.invalid") from None
    match fields:
        case [str(label), bytes(), bytes(), bytes(), str(), str()] if label == LABEL:
            request = Request(*fields[1:])  # type: ignore[arg-type]  # matched above
            canonical_request(*request)
            return request
    raise Refusal("request.invalid")


def verify_request(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Tell whether ``signature`` is the key's over ``data``; False for any malformed argument."""
    if len(signature) != SIGNATURE_BYTES or not is_public_key(public_key):
        return False
    try:
        VerifyKey(public_key).verify(data, signature)
    except CryptoError:
        return False
    return True


def is_public_key(key: bytes) -> bool:
    """Tell whether these 32 bytes are an Ed25519 key that only its owner can sign for.

    Points of small order are refused: anybody could sign for them.
    """
    return len(key) == PUBLIC_KEY_BYTES and crypto_core_ed25519_is_valid_point(key)


def canonical_json(value: object) -> str:
    """Return the JSON text of arguments: keys sorted, no white space, bytes as base64."""
    return msgspec.json.encode(value, order="sorted").decode()


class Challenges:
    """One-time challenges that this site gave out; ``now`` in seconds that never go back."""

    def __init__(self) -> None:
        self._open: OrderedDict[bytes, float] = OrderedDict()

    def issue(self, challenge: bytes, now: float) -> bytes:
        """Remember ``CHALLENGE_BYTES`` fresh random bytes and return them.

        Beyond ``CHALLENGES`` the oldest is forgotten.
        """
        self._drop_expired(now)
        self._open[challenge] = now + CHALLENGE_SECONDS
        while len(self._open) > CHALLENGES:
            self._open.popitem(last=False)
        return challenge

    def take(self, challenge: bytes, now: float) -> bool:
        """Use a challenge up; False when it was never given, is used or too old."""
        self._drop_expired(now)
        return self._open.pop(challenge, None) is not None

    def __len__(self) -> int:
        return len(self._open)

    def _drop_expired(self, now: float) -> None:
        while self._open and next(iter(self._open.values())) <= now:
            self._open.popitem(last=False)


def _is_canonical_json(text: str) -> bool:
    try:
        return canonical_json(msgspec.json.decode(text)) == text
    except (ValueError, RecursionError, UnicodeError):
        return False
