"""Let people, officers, clocks and attackers act in a whole simulated site, beside an oracle.

Each method is one act, and the log is followed after it: what must not have happened fails there.
Who draws the acts is for the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import trio
import trio.testing

from appliance.context import SITE
from appliance.directory.commands import CreatePerson, SetProfile, SetRoles, SetState
from appliance.disposal.commands import (
    ApproveRequest,
    FileConversation,
    PlaceHold,
    RejectRequest,
    ReleaseHold,
    RequestDestruction,
    ResumeClock,
    RunDestruction,
    Selection,
    SetPolicy,
    SignRequest,
)
from appliance.messaging.commands import AssignDuty, CreateDuty, SetChain
from appliance.operations import Kind
from store.engine.memory import MemoryEngine
from store.faults import CutAt, PowerCut
from store.ids import OpId
from tests.appliance.disposal import oracle
from tests.appliance.disposal.follower import Follower, Watched
from tests.appliance.disposal.harness import OFFICERS, Hospital
from tests.appliance.disposal.oracle import Policy, Record, Talk
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Id

STEP_SECONDS: Final = 60
"""How long an urgent message waits for each person of a duty's chain."""

_BUILT_IN: Final = frozenset(("", "standard", oracle.AUDIT))


def text_of(policy: Policy) -> str:
    """Write a policy's document."""
    kinds = dict.fromkeys(term.kind for term in policy.terms)
    lines = [f'clock = "system"\ncooling_off = "{_span(policy.cooling_ms)}"']
    lines += [f'[[class]]\nname = "{kind}"' for kind in kinds if kind not in _BUILT_IN]
    for term in policy.terms:
        lines.append(f'[[rule]]\nname = "{term.name}"')
        fields = {"class": term.kind, "unit": term.unit, "label": term.label, "role": term.role}
        fields |= {"min": _span(term.min_ms), "max": _span(term.max_ms), "recall": term.recall}
        lines += [f'{name} = "{value}"' for name, value in fields.items() if value]
    return "\n".join(lines) + "\n"


def _span(milliseconds: int) -> str:
    return f"{milliseconds // oracle.SECOND_MS}s" if milliseconds else "0"


def quickly(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run an async function; its pauses take no time."""
    return trio.run(function, *arguments, clock=trio.testing.MockClock(autojump_threshold=0))


class World(Follower):
    """A site with its people, and all that may happen to it.

    Args:
        policy: what is in force at first.
        text: its document, where it is not to be written from ``policy``.
        retain: keep every byte ever written.
    """

    def __init__(self, policy: Policy, text: str = "", *, retain: bool = False) -> None:
        medium = Watched(retain=retain)
        house = Hospital(
            policy=text or text_of(policy),
            make_engine=lambda: MemoryEngine(medium),
            retain=retain,
        )
        house.medium = medium
        super().__init__(house, medium, policy)

    def attempt(self, act: Callable[[], Any]) -> Any:
        """Do something; None when the site refuses."""
        reply = None
        try:
            reply = act()
        except Refusal as refusal:
            self.counts[f"refused {refusal.code}"] += 1
        self.follow()
        return reply

    # --- time and machines ----------------------------------------------------------------------

    def passes(self, milliseconds: int) -> None:
        """Let time pass while the machine is up."""
        self.house.clock.advance(milliseconds)
        self.truth.passes(milliseconds)

    def serve(self) -> None:
        """Let the service look at everything once; where it fails, it comes again."""
        while self.attempt(lambda: quickly(self._tick)) is None:
            pass

    async def _tick(self) -> bool:
        await self.house.service.tick()
        return True

    def night(self) -> None:
        """Let the service look at everything, six hours after its last run: what is due ends.

        What follows an entry of the audit ends with the run after that.
        """
        self.serve()
        self._expect_ends()

    def run_now(self) -> None:
        """Let an expiry run begin at this moment, whenever the last one was."""
        self.serve()
        quickly(self.house.service.expire)
        self.follow()
        self._expect_ends()

    def _expect_ends(self) -> None:
        due = self.oracle.due()
        if any(each.leader and each.place in self.oracle.alive for each in due):
            quickly(self.house.service.expire)
            self.follow()
        for record in due:
            if self.is_suspended or self.oracle.may_be_held(record):
                self.oracle.blocked[record.place] = record
            elif record.place in self.oracle.alive:
                self.wrong(record, "survives its maximum")

    def restart(self) -> None:
        """Stop in good order and start again."""
        self.reboot(None)

    def reboot(self, off_ms: int | None) -> None:
        """Stop in good order and start again; the machine is off for a while, or not at all."""
        quickly(self.house.service.end)
        self.follow()
        if off_ms is not None:
            self.house.clock.reboot(off_ms)
            self.truth.is_off(off_ms)
        self.house.reopen()
        self.begin()

    def lose_power(self, off_ms: int, dice: Random) -> None:
        """Cut the power between two commands, for a while."""
        self.house.clock.reboot(off_ms)
        self.truth.is_off(off_ms)
        self.house.crash(dice)
        self.begin()

    def cut_power(
        self, act: Callable[[], Any], step: int, dice: Random, *, lose_newest_meta: bool
    ) -> bool:
        """Cut the power at a step of the devices during an act; False when that ended before.

        What was committed before the act is settled, so that at most its own last commit is lost.
        """
        self.house.site.ports.engine.settle()
        cut = CutAt(step)
        for device in self.house.devices:
            device.probe = cut
        try:
            act()
            is_cut = False
        except PowerCut:
            is_cut = True
        for device in self.house.devices:
            device.probe = None
        if is_cut:
            self.counts["cuts"] += 1
            told = sum(op.kind == Kind.DESTRUCTION_INTENT for op in self.house.ops)
            del self.medium.ended[told:]
            self.follow()
            self.house.crash(dice, lose_newest_meta=lose_newest_meta)
            self.recover()
            self.begin()
        return is_cut

    def begin(self) -> None:
        """Do what comes before anybody is served."""
        self.truth.starts()
        quickly(self.house.service.begin)
        self.follow()

    def set_wall(self, offset_ms: int) -> None:
        """Let the wall clock be wrong by so much, or right again."""
        self.house.clock.set_wall_ms(self.truth.now_ms + offset_ms)

    def resume(self) -> None:
        """Let the wall clock be set right, and two officers say so where that is asked for."""
        self.set_wall(0)
        self.serve()
        if self.is_suspended:
            for login in OFFICERS:
                self.officer(login, ResumeClock(self.truth.now_ms, "looked at a watch"))
            assert not self.is_suspended

    # --- people ---------------------------------------------------------------------------------

    def hire(self, unit: str = "", *roles: str) -> str:
        """Add a person; return their login name."""
        login = f"p{len(self.house.people)}"
        command = CreatePerson(login, f"Person {login}", unit, ("member", *roles))
        self.house.people[login] = self.house.do(SITE, command).person
        self.follow()
        return login

    def move(self, login: str, unit: str) -> None:
        self.attempt(lambda: self.house.do(SITE, SetProfile(login, unit=unit)))

    def set_roles(self, login: str, *roles: str) -> None:
        self.attempt(lambda: self.house.do(SITE, SetRoles(login, ("member", *roles))))

    def remove(self, login: str) -> None:
        self.attempt(lambda: self.house.do(SITE, SetState(login, "removed")))

    def duty(self, name: str, *logins: str) -> None:
        """Make a duty that the first of some people has, the others next."""
        self.house.do(SITE, CreateDuty(name, f"The {name}"))
        self.house.do(SITE, AssignDuty(name, logins[0]))
        self.house.do(SITE, SetChain(name, logins[1:], STEP_SECONDS))
        self.follow()

    def tick(self) -> None:
        """Let urgent messages go on that nobody has confirmed."""
        self.house.tick()
        self.follow()

    # --- messages -------------------------------------------------------------------------------

    def by(self, login: str, command: Any) -> Any:
        """Let somebody ask; None when the site refuses."""
        return self.attempt(lambda: self.house.by(login, command))

    def open(self, kind: str, login: str, *others: str) -> Talk | None:
        reply = self.by(login, schema.Open(1, kind, self.house.ids(*others)))
        return None if reply is None else self.oracle.talks[reply.conv]

    def change(self, login: str, talk: Talk, op: str, **fields: Any) -> None:
        self.by(login, schema.Conv(1, Id(talk.id), op, **fields))

    def say(self, login: str, talk: Talk | None, text: str, **fields: Any) -> Record | None:
        conv = None if talk is None else Id(talk.id)
        body = schema.Body("text", text)
        reply = self.by(login, schema.Send(1, self.house.number(login), body, conv=conv, **fields))
        return None if reply is None else self.oracle.alive[self.places[OpId.unpack(reply.msg)]]

    def edit(self, login: str, record: Record, text: str) -> None:
        body = schema.Body("text", text)
        self.by(login, schema.Edit(1, self.house.number(login), Id(record.name), body))

    def recall(self, login: str, record: Record) -> None:
        self.by(login, schema.Recall(1, self.house.number(login), Id(record.name)))

    def react(self, login: str, record: Record, emoji: str) -> None:
        self.by(login, schema.React(1, self.house.number(login), Id(record.name), emoji))

    def read(self, login: str, talk: Talk) -> None:
        conversations = self.house.core.conversations
        pos = conversations.front(conversations.get(talk.id).pseudonym).pos
        self.by(login, schema.Read(Id(talk.id), f"{pos:016x}", 1))

    # --- officers -------------------------------------------------------------------------------

    def officer(self, login: str, command: Any) -> Any:
        """Let an officer or auditor ask, with a signature; None when the site refuses."""
        return self.attempt(lambda: self.house.officer(login, command))

    def file(self, talk: Talk, kind: str, *labels: str) -> None:
        self.officer(OFFICERS[0], FileConversation(talk.id.hex(), kind, labels))

    def hold(self, login: str, selection: Selection, name: str = "Case") -> int:
        """Place a hold; return its number, 0 when it is refused."""
        self.next_selection = selection
        reply = self.officer(login, PlaceHold(name, selection, "court"))
        return 0 if reply is None else int(reply.hold)

    def ask(self, login: str, command: Any) -> int:
        """Ask for an act of two people; return the request's number, 0 when there is none.

        Who asks for what another has asked for agrees to it.
        """
        reply = self.officer(login, command)
        return 0 if reply is None else int(reply.request)

    def ask_policy(self, login: str, policy: Policy) -> int:
        """Set a policy, or ask for it where it loosens."""
        self.next_policy = policy
        base = self.house.core.disposal.policies.number
        return self.ask(login, SetPolicy(text_of(policy), base, "as the times ask for"))

    def ask_release(self, login: str, hold: int) -> int:
        return self.ask(login, ReleaseHold(hold, "settled"))

    def order(self, login: str, selection: Selection, *, erase: bool = False) -> int:
        """Ask for destruction, and sign what was asked for; who is erased is named by id."""
        self.next_selection = selection
        if erase:
            by_id = tuple(f"id:{self.house.people[who].hex()}" for who in selection.persons)
            selection = Selection(persons=by_id)
        command = RequestDestruction(selection, "art. 17", erase)
        reply = self.officer(login, command)
        if reply is None:
            return 0
        self.officer(login, SignRequest(reply.request, reply.digest))
        return int(reply.request)

    def approve(self, login: str, number: int) -> bool:
        """Agree to a request; tell whether that was taken."""
        request = self.house.core.disposal.requests.get(number)
        if request is None:
            return False
        digest = request.body.digest.hex()
        return self.officer(login, ApproveRequest(number, digest)) is not None

    def reject(self, login: str, number: int) -> None:
        self.officer(login, RejectRequest(number, "not now"))

    def run(self, login: str, number: int) -> None:
        """Let an approved order begin; the service carries it out when it looks next."""
        self.officer(login, RunDestruction(number))


__all__ = ["World", "quickly", "text_of"]
