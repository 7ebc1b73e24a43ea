"""W3 and W3-10000: what an idle, signed-in connection costs the server in memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.crowd import Crowd
from benchmarks.fleet import Fleet, allow_files, dealt
from benchmarks.measure import Result, Stopwatch, rss_mib
from benchmarks.organisation import Person, founding
from benchmarks.server import Server, serving

WARM_UP: Final = 200
"""Connections opened before memory is looked at: by then the server's pools have their size."""
PROCESSES: Final = 2
QUIET_SECONDS: Final = 1.0
KIB_IN_MIB: Final = 1_024


class Idlers:
    """A crew whose people sign in and then only answer what the server asks."""

    def __init__(self, server: Server, ca_pem: str, carrier: str, people: list[Person]) -> None:
        allow_files(len(people))
        self._crowd = Crowd(server, ca_pem, carrier)
        self._people = people

    def enter(self, first: int, last: int) -> int:
        """Sign some of them in, one after the other; return how many connections there are."""
        for person in self._people[first:last]:
            self._crowd.enter(person)
        self._crowd.settle(QUIET_SECONDS)
        return len(self._crowd)

    def turn(self) -> None:
        """Serve the connections."""
        self._crowd.turn()


def run(name: str, connections: int, carrier: str, directory: Path) -> Result:
    """Sign in a few, then ``connections`` more, and see what those have added."""
    allow_files(WARM_UP + connections)
    with founding(directory) as site:
        people = site.people(WARM_UP + connections)
        ca_pem = site.ca_pem
    with serving(directory) as server:
        crews = [(server, ca_pem, carrier, each) for each in dealt(people, PROCESSES)]
        with Fleet(Idlers, crews) as fleet:
            warm = WARM_UP // PROCESSES
            fleet.ask("enter", 0, warm)
            before = rss_mib(server.pid)
            watch = Stopwatch(server.pid, fleet.pids)
            watch.start()
            open_now = sum(fleet.ask("enter", warm, len(people)))
            assert open_now == len(people), "every connection still stands"
            grown = (rss_mib(server.pid) - before) * KIB_IN_MIB
            per_connection = round(grown / connections, 2)
            return watch.stop(name, carrier, connections, kib_per_connection=per_connection)


W3 = partial(run, "W3", 1_000)
W3_10000 = partial(run, "W3-10000", 10_000)
