"""The reference pages in docs/ are what the code says now."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.exits import Exit
from cli.main import root
from cli.reference import PAGES, cli_page, walk, write

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == PAGES[name](), "run `make docs`"


def test_the_page_names_every_command_and_status() -> None:
    page = cli_page()
    assert all(f" `{path}`" in page for path, _ in walk())
    assert all(f"| {int(status)} |" in page for status in Exit)


def test_the_pages_are_written(tmp_path: Path) -> None:
    write(tmp_path / "docs")
    assert sorted(path.name for path in (tmp_path / "docs").iterdir()) == sorted(PAGES)


def test_no_paragraph_of_a_help_text_became_code() -> None:
    """Markdown takes lines that begin with four blanks for code."""
    lines = cli_page().splitlines()
    fences = [number for number, line in enumerate(lines) if line == "```"]
    inside = {n for start, end in zip(*[iter(fences)] * 2, strict=True) for n in range(start, end)}
    assert [line for n, line in enumerate(lines) if line[:1] == " " and n not in inside] == []


def test_help_shows_every_paragraph_at_the_same_margin() -> None:
    shown = CliRunner().invoke(root, ["reload", "--help"]).stdout
    paragraphs = shown.partition("Options:")[0].split("\n\n")[1:-1]
    assert len(paragraphs) == 3
    assert {len(text) - len(text.lstrip()) for text in paragraphs} == {2}
