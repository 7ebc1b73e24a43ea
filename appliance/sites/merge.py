"""Decide between operations that were made without knowledge of each other (sans-IO).

All sites follow headquarters' order of arrival, in which the later operation of a register wins.
That would let a branch that knew nothing undo what was decided meanwhile, so for some pairs the
one that arrived first wins over a later one that was made without knowing it (*concurrent*): who
was removed stays removed, and headquarters outranks a branch. The loser stays in the log and has
no effect. Both ends of the line come to the same answer, each from what it knows: headquarters
when the later one arrives, the branch when it hears of the earlier one while its own is still
unconfirmed.

    kind                          the earlier one beats a later, concurrent one if
    conversation.created          always: a direct conversation begins once
    conversation.member           it is a removal and the later one is not; of two openings of a
                                  direct conversation the one that lets people hear more wins
    person.state                  it takes more away, or comes from headquarters
    person.profile, .roles,       it comes from headquarters
    duty.*, conversation.filed
    hold.placed, hold.released    never
    all others                    never

Credentials that somebody gained without knowing of a reset, or of the end of their account, have
no effect either.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from appliance.directory.model import ACTIVE, DISABLED, REMOVED
from appliance.operations import BodyStruct, ConversationMember, Kind, PersonState


class Side(NamedTuple):
    """One of two operations; ``is_headquarters``: it was made there."""

    kind: int
    body: BodyStruct
    is_headquarters: bool


_SEVERITY: Final = {ACTIVE: 0, DISABLED: 1, REMOVED: 2}

_AUTHORITY: Final = frozenset(
    (
        Kind.PERSON_PROFILE,
        Kind.PERSON_ROLES,
        Kind.DUTY_CREATED,
        Kind.DUTY_CHAIN,
        Kind.DUTY_HOLDER,
        Kind.CONVERSATION_FILED,
    )
)
"""Kinds in which headquarters outranks a branch."""

CREDENTIALS: Final = frozenset(
    (Kind.PERSON_PASSWORD, Kind.PERSON_KEY, Kind.DEVICE_ADDED, Kind.INVITE_CREATED)
)
"""What a concurrent reset, or end of the account, takes away."""


def beats(earlier: Side, later: Side) -> bool:
    """Tell whether ``earlier`` wins over a concurrent ``later`` one of the same register."""
    if earlier.kind == Kind.CONVERSATION_CREATED:
        return True
    if isinstance(earlier.body, ConversationMember):
        assert isinstance(later.body, ConversationMember)
        return _keeps_member(earlier.body, later.body)
    outranks = earlier.is_headquarters and not later.is_headquarters
    if isinstance(earlier.body, PersonState):
        mine, other = (_SEVERITY.get(_field(each.body, "state"), 0) for each in (earlier, later))
        return mine > other or (outranks and mine == other)
    return outranks and earlier.kind in _AUTHORITY


def _keeps_member(earlier: ConversationMember, later: ConversationMember) -> bool:
    if earlier.opening and later.opening:
        return earlier.since <= later.since
    return not earlier.role and bool(later.role)


def _field(body: BodyStruct, name: str) -> Any:
    return getattr(body, name, "")
