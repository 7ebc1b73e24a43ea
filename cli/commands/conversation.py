"""List conversations: how many, how large, whose; never titles or messages."""

from __future__ import annotations

from pathlib import Path

import click

from cli.admin import AdminSocket
from cli.options import Group, subcommand
from cli.output import emit_json, pairs, say, table
from cli.places import data_directory


@click.group(cls=Group)
def conversation() -> None:
    """List conversations. Operators do not read: titles and messages are not shown."""


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
