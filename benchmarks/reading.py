"""W4 and resume: history, and what a person missed while away."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from benchmarks import frames
from benchmarks.crowd import Crowd, Visitor
from benchmarks.measure import Result, Stopwatch
from benchmarks.organisation import Founding, Person, founding
from benchmarks.server import serving
from transports.wire.schema import Id

HISTORY_MESSAGES: Final = 10_000
PAGE: Final = 50
READERS: Final = 4
PAGES: Final = 1_000
PAGES_WARM_UP: Final = 100

CONVERSATIONS: Final = 2_000
MOVED: Final = 5
"""Conversations in which something happened while the person was away."""
SESSIONS: Final = 15
"""Connections that resume in one round; a person may have 32, and those of the last may linger."""
ROUNDS: Final = 15
QUIET_SECONDS: Final = 0.3


def history(carrier: str, directory: Path) -> Result:
    """W4: the newest 50 messages of a conversation that has 10,000."""
    with founding(directory) as site:
        pair = site.people(2)
        (conversation,) = site.direct([(pair[0], pair[1])])
        site.messages(pair[0], [conversation] * HISTORY_MESSAGES)
        ca_pem = site.ca_pem
    page = frames.history(conversation, PAGE)
    with serving(directory) as server, Crowd(server, ca_pem, carrier) as crowd:
        visitors = [crowd.enter(pair[number % 2]) for number in range(READERS)]
        crowd.settle(QUIET_SECONDS)
        watch = Stopwatch(server.pid)
        asked_at: dict[Visitor, float] = {}
        for visitor in visitors:
            _ask(visitor, page, asked_at)
            visitor.line.flush()
        done = 0
        while done < PAGES_WARM_UP + PAGES:
            for visitor, answer in crowd.answers():
                if answer.t == "ok":
                    done += 1
                    watch.latencies.append(time.perf_counter() - asked_at[visitor])
                    _ask(visitor, page, asked_at)
                    if done == PAGES_WARM_UP:
                        watch.start()
        return watch.stop("W4", carrier, PAGES)


def resume(carrier: str, directory: Path) -> Result:
    """resume: everything missed by somebody with 2,000 conversations of which 5 moved.

    Signing in is not measured: the connections stand before the clock runs.
    """
    with founding(directory) as site:
        person, opened = _busy_person(site)
        ca_pem = site.ca_pem
    with serving(directory) as server, Crowd(server, ca_pem, carrier) as crowd:
        pos = _miss(crowd, person, opened)
        ask = frames.resume(pos)
        watch = Stopwatch(server.pid)
        results: list[Result] = []
        latencies: list[float] = []
        for _ in range(ROUNDS):
            visitors = [crowd.enter(person[0], follow=False) for _ in range(SESSIONS)]
            crowd.settle(QUIET_SECONDS)
            watch.start()
            latencies.extend(_resume(crowd, visitor, ask) for visitor in visitors)
            watch.latencies += latencies
            results.append(watch.stop("resume", carrier, SESSIONS))
            for visitor in visitors:
                crowd.leave(visitor)
            crowd.settle(QUIET_SECONDS)
        return sorted(results, key=lambda result: result.server_cpu_us_per_op)[ROUNDS // 2]


def _ask(visitor: Visitor, payload: bytes, asked_at: dict[Visitor, float]) -> None:
    visitor.ask(payload)
    asked_at[visitor] = time.perf_counter()


def _busy_person(site: Founding) -> tuple[list[Person], list[Id]]:
    """Return somebody with many conversations, followed by a partner; and the conversations."""
    person, *others = site.people(1 + CONVERSATIONS)
    opened = site.direct((person, other) for other in others)
    return [person, *others[:MOVED]], opened


def _miss(crowd: Crowd, people: list[Person], opened: list[Id]) -> str:
    """Let something happen in a few conversations; return the position before that."""
    visitors = [crowd.enter(partner) for partner in people[1:]]
    crowd.settle(QUIET_SECONDS)
    pos = visitors[0].pos
    for visitor, conversation in zip(visitors, opened, strict=False):
        visitor.ask(frames.sends([conversation])[0])
        visitor.line.flush()
    crowd.settle(QUIET_SECONDS)
    for visitor in visitors:
        crowd.leave(visitor)
    crowd.settle(QUIET_SECONDS)
    return pos


def _resume(crowd: Crowd, visitor: Visitor, ask: bytes) -> float:
    """Resume one connection; return the seconds until everything missed has come."""
    began = time.perf_counter()
    visitor.ask(ask)
    visitor.line.flush()
    missed = 0
    while missed < MOVED:
        for _, answer in crowd.answers():
            missed += answer.t == "event"
    return time.perf_counter() - began
