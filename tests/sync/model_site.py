"""A site as the link sees it, as small as can be: a log of numbered operations, and cursors."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import trio

from store.ids import Origin, Stream
from store.shipping import Shipment
from store.skeleton import OpClass
from sync.driver import Driver, Site
from sync.errors import GapError, LinkError
from sync.pieces import NUMBERED, Cursors, Entry, Lane, Piece, Standing
from sync.session import Chapter, Effect, Ended

START_MS = 1_800_000_000_000


def shipment(seq: int, body: bytes) -> Shipment:
    """Return an operation whose envelope does not travel in columns; the link must not care."""
    return Shipment(seq, OpClass.MESSAGE, None, b"s" * 16, b"\x91\x01", body)


class ModelReplica:
    """One end, towards one peer. ``sent`` and ``got`` are what the tests compare."""

    def __init__(self, node: bytes, take_seconds: float = 0.0) -> None:
        self.origin = Origin(node, 1)
        self.sent: list[tuple[Lane, bytes]] = []
        self.got: dict[Lane, list[bytes]] = {lane: [] for lane in Lane}
        self.order: list[tuple[Lane, int]] = []
        self.cursors = dict.fromkeys(NUMBERED, 0)
        self.read_upto = dict.fromkeys(NUMBERED, 0)
        self.peer = Origin(b"", 0)
        self.past: dict[Stream, list[bytes]] = {}
        self.take_seconds = take_seconds
        self.error: Exception | None = None
        self.reads = 0

    def add(self, lane: Lane, body: bytes) -> None:
        self.sent.append((lane, body))

    def standing(self) -> Standing:
        cursors = Cursors(*(self.cursors[lane] for lane in NUMBERED))
        return Standing(self.origin, len(self.sent), bytes(32), self.peer, cursors)

    def begin(self, peer: Standing) -> None:
        self.peer = peer.origin
        known = peer.cursors if peer.peer == self.origin else Cursors()
        self.read_upto = dict(zip(NUMBERED, known, strict=True))

    def head(self, lane: Lane) -> int:
        del lane
        return len(self.sent)

    def read(self, lane: Lane, after: int, budget_bytes: int) -> Piece | None:
        """Read as real sites do: a lane never goes beyond the one that comes before it."""
        self.reads += 1
        limit = len(self.sent) if lane is Lane.CONTROL else self.read_upto[Lane(lane - 1)]
        entries: list[Entry] = []
        number = after
        while number < limit and budget_bytes > 0:
            number += 1
            each, body = self.sent[number - 1]
            if each is lane:
                entries.append(Entry(number, 0, shipment(number, body)))
                budget_bytes -= len(body) + 50
        if number == after:
            return None
        self.read_upto[lane] = max(self.read_upto[lane], number)
        return Piece(lane, after, number, (self.origin,) if entries else (), tuple(entries))

    async def take(self, piece: Piece) -> int:
        await trio.sleep(self.take_seconds)
        if self.error is not None:
            raise self.error
        if piece.lane is Lane.HISTORY:
            self.got[piece.lane] += [entry.shipment.body or b"" for entry in piece.entries]
            return piece.upto
        if piece.after > self.cursors[piece.lane]:
            raise GapError("a gap")
        for entry in piece.entries:
            if entry.number > self.cursors[piece.lane]:
                self.got[piece.lane].append(entry.shipment.body or b"")
                self.order.append((piece.lane, entry.number))
        self.cursors[piece.lane] = max(self.cursors[piece.lane], piece.upto)
        return self.cursors[piece.lane]

    def history(self, stream: Stream, before: int, limit: int, budget_bytes: int) -> Chapter | None:
        """Keys are places in ``past``, counted from 1; newest first."""
        past = self.past.get(stream)
        if past is None:
            return None
        keys = range(min(before - 1, len(past)), 0, -1)[:limit]
        chosen = [key for n, key in enumerate(keys) if n * 60 < budget_bytes]
        entries = tuple(Entry(key, 0, shipment(key, past[key - 1])) for key in reversed(chosen))
        oldest = chosen[-1] if chosen else before
        piece = Piece(Lane.HISTORY, oldest - 1, before, (self.origin,), entries)
        return Chapter(piece, oldest, oldest == 1)

    def bodies(self, lane: Lane) -> list[bytes]:
        return [body for each, body in self.sent if each is lane]


class Ends:
    """A site around a replica, and what the link told it."""

    def __init__(
        self, node: bytes, replica: Callable[[bytes], ModelReplica], seed: int = 0
    ) -> None:
        self.effects: list[Effect] = []
        self.driver: Driver | None = None
        self.missed: list[LinkError] = []
        random = Random(seed).randbytes
        self.site = Site(
            node, replica, self._handle, _unix_ms, random, "model 1", self.missed.append
        )

    def _handle(self, driver: Driver, effect: Effect) -> None:
        self.driver = driver
        self.effects.append(effect)

    def count(self, kind: type[Effect]) -> int:
        return sum(isinstance(effect, kind) for effect in self.effects)

    def errors(self) -> list[str]:
        return [effect.error.code for effect in self.effects if isinstance(effect, Ended)]


def _unix_ms() -> int:
    return START_MS + int(trio.current_time() * 1000)
