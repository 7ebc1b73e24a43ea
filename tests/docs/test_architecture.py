"""The pages about the architecture name what exists, and leave no room of the code out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, Section, codes, links, sections

PAGES = sorted((ROOT / "docs" / "architecture").glob("*.md"))
PACKAGES = ("cli", "appliance", "sync", "transports", "store", "client")

_PLACE = re.compile(rf"\b(?:{'|'.join(PACKAGES)}|tests)(?:/[a-z_0-9]+)+(?:\.py)?")
_MODULE = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.[a-z_0-9]+)+")


def places(section: Section) -> Iterator[str]:
    """Yield the files and folders that a section names, in code and in fenced blocks."""
    fenced = [line for fence in section.fences for line in fence.lines]
    for text in [*codes(section.text), *fenced]:
        yield from _PLACE.findall(text)
        if _MODULE.fullmatch(text) and not text.endswith(".py"):
            yield text.replace(".", "/")


def exists(place: str) -> bool:
    return (ROOT / place).exists() or (ROOT / f"{place}.py").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    named = {place for section in sections(page) for place in places(section)}
    assert {place for place in named if not exists(place)} == set()


def test_a_place_that_does_not_exist_is_found() -> None:
    text = "see `store/nowhere.py`, `appliance.gateway` and `a.b`"
    section = Section(1, "x", ("x",), [text])
    assert list(places(section)) == ["store/nowhere.py", "appliance/gateway"]
    assert not exists("store/nowhere.py")


def test_every_room_is_described() -> None:
    (layers,) = [page for page in PAGES if page.name == "layers.md"]
    (rooms,) = [each for each in sections(layers) if each.name == "The rooms"]
    described = {link.removeprefix("../../") for link in links(rooms)}
    folders = {
        str(path.parent.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert described == folders


def test_the_sans_io_rooms_are_those_that_the_import_rules_check() -> None:
    (layers,) = [page for page in PAGES if page.name == "layers.md"]
    (told,) = [each for each in sections(layers) if each.name == "Sans-IO modules"]
    rules = (ROOT / "pyproject.toml").read_text("utf-8").partition('id = "sans-io"')[2]
    checked = re.search(r"source_modules = \[(.*?)\]", rules, re.DOTALL)
    assert checked is not None
    modules = set(re.findall(r'"([a-z._]+)"', checked[1]))
    existing = {name for name in modules if exists(name.replace(".", "/"))}
    linked = {link.removeprefix("../../").removesuffix(".py") for link in links(told)}
    assert {place.replace("/", ".") for place in linked} == existing


def test_every_page_of_the_architecture_is_in_its_index() -> None:
    (index,) = [page for page in PAGES if page.name == "README.md"]
    linked = {link for section in sections(index) for link in links(section)}
    assert {page.name for page in PAGES} - linked == {"README.md"}
