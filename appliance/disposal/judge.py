"""Judge records: put together what is known of one, and ask the policy and the holds.

The same judgement serves plans, runs and reads. What it needs comes from memory and from the
opened record, so it costs a few microseconds.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from appliance.disposal.gather import Group
from appliance.messaging.model import Conversation
from appliance.operations import Kind
from appliance.policy.bounds import Bounds
from appliance.policy.decision import (
    Because,
    Facts,
    Outcome,
    Verdict,
    decide,
    is_expired_for_reading,
)
from appliance.policy.policies import FOREVER, Filing, Policies, Standing
from appliance.policy.predicate import LAST_MS, Subject
from store import hlc
from store.oplog import Op
from store.vault import AUDIT

if TYPE_CHECKING:
    from appliance.core import Core

_AUDIT_FILING = (Filing(AUDIT),)
_NOBODY = (Standing(),)


class Judge:
    """Judges by the policy in force, or by another one that somebody wants to try."""

    def __init__(self, core: Core, policies: Policies | None = None) -> None:
        self._core = core
        self._policies = policies
        self._shortest: dict[int, int | None] = {}

    @property
    def policies(self) -> Policies:
        """The policy that counts here."""
        return self._policies if self._policies is not None else self._core.disposal.policies

    def bounds(self, op: Op) -> Bounds:
        """Return what the policy says now for a record."""
        core = self._core
        return self.policies.bounds(op.pos, _filings(core, op), _standings(core, op))

    def judge(
        self,
        found: Group,
        proven_ms: int | None,
        *,
        is_recalled: bool = False,
        is_requested: bool = False,
    ) -> Verdict:
        """Decide about a record and all that goes with it, at a proven time (None: there is none).

        A hold or a minimum on any message among them keeps them all. What follows an entry of
        the audit stays until that one has gone.
        """
        if self._core.disposal.follows(found.root):
            return Verdict(Outcome.KEEP, Because.NONE)
        facts = _facts(
            self._core,
            found.root,
            is_held=bool(holding(self._core, found)),
            is_recalled=is_recalled,
            is_requested=is_requested,
        )
        verdict = decide(facts, self.bounds(found.root), proven_ms)
        if verdict.outcome is Outcome.DESTROY:
            for op in found.copies():
                of_copy = decide(_facts(self._core, op), self.bounds(op), proven_ms)
                if of_copy.because is Because.MINIMUM:
                    return of_copy
        return verdict

    def is_over(self, op: Op, reading_ms: int | None) -> bool:
        """Tell whether a record must not be read any more, by the clock for readers."""
        if reading_ms is None or self._is_young(op, reading_ms):
            return False
        facts = _facts(self._core, op)
        if not is_expired_for_reading(facts, self.bounds(op), reading_ms):
            return False
        return not holding(self._core, Group((op,)))

    def _is_young(self, op: Op, reading_ms: int) -> bool:
        """Tell that nothing of its class ends at its age: the cheap answer, for nearly all."""
        born_ms = self._core.disposal.born_hi(op.pos)
        if born_ms is None:
            return True
        number = _filings(self._core, op)[-1].retention_class
        if number not in self._shortest:
            self._shortest[number] = self.policies.shortest_max_ms(number)
        shortest = self._shortest[number]
        return shortest is None or reading_ms < born_ms + shortest


def holding(core: Core, found: Group) -> tuple[int, ...]:
    """Return the numbers of the holds that cover a record or what goes with it."""
    active = core.disposal.active
    if not len(active):
        return ()
    messages = list(found.messages()) or [found.root]
    return tuple(sorted({hold for op in messages for hold in active.covering(_held(core, op))}))


def _held(core: Core, op: Op) -> Subject:
    """Return what holds look at: rather too much than too little.

    Units are all that those people ever had, and any for who is not known any more; the date is
    also whenever it can have been by proven time.
    """
    found = subject(core, op)
    people = [core.directory.person(each) for each in found.participants]
    units = {unit for each in people if each is not None for unit, _ in each.past_units}
    if None in people:
        units |= core.disposal.active.units()
    born_lo, born_hi = core.disposal.born_lo(op.pos), core.disposal.born_hi(op.pos)
    span_ms = (born_lo, LAST_MS if born_hi is None else born_hi)
    return replace(found, units=found.units | units, span_ms=span_ms)


def subject(core: Core, op: Op) -> Subject:
    """Return what predicates look at: who wrote it, who was ever there, where and when.

    Everybody who was ever a member counts as a participant, and the units are those of now.
    """
    conversation = core.conversations.get(op.conversation)
    people = frozenset((op.actor,)) if op.actor else frozenset()
    labels: frozenset[str] = frozenset()
    if conversation is not None:
        people |= conversation.members.keys() | conversation.former.keys()
        labels = frozenset(conversation.labels)
        labels |= {label for _, past, _ in conversation.past_filings for label in past}
    author = core.directory.person(op.actor)
    known = (core.directory.person(each) for each in people)
    return Subject(
        op.actor,
        op.conversation,
        hlc.millis(op.t),
        participants=people,
        author_unit=author.unit if author is not None else "",
        units=frozenset(each.unit for each in known if each is not None and each.unit),
        labels=labels,
    )


def _facts(
    core: Core,
    op: Op,
    *,
    is_held: bool = False,
    is_recalled: bool = False,
    is_requested: bool = False,
) -> Facts:
    conversation = core.conversations.get(op.conversation)
    return Facts(
        op.pos,
        core.disposal.born_hi(op.pos),
        _filings(core, op),
        _standings(core, op),
        closed_ms=_since(core, conversation.archived_pos if conversation else 0),
        case_closed_ms=_since(core, conversation.case_closed_pos if conversation else 0),
        is_held=is_held,
        is_recalled=is_recalled,
        is_requested=is_requested,
    )


def _since(core: Core, pos: int) -> int | None:
    return core.disposal.born_hi(pos) if pos else None


def _filings(core: Core, op: Op) -> tuple[Filing, ...]:
    if op.kind != Kind.MESSAGE:
        return _AUDIT_FILING
    conversation = core.conversations.get(op.conversation)
    return filings(conversation) if conversation is not None else _AUDIT_FILING


def filings(conversation: Conversation) -> tuple[Filing, ...]:
    """Return a conversation's classes and labels, the present ones last."""
    present = Filing(conversation.retention_class, conversation.labels)
    if not conversation.past_filings:
        return (present,)
    return (*(Filing(*each) for each in conversation.past_filings), present)


def _standings(core: Core, op: Op) -> tuple[Standing, ...]:
    """Return every unit and roles that the author has had, the present ones last."""
    person = core.directory.person(op.actor)
    if person is None:
        return core.disposal.policies.anybody if op.actor else _NOBODY
    if not person.past_units and not person.past_roles:
        return (Standing(person.unit, person.roles),)
    units = (*person.past_units, (person.unit, FOREVER))
    roles = (*person.past_roles, (person.roles, FOREVER))
    return tuple(
        Standing(unit, some, min(left, lost))
        for (unit, left), (some, lost) in product(units, roles)
    )
