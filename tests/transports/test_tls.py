"""Certificates verify where they should, renew in time, and keys never touch a named file."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given
from hypothesis import strategies as st

from transports.certificates import (
    BACKDATING,
    CertificateError,
    Identity,
    certificate_pem,
    derive_key,
    fingerprint,
    is_renewal_due,
    issue_leaf,
    key_from_der,
    key_to_der,
    load_identity,
    make_ca,
    spki_pin,
)
from transports.tls import LiveIdentity, client_context, server_context

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CA_KEY = derive_key(b"c" * 48)
CA = make_ca(CA_KEY, "Spital Nord", NOW, b"s" * 16)
LEAF_KEY = derive_key(b"l" * 48)
NAMES = ["room.example", "10.0.0.5", "::1", "room.example"]


def leaf(
    names: Sequence[str] = NAMES, now: datetime = NOW, days: int = 90, serial: bytes = b"n" * 16
) -> Identity:
    return issue_leaf(CA_KEY, CA, LEAF_KEY, names, now, serial, timedelta(days=days))


def first(identity: Identity) -> x509.Certificate:
    return x509.load_pem_x509_certificates(identity.chain_pem)[0]


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Run a handshake in memory; return the client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].version() is not None
    return ends[0]


# --- certificates ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["room.example", "10.0.0.5", "::1"])
def test_a_leaf_verifies_under_its_ca_for_each_name(name: str) -> None:
    certificate = first(leaf())
    builder = PolicyBuilder().store(Store([CA])).time(NOW + timedelta(days=1))
    subject = x509.IPAddress(ip_address(name)) if name != "room.example" else x509.DNSName(name)
    chain = builder.build_server_verifier(subject).verify(certificate, [])
    assert chain == [certificate, CA]
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("other.example")).verify(certificate, [])


def test_the_same_arguments_give_the_same_certificate() -> None:
    assert leaf() == leaf()
    assert make_ca(CA_KEY, "Spital Nord", NOW, b"s" * 16) == CA
    assert leaf(serial=b"m" * 16).chain_pem != leaf().chain_pem


def test_the_ca_signs_leaves_only_and_a_leaf_signs_nothing() -> None:
    basic = CA.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)
    usage = CA.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (True, False)
    certificate = first(leaf())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (False, True)
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_leaf_never_outlives_its_ca() -> None:
    identity = leaf(now=CA.not_valid_after_utc - timedelta(days=5))
    assert identity.not_after == CA.not_valid_after_utc


def test_a_life_begins_a_little_in_the_past() -> None:
    assert first(leaf()).not_valid_before_utc == NOW - BACKDATING


def test_a_leaf_needs_a_name() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        leaf(names=[])


@given(st.binary(min_size=48, max_size=48))
def test_each_entropy_gives_a_key_that_survives_storage(entropy: bytes) -> None:
    key = derive_key(entropy)
    assert key.curve.name == "secp256r1"
    assert key_from_der(key_to_der(key)).private_numbers() == key.private_numbers()
    assert derive_key(entropy).private_numbers() == key.private_numbers()


@pytest.mark.parametrize("entropy", [b"", b"x" * 32, b"x" * 49])
def test_a_key_takes_exactly_its_entropy(entropy: bytes) -> None:
    with pytest.raises(ValueError, match="48 bytes"):
        derive_key(entropy)


def test_extreme_entropy_stays_within_the_order() -> None:
    order = derive_key(bytes(48)).private_numbers().private_value
    assert order == 1
    assert derive_key(b"\xff" * 48).private_numbers().private_value > 1


def test_a_key_of_another_kind_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(CertificateError):
        key_from_der(key_to_der(other))
    with pytest.raises(CertificateError):
        key_from_der(b"garbage")


def test_fingerprint_and_pin_are_hashes_of_what_they_say() -> None:
    der = CA.public_bytes(serialization.Encoding.DER)
    assert fingerprint(CA) == "sha256:" + hashlib.sha256(der).hexdigest()
    again = make_ca(CA_KEY, "Another name", NOW, b"t" * 16)
    assert spki_pin(again) == spki_pin(CA) != spki_pin(first(leaf()))
    assert fingerprint(again) != fingerprint(CA)


def test_a_private_key_is_not_in_the_representation() -> None:
    identity = leaf()
    assert "PRIVATE" not in repr(identity)
    assert identity.key_pem.decode() not in repr(LiveIdentity(identity))


# --- an administrator's own files -----------------------------------------------------------


def test_own_files_are_taken_as_they_are() -> None:
    made = leaf()
    identity = load_identity(made.chain_pem, made.key_pem, NOW)
    assert identity == replace(made, names=("room.example", "10.0.0.5", "::1"))


def unnamed() -> Identity:
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(LEAF_KEY.public_key())
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    pem = certificate_pem(builder.sign(LEAF_KEY, hashes.SHA256()))
    return replace(leaf(), chain_pem=pem)


def encrypted_key() -> bytes:
    return LEAF_KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


@pytest.mark.parametrize(
    ("identity", "now", "message"),
    [
        (replace(leaf(), chain_pem=b"no pem"), NOW, "not PEM"),
        (replace(leaf(), key_pem=b"no pem"), NOW, "not unencrypted PEM"),
        (replace(leaf(), key_pem=encrypted_key()), NOW, "not unencrypted PEM"),
        (leaf(), NOW + timedelta(days=91), "not valid now"),
        (leaf(), NOW - timedelta(days=1), "not valid now"),
        (replace(leaf(), chain_pem=certificate_pem(CA)), NOW, "does not belong"),
        (
            replace(leaf(), chain_pem=certificate_pem(first(leaf())) * 2),
            NOW,
            "leaf first",
        ),
        (unnamed(), NOW, "names no host"),
    ],
)
def test_own_files_that_cannot_work_are_refused_with_the_reason(
    identity: Identity, now: datetime, message: str
) -> None:
    with pytest.raises(CertificateError, match=message) as caught:
        load_identity(identity.chain_pem, identity.key_pem, now)
    assert caught.value.code == "tls.certificate"
    assert caught.value.__cause__ is None


# --- contexts -------------------------------------------------------------------------------


def test_a_handshake_is_tls_1_3_and_prefers_http_2() -> None:
    identity = leaf(names=["localhost"], now=datetime.now(UTC))
    client = client_context(certificate_pem(CA))
    client.set_alpn_protocols(["http/1.1", "h2"])
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server_context(identity), client, "other.example")
    end = shake_hands(server_context(identity), client, "localhost")
    assert (end.version(), end.selected_alpn_protocol()) == ("TLSv1.3", "h2")


def test_a_key_reaches_openssl_through_no_named_file(monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[str] = []
    load = ssl.SSLContext.load_cert_chain

    def watched(self: ssl.SSLContext, path: str) -> None:
        paths.append(os.readlink(path))
        load(self, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    before = sorted(os.listdir("/proc/self/fd"))
    server_context(leaf())
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert [path.startswith("/memfd:") for path in paths] == [True]


def test_a_key_of_another_certificate_is_refused_by_the_context() -> None:
    with pytest.raises(CertificateError):
        server_context(replace(leaf(), chain_pem=certificate_pem(CA)))


# --- renewal --------------------------------------------------------------------------------


def test_renewal_is_due_when_a_third_of_the_life_remains() -> None:
    chain = leaf(days=90).chain_pem
    life = timedelta(days=90) + BACKDATING
    edge = NOW + timedelta(days=90) - life / 3
    assert not is_renewal_due(chain, edge - timedelta(seconds=1))
    assert is_renewal_due(chain, edge)
    assert is_renewal_due(chain, NOW + timedelta(days=100))


def test_a_live_identity_renews_itself_in_time_and_tells_its_watchers() -> None:
    issued: list[datetime] = []

    def renew(now: datetime) -> Identity:
        issued.append(now)
        return leaf(now=now)

    live = LiveIdentity(leaf(), renew)
    seen: list[Identity] = []
    live.watch(seen.append)
    before = live.choose(None)
    assert not live.renew_if_due(NOW + timedelta(days=30))
    assert live.choose(None) is before
    due = NOW + timedelta(days=61)
    assert live.renew_if_due(due)
    assert live.choose("any") is not before
    assert issued == [due]
    assert seen == [live.identity] == [leaf(now=due)]
    assert not live.renew_if_due(due)


def test_own_files_are_never_renewed() -> None:
    live = LiveIdentity(leaf())
    assert not live.renew_if_due(NOW + timedelta(days=1_000))


def test_an_identity_that_cannot_be_used_replaces_nothing() -> None:
    live = LiveIdentity(leaf())
    before = live.choose(None)
    with pytest.raises(CertificateError):
        live.replace(replace(leaf(), chain_pem=certificate_pem(CA)))
    assert live.choose(None) is before
    assert live.identity == leaf()


def test_when_one_watcher_cannot_use_an_identity_all_keep_the_old_one() -> None:
    live = LiveIdentity(leaf())
    seen: list[Identity] = []
    live.watch(seen.append)

    def refuse(identity: Identity) -> None:
        raise ValueError(identity.names)

    live.watch(refuse)
    before, context = live.identity, live.context
    with pytest.raises(CertificateError):
        live.replace(leaf(["other.example"], serial=b"o" * 16), lambda _now: leaf())
    assert (live.identity, live.context) == (before, context)
    assert seen[-1] is before
    assert not live.renew_if_due(NOW + timedelta(days=89))
