"""Chat in the terminal, or send, follow and read in a pipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.options import PATH, command, command_timeout
from cli.places import data_directory

if TYPE_CHECKING:
    from cli.chat.opening import Place


@command(
    "chat",
    example=(
        "strongroom chat --as alice\n"
        'strongroom chat --as alice --to bob --send "Bed 4 is free" --json\n'
        "strongroom chat --as bob --tail --json >> events.jsonl\n"
        "strongroom chat --as bob --with alice --history 100"
    ),
)
@click.option("--as", "who", metavar="PERSON", help="Whose profile on this machine.")
@click.option("--to", metavar="NAME", help="With --send: a login, group title or duty:NAME.")
@click.option("--send", metavar="TEXT", help="Send one message; - takes it from stdin.")
@click.option("--urgent", is_flag=True, help="With --send: ask every recipient to confirm.")
@click.option("--tail", is_flag=True, help="Print what happens from now on, a line per event.")
@click.option("--with", "other", metavar="NAME", help="A login, group title or conversation id.")
@click.option(
    "--history", type=click.IntRange(1), metavar="COUNT", help="With --with: the newest messages."
)
@click.option("--join", metavar="LINK", help="Accept an invitation first; - takes it from stdin.")
@click.option("--device-name", default="", metavar="TEXT", help="With --join: this device's name.")
@click.option("--shared", is_flag=True, help="With --join: several people use this device.")
@click.option("--password-file", metavar="FILE", help="With --join: a password for later logins.")
@click.option("--passphrase-file", metavar="FILE", help="With --join: seals the signing key here.")
@click.option("--profile", type=PATH, metavar="DIR", help="Profile directory.")
@click.option("--server", default="", metavar="URL", help="strongroom://HOST:PORT, if it moved.")
@click.option("--pin", default="", metavar="sha256:HEX", help="Fingerprint of the server's CA.")
@click.option(
    "--carrier",
    type=click.Choice(["auto", "quic", "websocket"]),
    default="auto",
    show_default=True,
    help="auto: QUIC, and WebSocket where UDP is blocked.",
)
@command_timeout
def chat(data: Path | None, as_json: bool, timeout: float, **given: Any) -> None:
    """Chat in the terminal; with --send, --tail or --history, clean in a pipe.

    --send prints the acknowledged message and ends with 0 only once the server has it on disk;
    otherwise nothing is printed on stdout, and the status is 3 when the server cannot be
    reached and 7 after --timeout.
    """
    import trio

    _check(given, as_json=as_json)
    where = data_directory(data)
    if given["join"]:
        from cli.joining import join

        place = trio.run(join, given, where, timeout, as_json)
        if as_json and not (given["send"] or given["tail"] or given["history"]):
            return
    else:
        place = _place(given, where, timeout)
    trio.run(_action(place, given, as_json=as_json))


def _check(given: dict[str, Any], *, as_json: bool) -> None:
    """Raise ``UsageError`` for options that do not go together."""
    actions = [name for name in ("send", "tail", "history") if given[name]]
    if given["send"] is not None and not actions:
        raise click.UsageError("--send: the message is empty")
    if len(actions) > 1:
        raise click.UsageError(f"--{actions[0]} and --{actions[1]} do not go together")
    if bool(given["to"]) != (given["send"] is not None):
        raise click.UsageError("--to and --send go together")
    if given["history"] and not given["other"]:
        raise click.UsageError("--history needs --with")
    if given["urgent"] and not given["to"]:
        raise click.UsageError("--urgent goes with --send")
    if as_json and not actions and not given["join"]:
        raise click.UsageError("--json goes with --send, --tail, --history or --join")
    if not given["join"] and not given["who"] and not given["profile"]:
        raise click.UsageError("--as is missing: whose profile?")


def _place(given: dict[str, Any], data: Path, timeout: float) -> Place:
    from cli.chat.opening import Place

    return Place.of(
        given["who"] or "",
        given["profile"],
        data,
        server=given["server"],
        pin=given["pin"],
        carrier=given["carrier"],
        timeout=timeout,
    )


def _action(place: Place, given: dict[str, Any], *, as_json: bool) -> Callable[[], Any]:
    """Return what the options ask for."""
    from functools import partial

    from cli.chat import batch
    from cli.chat.interactive import chat as converse

    if given["send"] is not None:
        text = batch.read_text(given["send"])
        priority = "urgent" if given["urgent"] else "normal"
        return partial(batch.send, place, given["to"], text, priority=priority, as_json=as_json)
    if given["tail"]:
        return partial(batch.tail, place, given["other"], as_json=as_json)
    if given["history"]:
        return partial(batch.history, place, given["other"], given["history"], as_json=as_json)
    return partial(converse, place, given["other"])
