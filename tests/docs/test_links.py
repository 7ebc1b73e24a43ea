"""Links in the documentation lead somewhere, and never out of the repository."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, anchor, links, sections


def pages() -> list[Path]:
    """Return every Markdown file in the repository or about to be."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others"]
    command += ["--exclude-standard", "*.md"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    paths = sorted({ROOT / name for name in output.split("\0") if name})
    return [path for path in paths if path.is_file()]


def broken(page: Path, root: Path = ROOT) -> Iterator[str]:
    """Yield the links of a page that lead nowhere or out of ``root``."""
    for section in sections(page):
        for link in links(section):
            if link.startswith(("https://", "http://", "mailto:")):
                continue
            place, _, name = link.partition("#")
            target = (page.parent / place).resolve() if place else page
            is_inside = target.is_relative_to(root)
            if not is_inside or not target.exists() or (name and not _has(target, name)):
                yield link


def _has(page: Path, name: str) -> bool:
    return page.suffix == ".md" and name in {anchor(each.title) for each in sections(page)}


def test_every_link_leads_somewhere_inside() -> None:
    found = {str(page.relative_to(ROOT)): list(broken(page)) for page in pages()}
    assert {page: links for page, links in found.items() if links} == {}


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [
        ("other.md", False),
        ("other.md#a-name", False),
        ("#here", False),
        ("https://example.org/x", False),
        ("missing.md", True),
        ("other.md#missing", True),
        ("#missing", True),
        ("../../else.md", True),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, link: str, is_broken: bool) -> None:
    docs = tmp_path / "root" / "docs"
    docs.mkdir(parents=True)
    (tmp_path / "else.md").write_text("outside")
    (docs / "other.md").write_text("# A name\n")
    page = docs / "page.md"
    page.write_text(f"# Here\n\nsee [it]({link}) and `[code](nowhere)`\n")
    assert list(broken(page, tmp_path / "root")) == ([link] if is_broken else [])


def test_every_page_is_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "docs" / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for section in sections(page):
            targets = (link.partition("#")[0] for link in links(section) if "://" not in link)
            paths = ((page.parent / target).resolve() for target in targets if target)
            waiting += [path for path in paths if path.suffix == ".md" and path.exists()]
    written = {page for page in pages() if page.is_relative_to(ROOT / "docs")}
    assert written - reached == set()
