"""Hold the site's TLS identity: the internal CA in the sealed log, or the administrator's files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.operations import SecretSlot
from store.ports import Entropy
from transports import certificates
from transports.certificates import Identity
from transports.tls import LiveIdentity

if TYPE_CHECKING:
    from appliance.core import Core

KEY_ENTROPY_BYTES: Final = 48
"""Entropy of one P-256 key."""

SERIAL_BYTES: Final = 16

INTERNAL_NAME: Final = "strongroom.internal"
"""In every leaf, so that a client that pins the CA can verify whatever address it dialled."""

ALWAYS: Final = (INTERNAL_NAME, "localhost", "127.0.0.1", "::1")


def new_ca(key_entropy: bytes, organisation: str, now_ms: int, entropy: Entropy) -> bytes:
    """Return the DER of a new internal CA's certificate."""
    key = certificates.derive_key(key_entropy)
    serial = entropy.bytes(SERIAL_BYTES)
    return certificates.make_ca(key, organisation, at(now_ms), serial).public_bytes(Encoding.DER)


def ca_certificate(core: Core) -> x509.Certificate:
    """Return the internal CA's certificate."""
    return x509.load_der_x509_certificate(core.secrets[SecretSlot.CA_CERTIFICATE])


def ca_pem(core: Core) -> bytes:
    """Return the internal CA's certificate as PEM."""
    return certificates.certificate_pem(ca_certificate(core))


def ca_fingerprint(core: Core) -> str:
    """Return ``sha256:`` and the hash of the CA certificate, the pin that clients compare."""
    return certificates.fingerprint(ca_certificate(core))


def live_identity(
    core: Core, entropy: Entropy, now_ms: int, names: tuple[str, ...]
) -> LiveIdentity:
    """Return the identity under the internal CA; it renews by itself when asked in time.

    ``names`` are host names and addresses that clients use, besides those always there.
    """
    issue = issuer(core, entropy, names)
    return LiveIdentity(issue(at(now_ms)), issue)


def issuer(core: Core, entropy: Entropy, names: tuple[str, ...]) -> Callable[[datetime], Identity]:
    """Return what makes an identity under the internal CA, given the time."""
    return partial(_issue, core, entropy, names)


def own_identity(certificate: Path, key: Path, now_ms: int) -> LiveIdentity:
    """Return the identity in an administrator's own files (leaf first, then its chain).

    Raises ``CertificateError`` for files that cannot be used, ``OSError`` for unreadable ones.
    """
    identity = certificates.load_identity(certificate.read_bytes(), key.read_bytes(), at(now_ms))
    return LiveIdentity(identity)


def at(now_ms: int) -> datetime:
    """Return Unix milliseconds as a datetime."""
    return datetime.fromtimestamp(now_ms / 1000, UTC)


def _issue(core: Core, entropy: Entropy, names: tuple[str, ...], now: datetime) -> Identity:
    return certificates.issue_leaf(
        certificates.derive_key(core.secrets[SecretSlot.CA_ENTROPY]),
        ca_certificate(core),
        certificates.derive_key(entropy.bytes(KEY_ENTROPY_BYTES)),
        (*ALWAYS, *names),
        now,
        entropy.bytes(SERIAL_BYTES),
    )
