"""The chat in a terminal tells what was destroyed, and when headquarters is out of reach."""

from __future__ import annotations

from typing import Any, cast

import trio

from cli.chat import render
from cli.chat.interactive import Chat
from client import Conversation
from tests.cli.chat.test_render import AT, CONV, MSG, StubSession, key
from transports.wire import schema
from transports.wire.schema import Id

LEFT = Id(b"\x0d" * 16)


class Listening:
    """A session that tells of two wipes: in the conversation at hand, and in one that was left."""

    person = StubSession.person
    people = StubSession.people

    def __init__(self) -> None:
        self.listed = 0

    async def conversations(self) -> list[Conversation]:
        self.listed += 1
        return await StubSession().conversations()

    async def events(self) -> Any:
        for conv in (CONV, LEFT):
            op = schema.WipeOp(MSG, Id(b""), AT, 7, ((key(AT), key(AT)),))
            yield schema.Event("7", conv, op)


class Screen:
    """A terminal's lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.forgotten = 0

    def show(self, text: str) -> None:
        self.lines.append(text)

    def forget(self) -> None:
        self.forgotten += 1


def test_what_was_destroyed_is_told_wherever_one_is() -> None:
    async def main() -> None:
        session, screen = Listening(), Screen()
        chat: Any = Chat(cast("Any", session), cast("Any", screen), 10.0)
        await chat._names.refresh()
        chat._here = (await session.conversations())[0]
        listed = session.listed
        await chat._listen()
        when = render.clock(AT)
        assert screen.lines == [
            f"{when} * messages{place} from {when} to {when} are destroyed for ever (certificate 7)"
            for place in ("", " in 0d0d0d0d")
        ]
        assert (screen.forgotten, session.listed) == (2, listed)

    trio.run(main)


class AtBranch(Listening):
    """A session at a branch whose line is up, cut, cut with more waiting, up again and quiet."""

    async def events(self) -> Any:
        for line in (
            schema.Site("reachable", AT),
            schema.Site("unreachable", AT, 0),
            schema.Site("unreachable", AT, 1_200),
            schema.Site("reachable", AT, 1_200),
            schema.Site("reachable", AT),
            schema.Site("unreachable"),
        ):
            yield line


def test_a_cut_line_is_told_and_its_return_too() -> None:
    async def main() -> None:
        screen = Screen()
        chat: Any = Chat(cast("Any", AtBranch()), cast("Any", screen), 10.0)
        await chat._listen()
        when = render.clock(AT)
        assert screen.lines == [
            f"* headquarters cannot be reached since {when}",
            f"* headquarters cannot be reached since {when}; "
            "1,200 things wait and go out by themselves",
            "* headquarters is reached again; 1,200 things are on their way",
            "* headquarters cannot be reached",
        ]

    trio.run(main)
