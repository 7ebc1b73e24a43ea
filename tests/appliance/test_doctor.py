"""Every finding is raised by a real fault, and by nothing in a healthy house."""

from __future__ import annotations

import os
import re
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from appliance import backup_age, backups, certificates, doctor, doctor_listen
from appliance.administration import Administration
from appliance.administration.findings import deep, examine_pages, plain, shallow
from appliance.backup_age import NoteBackup
from appliance.config import Config, ConfigError, TlsSection
from appliance.context import SITE
from appliance.disposal.commands import NameReplica, ReadClock
from appliance.finding_kinds import KINDS
from appliance.findings import Finding, Severity
from appliance.health import CLOCK_FLOOR_MS
from appliance.messaging.answers import DESTROYED
from appliance.operations import ClockFix, SiteHeadquarters
from appliance.problems import Problem
from appliance.replicas import Follower, ReplicaStatus, make_in, places
from appliance.server import Appliance
from appliance.site import Site, data_ports
from store.clocks import SystemEntropy
from store.engine.lmdb import PAGE_BYTES
from store.tables import IDEMPOTENCY, TENANT, VIEWS, Table
from store.vault import NoWrap, arena
from store.vault.slots import SLOT_BYTES, SLOT_NAMES
from tests.appliance.administration.test_administration import FakeHost
from tests.appliance.disposal.harness import DAY_MS, Hospital
from tests.appliance.disposal.test_expiry import CHAT
from tests.appliance.test_network import LISTEN, MAP_BYTES
from tests.appliance.test_reload import own_files, with_files
from tests.docs.markdown import ROOT
from transports.certificates import Identity

ENTROPY = SystemEntropy()
Patch = pytest.MonkeyPatch


class Place:
    """A site in real directories, to be damaged."""

    def __init__(self, path: Path, patch: Patch) -> None:
        self.path, self.patch = path, patch
        self.data, self.keys = path / "data", path / "keys"
        self.config = Config(listen=LISTEN)
        self.site = Site.create(self.ports(), NoWrap(), name="Doctor test")

    def ports(self) -> Any:
        return data_ports(self.data, self.keys, MAP_BYTES)

    def reopen(self) -> None:
        self.site = Site.open(self.ports(), NoWrap())

    def shallow(self, *statuses: ReplicaStatus) -> list[Finding]:
        config = replace(self.config, keys=replace(self.config.keys, directory=str(self.keys)))
        return shallow(self.site, config, self.data, statuses)

    def identity(self, *names: str, life: timedelta = timedelta(days=30)) -> Identity:
        """Return what a certificate of the hospital's own authority makes of the settings."""
        own_files(self.path, self.site, names or LISTEN.names, life)
        self.config = with_files(self.path)
        now_ms = self.site.ports.clock.wall_ms()
        tls = self.config.tls
        return certificates.own_identity(Path(tls.certificate), Path(tls.key), now_ms).identity

    def certificate(self, identity: Identity, days: float = 0.0) -> list[Finding]:
        """Look at a certificate as many days from now."""
        now = certificates.at(self.site.ports.clock.wall_ms()) + timedelta(days=days)
        return list(doctor_listen.examine_certificate(identity, self.config, now))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: Patch) -> Iterator[Place]:
    made = Place(tmp_path, monkeypatch)
    yield made
    made.site.close()


# --- the machine, the directories, the keys -------------------------------------------------------


def _inside(place: Place) -> list[Finding]:
    inner = place.data / "keys"
    inner.mkdir()
    return list(doctor.examine_directories(place.data, inner))


def _mode(which: str) -> Callable[[Place], list[Finding]]:
    def fault(place: Place) -> list[Finding]:
        getattr(place, which).chmod(0o755)
        return place.shallow()

    return fault


def _mounted_as(kind: str) -> Callable[[Place], list[Finding]]:
    def fault(place: Place) -> list[Finding]:
        mounts = place.path / "mounts"
        mounts.write_text(f"/dev/x / ext4 rw 0 0\n/dev/y {place.keys} {kind} rw 0 0\n")
        place.patch.setattr(doctor, "_MOUNTS", mounts)
        return place.shallow()

    return fault


def _in_memory(place: Place) -> list[Finding]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        return list(doctor.examine_directories(Path(name), place.keys))


def _virtual(place: Place) -> list[Finding]:
    vendor = place.path / "sys_vendor"
    vendor.write_text("QEMU\n")
    place.patch.setattr(doctor, "_HYPERVISOR_FILE", vendor)
    return place.shallow()


def _unlocked(place: Place) -> list[Finding]:
    place.site.close()
    place.patch.setattr(arena, "_lock", lambda *_: False)
    place.reopen()
    return place.shallow()


def _put_back(place: Place) -> list[Finding]:
    place.site.close()
    shutil.rmtree(place.data / "fence")
    place.reopen()
    return place.shallow()


def _no_root(place: Place) -> list[Finding]:
    for name in SLOT_NAMES:
        (place.keys / name).unlink()
    return place.shallow()


def _old_root(place: Place) -> list[Finding]:
    (place.keys / SLOT_NAMES[1]).write_bytes(os.urandom(SLOT_BYTES))
    return place.shallow()


def _twice(place: Place) -> list[Finding]:
    shutil.copy(place.keys / SLOT_NAMES[0], place.keys / SLOT_NAMES[1])
    return place.shallow()


def _replica(place: Place) -> Follower:
    make_in(place.path / "replica", NoWrap(), ENTROPY, node=place.site.core.log.node)
    apart = [place.data, place.keys]
    return Follower(places([place.path / "replica"], apart, NoWrap(), ENTROPY)[0])


def _attempt(place: Place, follower: Follower) -> ReplicaStatus:
    ports = place.site.ports
    status = follower.attempt(ports.engine, place.site.vault, ports.clock)
    follower.close()
    return status


def _lost_replica(place: Place) -> list[Finding]:
    follower = _replica(place)
    shutil.rmtree(place.path / "replica")
    return place.shallow(_attempt(place, follower))


def _old_backup(place: Place) -> list[Finding]:
    """Make a real backup, and look again when two days have gone by."""
    made = backups.create(place.site, place.config, place.data, place.path / "backup")
    before_ms = made.created_ms - backup_age.WARNING_SECONDS * 1_000 - 1
    place.site.run(SITE, NoteBackup(before_ms))
    assert "backup.none" not in {each.id for each in place.shallow()}
    old = place.shallow()
    place.site.run(SITE, NoteBackup(made.created_ms))
    assert not {each.id for each in place.shallow()} & {"backup.none", "backup.old"}
    place.site.run(SITE, NoteBackup(before_ms))
    assert not {each.id for each in place.shallow()} & {"backup.none", "backup.old"}
    return old


def _near_replica(place: Place) -> list[Finding]:
    return place.shallow(_attempt(place, _replica(place)))


def _full(least: str) -> Callable[[Place], list[Finding]]:
    """Let what is free on this disk be too little."""

    def fault(place: Place) -> list[Finding]:
        place.patch.setattr(doctor, least, shutil.disk_usage(place.data).free * 2)
        return place.shallow()

    return fault


def _full_map(place: Place) -> list[Finding]:
    engine, token = place.site.ports.engine, place.site.writer._token
    share = int(MAP_BYTES * doctor.MAP_WARNING_SHARE)
    for number in range(share // (80 * 90_000) + 1):
        rows = {b"\xfe%d/%d" % (number, row): bytes(89_000) for row in range(80)}
        engine.batch(rows, token, urgent=True)
    return place.shallow()


# --- certificate, port, configuration -------------------------------------------------------------


def _ends(place: Place) -> list[Finding]:
    return place.certificate(place.identity(), days=17)


def _chain_ends(place: Place) -> list[Finding]:
    return place.certificate(place.identity(), days=20 * 365)


def _alone(place: Place) -> list[Finding]:
    identity = place.identity()
    leaf = identity.chain_pem.split(b"-----END CERTIFICATE-----\n")[0]
    alone = Identity(
        identity.key_pem,
        leaf + b"-----END CERTIFICATE-----\n",
        identity.not_after,
        identity.names,
    )
    return place.certificate(alone)


def _unnamed(place: Place) -> list[Finding]:
    return place.certificate(place.identity("elsewhere.example"))


def _no_file(place: Place) -> list[Finding]:
    identity = place.identity()
    (place.path / "chain.pem").unlink()
    return _files(place, identity)


def _another_file(place: Place) -> list[Finding]:
    before = place.identity()
    place.identity()
    return _files(place, before)


def _files(place: Place, identity: Identity) -> list[Finding]:
    now_ms = place.site.ports.clock.wall_ms()
    return list(doctor_listen.examine_files(identity, place.config, now_ms))


def _deaf(place: Place) -> list[Finding]:
    """Knock where a server has taken no more connections, and offers no QUIC at all."""
    config = replace(place.config, quic=replace(place.config.quic, enabled=False))
    appliance = Appliance(place.site, config)

    async def main() -> list[Finding]:
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: appliance.run(task_status=task_status))
            appliance.network.stop_accepting()
            identity = appliance.identity
            assert identity is not None
            found = await doctor_listen.examine_port(
                appliance.addresses, identity.identity, is_quic=True
            )
            await appliance.drain()
        return found

    found = trio.run(main)
    place.reopen()
    return found


def _reread(wanted: Config | Exception) -> Callable[[Place], list[Finding]]:
    def fault(place: Place) -> list[Finding]:
        host: Any = FakeHost(place.site)

        def read() -> Config:
            if isinstance(wanted, Exception):
                raise wanted
            return wanted

        host.reread = read
        request = {"command": "doctor", "arguments": {}}
        answer = trio.run(Administration(host, lambda: None).answer, 0, request)
        return [Finding(each["id"], *[None] * 3) for each in answer["ok"]["findings"]]  # type: ignore[arg-type]

    return fault


def _damaged_page(place: Place) -> list[Finding]:
    file = place.data / "store" / "data.mdb"
    content = bytearray(file.read_bytes())
    for page in range(2, len(content) // PAGE_BYTES):
        struct.pack_into("=Q", content, page * PAGE_BYTES, 1 << 40)
    file.write_bytes(content)
    engine: Any = place.site.ports.engine
    return examine_pages(engine.verify())


# --- time, policy, the log and its views ----------------------------------------------------------


def filled() -> Hospital:
    """A house with records, some of them ended, in every state that is checked."""
    house = Hospital("alice", "bob", policy=CHAT)
    room = house.group("alice", "bob")
    old = house.send("alice", room, "old")
    house.edit("alice", old, "older")
    house.pass_days(31)
    house.expire()
    message = house.send("alice", room, "new")
    house.react("bob", message, "x")
    return house


def _shallow(house: Hospital) -> list[Finding]:
    return shallow(house.site, Config(), None, ())


def _early(house: Hospital) -> list[Finding]:
    house.clock.set_wall_ms(CLOCK_FLOOR_MS - 1)
    return _shallow(house)


def _trusting_no_clock(house: Hospital) -> list[Finding]:
    del house
    return _shallow(Hospital("alice", policy='clock = "none"\n' + CHAT))


def _jump(house: Hospital) -> list[Finding]:
    house.anchor()
    house.clock.set_wall_ms(house.clock.wall_ms() + 365 * DAY_MS)
    house.do(SITE, ReadClock())
    return _shallow(house)


class _Alone(Hospital):
    """A house whose named replica is never reached."""

    async def _followed(self, generation: int) -> tuple[tuple[str, int], ...]:
        return (("/mnt/elsewhere", 0),)


def _awaited(house: Hospital) -> list[Finding]:
    del house
    alone = _Alone("alice", "bob", policy=CHAT)
    alone.do(SITE, NameReplica("/mnt/elsewhere", b"r" * 16))
    alone.send("alice", alone.group("alice", "bob"), "old")
    alone.pass_days(31)
    assert alone.expire()
    return _shallow(alone)


def _other_people(house: Hospital) -> list[Finding]:
    people: Any = house.core.directory
    people._persons.popitem()
    return deep(house.site)


def _other_policy(house: Hospital) -> list[Finding]:
    house.core.disposal.requests[99] = None
    return deep(house.site)


def _other_branches(house: Hospital) -> list[Finding]:
    house.core.sites.clock_fixes = {1: ClockFix(1, b"n" * 16, 1, 1, 2, 5)}
    return deep(house.site)


def _cut_off(house: Hospital) -> list[Finding]:
    house.core.sites.headquarters = SiteHeadquarters(b"q" * 16, b"k" * 32, (), b"", "House", 1, "n")
    return _shallow(house)


def _row(house: Hospital, table: Table, change: Callable[[bytes], bytes]) -> list[Finding]:
    rows = house.medium.rows
    key = max(key for key in rows if key[0] == table)
    rows[key] = change(rows[key])
    return deep(house.site)


def _unreadable(house: Hospital) -> list[Finding]:
    return _row(house, Table.LOG, lambda value: b"\xff" + value[1:])


def _false_retry(house: Hospital) -> list[Finding]:
    destroyed = bytes((DESTROYED,))
    return _row(house, IDEMPOTENCY.table, lambda value: value[:-1] + destroyed)


IN_PLACE: dict[str, Callable[[Place], list[Finding]]] = {
    "backup.none": Place.shallow,
    "backup.old": _old_backup,
    "certificate.chain": _chain_ends,
    "certificate.expires": _ends,
    "certificate.names": _unnamed,
    "certificate.no_chain": _alone,
    "certificate.not_taken": _another_file,
    "certificate.unusable": _no_file,
    "config.invalid": _reread(ConfigError([Problem("log.level", "unknown")])),
    "config.not_taken": _reread(Config(tls=TlsSection("a", "b"))),
    "data.permissions": _mode("data"),
    "disk.file_system": _in_memory,
    "disk.full": _full("DISK_FLOOR_BYTES"),
    "disk.low": _full("DISK_WARNING_BYTES"),
    "keys.copy_on_write": _mounted_as("btrfs"),
    "keys.inside_data": _inside,
    "keys.no_replica": Place.shallow,
    "keys.permissions": _mode("keys"),
    "keys.replica_behind": _lost_replica,
    "keys.replica_same_device": _near_replica,
    "keys.root_leftover": _old_root,
    "keys.root_missing": _no_root,
    "keys.same_device": Place.shallow,
    "keys.tier": Place.shallow,
    "listen.tcp": _deaf,
    "listen.udp": _deaf,
    "log.new_incarnation": _put_back,
    "machine.hypervisor": _virtual,
    "memory.not_locked": _unlocked,
    "policy.none": Place.shallow,
    "store.map": _full_map,
    "store.pages": _damaged_page,
}
"""What a fault in real directories and sockets raises."""

IN_HOUSE: dict[str, Callable[[Hospital], list[Finding]]] = {
    "clock.floor": _early,
    "clock.no_source": _trusting_no_clock,
    "clock.suspended": _jump,
    "destruction.incomplete": _awaited,
    "site.cut_off": _cut_off,
    "views.directory": _other_people,
    "views.in_force": _other_policy,
    "views.sites": _other_branches,
    "views.rebuild": _unreadable,
    "views.retries": _false_retry,
}
"""What a fault in a simulated house raises."""

ELSEWHERE = {"log.body", "log.envelope", "log.key", "log.lane", "log.state"}
"""What takes a forger with the site's keys; the tests of store.logcheck make one."""

AT_BRANCHES = {"lease.no_destruction": "tests/appliance/sites/test_holds_across.py"}
"""What takes a branch, and the test that makes one."""

IN_DRILLS = {
    "drill.ledger": "tests/appliance/test_drill.py",
    "drill.leftover": "tests/appliance/test_drill.py",
    "drill.log": "tests/appliance/test_drill.py",
    "drill.replica_behind": "tests/appliance/test_drill.py",
    "drill.revived": "tests/appliance/test_drill.py",
    "upgrade.leftover": "tests/appliance/upgrade/test_revert.py",
}
"""What a drill or an interrupted rollback finds, and the test that makes it."""


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_fault_of_a_real_site_raises_its_finding(place: Place, name: str) -> None:
    assert name in {each.id for each in IN_PLACE[name](place)}


@pytest.mark.parametrize("name", IN_HOUSE)
def test_a_fault_of_a_simulated_house_raises_its_finding(name: str) -> None:
    assert name in {each.id for each in IN_HOUSE[name](filled())}


def damaged(house: Hospital) -> Iterator[set[str]]:
    """Yield what is found with one row of each table after the other gone, changed or added."""
    rows = house.medium.rows
    for table in (table for table in Table if table >= Table.LOG):
        keys = [key for key in rows if key[0] == table]
        for key in {*keys[:2], *keys[-2:]}:
            value = rows[key]
            beside = key[:-1] + bytes((key[-1] ^ 0x55,))
            if beside not in rows:
                rows[beside] = value
                yield {each.id for each in deep(house.site)}
                del rows[beside]
            for other in damages(value):
                if other is None:
                    del rows[key]
                else:
                    rows[key] = other
                yield {each.id for each in deep(house.site)}
                rows[key] = value
        key = struct.pack(">BH", table, TENANT) + bytes(range(24))
        rows[key] = b"surplus"
        yield {each.id for each in deep(house.site)}
        del rows[key]


def damages(value: bytes) -> Iterator[bytes | None]:
    yield None
    for at in {0, len(value) // 2, len(value) - 1} if value else ():
        yield value[:at] + bytes((value[at] ^ 4,)) + value[at + 1 :]


def test_every_problem_of_the_log_and_every_view_is_found_and_nothing_unknown() -> None:
    house = filled()
    assert deep(house.site) == []
    found: set[str] = set().union(*damaged(house))
    assert deep(house.site) == []
    families = {
        name
        for name in KINDS
        if name.startswith(("log.", "views.")) and name not in {*IN_PLACE, *IN_HOUSE}
    }
    assert families - found == ELSEWHERE
    assert found <= set(KINDS)
    assert {f"views.{table.name.lower()}" for table in VIEWS} <= found


def test_every_finding_has_a_fault_that_raises_it() -> None:
    families = {name for name in KINDS if name.startswith(("log.", "views."))}
    assert set(KINDS) == {*families, *IN_PLACE, *IN_HOUSE, *AT_BRANCHES, *IN_DRILLS}


def test_no_finding_is_made_that_is_not_in_the_list() -> None:
    code = [path.read_text("utf-8") for path in (ROOT / "appliance").rglob("*.py")]
    made = {name for text in code for name in re.findall(r'Finding\(\s*"([a-z_.]+)"', text)}
    assert len(made) > 30
    assert made <= set(KINDS)


@pytest.mark.parametrize("name", sorted({*AT_BRANCHES, *IN_DRILLS}))
def test_what_is_raised_elsewhere_is_raised_by_a_test_there(name: str) -> None:
    text = (ROOT / {**AT_BRANCHES, **IN_DRILLS}[name]).read_text("utf-8")
    assert f'"{name}"' in text


def test_a_finding_is_told_with_its_entry_of_the_runbook() -> None:
    told = plain([Finding(name, Severity.NOTICE, "", "") for name in KINDS])
    assert len(told) == len(KINDS)
    for each in told:
        title = KINDS[each["id"]].runbook
        assert each["runbook"] == (f"docs/runbook.md, {title}" if title else "")


def test_a_root_that_is_there_twice_is_a_leftover(place: Place) -> None:
    assert "keys.root_leftover" in {each.id for each in _twice(place)}


def test_a_restart_effaces_what_is_left_over(place: Place) -> None:
    _old_root(place)
    place.site.close()
    place.reopen()
    assert not {each.id for each in place.shallow()} & {"keys.root_leftover", "keys.root_missing"}
    assert (place.keys / SLOT_NAMES[1]).read_bytes() == bytes(SLOT_BYTES)


def test_the_severities_are_those_that_are_documented(place: Place) -> None:
    for found in (*place.shallow(), *deep(filled().site)):
        assert found.severity in KINDS[found.id].severities
