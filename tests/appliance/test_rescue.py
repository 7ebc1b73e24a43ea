"""A site whose keys are lost gets its root again, from a replica that was in step, and no other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.check import check
from appliance.replicas import make_in
from appliance.rescue import OutOfStepError, rescue
from appliance.restore import UsedDirectoryError
from appliance.site import AbsentError, Site, data_ports
from store.errors import VaultLockedError
from store.replica import ForeignReplicaError, ReplicaError
from store.vault import Argon2Cost, NoWrap, PassphraseWrap
from tests.appliance.office import ENTROPY, MAP_BYTES, Office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path, NoWrap())
    yield made
    made.site.close()


def lose_keys(office: Office) -> None:
    office.site.close()
    shutil.rmtree(office.keys)


def save(office: Office, replica: Path | None = None) -> int:
    return rescue(office.data, office.keys, replica or office.replica, office.wrap, ENTROPY)


def test_nothing_is_lost_when_only_the_keys_were(office: Office) -> None:
    office.enrol("late")
    office.switch()
    office.sync()
    before = office.site.core.log.head
    lose_keys(office)
    assert save(office) == 2
    site = office.site = Site.open(data_ports(office.data, office.keys, MAP_BYTES), office.wrap)
    assert site.core.log.head == before
    assert site.core.directory.resolve("late") is not None
    with site.ports.engine.snapshot() as reader:
        assert check(site.core, reader) == []
    assert not (office.keys / "root.1").read_bytes().strip(b"\0")


def test_a_root_that_is_lost_while_the_server_runs_comes_back_from_its_memory(
    office: Office,
) -> None:
    """Show that the runbook's way works: no replica is left, and one more is made in time."""
    for file in office.keys.iterdir():
        file.unlink()
    shutil.rmtree(office.replica)
    replica = office.path / "second"
    make_in(replica, office.wrap, ENTROPY, node=office.site.core.log.node)
    office.sync(replica)
    before = office.site.core.log.head
    lose_keys(office)
    save(office, replica)
    office.site = Site.open(data_ports(office.data, office.keys, MAP_BYTES), office.wrap)
    assert office.site.core.log.head == before


def test_a_replica_that_was_not_in_step_is_refused(office: Office) -> None:
    office.switch()
    lose_keys(office)
    with pytest.raises(OutOfStepError):
        save(office)
    assert not office.keys.exists()


def test_keys_that_are_there_are_never_overwritten(office: Office) -> None:
    office.site.close()
    root = (office.keys / "root.0").read_bytes()
    with pytest.raises(UsedDirectoryError):
        save(office)
    assert (office.keys / "root.0").read_bytes() == root


def test_only_the_sites_own_complete_replica_will_do(office: Office) -> None:
    other = Office(office.path / "other", NoWrap())
    other.site.close()
    empty = office.path / "empty"
    make_in(empty, NoWrap(), ENTROPY, node=office.site.core.log.node)
    lose_keys(office)
    with pytest.raises(ForeignReplicaError):
        save(office, other.replica)
    for directory in (empty, office.path / "nowhere"):
        with pytest.raises(ReplicaError):
            save(office, directory)
    with pytest.raises(AbsentError):
        rescue(office.path / "nowhere", office.keys, office.replica, office.wrap, ENTROPY)


def test_the_wrap_is_needed(tmp_path: Path) -> None:
    office = Office(tmp_path, PassphraseWrap(b"right", Argon2Cost(8, 1, 1)))
    lose_keys(office)
    office.wrap = PassphraseWrap(b"wrong", Argon2Cost(8, 1, 1))
    with pytest.raises(VaultLockedError):
        save(office)
    office.wrap = PassphraseWrap(b"right", Argon2Cost(8, 1, 1))
    assert save(office) == 1
    office.site = Site.open(data_ports(office.data, office.keys, MAP_BYTES), office.wrap)
    office.wrap = office.site.wrap
    office.sync()
    office.site.close()
