"""The clock on the command line: what is proven, and two officers who say it is right."""

from __future__ import annotations

import time
from typing import Any

import pytest

from appliance.disposal.replies import ClockResumed
from tests.cli.recorded import Recorded

AT_MS = 1_795_509_000_000
RUNNING: dict[str, Any] = {
    "source": "system",
    "state": "running",
    "wall_at": AT_MS + 61_000,
    "proven_at": AT_MS,
    "ahead_seconds": 61,
}
RESUME = ("clock", "resume", "--reason", "new battery", "--as", "dave")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "destruction:  goes on"),
        ({}, "difference:   61 seconds ahead"),
        ({"ahead_seconds": -3_600}, "difference:   1 hour behind"),
        ({"ahead_seconds": 0}, "difference:   none"),
        ({"state": "suspended"}, "SUSPENDED, because the clock jumped"),
        ({"state": "suspended"}, "strongroom clock resume"),
        ({"state": "unproven", "proven_at": 0}, "waits, because no time is proven yet"),
        ({"source": "none"}, "nothing ends by age"),
    ],
)
def test_the_clock_says_whether_anything_can_end(
    server: Recorded, change: dict[str, Any], said: str
) -> None:
    server.will_answer("clock.status", RUNNING | change)
    assert said in server.ok("clock", "status")
    assert server.signed() == []


def test_what_is_confirmed_is_this_machines_clock_now(server: Recorded) -> None:
    server.will_answer("clock.resume", ClockResumed(resumed=False, request=7))
    before = time.time_ns() // 1_000_000
    told = server.ok(*RESUME, "--yes")
    assert "until a second officer confirms it too" in told
    (asked,) = server.signed()
    assert before <= asked.arguments["wall_ms"] <= time.time_ns() // 1_000_000
    assert asked.arguments["reason"] == "new battery"


def test_the_second_officers_word_ends_the_suspension(server: Recorded) -> None:
    server.will_answer("clock.resume", ClockResumed(resumed=True, request=0))
    assert server.ok(*RESUME, "--yes") == "Destruction goes on.\n"


def test_nobody_confirms_a_clock_without_having_seen_it(server: Recorded) -> None:
    assert server.run(*RESUME).exit_code == 2
    assert server.asked == []
