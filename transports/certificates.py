"""Make and judge X.509 certificates: the internal CA, its leaves, an administrator's own chain.

Every function is pure: time and randomness are arguments, and the same arguments give the same
certificate (keys are derived from entropy, signatures follow RFC 6979). Keys are ECDSA P-256.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY_ENTROPY_BYTES = 48
"""Entropy for one key: 128 bits more than the order's size, so that the bias vanishes."""
CA_LIFETIME = timedelta(days=20 * 365)
LEAF_LIFETIME = timedelta(days=90)
RENEWAL_SHARE = 3
"""A leaf is renewed when one part in this many of its life remains."""
BACKDATING = timedelta(hours=1)
"""How far a certificate's life begins in the past, for clients whose clocks are behind."""
_SERIAL_BYTES = 16
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class CertificateError(ValueError):
    """The administrator's certificate files cannot be used; the message says why."""

    code = "tls.certificate"
    hint = "Check tls.certificate and tls.key: PEM, leaf first, then the chain."


@dataclass(frozen=True, slots=True)
class Identity:
    """What a TLS server presents: a private key and its chain, leaf first."""

    key_pem: bytes = field(repr=False)
    chain_pem: bytes
    not_after: datetime
    names: tuple[str, ...]


def derive_key(entropy: bytes) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key that belongs to 48 bytes of entropy (FIPS 186-5, appendix A.2.1).

    Raises:
        ValueError: there are not exactly ``KEY_ENTROPY_BYTES``.
    """
    if len(entropy) != KEY_ENTROPY_BYTES:
        raise ValueError(f"a key takes {KEY_ENTROPY_BYTES} bytes of entropy")
    scalar = int.from_bytes(entropy) % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def key_to_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the key as unencrypted PKCS #8, to be sealed by the caller."""
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def key_from_der(der: bytes) -> ec.EllipticCurvePrivateKey:
    """Return the key that ``key_to_der`` wrote.

    Raises:
        CertificateError: it is no P-256 key.
    """
    try:
        key = serialization.load_der_private_key(der, password=None)
    except (ValueError, TypeError):
        raise CertificateError("the private key cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise CertificateError("the private key is not on the curve P-256")
    return key


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return ``sha256:`` and the hash of the certificate's DER, as people compare it."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    return "sha256:" + hashlib.sha256(der).hexdigest()


def spki_pin(certificate: x509.Certificate) -> str:
    """Return ``sha256:`` and the hash of the public key (RFC 7469): it outlives renewals."""
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "sha256:" + hashlib.sha256(spki).hexdigest()


def make_ca(
    key: ec.EllipticCurvePrivateKey,
    organisation: str,
    now: datetime,
    serial_entropy: bytes,
    lifetime: timedelta = CA_LIFETIME,
) -> x509.Certificate:
    """Return the self-signed certificate of the internal CA, which may sign leaves only."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{organisation[:52]} internal CA"),
        ]
    )
    builder = _builder(name, name, key.public_key(), key.public_key(), serial_entropy)
    return (
        _valid(builder, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )


def issue_leaf(
    ca_key: ec.EllipticCurvePrivateKey,
    ca_certificate: x509.Certificate,
    leaf_key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    now: datetime,
    serial_entropy: bytes,
    lifetime: timedelta = LEAF_LIFETIME,
) -> Identity:
    """Return a server's identity under the internal CA.

    Args:
        ca_key: the CA's key.
        ca_certificate: the CA's certificate; the leaf never outlives it.
        leaf_key: the server's key.
        names: host names and IP addresses that clients use; at least one.
        now: the time of issue.
        serial_entropy: 16 bytes.
        lifetime: from ``now`` on.

    Raises:
        ValueError: there are no names.
    """
    if not names:
        raise ValueError("a certificate needs a name")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "strongroom")])
    lifetime = min(lifetime, ca_certificate.not_valid_after_utc - now)
    builder = _builder(
        subject,
        ca_certificate.subject,
        leaf_key.public_key(),
        ca_key.public_key(),
        serial_entropy,
    )
    server_only = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        _valid(builder, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(server_only, critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .sign(ca_key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return Identity(
        _key_pem(leaf_key),
        certificate_pem(certificate) + certificate_pem(ca_certificate),
        certificate.not_valid_after_utc,
        tuple(names),
    )


def issue_client(
    ca_key: ec.EllipticCurvePrivateKey,
    ca_certificate: x509.Certificate,
    public_key: bytes,
    name: str,
    now: datetime,
    serial_entropy: bytes,
    lifetime: timedelta = LEAF_LIFETIME,
) -> x509.Certificate:
    """Return a client's certificate under the internal CA, for an Ed25519 key that it holds.

    Args:
        ca_key: the CA's key.
        ca_certificate: the CA's certificate; the new one never outlives it.
        public_key: the client's Ed25519 public key (32 bytes).
        name: the one host name in it.
        now: the time of issue.
        serial_entropy: 16 bytes.
        lifetime: from ``now`` on.
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(
        subject,
        ca_certificate.subject,
        Ed25519PublicKey.from_public_bytes(public_key),
        ca_key.public_key(),
        serial_entropy,
    )
    lifetime = min(lifetime, ca_certificate.not_valid_after_utc - now)
    client_only = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return (
        _valid(builder, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(client_only, critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives([name])), critical=False)
        .sign(ca_key, hashes.SHA256(), ecdsa_deterministic=True)
    )


def client_identity(seed: bytes, certificate: x509.Certificate) -> Identity:
    """Return what a client with this Ed25519 seed presents: its key and its certificate.

    Raises:
        CertificateError: the certificate is of another key.
    """
    key = Ed25519PrivateKey.from_private_bytes(seed)
    if _public_der(key) != certificate.public_key().public_bytes(*_SPKI):
        raise CertificateError("the certificate is of another key")
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    names = _names(certificate)
    return Identity(pem, certificate_pem(certificate), certificate.not_valid_after_utc, names)


def load_identity(chain_pem: bytes, key_pem: bytes, now: datetime) -> Identity:
    """Return the identity in an administrator's own files.

    Args:
        chain_pem: the leaf, then its chain.
        key_pem: the leaf's private key, not encrypted.
        now: the time to judge by.

    Raises:
        CertificateError: a file cannot be read, the key belongs to another certificate, the
            certificate is out of its time or names no host, or the chain is out of order.
    """
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
    except ValueError:
        raise CertificateError("the certificate file is not PEM") from None
    leaf = chain[0]
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise CertificateError("the certificate is not valid now")
    key = _load_key_pem(key_pem)
    if _public_der(key) != leaf.public_key().public_bytes(*_SPKI):
        raise CertificateError("the key does not belong to the first certificate")
    _require_order(chain)
    return Identity(key_pem, chain_pem, leaf.not_valid_after_utc, _names(leaf))


def is_renewal_due(certificate_pem_: bytes, now: datetime) -> bool:
    """Tell whether a third or less of the first certificate's life remains."""
    leaf = x509.load_pem_x509_certificates(certificate_pem_)[0]
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return now >= leaf.not_valid_after_utc - life / RENEWAL_SHARE


_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _load_key_pem(key_pem: bytes) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        raise CertificateError("the private key is not unencrypted PEM") from None


def _public_der(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(*_SPKI)


def _require_order(chain: Sequence[x509.Certificate]) -> None:
    for child, parent in itertools.pairwise(chain):
        try:
            child.verify_directly_issued_by(parent)
        except (ValueError, TypeError, InvalidSignature):
            raise CertificateError("the chain is not leaf first, each signed by the next") from None


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise CertificateError("the certificate names no host (subjectAltName)") from None
    hosts = alternatives.get_values_for_type(x509.DNSName)
    addresses = alternatives.get_values_for_type(x509.IPAddress)
    return (*hosts, *(str(address) for address in addresses))


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    alternatives: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name.encode("idna").decode("ascii")))
    return alternatives


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | Ed25519PublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    serial_entropy: bytes,
) -> x509.CertificateBuilder:
    if len(serial_entropy) != _SERIAL_BYTES:
        raise ValueError(f"a serial number takes {_SERIAL_BYTES} bytes of entropy")
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(int.from_bytes(serial_entropy) | 1)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(authority, critical=False)
    )


def _valid(
    builder: x509.CertificateBuilder, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = now.astimezone(UTC)
    return builder.not_valid_before(now - BACKDATING).not_valid_after(now + lifetime)


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
