"""traffic: bytes on the wire for a message and for an idle hour, in active and background mode.

Counted at the client's socket, with the headers of TCP or UDP and IP: for TCP as the system's own
counters tell, for QUIC datagram by datagram. All idle connections are idle at the same time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from benchmarks import frames
from benchmarks.crowd import Crowd, Visitor
from benchmarks.lines import Wire
from benchmarks.measure import Result, Stopwatch
from benchmarks.organisation import BODY, founding
from benchmarks.server import serving
from transports.wire.schema import Id

MESSAGES: Final = 200
IDLE_VARIABLE: Final = "STRONGROOM_BENCH_IDLE_SECONDS"
IDLE_SECONDS: Final = 1_440.0
"""How long connections are idle: six keep-alives in background mode, 32 in active mode."""
HOUR_SECONDS: Final = 3_600.0
HELD_SECONDS: Final = 25.0
"""Longer than events are held back in background mode."""
QUIET_SECONDS: Final = 1.5
"""Silence after which everything has arrived, a client's word of what it received included."""
APART_SECONDS: Final = 2.0
"""Packets that follow sooner are of the same waking-up of a radio."""


def run(carrier: str, directory: Path) -> Result:
    """Say some messages one by one, then be idle."""
    seconds = float(os.environ.get(IDLE_VARIABLE, IDLE_SECONDS))
    with founding(directory) as site:
        people = site.people(6)
        opened = site.direct(zip(people[:4:2], people[1:4:2], strict=True))
        ca_pem = site.ca_pem
    with serving(directory) as server, Crowd(server, ca_pem, carrier) as crowd:
        author, reader, second, sleeper, active, background = map(crowd.enter, people)
        watch = Stopwatch(server.pid)
        watch.start()
        details: dict[str, float | str] = {"body_bytes": len(BODY.text)}
        spent = _talk(crowd, (author, reader), opened[0], watch.latencies)
        details |= _per_message("sender", spent[0]) | _per_message("receiver", spent[1])
        _sleep(crowd, sleeper)
        spent = _talk(crowd, (second, sleeper), opened[1], [], HELD_SECONDS)
        details |= _per_message("background_receiver", spent[1])
        for visitor in (author, reader, second, sleeper):
            crowd.leave(visitor)
        _sleep(crowd, background)
        for name, (wire, wakings) in _idle(crowd, active, background, seconds).items():
            hours = seconds / HOUR_SECONDS
            total = wire.sent_bytes + wire.received_bytes
            details[f"{name}_idle_hour_bytes"] = round(total / hours)
            details[f"{name}_idle_hour_wakings"] = round(wakings / hours, 1)
        return watch.stop("traffic", carrier, MESSAGES, **details, idle_seconds=seconds)


def _sleep(crowd: Crowd, visitor: Visitor) -> None:
    visitor.ask(frames.mode("background"))
    visitor.line.flush()
    crowd.settle(QUIET_SECONDS)


def _talk(
    crowd: Crowd,
    pair: tuple[Visitor, Visitor],
    conversation: Id,
    latencies: list[float],
    held_seconds: float = 0.0,
) -> list[Wire]:
    """Let the first of a pair say something, one at a time; return what both have spent.

    The other one says after each that it has it, as when minutes lie between them.
    """
    crowd.settle(QUIET_SECONDS)
    before = [visitor.line.wire() for visitor in pair]
    delivered = 0
    for payload in frames.sends([conversation] * MESSAGES):
        pair[0].ask(payload)
        pair[0].line.flush()
        began, is_acknowledged = time.perf_counter(), False
        while not is_acknowledged or (not held_seconds and delivered < len(latencies) + 1):
            for visitor, answer in crowd.answers():
                is_acknowledged |= answer.t == "ok"
                delivered += _is_message(answer) and visitor is pair[1]
        latencies.append(time.perf_counter() - began)
        crowd.acknowledge(at_once=True)
    until = time.monotonic() + held_seconds
    while time.monotonic() < until or delivered < MESSAGES:
        for visitor, answer in crowd.answers():
            delivered += _is_message(answer) and visitor is pair[1]
    crowd.acknowledge(at_once=True)
    crowd.settle(QUIET_SECONDS)
    return [visitor.line.wire().since(then) for visitor, then in zip(pair, before, strict=True)]


def _is_message(answer: frames.Answer) -> bool:
    return answer.op is not None and answer.op.op == "message"


def _per_message(name: str, wire: Wire) -> dict[str, float | str]:
    return {
        f"{name}_bytes_up": round(wire.sent_bytes / MESSAGES, 1),
        f"{name}_bytes_down": round(wire.received_bytes / MESSAGES, 1),
        f"{name}_packets": round((wire.sent_packets + wire.received_packets) / MESSAGES, 2),
    }


def _idle(
    crowd: Crowd, active: Visitor, background: Visitor, seconds: float
) -> dict[str, tuple[Wire, int]]:
    """Be idle; return for both modes what travelled, and how often a radio was woken by it."""
    crowd.settle(QUIET_SECONDS)
    visitors = {"active": active, "background": background}
    before = {name: visitor.line.wire() for name, visitor in visitors.items()}
    last = dict(before)
    quiet_since = dict.fromkeys(visitors, float("-inf"))
    wakings = dict.fromkeys(visitors, 0)
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        crowd.turn()
        for name, visitor in visitors.items():
            wire = visitor.line.wire()
            if wire != last[name]:
                wakings[name] += now - quiet_since[name] > APART_SECONDS
                last[name], quiet_since[name] = wire, now
    return {
        name: (visitor.line.wire().since(before[name]), wakings[name])
        for name, visitor in visitors.items()
    }
