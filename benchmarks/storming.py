"""storm: thousands come back at once after the server was started anew; others are chatting.

What a client of ours does: connect, sign in, resume from where it was; when that fails, try again
after a pause that doubles, as the SDK's own. A client is back when the message that it missed has
arrived.
"""

from __future__ import annotations

import random
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from typing import Final

from benchmarks import frames
from benchmarks.carriers import CARRIERS
from benchmarks.crowd import Crowd, Visitor
from benchmarks.fleet import Fleet, allow_files, dealt
from benchmarks.lines import TURN_MS, Events, Line
from benchmarks.measure import Result, Stopwatch, percentile
from benchmarks.organisation import Founding, Person, founding
from benchmarks.server import Server, serving
from client.line import BACKOFF_FIRST_SECONDS, BACKOFF_LAST_SECONDS
from transports.wire.schema import Id

CLIENTS: Final = 5_000
ROOM: Final = 100
"""Members of each room: in every one of them something was said meanwhile."""
PROCESSES: Final = 2
PAIRS: Final = 8
PER_SECOND: Final = 100.0
"""Messages a second of those who are already in, evenly spaced."""
CALM_SECONDS: Final = 10.0
PATIENCE_SECONDS: Final = 300.0
ADDRESSES: Final = 250
"""Local addresses the clients come from, as from a building, not from one proxy."""
QUIET_SECONDS: Final = 0.5
TIMERS_SECONDS: Final = 0.1
"""How often the timers of all QUIC connections are looked at."""


@dataclass
class Returned:
    """How it went for one process's clients."""

    seconds: list[float] = field(default_factory=list)
    """From the moment everybody set out until what each had missed was there."""
    failures: int = 0
    """Attempts that came to nothing, and connections lost afterwards."""


def _coming_back(line: Line, person: Person, pos: str) -> Iterator[Events]:
    """Connect, sign in, resume; ends when something missed has come."""
    yield from line.open()
    line.queue(line.frame(frames.sign_in(person)))
    line.flush()
    while True:
        yield select.EPOLLIN
        answers = [each for payload in line.receive() for each in frames.read(payload)]
        if any(answer.t == "event" for answer in answers):
            return
        if any(answer.t == "welcome" for answer in answers):
            line.queue(line.frame(frames.resume(pos)))
        line.flush()


class Client:
    """One person's connection, or what becomes it."""

    __slots__ = ("events", "failures", "line", "person", "steps")

    def __init__(self, person: Person) -> None:
        self.person = person
        self.failures = 0
        self.events: Events = 0
        self.line: Line
        self.steps: Iterator[Events]


class Returners:
    """A crew whose people all come back at once."""

    def __init__(self, server: Server, ca_pem: str, carrier: str, people: list[Person]) -> None:
        allow_files(len(people))
        self._server, self._ca_pem = server, ca_pem
        self._connect = CARRIERS[carrier]
        self._people = people
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        """By descriptor; whether on their way or back."""
        self._back: dict[Client, float] = {}
        """And when they came back."""
        self._due: list[tuple[float, int, Client]] = []
        self._failures = 0
        self._pos = ""
        self._has_timers = carrier == "quic"
        self._timers_at = 0.0

    def come_back(self, pos: str) -> Returned:
        """Let everybody resume from a position; return how it went, raise ``TimeoutError``."""
        self._pos = pos
        began = time.monotonic()
        for person in self._people:
            self._pause(Client(person))
        while len(self._back) < len(self._people):
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise TimeoutError(f"{len(self._back)} of {len(self._people)} are back")
            self.turn()
        return Returned([at - began for at in self._back.values()], self._failures)

    def turn(self) -> None:
        """Serve who is ready, and let set out whose pause is over."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            self._set_out(heappop(self._due)[2])
        ready = self._epoll.poll(TURN_MS / 1e3)
        clients = [self._clients[descriptor] for descriptor, _ in ready]
        if self._has_timers and now >= self._timers_at:
            self._timers_at = now + TIMERS_SECONDS
            clients = list(self._clients.values())
        for client in clients:
            try:
                self._step(client)
            except (OSError, RuntimeError):
                self._failed(client)

    def _pause(self, client: Client) -> None:
        bound = min(BACKOFF_LAST_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** min(client.failures, 16))
        due = time.monotonic() + random.uniform(0, bound)
        heappush(self._due, (due, id(client), client))

    def _set_out(self, client: Client) -> None:
        source = f"127.0.1.{1 + random.randrange(ADDRESSES)}"
        client.line = self._connect(self._server, self._ca_pem, source)
        client.steps = _coming_back(client.line, client.person, self._pos)
        client.events = 0
        self._clients[client.line.fileno()] = client
        try:
            self._step(client)
        except (OSError, RuntimeError):
            self._failed(client)

    def _step(self, client: Client) -> None:
        if client in self._back:
            client.line.receive()
            client.line.flush()
            return
        events = next(client.steps, None)
        if events is None:
            self._back[client] = time.monotonic()
            events = select.EPOLLIN
        if events != client.events:
            change = self._epoll.modify if client.events else self._epoll.register
            change(client.line.fileno(), events)
            client.events = events

    def _failed(self, client: Client) -> None:
        self._failures += 1
        client.failures += 1
        self._back.pop(client, None)
        del self._clients[client.line.fileno()]
        client.line.close()
        self._pause(client)


class Chatters:
    """Pairs who are in already and send at a fixed rate, whatever the answers do."""

    def __init__(self, crowd: Crowd, people: list[Person], conversations: list[Id]) -> None:
        self._crowd = crowd
        self._visitors = [crowd.enter(person) for person in people]
        self._conversations = conversations
        self._sent = [0] * len(people)
        self._due_at: dict[tuple[Visitor, int], float] = {}
        self._next_at = 0.0
        self._turn = 0
        self.seconds: list[float] = []
        """From when a message was due to be sent until it was acknowledged."""

    def begin(self) -> None:
        """Let the next message be due now."""
        self._next_at = time.perf_counter()

    def chat(self) -> None:
        """Send what is due, and take what has come."""
        while self._next_at <= time.perf_counter():
            self._send(self._turn % len(self._visitors))
            self._turn += 1
            self._next_at += 1 / PER_SECOND
        wait_seconds = max(0.0, self._next_at - time.perf_counter())
        for visitor, answer in self._crowd.answers(wait_seconds):
            if answer.t == "ok":
                due = self._due_at.pop((visitor, answer.re))
                self.seconds.append(time.perf_counter() - due)

    def _send(self, index: int) -> None:
        visitor = self._visitors[index]
        self._sent[index] += 1
        number = self._sent[index]
        visitor.ask(frames.send(number, self._conversations[index // 2]))
        visitor.line.flush()
        self._due_at[visitor, number] = self._next_at


def run(carrier: str, directory: Path) -> Result:
    """Let 5,000 people miss something, and come back at once."""
    allow_files(CLIENTS)
    with founding(directory) as site:
        people, chatters, conversations, rooms = _organise(site)
        ca_pem = site.ca_pem
    with serving(directory) as server, Crowd(server, ca_pem, carrier) as crowd:
        pos = crowd.enter(chatters[0]).pos
        _say_something(crowd, chatters[-1], rooms)
    with serving(directory) as server, Crowd(server, ca_pem, carrier) as crowd:
        chat = Chatters(crowd, chatters[: 2 * PAIRS], conversations)
        crews = [(server, ca_pem, carrier, each) for each in dealt(people, PROCESSES)]
        with Fleet(Returners, crews) as fleet:
            fleet.ask("turn")
            calm = _calm(chat)
            watch = Stopwatch(server.pid, fleet.pids)
            watch.start()
            returned, chatted = _storm(fleet, chat, pos)
            watch.latencies = [each for part in returned for each in part.seconds]
            return watch.stop(
                "storm",
                carrier,
                len(people),
                seconds_until_all=round(max(watch.latencies), 2),
                failed_attempts=sum(part.failures for part in returned),
                chat_messages=len(chatted),
                chat_p50_ms=round(percentile(chatted, 0.5) * 1e3, 2),
                chat_p99_ms=round(percentile(chatted, 0.99) * 1e3, 2),
                chat_max_ms=round(max(chatted) * 1e3, 2),
                calm_p50_ms=round(percentile(calm, 0.5) * 1e3, 2),
                calm_p99_ms=round(percentile(calm, 0.99) * 1e3, 2),
            )


def _organise(site: Founding) -> tuple[list[Person], list[Person], list[Id], list[Id]]:
    """Return those who come back, the chatters, the chatters' conversations, and the rooms.

    The last of the chatters owns the rooms.
    """
    people, chatters = site.people(CLIENTS), site.people(2 * PAIRS + 1, "chatter")
    conversations = site.direct(zip(chatters[0:-1:2], chatters[1::2], strict=True))
    rooms = site.groups(
        [chatters[-1], *people[first : first + ROOM]] for first in range(0, CLIENTS, ROOM)
    )
    return people, chatters, conversations, rooms


def _say_something(crowd: Crowd, author: Person, rooms: list[Id]) -> None:
    visitor = crowd.enter(author)
    for payload in frames.sends(rooms):
        visitor.ask(payload)
    visitor.line.flush()
    crowd.settle(QUIET_SECONDS)


def _calm(chat: Chatters) -> list[float]:
    chat.begin()
    ends_at = time.monotonic() + CALM_SECONDS
    while time.monotonic() < ends_at:
        chat.chat()
    calm, chat.seconds = chat.seconds, []
    return calm


def _storm(fleet: Fleet, chat: Chatters, pos: str) -> tuple[list[Returned], list[float]]:
    fleet.begin("come_back", pos)
    while not fleet.is_done():
        chat.chat()
    return fleet.answers(), chat.seconds
