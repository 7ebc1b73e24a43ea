"""Membership: intervals of timeline keys, told whole by the newest operation."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from appliance.limits import FORMER_TIMES
from appliance.messaging.membership import (
    GONE,
    MEMBER,
    NEVER,
    OWNER,
    Interval,
    Membership,
    changing,
    from_operation,
    joining,
)
from appliance.operations import ConversationMember, Kind, decode, encode

ALICE = b"a" * 16

keys = st.integers(1, 40)


@st.composite
def intervals(draw: st.DrawFn) -> tuple[Interval, ...]:
    marks = sorted(draw(st.lists(keys, min_size=2, max_size=8, unique=True)))
    pairs = zip(marks[::2], marks[1::2], strict=False)
    return tuple(Interval(draw(st.integers(0, since)), since, until) for since, until in pairs)


@given(intervals(), st.integers(0, 45))
def test_hearing_and_reading_are_what_the_intervals_say(
    spans: tuple[Interval, ...], key: int
) -> None:
    member = Membership(ALICE, 1, MEMBER, spans, 0)
    assert member.hears(key) == any(key in range(each.since, each.until) for each in spans)
    assert member.reads(key) == any(key in range(each.read_from, each.until) for each in spans)
    assert member.left_at(key) == (key in {each.until for each in spans})


@st.composite
def ranges(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """Draw ranges that ascend and do not meet, single keys among them."""
    marks = sorted(draw(st.lists(keys, max_size=8, unique=True)))
    if draw(st.booleans()):
        return tuple((mark, mark) for mark in marks)
    return tuple(zip(marks[::2], marks[1::2], strict=False))


@given(intervals(), ranges(), st.integers(0, 45))
def test_somebody_may_have_read_what_they_could_read_before_it_was_destroyed(
    spans: tuple[Interval, ...], wiped: tuple[tuple[int, int], ...], by: int
) -> None:
    member = Membership(ALICE, 1, MEMBER, spans, 0)
    destroyed = {key for first, last in wiped for key in range(first, last + 1)}
    readable = {
        key for each in spans if each.since <= by for key in range(each.read_from, each.until)
    }
    assert member.may_have_read(wiped, by) is bool(destroyed & readable)


def test_of_somebody_with_forgotten_times_anything_older_may_have_been_read() -> None:
    spans = tuple(Interval(at, at, at + 1) for at in range(100, 102 + 2 * FORMER_TIMES, 2))
    assert len(spans) == FORMER_TIMES + 1
    assert Membership(ALICE, 1, MEMBER, spans, 0).may_have_read(((1, 2),), 1_000)
    assert not Membership(ALICE, 1, MEMBER, spans[1:], 0).may_have_read(((1, 2),), 1_000)
    assert not Membership(ALICE, 1, MEMBER, spans, 0).may_have_read(((103, 103),), 1_000)


@given(intervals())
def test_windows_are_the_readable_keys_once_and_in_order(spans: tuple[Interval, ...]) -> None:
    member = Membership(ALICE, 1, MEMBER, spans, 0)
    windows = member.windows()
    listed = [key for start, end in windows for key in range(start, end)]
    assert listed == [key for key in range(50) if member.reads(key)]
    assert all(a[1] < b[0] for a, b in pairwise(windows))


@given(st.lists(st.sampled_from([OWNER, MEMBER, GONE]), max_size=12), st.booleans())
def test_the_newest_operation_alone_tells_the_whole_membership(
    roles: list[str], history: bool
) -> None:
    """Each operation is encoded and read back; nothing but the newest is needed."""
    member: Membership | None = None
    heard: set[int] = set()
    key = 10
    for role in roles:
        present = member is not None and member.is_current
        if not present and role == GONE:
            continue
        if present and member is not None:
            body = changing(member, role)
        else:
            body = joining(ALICE, role, member, 3 if history else 0)
        stored = decode(Kind.CONVERSATION_MEMBER, encode(body))
        assert isinstance(stored, ConversationMember)
        member = from_operation(stored, key, key, 1)
        assert member.role == role
        if role != GONE:
            heard |= {key, key + 1}
        assert {each for each in range(key + 2) if member.hears(each)} == heard
        readable = heard | (set(range(3, key)) if history else set())
        if role != GONE:
            assert {each for each in range(key + 2) if member.reads(each)} == readable
        key += 2


def test_only_so_many_former_times_are_kept() -> None:
    member: Membership | None = None
    for key in range(10, 12 + 4 * (FORMER_TIMES + 3), 2):
        present = member is not None and member.is_current
        body = (
            changing(member, GONE)
            if present and member is not None
            else joining(ALICE, MEMBER, member, 0)
        )
        member = from_operation(body, key, key, 1)
    assert member is not None
    assert member.is_current
    assert len(member.intervals) == FORMER_TIMES + 1
    assert not member.reads(10)


def test_the_row_tells_role_and_intervals() -> None:
    spans = (Interval(1, 2, 3), Interval(4, 5, NEVER))
    packed = Membership(ALICE, 1, OWNER, spans, 0).pack()
    assert packed[0] == 2
    words = [int.from_bytes(packed[at : at + 8], "big") for at in range(1, len(packed), 8)]
    assert words == [1, 2, 3, 4, 5, NEVER]
    assert Membership(ALICE, 1, GONE, (), 0).pack() == b"\x00"
