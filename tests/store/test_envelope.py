"""Envelopes are canonical, keep their ranges, and older builds read newer ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import canonical, envelope, hlc
from store.envelope import Envelope
from store.errors import FormatError

U64 = st.integers(0, (1 << 64) - 1)
ID = st.just(b"") | st.binary(min_size=16, max_size=16)
TIME = st.integers(0, hlc.LIMIT - 2)
ENVELOPES = st.builds(
    Envelope,
    kind=st.integers(0, 0xFFFF),
    actor=ID,
    device=ID,
    counter=U64,
    t=TIME,
    floor=TIME,
    conversation=ID,
    target=st.just(b"") | st.binary(min_size=32, max_size=32),
    seen=U64,
)


def fields(made: Envelope) -> list[canonical.Value]:
    return [getattr(made, name) for name in made.__struct_fields__]


@given(ENVELOPES)
def test_envelopes_come_back_and_are_canonical(made: Envelope) -> None:
    data = envelope.encode(made)
    assert envelope.decode(data) == made
    assert canonical.decode(data) == fields(made)


@given(ENVELOPES)
def test_fields_of_a_newer_build_are_ignored(made: Envelope) -> None:
    newer = canonical.encode([*fields(made), b"new", [1, 2]])
    assert envelope.decode(newer) == made


WRONG: list[dict[str, object]] = [
    {"kind": 1 << 16},
    {"kind": -1},
    {"actor": b"short"},
    {"device": bytes(17)},
    {"counter": -1},
    {"t": hlc.LIMIT},
    {"t": -1},
    {"floor": hlc.LIMIT - 1},
    {"conversation": bytes(15)},
    {"target": bytes(16)},
    {"seen": -1},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_fields_out_of_range_are_malformed_both_ways(change: dict[str, object]) -> None:
    good = Envelope(1, b"", b"", 0, 0, 0, b"", b"", 0)
    wrong = Envelope(**({name: getattr(good, name) for name in good.__struct_fields__} | change))
    with pytest.raises(ValueError, match="malformed"):
        envelope.encode(wrong)
    with pytest.raises(FormatError):
        envelope.decode(canonical.encode(fields(wrong)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        canonical.encode([1, b"", b"", 0, 0, 0, b"", b""]),
        canonical.encode([True, b"", b"", 0, 0, 0, b"", b"", 0]),
        canonical.encode([1, "", b"", 0, 0, 0, b"", b"", 0]),
        canonical.encode([1, None, b"", 0, 0, 0, b"", b"", 0]),
    ],
)
def test_other_bytes_are_no_envelope(data: bytes) -> None:
    with pytest.raises(FormatError):
        envelope.decode(data)


def test_an_envelope_shows_no_identity() -> None:
    assert "canary" not in repr(Envelope(1, b"canary-canary-ca", b"", 0, 0, 0, b"", b"", 0))
