"""Chat in a pipe: send one message, follow what happens, print a history."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from cli.chat.names import Names
from cli.chat.opening import Place, in_time, opened
from cli.chat.render import (
    clock,
    event_document,
    event_line,
    is_quiet,
    message_document,
    message_line,
)
from cli.errors import CliError
from cli.output import emit_json, note, say
from client import Sent
from transports.wire.schema import (
    Event,
    Gap,
    HistoryItem,
    MemberOp,
    MessageOp,
    OpenedOp,
    WipeOp,
)

if TYPE_CHECKING:
    from client import Conversation

PAGE: Final = 200
"""Entries asked for at a time."""

STDIN: Final = "-"

TEXT_BYTES: Final = 1 << 20
"""Most that is read from stdin, in bytes; the server's own limit is far below."""


def read_text(source: str) -> str:
    """Return the text to send: the argument, or all of stdin for ``-`` (one last newline off).

    Raises ``CliError`` when it is no UTF-8 or far too long.
    """
    if source != STDIN:
        return source
    data = sys.stdin.buffer.read(TEXT_BYTES + 1)
    try:
        if len(data) <= TEXT_BYTES:
            return data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise CliError("cli.usage", "the message on stdin is not UTF-8") from None
    raise CliError("send.too_large", "the message on stdin is too long")


async def send(place: Place, to: str, text: str, *, priority: str, as_json: bool) -> None:
    """Send one message and print it once the server has it on disk; nothing is printed before."""
    with in_time(place.timeout):
        async with opened(place) as me:
            names = Names(me)
            target = await names.open(to)
            sent = await me.send(target, text, priority=priority)
    _tell_sent(sent, to, as_json=as_json)


def _tell_sent(sent: Sent, to: str, *, as_json: bool) -> None:
    if not as_json:
        say(f"{clock(sent.at)} sent to {to}")
        return
    emit_json(
        "chat.sent",
        {
            "msg": sent.msg.hex(),
            "conv": sent.conv.hex(),
            "pos": sent.pos,
            "key": sent.key,
            "at": sent.at,
            "n": sent.n,
            "to": to,
        },
    )


async def history(place: Place, name: str, count: int, *, as_json: bool) -> None:
    """Print the newest ``count`` messages of a conversation, oldest of them first."""
    async with opened(place) as me:
        with in_time(place.timeout):
            names = Names(me)
            conversation = await names.existing(name)
        if conversation is None:
            return
        items = await newest(conversation, count, place.timeout)
    for number, item in enumerate(reversed(items), start=1):
        if as_json:
            emit_json("chat.message", message_document(item, conversation.id, names))
        else:
            say(history_line(item, names, number))


def history_line(item: HistoryItem, names: Names, number: int) -> str:
    """Return a history entry for people."""
    op = item.op
    if not isinstance(op, MessageOp):
        return f"{clock(op.at)} (destroyed)"
    if item.recalled:
        return f"{clock(op.at)} [{number}] {names.login(op.by)}: (recalled)"
    line = message_line(op, names, number)
    marks = [f"edited {item.edited}x"] if item.edited else []
    marks += [f"{each.emoji} {len(each.people)}" for each in item.reactions]
    if item.confirmed:
        marks.append("confirmed by " + ", ".join(map(names.login, item.confirmed)))
    return f"{line} ({'; '.join(marks)})" if marks else line


async def newest(conversation: Conversation, count: int, timeout: float) -> list[HistoryItem]:
    """Return up to ``count`` entries, newest first; each page has ``timeout`` seconds."""
    items: list[HistoryItem] = []
    before = ""
    while len(items) < count:
        with in_time(timeout):
            limit = min(PAGE, count - len(items))
            page = await conversation.history(limit=limit, before=before)
        if not page:
            break
        items += page
        before = key_of(page[-1])
        if not before:
            break
    return items


def key_of(item: HistoryItem) -> str:
    """Return an entry's timeline key."""
    return str(getattr(item.op, "key", ""))


async def tail(place: Place, only: str | None, *, as_json: bool) -> None:
    """Print what happens from now on, one line per event, until interrupted."""
    async with opened(place) as me:
        with in_time(place.timeout):
            names = Names(me)
            await names.refresh()
            chosen = None if only is None else await names.existing(only)
        note(f"following as {names.login(names.me)}, from now on")
        async for event in me.events():
            if isinstance(event, Gap):
                _tell_gap(event, as_json=as_json)
            if not isinstance(event, Event) or (only and chosen and event.conv != chosen.id):
                continue
            if not _is_known(event, names):
                with in_time(place.timeout):
                    await names.refresh()
            _tell_event(event, names, as_json=as_json)


def _is_known(event: Event, names: Names) -> bool:
    """Tell whether an event's conversation and people have names already.

    Of a wipe one need not know more: it may be of a conversation that one left long ago.
    """
    if isinstance(event.op, WipeOp):
        return True
    if isinstance(event.op, OpenedOp | MemberOp) or not names.knows([event.op.by]):
        return False
    return names.knows_conversation(event.conv)


def _tell_gap(gap: Gap, *, as_json: bool) -> None:
    if as_json:
        emit_json("chat.gap", {"from": gap.from_, "to": gap.to})
    else:
        say("* events were left out; see the history")


def _tell_event(event: Event, names: Names, *, as_json: bool) -> None:
    if as_json:
        emit_json("chat.event", event_document(event, names))
    elif isinstance(event.op, MessageOp):
        say(message_line(event.op, names, 0, conversation=names.label(event.conv)))
    elif not is_quiet(event.op):
        say(event_line(event.op, names, 0, conversation=names.label(event.conv)))
