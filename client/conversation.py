"""One conversation, as the application holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transports.wire import schema
from transports.wire.schema import Body, ConversationItem, HistoryItem, Id

if TYPE_CHECKING:
    from client.session import Session


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is on the server's disk.

    Attributes:
        msg: its id.
        conv: the conversation it went to.
        pos: its position among the sender's events.
        key: its place in the conversation's order.
        at: when, in Unix milliseconds.
        n: its number on this device.
        is_destroyed: it was accepted before, and its content is destroyed since.
    """

    msg: Id
    conv: Id
    pos: str
    key: str
    at: int
    n: int
    is_destroyed: bool = False


class Conversation:
    """A direct or group conversation. ``item`` is how it stood when it was listed or opened."""

    def __init__(self, session: Session, conv: Id, item: ConversationItem | None = None) -> None:
        self._session = session
        self.id = conv
        self.item = item

    def __repr__(self) -> str:
        return f"<conversation {self.id.hex()}>"

    async def send(
        self,
        text: str,
        *,
        priority: str = "normal",
        reply: Id | None = None,
        mentions: Sequence[Id] = (),
    ) -> Sent:
        """Post a message; returns once it is on the server's disk.

        Args:
            text: what it says.
            priority: ``normal`` or ``urgent``; urgent messages ask each recipient to confirm.
            reply: the message this one answers.
            mentions: persons to be noticed.

        Raises:
            Refused: the server does not take it.
        """
        return await self._session.send(
            self, text, priority=priority, reply=reply, mentions=mentions
        )

    async def queue(
        self,
        text: str,
        *,
        priority: str = "normal",
        reply: Id | None = None,
        mentions: Sequence[Id] = (),
    ) -> int:
        """Post a message when possible; see ``Session.queue``."""
        return await self._session.queue(
            self, text, priority=priority, reply=reply, mentions=mentions
        )

    async def edit(self, msg: Id, text: str) -> None:
        """Replace the text of one's own message; versions are kept."""
        body = Body(kind="text", text=text)
        await self._session.numbered(
            lambda request, n: schema.Edit(id=request, n=n, msg=msg, body=body), self.id
        )

    async def recall(self, msg: Id) -> None:
        """Hide a message from everybody."""
        await self._session.numbered(
            lambda request, n: schema.Recall(id=request, n=n, msg=msg), self.id
        )

    async def react(self, msg: Id, emoji: str, *, on: bool = True) -> None:
        """Set or clear one's reaction on a message."""
        await self._session.numbered(
            lambda request, n: schema.React(id=request, n=n, msg=msg, emoji=emoji, on=on),
            self.id,
        )

    async def read(self, upto: str) -> None:
        """Mark everything up to the event position ``upto`` as read."""
        await self._session.call(
            lambda request: schema.Read(conv=self.id, upto=upto, id=request), is_repeatable=True
        )

    async def typing(self) -> None:
        """Say that one is typing; never stored, and lost when the line is bad."""
        await self._session.tell(schema.Typing(conv=self.id))

    async def history(
        self, *, limit: int = 50, before: str = "", after: str = ""
    ) -> list[HistoryItem]:
        """Return up to ``limit`` entries, newest first, around timeline keys."""
        return await self._session.list_of(
            HistoryItem,
            lambda request: schema.History(
                id=request, conv=self.id, limit=limit, before=before, after=after
            ),
        )

    async def rename(self, title: str) -> None:
        """Give the conversation another title."""
        await self._change("rename", title=title)

    async def add(self, person: Id, role: str = "member") -> None:
        """Add a person."""
        await self._change("add", person=person, role=role)

    async def remove(self, person: Id) -> None:
        """Remove a person."""
        await self._change("remove", person=person)

    async def role(self, person: Id, role: str) -> None:
        """Give a member another role: ``owner`` or ``member``."""
        await self._change("role", person=person, role=role)

    async def leave(self) -> None:
        """Leave the conversation."""
        await self._change("leave")

    async def archive(self, *, on: bool = True) -> None:
        """Close the conversation to new messages, or open it again."""
        await self._change("archive", on=on)

    async def _change(
        self,
        op: str,
        *,
        person: Id | None = None,
        title: str = "",
        role: str = "",
        on: bool = True,
    ) -> None:
        await self._session.call(
            lambda request: schema.Conv(
                id=request, conv=self.id, op=op, person=person, title=title, role=role, on=on
            )
        )
