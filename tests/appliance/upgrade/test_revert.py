"""A store goes back in its place: whole or not at all, under the keys as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.administration.findings import shallow
from appliance.check import check
from appliance.config import Config, KeysSection
from appliance.site import AbsentError, Site, data_ports
from appliance.upgrade import paths
from appliance.upgrade import revert as reverting
from appliance.upgrade.revert import RevertReport, lost_since, revert
from store import schema
from store.backup import NoBackupError
from store.clocks import SystemClock
from store.errors import EngineError, IntegrityError, VaultLockedError
from store.vault import Argon2Cost, NoWrap, PassphraseWrap, Wrap
from tests.appliance.office import ENTROPY, MAP_BYTES, Office

STEPS = ["verify", "copy", "keys", "replay", "views", "renew", "check", "exchange"]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path, NoWrap())
    yield made
    made.site.close()


def go_back(office: Office, wrap: Wrap | None = None) -> tuple[RevertReport, list[str]]:
    told: list[str] = []
    report = revert(
        office.data,
        office.keys,
        office.path / "backup",
        wrap or office.wrap,
        map_bytes=MAP_BYTES,
        clock=SystemClock(),
        entropy=ENTROPY,
        tell=told.append,
    )
    return report, told


def reopened(office: Office) -> Site:
    office.site = Site.open(data_ports(office.data, office.keys, MAP_BYTES), office.wrap)
    return office.site


def logins(site: Site) -> set[str]:
    return {person.login for person in site.core.directory.people()}


def is_whole(site: Site) -> bool:
    with site.ports.engine.snapshot() as reader:
        return check(site.core, reader) == []


def test_what_came_after_the_snapshot_is_lost_and_counted(office: Office) -> None:
    office.back_up()
    before = office.site.core.log.head.pos
    incarnation = office.site.core.log.head.incarnation
    office.enrol("late")
    lost = office.site.core.log.head.pos - before
    office.site.close()
    assert lost_since(office.data, office.path / "backup", MAP_BYTES) == lost > 0
    report, told = go_back(office)
    assert told == STEPS
    assert (report.operations, report.lost) == (before, lost)
    assert report.old_incarnation == f"{incarnation:016x}"
    site = reopened(office)
    assert logins(site) == {"alice"}
    assert f"{site.core.log.head.incarnation:016x}" == report.new_incarnation
    assert site.core.log.breach is None
    assert is_whole(site)
    assert not (office.data / reverting.SCRATCH_NAME).exists()


def test_the_keys_are_those_of_now_and_the_replica_follows(office: Office) -> None:
    office.back_up()
    office.switch()
    office.sync()
    generation = office.site.vault.generation
    slots = {path.name: path.read_bytes() for path in office.keys.iterdir()}
    office.site.close()
    go_back(office)
    assert {path.name: path.read_bytes() for path in office.keys.iterdir()} == slots
    site = reopened(office)
    # The first start after it lets go of the keys of what was sealed since the snapshot.
    assert site.vault.generation == generation + 1
    office.sync()
    assert is_whole(site)


def test_going_back_twice_is_as_going_back_once(office: Office) -> None:
    office.back_up()
    office.enrol("late")
    office.site.close()
    first, _ = go_back(office)
    second, _ = go_back(office)
    assert second.operations == first.operations
    assert logins(reopened(office)) == {"alice"}
    assert is_whole(office.site)


def test_a_failure_before_the_exchange_leaves_the_store_as_it_was(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.back_up()
    office.enrol("late")
    office.site.close()

    def fail(*_: object) -> None:
        raise EngineError("no")

    monkeypatch.setattr(reverting, "exchange", fail)
    with pytest.raises(EngineError):
        go_back(office)
    site = reopened(office)
    assert logins(site) == {"alice", "late"}
    assert site.core.log.breach is None
    assert not (office.data / reverting.SCRATCH_NAME).exists()


def test_a_cut_between_store_and_fence_costs_an_incarnation_and_no_more(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.back_up()
    office.enrol("late")
    office.site.close()
    count = 0

    def once(one: Path, other: Path) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise EngineError("cut")
        paths.exchange(one, other)

    monkeypatch.setattr(reverting, "exchange", once)
    with pytest.raises(EngineError):
        go_back(office)
    site = reopened(office)
    assert logins(site) == {"alice"}
    assert site.core.log.breach is not None
    assert is_whole(site)


def test_what_a_crash_left_behind_is_removed(office: Office) -> None:
    office.back_up()
    office.site.close()
    (office.data / reverting.SCRATCH_NAME / "store").mkdir(parents=True)
    (office.data / reverting.SCRATCH_NAME / "store" / "data.mdb").write_bytes(b"half")
    go_back(office)
    assert is_whole(reopened(office))


def test_doctor_removes_what_a_crash_left_and_says_so_once(office: Office) -> None:
    (office.data / reverting.SCRATCH_NAME / "store").mkdir(parents=True)
    config = Config(keys=KeysSection(str(office.keys)))
    found = [each.id for each in shallow(office.site, config, office.data, [])]
    assert "upgrade.leftover" in found
    assert not (office.data / reverting.SCRATCH_NAME).exists()
    found = [each.id for each in shallow(office.site, config, office.data, [])]
    assert "upgrade.leftover" not in found


def test_a_store_of_a_newer_program_comes_back_readable(office: Office) -> None:
    office.back_up()
    engine = office.site.ports.engine
    token = engine.acquire()
    schema.bring_up_store(engine, token, [*schema.STEPS, *schema.STEPS])
    office.site.close()
    ports = data_ports(office.data, office.keys, MAP_BYTES)
    with pytest.raises(schema.NewerSchemaError):
        Site.open(ports, office.wrap)
    ports.close()
    go_back(office)
    assert is_whole(reopened(office))


def test_a_changed_snapshot_and_one_of_another_site_are_refused(
    office: Office, tmp_path: Path
) -> None:
    office.back_up()
    office.site.close()
    (tmp_path / "other").mkdir()
    other = Office(tmp_path / "other", NoWrap())
    other.site.close()
    (tmp_path / "other" / "backup").symlink_to(tmp_path / "backup")
    with pytest.raises(IntegrityError, match="another key"):
        go_back(other)
    with (tmp_path / "backup" / "store" / "data.mdb").open("r+b") as file:
        file.seek(8192)
        file.write(b"changed")
    with pytest.raises(IntegrityError, match="not what was backed up"):
        go_back(office)
    assert is_whole(reopened(office))


def test_without_snapshot_data_or_passphrase_nothing_happens(tmp_path: Path) -> None:
    wrap = PassphraseWrap(b"horse", Argon2Cost(8, 1, 1))
    office = Office(tmp_path, wrap)
    office.site.close()
    with pytest.raises(NoBackupError):
        go_back(office)
    reopened(office)
    office.back_up()
    office.site.close()
    with pytest.raises(VaultLockedError):
        go_back(office, PassphraseWrap(b"donkey"))
    assert is_whole(reopened(office))
    office.site.close()
    (tmp_path / "data" / "store").rename(tmp_path / "gone")
    with pytest.raises(AbsentError):
        go_back(office)
