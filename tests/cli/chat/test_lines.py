"""What a person types: commands, messages, numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.chat import lines
from cli.chat.lines import COMMANDS, SHORT, Line, LineError


@given(st.text())
def test_any_line_is_nothing_a_message_a_known_command_or_an_error(text: str) -> None:
    try:
        line = lines.read(text)
    except LineError:
        assert text.startswith("/")
        return
    if line is None:
        assert not text.strip()
    elif line.command:
        assert line.command in COMMANDS
    else:
        assert line.rest in (text, text[1:])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("hello", Line("", "hello")),
        ("  hello ", Line("", "  hello ")),
        ("/open  Ward 3 ", Line("open", "Ward 3")),
        ("/q", Line("quit")),
        ("//etc/hosts", Line("", "/etc/hosts")),
        ("", None),
    ],
)
def test_a_line_is_read(text: str, line: Line | None) -> None:
    assert lines.read(text) == line


def test_short_commands_are_commands() -> None:
    assert set(SHORT.values()) <= set(COMMANDS)


@pytest.mark.parametrize(
    ("rest", "wants_text", "expected"),
    [("12 yes", True, (12, "yes")), ("12", False, (12, "")), ("0012  a b ", True, (12, "a b"))],
)
def test_a_number_comes_first(rest: str, wants_text: bool, expected: tuple[int, str]) -> None:
    assert lines.numbered(rest, text=wants_text) == expected


@pytest.mark.parametrize("rest", ["", "yes 12", "12", "-1 x", "9999999999 x", "² x"])
def test_what_has_no_number_or_no_text_is_refused(rest: str) -> None:
    with pytest.raises(LineError):
        lines.numbered(rest)


def test_a_group_has_a_title_and_people() -> None:
    assert lines.group("Ward 3: alice, bob carol") == ("Ward 3", ["alice", "bob", "carol"])


@pytest.mark.parametrize("rest", ["", "Ward 3", "Ward 3:", ": alice", " : ,"])
def test_a_group_without_title_or_people_is_refused(rest: str) -> None:
    with pytest.raises(LineError):
        lines.group(rest)


def test_the_help_names_every_command() -> None:
    told = lines.help_text()
    assert all(f"  /{name}" in told for name in COMMANDS)
