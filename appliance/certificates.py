"""Hold the site's TLS identities: the internal CA in the sealed log, an administrator's files.

A branch has a certificate of headquarters' CA for its own Ed25519 key, and shows it on the link.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.operations import SecretSlot
from store.ports import Entropy
from store.skeleton import node_id
from store.tables import TENANT
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


def site_certificate(core: Core, public_key: bytes, now_ms: int, entropy: Entropy) -> bytes:
    """Return the certificate (DER) by which headquarters knows a branch's key (32 bytes)."""
    issued = certificates.issue_client(
        certificates.derive_key(core.secrets[SecretSlot.CA_ENTROPY]),
        ca_certificate(core),
        public_key,
        site_name(node_id(TENANT, public_key)),
        at(now_ms),
        entropy.bytes(SERIAL_BYTES),
    )
    return issued.public_bytes(Encoding.DER)


def site_name(node: bytes) -> str:
    """Return the host name in a branch's certificate, which it also asks for by SNI."""
    return f"site.{node.hex()}"


def site_identity(core: Core) -> Identity:
    """Return what this branch shows headquarters; raises ``KeyError`` unless it was let in."""
    certificate = x509.load_der_x509_certificate(core.secrets[SecretSlot.LINK_CERTIFICATE])
    return certificates.client_identity(core.secrets[SecretSlot.SIGNING_SEED], certificate)


def is_site_renewal_due(core: Core, now_ms: int) -> bool:
    """Tell whether a third or less of the life of this branch's certificate remains."""
    certificate = x509.load_der_x509_certificate(core.secrets[SecretSlot.LINK_CERTIFICATE])
    return certificates.is_renewal_due(certificates.certificate_pem(certificate), at(now_ms))


def live_identity(
    core: Core, entropy: Entropy, now_ms: int, names: tuple[str, ...]
) -> LiveIdentity:
    """Return the identity under the internal CA; it renews by itself when asked in time.

    ``names`` are host names and addresses that clients use, besides those always there.
    """
    issue = partial(_issue, core, entropy, names)
    return LiveIdentity(issue(at(now_ms)), issue)


def own_identity(
    certificate: Path, key: Path, now_ms: int, internal: LiveIdentity | None = None
) -> LiveIdentity:
    """Return the identity in an administrator's own files (leaf first, then its chain).

    Branches, which ask for ``INTERNAL_NAME``, are shown ``internal``: they pin its CA.
    Raises ``CertificateError`` for files that cannot be used, ``OSError`` for unreadable ones.
    """
    identity = certificates.load_identity(certificate.read_bytes(), key.read_bytes(), at(now_ms))
    return LiveIdentity(identity, beside={INTERNAL_NAME: internal} if internal else None)


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
