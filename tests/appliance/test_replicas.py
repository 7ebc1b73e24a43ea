"""Replicas are brought in step regularly and at once; a failing one is a state, not an end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from appliance.replicas import (
    LAG_SECONDS,
    SYNC_SECONDS,
    Opened,
    Place,
    ReplicaPlaceError,
    Replicas,
    ReplicaStatus,
    SameDeviceError,
    UnknownReplicaError,
    expect_place,
    is_apart,
    make_in,
    open_in,
    places,
)
from appliance.server import Appliance
from appliance.site import Site
from store import destruction
from store.clocks import SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.engine.txn import Txn
from store.errors import EngineError
from store.oplog import Op
from store.replica import KeyReplica, ReplicaError
from store.vault import NoWrap, RootSlots
from tests.appliance import simulation
from tests.store.logbox import Box, message
from transports.memory import MemoryNetwork

Story = Callable[["World"], Awaitable[None]]


async def inline(function: Callable[..., Any], *arguments: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return function(*arguments)


class Device:
    """A device with a replica; it can be pulled out."""

    def __init__(self, node: bytes) -> None:
        self.medium, self.disk = Medium(), MemoryDisk()
        self.is_there = True
        self.opened = 0
        KeyReplica.create(self.engine(), self.disk, NoWrap(), SeededEntropy("device"), node=node)

    def engine(self) -> MemoryEngine:
        return MemoryEngine(self.medium)

    def open(self) -> Opened:
        if not self.is_there:
            raise EngineError("no such device")
        self.opened += 1
        replica = KeyReplica.open(self.engine(), self.disk, NoWrap(), SeededEntropy("open"))
        return Opened(replica, replica.close)

    def pull_out(self) -> None:
        def fail(_step: str) -> None:
            raise EngineError("the device is gone")

        self.is_there, self.medium.probe = False, fail

    def put_in(self) -> None:
        self.is_there, self.medium.probe = True, None

    @property
    def generations(self) -> list[int]:
        return [slot.generation for slot in RootSlots(self.disk).load() if slot is not None]


class World:
    """A site with two devices for replicas."""

    def __init__(self) -> None:
        self.box = Box().create()
        self.ops = self.box.append(*(message(number) for number in range(4)))
        self.devices = {name: Device(self.box.log.node) for name in ("/mnt/a", "/mnt/b")}
        self.replicas = Replicas(
            [Place(name, device.open) for name, device in self.devices.items()],
            self.box.engine,
            self.box.vault,
            self.box.clock,
            blocking=inline,
        )

    def destroy(self, op: Op) -> int:
        box = self.box
        with closing(box.engine.snapshot()) as reader:
            txn = Txn(reader)
            box.vault.doom(txn, [destruction.destroy(txn, op)])
            switch = box.vault.begin_switch(txn)
            assert switch is not None
            switch.write()
            box.engine.batch(txn.writes, box.token)
            switch.finish(box.engine)
        return box.vault.generation

    async def pass_time(self, seconds: float) -> None:
        self.box.clock.advance(int(seconds * 1_000))
        await trio.sleep(seconds)


def play(story: Story) -> World:
    """Run a story while the replicas are followed, in virtual time."""
    world = World()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: world.replicas.run(task_status=task_status))
            await story(world)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return world


def generations(world: World) -> list[int]:
    return [status.generation for status in world.replicas.statuses]


def test_replicas_are_in_step_soon_after_the_start() -> None:
    async def story(world: World) -> None:
        assert world.replicas.generation == 0
        assert await world.replicas.reached(1, 5)
        now_ms = world.box.clock.wall_ms()
        for status, device in zip(world.replicas.statuses, world.devices.values(), strict=True):
            assert (status.generation, status.error) == (1, "")
            assert status.lag_seconds(now_ms) == 0
            assert status.identity == device.open().replica.identity
        assert world.replicas.generation == 1

    play(story)


def test_a_destruction_is_acknowledged_when_it_is_told() -> None:
    async def story(world: World) -> None:
        await world.replicas.reached(1, 5)
        assert world.destroy(world.ops[0]) == 2
        started = trio.current_time()
        assert await world.replicas.reached(2, 5)
        assert trio.current_time() == started
        assert [device.generations for device in world.devices.values()] == [[2], [2]]

    play(story)


def test_a_poke_from_another_thread_is_enough() -> None:
    async def story(world: World) -> None:
        await world.replicas.reached(1, 5)
        world.destroy(world.ops[0])
        await trio.to_thread.run_sync(world.replicas.poke)
        await trio.sleep(SYNC_SECONDS / 10)
        assert generations(world) == [2, 2]

    play(story)


def test_without_a_poke_replicas_follow_after_a_while() -> None:
    async def story(world: World) -> None:
        await world.replicas.reached(1, 5)
        world.destroy(world.ops[0])
        await world.pass_time(SYNC_SECONDS + 1)
        assert generations(world) == [2, 2]

    play(story)


def test_a_missing_device_holds_up_nobody_and_is_taken_up_again() -> None:
    async def story(world: World) -> None:
        await world.replicas.reached(1, 5)
        world.devices["/mnt/a"].pull_out()
        world.destroy(world.ops[0])
        assert not await world.replicas.reached(2, 5)
        assert generations(world) == [1, 2]
        behind, following = world.replicas.statuses
        assert (behind.error, following.error) == ("store.engine_failed", "")
        assert behind.is_behind(world.box.clock.wall_ms())
        world.devices["/mnt/a"].put_in()
        await world.pass_time(SYNC_SECONDS + 1)
        assert generations(world) == [2, 2]
        assert world.replicas.statuses[0].error == ""

    play(story)


def test_replicas_stay_open_while_they_follow_and_are_closed_in_the_end() -> None:
    async def story(world: World) -> None:
        await world.pass_time(5 * SYNC_SECONDS)
        assert [device.opened for device in world.devices.values()] == [1, 1]

    world = play(story)
    assert [device.medium.engine for device in world.devices.values()] == [None, None]
    world.replicas.poke()


def test_a_stop_leaves_the_replicas_in_step_but_for_a_failing_one() -> None:
    async def story(world: World) -> None:
        await world.replicas.reached(1, 5)
        world.devices["/mnt/a"].pull_out()
        await world.replicas.sync()
        world.devices["/mnt/a"].put_in()
        world.destroy(world.ops[0])

    world = play(story)
    assert [device.generations for device in world.devices.values()] == [[1], [2]]


def test_all_are_brought_in_step_when_somebody_asks() -> None:
    async def story(world: World) -> None:
        await world.replicas.reached(1, 5)
        world.destroy(world.ops[0])
        statuses = await world.replicas.sync()
        assert [status.generation for status in statuses] == [2, 2]

    play(story)


def test_a_replica_is_added_and_followed_from_then_on() -> None:
    async def story(world: World) -> None:
        third = Device(world.box.log.node)
        status = await world.replicas.add(Place("/mnt/c", third.open))
        assert (status.name, status.generation) == ("/mnt/c", 1)
        with pytest.raises(ReplicaPlaceError):
            await world.replicas.add(Place("/mnt/c", third.open))
        world.destroy(world.ops[0])
        await world.replicas.reached(2, 5)
        assert third.generations == [2]

    play(story)


def test_a_removed_replica_opens_nothing_and_is_waited_for_no_more() -> None:
    async def story(world: World) -> None:
        await world.replicas.reached(1, 5)
        await world.replicas.remove("/mnt/a")
        assert world.devices["/mnt/a"].generations == []
        with pytest.raises(UnknownReplicaError):
            await world.replicas.remove("/mnt/a")
        world.destroy(world.ops[0])
        assert await world.replicas.reached(2, 5)
        await world.pass_time(3 * SYNC_SECONDS)
        assert world.devices["/mnt/a"].generations == []
        assert [status.name for status in world.replicas.statuses] == ["/mnt/b"]

    play(story)


def test_a_replica_that_cannot_be_effaced_stays() -> None:
    async def story(world: World) -> None:
        await world.replicas.reached(1, 5)

        def fail(_step: str) -> None:
            raise EngineError("the device fails")

        world.devices["/mnt/a"].disk.probe = fail
        with pytest.raises(EngineError):
            await world.replicas.remove("/mnt/a")
        assert len(world.replicas.statuses) == 2

    play(story)


def test_a_site_without_replicas_waits_for_none() -> None:
    box = Box().create()
    replicas = Replicas([], box.engine, box.vault, box.clock, blocking=inline)
    assert trio.run(replicas.reached, 9, 1.0)
    assert replicas.generation is None


def test_a_replica_is_behind_without_a_success_or_after_a_minute_or_a_failure() -> None:
    now_ms = 1_000_000
    fresh = ReplicaStatus("/mnt/a", synced_ms=now_ms - 1_000)
    assert not fresh.is_behind(now_ms)
    assert fresh.is_behind(now_ms + int(LAG_SECONDS * 1_000))
    assert ReplicaStatus("/mnt/a").is_behind(now_ms)
    assert ReplicaStatus("/mnt/a", synced_ms=now_ms, error="x").is_behind(now_ms)


def test_a_whole_appliance_keeps_its_replicas_in_step_and_counts_them() -> None:
    async def main() -> str:
        world = simulation.World(1)
        simulation.found(world, "alice")
        site = Site.open(world.ports(), NoWrap())
        device = Device(site.core.log.node)
        appliance = Appliance(
            site,
            simulation.CONFIG,
            network=MemoryNetwork(),
            replica_places=[Place("/mnt/a", device.open)],
            inline=True,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: appliance.run(task_status=task_status))
            assert await appliance.replicas.reached(1, 5)
            text = appliance.metrics()
            await appliance.drain()
        assert device.generations == [1]
        return text

    text = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert "strongroom_key_replicas 1" in text
    assert "strongroom_key_replicas_behind 0" in text


# --- in directories -------------------------------------------------------------------------------


def test_a_replica_in_a_directory_is_private_and_follows(tmp_path: Path) -> None:
    box, entropy = Box().create(), SeededEntropy(1)
    directory = tmp_path / "replica"
    make_in(directory, NoWrap(), entropy, node=box.log.node)
    assert directory.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ReplicaError):
        make_in(directory, NoWrap(), entropy, node=box.log.node)
    (place,) = places([directory], [tmp_path / "data", tmp_path / "keys"], NoWrap(), entropy)
    assert (place.name, place.is_apart) == (str(directory), False)
    replicas = Replicas([place], box.engine, box.vault, box.clock)
    (status,) = trio.run(replicas.sync)
    assert (status.generation, status.error, status.is_apart) == (1, "", False)
    assert sorted(path.name for path in directory.iterdir()) == ["root.0", "root.1", "store"]
    replicas._tasks[place.name].follower.close()
    opened = open_in(directory, NoWrap(), entropy, readonly=True)
    state = opened.replica.state()
    opened.close()
    assert state is not None
    assert state.generation == 1


def test_a_replica_that_went_away_under_an_open_file_is_missed_and_taken_up_again(
    tmp_path: Path,
) -> None:
    box, entropy = Box().create(), SeededEntropy(1)
    directory = tmp_path / "replica"
    make_in(directory, NoWrap(), entropy, node=box.log.node)
    (place,) = places([directory], [], NoWrap(), entropy)
    replicas = Replicas([place], box.engine, box.vault, box.clock)
    assert trio.run(replicas.sync)[0].error == ""
    directory.rename(tmp_path / "elsewhere")
    assert trio.run(replicas.sync)[0].error == ReplicaError.code
    (tmp_path / "elsewhere").rename(directory)
    assert trio.run(replicas.sync)[0].error == ""
    replicas._tasks[place.name].follower.close()


def test_there_is_no_replica_in_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(ReplicaError):
        open_in(tmp_path, NoWrap(), SeededEntropy(1))
    with pytest.raises(EngineError):
        make_in(tmp_path / "no" / "parent", NoWrap(), SeededEntropy(1), node=bytes(16))


@pytest.mark.parametrize("place", ["data", "data/replica", "keys/x", ".", "link"])
def test_a_replica_lies_neither_in_nor_around_what_it_is_for(tmp_path: Path, place: str) -> None:
    for name in ("data", "keys"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "keys")
    expect = partial(expect_place, others=[tmp_path / "data", tmp_path / "keys"])
    with pytest.raises(ReplicaPlaceError):
        expect(tmp_path / place, allow_same_device=True)


def test_a_replica_on_the_same_device_is_for_trials_only(tmp_path: Path) -> None:
    others = [tmp_path / "data", tmp_path / "keys"]
    with pytest.raises(SameDeviceError):
        expect_place(tmp_path / "replica", others, allow_same_device=False)
    expect_place(tmp_path / "replica", others, allow_same_device=True)
    assert not is_apart(tmp_path / "replica", others)
    assert is_apart(Path("/proc/replica"), others)
