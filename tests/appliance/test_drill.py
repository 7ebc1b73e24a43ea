"""A drill tells the truth about the newest backup, and leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance import drill as drilling
from appliance import restore
from appliance.drill import (
    SCRATCH_NAME,
    DrillReport,
    DrillRunningError,
    DrillSpaceError,
    Place,
    drill,
    examine_leftovers,
    newest_backup,
    remove_leftovers,
)
from appliance.findings import Severity
from appliance.site import AbsentError
from store.backup import MANIFEST_NAME, NoBackupError
from store.clocks import SystemClock
from store.destruction import mark_destroyed
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import IntegrityError
from store.records import Record
from store.replica import ReplicaError
from store.tables import LEDGER, LOG
from store.vault import NoWrap, Vault
from tests.appliance.office import ENTROPY, MAP_BYTES, Office

STEPS = [
    *("find", "live", "verify", "copy", "keys", "replay", "views", "renew", "check"),
    *("compare", "clear"),
]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path, NoWrap())
    yield made
    made.site.close()


def place_of(office: Office) -> Place:
    return Place(office.data, office.keys, (office.replica,), office.wrap, MAP_BYTES)


def rehearse(
    office: Office, backups: str = "backup", place: Place | None = None
) -> tuple[DrillReport, list[str]]:
    """Drill with the site closed: one process opens a store but once."""
    told: list[str] = []
    office.site.close()
    report = drill(
        place or place_of(office),
        office.path / backups,
        clock=SystemClock(),
        entropy=ENTROPY,
        tell=told.append,
    )
    return report, told


def ids(report: DrillReport) -> list[tuple[str, Severity]]:
    return [(found.id, found.severity) for found in report.findings]


def everything(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def destroy_last(office: Office) -> int:
    """End the newest operation, keys and all, as a run does; return its number."""
    site, engine = office.site, office.site.ports.engine
    head = site.core.log.head
    with engine.snapshot() as reader:
        txn = Txn(reader)
        key = LOG.key(max(site.core.log.origins), head.seq)
        row = txn.get(key)
        assert row is not None
        record = Record.unpack(row)
        txn.put(key, mark_destroyed(record))
        site.vault.doom(txn, [record.locator])
        switch = site.vault.begin_switch(txn)
        assert switch is not None
        switch.write()
        engine.batch(txn.writes, engine.acquire())
        switch.finish(engine)
    return head.seq


def test_a_backup_that_is_up_to_date_loses_nothing(office: Office) -> None:
    office.back_up()
    before = everything(office.data)
    report, told = rehearse(office)
    assert told == STEPS
    assert report.findings == ()
    assert (report.missing, report.rpo_seconds, report.revived) == (0, 0, 0)
    assert report.restored.operations == report.restored.surviving == report.live_operations
    assert report.rto_seconds > 0
    assert report.ledger_size == report.live_ledger_size > 0
    assert not (office.data / SCRATCH_NAME).exists()
    assert everything(office.data).keys() == before.keys()


def test_what_came_after_the_backup_is_counted(office: Office) -> None:
    office.back_up()
    before = office.site.core.log.head.pos
    office.enrol("late")
    missing = office.site.core.log.head.pos - before
    report, _ = rehearse(office)
    assert report.missing == missing > 0
    assert report.findings == ()
    assert report.ledger_size < report.live_ledger_size


def test_the_newest_backup_of_this_site_is_taken(office: Office, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    for name in ("backups/z", "backups/a"):
        office.back_up(name)
        office.enrol(f"late-{name[-1]}")
    (tmp_path / "other").mkdir()
    other = Office(tmp_path / "other", NoWrap())
    other.back_up("backup")
    other.site.close()
    (tmp_path / "other" / "backup").rename(tmp_path / "backups" / "foreign")
    (tmp_path / "backups" / "b.partial").mkdir()
    (tmp_path / "backups" / "b.partial" / MANIFEST_NAME).write_text("half")
    (tmp_path / "backups" / "notes").mkdir()
    node = office.site.core.log.node
    assert newest_backup(tmp_path / "backups", node)[0] == tmp_path / "backups" / "a"
    assert newest_backup(tmp_path / "backups" / "z", node)[0] == tmp_path / "backups" / "z"
    with pytest.raises(NoBackupError):
        newest_backup(tmp_path / "backups" / "foreign", node)
    with pytest.raises(NoBackupError):
        newest_backup(tmp_path / "nowhere", node)


def test_what_was_destroyed_since_the_backup_stays_destroyed(office: Office) -> None:
    office.back_up()
    destroy_last(office)
    office.sync()
    report, _ = rehearse(office)
    assert (report.destroyed, report.revived, report.restored.destroyed_since) == (1, 0, 1)
    assert report.findings == ()


def test_a_replica_that_is_behind_is_told_and_so_is_what_it_revives(office: Office) -> None:
    office.back_up()
    destroy_last(office)
    report, _ = rehearse(office)
    assert (report.destroyed, report.revived) == (1, 1)
    assert ids(report) == [
        ("drill.replica_behind", Severity.WARNING),
        ("drill.revived", Severity.WARNING),
    ]


def test_a_record_that_revives_under_keys_in_step_is_a_broken_promise(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.back_up()
    seq = office.site.core.log.head.seq
    look = drilling._look

    def lying(engine: Any) -> Any:
        """A live site that says of a living operation that it is destroyed."""
        live = look(engine)
        return replace(live, destroyed={live.head.origin: array("Q", [seq])})

    monkeypatch.setattr(drilling, "_look", lying)
    report, _ = rehearse(office)
    assert ids(report) == [("drill.revived", Severity.INTEGRITY)]


def test_a_live_log_that_is_not_the_backups_is_found(office: Office) -> None:
    office.back_up()
    engine, head = office.site.ports.engine, office.site.core.log.head
    key = LOG.key(max(office.site.core.log.origins), head.seq)
    with engine.snapshot() as reader:
        row = bytearray(reader.get(key) or b"")
    row[row.index(Record.unpack(bytes(row)).chain)] ^= 1
    engine.batch({key: bytes(row)}, engine.acquire())
    report, _ = rehearse(office)
    assert ids(report) == [("drill.log", Severity.INTEGRITY)]


def test_a_live_ledger_that_is_not_the_backups_is_found(office: Office) -> None:
    office.back_up()
    engine = office.site.ports.engine
    peaks = LEDGER.span(max(office.site.core.log.origins))
    with engine.snapshot() as reader:
        key, value = next(iter(reader.range(*peaks, reverse=True, limit=1)))
    row = bytearray(value)
    row[0] ^= 1
    engine.batch({key: bytes(row)}, engine.acquire())
    report, _ = rehearse(office)
    assert ids(report) == [("drill.ledger", Severity.INTEGRITY)]


def test_a_damaged_backup_fails_and_leaves_nothing(office: Office) -> None:
    backup = office.back_up()
    with (backup / "store" / "data.mdb").open("r+b") as file:
        file.seek(9000)
        file.write(b"damage")
    with pytest.raises(IntegrityError, match="not what was backed up"):
        rehearse(office)
    (backup / MANIFEST_NAME).write_text("nothing")
    with pytest.raises(IntegrityError, match="damaged"):
        rehearse(office)
    assert not (office.data / SCRATCH_NAME).exists()


def test_no_root_and_no_key_directory_ever_lie_in_the_scratch_directory(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.back_up()
    root = office.site.vault._root()
    seen: list[int] = []
    run = drilling._Comparison.run

    def spying(self: Any, restored: Reader, vault: Vault) -> None:
        scratch = office.data / SCRATCH_NAME
        assert scratch.stat().st_mode & 0o777 == 0o700
        assert not (scratch / "keys").exists()
        files = everything(scratch)
        assert not [path for path in files if path.name.startswith("root.")]
        assert not [path for path, content in files.items() if root in content]
        assert vault._root() == root
        seen.append(len(files))
        run(self, restored, vault)

    monkeypatch.setattr(drilling._Comparison, "run", spying)
    rehearse(office)
    assert seen
    assert seen[0] > 0


@pytest.mark.parametrize("step", STEPS[2:-1])
def test_an_interruption_at_any_step_leaves_nothing(office: Office, step: str) -> None:
    office.back_up()
    office.site.close()

    def interrupt(name: str) -> None:
        if name == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drill(
            place_of(office),
            office.path / "backup",
            clock=SystemClock(),
            entropy=ENTROPY,
            tell=interrupt,
        )
    assert not (office.data / SCRATCH_NAME).exists()


def crash_left(office: Office) -> Path:
    scratch = office.data / SCRATCH_NAME
    (scratch / "data" / "store").mkdir(parents=True)
    (scratch / "data" / "store" / "data.mdb").write_bytes(b"sealed")
    return scratch


def test_what_a_crash_left_is_removed_by_the_next_drill(office: Office) -> None:
    office.back_up()
    crash_left(office)
    report, _ = rehearse(office)
    assert report.findings == ()
    assert not (office.data / SCRATCH_NAME).exists()


def test_doctor_removes_what_a_crash_left_and_says_so_once(office: Office) -> None:
    scratch = crash_left(office)
    (found,) = examine_leftovers(office.data)
    assert (found.id, found.severity) == ("drill.leftover", Severity.NOTICE)
    assert not scratch.exists()
    assert list(examine_leftovers(office.data)) == []


def test_a_drill_that_runs_is_left_alone(office: Office) -> None:
    office.back_up()
    scratch = crash_left(office)
    descriptor = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert not remove_leftovers(office.data)
        with pytest.raises(DrillRunningError):
            rehearse(office)
        assert (scratch / "data" / "store" / "data.mdb").exists()
    finally:
        os.close(descriptor)


def test_a_drill_never_fills_the_live_disk(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.back_up()
    monkeypatch.setattr(drilling, "DISK_FLOOR_BYTES", 1 << 60)
    with pytest.raises(DrillSpaceError):
        rehearse(office)


def test_without_replica_backup_or_site_there_is_no_drill(office: Office) -> None:
    office.back_up()
    with pytest.raises(NoBackupError):
        rehearse(office, "nowhere")
    with pytest.raises(ReplicaError):
        rehearse(office, place=replace(place_of(office), replicas=(office.path / "nowhere",)))
    with pytest.raises(AbsentError):
        rehearse(office, place=replace(place_of(office), data=office.path / "nowhere"))


def test_what_looks_at_a_restore_sees_a_store_that_cannot_be_written(office: Office) -> None:
    office.back_up()
    seen: list[bool] = []

    def inspect(reader: Reader, vault: Vault) -> None:
        key, value = next(iter(reader.range(*LOG.span())))
        record = Record.unpack(value)
        seen.append(vault.has_key(reader, record.locator))
        assert LOG.columns(key)[1] == 1

    plan = office.plan(is_dry_run=True)
    restore.restore(
        plan, clock=SystemClock(), entropy=ENTROPY, tell=lambda _: None, inspect=inspect
    )
    assert seen == [True]
    assert not (office.path / "new").exists()
