"""What people at a branch are told of the line: every change at once, numbers now and then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.sites.limits import LINE_SECONDS
from appliance.sites.line import REACHABLE, UNREACHABLE, Line
from transports.wire.schema import Site

NOW_MS = 1_790_000_000_000


def seen(line: Line, *, up: bool, waiting: int = 0, now: float = 0.0) -> Site | None:
    now_ms = NOW_MS + int(now * 1000)
    return line.seen(is_connected=up, waiting=waiting, now_ms=now_ms, now=now)


def test_until_headquarters_answers_the_line_is_as_the_log_left_it() -> None:
    line = Line(NOW_MS - 5)
    assert line.told == Site(UNREACHABLE, NOW_MS - 5)
    assert seen(line, up=False) is None
    assert seen(line, up=True, now=1) == Site(REACHABLE, NOW_MS + 1_000)


def test_a_cut_is_told_at_once_with_its_time_and_what_waits() -> None:
    line = Line(0)
    seen(line, up=True)
    assert seen(line, up=True, now=1) is None
    assert seen(line, up=False, waiting=2, now=2) == Site(UNREACHABLE, NOW_MS + 2_000, 2)


def test_what_waits_is_told_now_and_then_and_its_end_at_once() -> None:
    line = Line(0)
    seen(line, up=False, waiting=1, now=10)
    assert seen(line, up=False, waiting=2, now=10 + LINE_SECONDS - 0.1) is None
    assert seen(line, up=False, waiting=3, now=10 + LINE_SECONDS) == Site(UNREACHABLE, 0, 3)
    up = seen(line, up=True, waiting=3, now=16)
    assert up is not None
    assert seen(line, up=True, waiting=0, now=16.1) == Site(REACHABLE, up.since, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.floats(0, 20)), max_size=20))
def test_who_hears_everything_knows_how_the_line_is(
    observations: list[tuple[bool, int, float]],
) -> None:
    line, now, heard, waiting = Line(0), 100.0, Site(UNREACHABLE), 0
    for up, waiting, passed in observations:
        now += passed
        heard = seen(line, up=up, waiting=waiting, now=now) or heard
        assert (heard.headquarters == REACHABLE) is up
        assert heard == line.told
    again = seen(line, up=line.is_connected, waiting=waiting, now=now + 2 * LINE_SECONDS) or heard
    assert again.waiting == waiting
