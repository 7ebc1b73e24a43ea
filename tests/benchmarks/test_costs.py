"""The hot paths cost what they did, on any machine however busy; work done twice is noticed.

Bounds are multiples of a reference loop that runs in turns with the path, not times: half as much
again as was measured when they were written. Whoever makes a path cheaper lowers its bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from appliance.context import Actor, Outcome
from appliance.core import Core
from appliance.gateway.client import Shared
from appliance.messaging import timeline
from store.engine.txn import Txn
from store.vault import Vault
from tests.benchmarks.hot_paths import (
    EVENTS,
    MESSAGES,
    PAGES,
    RECEIVERS,
    Office,
    Room,
    cost,
    pump_cost,
)
from transports import websocket
from transports.wire.codec import Codec

ATTEMPTS: Final = 3
"""A path is too dear when it is so in each of them."""


def deciding() -> float:
    """Decide, seal, append and commit in memory; for each message."""
    return cost(Office().say, MESSAGES)


def sealing() -> float:
    """Seal 200 bytes under a key of their own."""
    return cost(Office().seal, MESSAGES)


def opening() -> float:
    """Read a page of history; for each message of it."""
    office = Office()
    for _ in range(2):
        office.say()
    return cost(office.read, 50 * PAGES)


def telling() -> float:
    """Render an event, encode it, hand it to everybody in a room; for each delivery."""
    return cost(Room().tell, EVENTS * RECEIVERS)


BOUNDS: Final[dict[Callable[[], float], float]] = {
    deciding: 180.0,
    sealing: 17.0,
    opening: 53.0,
    telling: 1.55,
    pump_cost: 9.0,
}
"""In thousandths of the reference loop, by the path."""


def is_within(path: Callable[[], float]) -> bool:
    """Tell whether a path keeps its bound."""
    return any(path() <= BOUNDS[path] for _ in range(ATTEMPTS))


@pytest.mark.parametrize("path", BOUNDS)
def test_a_hot_path_costs_no_more_than_it_did(path: Callable[[], float]) -> None:
    assert is_within(path)


def decide_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = Core.decide

    def twice(self: Core, txn: Txn, actor: Actor, command: Any, now_ms: int) -> Outcome:
        mark = txn.savepoint()
        decide(self, txn, actor, command, now_ms)
        txn.rollback(mark)
        return decide(self, txn, actor, command, now_ms)

    monkeypatch.setattr(Core, "decide", twice)


def seal_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = Vault.seal

    def twice(self: Vault, *arguments: Any) -> Any:
        seal(self, *arguments)
        return seal(self, *arguments)

    monkeypatch.setattr(Vault, "seal", twice)


def open_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    item = timeline._item

    def twice(*arguments: Any) -> Any:
        item(*arguments)
        return item(*arguments)

    monkeypatch.setattr(timeline, "_item", twice)


def encode_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def encoded(self: Shared, codec: Codec) -> bytes:
        return codec.encode(self.frame)

    monkeypatch.setattr(Shared, "encoded", encoded)


def unmask_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def mask(data: bytes, key: bytes) -> bytes:
        return bytes(byte ^ key[index % 4] for index, byte in enumerate(data))

    monkeypatch.setattr(websocket, "apply_mask", mask)


@pytest.mark.parametrize(
    ("path", "spoil"),
    [
        (deciding, decide_twice),
        (sealing, seal_twice),
        (opening, open_twice),
        (telling, encode_for_each),
        (pump_cost, unmask_in_a_loop),
    ],
)
def test_a_path_that_does_too_much_is_noticed(
    path: Callable[[], float],
    spoil: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil(monkeypatch)
    assert not is_within(path)
