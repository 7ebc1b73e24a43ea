"""Show conversations without a word of what is in them, and duties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.administration.people import MaybeWho
from appliance.messaging.model import Conversation, Duty
from transports.wire.errors import Refusal


class Which(Arguments, frozen=True):
    """A conversation, by its id in hex."""

    conversation: str


def _conversation(found: Conversation) -> dict[str, Any]:
    """Describe a conversation; its title is content, which operators do not read."""
    return {
        "conversation": found.id.hex(),
        "kind": found.kind,
        "members": len(found.members),
        "owners": len(found.owners()),
        "retention_class": found.retention_class,
        "archived": found.archived,
        "created_at": found.created.at,
    }


async def list_conversations(host: Host, arguments: MaybeWho) -> Answer:
    """List conversations: all, or those that a person is in now."""
    core = host.site.core
    if arguments.who:
        person = core.directory.refer(arguments.who)
        if person is None:
            raise Refusal("person.unknown")
        ids = set(core.conversations.current(person.id))
    else:
        ids = {
            conversation
            for person in core.directory.people()
            for conversation in list(core.conversations.ever(person.id))
        }
    found = (core.conversations.get(conversation) for conversation in ids)
    rows = [_conversation(each) for each in found if each is not None]
    return {"conversations": sorted(rows, key=lambda row: (row["created_at"], row["conversation"]))}


async def show_conversation(host: Host, arguments: Which) -> Answer:
    """Show one conversation and who is in it."""
    core = host.site.core
    try:
        found = core.conversations.get(bytes.fromhex(arguments.conversation))
    except ValueError:
        raise Refusal("request.invalid") from None
    if found is None:
        raise Refusal("conversation.unknown")
    members = [
        {"login": _login(host, member.person), "role": member.role}
        for member in list(found.members.values())
    ]
    return {**_conversation(found), "members": sorted(members, key=lambda row: row["login"])}


def _login(host: Host, person: bytes) -> str:
    known = host.site.core.directory.person(person)
    return "" if known is None else known.login


def _duty(host: Host, duty: Duty) -> dict[str, Any]:
    return {
        "duty": duty.name,
        "title": duty.title,
        "holder": _login(host, duty.holder),
        "chain": [_login(host, person) for person in duty.chain],
        "step_seconds": duty.step_seconds,
    }


async def list_duties(host: Host, arguments: Arguments) -> Answer:
    """List duties: who holds each, and who is next."""
    del arguments
    duties = sorted(host.site.core.conversations.duties(), key=lambda duty: duty.name)
    return {"duties": [_duty(host, duty) for duty in duties]}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "conversation.list": Operation(MaybeWho, list_conversations),
    "conversation.show": Operation(Which, show_conversation),
    "duty.list": Operation(Arguments, list_duties),
}
