"""Signed-in connections of many people, served from one loop."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from typing import Final

from benchmarks import frames
from benchmarks.carriers import CARRIERS
from benchmarks.lines import TURN_MS, Line, open_now, wait_for
from benchmarks.organisation import Person
from benchmarks.server import Server

STALL_TURNS: Final = 1_200
"""Turns of silence, one after the other, after which a run is given up: half a minute."""
GOT_SECONDS: Final = 1.0
"""How often a client says what it has received, as real ones do."""


class Visitor:
    """One connection of a person; ``pos`` is the newest position heard of."""

    __slots__ = ("line", "person", "pos", "said")

    def __init__(self, line: Line, person: Person) -> None:
        self.line = line
        self.person = person
        self.pos = ""
        self.said = ""

    def ask(self, payload: bytes) -> None:
        """Queue a request."""
        self.line.queue(self.line.frame(payload))


class Crowd:
    """Connections to one server. Close it to close them all.

    Args:
        server: where to connect.
        ca_pem: the CA to trust.
        carrier: ``websocket`` or ``quic``.
    """

    def __init__(self, server: Server, ca_pem: str, carrier: str) -> None:
        self._server = server
        self._ca_pem = ca_pem
        self._connect = CARRIERS[carrier]
        self._epoll = select.epoll()
        self._visitors: dict[int, Visitor] = {}
        self._said_at = time.monotonic()
        self._silent_turns = 0

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for visitor in list(self._visitors.values()):
            self.leave(visitor)
        self._epoll.close()

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._visitors)

    def enter(self, person: Person, *, follow: bool = True) -> Visitor:
        """Connect and sign in; ``follow`` asks for events from now on."""
        line = self._connect(self._server, self._ca_pem, "")
        open_now(line)
        visitor = Visitor(line, person)
        visitor.ask(frames.sign_in(person))
        line.flush()
        welcome = frames.read(wait_for(line)[0])[0]
        if welcome.t != "welcome":
            raise RuntimeError(f"expected welcome, not {welcome.t}")
        visitor.pos = visitor.said = welcome.pos
        if follow:
            visitor.ask(frames.resume())
            line.flush()
        self._visitors[line.fileno()] = visitor
        self._epoll.register(line.fileno(), select.EPOLLIN)
        return visitor

    def leave(self, visitor: Visitor) -> None:
        """Close one connection."""
        del self._visitors[visitor.line.fileno()]
        self._epoll.unregister(visitor.line.fileno())
        visitor.line.close()

    def answers(
        self, wait_seconds: float = TURN_MS / 1e3
    ) -> Iterator[tuple[Visitor, frames.Answer]]:
        """Wait for a turn and yield what has come in it; then flush who was served.

        Raises ``TimeoutError`` when nothing at all has come for ``STALL_TURNS``.
        """
        ready = self._epoll.poll(wait_seconds)
        visitors = [self._visitors[descriptor] for descriptor, _ in ready]
        self._silent_turns = 0 if visitors else self._silent_turns + 1
        if self._silent_turns > STALL_TURNS:
            raise TimeoutError("the server has fallen silent")
        if not visitors:
            visitors = [each for each in self._visitors.values() if each.line.has_timers]
        for visitor in visitors:
            for payload in visitor.line.receive():
                for answer in frames.read(payload):
                    visitor.pos = answer.pos or visitor.pos
                    yield visitor, answer
        for visitor in visitors:
            visitor.line.flush()

    def acknowledge(self, *, at_once: bool = False) -> None:
        """Let everybody say what they have received, once a second or at once."""
        now = time.monotonic()
        if now - self._said_at < GOT_SECONDS and not at_once:
            return
        self._said_at = now
        for visitor in self._visitors.values():
            if visitor.pos != visitor.said:
                visitor.said = visitor.pos
                visitor.ask(frames.got(visitor.pos))
                visitor.line.flush()

    def turn(self) -> None:
        """Serve whoever has something, for as long as nobody asks for more; never gives up."""
        self._silent_turns = 0
        for _ in self.answers():
            pass

    def settle(self, seconds: float) -> None:
        """Read and throw away what comes until it has been quiet for so long."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < seconds:
            for _ in self.answers():
                quiet_since = time.monotonic()
