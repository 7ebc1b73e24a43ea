"""The page of a certificate says what its text says, and nothing in it can run."""

from __future__ import annotations

from html.parser import HTMLParser

from cli.certificate_page import page
from tests.store.test_verifier import CERTIFICATE

VOID = {"meta"}


class Reader(HTMLParser):
    """Gathers the cells of a page, and sees that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("th", "td", "pre"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("th", "td", "pre"):
            self.cells[-1] += data


def test_every_line_is_on_the_page() -> None:
    read = Reader(page(CERTIFICATE))
    head, _, proof = CERTIFICATE.partition("\n\n")
    lines = [line.partition(": ")[2] for line in head.split("\n")[1:]]
    text = page(CERTIFICATE)
    assert read.cells[-1] == proof
    assert all(line in read.cells or line in text for line in lines)
    assert "Certificate of destruction, run" in text


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    text = page(CERTIFICATE)
    assert not Reader(text).tags & {"script", "link", "img", "iframe", "a", "form"}
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")


def test_what_a_certificate_says_is_no_markup() -> None:
    forged = CERTIFICATE.replace("cause: ", "cause: <script>alert(1)</script>", 1)
    read = Reader(page(forged))
    assert "script" not in read.tags
    assert any("<script>" in cell for cell in read.cells)
