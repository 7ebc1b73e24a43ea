"""Read what the documentation's tests need of Markdown: sections, tables, fences and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_HEADING = re.compile(r"(#{1,6}) (.+?)\s*$")
_FENCE = re.compile(r"(```+|~~~+)\s*(\S*)")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^()\s]+)\)")
_CODE = re.compile(r"(`+)(.+?)\1")
_CELL_BORDER = re.compile(r"(?<!\\)\|")


@dataclass
class Fence:
    """A fenced block; ``line`` is where its content begins, from 1."""

    language: str
    line: int
    lines: list[str] = field(default_factory=list)


@dataclass
class Section:
    """A heading with its own text: what stands before the next heading of any level."""

    level: int
    title: str
    path: tuple[str, ...]
    lines: list[str] = field(default_factory=list)
    fences: list[Fence] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def name(self) -> str:
        """The heading without its backticks."""
        return self.title.strip("`")

    def tables(self) -> list[list[dict[str, str]]]:
        """Return the section's tables: each a list of rows by column name."""
        found: list[list[dict[str, str]]] = []
        rows: list[list[str]] = []
        for line in [*self.lines, ""]:
            if line.startswith("|"):
                rows.append(cells(line))
            elif rows:
                head, _, *body = rows
                found.append([dict(zip(head, row, strict=True)) for row in body])
                rows = []
        return found


def cells(line: str) -> list[str]:
    """Split a table's line; a bar behind a backslash stands for itself."""
    parts = _CELL_BORDER.split(line.strip().strip("|"))
    return [part.strip().replace("\\|", "|") for part in parts]


def sections(path: Path) -> list[Section]:
    """Return a page's sections in order; the text before the first heading has level 0."""
    found = [Section(0, "", ())]
    above: list[str] = []
    fence: Fence | None = None
    end = ""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if fence is not None:
            if line.strip() == end:
                fence = None
            else:
                fence.lines.append(line)
        elif match := _FENCE.match(line):
            end = match[1]
            fence = Fence(match[2], number + 1)
            found[-1].fences.append(fence)
        elif match := _HEADING.match(line):
            del above[len(match[1]) - 1 :]
            above += [""] * (len(match[1]) - 1 - len(above)) + [match[2].strip("`")]
            found.append(Section(len(match[1]), match[2], tuple(above)))
        else:
            found[-1].lines.append(line)
    return found


def under(page: list[Section], title: str) -> list[Section]:
    """Return the sections below the one heading ``title``, itself first."""
    (start,) = [number for number, each in enumerate(page) if each.name == title]
    level = page[start].level
    below = [page[start]]
    for each in page[start + 1 :]:
        if each.level <= level:
            break
        below.append(each)
    return below


def links(section: Section) -> Iterator[str]:
    """Yield the targets of a section's links, code left out."""
    for line in [section.title, *section.lines]:
        yield from _LINK.findall(_CODE.sub("", line))


def codes(text: str) -> list[str]:
    """Return what stands in single backticks."""
    return [match[2] for match in _CODE.finditer(text)]


def anchor(title: str) -> str:
    """Return the anchor that a heading gets where the pages are shown."""
    kept = re.sub(r"[^\w\- ]", "", title.lower())
    return kept.replace(" ", "-")
