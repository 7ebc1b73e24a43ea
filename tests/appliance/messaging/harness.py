"""A whole site without ports: real log, vault, directory and rules, on either engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from appliance import check
from appliance.context import SITE, Actor, Outcome
from appliance.directory.commands import CreatePerson, SetRoles, SetState
from appliance.messaging import feed, lists, render, targets, timeline
from appliance.messaging.commands import Tick, Ticked
from appliance.messaging.model import Conversation
from appliance.positions import parse_key
from appliance.site import Ports, Site
from store.clocks import ManualClock, SeededEntropy
from store.disk import MemoryDisk
from store.engine.contract import Engine, Reader
from store.engine.memory import Medium, MemoryEngine
from store.oplog import Op
from store.vault import NoWrap
from store.writer import Completion
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Event, Id

T = TypeVar("T")


class House:
    """One site and its people; every command is decided and committed at once.

    ``heard`` is what live fan-out told each person, online all the time. ``retain`` keeps every
    byte ever written to the simulated medium and disks. Another ``seed`` makes another site.
    """

    def __init__(
        self,
        *logins: str,
        make_engine: Callable[[], Engine] | None = None,
        retain: bool = False,
        seed: int = 7,
    ) -> None:
        self.medium = Medium(retain=retain)
        self._make_engine = make_engine or (lambda: MemoryEngine(self.medium))
        self._disks = (MemoryDisk(retain=retain), MemoryDisk(retain=retain))
        self._entropy = SeededEntropy(seed)
        self.clock = ManualClock()
        self.heard: dict[bytes, list[Event]] = {}
        self.ops: list[Op] = []
        self._completion: Completion[Outcome] | None = None
        self._numbers: dict[bytes, int] = {}
        self.site = Site.create(self._ports(), NoWrap(), name="House")
        self.site.attach(self._deliver, _raise)
        self.people: dict[str, bytes] = {}
        for login in logins:
            self.enrol(login)

    def _ports(self) -> Ports:
        return Ports(self.clock, self._entropy, self._make_engine(), *self._disks)

    def reopen(self) -> None:
        """Stop in good order and start again on the same disks."""
        self.site.close()
        self.site = Site.open(self._ports(), NoWrap())
        self.site.attach(self._deliver, _raise)

    def close(self) -> None:
        self.site.close()

    # --- people ---------------------------------------------------------------------------------

    def enrol(self, login: str) -> bytes:
        self.do(SITE, CreatePerson(login, login.title()))
        known = self.site.core.directory.resolve(login)
        assert known is not None
        self.people[login] = known.id
        self.heard[known.id] = []
        return known.id

    def disable(self, login: str) -> None:
        self.do(SITE, SetState(login, "disabled"))

    def set_roles(self, login: str, *roles: str) -> None:
        self.do(SITE, SetRoles(login, roles))

    def person(self, login: str) -> bytes:
        return self.people[login]

    def ids(self, *logins: str) -> tuple[Id, ...]:
        return tuple(Id(self.people[login]) for login in logins)

    def actor(self, login: str, device: int = 1) -> Actor:
        person = self.people[login]
        return Actor(person, person[:15] + bytes((device,)))

    # --- commands -------------------------------------------------------------------------------

    def do(self, actor: Actor, command: Any) -> Any:
        """Decide and commit a command; return its reply or raise its error."""
        self.site.writer.submit(actor, command, None)
        self.site.writer.run_pending()
        completion = self._completion
        assert completion is not None
        if completion.error is not None:
            raise completion.error
        assert completion.outcome is not None
        return completion.outcome.reply

    def by(self, login: str, command: Any, device: int = 1) -> Any:
        """Let somebody's device ask."""
        return self.do(self.actor(login, device), command)

    def refused(self, login: str, command: Any, device: int = 1) -> str:
        """Return the code with which a command is refused; it must append nothing."""
        before = len(self.ops)
        with pytest.raises(Refusal) as caught:
            self.by(login, command, device)
        assert len(self.ops) == before
        return caught.value.code

    def number(self, login: str, device: int = 1) -> int:
        """Return the next message number of a device."""
        name = self.actor(login, device).device
        self._numbers[name] = self._numbers.get(name, 0) + 1
        return self._numbers[name]

    def direct(self, login: str, other: str) -> Id:
        return self._opened(self.by(login, schema.Open(1, "direct", self.ids(other))))

    def group(self, login: str, *others: str, **fields: Any) -> Id:
        return self._opened(self.by(login, schema.Open(1, "group", self.ids(*others), **fields)))

    @staticmethod
    def _opened(reply: schema.Ok) -> Id:
        assert reply.conv is not None
        return reply.conv

    def say(
        self, login: str, conv: Id | None, text: str, device: int = 1, **fields: Any
    ) -> schema.Ok:
        frame = schema.Send(
            1, self.number(login, device), schema.Body("text", text), conv=conv, **fields
        )
        reply = self.by(login, frame, device)
        assert isinstance(reply, schema.Ok)
        return reply

    def change(self, login: str, conv: Id, op: str, **fields: Any) -> schema.Ok:
        reply = self.by(login, schema.Conv(1, conv, op, **fields))
        assert isinstance(reply, schema.Ok)
        return reply

    def tick(self, seconds: float = 0) -> Ticked:
        """Let time pass, then let the site do what is due."""
        self.clock.advance(int(seconds * 1000))
        reply = self.do(SITE, Tick())
        assert isinstance(reply, Ticked)
        return reply

    # --- what people see ------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        with self.site.ports.engine.snapshot() as reader:
            yield reader

    def conversation(self, conv: Id) -> Conversation:
        found = self.site.core.conversations.get(conv)
        assert found is not None
        return found

    def feed(self, login: str, pos: int = 0, limit: int = 10_000) -> list[Event]:
        """Return what somebody hears who resumes after ``pos``."""
        core = self.site.core
        with self.reading() as reader:
            found = self._missed(reader, self.people[login], pos, limit)
        events = [render.event(op, targets.body_of(op), core.conversations) for op in found]
        return [event for event in events if event is not None]

    def _missed(self, reader: Reader, person: bytes, pos: int, limit: int) -> list[Op]:
        """Return what a person missed after ``pos``, in as many calls as it takes."""
        core, found = self.site.core, list[Op]()
        upto: int | None = pos
        while upto is not None and len(found) < limit:
            missed = feed.events_after(
                reader, core.log, core.conversations, person, upto, limit - len(found)
            )
            found += [op for _, op in missed.events]
            upto = missed.upto
        return found

    def history(self, login: str, conv: Id, **fields: Any) -> list[schema.HistoryItem]:
        """Return what somebody reads, oldest first."""
        core = self.site.core
        keys: dict[str, Any] = {
            name: parse_key(fields.pop(name)) for name in ("before", "after") if name in fields
        }
        with self.reading() as reader:
            page = timeline.history(
                reader, core.log, core.conversations, self.people[login], conv, **keys, **fields
            )
        return list(reversed(page.items))

    def texts(self, login: str, conv: Id, **fields: Any) -> list[str]:
        """Return the texts somebody reads, oldest first."""
        items = self.history(login, conv, **fields)
        return [item.op.body.text for item in items if isinstance(item.op, schema.MessageOp)]

    def listed(self, login: str) -> dict[bytes, schema.ConversationItem]:
        core = self.site.core
        with self.reading() as reader:
            items = lists.conversations(reader, core.log, core.conversations, self.people[login])
        return {item.conv: item for item in items}

    def unread(self, login: str, conv: Id) -> int:
        return self.listed(login)[conv].unread

    def read_all(self, login: str, conv: Id) -> schema.Ok:
        pos = self.listed(login)[conv].pos
        reply = self.by(login, schema.Read(conv, pos, 1))
        assert isinstance(reply, schema.Ok)
        return reply

    def heard_ops(self, login: str, kind: type[T]) -> list[T]:
        """Return what live fan-out told somebody, of one type."""
        ops = [event.op for event in self.heard[self.people[login]]]
        return [op for op in ops if isinstance(op, kind)]

    def check(self) -> None:
        """Prove that log, views and memory agree."""
        with self.reading() as reader:
            findings = check.check(self.site.core, reader)
        assert findings == []

    @staticmethod
    def opened_titles(events: list[Event]) -> list[str]:
        return [event.op.title for event in events if isinstance(event.op, schema.OpenedOp)]

    def _deliver(self, completions: list[Completion[Outcome]]) -> None:
        conversations = self.site.core.conversations
        (self._completion,) = completions
        outcome = self._completion.outcome
        for op in outcome.ops if outcome is not None else ():
            self.ops.append(op)
            body = targets.body_of(op)
            event = render.event(op, body, conversations)
            audience = render.audience(op, body, conversations)
            if event is not None:
                for person, heard in self.heard.items():
                    if person in audience:
                        heard.append(event)


def _raise(error: BaseException) -> None:
    raise error
