"""No signature passes but the one, of these bytes and this comment, by this key."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.minisign import FILE_BYTES, PublicKey, SignatureError, read_public, verify

# Made by minisign 0.11 with a key of its own: `minisign -S -m file -t "release 7"`.
PUBLIC = "RWQRtNuoxRzXxuDBEyWYMGWdfe4JyeijU7JM6I4al9KSFKut+FJ8eMls\n"
SIGNATURE = """untrusted comment: signature from minisign secret key
RUQRtNuoxRzXxh7/ZQFBG3SA64yHz5MlNIxWcJaijwXMAKpqgE8yGVndfN1WB4Rwb/Rmlp6TOR+CPnuZR+u+d8RXCMQoANpJSQQ=
trusted comment: release 7
qH8dPgBNnV1kNPTSuywMlc2uK6ceXHsorWWnS5Vq8vm375nVega4Z5Oi+uI03UJvN1P3RtZxYCPrhcVJCsPpBw==
"""
DATA = b"the release\n"


def test_a_signature_by_minisign_itself_passes() -> None:
    assert verify(read_public(PUBLIC), DATA, SIGNATURE) == "release 7"


def test_a_public_key_file_is_read_as_it_is_written() -> None:
    key = read_public(PUBLIC)
    assert read_public(key.text()) == key
    assert key.name == "C6D71CC5A8DBB411"
    assert key.text().splitlines()[0].endswith(key.name)


@given(st.integers(0, len(SIGNATURE) - 1), st.characters(codec="utf-8"))
def test_no_changed_signature_passes(place: int, letter: str) -> None:
    changed = SIGNATURE[:place] + letter + SIGNATURE[place + 1 :]
    if changed.split("\n")[1:] == SIGNATURE.split("\n")[1:]:
        return  # the first line is signed by nobody, as its name says
    with pytest.raises(SignatureError):
        verify(read_public(PUBLIC), DATA, changed)


@given(st.binary(max_size=64))
def test_no_other_data_passes(data: bytes) -> None:
    if data != DATA:
        with pytest.raises(SignatureError):
            verify(read_public(PUBLIC), data, SIGNATURE)


def test_another_key_does_not_pass() -> None:
    key = read_public(PUBLIC)
    with pytest.raises(SignatureError, match="another key"):
        verify(PublicKey(bytes(8), key.key), DATA, SIGNATURE)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_public, lambda text: verify(read_public(PUBLIC), DATA, text)):
        with pytest.raises(SignatureError):
            read(text)


@pytest.mark.parametrize(
    "data", [b"", b"Ed" + bytes(39), b"ED" + bytes(40), b"Ed" + bytes(41)], ids=len
)
def test_what_is_no_key_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureError):
        read_public(base64.b64encode(data).decode() + "\n")


def test_a_signature_that_is_too_long_is_not_even_read() -> None:
    long = SIGNATURE.replace("release 7", "r" * FILE_BYTES)
    with pytest.raises(SignatureError, match="no signature"):
        verify(read_public(PUBLIC), DATA, long)
