"""churn: people connect, chat and leave without end; whether the server's memory grows by it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import frames
from benchmarks.crowd import Crowd
from benchmarks.measure import Result, Stopwatch, rss_mib
from benchmarks.organisation import Person, founding
from benchmarks.server import serving
from transports.wire.schema import Id

SECONDS: Final = "STRONGROOM_BENCH_SECONDS"
"""Variable: for how long; an hour unless it says otherwise."""
HOUR_SECONDS: Final = 3_600.0
PAIRS: Final = 100
AT_ONCE: Final = 10
"""Pairs that come together; the others are away meanwhile."""
MESSAGES: Final = 5
"""What each person says before leaving."""
SAMPLES: Final = 60
"""How often memory is looked at."""
WARM_UP_SHARE: Final = 0.25
"""Of the time, before memory counts: pools and caches have their size by then."""


class Visits:
    """Pairs of people who come in turns, say something to each other, and leave."""

    def __init__(self, crowd: Crowd, pairs: list[tuple[Person, Person, Id]]) -> None:
        self._crowd = crowd
        self._pairs = pairs
        self._next = 0
        self._said: dict[Person, int] = {}
        self.latencies: list[float] = []
        self.connections = 0

    def one(self) -> None:
        """Let some pairs come, chat and leave."""
        pairs = [self._pairs[(self._next + each) % PAIRS] for each in range(AT_ONCE)]
        self._next += AT_ONCE
        waiting = 0
        visitors = []
        for *people, conversation in pairs:
            for person in people:
                visitor = self._crowd.enter(person)
                visitors.append(visitor)
                first = self._said.get(person, 0) + 1
                self._said[person] = first + MESSAGES - 1
                for number in range(first, first + MESSAGES):
                    visitor.ask(frames.send(number, conversation))
                waiting += MESSAGES
        began = time.perf_counter()
        for visitor in visitors:
            visitor.line.flush()
        while waiting:
            for _, answer in self._crowd.answers():
                if answer.t == "ok":
                    waiting -= 1
                    self.latencies.append(time.perf_counter() - began)
        for visitor in visitors:
            self._crowd.leave(visitor)
        self.connections += len(visitors)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the straight line with the least squares; 0 for fewer than two points."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / max(1, count)
    mean_y = sum(y for _, y in points) / max(1, count)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def seconds_asked() -> float:
    """Return for how long to run."""
    return float(os.environ.get(SECONDS, HOUR_SECONDS))


def run(carrier: str, directory: Path) -> Result:
    """Churn, and fit a line through the memory that is the process's own (no mapped files)."""
    seconds = seconds_asked()
    with founding(directory) as site:
        people = site.people(2 * PAIRS)
        opened = site.direct(zip(people[::2], people[1::2], strict=True))
        ca_pem = site.ca_pem
    pairs = list(zip(people[::2], people[1::2], opened, strict=True))
    with serving(directory) as server, Crowd(server, ca_pem, carrier) as crowd:
        visits = Visits(crowd, pairs)
        watch = Stopwatch(server.pid)
        watch.start()
        began = time.monotonic()
        points: list[tuple[float, float]] = []
        while (elapsed := time.monotonic() - began) < seconds:
            if elapsed >= len(points) * seconds / SAMPLES:
                points.append((elapsed / HOUR_SECONDS, rss_mib(server.pid, "RssAnon")))
            visits.one()
        points.append((elapsed / HOUR_SECONDS, rss_mib(server.pid, "RssAnon")))
        watch.latencies = visits.latencies
        counted = [each for each in points if each[0] * HOUR_SECONDS >= WARM_UP_SHARE * seconds]
        return watch.stop(
            "churn",
            carrier,
            visits.connections,
            seconds=round(elapsed, 1),
            messages=visits.connections * MESSAGES,
            anonymous_mib_after_warm_up=round(counted[0][1], 2),
            anonymous_mib_at_end=round(counted[-1][1], 2),
            growth_mib_per_hour=round(slope(counted), 2),
            growth_bytes_per_connection=round(
                (counted[-1][1] - counted[0][1])
                * (1 << 20)
                / max(1.0, visits.connections * (1 - WARM_UP_SHARE)),
                1,
            ),
        )
