"""The suites: round trips, what any change breaks, and the primitives against other code."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import FormatError, IntegrityError
from store.vault.suites import AES_GCM, SUITES, XCHACHA, Suite, hmac_sha256, seal, suite_of, unseal

suites = st.sampled_from(sorted(SUITES.values(), key=lambda suite: suite.number))
keys = st.binary(min_size=32, max_size=32)


@given(keys, st.binary(max_size=200))
def test_the_written_out_hmac_is_hmac(key: bytes, data: bytes) -> None:
    assert hmac_sha256(key, data) == hmac.digest(key, data, "sha256")
    assert AES_GCM.prf(key, data) == hmac.digest(key, data, "sha256")


@given(keys, st.binary(max_size=200))
def test_suite_2_derives_with_keyed_blake2b(key: bytes, data: bytes) -> None:
    assert XCHACHA.prf(key, data) == hashlib.blake2b(data, digest_size=32, key=key).digest()


@given(suites, keys, st.binary(max_size=300), st.binary(max_size=50), st.data())
def test_what_was_sealed_opens(
    suite: Suite, key: bytes, plaintext: bytes, associated: bytes, data: st.DataObject
) -> None:
    nonce = data.draw(st.binary(min_size=suite.nonce_bytes, max_size=suite.nonce_bytes))
    sealed = seal(suite, key, nonce, plaintext, associated)
    assert sealed[0] == suite.number
    assert len(sealed) == 1 + suite.nonce_bytes + len(plaintext) + 16
    assert unseal(suite, key, sealed, associated) == plaintext


@pytest.mark.parametrize("suite", SUITES.values(), ids=str)
def test_any_flipped_bit_is_found(suite: Suite) -> None:
    key, nonce = b"k" * 32, b"n" * suite.nonce_bytes
    sealed = seal(suite, key, nonce, b"text", b"place")
    for bit in range(8, 8 * len(sealed)):
        forged = bytearray(sealed)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            unseal(suite, key, bytes(forged), b"place")


@pytest.mark.parametrize("suite", SUITES.values(), ids=str)
def test_another_key_or_place_does_not_open(suite: Suite) -> None:
    sealed = seal(suite, b"k" * 32, b"n" * suite.nonce_bytes, b"text", b"place")
    with pytest.raises(IntegrityError):
        unseal(suite, b"l" * 32, sealed, b"place")
    with pytest.raises(IntegrityError):
        unseal(suite, b"k" * 32, sealed, b"else")


@pytest.mark.parametrize("suite", SUITES.values(), ids=str)
def test_every_cut_is_found(suite: Suite) -> None:
    sealed = seal(suite, b"k" * 32, b"n" * suite.nonce_bytes, b"text", b"")
    for length in range(1, len(sealed)):
        with pytest.raises(IntegrityError):
            unseal(suite, b"k" * 32, sealed[:length], b"")


def test_a_key_is_never_tried_with_a_second_suite() -> None:
    key = b"k" * 32
    sealed = seal(XCHACHA, key, b"n" * 24, b"text", b"")
    with pytest.raises(IntegrityError, match="another suite"):
        unseal(AES_GCM, key, sealed, b"")


@pytest.mark.parametrize("number", [0, 3, 255])
def test_an_unknown_suite_is_a_format_error(number: int) -> None:
    with pytest.raises(FormatError):
        suite_of(number)
    with pytest.raises(FormatError):
        unseal(AES_GCM, b"k" * 32, bytes((number,)) + bytes(60), b"")


def test_nothing_at_all_is_a_format_error() -> None:
    with pytest.raises(FormatError):
        unseal(AES_GCM, b"k" * 32, b"", b"")
