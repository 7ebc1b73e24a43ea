"""Hold the transaction overlay to a plain model."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from store.engine.contract import MAX_KEY_BYTES, MAX_VALUE_BYTES
from store.engine.memory import MemoryEngine, MemorySnapshot
from store.engine.txn import Txn
from store.errors import LimitError

ROWS = {b"\x10a": b"1", b"\x10b": b"2", b"\x10c": b"3"}


@pytest.fixture
def snapshot() -> Iterator[MemorySnapshot]:
    engine = MemoryEngine()
    engine.batch(ROWS, engine.acquire())
    with engine.snapshot() as snapshot:
        yield snapshot


def test_a_command_reads_what_it_wrote(snapshot: MemorySnapshot) -> None:
    txn = Txn(snapshot)
    txn.put(b"\x10b", b"22")
    txn.put(b"\x10d", b"4")
    txn.delete(b"\x10a")
    assert (txn.get(b"\x10a"), txn.get(b"\x10b"), txn.get(b"\x10c")) == (None, b"22", b"3")
    assert list(txn.range(b"\x10", b"\x11")) == [
        (b"\x10b", b"22"),
        (b"\x10c", b"3"),
        (b"\x10d", b"4"),
    ]
    assert dict(txn.writes) == {b"\x10b": b"22", b"\x10d": b"4", b"\x10a": None}


def test_writing_while_a_range_is_read_is_not_seen_by_it(snapshot: MemorySnapshot) -> None:
    txn = Txn(snapshot)
    txn.put(b"\x10bb", b"x")
    seen = []
    for key, _ in txn.range(b"\x10", b"\x11"):
        seen.append(key)
        txn.delete(key)
        txn.put(key + b"later", b"")
    assert seen == [b"\x10a", b"\x10b", b"\x10bb", b"\x10c"]
    left = [key for key, _ in txn.range(b"\x10", b"\x11")]
    assert left == sorted(key + b"later" for key in seen)


def test_a_limited_range_reads_no_further(snapshot: MemorySnapshot) -> None:
    class Counting:
        pulled = 0

        def get(self, key: bytes) -> bytes | None:
            return snapshot.get(key)

        def range(
            self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
        ) -> Iterator[tuple[bytes, bytes]]:
            for pair in snapshot.range(start, end, reverse=reverse, limit=limit):
                Counting.pulled += 1
                yield pair

    txn = Txn(Counting())
    txn.put(b"\x10aa", b"x")
    assert len(list(txn.range(b"\x10", b"\x11", limit=1))) == 1
    assert Counting.pulled <= 2


def test_memory_and_rows_go_back_together_newest_first(snapshot: MemorySnapshot) -> None:
    txn = Txn(snapshot)
    undone: list[tuple[str, bytes | None]] = []
    txn.on_rollback(lambda: undone.append(("first", txn.get(b"\x10a"))))
    txn.put(b"\x10a", b"x")
    mark = txn.savepoint()
    txn.on_rollback(lambda: undone.append(("second", txn.get(b"\x10a"))))
    txn.put(b"\x10a", b"y")
    txn.on_rollback(lambda: undone.append(("third", txn.get(b"\x10a"))))
    txn.rollback(mark)
    assert undone == [("third", b"y"), ("second", b"x")]
    txn.rollback(0)
    assert undone[2:] == [("first", b"1")]
    assert dict(txn.writes) == {}
    assert txn.bytes_written == 0


def test_a_savepoint_that_is_gone_is_refused(snapshot: MemorySnapshot) -> None:
    txn = Txn(snapshot)
    txn.put(b"\x10a", b"x")
    mark = txn.savepoint()
    txn.rollback(0)
    for wrong in (mark, -1):
        with pytest.raises(ValueError, match="savepoint"):
            txn.rollback(wrong)


def test_what_is_kept_is_not_undone_and_holds_nothing(snapshot: MemorySnapshot) -> None:
    txn = Txn(snapshot)
    undone: list[str] = []
    mark = txn.savepoint()
    txn.put(b"\x10a", b"x")
    txn.on_rollback(lambda: undone.append("kept"))
    txn.keep()
    txn.put(b"\x10a", b"y")
    txn.on_rollback(lambda: undone.append("later"))
    txn.rollback(mark)
    assert undone == ["later"]
    assert dict(txn.writes) == {b"\x10a": b"x"}
    assert txn.bytes_written == 3


def test_rows_beyond_the_limits_are_refused_and_leave_nothing(snapshot: MemorySnapshot) -> None:
    txn = Txn(snapshot)
    for key, value in (
        (b"", b""),
        (bytes(MAX_KEY_BYTES + 1), b""),
        (b"\x10", bytes(MAX_VALUE_BYTES + 1)),
    ):
        with pytest.raises(LimitError):
            txn.put(key, value)
    with pytest.raises(LimitError):
        txn.delete(b"")
    assert dict(txn.writes) == {}
    txn.put(bytes(MAX_KEY_BYTES), bytes(MAX_VALUE_BYTES))
    assert txn.bytes_written == MAX_KEY_BYTES + MAX_VALUE_BYTES


def test_reserved_bytes_count_until_given_back_or_rolled_back(snapshot: MemorySnapshot) -> None:
    txn = Txn(snapshot)
    txn.put(b"\x10", b"1")
    mark = txn.savepoint()
    txn.reserve(1_000)
    assert txn.bytes_written == 1_002
    assert dict(txn.writes) == {b"\x10": b"1"}
    txn.reserve(-400)
    assert txn.bytes_written == 602
    txn.rollback(mark)
    assert txn.bytes_written == 2


KEYS = st.sampled_from([b"\x10" + bytes((letter,)) for letter in b"abcdefgh"])


class TxnMachine(RuleBasedStateMachine):
    """Compare a transaction with a dict that is copied at each savepoint."""

    @initialize(base=st.dictionaries(KEYS, st.binary(max_size=2)))
    def open(self, base: dict[bytes, bytes]) -> None:
        engine = MemoryEngine()
        engine.batch(base, engine.acquire())
        self.txn = Txn(engine.snapshot())
        self.model: dict[bytes, bytes | None] = dict(base)
        self.writes: dict[bytes, bytes | None] = {}
        self.counter = 0
        self.marks: list[tuple[int, dict[bytes, bytes | None], dict[bytes, bytes | None], int]] = []

    @rule(key=KEYS, value=st.binary(max_size=5))
    def put(self, key: bytes, value: bytes) -> None:
        self.txn.put(key, value)
        self.model[key] = self.writes[key] = value

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        self.txn.delete(key)
        self.model[key] = self.writes[key] = None

    @rule()
    def change_memory(self) -> None:
        old, self.counter = self.counter, self.counter + 1
        self.txn.on_rollback(lambda: setattr(self, "counter", old))

    @rule()
    def mark(self) -> None:
        state = copy.copy(self.model), copy.copy(self.writes), self.counter
        self.marks.append((self.txn.savepoint(), *state))

    @precondition(lambda self: self.marks)
    @rule(number=st.integers(0, 20))
    def roll_back(self, number: int) -> None:
        number %= len(self.marks)
        mark, self.model, self.writes, counter = self.marks[number]
        self.model, self.writes = dict(self.model), dict(self.writes)
        del self.marks[number + 1 :]
        self.txn.rollback(mark)
        assert self.counter == counter

    @rule(
        start=KEYS,
        end=KEYS | st.just(b"\x11"),
        reverse=st.booleans(),
        limit=st.none() | st.integers(0, 5),
    )
    def read(self, start: bytes, end: bytes, reverse: bool, limit: int | None) -> None:
        pairs = sorted(
            (
                (key, value)
                for key, value in self.model.items()
                if value is not None and start <= key < end
            ),
            reverse=reverse,
        )
        found = list(self.txn.range(start, end, reverse=reverse, limit=limit))
        assert found == pairs[:limit]
        assert self.txn.get(start) == self.model.get(start)

    @invariant()
    def the_writes_are_right(self) -> None:
        assert dict(self.txn.writes) == self.writes
        size = sum(len(key) + len(value or b"") for key, value in self.writes.items())
        assert self.txn.bytes_written == size


TxnMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40)

TestTxnMachine = TxnMachine.TestCase
