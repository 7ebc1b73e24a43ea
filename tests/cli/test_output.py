"""What commands print: documents with a schema, and text that cannot steer a terminal."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import output


def test_a_document_begins_with_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_json("user.list", {"users": ["ü"]})
    printed = capsys.readouterr().out
    assert printed.endswith("\n")
    assert json.loads(printed) == {"schema": "strongroom.user.list/1", "users": ["ü"]}
    assert printed.startswith('{"schema": ')


@given(st.text(), st.booleans())
def test_nothing_printed_steers_the_terminal(text: str, breaks: bool) -> None:
    shown = output.printable(text, breaks=breaks)
    allowed = "\n\t" if breaks else ""
    for character in shown:
        category = unicodedata.category(character)
        assert character in allowed or category not in ("Cc", "Cs", "Zl", "Zp")
        assert category != "Cf" or character in "\u200c\u200d"
    assert len(shown) == len(text)


@pytest.mark.parametrize("text", ["plain", "Zoë", "值班", "a\u200db"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert output.printable(text) == text


def test_escape_sequences_and_reordering_become_visible() -> None:
    assert output.printable("\x1b[31m\u202ex\ny") == "\ufffd[31m\ufffdx y"


def test_columns_line_up_for_wide_characters() -> None:
    text = output.table(
        [{"login": "a", "name": "值班"}, {"login": "bob", "name": "x"}], ["name", "login"]
    )
    lines = text.splitlines()
    assert lines[0] == "NAME  LOGIN"
    assert lines[1] == "值班  a"
    assert lines[2] == "x     bob"


@pytest.mark.parametrize(
    ("value", "column", "shown"),
    [
        (None, "x", "-"),
        ("", "x", "-"),
        (True, "x", "yes"),
        (["b", "a"], "x", "b, a"),
        ([], "x", "-"),
        (0, "expires_at", "-"),
        ({"store": "ok"}, "x", "store=ok"),
    ],
)
def test_values_are_shown_for_people(value: object, column: str, shown: str) -> None:
    assert output.table([{column: value}], [column]).splitlines()[1] == shown


def test_pairs_are_a_line_each() -> None:
    assert output.pairs({"a_b": 1, "c": "x"}) == "a b: 1\nc:   x"
