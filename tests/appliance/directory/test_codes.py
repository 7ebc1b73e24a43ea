"""Invitation codes survive being read aloud and typed; every bit of them counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.directory.codes import (
    ALPHABET,
    CODE_ENTROPY_BYTES,
    code_hash,
    make_code,
    read_code,
    token_hash,
)

ENTROPY = st.binary(min_size=CODE_ENTROPY_BYTES, max_size=CODE_ENTROPY_BYTES)


@given(ENTROPY)
def test_a_code_reads_back_however_it_is_typed(entropy: bytes) -> None:
    code = make_code(entropy)
    letters = code.replace("-", "")
    assert len(letters) == 20
    assert set(letters) <= set(ALPHABET)
    for typed in (code, code.lower(), letters, f" {code} ", letters.replace("0", "o")):
        assert read_code(typed) == letters
        assert code_hash(typed) == code_hash(code)


@given(ENTROPY, st.integers(0, 99))
def test_each_of_a_hundred_bits_makes_another_code(entropy: bytes, bit: int) -> None:
    other = int.from_bytes(entropy, "big") ^ (1 << bit)
    assert make_code(entropy) != make_code(other.to_bytes(CODE_ENTROPY_BYTES, "big"))


@pytest.mark.parametrize("text", ["", "A" * 19, "A" * 21, "U" * 20, "é" * 20, "A" * 10_000])
def test_what_is_no_code_is_not_read(text: str) -> None:
    assert read_code(text) is None
    assert code_hash(text) == code_hash("")


def test_the_look_alikes_of_one_and_zero_are_read_as_them() -> None:
    assert read_code("iIlL1" + "oO0" * 5) == "1" * 5 + "0" * 15


def test_tokens_and_codes_do_not_share_hashes() -> None:
    assert token_hash(b"A" * 20) != code_hash("A" * 20)
