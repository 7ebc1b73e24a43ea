"""Keep the key replicas in step with the site: regularly, and at once after each destruction.

Each replica has a task of its own, so that a slow device holds up no other, and blocking work
in worker threads. A failure is a state of that replica, never of the server: it is told by
``status`` and `doctor`, and tried again. Destruction waits for what replicas acknowledge.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import trio

from appliance.blame import blame
from store import reading
from store.disk import FileDisk
from store.engine.contract import Engine
from store.engine.lmdb import DATA_NAME, LmdbEngine
from store.errors import EngineError, StoreError
from store.ports import Clock, Entropy
from store.replica import KeyReplica, ReplicaError
from store.vault import Vault, Wrap

logger = logging.getLogger("strongroom.replicas")

SYNC_SECONDS: Final = 30.0
"""How often each replica is brought in step, in seconds."""

LAG_SECONDS: Final = 60.0
"""Age of the last success beyond which a replica counts as behind, in seconds."""

FOLLOW_SECONDS: Final = 5.0
"""How long a destruction waits for replicas before it goes on without some, in seconds."""

MAP_BYTES: Final = 1 << 36
"""Largest size of a replica's rows; the file takes disk space only as used."""

REPLICAS: Final = 8
"""Most replicas of one site."""

STORE_DIRECTORY: Final = "store"
"""The engine's directory inside a replica's directory."""


class ReplicaPlaceError(StoreError):
    """A key replica must lie apart from data, keys and other replicas."""

    code: ClassVar[str] = "replica.place"
    hint: ClassVar[str] = "Choose an empty or new directory on a device of its own."


class SameDeviceError(StoreError):
    """A key replica on the device of the data or the keys is lost together with them."""

    code: ClassVar[str] = "replica.same_device"
    hint: ClassVar[str] = "Mount another device there; for a trial, --allow-same-device."


class UnknownReplicaError(StoreError):
    """The site has no such replica."""

    code: ClassVar[str] = "replica.unknown"
    hint: ClassVar[str] = "See `strongroom key-replica status`."


class NotRetiredError(StoreError):
    """Destruction waits for the replica, so nobody removes it alone."""

    code: ClassVar[str] = "replica.not_retired"
    hint: ClassVar[str] = "Retire it first: `strongroom key-replica retire` takes two officers."


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One replica as it is known now.

    ``name`` is its directory; ``identity`` is 16 bytes, empty until it was opened once.
    ``generation`` is the one acknowledged (0: none since the start), ``synced_ms`` when it was
    last in step (Unix ms, 0: not since the start), ``error`` the code of the last failure, empty
    after a success. ``is_apart`` tells that it is on another device than data and keys,
    ``is_followed`` that a server keeps it in step.
    """

    name: str
    identity: bytes = b""
    generation: int = 0
    synced_ms: int = 0
    error: str = ""
    is_apart: bool = True
    is_followed: bool = True

    def lag_seconds(self, now_ms: int) -> float | None:
        """Return how long ago the replica was in step; None: not since the start."""
        return max(0, now_ms - self.synced_ms) / 1000 if self.synced_ms else None

    def is_behind(self, now_ms: int) -> bool:
        """Tell whether the replica does not follow."""
        lag = self.lag_seconds(now_ms)
        is_late = self.is_followed and (lag is None or lag > LAG_SECONDS)
        return bool(self.error) or is_late


class Opened(NamedTuple):
    """A replica that is open, what closes it, and what tells whether it is still at its place."""

    replica: KeyReplica
    close: Callable[[], None]
    is_there: Callable[[], bool] = lambda: True


class Place(NamedTuple):
    """Where a replica is: its name, how it is opened, and whether it is on its own device."""

    name: str
    open: Callable[[], Opened]
    is_apart: bool = True


# --- replicas in directories ----------------------------------------------------------------------


def expect_place(directory: Path, others: Iterable[Path], *, allow_same_device: bool) -> None:
    """Raise unless a new replica may lie in ``directory``; ``others`` are data, keys, replicas.

    Raises ``ReplicaPlaceError`` when it lies in one of them or one in it, ``SameDeviceError``
    when it is on the device of one, unless that is allowed.
    """
    place = directory.resolve()
    known = [other.resolve() for other in others]
    if any(place.is_relative_to(other) or other.is_relative_to(place) for other in known):
        raise ReplicaPlaceError("the key replica would lie among data, keys or another replica")
    if not allow_same_device and not is_apart(directory, known):
        raise SameDeviceError("data or keys, or another replica, are on the same device")


def is_apart(directory: Path, others: Iterable[Path]) -> bool:
    """Tell whether a directory, or where it will be made, is on none of the others' devices."""
    device = _device(directory)
    return all(_device(other) != device for other in others)


def _device(path: Path) -> int:
    resolved = path.resolve()
    existing = next(each for each in (resolved, *resolved.parents) if each.exists())
    return existing.stat().st_dev


def make_in(directory: Path, wrap: Wrap, entropy: Entropy, *, node: bytes) -> None:
    """Make an empty replica for the site ``node``; the parent directory must exist.

    Raises ``ReplicaError`` when there is a replica already, and ``EngineError``.
    """
    opened = _opened(directory, lambda engine, disk: _made(engine, disk, wrap, entropy, node))
    opened.close()


def _made(engine: Engine, disk: FileDisk, wrap: Wrap, entropy: Entropy, node: bytes) -> KeyReplica:
    return KeyReplica.create(engine, disk, wrap, entropy, node=node)


def open_in(directory: Path, wrap: Wrap, entropy: Entropy, *, readonly: bool = False) -> Opened:
    """Open the replica in a directory; raises ``ReplicaError`` when there is none."""
    if not (directory / STORE_DIRECTORY).is_dir():
        raise ReplicaError(f"{directory} holds no key replica")
    return _opened(
        directory,
        lambda engine, disk: KeyReplica.open(engine, disk, wrap, entropy),
        readonly=readonly,
    )


def _opened(
    directory: Path,
    take: Callable[[Engine, FileDisk], KeyReplica],
    *,
    readonly: bool = False,
) -> Opened:
    try:
        if not readonly:
            directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EngineError(f"making a key replica's directory: {error.strerror}") from error
    disk = FileDisk(directory)
    try:
        engine = LmdbEngine(directory / STORE_DIRECTORY, map_bytes=MAP_BYTES, readonly=readonly)
    except BaseException:
        disk.close()
        raise
    try:
        identity = _identity(directory)
        replica = take(engine, disk)
        return Opened(
            replica, lambda: _close(engine, disk), lambda: _identity(directory) == identity
        )
    except BaseException:
        _close(engine, disk)
        raise


def _identity(directory: Path) -> tuple[int, int] | None:
    """Tell a replica's files from others of the same name; None when there are none.

    Files that were deleted, or over which another device was mounted, can be written as before by
    who has them open, and nobody would ever find them again.
    """
    try:
        found = (directory / STORE_DIRECTORY / DATA_NAME).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _close(engine: Engine, disk: FileDisk) -> None:
    engine.close()
    disk.close()


def places(
    directories: Sequence[Path], apart_from: Sequence[Path], wrap: Wrap, entropy: Entropy
) -> list[Place]:
    """Return the places of replicas; ``apart_from`` are the data and the key directory."""
    return [
        Place(
            str(directory),
            partial(open_in, directory, wrap, entropy),
            is_apart(directory, apart_from),
        )
        for directory in directories
    ]


# --- following ------------------------------------------------------------------------------------


class Follower:
    """One replica with its last known status. ``attempt`` and ``close`` block; one thread."""

    def __init__(self, place: Place) -> None:
        self.status = ReplicaStatus(place.name, is_apart=place.is_apart)
        self.failure: Exception | None = None
        """What the last attempt failed with."""
        self._open = place.open
        self._opened: Opened | None = None

    def attempt(self, engine: Engine, vault: Vault, clock: Clock) -> ReplicaStatus:
        """Bring the replica in step; whatever fails becomes its status."""
        try:
            if self._opened is not None and not self._opened.is_there():
                self.close()
            opened = self._opened = self._opened or self._open()
            now_ms = clock.wall_ms()
            generation = reading.read(
                engine, lambda reader: opened.replica.sync(reader, vault, now_ms)
            )
        except Exception as error:  # noqa: BLE001 - a device's failure is its own
            code = str(getattr(error, "code", "replica.failed"))
            if code != self.status.error:
                logger.error("replica.failed", extra={"error": code, **blame(error)})
            self.status, self.failure = replace(self.status, error=code), error
            self.close()
            return self.status
        if self.status.error:
            logger.info("replica.recovered")
        self.status = replace(
            self.status,
            identity=opened.replica.identity,
            generation=generation,
            synced_ms=now_ms,
            error="",
        )
        self.failure = None
        return self.status

    def look(self) -> ReplicaStatus:
        """Return what the replica says of itself, without bringing it in step."""
        status = replace(self.status, is_followed=False)
        try:
            opened = self._opened = self._opened or self._open()
            state = opened.replica.state()
        except (StoreError, OSError) as error:
            return replace(status, error=str(getattr(error, "code", "replica.failed")))
        finally:
            self.close()
        status = replace(status, identity=opened.replica.identity)
        if state is not None:
            status = replace(status, generation=state.generation, synced_ms=state.synced_ms)
        return status

    def destroy(self) -> None:
        """Efface the replica's root slots and close it; raises the store's errors."""
        opened = self._opened = self._opened or self._open()
        opened.replica.destroy()
        self.close()

    def close(self) -> None:
        """Close the replica; ``attempt`` opens it again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            try:
                opened.close()
            except Exception as error:  # noqa: BLE001 - the device is gone, so is what was open
                logger.error("replica.failed", extra=blame(error))


Blocking = Callable[..., Awaitable[Any]]
"""Runs a function that blocks and returns what it returns: in a worker thread, or inline."""


class _Task:
    """A follower with its task."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.wake = trio.Event()
        self.lock = trio.Lock()
        self.scope = trio.CancelScope()

    @property
    def is_well(self) -> bool:
        """Whether the last attempt went well."""
        return self.follower.failure is None


class Replicas:
    """The service that keeps all replicas in step.

    Args:
        places: where the replicas are.
        engine, vault, clock: of the site.
        blocking: runs blocking work; None for worker threads.
        met: told of each replica when it is in step for the first time since the start, before
            anybody is told that it has followed. Must not raise.
    """

    def __init__(
        self,
        places: Sequence[Place],
        engine: Engine,
        vault: Vault,
        clock: Clock,
        *,
        blocking: Blocking | None = None,
        met: Callable[[ReplicaStatus], Awaitable[None]] | None = None,
    ) -> None:
        self._engine = engine
        self._met = met
        self._vault = vault
        self._clock = clock
        self._limiter = trio.CapacityLimiter(REPLICAS)
        self._blocking = blocking or partial(trio.to_thread.run_sync, limiter=self._limiter)
        self._tasks = {place.name: _Task(Follower(place)) for place in places}
        self._changed = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._is_broken = False
        """Whether something ended the service that is no state of a replica."""

    @property
    def statuses(self) -> tuple[ReplicaStatus, ...]:
        """What is known of each replica, in the order in which they were named."""
        return tuple(task.follower.status for task in self._tasks.values())

    @property
    def generation(self) -> int | None:
        """The oldest generation acknowledged; None without replicas."""
        return min((status.generation for status in self.statuses), default=None)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow until cancelled; then those that followed are brought in step a last time."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for task in self._tasks.values():
                    nursery.start_soon(self._follow, task)
                task_status.started()
                try:
                    await trio.sleep_forever()
                except trio.Cancelled:
                    await self._finish()
                    raise
        finally:
            self._token = self._nursery = None
            for task in self._tasks.values():
                task.follower.close()

    def poke(self) -> None:
        """Have all replicas brought in step at once. Any thread; without ``run``, nothing."""
        token = self._token
        if token is not None:
            token.run_sync_soon(self._wake, idempotent=True)

    async def reached(self, generation: int, timeout: float) -> bool:
        """Wait until every replica has acknowledged ``generation``; False after ``timeout`` s."""
        self._wake()
        with trio.move_on_after(timeout):
            while any(status.generation < generation for status in self.statuses):
                await self._changed.wait()
            return True
        return False

    async def sync(self) -> tuple[ReplicaStatus, ...]:
        """Bring every replica in step now; returns their statuses."""
        await self._attempt_all(self._tasks.values())
        return self.statuses

    async def add(self, place: Place) -> ReplicaStatus:
        """Follow one more replica from now on; returns its status after the first attempt.

        Raises ``ReplicaPlaceError`` when it is followed already, or there are too many, and what
        it cannot be brought in step for: then it is not followed.
        """
        if place.name in self._tasks or len(self._tasks) >= REPLICAS:
            raise ReplicaPlaceError("the key replica is known already, or there are too many")
        task = self._tasks[place.name] = _Task(Follower(place))
        status = await self._attempt(task)
        if task.follower.failure is not None:
            del self._tasks[place.name]
            raise task.follower.failure
        if self._nursery is not None:
            self._nursery.start_soon(self._follow, task)
        return status

    async def remove(self, name: str) -> None:
        """Efface a replica's roots and follow it no more.

        Raises ``UnknownReplicaError``, and the store's errors when it cannot be effaced: then it
        stays.
        """
        task = self._tasks.get(name)
        if task is None:
            raise UnknownReplicaError("there is no key replica of this name")
        async with task.lock:
            await self._blocking(task.follower.destroy)
            self._tasks.pop(name, None)
        task.scope.cancel()
        self._tell()

    async def _follow(self, task: _Task) -> None:
        with trio.CancelScope() as task.scope:
            try:
                while True:
                    task.wake = trio.Event()
                    await self._attempt(task)
                    with trio.move_on_after(SYNC_SECONDS):
                        await task.wake.wait()
            except trio.Cancelled:
                raise
            except BaseException:
                self._is_broken = True
                raise

    async def _finish(self) -> None:
        """Bring those in step that follow; a device that fails does not hold up the stop."""
        if self._is_broken:
            return
        with trio.CancelScope(shield=True):
            await self._attempt_all(task for task in self._tasks.values() if task.is_well)

    async def _attempt_all(self, tasks: Iterable[_Task]) -> None:
        async with trio.open_nursery() as nursery:
            for task in list(tasks):
                nursery.start_soon(self._attempt, task)

    async def _attempt(self, task: _Task) -> ReplicaStatus:
        async with task.lock:
            attempt = task.follower.attempt
            is_new = not task.follower.status.identity
            status: ReplicaStatus = await self._blocking(
                attempt, self._engine, self._vault, self._clock
            )
            if is_new and status.identity and self._met is not None:
                await self._met(status)
        self._tell()
        return status

    def _tell(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _wake(self) -> None:
        for task in self._tasks.values():
            task.wake.set()
