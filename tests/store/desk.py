"""A writer over a spied engine, with commands that say themselves what they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from store.clocks import ManualClock
from store.engine.contract import MAX_VALUE_BYTES, Engine, EngineStats, Snapshot
from store.engine.memory import MemoryEngine
from store.engine.txn import Txn
from store.writer import Completion, RootSwitch, Writer

WAIT_SECONDS = 30

Command = Callable[[Txn], object]


def decide(txn: Txn, actor: str, command: Command, now_ms: int) -> object:
    """Let each command say itself what it does."""
    return command(txn)


def put(key: str, value: str = "1") -> Command:
    def command(txn: Txn) -> object:
        txn.put(key.encode(), value.encode())
        return key

    return command


def read(key: str) -> Command:
    return lambda txn: txn.get(key.encode())


def put_then_fail(key: str) -> Command:
    def command(txn: Txn) -> object:
        txn.put(key.encode(), b"never")
        raise KeyError(key)

    return command


def put_bytes(key: str, size: int) -> Command:
    def command(txn: Txn) -> object:
        for number in range(size // MAX_VALUE_BYTES):
            txn.put(b"%s.%d" % (key.encode(), number), bytes(MAX_VALUE_BYTES))
        return key

    return command


@dataclass
class Spy:
    """An engine that notes each batch, and can be told to fail, around a real one."""

    engine: Engine
    events: list[Any] = field(default_factory=list)
    error: Exception | None = None
    gate: Event | None = None
    entered: Event = field(default_factory=Event)
    urgent: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.max_batch_bytes = self.engine.max_batch_bytes

    def acquire(self) -> int:
        return self.engine.acquire()

    def snapshot(self) -> Snapshot:
        return self.engine.snapshot()

    def batch(
        self, writes: Mapping[bytes, bytes | None], token: int, *, urgent: bool = False
    ) -> None:
        if self.gate is not None:
            self.entered.set()
            assert self.gate.wait(WAIT_SECONDS)
        if self.error is not None:
            raise self.error
        self.engine.batch(writes, token, urgent=urgent)
        self.urgent.append(urgent)
        self.events.append(set(writes))

    def settle(self) -> None:
        self.engine.settle()

    def copy(self, path: Path) -> None:
        self.engine.copy(path)

    def stats(self) -> EngineStats:
        return self.engine.stats()

    def close(self) -> None:
        self.engine.close()


class Desk:
    """A writer over a spied engine, and what came out of it."""

    def __init__(
        self,
        engine: Engine | None = None,
        before_commit: Callable[[Txn, int], None] | None = None,
        begin_switch: Callable[[Txn], RootSwitch | None] | None = None,
        decide: Callable[[Txn, str, Command, int], object] = decide,
    ) -> None:
        self.spy = Spy(engine or MemoryEngine())
        self.clock = ManualClock(wall_ms=1000)
        self.batches: list[list[Completion[object]]] = []
        self.failures: list[BaseException] = []
        self.delivered = Event()
        self.writer: Writer[str, Command, object] = Writer(
            self.spy,
            decide,
            self.clock,
            self.deliver,
            before_commit=before_commit,
            begin_switch=begin_switch,
            failed=self.failures.append,
        )

    def deliver(self, completions: list[Completion[object]]) -> None:
        self.batches.append(completions)
        self.spy.events += [completion.context for completion in completions]
        self.delivered.set()

    def submit(self, **commands: Command) -> None:
        for context, command in commands.items():
            self.writer.submit("alice", command, context)

    def run(self, **commands: Command) -> list[Completion[object]]:
        """Submit, run one batch inline, and return what it delivered."""
        self.submit(**commands)
        assert self.writer.run_pending() > 0
        return self.batches[-1]

    def rows(self) -> dict[bytes, bytes]:
        with self.spy.snapshot() as snapshot:
            return dict(snapshot.range(b"\x10", b"\xff"))

    def completions(self) -> list[Completion[object]]:
        return [completion for batch in self.batches for completion in batch]
