"""Keys that are destroyed meanwhile are no damage: a deep look begins anew, a quick one again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from appliance.administration import Administration
from appliance.administration.findings import deep
from appliance.context import SITE
from appliance.directory.commands import CreatePerson
from appliance.site import Ports, Site
from store.clocks import ManualClock, SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import MemoryEngine
from store.reading import READ_ATTEMPTS
from store.vault import NoWrap, StaleSnapshotError
from store.vault.slots import SLOT_BYTES, SLOT_NAMES
from tests.appliance.administration.test_administration import FakeHost
from tests.appliance.restless import RestlessEngine
from tests.appliance.test_doctor import Place


@pytest.fixture
def site() -> Site:
    ports = Ports(
        ManualClock(), SeededEntropy("findings"), MemoryEngine(), MemoryDisk(), MemoryDisk()
    )
    made = Site.create(ports, NoWrap(), name="Test hospital")
    for login in ("alice", "bob"):
        made.run(SITE, CreatePerson(login, login.title()))
    return made


def restless(site: Site, *reads: int) -> RestlessEngine:
    """Let snapshots become stale at these reads, one after the other; the last goes on."""
    plan = iter(reads)
    engine = RestlessEngine(site, lambda: next(plan, reads[-1]))
    ports: Any = site.ports
    ports.engine = engine
    return engine


@pytest.mark.parametrize("read", [1, 5, 20])
def test_it_begins_anew_when_keys_are_destroyed_meanwhile(site: Site, read: int) -> None:
    engine = restless(site, read, read, 0)
    assert deep(site) == []
    assert engine.stale == 2


def test_it_gives_up_when_that_never_ends(site: Site) -> None:
    engine = restless(site, 1)
    with pytest.raises(StaleSnapshotError):
        deep(site)
    assert engine.stale == READ_ATTEMPTS


def test_a_snapshot_that_becomes_stale_while_views_are_rebuilt_is_no_damage(site: Site) -> None:
    """Whichever read is the last before the keys change, there is nothing to find."""
    for read in range(1, 200, 7):
        engine = restless(site, read, 0)
        assert deep(site) == []
        ports: Any = site.ports
        ports.engine = engine.real


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path, monkeypatch)
    yield made
    made.site.close()


class _Switching(FakeHost):
    """A host whose key directory has a leftover for a moment, as a switch has."""

    def __init__(self, place: Place, seconds: float) -> None:
        super().__init__(place.site)
        self._file, self._seconds = place.keys / SLOT_NAMES[1], seconds
        self._blank = self._file.read_bytes()
        self._file.write_bytes(os.urandom(SLOT_BYTES))

    async def end(self) -> None:
        await trio.sleep(self._seconds)
        self._file.write_bytes(self._blank)


@pytest.mark.parametrize(("seconds", "is_found"), [(0.5, False), (1.5, True)])
def test_what_a_switch_shows_for_a_moment_is_no_finding(
    place: Place, seconds: float, is_found: bool
) -> None:
    host: Any = _Switching(place, seconds)

    async def main() -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.end)
            request = {"command": "doctor", "arguments": {}}
            return await Administration(host, lambda: None).answer(0, request)

    answer = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    ids = {each["id"] for each in answer["ok"]["findings"]}
    assert ("keys.root_leftover" in ids) is is_found
