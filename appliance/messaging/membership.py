"""Tell who hears and reads what: membership as intervals of timeline keys.

Someone who leaves and rejoins does not read the gap. Hearing (events, unread) begins with the
operation that adds the person; reading (history) may begin earlier, where the conversation
lets new members read what was before them.

    MEMBER row value
    offset  size  type   meaning
    0       1     u8     role now: 0 gone, 1 member, 2 owner
    1       24 n  u64*3  n intervals: readable from, heard from, until (all timeline keys)
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, NamedTuple

from appliance.limits import FORMER_TIMES
from appliance.operations import ConversationMember
from store import hlc

OWNER: Final = "owner"
MEMBER: Final = "member"
GONE: Final = ""

NEVER: Final = hlc.LIMIT
"""The end of an interval that has not ended."""

_ROLE_NUMBERS: Final = {GONE: 0, MEMBER: 1, OWNER: 2}
_INTERVAL = struct.Struct(">QQQ")


class Interval(NamedTuple):
    """One time of being a member, in timeline keys; ``until`` is not part of it."""

    read_from: int
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Membership:
    """One person in one conversation, now or in former times.

    ``changed`` is the position of the operation that said so last.
    """

    person: bytes
    pseudonym: int
    role: str
    intervals: tuple[Interval, ...]
    changed: int

    @property
    def is_current(self) -> bool:
        """Whether the person is a member now."""
        return self.role != GONE

    def hears(self, key: int) -> bool:
        """Tell whether what happened at ``key`` concerned this person."""
        return any(each.since <= key < each.until for each in self.intervals)

    def reads(self, key: int) -> bool:
        """Tell whether this person may read what is at ``key``."""
        return any(each.read_from <= key < each.until for each in self.intervals)

    def left_at(self, key: int) -> bool:
        """Tell whether a time of membership ended with the operation at ``key``."""
        return any(each.until == key for each in self.intervals)

    def may_have_read(self, ranges: Sequence[tuple[int, int]], by: int) -> bool:
        """Tell whether anything in ``ranges`` of keys could be read until key ``by``.

        Both ends of a range are included; ranges ascend and do not meet. Of who came and went
        too often for all times to be kept, it is assumed that they could read whatever came
        before those that are. O(intervals x log ranges).
        """
        is_all_known = len(self.intervals) <= FORMER_TIMES
        for number, each in enumerate(self.intervals):
            start = each.read_from if number or is_all_known else 0
            place = bisect_left(ranges, start, key=itemgetter(1))
            if each.since <= by and place < len(ranges) and ranges[place][0] < each.until:
                return True
        return False

    def windows(self) -> list[tuple[int, int]]:
        """Return the readable ranges of keys, ascending, without overlaps."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted((each.read_from, each.until) for each in self.intervals):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def pack(self) -> bytes:
        """Return the MEMBER row's value."""
        packed = b"".join(_INTERVAL.pack(*each) for each in self.intervals)
        return bytes((_ROLE_NUMBERS[self.role],)) + packed


def from_operation(body: ConversationMember, key: int, pos: int, pseudonym: int) -> Membership:
    """Return the membership that an operation at ``key`` and ``pos`` tells of."""
    since = body.since or key
    until = NEVER if body.role else key
    last = Interval(body.read_from or since, since, until)
    past = tuple(Interval(*each) for each in body.past)
    role = body.role if body.role in _ROLE_NUMBERS else MEMBER
    return Membership(body.person, pseudonym, role, (*past, last), pos)


def joining(
    person: bytes, role: str, former: Membership | None, read_from: int
) -> ConversationMember:
    """Return the body that makes someone a member; ``read_from`` 0: from now on."""
    past = former.intervals[-FORMER_TIMES:] if former is not None else ()
    return ConversationMember(person, role, 0, read_from, tuple(map(tuple, past)))  # type: ignore[arg-type]  # triples


def changing(member: Membership, role: str) -> ConversationMember:
    """Return the body that gives a member another role, or ends the membership (``GONE``)."""
    *past, last = member.intervals
    return ConversationMember(
        member.person,
        role,
        last.since,
        last.read_from,
        tuple(map(tuple, past)),  # type: ignore[arg-type]  # triples
    )
