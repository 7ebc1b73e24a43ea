"""Chat in a terminal, line by line: what others write appears, what one types is sent.

Nothing here needs a screen that can be drawn on: it works over a serial line, through a screen
reader, and with input from a file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from cli.chat import lines
from cli.chat.batch import history_line, newest
from cli.chat.lines import Line, LineError
from cli.chat.names import Names
from cli.chat.opening import Place, in_time, opened
from cli.chat.render import (
    conversation_lines,
    event_line,
    is_quiet,
    key_clock,
    line_text,
    message_line,
)
from cli.chat.terminal import Terminal
from cli.errors import CliError, report
from client import ClientError, Conversation, Offline, Online, Resynced, Unsent
from client.notices import AppEvent
from transports.wire.schema import Event, Gap, Id, MemberOp, MessageOp, OpenedOp, Site, WipeOp

if TYPE_CHECKING:
    from client.session import Session

T = TypeVar("T")

HISTORY_LINES: Final = 20
REMEMBERED: Final = 10_000
"""Messages whose numbers are remembered; older numbers are forgotten."""

FLUSH_SECONDS: Final = 5.0
"""How long leaving waits for messages that were typed and are not on the server yet."""

FLUSH_POLL_SECONDS: Final = 0.05


class Numbers:
    """Give each message shown a small number, by which people refer to it."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._messages: dict[int, tuple[Id, Id]] = {}
        self._last = 0

    def give(self, msg: Id, conv: Id) -> int:
        """Return a message's number, a new one if it has none."""
        known = self._numbers.get(bytes(msg))
        if known is not None:
            return known
        self._last += 1
        self._numbers[bytes(msg)] = self._last
        self._messages[self._last] = (msg, conv)
        if len(self._messages) > REMEMBERED:
            oldest = next(iter(self._messages))
            del self._numbers[bytes(self._messages.pop(oldest)[0])]
        return self._last

    def of(self, msg: bytes | None) -> int:
        """Return a message's number, 0 when it was never shown."""
        return 0 if msg is None else self._numbers.get(bytes(msg), 0)

    def message(self, number: int) -> tuple[Id, Id]:
        """Return message and conversation; raises ``LineError`` for an unknown number."""
        if number not in self._messages:
            raise LineError(f"no message [{number}] was shown")
        return self._messages[number]


class Chat:
    """One person at one terminal."""

    def __init__(self, me: Session, terminal: Terminal, timeout: float) -> None:
        self._me = me
        self._terminal = terminal
        self._timeout = timeout
        self._names = Names(me)
        self._numbers = Numbers()
        self._here: Conversation | str | None = None
        self._newest: dict[bytes, str] = {}
        self._is_cut = False
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "help": self._help,
            "list": self._list,
            "open": self._open,
            "history": self._history,
            "reply": self._reply,
            "urgent": self._urgent,
            "confirm": self._confirm,
            "edit": self._edit,
            "recall": self._recall,
            "react": self._react,
            "group": self._group,
            "members": self._members,
            "add": self._add,
            "remove": self._remove,
            "leave": self._leave,
            "rename": self._rename,
            "people": self._people,
            "duties": self._duties,
            "handover": self._hand_over,
        }

    async def run(self, start: str | None) -> None:
        """Chat until ``/quit`` or the end of input."""
        with in_time(self._timeout):
            await self._names.refresh()
        login = self._names.login(self._names.me)
        self._say(f"You are {login}. /help lists the commands, /quit leaves.")
        await self._list("")
        if start is not None:
            await self._guarded(self._open, start)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            await self._type()
            await self._flush()
            nursery.cancel_scope.cancel()

    # --- what happens ---------------------------------------------------------------------------

    async def _listen(self) -> None:
        async for event in self._me.events():
            await self._guarded(self._happened, event)

    async def _happened(self, event: AppEvent) -> None:
        match event:
            case Event():
                await self._event(event)
            case Unsent(error=error):
                self._say(f"* not sent: {error}")
            case Offline():
                self._say("* offline; what you write waits and is sent later")
            case Online(carrier=carrier):
                self._say(f"* online again ({carrier})")
            case Site() as line:
                self._line_is(line)
            case Gap() | Resynced():
                self._say("* you missed something; see /list and /history")

    async def _event(self, event: Event) -> None:
        if isinstance(event.op, WipeOp):
            self._wiped(event, event.op)
            return
        is_new = not self._names.knows_conversation(event.conv)
        if is_new or isinstance(event.op, OpenedOp | MemberOp):
            await self._names.refresh()
        self._newest[bytes(event.conv)] = event.pos
        is_here = isinstance(self._here, Conversation) and self._here.id == event.conv
        if isinstance(event.op, MessageOp):
            self._message(event, event.op, is_here=is_here)
            if is_here:
                await self._mark_read()
        elif not is_quiet(event.op) and is_here:
            number = self._numbers.of(getattr(event.op, "of", None))
            self._say(event_line(event.op, self._names, number))

    def _line_is(self, line: Site) -> None:
        """Say that headquarters is out of reach, or is reached again; numbers only while it is."""
        was_cut, self._is_cut = self._is_cut, line.headquarters != "reachable"
        if self._is_cut or was_cut:
            self._say(f"* {line_text(line)}")

    def _wiped(self, event: Event, op: WipeOp) -> None:
        """Say what was destroyed, and forget what was typed: some of it may be just that."""
        is_here = isinstance(self._here, Conversation) and self._here.id == event.conv
        place = "" if is_here else self._names.label(event.conv)
        self._say(event_line(op, self._names, 0, conversation=place))
        self._terminal.forget()

    def _message(self, event: Event, op: MessageOp, *, is_here: bool) -> None:
        """Show a message, unless the history has just shown it."""
        if not self._numbers.of(op.msg):
            number = self._numbers.give(op.msg, event.conv)
            place = "" if is_here else self._names.label(event.conv)
            self._say(message_line(op, self._names, number, conversation=place))

    async def _mark_read(self) -> None:
        if isinstance(self._here, Conversation):
            upto = self._newest.get(bytes(self._here.id)) or self._position(self._here)
            if upto:
                await self._here.read(upto)

    def _position(self, conversation: Conversation) -> str:
        return conversation.item.pos if conversation.item is not None else ""

    # --- what is typed --------------------------------------------------------------------------

    async def _type(self) -> None:
        while (text := await self._terminal.line()) is not None:
            try:
                line = lines.read(text)
            except LineError as error:
                self._say(f"* {error}")
                continue
            if line is None:
                continue
            if line.command == "quit":
                return
            await self._obey(line)

    async def _obey(self, line: Line) -> None:
        if line.command:
            await self._guarded(self._commands[line.command], line.rest)
        else:
            await self._guarded(self._send, line.rest)

    async def _guarded(self, act: Callable[[T], Awaitable[None]], argument: T) -> None:
        """Do something; what goes wrong is told, and the chat goes on."""
        try:
            with in_time(self._timeout):
                await act(argument)
        except LineError as error:
            self._say(f"* {error}")
        except (ClientError, CliError) as error:
            self._say(f"* {report(error).message}")

    async def _flush(self) -> None:
        """Give what was typed last a moment to reach the server; the rest waits on this disk."""
        with trio.move_on_after(FLUSH_SECONDS):
            while self._me.waiting:  # noqa: ASYNC110 (the session has no event for it)
                await trio.sleep(FLUSH_POLL_SECONDS)
        if self._me.waiting:
            self._say(f"* {self._me.waiting} waiting; sent when you come back")

    def _say(self, text: str) -> None:
        self._terminal.show(text)

    # --- commands -------------------------------------------------------------------------------

    async def _help(self, _rest: str) -> None:
        self._say(lines.help_text())

    async def _list(self, _rest: str) -> None:
        await self._names.refresh()
        self._say("\n".join(conversation_lines(self._names)) or "No conversations yet: /open LOGIN")

    async def _open(self, rest: str) -> None:
        if not rest:
            raise LineError("say which: /open alice")
        listed = self._names.conversations
        if rest.isdecimal() and 0 < int(rest[:9]) <= len(listed):
            self._here = listed[int(rest) - 1]
        else:
            self._here = await self._names.open(rest)
        self._say(f"-- {self._label()}")
        if isinstance(self._here, Conversation):
            await self._history("")
            await self._mark_read()

    def _label(self) -> str:
        if isinstance(self._here, Conversation):
            return self._names.label(self._here.id)
        return self._here or "nowhere"

    def _room(self) -> Conversation:
        """Return the open conversation; raises ``LineError`` when there is none."""
        if not isinstance(self._here, Conversation):
            raise LineError("open a conversation first: /open NAME")
        return self._here

    async def _history(self, rest: str) -> None:
        room = self._room()
        count = int(rest) if rest.isdecimal() and len(rest) < 6 else HISTORY_LINES
        for item in reversed(await newest(room, count, self._timeout)):
            is_message = isinstance(item.op, MessageOp)
            number = self._numbers.give(item.op.msg, room.id) if is_message else 0
            self._say(history_line(item, self._names, number))

    async def _send(self, text: str) -> None:
        await self._post(text)

    async def _urgent(self, text: str) -> None:
        await self._post(text, priority="urgent")

    async def _reply(self, rest: str) -> None:
        number, text = lines.numbered(rest)
        await self._post(text, reply=self._numbers.message(number)[0])

    async def _post(self, text: str, *, priority: str = "normal", reply: Id | None = None) -> None:
        """Queue a message; its echo from the server is what shows that it is on disk there."""
        if self._here is None:
            raise LineError("open a conversation first: /open NAME")
        if not text:
            raise LineError("the message is empty")
        await self._me.queue(self._here, text, priority=priority, reply=reply)

    async def _confirm(self, rest: str) -> None:
        number, _ = lines.numbered(rest, text=False)
        await self._me.confirm(self._numbers.message(number)[0])

    async def _edit(self, rest: str) -> None:
        number, text = lines.numbered(rest)
        msg, conv = self._numbers.message(number)
        await self._me.conversation(conv).edit(msg, text)

    async def _recall(self, rest: str) -> None:
        number, _ = lines.numbered(rest, text=False)
        msg, conv = self._numbers.message(number)
        await self._me.conversation(conv).recall(msg)

    async def _react(self, rest: str) -> None:
        number, emoji = lines.numbered(rest)
        msg, conv = self._numbers.message(number)
        await self._me.conversation(conv).react(msg, emoji)

    async def _group(self, rest: str) -> None:
        title, logins = lines.group(rest)
        self._here = await self._me.open_group(title, logins)
        await self._names.refresh()
        self._say(f"-- {self._label()}")

    async def _members(self, _rest: str) -> None:
        room = self._room()
        await self._names.refresh()
        known = self._names.conversation(room.id)
        for member in known.item.members if known is not None and known.item is not None else ():
            read = f", has read up to {key_clock(member.read)}" if member.read else ""
            self._say(f"  {self._names.login(member.person)} ({member.role}{read})")

    async def _add(self, rest: str) -> None:
        await self._room().add(self._names.ids([rest])[0])

    async def _remove(self, rest: str) -> None:
        await self._room().remove(self._names.ids([rest])[0])

    async def _leave(self, _rest: str) -> None:
        await self._room().leave()
        self._here = None

    async def _rename(self, rest: str) -> None:
        await self._room().rename(rest)

    async def _people(self, _rest: str) -> None:
        for person in sorted(await self._me.people(), key=lambda each: each.login):
            about = ", ".join(filter(None, (person.unit, person.presence)))
            self._say(f"  {person.login}: {person.name}" + (f" ({about})" if about else ""))

    async def _duties(self, _rest: str) -> None:
        for duty in await self._me.duties():
            holder = self._names.login(duty.holder) if duty.holder else "nobody"
            self._say(f"  duty:{duty.duty} {duty.title}: {holder}")

    async def _hand_over(self, rest: str) -> None:
        duty, _, login = rest.partition(" ")
        await self._me.hand_over(duty.removeprefix("duty:"), login.strip())


async def chat(place: Place, start: str | None) -> None:
    """Chat in the terminal; ``start`` names the conversation to open first."""
    with Terminal() as terminal:
        async with opened(place, resume=True) as me:
            await Chat(me, terminal, place.timeout).run(start)
