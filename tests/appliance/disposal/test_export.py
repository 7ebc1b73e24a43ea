"""An export has every leaf, key and checkpoint once, whole or page by page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.disposal import export
from appliance.disposal.export import Page
from store import notes, verifier
from store.engine.txn import Txn
from store.errors import IntegrityError
from store.tables import LEDGER
from tests.appliance.disposal.proofbox import LEAVES, SCOPE_KEY, SITE_PUBLIC, ProofBox
from tests.store.logbox import message, privileged
from transports.wire.errors import Refusal


def grown() -> ProofBox:
    """A ledger with four checkpoints by three keys of the day, and leaves behind the last."""
    site = ProofBox()
    for day in (0, 0, 1, 2):
        site.day += day
        site.checkpoint()
        site.box.append(*[privileged()] * 5)
    return site


SITE = grown()
WHOLE = SITE.export()


def page_of(site: ProofBox, after: str, most: int) -> Page:
    return site.box.read(lambda txn: export.page(site.box.log, txn, 1, after, most))


def pages(most: int) -> Iterator[tuple[str, ...]]:
    after = ""
    while True:
        page = page_of(SITE, after, most)
        yield page.lines
        after = page.after
        if not after:
            return


def test_an_export_has_everything_up_to_the_newest_checkpoint() -> None:
    lines = WHOLE.splitlines()
    assert WHOLE.endswith("\n")
    assert lines[0] == verifier.LEDGER
    newest = SITE.box.read(lambda reader: notes.newest_checkpoint(reader, 1))
    assert newest is not None
    assert lines.count("checkpoints: 4") == lines.count("day keys: 3") == 1
    leaves = lines[lines.index(f"leaves: {newest.size}") + 1 :]
    assert len(leaves) == newest.size < SITE.box.log.ledger.size
    assert {leaf.partition(" ")[0] for leaf in leaves} == {"operation", "segment"}
    assert verifier.verify(None, WHOLE, SITE_PUBLIC)


def test_lines_come_one_by_one() -> None:
    def work(txn: Txn) -> list[str]:
        made = export.lines(SITE.box.log, txn, 1)
        return [next(made) for _ in range(3)]

    assert "".join(SITE.box.read(work)) == "".join(WHOLE.splitlines(keepends=True)[:3])


@settings(max_examples=30)
@given(st.integers(1, 60))
def test_pages_add_up_to_the_whole(most: int) -> None:
    parts = list(pages(most))
    assert [line for lines in parts for line in lines] == WHOLE.splitlines()
    assert all(len(lines) <= most + 5 for lines in parts[1:])
    assert all(parts)


def test_later_pages_are_of_the_same_tree() -> None:
    site = grown()
    before = site.export().splitlines()
    lines: list[str] = []
    after = ""
    while True:
        page = page_of(site, after, 7)
        lines += page.lines
        after = page.after
        if not after:
            break
        site.box.append(privileged(), message())
        site.day += 1
        site.checkpoint()
    assert lines == before


@pytest.mark.parametrize(
    "after",
    [
        "x",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "1.6.6.x",
        "1.99.5.0",
        "9.6.6.0",
        "1.{size}.0.{size}",
        "1.{size}.0.-1",
        "1.{size}.-1.0",
        "1.{size}.99.0",
        "99999999999.6.6.0",
        "-1.6.6.0",
        "1.{huge}.0.0",
    ],
)
def test_a_place_that_no_page_has_given_is_refused(after: str) -> None:
    newest = SITE.box.read(lambda reader: notes.newest_checkpoint(reader, 1))
    assert newest is not None
    text = after.format(size=newest.size, huge=1 << 80)
    with pytest.raises(Refusal) as caught:
        page_of(SITE, text, 9)
    assert caught.value.code == "request.invalid"


def test_a_ledger_without_a_checkpoint_is_not_exported() -> None:
    site = ProofBox()
    with pytest.raises(IntegrityError):
        site.export()
    with pytest.raises(IntegrityError):
        page_of(site, "", 9)


def test_a_damaged_ledger_is_not_exported() -> None:
    site = grown()
    key = LEDGER.key(1, 0, 3)
    site.box.medium.rows[key] = bytes(32) + site.box.medium.rows[key][32:]
    with pytest.raises(IntegrityError):
        site.export()


def test_an_empty_ledger_is_one_page() -> None:
    site = ProofBox()
    site.box.commit(site.box.log.renew)
    site.checkpoint()
    page = site.box.read(lambda txn: export.page(site.box.log, txn, 2, "", 100))
    assert page.after == ""
    assert "".join(line + "\n" for line in page.lines) == site.export()


def test_a_scope_comes_back() -> None:
    text = "".join(export.scope(12, SCOPE_KEY, LEAVES))
    assert verifier.read_scope(text) == (12, SCOPE_KEY, LEAVES)
    assert text.startswith("strongroom-scope/1\nrun: 12\nkey: ")
