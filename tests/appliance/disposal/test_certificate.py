"""A certificate is built from the log alone, and its page shows just what the text says."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest

from appliance.disposal import certificate
from appliance.disposal.certificate import build, to_html
from appliance.operations import DayCount
from store import notes, records, verifier
from store.errors import IntegrityError, PartGoneError
from store.logreader import UnknownOpError
from store.records import PartState, Record
from store.tables import LOG
from store.verifier import VerificationError
from tests.appliance.disposal.proofbox import SITE_PUBLIC, ProofBox
from tests.store.logbox import message, privileged

SITE = ProofBox()
TEXT = SITE.certified(clock="<b>&\"'", evidence=("a <script>alert(1)</script>", "病历"))
VOID = {"meta", "br"}


class Page(HTMLParser):
    """A page's tags, which must be balanced, its attributes, and its text by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)


def test_a_certificate_is_the_same_whenever_it_is_built() -> None:
    site = ProofBox()
    op = site.confirm()
    site.checkpoint()
    first = site.certificate(op)
    assert site.certificate(op) == first
    assert len(first.encode()) < 4_000


def test_a_certificate_can_be_built_anew_under_a_later_checkpoint() -> None:
    site = ProofBox()
    op = site.confirm()
    site.checkpoint()
    before = site.certificate(op)
    site.day += 1
    site.box.append(*[privileged()] * 40)
    site.checkpoint()
    after = site.certificate(op)
    assert before != after
    for text in (before, after):
        assert verifier.verify(text, site.export(), SITE_PUBLIC)


def test_a_certificate_needs_no_writer() -> None:
    site = ProofBox()
    op = site.confirm()
    site.checkpoint()
    log = site.box.fresh_reader()
    text = site.box.read(lambda reader: build(log, reader, (op.origin, op.id.seq)))
    assert text == site.certificate(op)


def test_only_confirmed_runs_have_certificates() -> None:
    site = ProofBox()
    op = site.confirm()
    (other,) = site.box.append(message())
    site.checkpoint()

    def ask(origin: int, seq: int) -> str:
        return site.box.read(lambda reader: build(site.box.log, reader, (origin, seq)))

    assert ask(op.origin, op.id.seq)
    for origin, seq in ((other.origin, other.id.seq), (1, 999), (9, 1)):
        with pytest.raises(UnknownOpError):
            ask(origin, seq)


def test_what_no_checkpoint_covers_has_no_certificate() -> None:
    site = ProofBox()
    op = site.confirm()
    with pytest.raises(IntegrityError, match="checkpoint"):
        site.certificate(op)
    site.checkpoint()
    later = site.confirm(run=13)
    with pytest.raises(IntegrityError, match="checkpoint"):
        site.certificate(later)
    assert site.certificate(op)


def test_a_run_whose_own_record_is_destroyed_has_no_new_certificate() -> None:
    site = ProofBox()
    op = site.confirm()
    site.checkpoint()
    key = LOG.key(op.origin, op.id.seq)
    record = Record.unpack(site.box.medium.rows[key])
    gone = PartState.DESTROYED
    site.box.medium.rows[key] = records.repack(record, gone, gone, record.locator, b"")
    with pytest.raises(PartGoneError):
        site.certificate(op)


# --- the page ---------------------------------------------------------------------------------


def test_the_page_holds_the_text_as_the_verifier_reads_it() -> None:
    page = Page(to_html(TEXT))
    (pre,) = page.text["pre"]
    assert pre == "\n" + TEXT
    assert verifier.read(pre[1:])


def test_the_page_says_what_the_text_says() -> None:
    page = Page(to_html(TEXT))
    lines = [line.partition(": ") for line in TEXT.partition("\n\n")[0].splitlines()[1:]]
    shown = page.text["td"] + page.text["time"] + page.text["strong"] + page.text["p"]
    everything = "".join(shown)
    for _key, _, value in lines:
        assert value in everything
    assert {key for key, _, _ in lines} <= set(certificate._LABELS)
    assert page.text["strong"] == ["COMPLETE"]


def test_nothing_in_the_page_runs_or_comes_from_elsewhere() -> None:
    text = to_html(TEXT)
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert names == {"lang", "charset", "name", "content", "scope", "datetime"}
    (style,) = page.text["style"]
    assert not re.search(r"url\(|@import|https?:", text.replace(html.escape(TEXT), ""))
    assert "@page" in style


def test_the_page_can_be_read_by_all() -> None:
    page = Page(to_html(TEXT))
    assert ("lang", "en") in page.attributes
    assert page.text["title"] == ["Certificate of destruction, run 12, 2026-11-24"]
    assert page.tags.count("h1") == 1
    assert page.tags.count("main") == 1
    assert page.attributes.count(("scope", "row")) == page.tags.count("th")
    assert page.tags.count("tr") == page.tags.count("th") == page.tags.count("td")


@pytest.mark.parametrize(("state", "replicas"), [("LOCAL", ()), ("REPLICAS", ()), ("COMPLETE", ())])
def test_only_the_page_of_a_complete_run_says_destroyed(
    state: str, replicas: tuple[object, ...]
) -> None:
    page = to_html(ProofBox().certified(state=state, replicas=replicas))
    assert ("destroyed" in page) is (state == "COMPLETE")


def test_a_changed_text_gets_no_page() -> None:
    for changed in ("", TEXT.replace("parts: 37", "parts: 7"), TEXT + "\n"):
        with pytest.raises(VerificationError):
            to_html(changed)


def test_small_counts_are_not_told() -> None:
    text = ProofBox().certified(counts=(DayCount("chat", 0, 0), DayCount("chat", 1, 5)))
    assert "\nrecords: chat, from 1970-01-01, <5\nrecords: chat, from 1970-01-02, 5\n" in text
    assert "&lt;5</td>" in to_html(text)


def test_the_checkpoint_names_the_log_of_the_operation() -> None:
    note = notes.Checkpoint.read(notes.read(verifier.read(TEXT).checkpoint.encode()).text)
    assert note.log == verifier.read_skeleton(verifier.read(TEXT).skeleton).log
