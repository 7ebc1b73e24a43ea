"""Any history of a group, against a model that is a few lists: order, unread, feeds, retries.

People come, go and come back; they write from two devices, edit, recall and react across each
other, read, repeat themselves, and the site restarts. After each step everybody's history,
unread count and feed is what the model says; at the end the views are rebuilt from the log.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from store.engine.contract import Engine
from store.engine.lmdb import LmdbEngine
from tests.appliance.messaging.harness import House
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Body, Id, MessageOp

PEOPLE = ("alice", "bob", "carol", "dave")
MAP_BYTES = 64 << 20

people = st.sampled_from(PEOPLE)
devices = st.integers(1, 2)
texts = st.sampled_from(("one", "two", "three"))
emojis = st.sampled_from("👍🎉")


@dataclass
class Said:
    """A message as the model knows it; ``readers`` may read it, ``hearers`` were there."""

    msg: Id
    author: str
    text: str
    at: int
    hearers: frozenset[str]
    readers: set[str]
    recalled: bool = False
    edits: int = 0
    reactions: set[tuple[str, str]] = field(default_factory=set)


class Group(RuleBasedStateMachine):
    """One group, and who may do what in it."""

    commands = Bundle("commands")

    make_engine: Callable[[], Engine] | None = None
    """Opens the engine again at each start; None: the simulated one."""

    @initialize(first=st.sets(st.sampled_from(PEOPLE[1:])), history=st.booleans())
    def open(self, first: set[str], history: bool) -> None:
        self.house = House(*PEOPLE, make_engine=self.make_engine)
        self.conv = self.house.group("alice", *sorted(first), history=history)
        self.members = {"alice": "owner", **dict.fromkeys(sorted(first), "member")}
        self.ever = set(self.members)
        self.history = history
        self.said: list[Said] = []
        self.read = dict.fromkeys(PEOPLE, 0)

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.check()
            before = self.house.site.core.conversations.in_memory()
            self.house.reopen()
            assert self.house.site.core.conversations.in_memory() == before
            self.compare()
            self.house.close()

    # --- what people do -------------------------------------------------------------------------

    def attempt(self, login: str, command: Any, device: int, code: str) -> schema.Ok | None:
        """Carry out a command for which the model expects ``code`` (empty: success)."""
        if code:
            assert self.house.refused(login, command, device) == code
            return None
        reply = self.house.by(login, command, device)
        assert isinstance(reply, schema.Ok)
        return reply

    @rule(target=commands, login=people, device=devices, text=texts, priority=st.booleans())
    def send(self, login: str, device: int, text: str, priority: bool) -> Any:
        number = self.house.number(login, device)
        frame = schema.Send(
            number,
            number,
            Body("text", text),
            conv=self.conv,
            priority="urgent" if priority else "normal",
        )
        code = "" if login in self.members else "conversation.unknown"
        reply = self.attempt(login, frame, device, code)
        if reply is not None:
            assert reply.msg is not None
            here = frozenset(self.members)
            self.said.append(Said(reply.msg, login, text, int(reply.pos, 16), here, set(here)))
        return login, device, frame, reply

    @rule(command=commands)
    def retry(self, command: Any) -> None:
        login, device, frame, reply = command
        if reply is not None:
            logged = len(self.house.ops)
            assert self.house.by(login, frame, device) == reply
            assert len(self.house.ops) == logged

    @rule(command=consumes(commands), text=texts)
    def reuse_a_number(self, command: Any, text: str) -> None:
        login, device, frame, reply = command
        if reply is not None:
            other = schema.Send(9, frame.n, Body("other", text), conv=self.conv)
            assert self.house.refused(login, other, device) == "send.conflict"

    def aim(self, login: str, index: int) -> tuple[Said, str]:
        """Return a message, and why the person may not target it."""
        message = self.said[index % len(self.said)]
        if login not in self.members or login not in message.readers:
            return message, "message.unknown"
        return message, "message.recalled" if message.recalled else ""

    @precondition(lambda self: self.said)
    @rule(login=people, index=st.integers(0, 50), text=texts, device=devices)
    def edit(self, login: str, index: int, text: str, device: int) -> None:
        message, code = self.aim(login, index)
        if not code and login != message.author:
            code = "message.not_author"
        number = self.house.number(login, device)
        frame = schema.Edit(1, number, message.msg, Body("text", text))
        if self.attempt(login, frame, device, code) is not None:
            message.text = text
            message.edits += 1

    @precondition(lambda self: self.said)
    @rule(login=people, index=st.integers(0, 50))
    def recall(self, login: str, index: int) -> None:
        message, code = self.aim(login, index)
        allowed = login == message.author or self.members.get(login) == "owner"
        if code != "message.unknown" and not allowed:
            code = "message.not_author"
        frame = schema.Recall(1, self.house.number(login), message.msg)
        if self.attempt(login, frame, 1, code) is not None:
            message.recalled = True

    @precondition(lambda self: self.said)
    @rule(login=people, index=st.integers(0, 50), emoji=emojis, on=st.booleans())
    def react(self, login: str, index: int, emoji: str, on: bool) -> None:
        message, code = self.aim(login, index)
        frame = schema.React(1, self.house.number(login), message.msg, emoji, on)
        if self.attempt(login, frame, 1, code) is not None:
            (message.reactions.add if on else message.reactions.discard)((emoji, login))

    @rule(login=people, other=people)
    def add(self, login: str, other: str) -> None:
        code = self.management(login)
        frame = schema.Conv(1, self.conv, "add", person=self.house.ids(other)[0])
        if self.attempt(login, frame, 1, code) is not None and other not in self.members:
            self.members[other] = "member"
            self.ever.add(other)
            for message in self.said if self.history else ():
                message.readers.add(other)

    @rule(login=people, other=people)
    def remove(self, login: str, other: str) -> None:
        code = self.management(login)
        if not code and other not in self.ever:
            code = "conversation.member"
        if not code and self.is_last_owner(other):
            code = "conversation.last_owner"
        frame = schema.Conv(1, self.conv, "remove", person=self.house.ids(other)[0])
        if self.attempt(login, frame, 1, code) is not None:
            self.members.pop(other, None)

    @rule(login=people)
    def leave(self, login: str) -> None:
        code = "" if login in self.ever else "conversation.unknown"
        if self.is_last_owner(login):
            code = "conversation.last_owner"
        if self.attempt(login, schema.Conv(1, self.conv, "leave"), 1, code) is not None:
            self.members.pop(login, None)

    @rule(login=people, other=people, role=st.sampled_from(("owner", "member")))
    def role(self, login: str, other: str, role: str) -> None:
        code = self.management(login)
        if not code and other not in self.members:
            code = "conversation.member"
        owners = [name for name, each in self.members.items() if each == "owner"]
        if not code and role == "member" and owners == [other]:
            code = "conversation.last_owner"
        frame = schema.Conv(1, self.conv, "role", person=self.house.ids(other)[0], role=role)
        if self.attempt(login, frame, 1, code) is not None:
            self.members[other] = role

    @rule(login=people, on=st.booleans())
    def set_history(self, login: str, on: bool) -> None:
        frame = schema.Conv(1, self.conv, "history", on=on)
        if self.attempt(login, frame, 1, self.management(login)) is not None:
            self.history = on

    @rule(login=people, back=st.integers(0, 3))
    def mark_read(self, login: str, back: int) -> None:
        heard = self.house.heard[self.house.person(login)]
        if not heard:
            return
        upto = int(heard[max(0, len(heard) - 1 - back)].pos, 16)
        frame = schema.Read(self.conv, f"{upto:x}", 1)
        code = "" if login in self.members else "conversation.unknown"
        if self.attempt(login, frame, 1, code) is not None:
            self.read[login] = max(self.read[login], upto)

    @rule(login=people)
    def got(self, login: str) -> None:
        heard = self.house.heard[self.house.person(login)]
        if heard:
            self.house.by(login, schema.Got(heard[-1].pos))

    @rule(seconds=st.integers(0, 200))
    def pass_time(self, seconds: int) -> None:
        self.house.tick(seconds)

    @rule()
    def restart(self) -> None:
        self.house.reopen()

    def management(self, login: str) -> str:
        """Return why somebody may not manage the group."""
        role = self.members.get(login)
        if role is None:
            return "conversation.unknown"
        return "" if role == "owner" else "conversation.not_owner"

    def is_last_owner(self, login: str) -> bool:
        owners = [name for name, role in self.members.items() if role == "owner"]
        return owners == [login] and len(self.members) > 1

    # --- what people see ------------------------------------------------------------------------

    @invariant()
    def compare(self) -> None:
        if not hasattr(self, "house"):
            return
        for login in PEOPLE:
            self.compare_history(login)
            self.compare_unread(login)
            self.compare_feed(login)

    def compare_history(self, login: str) -> None:
        if login not in self.ever:
            with pytest.raises(Refusal):
                self.house.history(login, self.conv)
            return
        shown = []
        for item in self.house.history(login, self.conv):
            assert isinstance(item.op, MessageOp)
            reactions = {(each.emoji, who) for each in item.reactions for who in each.people}
            shown.append((item.op.msg, item.op.body.text, item.recalled, item.edited, reactions))
        expected = [
            (
                each.msg,
                "" if each.recalled else each.text,
                each.recalled,
                each.edits,
                set()
                if each.recalled
                else {(emoji, self.house.person(who)) for emoji, who in each.reactions},
            )
            for each in self.said
            if login in each.readers
        ]
        assert shown == expected

    def compare_unread(self, login: str) -> None:
        listed = self.house.listed(login)
        assert (self.conv in listed) == (login in self.members)
        if login in self.members:
            expected = sum(
                login in each.hearers
                and login != each.author
                and not each.recalled
                and each.at > self.read[login]
                for each in self.said
            )
            assert listed[self.conv].unread == expected

    def compare_feed(self, login: str) -> None:
        """Live and resumed are the same, but for what was recalled since and the texts in it."""
        heard = self.house.heard[self.house.person(login)]
        resumed = self.house.feed(login)
        assert [(event.pos, type(event.op), event.op.msg) for event in heard] == [
            (event.pos, type(event.op), event.op.msg) for event in resumed
        ]
        recalled = {each.msg for each in self.said if each.recalled}
        for live, late in zip(heard, resumed, strict=True):
            if live.op.msg in recalled or getattr(live.op, "of", b"") in recalled:
                body = getattr(late.op, "body", Body("text"))
                assert body == Body("text")
            elif not isinstance(live.op, schema.OpenedOp):
                assert live == late


class GroupOnDisk(Group):
    """The same on LMDB."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.make_engine = partial(LmdbEngine, self.directory, map_bytes=MAP_BYTES)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much]

TestGroup = Group.TestCase
TestGroup.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=QUIET
)
TestGroupOnDisk = GroupOnDisk.TestCase
TestGroupOnDisk.settings = settings(
    max_examples=8, stateful_step_count=40, deadline=None, suppress_health_check=QUIET
)
