"""Add, follow, show and remove key replicas, with the server up or down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli.admin import AdminSocket
from cli.commands.config import configuration
from cli.errors import CliError
from cli.exits import Exit
from cli.offline import open_site, process_lock
from cli.options import PATH, Group, acting, subcommand
from cli.output import emit_json, say, table
from cli.places import data_directory
from cli.reasons import giving_reason
from cli.replica_wrap import wrap_of, wrapping
from cli.requests import requested
from cli.signing import Person, SignedSession

if TYPE_CHECKING:
    from appliance.config import Config
    from appliance.site import Site

SYNC_SECONDS: Final = 3_600.0
"""How long bringing replicas in step may take, in seconds."""

COLUMNS: Final = (
    "directory",
    "in_step",
    "generation",
    "synced_at",
    "lag_seconds",
    "own_device",
    "error",
)

Offline = Callable[["Site", "Config", Path], dict[str, Any]]


@click.group("key-replica", cls=Group)
def group() -> None:
    """Keep copies of the keys on other devices.

    A key replica is what opens a backup. The running server keeps it in step, and a destruction
    is complete only when every replica has lost the keys too.
    """


@subcommand(group, "add", example="strongroom key-replica add /mnt/usb/strongroom-keys")
@click.argument("directory", type=PATH)
@click.option(
    "--allow-same-device", is_flag=True, help="Even if data or keys are on that device: a trial."
)
def add(data: Path | None, directory: Path, allow_same_device: bool, as_json: bool) -> None:
    """Make a key replica in a new or empty directory on a device of its own.

    It is brought in step at once, and named in the configuration file.
    """

    def offline(site: Site, config: Config, where: Path) -> dict[str, Any]:
        from appliance.administration import replicas

        status = replicas.begin(
            site, config, where, directory.absolute(), allow_same_device=allow_same_device
        )
        return replicas.answer(site, [status])

    arguments = {
        "directory": str(directory.absolute()),
        "allow_same_device": allow_same_device,
    }
    answer = _ask(data, "replica.add", arguments, offline)
    if as_json:
        emit_json("key-replica.add", answer)
    else:
        say(f"The key replica in {directory.absolute()} is in step and will be followed.")


@subcommand(group, "status", example="strongroom key-replica status --json")
def status(data: Path | None, as_json: bool) -> None:
    """Show how far each key replica has followed; status 1 when one is not in step."""

    def offline(site: Site, config: Config, where: Path) -> dict[str, Any]:
        from appliance.administration import replicas

        return replicas.answer(site, replicas.stored(site, config, where))

    _show("key-replica.status", _ask(data, "replica.status", {}, offline), as_json=as_json)


@subcommand(group, "sync", example="strongroom key-replica sync")
def sync(data: Path | None, as_json: bool) -> None:
    """Bring every key replica in step now; status 1 when one cannot be."""

    def offline(site: Site, config: Config, where: Path) -> dict[str, Any]:
        from appliance.administration import replicas

        followers = replicas.followers(site, config, where)
        return replicas.answer(site, [replicas.attempt(site, each) for each in followers])

    _show("key-replica.sync", _ask(data, "replica.sync", {}, offline), as_json=as_json)


@subcommand(group, "remove", example="strongroom key-replica remove /mnt/usb/strongroom-keys")
@click.argument("directory", type=PATH)
def remove(data: Path | None, directory: Path, as_json: bool) -> None:
    """Destroy the keys in a replica and follow it no more.

    Its device must be there. One that destruction waits for is retired first, by two officers.
    """
    name = str(directory.absolute())

    def offline(site: Site, config: Config, where: Path) -> dict[str, Any]:
        from appliance.administration import replicas

        followers = {each.status.name: each for each in replicas.followers(site, config, where)}
        known = replicas.find([each.status for each in followers.values()], name)
        follower = followers[known.name]
        replicas.expect_retired(site, follower.look())
        follower.destroy()
        replicas.remember(where, name, is_there=False)
        return {"directory": name}

    answer = _ask(data, "replica.remove", {"directory": name}, offline)
    if as_json:
        emit_json("key-replica.remove", answer)
    else:
        say(f"The keys in {name} are destroyed; the directory can be deleted.")


@subcommand(
    group,
    "retire",
    example=(
        'strongroom key-replica retire /mnt/usb/strongroom-keys --reason "stolen" --as dave\n'
        "strongroom request approve 7 --as erin"
    ),
)
@acting
@click.argument("directory", type=PATH)
@giving_reason
def retire(data: Path | None, who: Person, directory: Path, reason: str, as_json: bool) -> None:
    """Ask that destruction waits for a replica no more.

    For a device that is lost, or before a replica is removed. Another officer approves.
    """
    from appliance.disposal.commands import RetireReplica

    with SignedSession(who, data) as session:
        command = RetireReplica(str(directory.absolute()), reason)
        answer = session.request("replica.retire", command)
    if as_json:
        emit_json("key-replica.retire", answer)
    else:
        say(
            requested(answer, f"strongroom request approve {answer['request']} --as SECOND_OFFICER")
        )


@subcommand(
    group,
    "rescue",
    example="strongroom key-replica rescue /mnt/usb/strongroom-keys --data /var/lib/strongroom",
)
@click.argument("directory", type=PATH)
@wrapping
def rescue(
    data: Path | None,
    directory: Path,
    passphrase_file: str | None,
    credential_file: str | None,
    as_json: bool,
) -> None:
    """Make a lost key directory anew; the data is whole and the server is down.

    Only a replica that was in step can do it; otherwise restore from a backup.
    """
    from appliance.config import key_directory
    from appliance.rescue import rescue as carry_out
    from store.clocks import SystemEntropy

    where = data_directory(data)
    keys = key_directory(configuration(where).config, where)
    source = directory.absolute()
    wrap, _ = wrap_of((source,), passphrase_file, credential_file)
    with process_lock(where):
        generation = carry_out(where, keys, source, wrap, SystemEntropy())
    if as_json:
        emit_json("key-replica.rescue", {"keys": str(keys), "generation": generation})
    else:
        say(f"The key directory {keys} is made anew.")


def _ask(
    data: Path | None, command: str, arguments: dict[str, Any], offline: Offline
) -> dict[str, Any]:
    """Ask the running server, or do it here when there is none."""
    where = data_directory(data)
    try:
        server = AdminSocket(where, timeout=SYNC_SECONDS)
    except CliError as error:
        if error.code != "server.unreachable":
            raise
    else:
        with server:
            return server.ask(command, arguments)
    config = configuration(where).config
    with process_lock(where):
        site = open_site(config, where)
        try:
            return offline(site, config, where)
        finally:
            site.close()


def _show(schema: str, answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(schema, answer)
    elif not answer["replicas"]:
        say("There is no key replica. Add one: strongroom key-replica add DIR")
    else:
        say(table(answer["replicas"], COLUMNS))
    if not all(each["in_step"] for each in answer["replicas"]):
        click.get_current_context().exit(int(Exit.FAILED))
