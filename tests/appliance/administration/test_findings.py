"""A deep look begins anew when keys are destroyed meanwhile, and takes that for no damage."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.administration.findings import deep
from appliance.context import SITE
from appliance.directory.commands import CreatePerson
from appliance.site import Ports, Site
from store.clocks import ManualClock, SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import MemoryEngine
from store.reading import READ_ATTEMPTS
from store.vault import NoWrap, StaleSnapshotError
from tests.appliance.restless import RestlessEngine


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
