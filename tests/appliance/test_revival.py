"""An old backup and the newest keys give exactly the survivors, and the site goes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from appliance import core as core_module
from appliance.check import check
from appliance.context import SITE, Context
from appliance.core import Core
from appliance.disposal.commands import CutLost
from appliance.operations import Kind, Message, SiteSucceeds, decode
from appliance.revival import Revived, revive, take_keys
from appliance.site import Ports, Site
from store import backup, destruction
from store.backup import Manifest
from store.clocks import SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.errors import IntegrityError, StoreError, VaultLockedError
from store.fence import Fence
from store.heads import own_incarnations
from store.oplog import Op
from store.records import PartState, Record
from store.replica import ForeignReplicaError, KeyReplica
from store.tables import EPOCH, LOG
from store.vault import NoWrap, RootSlots, Vault, generation_of
from tests.appliance.disposal.thief import Thief
from tests.appliance.messaging.harness import House
from tests.store.vault.attacker import every_version
from transports.wire.schema import Id


@dataclass(frozen=True)
class Doom:
    """Destroy these operations of the site's own log."""

    places: tuple[tuple[int, int], ...]


def decide_doom(core: Core, ctx: Context, command: Doom) -> None:
    for place in command.places:
        op = ctx.read(*place)
        locator = destruction.destroy(ctx.txn, op)
        core.forget(ctx.txn, op)
        core.vault.doom(ctx.txn, [locator])


@pytest.fixture(autouse=True)
def doom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(core_module.DISPOSAL, Doom, decide_doom)  # type: ignore[attr-defined]


@dataclass
class Saved:
    """A backup as the simulated engine makes it."""

    medium: Medium
    manifest: Manifest


class Hospital(House):
    """A site with a key replica on a second device, and backups."""

    def __init__(self, *logins: str, retain: bool = False) -> None:
        super().__init__(*logins, retain=retain)
        self.second, self.second_disk = Medium(), MemoryDisk()
        KeyReplica.create(
            MemoryEngine(self.second),
            self.second_disk,
            NoWrap(),
            SeededEntropy("replica"),
            node=self.site.core.log.node,
        )
        self.sync()

    def replica(self) -> KeyReplica:
        return KeyReplica.open(
            MemoryEngine(self.second), self.second_disk, NoWrap(), SeededEntropy("again")
        )

    def sync(self) -> int:
        with self.reading() as reader:
            return self.replica().sync(reader, self.site.vault, self.clock.wall_ms())

    def save(self) -> Saved:
        """Make a backup."""
        path = Path(f"/backup/{len(self.medium.copies)}")
        self.site.ports.engine.copy(path)
        copy = self.medium.copies[path]
        with MemoryEngine(copy).snapshot() as reader:
            return Saved(copy, backup.describe(reader, (), created_ms=1, program="1"))

    def destroy(self, *positions: int) -> None:
        ops = [op for op in self.ops if op.pos in positions]
        self.do(SITE, Doom(tuple((op.origin, op.id.seq) for op in ops)))

    def message_positions(self) -> list[int]:
        return [op.pos for op in self.ops if op.kind == Kind.MESSAGE]

    def revive(self, saved: Saved, **changes: Any) -> Restored:
        return Restored(self, saved, **changes)


class Restored:
    """A site on new disks, made from a backup and the replica."""

    def __init__(self, old: Hospital, saved: Saved, manifest: Manifest | None = None) -> None:
        self.told: list[str] = []
        self.medium, self.data, self.keys = saved.medium.copied(), MemoryDisk(), MemoryDisk()
        self.clock, self.entropy = old.clock, SeededEntropy("restore")
        engine = MemoryEngine(self.medium)
        self.revived: Revived = revive(
            engine,
            Fence(self.data),
            old.replica(),
            manifest or saved.manifest,
            clock=self.clock,
            entropy=self.entropy,
            tell=self.told.append,
        )
        self.revived.core.log.close()
        self.revived.vault.seal_root_into(RootSlots(self.keys), 0, NoWrap())
        RootSlots(self.keys).efface(1, self.entropy)

    def open(self) -> Site:
        """Start a server's site on what was restored."""
        ports = Ports(self.clock, self.entropy, MemoryEngine(self.medium), self.data, self.keys)
        return Site.open(ports, NoWrap())

    def texts(self) -> list[str]:
        """Return the texts of all messages that open, in order."""
        site = self.open()
        with site.ports.engine.snapshot() as reader:
            ops = [each for each in site.core.log.replay(reader) if isinstance(each, Op)]
        site.close()
        bodies = [decode(op.kind, op.body or b"") for op in ops if op.kind == Kind.MESSAGE]
        return [body.text for body in bodies if isinstance(body, Message)]


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    made = Hospital("alice", "bob")
    yield made
    made.close()


def talk(hospital: Hospital, count: int) -> Id:
    conv = hospital.direct("alice", "bob")
    for number in range(count):
        hospital.say("alice", conv, f"message {number}")
    return conv


def test_everything_comes_back_when_nothing_was_destroyed(hospital: Hospital) -> None:
    conv = talk(hospital, 5)
    saved = hospital.save()
    hospital.sync()
    restored = hospital.revive(saved)
    counts = restored.revived.counts
    assert counts.operations == counts.surviving == saved.manifest.pos
    assert (counts.destroyed_before, counts.destroyed_since) == (0, 0)
    assert restored.texts() == [f"message {number}" for number in range(5)]
    assert restored.told == ["keys", "replay", "views", "renew", "check"]
    del conv


def test_an_old_backup_and_new_keys_give_exactly_the_survivors(hospital: Hospital) -> None:
    talk(hospital, 6)
    positions = hospital.message_positions()
    hospital.destroy(positions[0])
    saved = hospital.save()
    hospital.destroy(positions[2], positions[3])
    hospital.sync()
    restored = hospital.revive(saved)
    counts = restored.revived.counts
    assert restored.texts() == ["message 1", "message 4", "message 5"]
    assert (counts.destroyed_before, counts.destroyed_since) == (1, 2)
    assert counts.operations - counts.surviving == 3


def test_no_older_backup_brings_back_what_was_destroyed(hospital: Hospital) -> None:
    talk(hospital, 3)
    positions = hospital.message_positions()
    saves = [hospital.save()]
    for position in positions[:2]:
        hospital.destroy(position)
        saves.append(hospital.save())
    hospital.sync()
    assert [hospital.revive(saved).texts() for saved in saves] == [["message 2"]] * 3


def test_a_destroyed_row_keeps_its_skeleton_and_its_place(hospital: Hospital) -> None:
    talk(hospital, 2)
    (first, _) = hospital.message_positions()
    saved = hospital.save()
    hospital.destroy(first)
    hospital.sync()
    restored = hospital.revive(saved)
    (op,) = [op for op in hospital.ops if op.pos == first]
    key = LOG.key(op.origin, op.id.seq)
    before, after = (Record.unpack(medium.rows[key]) for medium in (saved.medium, restored.medium))
    assert after.envelope_state is after.body_state is PartState.DESTROYED
    assert after.sealed == b""
    assert after[2:7] == before[2:7]


def test_a_backup_alone_opens_nothing(hospital: Hospital) -> None:
    talk(hospital, 1)
    saved = hospital.save()
    root = hospital.site.vault._root()
    everything = b"".join(key + value for key, value in saved.medium.rows.items())
    assert root not in everything
    with (
        MemoryEngine(saved.medium).snapshot() as reader,
        pytest.raises(VaultLockedError),
    ):
        Vault.open(reader, MemoryDisk(), SeededEntropy(1), NoWrap())


def test_a_site_that_comes_back_is_whole_and_goes_on(hospital: Hospital) -> None:
    conv = talk(hospital, 3)
    saved = hospital.save()
    hospital.destroy(hospital.message_positions()[1])
    hospital.sync()
    old = hospital.site.core.log.head.incarnation
    restored = hospital.revive(saved)
    site = restored.open()
    assert site.core.log.breach is None
    assert site.core.log.head.incarnation == restored.revived.incarnation != old
    with site.ports.engine.snapshot() as reader:
        assert check(site.core, reader) == []
        assert hospital.replica().sync(reader, site.vault, 5) == site.vault.generation > 2
        assert old in own_incarnations(reader)
    assert site.core.conversations.get(conv) is not None
    assert site.core.directory.resolve("alice") is not None
    site.close()


def test_what_was_sealed_since_the_backup_does_not_open_with_the_new_root() -> None:
    """The old disk still has it; what the restored site does not know, it could never destroy."""
    hospital = Hospital("alice", "bob", "carol", retain=True)
    conv = talk(hospital, 1)
    saved = hospital.save()
    hospital.say("alice", conv, "in an epoch that the backup knows")
    hospital.say("bob", hospital.direct("bob", "carol"), "in an epoch of its own")
    hospital.sync()
    restored = hospital.revive(saved)
    assert reads(hospital, restored) == ["message 0", "in an epoch that", "in an epoch of its own"]
    site = restored.open()
    while site.vault.is_behind:
        site.run(SITE, CutLost())
    assert reads(hospital, restored) == ["message 0"]
    site.close()
    assert restored.texts() == ["message 0"]
    hospital.close()


def reads(old: Hospital, restored: Restored) -> list[str]:
    """Return what opens to somebody with all rows of both sites and the new one's root."""
    versions = every_version(old.medium)
    for key, value in restored.medium.rows.items():
        versions.setdefault(key, set()).add(value)
    found = Thief(restored.keys, versions).everything()
    texts = ("message 0", "in an epoch that", "in an epoch of its own")
    return [text for text in texts if text.encode() in found]


def test_the_new_incarnation_says_what_it_follows(hospital: Hospital) -> None:
    talk(hospital, 1)
    saved = hospital.save()
    hospital.sync()
    site = hospital.revive(saved).open()
    with site.ports.engine.snapshot() as reader:
        op = site.core.log.read(reader, site.core.log.head.origin, 1)
        leaf = next(site.core.log.ledger.leaves(reader))
    assert op.kind == Kind.SITE_SUCCEEDS
    body = decode(op.kind, op.body or b"")
    manifest = saved.manifest
    assert isinstance(body, SiteSucceeds)
    assert (body.incarnation, body.size, body.root) == (
        manifest.incarnation,
        manifest.ledger_size,
        manifest.ledger_root,
    )
    assert leaf.data == b"\x02" + op.op_hash
    site.close()


def test_a_retry_of_what_was_destroyed_is_not_sent_again(hospital: Hospital) -> None:
    conv = talk(hospital, 2)
    saved = hospital.save()
    hospital.destroy(hospital.message_positions()[0])
    hospital.sync()
    site = hospital.revive(saved).open()
    hospital.site.close()
    hospital.site = site
    hospital.site.attach(hospital._deliver, lambda error: None)
    hospital._numbers.clear()
    assert hospital.say("alice", conv, "message 0").destroyed
    assert hospital.say("alice", conv, "message 1").pos == f"{saved.manifest.pos:x}"
    assert hospital.texts("bob", conv) == ["message 1"]
    hospital.check()


def test_records_after_the_last_copy_of_the_keys_open_with_keys_of_their_own_generation(
    hospital: Hospital,
) -> None:
    hospital.sync()
    hospital.enrol("carol")
    conv = hospital.direct("carol", "bob")
    hospital.say("carol", conv, "new epochs")
    saved = hospital.save()
    assert hospital.revive(saved).texts() == ["new epochs"]


def test_keys_older_than_the_backup_would_lose_records_and_are_refused(
    hospital: Hospital,
) -> None:
    talk(hospital, 2)
    hospital.sync()
    hospital.destroy(hospital.message_positions()[0])
    hospital.enrol("carol")
    hospital.say("carol", hospital.direct("carol", "bob"), "new epochs")
    saved = hospital.save()
    with pytest.raises(StoreError):
        hospital.revive(saved)


def test_keys_of_another_site_are_refused(hospital: Hospital) -> None:
    talk(hospital, 1)
    saved = hospital.save()
    hospital.sync()
    stranger = replace(saved.manifest, verify_key=bytes(SigningKey(bytes(32)).verify_key))
    with pytest.raises(ForeignReplicaError):
        hospital.revive(saved, manifest=stranger)


def test_a_damaged_backup_is_never_called_restored(hospital: Hospital) -> None:
    talk(hospital, 3)
    saved = hospital.save()
    hospital.sync()
    (op,) = [op for op in hospital.ops if op.pos == hospital.message_positions()[1]]
    key = LOG.key(op.origin, op.id.seq)
    value = saved.medium.rows[key]
    saved.medium.rows[key] = value[:-1] + bytes((value[-1] ^ 1,))
    with pytest.raises(IntegrityError):
        hospital.revive(saved)


def test_an_incarnation_that_only_the_replica_knows_is_kept_in_mind(hospital: Hospital) -> None:
    talk(hospital, 1)
    saved = hospital.save()
    hospital.site.close()
    hospital._disks = (MemoryDisk(), hospital._disks[1])
    hospital.site = Site.open(hospital._ports(), NoWrap())
    lost = hospital.site.core.log.head.incarnation
    hospital.sync()
    site = hospital.revive(saved).open()
    with site.ports.engine.snapshot() as reader:
        assert lost in own_incarnations(reader)
        assert check(site.core, reader) == []
        assert hospital.replica().sync(reader, site.vault, 5) == site.vault.generation
    site.close()


def test_keys_are_taken_twice_as_well_as_once(hospital: Hospital) -> None:
    talk(hospital, 2)
    saved = hospital.save()
    hospital.destroy(hospital.message_positions()[0])
    hospital.sync()
    engine = MemoryEngine(saved.medium)
    token = engine.acquire()
    take_keys(engine, token, hospital.replica())
    once = dict(saved.medium.rows)
    take_keys(engine, token, hospital.replica())
    assert dict(saved.medium.rows) == once
    with engine.snapshot() as reader:
        assert generation_of(reader) == 2


def test_views_are_rebuilt_in_bounded_batches(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk(hospital, 20)
    saved = hospital.save()
    hospital.sync()
    monkeypatch.setattr("appliance.revival.BATCH_BYTES", 500)
    assert len(hospital.revive(saved).texts()) == 20


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_backup_with_the_newest_keys_gives_the_survivors(data: st.DataObject) -> None:
    hospital = Hospital("alice", "bob")
    talk(hospital, 6)
    positions = dict(enumerate(hospital.message_positions()))
    saves: list[Saved] = []
    alive = set(positions)
    for act in data.draw(st.lists(st.sampled_from(["save", "destroy", "sync"]), max_size=6)):
        if act == "save":
            saves.append(hospital.save())
        elif act == "sync":
            hospital.sync()
        elif alive:
            number = data.draw(st.sampled_from(sorted(alive)))
            alive.remove(number)
            hospital.destroy(positions[number])
    hospital.sync()
    for saved in saves[:2]:
        assert hospital.revive(saved).texts() == [f"message {number}" for number in sorted(alive)]
    hospital.close()


def test_the_row_of_an_epoch_that_the_keys_lack_is_not_taken_for_a_destruction(
    hospital: Hospital,
) -> None:
    talk(hospital, 2)
    saved = hospital.save()
    hospital.destroy(hospital.message_positions()[0])
    hospital.sync()
    state = hospital.replica().state()
    assert state is not None
    (op,) = [op for op in hospital.ops if op.pos == hospital.message_positions()[1]]
    record = Record.unpack(saved.medium.rows[LOG.key(op.origin, op.id.seq)])
    gone = EPOCH.key(record.locator.stream, record.locator.epoch)
    (row,) = [key for key in hospital.second.rows if key.endswith(gone) and key[3] == state.side]
    del hospital.second.rows[row]
    with pytest.raises(IntegrityError):
        hospital.revive(saved)
