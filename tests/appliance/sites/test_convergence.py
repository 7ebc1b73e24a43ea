"""Any history of an organisation whose lines are cut and heal: all sites come to show the same.

People at headquarters and at two branches write, edit, recall, react, read, open conversations,
and change who is in them, each knowing only what has reached their site. Pieces are carried in
any order of lanes and directions, sites lose power, clocks disagree. When all lines have healed,
every branch shows of its scope exactly what headquarters shows, nothing that was acknowledged is
lost or there twice, everybody's messages stand in the order in which they were sent, and each
site's views are what its own log says.
"""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from appliance.messaging import timeline
from store import hlc
from sync.pieces import NUMBERED
from tests.appliance.sites.harness import Organisation, Place
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Body, Id

HOMES = {"ann": 0, "abe": 0, "bea": 1, "bob": 1, "cat": 2, "cid": 2}
"""Where everybody is at home: 0 is headquarters."""

people = st.sampled_from(sorted(HOMES))
texts = st.sampled_from(("one", "two", "three"))
picks = st.integers(0, 1_000)


class Sites(RuleBasedStateMachine):
    """Three sites, and a line to each branch that carries a piece when told to."""

    @initialize()
    def begin(self) -> None:
        self.organisation = Organisation()
        for login, home in HOMES.items():
            self.organisation.enrol(login, self.organisation.places[home])
        self.organisation.settle()
        self.sent: dict[tuple[str, bytes], list[bytes]] = defaultdict(list)
        self.conversations: list[Id] = []

    def teardown(self) -> None:
        if not hasattr(self, "organisation"):
            return
        self.organisation.settle(Random(7))
        self.organisation.compare()
        self.organisation.check()
        self.look_for_all()
        for place in self.organisation.places:
            place.reopen()
        self.organisation.compare()
        self.organisation.close()

    def look_for_all(self) -> None:
        """Prove that headquarters shows each message once, each sender's in their order."""
        hub = self.organisation.hub
        core = hub.core
        for (_login, conv), names in self.sent.items():
            known = core.conversations.get(conv)
            with hub.reading() as reader:
                rows = timeline.entries(reader, known.pseudonym, [(0, hlc.LIMIT)], 0, hlc.LIMIT)
                shown = [entry.id.pack() for entry in rows]
            assert [name for name in shown if name in set(names)] == names

    # --- what people do -------------------------------------------------------------------------

    def place(self, login: str) -> Place:
        return self.organisation.places[HOMES[login]]

    def ask(self, login: str, frame: Any) -> schema.Ok | None:
        """Let somebody ask their site; None when it refuses."""
        try:
            reply = self.place(login).by(login, frame)
        except Refusal:
            return None
        assert isinstance(reply, schema.Ok)
        return reply

    def conversation(self, login: str, pick: int) -> Id | None:
        """Return one of the conversations that somebody is in, as their site knows."""
        place = self.place(login)
        ids = sorted(place.core.conversations.current(place.people[login]))
        return Id(ids[pick % len(ids)]) if ids else None

    def message(self, login: str, pick: int) -> Id | None:
        """Return a message that somebody's site shows."""
        conv = self.conversation(login, pick)
        if conv is None:
            return None
        items = self.place(login).history(login, conv)
        shown = [each.op.msg for each in items if isinstance(each.op, schema.MessageOp)]
        return shown[pick % len(shown)] if shown else None

    @rule(login=people, other=people)
    def open_direct(self, login: str, other: str) -> None:
        if login != other:
            self.ask(login, schema.Open(1, "direct", self.place(login).ids(other)))

    @rule(login=people, others=st.sets(people, min_size=1, max_size=3), history=st.booleans())
    def open_group(self, login: str, others: set[str], history: bool) -> None:
        members = self.place(login).ids(*sorted(others))
        self.ask(login, schema.Open(1, "group", members, title="group", history=history))

    @rule(login=people, pick=picks, text=texts, urgent=st.booleans())
    def send(self, login: str, pick: int, text: str, urgent: bool) -> None:
        conv = self.conversation(login, pick)
        if conv is None:
            return
        number = self.place(login).number(login)
        priority = "urgent" if urgent else "normal"
        frame = schema.Send(1, number, Body("text", text), conv=conv, priority=priority)
        reply = self.ask(login, frame)
        if reply is not None:
            assert reply.msg is not None
            self.sent[login, bytes(conv)].append(bytes(reply.msg))

    @rule(login=people, pick=picks, text=texts)
    def edit(self, login: str, pick: int, text: str) -> None:
        name = self.message(login, pick)
        if name is not None:
            number = self.place(login).number(login)
            self.ask(login, schema.Edit(1, number, name, Body("text", text)))

    @rule(login=people, pick=picks)
    def recall(self, login: str, pick: int) -> None:
        name = self.message(login, pick)
        if name is not None:
            self.ask(login, schema.Recall(1, self.place(login).number(login), name))

    @rule(login=people, pick=picks, on=st.booleans())
    def react(self, login: str, pick: int, on: bool) -> None:
        name = self.message(login, pick)
        if name is not None:
            number = self.place(login).number(login)
            self.ask(login, schema.React(1, number, name, "👍", on))

    @rule(login=people, pick=picks)
    def read(self, login: str, pick: int) -> None:
        conv = self.conversation(login, pick)
        if conv is not None:
            self.place(login).read_all(login, conv)

    @rule(
        login=people,
        pick=picks,
        change=st.sampled_from(("add", "remove", "leave", "rename", "archive", "role")),
        other=people,
        on=st.booleans(),
    )
    def change(self, login: str, pick: int, change: str, other: str, on: bool) -> None:
        conv = self.conversation(login, pick)
        if conv is not None:
            person = (
                self.place(login).ids(other)[0] if change in ("add", "remove", "role") else None
            )
            role = "owner" if on else "member"
            title = f"by {login}"
            self.ask(
                login,
                schema.Conv(1, conv, change, person=person, title=title, role=role, on=on),
            )

    # --- what happens to machines and lines -----------------------------------------------------

    @rule(branch=st.integers(0, 1), lane=st.sampled_from(NUMBERED), is_up=st.booleans())
    def carry(self, branch: int, lane: Any, is_up: bool) -> None:
        place = self.organisation.branches[branch]
        self.organisation.carry(place, lane, is_up=is_up, budget_bytes=400)

    @rule()
    def heal(self) -> None:
        self.organisation.settle()

    @rule(site=st.integers(0, 2), seed=picks)
    def crash(self, site: int, seed: int) -> None:
        self.organisation.places[site].crash(Random(seed))

    @rule(site=st.integers(0, 2), seconds=st.sampled_from((0.001, 1.0, 31.0)))
    def wait(self, site: int, seconds: float) -> None:
        self.organisation.places[site].clock.advance(int(seconds * 1_000))

    @precondition(lambda self: len(self.sent) > 0)
    @rule()
    def look(self) -> None:
        self.organisation.check()


TestSites = Sites.TestCase
TestSites.settings = settings(
    max_examples=15, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
