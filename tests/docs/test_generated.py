"""Pages that are made from the code are up to date, and made from all of it."""

from __future__ import annotations

import pytest

from tests.docs import generate
from tests.docs.markdown import ROOT, codes, sections
from transports.wire.errors import CATALOGUE


@pytest.mark.parametrize("place", generate.PAGES)
def test_a_made_page_says_what_the_code_says(place: str) -> None:
    page = (ROOT / place).read_text("utf-8")
    assert page == generate.PAGES[place](), "run: python -m tests.docs.generate"


def test_the_page_of_errors_has_each_code_once() -> None:
    rows = [
        row
        for section in sections(ROOT / "docs/errors.md")
        for table in section.tables()
        for row in table
    ]
    assert sorted(codes(row["code"])[0] for row in rows) == sorted(CATALOGUE)
    assert all(row["English"] and row["中文"] for row in rows)


def test_no_module_of_limits_is_forgotten() -> None:
    packages = ("appliance", "transports", "store", "sync")
    found = [path for each in packages for path in (ROOT / each).rglob("limits.py")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found}
    assert names == set(generate.LIMIT_MODULES)


def test_limits_come_with_their_meaning() -> None:
    limits = {each.name: each for each in generate.limits_of("transports.limits")}
    assert limits["message_bytes"].value == 256 * 1024
    assert limits["message_bytes"].meaning == "The longest message of a known peer."


@pytest.mark.parametrize(("value", "text"), [(16_384, "16,384"), (45.0, "45"), (0.25, "0.25")])
def test_numbers_are_shown_as_people_read_them(value: float, text: str) -> None:
    assert generate.shown(value) == text
