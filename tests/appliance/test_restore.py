"""A restore in real directories: whole or absent, and never with keys that are too old."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance import backups, restore
from appliance.administration import replicas as administration
from appliance.check import check
from appliance.config import FILE_NAME, Config, ReplicasSection, StoreSection
from appliance.context import SITE
from appliance.directory.commands import CreatePerson
from appliance.replicas import make_in, open_in
from appliance.restore import OlderReplicaError, Plan, RestoreReport, UsedDirectoryError
from appliance.site import Site, data_ports
from store.backup import MANIFEST_NAME, NoBackupError
from store.clocks import SystemClock, SystemEntropy
from store.engine.txn import Txn
from store.errors import IntegrityError, VaultLockedError
from store.replica import ForeignReplicaError, ReplicaError
from store.vault import STANDARD, Argon2Cost, NoWrap, PassphraseWrap, Wrap

MAP_BYTES = 1 << 26
ENTROPY = SystemEntropy()
STEPS = ["verify", "copy", "keys", "replay", "views", "renew", "check"]


class Office:
    """A site in directories, with a key replica and backups."""

    def __init__(self, path: Path, wrap: Wrap) -> None:
        self.path, self.wrap = path, wrap
        self.data, self.keys, self.replica = path / "data", path / "keys", path / "replica"
        self.site = Site.create(data_ports(self.data, self.keys, MAP_BYTES), wrap, name="Office")
        self.config = Config(
            store=StoreSection(MAP_BYTES), replicas=ReplicasSection((str(self.replica),))
        )
        self.settings(self.replica)
        make_in(self.replica, wrap, ENTROPY, node=self.site.core.log.node)
        self.enrol("alice")
        self.sync()

    def settings(self, *replicas: Path) -> None:
        named = ", ".join(f'"{path}"' for path in replicas)
        text = f"[store]\nmap_bytes = {MAP_BYTES}\n\n[replicas]\ndirectories = [{named}]\n"
        (self.data / FILE_NAME).write_text(text)

    def enrol(self, login: str) -> None:
        self.site.run(SITE, CreatePerson(login, login.title()))

    def sync(self, directory: Path | None = None) -> None:
        opened = open_in(directory or self.replica, self.wrap, ENTROPY)
        with self.site.ports.engine.snapshot() as reader:
            opened.replica.sync(reader, self.site.vault, SystemClock().wall_ms())
        opened.close()

    def switch(self) -> None:
        """Change the root, as a destruction does: a part of no operation goes."""
        vault, engine = self.site.vault, self.site.ports.engine
        with engine.snapshot() as reader:
            txn = Txn(reader)
            locator, _ = vault.seal(txn, 1, STANDARD, b"part", b"context", 1)
            vault.doom(txn, [locator])
            switch = vault.begin_switch(txn)
            assert switch is not None
            switch.write()
            engine.batch(txn.writes, self.site.token)
            switch.finish(engine)
        self.site.close()
        self.site = Site.open(data_ports(self.data, self.keys, MAP_BYTES), self.wrap)

    def back_up(self, name: str = "backup") -> Path:
        backups.create(self.site, self.config, self.data, self.path / name)
        return self.path / name

    def plan(self, name: str = "backup", **changes: object) -> Plan:
        plan = Plan(
            self.path / name,
            (self.replica,),
            self.path / "new",
            self.path / "newkeys",
            self.wrap,
            {"keys.directory": "../newkeys"},
        )
        return replace(plan, **changes)  # type: ignore[arg-type]

    def restore(self, plan: Plan | None = None) -> tuple[RestoreReport, list[str]]:
        told: list[str] = []
        chosen = plan or self.plan()
        report = restore.restore(chosen, clock=SystemClock(), entropy=ENTROPY, tell=told.append)
        return report, told

    def restored(self) -> Site:
        return Site.open(data_ports(self.path / "new", self.path / "newkeys", MAP_BYTES), self.wrap)

    def names(self) -> set[str]:
        return {path.name for path in self.path.iterdir()}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path, NoWrap())
    yield made
    made.site.close()


def test_a_site_comes_back_with_everybody_and_its_settings(office: Office) -> None:
    office.back_up()
    before = office.site.core.log.head.pos
    office.enrol("late")
    office.sync()
    report, told = office.restore()
    assert told == [*STEPS, "root"]
    assert (report.operations, report.surviving) == (before, before)
    assert report.lost == office.site.core.log.head.pos - before > 0
    assert report.node == office.site.core.log.node
    assert not report.is_dry_run
    settings = (office.path / "new" / FILE_NAME).read_text()
    assert 'directory = "../newkeys"' in settings
    assert str(office.replica) in settings
    site = office.restored()
    assert site.core.directory.resolve("alice") is not None
    assert site.core.directory.resolve("late") is None
    assert site.core.log.breach is None
    with site.ports.engine.snapshot() as reader:
        assert check(site.core, reader) == []
    site.close()
    present = sorted(path.name for path in (office.path / "new").iterdir())
    assert present == ["fence", "store", FILE_NAME]
    assert (office.path / "new" / "store" / "data.mdb").stat().st_mode & 0o777 == 0o600


def test_a_dry_run_tells_the_same_and_leaves_nothing(office: Office) -> None:
    office.back_up()
    before = office.names()
    rehearsed, told = office.restore(office.plan(is_dry_run=True))
    assert told == STEPS
    assert office.names() == before
    report, _ = office.restore()
    assert (rehearsed.operations, rehearsed.surviving) == (report.operations, report.surviving)
    assert rehearsed.is_dry_run


def test_a_dry_run_in_a_directory_that_is_there_leaves_it_as_it_was(office: Office) -> None:
    office.back_up()
    for name in ("lost+found", "run"):
        (office.path / "new" / name).mkdir(parents=True)
    office.restore(office.plan(is_dry_run=True))
    assert {path.name for path in (office.path / "new").iterdir()} == {"lost+found", "run"}


def test_the_replica_is_only_read(office: Office) -> None:
    office.back_up()
    slots = [(office.replica / name).read_bytes() for name in ("root.0", "root.1")]
    data = (office.replica / "store" / "data.mdb").read_bytes()
    office.restore()
    assert [(office.replica / name).read_bytes() for name in ("root.0", "root.1")] == slots
    assert (office.replica / "store" / "data.mdb").read_bytes() == data


def test_the_wrap_of_the_replica_protects_the_new_keys(tmp_path: Path) -> None:
    office = Office(tmp_path, PassphraseWrap(b"correct", Argon2Cost(8, 1, 1)))
    office.back_up()
    with pytest.raises(VaultLockedError):
        office.restore(office.plan(wrap=PassphraseWrap(b"wrong", Argon2Cost(8, 1, 1))))
    assert not {"new", "newkeys"} & office.names()
    office.restore()
    office.restored().close()
    with pytest.raises(VaultLockedError):
        Site.open(data_ports(office.path / "new", office.path / "newkeys", MAP_BYTES), NoWrap())
    office.site.close()


@pytest.mark.parametrize("used", ["new/file", "newkeys/root.0"])
def test_a_directory_in_use_is_never_touched(office: Office, used: str) -> None:
    office.back_up()
    (office.path / used).parent.mkdir()
    (office.path / used).write_text("mine")
    with pytest.raises(UsedDirectoryError):
        office.restore()
    assert (office.path / used).read_text() == "mine"


@pytest.mark.parametrize(
    "changes",
    [{"keys": "new/keys"}, {"keys": "replica/keys"}, {"data": "backup/data"}, {"keys": "new"}],
)
def test_what_is_restored_lies_apart(office: Office, changes: dict[str, str]) -> None:
    office.back_up()
    plan = office.plan()
    places = {"data": plan.data, "keys": plan.keys}
    places |= {name: office.path / place for name, place in changes.items()}
    with pytest.raises(UsedDirectoryError):
        office.restore(replace(plan, **places))  # type: ignore[arg-type]


@pytest.mark.parametrize("last", ["write_settings", "_sync"])
def test_a_restore_that_fails_leaves_neither_data_nor_keys(
    office: Office, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    office.back_up()
    before = office.names()
    genuine = getattr(restore, last)

    def fail(path: Path, *more: object) -> None:
        if last == "write_settings" or (office.path / "newkeys").exists():
            raise IntegrityError("at the last moment")
        genuine(path, *more)

    monkeypatch.setattr(restore, last, fail)
    with pytest.raises(IntegrityError):
        office.restore()
    assert office.names() == before


def test_an_interrupted_restore_is_begun_anew(office: Office) -> None:
    office.back_up()
    new = office.path / "new"
    (new / "store").mkdir(parents=True)
    (new / "store" / "data.mdb").write_bytes(b"half of it")
    (new / restore.MARK_NAME).touch()
    office.restore()
    assert not (new / restore.MARK_NAME).exists()
    office.restored().close()


def test_nothing_opens_the_new_data_before_the_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.back_up()
    seen: list[bool] = []

    def tell(step: str) -> None:
        seen.append((office.path / "newkeys").exists())

    restore.restore(office.plan(), clock=SystemClock(), entropy=ENTROPY, tell=tell)
    assert seen == [False] * (len(STEPS) + 1)


def test_a_changed_backup_is_refused_before_anything_is_made(office: Office) -> None:
    path = office.back_up()
    data = path / "store" / "data.mdb"
    content = data.read_bytes()
    data.write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))
    with pytest.raises(IntegrityError):
        office.restore()
    assert "new" not in office.names()
    data.write_bytes(content)
    with pytest.raises(IntegrityError):
        office.restore(office.plan(key=b"k" * 32))
    (path / MANIFEST_NAME).unlink()
    with pytest.raises(NoBackupError):
        office.restore()


def test_a_backup_that_changes_while_it_is_read_is_refused(office: Office) -> None:
    data = office.back_up() / "store" / "data.mdb"

    def tell(step: str) -> None:
        if step == "copy":
            content = data.read_bytes()
            data.write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))

    with pytest.raises(IntegrityError, match="changed"):
        restore.restore(office.plan(), clock=SystemClock(), entropy=ENTROPY, tell=tell)
    assert "new" not in office.names()


def test_a_replica_older_than_the_backup_is_refused(office: Office) -> None:
    office.switch()
    office.back_up()
    with pytest.raises(OlderReplicaError):
        office.restore()
    office.sync()
    office.restore()


def test_of_several_replicas_the_newest_counts(office: Office) -> None:
    second = office.path / "second"
    make_in(second, NoWrap(), ENTROPY, node=office.site.core.log.node)
    office.back_up()
    office.switch()
    office.sync(second)
    report, _ = office.restore(office.plan(replicas=(office.replica, second)))
    assert (report.replica, report.replica_generation) == (str(second), 2)


def test_a_newer_replica_that_the_site_had_is_not_passed_over(office: Office) -> None:
    second = office.path / "second"
    make_in(second, NoWrap(), ENTROPY, node=office.site.core.log.node)
    office.settings(office.replica, second, office.path / "lost")
    office.back_up()
    office.switch()
    office.sync(second)
    with pytest.raises(OlderReplicaError, match="second"):
        office.restore()
    assert "new" not in office.names()


def test_no_replica_and_a_strangers_replica_are_refused(office: Office) -> None:
    office.back_up()
    empty, foreign = office.path / "empty", office.path / "foreign"
    make_in(empty, NoWrap(), ENTROPY, node=office.site.core.log.node)
    for directory in (empty, office.path / "nowhere"):
        with pytest.raises(ReplicaError):
            office.restore(office.plan(replicas=(directory,)))
    other = Office(office.path / "other", NoWrap())
    with pytest.raises(ForeignReplicaError):
        office.restore(office.plan(replicas=(other.replica,)))
    other.site.close()
    del foreign


def test_a_restored_site_takes_its_replica_with_it(office: Office) -> None:
    office.back_up()
    office.restore()
    site = office.restored()
    config = Config(replicas=ReplicasSection((str(office.replica),)))
    (follower,) = administration.followers(site, config, office.path / "new")
    assert administration.attempt(site, follower).error == ""
    (left_behind,) = administration.followers(office.site, office.config, office.data)
    assert administration.attempt(office.site, left_behind).error == "replica.foreign"
    site.close()


def test_a_backup_without_settings_gets_those_of_the_plan(office: Office) -> None:
    (office.data / FILE_NAME).unlink()
    office.back_up()
    office.restore()
    assert '[keys]\ndirectory = "../newkeys"' in (office.path / "new" / FILE_NAME).read_text()
