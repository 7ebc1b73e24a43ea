"""Back the site up, with the server up or down, and verify backups anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from cli.admin import AdminSocket
from cli.commands.config import configuration
from cli.errors import CliError
from cli.exits import Exit
from cli.offline import open_site, process_lock
from cli.options import PATH, Group, subcommand
from cli.output import emit_json, local_time, note, say
from cli.places import data_directory
from cli.watching import watched

BACKUP_SECONDS: Final = 86_400.0
"""How long making a backup may take, in seconds."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("backup", cls=Group)
def group() -> None:
    """Back the site up; verify a backup.

    A backup holds the records and no key: alone it opens nothing, so it may lie anywhere. To
    restore one takes a key replica, see `strongroom key-replica --help`.
    """


@subcommand(group, "create", example="strongroom backup create /mnt/backup/2026-11-24")
@click.argument("directory", type=PATH)
def create(data: Path | None, directory: Path, as_json: bool) -> None:
    """Make a backup in a new directory, while the server runs or while it is down.

    The directory appears when the backup is complete and signed. Key replicas are brought in
    step afterwards, so that they open everything in it.
    """
    where, target = data_directory(data), directory.absolute()
    answer = _online(where, target, as_json=as_json)
    if answer is None:
        answer = _offline(where, target, as_json=as_json)
    if as_json:
        emit_json("backup.create", answer)
        return
    say(f"The backup is in {answer['directory']} ({answer['bytes']:,} bytes).")
    say(f"  made        {local_time(answer['created_at'])}")
    say(f"  operations  {answer['pos']}")
    say(f"  site's key  {answer['key']}")
    _warn_about(answer["replicas"])


def _online(data: Path, target: Path, *, as_json: bool) -> dict[str, Any] | None:
    """Let the running server make it; None when there is none."""
    try:
        server = AdminSocket(data, timeout=BACKUP_SECONDS)
    except CliError as error:
        if error.code != "server.unreachable":
            raise
        return None
    arguments = {"directory": str(target)}

    def look() -> tuple[int, int]:
        with AdminSocket(data) as other:
            told = other.ask("backup.progress", arguments)
        return told["done_bytes"], told["total_bytes"]

    with server:
        return watched(
            lambda: server.ask("backup.create", arguments), look, "Copying", is_shown=not as_json
        )


def _offline(data: Path, target: Path, *, as_json: bool) -> dict[str, Any]:
    from appliance import backups
    from appliance.administration import replicas
    from appliance.administration.backups import described
    from appliance.backup_age import NoteBackup
    from appliance.context import SITE
    from store.backup import copied_bytes

    config = configuration(data).config
    with process_lock(data):
        site = open_site(config, data)
        try:
            manifest = watched(
                lambda: backups.create(site, config, data, target),
                lambda: (copied_bytes(target), site.ports.engine.stats().used_bytes),
                "Copying",
                is_shown=not as_json,
            )
            site.run(SITE, NoteBackup(manifest.created_ms))
            statuses = [
                replicas.attempt(site, each) for each in replicas.followers(site, config, data)
            ]
            return {**described(manifest, target), "replicas": replicas.plain(site, statuses)}
        finally:
            site.close()


def _warn_about(replicas: list[dict[str, Any]]) -> None:
    if not replicas:
        note("warning: there is no key replica; without one this backup can never be restored.")
    behind = [each["directory"] for each in replicas if not each["in_step"]]
    if behind:
        note(f"warning: these key replicas are not in step: {', '.join(behind)}")


@subcommand(
    group,
    "verify",
    example=(
        "strongroom backup verify /mnt/backup/2026-11-24\n"
        "strongroom backup verify /mnt/backup/2026-11-24 --key site.key --json"
    ),
)
@click.argument("directory", type=PATH)
@click.option(
    "--key",
    "key_file",
    type=FILE,
    metavar="FILE",
    help="The site's public key, from `audit key`, got by a way you trust.",
)
def verify(data: Path | None, directory: Path, key_file: Path | None, as_json: bool) -> None:
    """Check files, signature, and the chains of the log in a backup; needs no server, no keys.

    Without --key whoever could change the backup could also have signed it. Status 5 when it is
    not as it was made.
    """
    from appliance.administration.backups import described
    from store import backup

    del data
    key = read_key(key_file)
    found = backup.verify(directory, key=key)
    manifest = None if found.manifest is None else described(found.manifest, directory.absolute())
    if as_json:
        answer = {"ok": found.is_good, "pinned": found.is_pinned, "backup": manifest}
        emit_json("backup.verify", {**answer, "problems": list(found.problems)})
    else:
        _tell(manifest, found.problems, is_pinned=found.is_pinned)
    if not found.is_good:
        click.get_current_context().exit(int(Exit.INTEGRITY))


def _tell(
    manifest: Mapping[str, Any] | None, problems: tuple[str, ...], *, is_pinned: bool
) -> None:
    if problems:
        say("The backup is not as it was made:")
        for problem in problems:
            say(f"  {problem}")
        return
    assert manifest is not None
    say(f"The backup is as site {manifest['node']} made it.")
    say(f"  made        {local_time(manifest['created_at'])} by version {manifest['program']}")
    say(f"  operations  {manifest['pos']}")
    say(f"  site's key  {manifest['key']}")
    if not is_pinned:
        note("notice: the site's key was not given (--key), so anybody could have signed it.")


def read_key(path: Path | None) -> bytes | None:
    """Return the public key in a file: hex, base64 or as `audit key` prints it."""
    if path is None:
        return None
    from store.verifier import VerificationError
    from store.verifier import read_key as parse

    try:
        return parse(path.read_text(encoding="utf-8"))
    except (VerificationError, UnicodeDecodeError):
        raise CliError("cli.usage", f"{path} holds no public key", "See `audit key`.") from None
