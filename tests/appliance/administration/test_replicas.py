"""Key replicas and backups of a running site, asked for over the socket."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from appliance.administration import Administration, Host
from appliance.administration.findings import shallow
from appliance.backup_age import newest_ms
from appliance.config import FILE_NAME, Config, KeysSection, StoreSection
from appliance.context import Actor
from appliance.health import Health
from appliance.replicas import Replicas, ReplicaStatus
from appliance.site import Site, data_ports
from store import backup
from store.vault import NoWrap

MAP_BYTES = 1 << 26
Answer = dict[str, Any]


class FakeHost:
    """A site in directories, its replicas, and nothing else."""

    def __init__(self, path: Path) -> None:
        self.data, self.keys = path / "data", path / "keys"
        self.site = Site.create(data_ports(self.data, self.keys, MAP_BYTES), NoWrap(), name="X")
        self.config = Config(keys=KeysSection("../keys"), store=StoreSection(MAP_BYTES))
        (self.data / FILE_NAME).write_text("# mine\n[keys]\ndirectory = '../keys'\n")
        self.health = Health(self.site.ports.engine, self.data)
        ports = self.site.ports
        self.replicas = Replicas([], ports.engine, self.site.vault, ports.clock)

    async def execute(self, actor: Actor, command: Any) -> Any:
        return self.site.run(actor, command)


class World:
    """The administration of that host, asked while its replicas are followed."""

    def __init__(self, path: Path) -> None:
        self.path, self.host = path, FakeHost(path)
        self.administration = Administration(cast("Host", self.host), lambda: None)

    def ask(self, command: str, **arguments: Any) -> Answer:
        async def asked() -> Answer:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._serve)
                request = {"command": command, "arguments": arguments}
                answer = await self.administration.answer(0, request)
                nursery.cancel_scope.cancel()
            return answer

        return trio.run(asked)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        await self.host.replicas.run(task_status=task_status)

    def ok(self, command: str, **arguments: Any) -> Answer:
        answer = self.ask(command, **arguments)
        assert "ok" in answer, answer
        result: Answer = answer["ok"]
        return result

    def code(self, command: str, **arguments: Any) -> str:
        code: str = self.ask(command, **arguments)["error"]["code"]
        return code

    def add(self, name: str = "replica") -> Answer:
        return self.ok("replica.add", directory=str(self.path / name), allow_same_device=True)

    def named(self) -> list[str]:
        settings = tomllib.loads((self.host.data / FILE_NAME).read_text())
        named: list[str] = settings.get("replicas", {}).get("directories", [])
        return named


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.host.site.close()


def test_a_replica_is_added_to_a_running_site_and_to_its_settings(world: World) -> None:
    (added,) = world.add()["replicas"]
    assert (added["directory"], added["in_step"]) == (str(world.path / "replica"), True)
    assert world.named() == [str(world.path / "replica")]
    assert (world.host.data / FILE_NAME).read_text().startswith("# mine\n")
    shown = world.ok("replica.status")
    assert shown["generation"] == 1
    assert [each["identity"] for each in shown["replicas"]] == [added["identity"]]
    (synced,) = world.ok("replica.sync")["replicas"]
    assert synced["synced_at"] >= added["synced_at"]


def test_a_replica_is_removed_with_its_root(world: World) -> None:
    world.add()
    world.add("second")
    name = str(world.path / "replica")
    assert world.ok("replica.remove", directory=name) == {"directory": name}
    assert (world.path / "replica" / "root.0").read_bytes() == bytes(4_096)
    assert world.named() == [str(world.path / "second")]
    assert len(world.ok("replica.status")["replicas"]) == 1
    assert world.code("replica.remove", directory=name) == "replica.unknown"


def test_a_replica_that_destruction_waits_for_is_not_removed_by_one_person(world: World) -> None:
    (added,) = world.add()["replicas"]
    known = world.host.site.core.disposal

    class Named:
        identity = bytes.fromhex(added["identity"])

    known.replicas = {1: Named()}  # type: ignore[dict-item]
    assert world.code("replica.remove", directory=added["directory"]) == "replica.not_retired"
    assert world.named() == [added["directory"]]


def test_a_replica_that_cannot_follow_is_not_added(world: World) -> None:
    other = World(world.path / "other")
    other.add()
    directory = str(world.path / "other" / "replica")
    refused = world.code("replica.add", directory=directory, allow_same_device=True)
    assert refused == "replica.foreign"
    assert (world.named(), world.ok("replica.status")["replicas"]) == ([], [])
    other.host.site.close()


@pytest.mark.parametrize(
    ("place", "allowed", "code"),
    [
        ("replica", False, "replica.same_device"),
        ("data/replica", True, "replica.place"),
        ("keys", True, "replica.place"),
        ("no/parent", True, "store.engine_failed"),
        ("second/replica", True, "replica.place"),
    ],
)
def test_places_that_will_not_do_are_refused(
    world: World, place: str, allowed: bool, code: str
) -> None:
    world.add("second")
    directory = str(world.path / place)
    assert world.code("replica.add", directory=directory, allow_same_device=allowed) == code
    assert world.named() == [str(world.path / "second")]


@pytest.mark.parametrize(
    "command", ["replica.add", "replica.remove", "backup.create", "backup.progress"]
)
def test_a_relative_path_means_nothing_to_a_server(world: World, command: str) -> None:
    assert world.code(command, directory="somewhere") == "request.invalid"


def test_a_running_site_is_backed_up_with_its_settings_and_replicas_follow(world: World) -> None:
    world.add()
    target = world.path / "backup"
    made = world.ok("backup.create", directory=str(target))
    assert (made["directory"], made["replicas"][0]["in_step"]) == (str(target), True)
    assert backup.verify(target, key=bytes.fromhex(made["key"])).is_good
    with world.host.site.ports.engine.snapshot() as reader:
        assert newest_ms(reader) == made["created_at"] > 0
    settings = (target / "strongroom.toml").read_text()
    assert settings == (world.host.data / FILE_NAME).read_text()
    assert world.code("backup.create", directory=str(target)) == "backup.exists"
    inside = str(world.path / "replica" / "backup")
    assert world.code("backup.create", directory=inside) == "backup.place"


def test_progress_is_told_in_bytes(world: World) -> None:
    told = world.ok("backup.progress", directory=str(world.path / "backup"))
    assert told["done_bytes"] == 0
    assert told["total_bytes"] == world.host.site.ports.engine.stats().used_bytes


def ids(world: World, *statuses: ReplicaStatus) -> set[str]:
    found = shallow(world.host.site, world.host.config, None, statuses)
    return {each.id for each in found if "replica" in each.id}


def test_doctor_sees_whether_replicas_follow(world: World) -> None:
    now_ms = world.host.site.ports.clock.wall_ms()
    well = ReplicaStatus("/mnt/a", generation=1, synced_ms=now_ms)
    assert ids(world) == {"keys.no_replica"}
    assert ids(world, well) == set()
    assert ids(world, well, ReplicaStatus("/mnt/b", error="x")) == {"keys.replica_behind"}
    late = ReplicaStatus("/mnt/b", synced_ms=now_ms - 61_000)
    assert ids(world, late) == {"keys.replica_behind"}
    beside = ReplicaStatus("/mnt/b", synced_ms=now_ms, is_apart=False)
    assert ids(world, beside) == {"keys.replica_same_device"}
