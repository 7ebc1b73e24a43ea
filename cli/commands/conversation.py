"""List conversations, never titles or messages; and file them into retention classes."""

from __future__ import annotations

from pathlib import Path

import click

from cli.admin import AdminSocket
from cli.options import Group, acting, subcommand
from cli.output import emit_json, pairs, printable, say, table
from cli.places import data_directory
from cli.selection import CONVERSATION_ID
from cli.signing import Person, SignedSession


@click.group(cls=Group)
def conversation() -> None:
    """List and file conversations. Operators do not read: no title or message is shown."""


@subcommand(conversation, "list", example="strongroom conversation list alice")
@click.argument("login", required=False, default="")
def list_conversations(data: Path | None, login: str, as_json: bool) -> None:
    """List conversations: all, or those that a person is in."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("conversation.list", {"who": login})
    if as_json:
        emit_json("conversation.list", answer)
    else:
        columns = ("conversation", "kind", "members", "owners", "archived", "created_at")
        say(table(answer["conversations"], columns))


@subcommand(
    conversation,
    "show",
    example="strongroom conversation show 5f0c6d1e9ab34c77815d2f60b7a3e914",
)
@click.argument("conversation_id", metavar="CONVERSATION")
def show(data: Path | None, conversation_id: str, as_json: bool) -> None:
    """Show one conversation and who is in it."""
    with AdminSocket(data_directory(data)) as server:
        answer = server.ask("conversation.show", {"conversation": conversation_id})
    if as_json:
        emit_json("conversation.show", answer)
        return
    members = answer.pop("members")
    say(pairs(answer))
    say("")
    say(table(members, ("login", "role")))


@subcommand(
    conversation,
    "file",
    example=(
        "strongroom conversation file 5f0c6d1e9ab34c77815d2f60b7a3e914 \\\n"
        "      --class record --label ward-3 --case-closed --as dave"
    ),
)
@acting
@click.argument("conversation_id", metavar="CONVERSATION", type=CONVERSATION_ID)
@click.option(
    "--class", "retention_class", metavar="NAME", required=True, help="Its retention class."
)
@click.option("--label", "labels", metavar="LABEL", multiple=True, help="All its labels; repeat.")
@click.option(
    "--case-closed", is_flag=True, help="Its case is closed; left out: it is open, or open again."
)
def file(
    data: Path | None,
    who: Person,
    conversation_id: str,
    retention_class: str,
    labels: tuple[str, ...],
    case_closed: bool,
    as_json: bool,
) -> None:
    """Give a conversation a retention class, its labels, and say whether its case is closed.

    This replaces what was said before. A minimum that already runs for earlier messages goes
    on, whatever the new class says. `policy show` lists the classes.
    """
    from appliance.disposal.commands import FileConversation

    with SignedSession(who, data) as session:
        command = FileConversation(conversation_id, retention_class, labels, case_closed)
        answer = session.request("conversation.file", command)
    if as_json:
        emit_json("conversation.file", {"conversation": conversation_id, **answer})
        return
    named = ", ".join(answer["labels"]) or "none"
    say(f"Filed as class {printable(answer['retention_class'])}; labels: {printable(named)}.")
    say("Its case is closed." if case_closed else "Its case is open.")
