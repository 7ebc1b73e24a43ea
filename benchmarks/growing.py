"""growth: what a message costs with 5 million stored, against 10 thousand, measured in turns."""

from __future__ import annotations

import os
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from benchmarks.chatting import W1, Sender
from benchmarks.crowd import Crowd
from benchmarks.measure import Result, Stopwatch
from benchmarks.organisation import BODY, Founding, Person, founding
from benchmarks.server import Server, serving
from transports.wire import schema
from transports.wire.schema import Id

MESSAGES: Final = "STRONGROOM_BENCH_MESSAGES"
"""Variable: how many messages the large organisation has stored, unless 5 million."""
LARGE: Final = 5_000_000
SMALL: Final = 10_000
CONVERSATIONS: Final = 500
"""Over which the stored messages are spread, those of the chatting pairs among them."""
ROUNDS: Final = 9
"""After one that is not counted."""
ROUND_MESSAGES: Final = 4_000
QUIET_SECONDS: Final = 0.5


class Organisation:
    """One server with so many messages stored, and W1's pairs connected to it."""

    def __init__(self, directory: Path, stored: int, carrier: str, stack: ExitStack) -> None:
        directory.mkdir()
        self._carrier = carrier
        with founding(directory) as site:
            people = site.people(2 * CONVERSATIONS)
            self._opened = site.direct(zip(people[::2], people[1::2], strict=True))
            self._said = _store(site, people[::2], self._opened, stored)
            ca_pem = site.ca_pem
        server: Server = stack.enter_context(serving(directory))
        self._crowd = stack.enter_context(Crowd(server, ca_pem, carrier))
        pairs = [
            (self._crowd.enter(people[2 * number]), self._crowd.enter(people[2 * number + 1]))
            for number in range(W1.senders)
        ]
        self._authors = [author for author, _ in pairs]
        self._crowd.settle(QUIET_SECONDS)
        self._watch = Stopwatch(server.pid)

    def round(self) -> Result:
        """Chat for one round, each pair in its own conversation."""
        each = ROUND_MESSAGES // W1.senders
        senders = {
            visitor: Sender(visitor, [conversation], each, 1 + self._said)
            for visitor, conversation in zip(self._authors, self._opened, strict=False)
        }
        self._said += each
        self._watch.start()
        acknowledged = delivered = 0
        for sender in senders.values():
            sender.send(W1.window)
            sender.flush()
        while acknowledged < ROUND_MESSAGES or delivered < ROUND_MESSAGES:
            for visitor, answer in self._crowd.answers():
                if answer.t == "ok":
                    acknowledged += 1
                    sender = senders[visitor]
                    self._watch.latencies.append(sender.acknowledged(answer.re))
                    sender.send(1)
                elif answer.op is not None and answer.op.op == "message":
                    delivered += answer.op.device != visitor.person.device
            self._crowd.acknowledge()
        return self._watch.stop("growth", self._carrier, ROUND_MESSAGES)


def _store(site: Founding, authors: list[Person], opened: list[Id], stored: int) -> int:
    """Store messages in all conversations in turns, as the years do; return how many in each."""
    each = stored // len(opened)
    for number in range(1, 1 + each):
        site.run(
            (author.actor, schema.Send(1, number, BODY, conversation))
            for author, conversation in zip(authors, opened, strict=True)
        )
    return each


def run(carrier: str, directory: Path) -> Result:
    """Chat with both in turns; the ratio is the median of the rounds' ratios."""
    stored = int(os.environ.get(MESSAGES, LARGE))
    with ExitStack() as stack:
        large = Organisation(directory / "large", stored, carrier, stack)
        small = Organisation(directory / "small", SMALL, carrier, stack)
        rounds = [(large.round(), small.round()) for _ in range(1 + ROUNDS)][1:]
    ratios = [one.server_cpu_us_per_op / other.server_cpu_us_per_op for one, other in rounds]
    by_cost = sorted((one for one, _ in rounds), key=lambda each: each.server_cpu_us_per_op)
    middle = by_cost[ROUNDS // 2]
    figures = {
        "messages_stored": stored,
        "messages_stored_small": SMALL,
        "small_cpu_us_per_op": statistics.median(each.server_cpu_us_per_op for _, each in rounds),
        "ratio": round(statistics.median(ratios), 3),
    }
    return replace(middle, ops=ROUNDS * ROUND_MESSAGES, details=middle.details | figures)
