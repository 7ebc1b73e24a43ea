"""Passwords are refused for being short, common or personal, and for nothing else."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.common_passwords import RUNS, WORDS
from appliance.directory.guessing import guess_bits
from appliance.directory.passwords import (
    CHARACTERS_MAX,
    CHARACTERS_MIN,
    Weakness,
    check,
    weakness,
)
from transports.wire.errors import Refusal

STRONG = "kidney tulip 48 lantern"
ABOUT = ("awinter", "Alice Winter-Müller", "Ward 3", "Northgate General")


@pytest.mark.parametrize(
    "password",
    [
        STRONG,
        "qwfpgjluyarstdhn",
        "9k2mx81qv7zr4pt",
        "一二三四五六七八九十甲乙丙丁戊",
        "Ein Nilpferd tanzt im Regen",
        "x7 " * 3 + "gravel uproot mint",
    ],
)
def test_a_long_uncommon_password_is_accepted(password: str) -> None:
    assert weakness(password, ABOUT) is None
    check(password, ABOUT)


@pytest.mark.parametrize(
    "password",
    [
        "Password123456789!",
        "p@ssw0rdp@ssw0rd",
        "passwordpassword",
        "PASSWORDPASSWORD",
        "aaaaaaaaaaaaaaaaa",
        "abababababababababab",
        "abcdefghijklmnop",
        "zyxwvutsrqponmlk",
        "1234567890123456",
        "qwertyuiopasdfghjkl",
        "1qaz2wsx3edc4rfv",
        "zaq12wsxcde34rfv",
        "correct horse battery staple",
        "Correct-Horse-Battery-Staple",
        "iloveyouiloveyou1",
        "summer2024winter",
        "19840512 19870301",
        "monkeydragonshadow",
        "Hospital2024!Hospital2024!",
        "woainiwoaini1314520",
        "letmeinletmeinletmein",
        "w e l c o m e 1 2 3 4",
        "ｐａｓｓｗｏｒｄ１２３４５６７８",
    ],
)
def test_a_common_password_is_refused_however_long(password: str) -> None:
    assert weakness(password) is Weakness.COMMON


@pytest.mark.parametrize(
    "password",
    [
        "awinter kidney tulip",
        "tulip ALICE kidney 99",
        "lantern-müller-kidney",
        "northgate kidney tulip",
        "kidneyalicewintermüllertulip",
    ],
)
def test_what_others_know_about_a_person_is_refused(password: str) -> None:
    assert weakness(password, ABOUT) is Weakness.PERSONAL


def test_short_words_about_a_person_are_cheap_but_allowed() -> None:
    assert weakness("li kidney tulip lantern", ("li",)) is None
    assert weakness("liliwuliwuwuli!", ("li", "wu")) is Weakness.COMMON


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", Weakness.SHORT),
        (STRONG[: CHARACTERS_MIN - 1], Weakness.SHORT),
        (STRONG * 12, Weakness.LONG),
        ("ﷺ" * 100, Weakness.LONG),
        (STRONG + "\x00", Weakness.UNREADABLE),
        (STRONG + "\ud800", Weakness.UNREADABLE),
    ],
)
def test_length_is_counted_after_normalising(password: str, why: Weakness) -> None:
    assert weakness(password) is why


def test_two_ligatures_count_as_the_letters_they_are() -> None:
    assert len("ﬃ quartz kidney"[:13]) == 13
    assert weakness("ﬃ quartz kidn") is None


def test_the_refusal_does_not_repeat_the_password() -> None:
    with pytest.raises(Refusal) as caught:
        check("passwordpassword")
    assert caught.value.code == "auth.password_weak"
    assert "passwordpassword" not in str(caught.value) + repr(caught.value)


def test_there_are_enough_common_words_and_all_are_reachable() -> None:
    assert len(WORDS) >= 1_000
    assert [word for word in WORDS if word != word.lower() or len(word) < 2] == []
    assert all(len(run) >= 3 for run in RUNS)


@given(
    st.lists(st.sampled_from(sorted(WORDS)), min_size=1, max_size=3),
    st.sampled_from(["", " ", "-", "_"]),
)
def test_common_words_cost_ten_bits_each_however_they_are_joined(
    words: list[str], between: str
) -> None:
    assert guess_bits(between.join(words)) <= 10.0 * len(words) + 5.0


@given(st.text(max_size=40), st.integers(2, 6))
def test_saying_something_again_adds_little(text: str, times: int) -> None:
    assert guess_bits(text * times) <= guess_bits(text) + 5.0 + 5.0


LETTERS = st.text(string.ascii_letters + string.digits, max_size=30)


@given(LETTERS, LETTERS)
def test_the_whole_costs_no_more_than_its_parts(one: str, other: str) -> None:
    assert 0.0 <= guess_bits(one + other) <= guess_bits(one) + guess_bits(other) + 0.001


@given(st.text(max_size=CHARACTERS_MAX + 10), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_gets_an_answer(password: str, about: list[str]) -> None:
    found = weakness(password, about)
    assert found is None or isinstance(found, Weakness)
    if len(password) < CHARACTERS_MIN and password.isascii():
        assert found in (Weakness.SHORT, Weakness.UNREADABLE)
