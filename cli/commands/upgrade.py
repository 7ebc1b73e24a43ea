"""Bring a new program in place from a signed bundle, and go back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from cli.commands.config import configuration
from cli.errors import CliError
from cli.exits import Exit
from cli.offline import is_running, process_lock, wrap_for
from cli.options import PATH, Group, subcommand
from cli.output import emit_json, local_time, note, say
from cli.places import data_directory
from cli.programs import ask, owner_of, this_program

if TYPE_CHECKING:
    from appliance.upgrade.bundle import Bundle
    from appliance.upgrade.installation import Installation, Previous
    from appliance.upgrade.plan import Space, UpgradePlan
    from appliance.upgrade.revert import RevertReport

PROGRAM: Final = Path("/opt/strongroom")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NO_PROBLEM_HINT: Final = "`strongroom upgrade plan` tells all that is in the way."

STEPS: Final = {
    "verify": "verifying the snapshot",
    "copy": "copying it",
    "keys": "taking the keys as they are now",
    "replay": "replaying what was destroyed since the snapshot",
    "views": "rebuilding every view from the log",
    "renew": "beginning a new incarnation",
    "check": "checking log and views",
    "exchange": "putting the store in its place",
}
"""What each step of a revert is told as."""

F = TypeVar("F", bound=Callable[..., Any])


@click.group("upgrade", cls=Group)
def group() -> None:
    """Upgrade from a signed bundle; roll back.

    A bundle is one file with a new program, signed by the release key that was pinned on this
    machine. Before anything is written, a snapshot of the store is made. See docs/upgrade.md.
    """


def installed_at(function: F) -> F:
    """Add ``--program``."""
    return click.option(
        "--program",
        type=PATH,
        default=PROGRAM,
        show_default=True,
        metavar="DIR",
        help="Where the program is; versions are kept beside it.",
    )(function)


def snapshots_at(function: F) -> F:
    """Add ``--snapshots``."""
    return click.option(
        "--snapshots",
        type=PATH,
        metavar="DIR",
        help='Where the snapshot goes; else the data directory\'s path with "-snapshots" added.',
    )(function)


@subcommand(group, "trust", example="strongroom upgrade trust /mnt/usb/strongroom-release.pub")
@click.argument("key", type=FILE)
@installed_at
def trust(data: Path | None, key: Path, program: Path, as_json: bool) -> None:
    """Pin the release key: from now on only bundles signed by it are taken.

    KEY is a public key file in minisign's format, got by a way you trust; compare it with the one
    on paper. A pinned key is never replaced by this command. It also puts the program among the
    versions, with a link in its place, for which the server must be stopped.
    """
    from store.minisign import FILE_BYTES

    where = data_directory(data)
    installed = _installation(program)
    with installed.locked():
        if not installed.is_adopted and is_running(where):
            raise CliError(
                "cli.running",
                f"a server works on {where}, from the directory that is to become a link",
                "Stop it first: systemctl stop strongroom.",
                retryable=True,
            )
        with key.open(encoding="utf-8", errors="replace") as file:
            pinned = installed.trust(file.read(FILE_BYTES))
        installed.adopt()
    if as_json:
        emit_json("upgrade.trust", {"key": pinned.name, "program": str(installed.program)})
    else:
        say(f"Release key {pinned.name} is pinned for {installed.program}.")


@subcommand(
    group, "plan", example="strongroom upgrade plan /mnt/usb/strongroom-0.2.0.bundle --json"
)
@click.argument("bundle", type=FILE)
@installed_at
@snapshots_at
def plan(
    data: Path | None, bundle: Path, program: Path, snapshots: Path | None, as_json: bool
) -> None:
    """Check a bundle whole and tell what `apply` would do; nothing is written.

    Signature, every file, release counter, schema range, free space. Status 1 when something is
    in the way, 4 when the signature is wrong.
    """
    from appliance.upgrade.bundle import opened

    where = data_directory(data)
    installed = _installation(program)
    with opened(bundle, installed.key()) as content:
        content.check()
        found = _compared(content, installed, where, snapshots)
    if as_json:
        emit_json("upgrade.plan", plain_plan(found))
    else:
        _show_plan(found)
    if found.problems:
        click.get_current_context().exit(int(Exit.FAILED))


@subcommand(group, "apply", example="strongroom upgrade apply /mnt/usb/strongroom-0.2.0.bundle")
@click.argument("bundle", type=FILE)
@installed_at
@snapshots_at
def apply(
    data: Path | None, bundle: Path, program: Path, snapshots: Path | None, as_json: bool
) -> None:
    """Make a snapshot, install the bundle's program, and let it be the one in use.

    The server may run meanwhile; it goes on with the old program until you restart it. When
    anything fails, the old program stays in use.
    """
    from appliance.upgrade.bundle import opened
    from appliance.upgrade.installation import Previous, State
    from store.schema import SCHEMA

    where = data_directory(data)
    installed = _installation(program)
    with installed.locked(), opened(bundle, installed.key()) as content:
        found = _compared(content, installed, where, snapshots)
        for problem in found.problems:
            raise CliError(problem.code, problem.message, NO_PROBLEM_HINT)
        before = installed.state().previous
        with _snapshot(found, where, as_json=as_json) as snapshot:
            _progress(f"installing version {found.new_version}", as_json=as_json)
            installed.install(content)
            previous = Previous(found.version, str(snapshot or ""), SCHEMA)
            installed.change(found.new_version, State(found.new_counter, previous))
        _forget(installed, {found.version, found.new_version}, before)
    answer = {**plain_plan(found), "snapshot": str(snapshot) if snapshot else None}
    if as_json:
        emit_json("upgrade.apply", answer)
        return
    say(f"Version {found.new_version} is in use; before it was {found.version}.")
    if snapshot:
        say(f"  snapshot  {snapshot}")
    say("Restart the server to run it, for example: systemctl restart strongroom")


@subcommand(
    group,
    "rollback",
    example="strongroom upgrade rollback --dry-run\nstrongroom upgrade rollback --store",
)
@installed_at
@click.option("--store", is_flag=True, help="Also bring the store back; loses what came since.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done and lost.")
def rollback(data: Path | None, program: Path, store: bool, dry_run: bool, as_json: bool) -> None:
    """Go back to the program before the last upgrade, and if need be to its store.

    The store stays as it is, and nothing is lost, as long as the older program opens it. When it
    does not, or with --store, the store comes back from the snapshot, with the server stopped:
    what was written since is lost, also holds and policies; what was destroyed since stays
    destroyed.
    """
    where = data_directory(data)
    installed = _installation(program)
    with installed.locked():
        previous, version = _previous(installed), installed.current()
        must = _opens_no_more(previous, where)
        lost = _lost(previous, where) if store or must else 0
        answer: dict[str, Any] = {
            "version": version,
            "previous_version": previous.version,
            "snapshot": previous.snapshot or None,
            "store": store or must,
            "lost": lost,
            "dry_run": dry_run,
            "reverted": None,
        }
        if not dry_run:
            if must and not store:
                raise CliError(
                    "upgrade.needs_store",
                    f"version {previous.version} cannot open the store as it is now, and going "
                    f"back to the snapshot loses {lost} operations",
                    "Say so with --store; the server must be stopped.",
                )
            if store:
                _progress(f"version {previous.version} brings the store back", as_json=as_json)
            answer["reverted"] = _go_back(installed, previous, where, with_store=store)
    if as_json:
        emit_json("upgrade.rollback", answer)
    else:
        _show_rollback(answer)


@subcommand(
    group,
    "revert",
    example="strongroom upgrade revert /var/lib/strongroom-snapshots/0.1.0-20261124T120000Z",
)
@click.argument("snapshot", type=PATH)
def revert(data: Path | None, snapshot: Path, as_json: bool) -> None:
    """Bring the store back to a snapshot, server down; `rollback --store` calls it.

    What was written since the snapshot is lost. What was destroyed since stays destroyed: the
    keys are taken as they are now. The site takes a new incarnation, clients read anew.
    """
    from appliance.config import key_directory
    from appliance.upgrade.revert import revert as carry_out
    from store.clocks import SystemClock, SystemEntropy
    from store.vault import harden

    where = data_directory(data)
    config = configuration(where).config
    harden()

    def tell(step: str) -> None:
        _progress(STEPS[step], as_json=as_json)

    with process_lock(where):
        report = carry_out(
            where,
            key_directory(config, where),
            snapshot.absolute(),
            wrap_for(config, where),
            map_bytes=config.store.map_bytes,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            tell=tell,
        )
    if as_json:
        emit_json("upgrade.revert", plain_report(report))
    else:
        _show_report(plain_report(report))


# --- carrying out ---------------------------------------------------------------------------------


def _installation(program: Path) -> Installation:
    from appliance.upgrade.installation import Installation

    return Installation(program.absolute())


def _compared(
    content: Bundle, installed: Installation, data: Path, snapshots: Path | None
) -> UpgradePlan:
    from appliance.upgrade.plan import plan as compare

    map_bytes = configuration(data).config.store.map_bytes
    target = snapshots or data.with_name(f"{data.name}-snapshots")
    return compare(content.release, installed, data, target.absolute(), map_bytes)


@contextmanager
def _snapshot(found: UpgradePlan, data: Path, *, as_json: bool) -> Iterator[Path | None]:
    """Back the store up before the upgrade; a failure of the upgrade takes the snapshot away."""
    if found.snapshot is None:
        yield None
        return
    folder = Path(found.snapshot.directory)
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        if owner := owner_of(data):
            os.chown(folder, owner["user"], owner["group"])
    made = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = folder / f"{found.version}-{made}"
    _progress(f"making a snapshot in {target}", as_json=as_json)
    ask(this_program(), ["backup", "create", str(target)], data)
    try:
        yield target
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _forget(installed: Installation, versions: set[str], before: Previous | None) -> None:
    """Remove what no rollback needs any more: older versions and the snapshot before this one."""
    installed.prune(versions)
    if before is not None and before.snapshot:
        shutil.rmtree(before.snapshot, ignore_errors=True)


def _previous(installed: Installation) -> Previous:
    previous = installed.state().previous
    if previous is None or previous.version == installed.current():
        raise CliError("upgrade.nothing", "there is no upgrade to go back from", "")
    return previous


def _opens_no_more(previous: Previous, data: Path) -> bool:
    """Tell whether the older program would refuse the store."""
    from appliance.upgrade.plan import store_of

    found = store_of(data, configuration(data).config.store.map_bytes)
    return found is not None and found[0] > previous.schema


def _lost(previous: Previous, data: Path) -> int:
    from appliance.upgrade.revert import lost_since

    if not previous.snapshot:
        raise CliError("upgrade.nothing", "the upgrade found no store, so it made no snapshot", "")
    return lost_since(data, Path(previous.snapshot), configuration(data).config.store.map_bytes)


def _go_back(
    installed: Installation, previous: Previous, data: Path, *, with_store: bool
) -> dict[str, Any] | None:
    """Bring the store back with the older program, then let that program be the one in use."""
    from appliance.upgrade.bundle import PROGRAM_NAME
    from appliance.upgrade.installation import State, version_of

    directory = installed.directory(previous.version)
    version_of(directory)
    reverted = None
    if with_store:
        program = directory / PROGRAM_NAME
        reverted = ask([program], ["upgrade", "revert", previous.snapshot], data)
    installed.change(previous.version, State(installed.state().counter))
    return reverted


def _progress(doing: str, *, as_json: bool) -> None:
    if not as_json:
        note(f"  {doing} ...")


# --- telling --------------------------------------------------------------------------------------


def plain_plan(found: UpgradePlan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {
        "version": found.version,
        "new_version": found.new_version,
        "release": found.counter,
        "new_release": found.new_counter,
        "schema_now": found.schema,
        "opens_schema": [found.oldest_schema, found.newest_schema],
        "migrates": found.schema is not None and found.schema < found.newest_schema,
        "files": found.files,
        "space": {"snapshot": _plain(found.snapshot), "program": _plain(found.program)},
        "problems": [
            {"code": problem.code, "message": problem.message} for problem in found.problems
        ],
    }


def _plain(space: Space | None) -> dict[str, Any] | None:
    if space is None:
        return None
    return {
        "directory": space.directory,
        "needed_bytes": space.needed,
        "free_bytes": space.free,
    }


def _show_plan(found: UpgradePlan) -> None:
    say(f"The bundle is signed by the pinned key; all {found.files} files are as signed.")
    say(f"  program   {found.version} -> {found.new_version} (release {found.new_counter})")
    if found.snapshot is None:
        say("  store     there is none in the data directory")
    else:
        change = "is brought up at the next start" if plain_plan(found)["migrates"] else "stays"
        say(f"  store     schema {found.schema} {change}")
    for name, space in (("snapshot", found.snapshot), ("versions", found.program)):
        if space is not None:
            say(f"  {name}  {space.needed >> 20} MiB in {space.directory}")
    for problem in found.problems:
        say(f"In the way: {problem.message} ({problem.code})")
    if not found.problems:
        say("Nothing is in the way.")


def _show_rollback(answer: dict[str, Any]) -> None:
    verb = "would be" if answer["dry_run"] else "is"
    say(
        f"Version {answer['previous_version']} {verb} in use again, instead of {answer['version']}."
    )
    if not answer["store"]:
        say("  lost  nothing: the store stays as it is")
    elif answer["reverted"] is None:
        say(f"  lost  {answer['lost']} operations since the snapshot: messages, holds, policies")
        say("  what was destroyed since stays destroyed")
    else:
        _show_report(answer["reverted"])
    if not answer["dry_run"]:
        say("Restart the server to run it, for example: systemctl restart strongroom")


def plain_report(report: RevertReport) -> dict[str, Any]:
    """Return a report as JSON values."""
    return {
        "snapshot": report.snapshot,
        "created_at": report.created_ms,
        "operations": report.operations,
        "surviving": report.surviving,
        "destroyed_since": report.destroyed_since,
        "lost": report.lost,
        "old_incarnation": report.old_incarnation,
        "new_incarnation": report.new_incarnation,
    }


def _show_report(report: dict[str, Any]) -> None:
    say(f"  store back to  {local_time(report['created_at'])}, {report['operations']} operations")
    say(f"  lost           {report['lost']} operations: messages, holds and policies made since")
    say(f"  stay destroyed {report['destroyed_since']} operations that ended since the snapshot")
