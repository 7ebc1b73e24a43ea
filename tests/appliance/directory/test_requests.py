"""Signed requests: one canonical form, one signature, one use of each challenge."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from appliance.directory.limits import CHALLENGES
from appliance.directory.requests import (
    LABEL,
    Challenges,
    Request,
    canonical_json,
    canonical_request,
    is_public_key,
    read_request,
    verify_request,
)
from store import canonical
from transports.wire.errors import Refusal

KEY = SigningKey(b"k" * 32)
PUBLIC = bytes(KEY.verify_key)
IDS = st.binary(min_size=16, max_size=16)
JSON = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9),
    max_size=4,
)
DATA = canonical_request(b"n" * 16, b"c" * 16, b"p" * 16, "person.state", '{"who":"bob"}')


@given(IDS, IDS, IDS, st.text(max_size=20), JSON)
def test_a_request_reads_back_and_its_signature_holds(
    node: bytes, challenge: bytes, person: bytes, command: str, arguments: dict[str, object]
) -> None:
    text = canonical_json(arguments)
    data = canonical_request(node, challenge, person, command, text)
    assert read_request(data) == Request(node, challenge, person, command, text)
    assert verify_request(PUBLIC, data, KEY.sign(data).signature)


@given(st.integers(0, len(DATA) * 8 - 1))
def test_no_bit_of_a_request_can_change(bit: int) -> None:
    signature = KEY.sign(DATA).signature
    changed = bytearray(DATA)
    changed[bit // 8] ^= 1 << bit % 8
    assert not verify_request(PUBLIC, bytes(changed), signature)
    with suppress(Refusal):
        assert read_request(bytes(changed)) != read_request(DATA)


@given(st.binary(max_size=80))
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_request(data)
    assert caught.value.code == "request.invalid"


@pytest.mark.parametrize(
    "fields",
    [
        ("strongroom/request/2", b"n" * 16, b"c" * 16, b"p" * 16, "a", "{}"),
        (LABEL, b"n" * 15, b"c" * 16, b"p" * 16, "a", "{}"),
        (LABEL, b"n" * 16, b"c" * 17, b"p" * 16, "a", "{}"),
        (LABEL, b"n" * 16, b"c" * 16, b"", "a", "{}"),
        (LABEL, b"n" * 16, b"c" * 16, b"p" * 16, b"a", "{}"),
        (LABEL, b"n" * 16, b"c" * 16, b"p" * 16, "a", '{"b":1,"a":2}'),
        (LABEL, b"n" * 16, b"c" * 16, b"p" * 16, "a", '{"a": 1}'),
        (LABEL, b"n" * 16, b"c" * 16, b"p" * 16, "a", "{"),
        (LABEL, b"n" * 16, b"c" * 16, b"p" * 16, "a", canonical_json("x" * 17_000)),
        (LABEL, b"n" * 16, b"c" * 16, b"p" * 16, "a"),
    ],
)
def test_a_request_of_another_form_is_refused(fields: tuple[canonical.Value, ...]) -> None:
    with pytest.raises(Refusal):
        read_request(canonical.encode(fields))


def test_a_request_is_not_written_in_another_form() -> None:
    for arguments in ("{ }", '{"b":1,"a":1}', "", canonical_json("x" * 17_000)):
        with pytest.raises(Refusal):
            canonical_request(b"n" * 16, b"c" * 16, b"p" * 16, "a", arguments)
    with pytest.raises(Refusal):
        canonical_request(b"n" * 16, b"c" * 16, b"p" * 16, "\ud800", "{}")


def test_another_key_or_a_cut_signature_does_not_hold() -> None:
    signature = KEY.sign(DATA).signature
    assert not verify_request(bytes(SigningKey(b"o" * 32).verify_key), DATA, signature)
    assert not verify_request(PUBLIC, DATA, signature[:-1])
    assert not verify_request(PUBLIC[:-1], DATA, signature)
    assert not verify_request(b"", DATA, b"")


def test_a_key_that_everybody_can_sign_for_is_none() -> None:
    """With the neutral element as key, R = B and S = 1 hold for any message."""
    neutral = b"\x01" + bytes(31)
    base_point = bytes.fromhex("58" + "66" * 31)
    forged = base_point + b"\x01" + bytes(31)
    assert not is_public_key(neutral)
    assert not is_public_key(bytes(32))
    assert not verify_request(neutral, DATA, forged)
    assert is_public_key(PUBLIC)


def test_a_request_shows_no_argument_in_its_repr() -> None:
    assert "bob" not in repr(read_request(DATA))


def test_arguments_are_written_with_sorted_keys_and_bytes_in_base64() -> None:
    class Arguments(msgspec.Struct):
        b: bytes
        a: int

    assert canonical_json(Arguments(b"\xff", 1)) == '{"a":1,"b":"/w=="}'


def test_a_challenge_is_used_once_and_within_a_minute() -> None:
    challenges = Challenges()
    one, two = (challenges.issue(bytes([n]) * 16, now=0.0) for n in (1, 2))
    assert challenges.take(one, now=59.9)
    assert not challenges.take(one, now=59.9)
    assert not challenges.take(two, now=60.0)
    assert not challenges.take(b"x" * 16, now=0.0)
    assert len(challenges) == 0


def test_challenges_that_nobody_uses_do_not_pile_up() -> None:
    challenges = Challenges()
    for number in range(CHALLENGES + 1):
        challenges.issue(number.to_bytes(16, "big"), now=0.0)
    assert len(challenges) == CHALLENGES
    assert not challenges.take((0).to_bytes(16, "big"), now=1.0)
    assert challenges.take((1).to_bytes(16, "big"), now=1.0)
    challenges.issue(b"z" * 16, now=100.0)
    assert len(challenges) == 1
