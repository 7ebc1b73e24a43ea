"""Examine a running or stopped appliance and say what an operator should know.

Each finding has a stable id, evidence and a remedy. Quick findings look at the machine; deep
ones verify the log and rebuild every view from it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from appliance.findings import Finding, Severity
from appliance.health import CLOCK_FLOOR_MS, DISK_FLOOR_BYTES
from appliance.replicas import ReplicaStatus
from appliance.site import Site
from appliance.sites import lease
from appliance.sites.authority import why_no_destruction

MAP_WARNING_SHARE: Final = 0.8
"""Share of the map in use from which it should be enlarged."""

DISK_WARNING_BYTES: Final = 4 * DISK_FLOOR_BYTES
"""Free bytes from which on more should be made."""

_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "afs"})
_COPY_ON_WRITE: Final = frozenset({"btrfs", "zfs", "bcachefs", "overlay"})
_HYPERVISOR_FILE: Final = Path("/sys/class/dmi/id/sys_vendor")
_MOUNTS: Final = Path("/proc/self/mounts")


def examine_directories(data_dir: Path, key_dir: Path) -> Iterator[Finding]:
    """Yield findings about the data and key directories' places and permissions."""
    if key_dir.resolve().is_relative_to(data_dir.resolve()):
        yield Finding(
            "keys.inside_data",
            Severity.FAILURE,
            "the key directory is inside the data directory",
            "Stop, move the key directory out of the data, and set keys.directory.",
        )
    for name, directory in (("data", data_dir), ("keys", key_dir)):
        mode = directory.stat().st_mode & 0o777
        if mode & 0o077:
            yield Finding(
                f"{name}.permissions",
                Severity.WARNING,
                f"the {name} directory has mode {mode:o}",
                "Take other users' access away: chmod 700.",
            )
    yield from _examine_file_systems(data_dir, key_dir)
    if data_dir.stat().st_dev == key_dir.stat().st_dev:
        yield Finding(
            "keys.same_device",
            Severity.NOTICE,
            "keys and data are on one device",
            "For production, put the key directory on a device of its own.",
        )
    kind = file_system(key_dir)
    if kind in _COPY_ON_WRITE:
        yield Finding(
            "keys.copy_on_write",
            Severity.NOTICE,
            f"the key directory is on {kind}, which may keep overwritten blocks",
            "For production, use ext4 or xfs on a plain device.",
        )


def _examine_file_systems(data_dir: Path, key_dir: Path) -> Iterator[Finding]:
    """Yield findings about file systems on which neither LMDB nor a root is safe."""
    for name, directory in (("data", data_dir), ("keys", key_dir)):
        kind = file_system(directory)
        if kind in _VOLATILE | _REMOTE:
            why = "is lost with the power" if kind in _VOLATILE else "is on another machine"
            yield Finding(
                "disk.file_system",
                Severity.FAILURE,
                f"the {name} directory is on {kind}, which {why}",
                "Move it to a disk of this machine, with ext4 or xfs.",
            )


def examine_machine() -> Iterator[Finding]:
    """Yield findings about the machine."""
    try:
        vendor = _HYPERVISOR_FILE.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return
    if any(name in vendor for name in ("QEMU", "VMware", "Xen", "innotek", "Google", "Amazon")):
        yield Finding(
            "machine.hypervisor",
            Severity.NOTICE,
            f"this is a virtual machine ({vendor[:40]})",
            "Keep the key directory out of snapshots of the whole machine.",
        )


def examine_site(site: Site, data_dir: Path | None) -> Iterator[Finding]:
    """Yield findings about an opened site; cheap."""
    wall_ms = site.ports.clock.wall_ms()
    if wall_ms < CLOCK_FLOOR_MS:
        yield Finding("clock.floor", Severity.FAILURE, "the clock is before 2025", "Set the clock.")
    if site.core.log.breach is not None:
        yield Finding(
            "log.new_incarnation",
            Severity.WARNING,
            f"the site took a new incarnation at its start: {site.core.log.breach}",
            "If the data was not restored on purpose, find out who put back an old state.",
        )
    if not site.vault.is_memory_locked:
        yield Finding(
            "memory.not_locked",
            Severity.NOTICE,
            "keys in memory are not locked and could reach swap",
            "Raise the service's LimitMEMLOCK, or switch swap off.",
        )
    yield from _examine_space(site, data_dir)


def examine_replicas(statuses: Sequence[ReplicaStatus], now_ms: int) -> Iterator[Finding]:
    """Yield findings about the key replicas: none, one that does not follow, one out of place."""
    if not statuses:
        yield Finding(
            "keys.no_replica",
            Severity.NOTICE,
            "there is no key replica: no backup can be restored without one",
            "Add one on a device of its own: strongroom key-replica add DIR.",
        )
    for status in statuses:
        if status.is_behind(now_ms):
            yield Finding(
                "keys.replica_behind",
                Severity.WARNING,
                f"the key replica in {status.name} does not follow{_why(status, now_ms)}",
                "See that its device is there and writable; destruction waits for it.",
            )
        if not status.is_apart:
            yield Finding(
                "keys.replica_same_device",
                Severity.NOTICE,
                f"the key replica in {status.name} is on the device of data or keys",
                "Move it to a device of its own: one fault would take both.",
            )


def examine_branch(site: Site) -> Iterator[Finding]:
    """Yield a finding about a branch whose authority has aged; cheap."""
    sites = site.core.sites
    state = lease.state_of(sites.mark, site.core.reading())
    if sites.is_branch and state is not lease.State.FRESH:
        refused = ", ".join(sorted(lease.REFUSED[state, sites.profile]))
        yield Finding(
            "site.cut_off",
            Severity.WARNING,
            f"the lease of this branch is {state}: no {refused}",
            "See to the line to headquarters; `strongroom site status` tells how it is.",
        )


_NO_DESTRUCTION: Final = {
    "expired": "this branch's lease is over: it destroys nothing, and hides what is due",
    "holds": "headquarters knows of holds that are not here yet: this branch destroys nothing",
}
_RELINK: Final = "It ends by itself once the line to headquarters is back: strongroom site status."


def examine_disposal(site: Site) -> Iterator[Finding]:
    """Yield findings about retention: no rules, no time, a jump, runs that replicas hold up."""
    known = site.core.disposal
    if not known.policies.current.rules:
        yield Finding(
            "policy.none",
            Severity.NOTICE,
            "no retention rule is set: nothing ends by age",
            "Set one: strongroom policy list, then strongroom policy set.",
        )
    if known.policies.current.clock == "none":
        yield Finding(
            "clock.no_source",
            Severity.NOTICE,
            "the policy names no trusted time source: nothing is destroyed",
            'Name one in the policy: clock = "system", where this machine\'s clock is cared for.',
        )
    if known.is_suspended:
        yield Finding(
            "clock.suspended",
            Severity.FAILURE,
            "the wall clock jumped, or the site was restored: destruction is suspended",
            "Set the clock right; place again holds that a restored site has lost. Then two "
            "officers confirm it: strongroom clock resume.",
        )
    behind = [
        run.intent.run
        for run in known.runs.values()
        if run.confirmed is not None and run.confirmed.state != "COMPLETE"
    ]
    if behind:
        yield Finding(
            "destruction.incomplete",
            Severity.WARNING,
            f"{len(behind)} destruction runs wait for key replicas or branches, the oldest is "
            f"{behind[0]}",
            "See for what: strongroom destroy runs. Bring the replica or branch back; two officers "
            "retire a replica, and an officer attests that a revoked branch is lost.",
        )
    why = why_no_destruction(site.core.sites, site.core.reading())
    if why:
        yield Finding("lease.no_destruction", Severity.WARNING, _NO_DESTRUCTION[why], _RELINK)


def _why(status: ReplicaStatus, now_ms: int) -> str:
    lag = status.lag_seconds(now_ms)
    since = "" if lag is None else f" for {lag:.0f} s"
    return since + (f": {status.error}" if status.error else "")


def _examine_space(site: Site, data_dir: Path | None) -> Iterator[Finding]:
    stats = site.ports.engine.stats()
    if stats.used_bytes > MAP_WARNING_SHARE * stats.capacity_bytes:
        share = 100 * stats.used_bytes // stats.capacity_bytes
        yield Finding(
            "store.map",
            Severity.WARNING,
            f"{share} % of store.map_bytes is in use",
            "Raise store.map_bytes and restart.",
        )
    if data_dir is None:
        return
    free = shutil.disk_usage(data_dir).free
    evidence = f"{free >> 20} MiB are free on the data's disk"
    if free < DISK_FLOOR_BYTES:
        yield Finding("disk.full", Severity.FAILURE, evidence, "Free space on the disk.")
    elif free < DISK_WARNING_BYTES:
        yield Finding("disk.low", Severity.WARNING, evidence, "Free space, or enlarge the disk.")


def file_system(path: Path) -> str:
    """Return the type of the file system a path is on, or "" when it cannot be told."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found, longest = "", -1
    resolved = str(path.resolve())
    for line in mounts:
        _device, point, kind, *_ = line.split(" ")
        if os.path.commonpath((point, resolved)) == point and len(point) > longest:
            found, longest = kind, len(point)
    return found
