"""Cursors: what the site signed comes back; nothing else is taken."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from appliance.evidence import cursors
from appliance.evidence.cursors import Cursor, Phase, Position, Tally
from store import canonical
from transports.wire.errors import Refusal

KEY = SigningKey(b"k" * 32)
PUBLIC = bytes(KEY.verify_key)
OTHER = bytes(SigningKey(b"o" * 32).verify_key)
BINDING = b"b" * 32
COUNTS = st.integers(0, 2**64 - 1)


def sign(data: bytes) -> bytes:
    return KEY.sign(data).signature


CURSORS = st.builds(
    Cursor,
    binding=st.just(BINDING),
    horizon=COUNTS,
    position=st.builds(
        Position,
        phase=st.sampled_from(Phase),
        place=COUNTS,
        key=COUNTS,
        op_id=st.binary(min_size=32, max_size=32),
        at_ms=COUNTS,
    ),
    tally=st.builds(Tally, COUNTS, COUNTS, COUNTS, COUNTS),
    chain=st.binary(min_size=32, max_size=32),
    context=st.sampled_from(["", "ab" * 32]),
)
EXAMPLE = Cursor(BINDING, 9, Position(Phase.RECORDS, 5, 6), Tally(1, 2, 3, 4), b"h" * 32, "")


@given(CURSORS)
def test_a_cursor_comes_back(cursor: Cursor) -> None:
    assert cursors.read(cursors.write(cursor, sign), [OTHER, PUBLIC], BINDING) == cursor


@given(st.data())
def test_no_bit_of_a_cursor_can_be_changed(data: st.DataObject) -> None:
    raw = bytearray(urlsafe_b64decode(cursors.write(EXAMPLE, sign)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Refusal, match=r"evidence\.cursor"):
        cursors.read(urlsafe_b64encode(raw).decode(), [PUBLIC], BINDING)


@given(st.text(max_size=60))
def test_other_texts_are_no_cursors(text: str) -> None:
    with pytest.raises(Refusal, match=r"evidence\.cursor"):
        cursors.read(text, [PUBLIC], BINDING)


def test_a_cursor_is_of_one_site_and_one_question() -> None:
    text = cursors.write(EXAMPLE, sign)
    with pytest.raises(Refusal, match=r"evidence\.cursor"):
        cursors.read(text, [OTHER], BINDING)
    with pytest.raises(Refusal, match=r"evidence\.cursor"):
        cursors.read(text, [PUBLIC], b"x" * 32)
    with pytest.raises(Refusal, match=r"evidence\.cursor"):
        cursors.read(text + "A" * 2_000, [PUBLIC], BINDING)


_NUMBERS = (1, 1, 1, b"", 1, 1, 1, 1, 1, b"", "")


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("strongroom/export/cursor/2",),
        ("strongroom/export/cursor/2", BINDING, *_NUMBERS),
        ("strongroom/export/cursor/1", BINDING, 1, 9, *_NUMBERS[2:]),
    ],
)
def test_a_signed_cursor_of_another_version_is_refused(fields: tuple[canonical.Value, ...]) -> None:
    data = canonical.encode(fields)
    text = urlsafe_b64encode(data + sign(b"strongroom/export/cursor/1" + data)).decode()
    with pytest.raises(Refusal, match=r"evidence\.cursor"):
        cursors.read(text, [PUBLIC], BINDING)


def test_a_cursor_tells_nothing_in_a_log() -> None:
    assert repr(EXAMPLE) == "<Cursor RECORDS 1>"
