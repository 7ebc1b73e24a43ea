"""W1 and W2: messages that are stored, acknowledged and delivered to who is online."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import frames
from benchmarks.crowd import Crowd, Visitor
from benchmarks.measure import Result, Stopwatch
from benchmarks.organisation import Founding, Person, founding
from benchmarks.server import serving
from transports.wire.schema import Id

WARM_UP_SHARE: Final = 8
"""One message in so many is sent before the clock runs: keys are derived, code is warm."""
QUIET_SECONDS: Final = 0.3
ENTERED_TOGETHER: Final = 100
"""People who come into a room before those in it are looked after."""


@dataclass(frozen=True, slots=True)
class Chat:
    """How a chatting workload looks.

    ``senders`` keep ``window`` messages in flight each, round robin over their conversations;
    ``messages`` are measured in all. In a room everybody is a member of one group; else each
    sender shares ``conversations`` with a receiver of its own.
    """

    name: str
    senders: int
    window: int
    messages: int
    conversations: int = 1
    room: int = 0


W1: Final = Chat("W1", 8, 4, 24_000)
W1_SATURATED: Final = Chat("W1-saturated", 64, 16, 64_000)
W1_WIDE: Final = Chat("W1-wide", 8, 4, 24_000, conversations=625)
W2_200: Final = Chat("W2-200", 8, 4, 1_600, room=200)
W2_1000: Final = Chat("W2-1000", 8, 4, 400, room=1_000)
W2_5000: Final = Chat("W2-5000", 8, 4, 80, room=5_000)


class Sender:
    """Somebody who keeps messages in flight; ``first`` is the number of the first of them."""

    def __init__(
        self, visitor: Visitor, conversations: Sequence[Id], messages: int, first: int = 1
    ) -> None:
        self._visitor = visitor
        chosen = (conversations[number % len(conversations)] for number in range(messages))
        frame = visitor.line.frame
        self._waiting = deque(frame(payload) for payload in frames.sends(chosen, first))
        self._sent_at: dict[int, float] = {}
        self._number = first - 1

    def send(self, count: int) -> None:
        """Queue up to ``count`` further messages."""
        now = time.perf_counter()
        for _ in range(min(count, len(self._waiting))):
            self._visitor.line.queue(self._waiting.popleft())
            self._number += 1
            self._sent_at[self._number] = now

    def acknowledged(self, number: int) -> float:
        """Return how many seconds a message took until it was durable."""
        return time.perf_counter() - self._sent_at.pop(number)

    def flush(self) -> None:
        """Send what is queued."""
        self._visitor.line.flush()


def run(chat: Chat, carrier: str, directory: Path) -> Result:
    """Found the organisation, serve it, and chat."""
    with founding(directory) as site:
        groups = _room(chat, site) if chat.room else _pairs(chat, site)
        ca_pem = site.ca_pem
    with serving(directory) as server, Crowd(server, ca_pem, carrier) as crowd:
        warm_up = max(chat.messages // WARM_UP_SHARE, 2 * chat.senders * chat.window)
        each = (chat.messages + warm_up) // chat.senders
        senders: dict[Visitor, Sender] = {}
        for people, conversations in groups:
            visitors = list(_enter(crowd, people))
            first = visitors[: chat.senders if chat.room else 1]
            senders |= {visitor: Sender(visitor, conversations, each) for visitor in first}
        crowd.settle(QUIET_SECONDS)
        watch = Stopwatch(server.pid)
        return _chat(chat, carrier, crowd, senders, watch, each)


def _enter(crowd: Crowd, people: Sequence[Person]) -> Iterator[Visitor]:
    """Bring people in; who is in already answers the server's pings meanwhile."""
    for number, person in enumerate(people, start=1):
        yield crowd.enter(person)
        if number % ENTERED_TOGETHER == 0:
            for _ in crowd.answers(0):
                pass


def _chat(
    chat: Chat,
    carrier: str,
    crowd: Crowd,
    senders: dict[Visitor, Sender],
    watch: Stopwatch,
    each: int,
) -> Result:
    """Send everything; the clock runs from the end of the warm-up to the last delivery."""
    total = each * len(senders)
    warm_up = total - chat.messages
    receivers = chat.room - 1 if chat.room else 1
    acknowledged = delivered = already = 0
    is_measured = False
    for sender in senders.values():
        sender.send(chat.window)
        sender.flush()
    while acknowledged < total or delivered < total * receivers:
        for visitor, answer in crowd.answers():
            if answer.t == "ok":
                acknowledged += 1
                sender = senders[visitor]
                watch.latencies.append(sender.acknowledged(answer.re))
                sender.send(1)
            elif answer.op is not None and answer.op.op == "message":
                delivered += answer.op.device != visitor.person.device
        crowd.acknowledge()
        if not is_measured and acknowledged >= warm_up:
            is_measured = True
            warm_up, already = acknowledged, delivered
            watch.start()
    ops = delivered - already if chat.room else total - warm_up
    return watch.stop(chat.name, carrier, ops)


def _pairs(chat: Chat, site: Founding) -> list[tuple[list[Person], list[Id]]]:
    people = site.people(2 * chat.senders)
    pairs = [people[2 * number : 2 * number + 2] for number in range(chat.senders)]
    opened = site.groups(pair for pair in pairs for _ in range(chat.conversations))
    size = chat.conversations
    return [
        (pair, opened[number * size : (number + 1) * size]) for number, pair in enumerate(pairs)
    ]


def _room(chat: Chat, site: Founding) -> list[tuple[list[Person], list[Id]]]:
    people = site.people(chat.room)
    (room,) = site.groups([people[:200]])
    site.join(people[0], room, people[200:])
    return [(people, [room])]
