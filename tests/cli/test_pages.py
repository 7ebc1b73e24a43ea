"""The reference pages in docs/ are what the code says now."""

from pathlib import Path

import pytest

from cli.exits import Exit
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
