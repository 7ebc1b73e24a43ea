"""The manual page tells every command and option, and roff has nothing to say against it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

from cli import manpage
from cli.exits import MEANINGS
from cli.reference import walk

PAGE = manpage.page("1.2.3", 1_700_000_000)


def plain(text: str) -> str:
    """Return the text that roff escapes stand for."""
    for escape, character in (("\\-", "-"), ("\\(aq", "'"), ("\\(ga", "`"), ("\\e", "\\")):
        text = text.replace(escape, character)
    return re.sub(r"\\f.", "", text)


def test_the_page_names_version_day_and_every_command_and_option() -> None:
    shown = plain(PAGE)
    assert PAGE.startswith('.TH STRONGROOM 1 "2023-11-14" "Strongroom 1.2.3"')
    for path, found in walk():
        assert f".SS {path}\n" in shown
        for option in found.params:
            assert option.opts[0] in shown or option.param_type_name == "argument"
    assert all(meaning in shown for meaning in MEANINGS.values())


def test_no_character_of_a_text_is_taken_for_an_escape_or_a_request() -> None:
    assert manpage._text(r".a\b-c 'd' `e`") == r"\&.a\eb\-c \(aqd\(aq \(gae\(ga"


def test_roff_formats_the_page_without_a_warning(requires: Callable[[str, str], str]) -> None:
    groff = requires("groff", "groff-base")
    command = [groff, "-man", "-Tutf8", "-Kutf8", "-ww", "-rLL=100n"]
    done = subprocess.run(command, input=PAGE, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "strongroom destroy certificate" in done.stdout
