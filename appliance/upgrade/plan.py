"""Look whether an upgrade can be done: every obstacle at once, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from appliance.health import DISK_FLOOR_BYTES
from appliance.site import ENGINE_DIRECTORY
from appliance.upgrade.bundle import Release
from appliance.upgrade.installation import Installation, State
from appliance.version import RELEASE
from store.engine.lmdb import LmdbEngine
from store.errors import EngineError
from store.schema import schema_of

MARGIN_BYTES: Final = DISK_FLOOR_BYTES
"""Free space that an upgrade leaves, on each disk that it writes to."""


class Problem(msgspec.Struct, frozen=True):
    """One obstacle: a stable code, and what is the matter."""

    code: str
    message: str


class Space(msgspec.Struct, frozen=True):
    """What a directory must take, in bytes, and what is free on its device."""

    directory: str
    needed: int
    free: int
    device: int


class UpgradePlan(msgspec.Struct, frozen=True):
    """What an upgrade would do. ``schema`` is the store's version now, None without a site."""

    version: str
    new_version: str
    counter: int
    new_counter: int
    schema: int | None
    oldest_schema: int
    newest_schema: int
    files: int
    snapshot: Space | None
    program: Space
    problems: tuple[Problem, ...]


def plan(
    release: Release, installed: Installation, data: Path, snapshots: Path, map_bytes: int
) -> UpgradePlan:
    """Compare a release with what is installed and with the store; reads only.

    Args:
        release: from a bundle whose signature was checked.
        installed: the versions on this machine.
        data: the data directory; there may be no site in it.
        snapshots: where the snapshot would go.
        map_bytes: of the configuration.

    Raises ``UpgradeError`` when no program is installed, ``FormatError``, ``EngineError``.
    """
    state, version = installed.state(), installed.current()
    store = store_of(data, map_bytes)
    schema = None if store is None else store[0]
    snapshot = None if store is None else space_for(snapshots, store[1])
    program = space_for(installed.versions, release.bytes)
    problems = (
        *_layout(installed),
        *_order(release, version, state),
        *_rows(release, schema),
        *_space(snapshot, program),
    )
    return UpgradePlan(
        version,
        release.version,
        max(state.counter, RELEASE),
        release.counter,
        schema,
        release.oldest_schema,
        release.newest_schema,
        len(release.files),
        snapshot,
        program,
        problems,
    )


def store_of(data: Path, map_bytes: int) -> tuple[int, int] | None:
    """Return schema and bytes of the store; None when there is none."""
    if not (data / ENGINE_DIRECTORY).is_dir():
        return None
    engine = LmdbEngine(data / ENGINE_DIRECTORY, map_bytes=map_bytes, readonly=True)
    try:
        with engine.snapshot() as reader:
            return schema_of(reader), engine.stats().used_bytes
    finally:
        engine.close()


def _layout(installed: Installation) -> Iterator[Problem]:
    if not installed.is_adopted:
        yield Problem(
            "upgrade.not_adopted",
            f"{installed.program} is not a link yet: `strongroom upgrade trust` makes it one",
        )


def _order(release: Release, version: str, state: State) -> Iterator[Problem]:
    """Want it newer than the program in use, and no older than any that was ever applied."""
    if release.version == version:
        yield Problem("upgrade.same_version", f"version {version} is in use already")
    elif release.counter <= RELEASE or release.counter < state.counter:
        yield Problem(
            "upgrade.downgrade",
            f"release {release.counter} is not newer than release "
            f"{max(state.counter, RELEASE)}, which was here",
        )


def _rows(release: Release, schema: int | None) -> Iterator[Problem]:
    if schema is not None and not release.oldest_schema <= schema <= release.newest_schema:
        yield Problem(
            "upgrade.schema",
            f"the store has schema {schema}; version {release.version} opens "
            f"{release.oldest_schema} to {release.newest_schema}",
        )


def space_for(directory: Path, needed: int) -> Space:
    """Look at the space where a directory is or would be made; raises ``EngineError``."""
    place = directory
    while not place.exists():
        place = place.parent
    try:
        return Space(str(directory), needed, shutil.disk_usage(place).free, place.stat().st_dev)
    except OSError as error:
        raise EngineError(f"reading the free space of {place}: {error.strerror}") from error


def _space(*wanted: Space | None) -> Iterator[Problem]:
    """Leave the margin free on each device, whatever goes there together."""
    spaces = [space for space in wanted if space is not None]
    for space in spaces:
        together = sum(each.needed for each in spaces if each.device == space.device)
        if space.free < together + MARGIN_BYTES:
            yield Problem(
                "upgrade.space",
                f"{space.directory} is on a disk with {space.free >> 20} MiB free, "
                f"{(together + MARGIN_BYTES) >> 20} are needed",
            )
