"""Stores that are torn, full, pinned or copied while a link goes on.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from appliance.operations import HoldPlaced, Kind
from appliance.policy.predicate import Predicate
from store.engine.lmdb import LmdbEngine
from store.errors import EngineFullError
from store.tables import LOG
from sync.pieces import NUMBERED, Lane
from tests.appliance.messaging.harness import House
from tests.appliance.sites import invariants
from tests.appliance.sites.cases import HOMES, begin, new_organisation, say, texts
from tests.appliance.sites.harness import Organisation, OrganisationOf, Place

MAP_BYTES = 6 << 20


class PlaceOnDisk(Place):
    """A site whose store is LMDB in a directory; its small disks are simulated."""

    def __init__(self, seed: int, directory: Path) -> None:
        path = directory / str(seed)
        House.__init__(self, make_engine=lambda: LmdbEngine(path, map_bytes=MAP_BYTES), seed=seed)


class OrganisationOnDisk(Organisation):
    """Headquarters and two branches on LMDB."""

    def __init__(self, directory: Path) -> None:
        OrganisationOf.__init__(self, 2, lambda seed: PlaceOnDisk(seed, directory))
        for login, number in HOMES.items():
            self.enrol(login, self.places[number])
        self.settle()


@pytest.fixture
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    yield found
    found.close()


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Organisation]:
    found = OrganisationOnDisk(tmp_path)
    yield found
    found.close()


def prove(organisation: Organisation) -> None:
    """Prove that all sites agree, that nothing is lost and nothing is there twice."""
    organisation.settle()
    organisation.compare()
    organisation.check()
    invariants.all_but_proofs(place.site for place in organisation.places)


def carry(organisation: Organisation, *, is_up: bool) -> None:
    """Carry everything between the first branch and headquarters, one way."""
    for lane in NUMBERED:
        while organisation.carry(organisation.branches[0], lane, is_up=is_up):
            pass


@pytest.mark.parametrize("is_up", [True, False], ids=["at headquarters", "at a branch"])
def test_04_what_a_torn_page_took_back_comes_again_and_has_its_effect_once(
    organisation: Organisation, is_up: bool
) -> None:
    conv = begin(organisation, "bea", "ann")
    speaker, place = ("bea", organisation.hub) if is_up else ("ann", organisation.branches[0])
    reader = "ann" if is_up else "bea"
    say(organisation, speaker, conv, "first")
    carry(organisation, is_up=is_up)
    say(organisation, speaker, conv, "second")
    for lane in (Lane.CONTROL, Lane.URGENT, Lane.MESSAGES):  # which commits last
        organisation.carry(organisation.branches[0], lane, is_up=is_up)
    assert texts(place, reader, conv) == ["first", "second"]
    place.crash(Random(4), lose_newest_meta=True)
    assert texts(place, reader, conv) == ["first"], "the newest commit was torn"
    prove(organisation)
    assert texts(place, reader, conv) == ["first", "second"]


def test_05_a_branch_with_a_full_disk_acknowledges_nothing_and_still_hears_of_holds(
    organisation: Organisation,
) -> None:
    conv, branch = begin(organisation, "bea", "ann"), organisation.branches[0]
    for _ in range(60):
        say(organisation, "bea", conv, "x" * 8_000)
    organisation.settle()
    say(organisation, "ann", conv, "for the branch")
    before, branch.medium.capacity_bytes = (
        branch.medium.capacity_bytes,
        branch.medium.used_bytes * 11 // 10,
    )
    head = branch.core.log.head
    with pytest.raises(EngineFullError):
        say(organisation, "bea", conv, "never acknowledged")
    hold = HoldPlaced(1, "Case", Predicate(persons=(branch.people["bea"],)), "court")
    organisation.hub.append(Kind.HOLD_PLACED, hold)
    with pytest.raises(EngineFullError):
        carry(organisation, is_up=False)
    assert [each.body.name for each in branch.core.disposal.active_holds()] == ["Case"]
    assert "for the branch" not in texts(branch, "bea", conv)
    assert branch.core.log.head.seq == head.seq
    branch.medium.capacity_bytes = before
    prove(organisation)
    assert texts(organisation.hub, "ann", conv)[-1] == "for the branch"
    assert "never acknowledged" not in texts(branch, "bea", conv)


def test_36_a_slow_reader_sees_one_moment_while_pieces_come_and_the_store_is_compacted(
    on_disk: Organisation, tmp_path: Path
) -> None:
    conv, hub = begin(on_disk, "bea", "ann"), on_disk.hub
    for number in range(20):
        say(on_disk, "bea", conv, f"before {number}")
    on_disk.settle()
    engine = hub.site.ports.engine
    with engine.snapshot() as reader:
        expected = dict(reader.range(*LOG.span()))
        rows = reader.range(*LOG.span())
        seen = dict(next(rows) for _ in range(len(expected) // 2))
        for number in range(20):
            say(on_disk, "bea", conv, f"meanwhile {number}")
            carry(on_disk, is_up=True)
        engine.copy(tmp_path / "compacted")
        for number in range(5):
            say(on_disk, "bea", conv, f"after {number}")
            carry(on_disk, is_up=True)
        seen |= dict(rows)
    assert seen == expected
    copy = LmdbEngine(tmp_path / "compacted", map_bytes=MAP_BYTES, readonly=True)
    with copy.snapshot() as reader:
        copied = dict(reader.range(*LOG.span()))
    copy.close()
    assert len(copied) >= len(expected) + 20
    prove(on_disk)
    assert len(texts(hub, "ann", conv)) == 45


def test_37_a_map_that_a_long_reader_fills_takes_nothing_and_goes_on_once_the_reader_ends(
    on_disk: Organisation,
) -> None:
    conv, hub = begin(on_disk, "bea", "ann"), on_disk.hub
    said = 0

    def until_full(send: Callable[[], None]) -> bool:
        nonlocal said
        for _ in range(500):
            say(on_disk, "bea", conv, f"{said}")
            said += 1
            try:
                send()
            except EngineFullError:
                return True
        return False

    with hub.site.ports.engine.snapshot():
        assert until_full(lambda: carry(on_disk, is_up=True)), "every page was still to be had"
        shown = texts(hub, "ann", conv)
        assert len(shown) < said
        with pytest.raises(EngineFullError):
            carry(on_disk, is_up=True)
        assert texts(hub, "ann", conv) == shown
    prove(on_disk)
    assert texts(hub, "ann", conv)[-1] == f"{said - 1}"
