"""Turn what the server tells into JSON documents for programs and lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from cli.chat.names import Names
from transports.wire import schema
from transports.wire.schema import Event, HistoryItem, MessageOp

PEOPLE_FIELDS = frozenset(("by", "person", "to", "holder"))

RANGES_SHOWN: Final = 3
"""Ranges of destroyed messages that one line names."""


def event_document(event: Event, names: Names) -> dict[str, Any]:
    """Return an event's document: place, conversation, what happened, and who as login."""
    document: dict[str, Any] = {
        "pos": event.pos,
        "conv": event.conv.hex(),
        "conversation": names.label(event.conv),
        **_occurrence(event.op, names),
    }
    if event.late:
        document["late"] = True
    return document


def message_document(item: HistoryItem, conv: bytes, names: Names) -> dict[str, Any]:
    """Return a history entry's document as it stands now: newest text, reactions, who confirmed."""
    document = {
        "conv": conv.hex(),
        "conversation": names.label(conv),
        **_occurrence(item.op, names),
    }
    if item.edited:
        document["edited"] = item.edited
    if item.recalled:
        document["recalled"] = True
    if item.reactions:
        document["reactions"] = {
            each.emoji: [names.login(person) for person in each.people] for each in item.reactions
        }
    if item.confirmed:
        document["confirmed"] = [names.login(person) for person in item.confirmed]
    return document


def _occurrence(op: schema.Occurrence, names: Names) -> dict[str, Any]:
    kind = str(op.__struct_config__.tag)
    document: dict[str, Any] = {"op": kind, "msg": op.msg.hex(), "from": names.login(op.by)}
    for field in op.__struct_fields__:
        if field in ("msg", "by"):
            continue
        value = getattr(op, field)
        if isinstance(value, schema.Body):
            document["text"] = value.text
            if value.kind != "text":
                document |= {"kind": value.kind, "data": value.data}
        elif value not in (None, "", b"", ()):
            document[field] = _value(field, value, names)
    return document


def _value(field: str, value: Any, names: Names) -> Any:
    if field in PEOPLE_FIELDS and isinstance(value, bytes):
        return names.login(value)
    if field in ("mentions", "members"):
        return [names.login(person) for person in value]
    if isinstance(value, bytes):
        return value.hex()
    return msgspec.to_builtins(value)


def line_text(line: schema.Site) -> str:
    """Return how a branch's line to headquarters is, for people there."""
    if line.headquarters == "reachable":
        rest = f"; {line.waiting:,} things are on their way" if line.waiting else ""
        return f"headquarters is reached again{rest}"
    since = f" since {clock(line.since)}" if line.since else ""
    rest = f"; {line.waiting:,} things wait and go out by themselves" if line.waiting else ""
    return f"headquarters cannot be reached{since}{rest}"


def clock(at: int) -> str:
    """Return a time (Unix ms) as hours and minutes, with the date unless it is today."""
    moment = datetime.fromtimestamp(at / 1000, UTC).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M" if moment.date() == today else "%Y-%m-%d %H:%M")


def key_clock(key: str) -> str:
    """Return the time in a timeline key, as ``clock`` does: its upper 48 bits are Unix ms."""
    return clock(int(key, 16) >> 16)


def message_line(op: MessageOp, names: Names, number: int, *, conversation: str = "") -> str:
    """Return a message as one line or more: time, number (unless 0), who, where, text."""
    label = f" [{number}]" if number else ""
    place = f" in {conversation}" if conversation else ""
    urgent = " URGENT" if op.priority == "urgent" else ""
    duty = f" for duty:{op.duty}" if op.duty else ""
    return f"{clock(op.at)}{label}{urgent} {names.login(op.by)}{place}{duty}: {op.body.text}"


def event_line(op: schema.Occurrence, names: Names, number: int, *, conversation: str = "") -> str:
    """Return what happened as a line; ``number`` is the message's, 0 when it is not known.

    ``conversation`` is named where it matters: when messages are destroyed.
    """
    which = f"[{number}]" if number else "an earlier message"
    if isinstance(op, schema.WipeOp):
        return f"{clock(op.at)} * {_wiped(op, conversation)}"
    if isinstance(op, schema.EscalatedOp):
        to = f", now to {names.login(op.to)}" if op.to else ""
        return f"{clock(op.at)} * reminder: urgent {which} is not confirmed{to}"
    return f"{clock(op.at)} * {names.login(op.by)} {_deed(op, names, which)}"


def _wiped(op: schema.WipeOp, conversation: str) -> str:
    place = f" in {conversation}" if conversation else ""
    when = ", ".join(f"from {key_clock(a)} to {key_clock(b)}" for a, b in op.ranges[:RANGES_SHOWN])
    more = len(op.ranges) - RANGES_SHOWN
    if more > 0:
        when += f" and {more} more times up to {key_clock(op.ranges[-1][1])}"
    return f"messages{place} {when} are destroyed for ever (certificate {op.certificate})"


def _deed(op: schema.Occurrence, names: Names, which: str) -> str:
    match op:
        case schema.EditedOp():
            return f"changed {which}: {op.body.text}"
        case schema.RecalledOp():
            return f"recalled {which}"
        case schema.ReactionOp():
            return f"{'reacts' if op.on else 'takes back'} {op.emoji} on {which}"
        case schema.ConfirmedOp():
            return f"confirmed {which}"
        case schema.DestroyedOp():
            return f"destroyed {which} for ever"
        case _:
            return _change(op, names)


def _change(op: schema.Occurrence, names: Names) -> str:
    match op:
        case schema.MemberOp(person=person, role=role):
            return f"made {names.login(person)} {role or 'leave'}"
        case schema.OpenedOp(kind=kind, title=title):
            return f"opened the {kind} conversation {title}".rstrip()
        case schema.RenamedOp(title=title):
            return f"named the conversation {title}"
        case schema.SettingsOp(archived=archived):
            return "archived the conversation" if archived else "changed the settings"
        case schema.DutyOp(duty=duty, holder=holder):
            return f"gave duty:{duty} to {names.login(holder) if holder else 'nobody'}"
        case _:
            return f"did {op.__struct_config__.tag}"


def is_quiet(op: schema.Occurrence) -> bool:
    """Tell whether people are not shown this line by line: delivered and read marks."""
    return isinstance(op, schema.DeliveredOp | schema.ReadOp)


def conversation_lines(names: Names) -> Iterator[str]:
    """Yield the list of conversations with what is unread."""
    for place, conversation in enumerate(names.conversations, start=1):
        item = conversation.item
        unread = f", {item.unread} unread" if item is not None and item.unread else ""
        archived = ", archived" if item is not None and item.archived else ""
        kind = item.kind if item is not None else ""
        yield f"{place:>3}. {names.label(conversation.id)} ({kind}{unread}{archived})"
