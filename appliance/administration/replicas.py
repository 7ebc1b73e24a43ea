"""Add, follow, show and remove key replicas, with the server up or down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from appliance import replicas
from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.config import (
    FILE_NAME,
    Config,
    key_directory,
    load,
    replica_directories,
)
from appliance.config_edit import with_setting, write_settings
from appliance.reload import in_force
from appliance.replicas import (
    STORE_DIRECTORY,
    Follower,
    NotRetiredError,
    Place,
    ReplicaStatus,
    UnknownReplicaError,
)
from appliance.site import Site
from store.errors import EngineError
from transports.wire.errors import Refusal

SETTING: Final = "replicas.directories"


class NewReplica(Arguments, frozen=True):
    """Where a key replica shall be (an absolute path), and whether any device will do."""

    directory: str
    allow_same_device: bool = False


class Which(Arguments, frozen=True):
    """A key replica, by its directory as an absolute path."""

    directory: str


def plain(site: Site, statuses: Iterable[ReplicaStatus]) -> list[dict[str, Any]]:
    """Return what is known of replicas as JSON values."""
    now_ms, generation = site.ports.clock.wall_ms(), site.vault.generation
    return [
        {
            "directory": status.name,
            "identity": status.identity.hex(),
            "generation": status.generation,
            "in_step": status.generation == generation and not status.is_behind(now_ms),
            "synced_at": status.synced_ms,
            "lag_seconds": status.lag_seconds(now_ms),
            "own_device": status.is_apart,
            "error": status.error,
        }
        for status in statuses
    ]


def answer(site: Site, statuses: Iterable[ReplicaStatus]) -> Answer:
    """Return the site's generation and its replicas."""
    return {"generation": site.vault.generation, "replicas": plain(site, statuses)}


# --- what online and offline share; all of it blocks ----------------------------------------------


def prepare(
    site: Site, config: Config, data_dir: Path, directory: Path, *, allow_same_device: bool
) -> Place:
    """Make a new replica's directory, or take up one of this site; return where it is.

    Raises as ``replicas.expect_place``, ``replicas.make_in`` and ``replicas.open_in``.
    """
    apart_from = [data_dir, key_directory(config, data_dir)]
    others = [*apart_from, *replica_directories(config, data_dir)]
    replicas.expect_place(directory, others, allow_same_device=allow_same_device)
    if not (directory / STORE_DIRECTORY).exists():
        node = site.core.log.node
        replicas.make_in(directory, site.wrap, site.ports.entropy, node=node)
    (place,) = replicas.places([directory], apart_from, site.wrap, site.ports.entropy)
    return place


def begin(
    site: Site, config: Config, data_dir: Path, directory: Path, *, allow_same_device: bool
) -> ReplicaStatus:
    """Make a replica while no server runs: bring it in step, and name it in the configuration.

    Raises as ``prepare`` and ``remember``, and what keeps the replica from following.
    """
    follower = Follower(
        prepare(site, config, data_dir, directory, allow_same_device=allow_same_device)
    )
    status = attempt(site, follower)
    if follower.failure is not None:
        raise follower.failure
    remember(data_dir, status.name, is_there=True)
    return status


def remember(data_dir: Path, name: str, *, is_there: bool) -> None:
    """Name a replica's directory in the configuration file, or no more.

    Raises ``ConfigError`` when the file cannot be changed, ``EngineError`` when writing fails.
    """
    path = data_dir / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        directories = _named_in(text, data_dir)
        changed = [each for each in directories if each != name] + [name] * is_there
        if changed != directories:
            write_settings(path, with_setting(text, SETTING, tuple(changed)))
    except OSError as error:
        raise EngineError(f"writing {FILE_NAME}: {error.strerror}") from error


def _named_in(text: str, data_dir: Path) -> list[str]:
    """Return the directories that a configuration file names, made absolute."""
    config = load(text, environ={}).config
    return [str(path) for path in replica_directories(config, data_dir)]


def followers(site: Site, config: Config, data_dir: Path) -> list[Follower]:
    """Return what follows the replicas of a site whose server is down."""
    apart_from = [data_dir, key_directory(config, data_dir)]
    directories = replica_directories(config, data_dir)
    named = replicas.places(directories, apart_from, site.wrap, site.ports.entropy)
    return [Follower(place) for place in named]


def stored(site: Site, config: Config, data_dir: Path) -> list[ReplicaStatus]:
    """Return how far replicas say they have followed, while no server runs."""
    return [each.look() for each in followers(site, config, data_dir)]


def attempt(site: Site, follower: Follower) -> ReplicaStatus:
    """Bring one replica in step and close it."""
    status = follower.attempt(site.ports.engine, site.vault, site.ports.clock)
    follower.close()
    return status


def expect_retired(site: Site, status: ReplicaStatus) -> None:
    """Raise ``NotRetiredError`` while destruction waits for a replica."""
    known = site.core.disposal.replicas.values()
    if any(each.identity == status.identity for each in known):
        raise NotRetiredError("destruction waits for this key replica")


def find(statuses: Sequence[ReplicaStatus], name: str) -> ReplicaStatus:
    """Return the status of a replica; raises ``UnknownReplicaError``."""
    for status in statuses:
        if status.name == name:
            return status
    raise UnknownReplicaError("there is no key replica in this directory")


# --- operations of a running server ---------------------------------------------------------------


async def show(host: Host, arguments: Arguments) -> Answer:
    """Tell how far each key replica has followed."""
    del arguments
    return answer(host.site, host.replicas.statuses)


async def sync(host: Host, arguments: Arguments) -> Answer:
    """Bring every key replica in step now."""
    del arguments
    return answer(host.site, await host.replicas.sync())


async def add(host: Host, arguments: NewReplica) -> Answer:
    """Make a key replica, bring it in step, and name it in the configuration file."""
    data_dir, directory = _places(host, arguments.directory)
    config, allowed = in_force(host), arguments.allow_same_device

    def make() -> Place:
        return prepare(host.site, config, data_dir, directory, allow_same_device=allowed)

    status = await host.replicas.add(await trio.to_thread.run_sync(make))
    await trio.to_thread.run_sync(lambda: remember(data_dir, status.name, is_there=True))
    return answer(host.site, [status])


async def remove(host: Host, arguments: Which) -> Answer:
    """Efface a key replica's root and follow it no more."""
    data_dir, directory = _places(host, arguments.directory)
    status = find(host.replicas.statuses, str(directory))
    expect_retired(host.site, status)
    await host.replicas.remove(status.name)
    await trio.to_thread.run_sync(lambda: remember(data_dir, status.name, is_there=False))
    return {"directory": status.name}


def _places(host: Host, name: str) -> tuple[Path, Path]:
    data_dir, directory = host.health.data_dir, Path(name)
    if data_dir is None or not directory.is_absolute():
        raise Refusal("request.invalid")
    return data_dir, directory


OPERATIONS: Final[Mapping[str, Operation]] = {
    "replica.status": Operation(Arguments, show),
    "replica.sync": Operation(Arguments, sync),
    "replica.add": Operation(NewReplica, add),
    "replica.remove": Operation(Which, remove),
}
"""What the peer's uid alone allows, by name."""
