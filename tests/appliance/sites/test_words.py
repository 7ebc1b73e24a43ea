"""Words for bytes: what is spelled is read again, and a wrong word is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.sites import words

SECRETS = st.binary(min_size=32, max_size=32)


@given(SECRETS)
def test_what_is_spelled_is_read_again_in_any_case_and_spacing(data: bytes) -> None:
    spelled = words.spell(data)
    assert len(spelled.split()) == 24
    assert words.read(spelled) == data
    assert words.read("  " + spelled.upper().replace(" ", " \n ")) == data


@given(SECRETS, st.text(max_size=40))
def test_other_text_is_no_bytes(data: bytes, text: str) -> None:
    spelled = words.spell(data).split()
    assert words.read(text) is None
    assert words.read(" ".join(spelled[:-1])) is None
    assert words.read(" ".join([*spelled[:-1], "notaword"])) is None


def test_words_that_changed_places_are_noticed() -> None:
    spelled = words.spell(bytes(range(32))).split()
    swapped = " ".join([spelled[1], spelled[0], *spelled[2:]])
    assert words.read(swapped) is None


def test_a_fingerprint_is_six_words_that_never_change() -> None:
    found = words.fingerprint(b"p" * 16, b"k" * 32)
    assert found == "degree sustain abuse bundle ghost world"
    assert len(found.split()) == words.FINGERPRINT_WORDS


@pytest.mark.parametrize("place", range(48))
def test_every_bit_counts_for_the_fingerprint(place: int) -> None:
    data = bytearray(b"p" * 16 + b"k" * 32)
    data[place] ^= 1
    changed = words.fingerprint(bytes(data[:16]), bytes(data[16:]))
    assert changed != words.fingerprint(b"p" * 16, b"k" * 32)
