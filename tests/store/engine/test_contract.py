"""Hold both engines to the one contract."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from store.engine.contract import MAX_KEY_BYTES, MAX_VALUE_BYTES, Engine, Snapshot
from store.engine.fencing import ordinary_bytes
from store.engine.lmdb import LmdbEngine
from store.engine.memory import Medium, MemoryEngine
from store.errors import EngineError, EngineFullError, FencedError, LimitError

MAP_BYTES = 64 << 20
ROOM = b"\x10"
END = b"\x11"

Model = dict[bytes, bytes]


class Place:
    """Where an engine lives: opens it, and opens it again."""

    def __init__(self, engine_kind: str, directory: Path) -> None:
        self.medium = Medium(capacity_bytes=MAP_BYTES)
        self._kind = engine_kind
        self._directory = directory / "data"
        self.engine = self._open()

    def _open(self) -> Engine:
        if self._kind == "lmdb":
            return LmdbEngine(self._directory, map_bytes=MAP_BYTES)
        return MemoryEngine(self.medium)

    def reopen(self) -> Engine:
        self.engine.close()
        self.engine = self._open()
        return self.engine

    def copied_to(self, path: Path) -> Engine:
        """Open a copy that the engine was told to make."""
        if self._kind == "lmdb":
            return LmdbEngine(path, readonly=True, is_still=True)
        return MemoryEngine(self.medium.copies[path])

    def crash(self, rng: Random) -> Engine:
        """Lose the process, and on the simulated medium the power; nothing was in flight."""
        self.medium.crash(rng)
        return self.reopen()


@pytest.fixture(params=["lmdb", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = Place(request.param, tmp_path)
    yield place
    place.engine.close()


def rows(snapshot: Snapshot) -> Model:
    return dict(snapshot.range(ROOM, END))


def expected_range(
    model: Mapping[bytes, bytes], start: bytes, end: bytes, *, reverse: bool, limit: int | None
) -> list[tuple[bytes, bytes]]:
    keys = sorted((key for key in model if start <= key < end), reverse=reverse)
    return [(key, model[key]) for key in keys[:limit]]


def test_a_snapshot_keeps_what_it_saw(place: Place) -> None:
    engine = place.engine
    token = engine.acquire()
    engine.batch({b"\x10a": b"1", b"\x10b": b"2"}, token)
    with engine.snapshot() as before:
        engine.batch({b"\x10a": None, b"\x10b": b"3", b"\x10c": b"4"}, token)
        assert before.get(b"\x10a") == b"1"
        assert before.get(b"\x10c") is None
        assert rows(before) == {b"\x10a": b"1", b"\x10b": b"2"}
        with engine.snapshot() as after:
            assert rows(after) == {b"\x10b": b"3", b"\x10c": b"4"}


def test_a_range_goes_on_unchanged_while_a_batch_is_applied(place: Place) -> None:
    engine = place.engine
    token = engine.acquire()
    old = {b"\x10%04d" % number: b"old" for number in range(300)}
    engine.batch(old, token)
    for reverse in (False, True):
        with engine.snapshot() as snapshot:
            pairs = snapshot.range(ROOM, END, reverse=reverse)
            seen = [next(pairs) for _ in range(10)]
            engine.batch(dict.fromkeys(list(old)[::2]) | {b"\x10new": b"new"}, token)
            seen += pairs
        assert seen == sorted(old.items(), reverse=reverse)
        engine.batch(old | {b"\x10new": None}, token)


def test_no_key_is_skipped_among_close_neighbours(place: Place) -> None:
    neighbours = {ROOM + bytes(count): b"%d" % count for count in range(200)}
    place.engine.batch(neighbours, place.engine.acquire())
    with place.engine.snapshot() as snapshot:
        assert list(snapshot.range(ROOM, END)) == sorted(neighbours.items())
        descending = list(snapshot.range(ROOM, END, reverse=True))
    assert descending == sorted(neighbours.items(), reverse=True)


def test_repeating_a_batch_changes_nothing(place: Place) -> None:
    token = place.engine.acquire()
    writes = {b"\x10a": b"1", b"\x10b": None}
    place.engine.batch(writes, token)
    place.engine.batch(writes, token)
    with place.engine.snapshot() as snapshot:
        assert rows(snapshot) == {b"\x10a": b"1"}


def test_a_closed_snapshot_reads_no_more(place: Place) -> None:
    token = place.engine.acquire()
    place.engine.batch({b"\x10%d" % number: b"" for number in range(200)}, token)
    snapshot = place.engine.snapshot()
    pairs = snapshot.range(ROOM, END)
    next(pairs)
    snapshot.close()
    snapshot.close()
    with pytest.raises(EngineError):
        snapshot.get(b"\x10a")
    with pytest.raises(EngineError):
        list(pairs)
    with pytest.raises(EngineError):
        list(snapshot.range(ROOM, END, reverse=True))


def test_a_closed_engine_does_nothing_more(place: Place) -> None:
    engine = place.engine
    token = engine.acquire()
    snapshot = engine.snapshot()
    engine.close()
    engine.close()
    with pytest.raises(EngineError):
        snapshot.get(b"\x10a")
    with pytest.raises(EngineError):
        engine.snapshot()
    with pytest.raises(EngineError):
        engine.batch({b"\x10a": b"1"}, token)
    with pytest.raises(EngineError):
        engine.settle()
    with pytest.raises(EngineError):
        engine.acquire()
    with pytest.raises(EngineError):
        engine.stats()


def test_tokens_grow_over_restarts_and_fence_older_ones(place: Place) -> None:
    first = place.engine.acquire()
    second = place.engine.acquire()
    third = place.reopen().acquire()
    assert 0 < first < second < third
    for stale in (0, -1, first, second, third + 1):
        with pytest.raises(FencedError):
            place.engine.batch({b"\x10a": b"1"}, stale)
    with place.engine.snapshot() as snapshot:
        assert snapshot.get(b"\x10a") is None
    place.engine.batch({b"\x10a": b"1"}, third)


def test_only_the_writer_settles(place: Place) -> None:
    with pytest.raises(FencedError):
        place.engine.settle()
    place.engine.acquire()
    place.engine.settle()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", b""),
        (b"\x10" * (MAX_KEY_BYTES + 1), b""),
        (b"\x10" * (MAX_KEY_BYTES + 1), None),
        (b"\x10", bytes(MAX_VALUE_BYTES + 1)),
    ],
)
def test_a_row_beyond_the_limits_is_refused(place: Place, key: bytes, value: bytes | None) -> None:
    token = place.engine.acquire()
    with pytest.raises(LimitError):
        place.engine.batch({b"\x10other": b"1", key: value}, token)
    with place.engine.snapshot() as snapshot:
        assert rows(snapshot) == {}


def test_rows_at_the_limits_are_kept(place: Place) -> None:
    token = place.engine.acquire()
    longest = b"\x10" * MAX_KEY_BYTES
    writes = {longest: bytes(MAX_VALUE_BYTES), b"\x10": b""}
    place.engine.batch(writes, token)
    with place.engine.snapshot() as snapshot:
        assert rows(snapshot) == writes


def test_a_batch_beyond_the_limit_is_refused(place: Place) -> None:
    token = place.engine.acquire()
    value = bytes(MAX_VALUE_BYTES)
    count = place.engine.max_batch_bytes // MAX_VALUE_BYTES + 1
    with pytest.raises(LimitError):
        place.engine.batch({b"\x10%05d" % number: value for number in range(count)}, token)


def test_a_full_store_refuses_the_batch_and_lives_on(tmp_path: Path) -> None:
    small = 1 << 20
    for engine in (
        LmdbEngine(tmp_path / "data", map_bytes=small),
        MemoryEngine(Medium(capacity_bytes=small)),
    ):
        token = engine.acquire()
        engine.batch({b"\x10a": b"1"}, token)
        too_much = {b"\x10b%d" % number: bytes(MAX_VALUE_BYTES) for number in range(20)}
        with pytest.raises(EngineFullError):
            engine.batch({**too_much, b"\x10a": None}, token)
        engine.batch({b"\x10c": b"3"}, token)
        with engine.snapshot() as snapshot:
            assert rows(snapshot) == {b"\x10a": b"1", b"\x10c": b"3"}
        engine.close()


def fill(engine: Engine, token: int) -> int:
    """Write until ordinary batches are refused; return how many rows went in."""
    for number in range(1_000):
        try:
            engine.batch({b"\x10%04d" % number: bytes(MAX_VALUE_BYTES)}, token)
        except EngineFullError:
            return number
    raise AssertionError("nothing was refused")


def test_a_reserve_is_left_to_urgent_batches(place: Place) -> None:
    token = place.engine.acquire()
    count = fill(place.engine, token)
    stats = place.engine.stats()
    reserve = MAP_BYTES - ordinary_bytes(MAP_BYTES)
    left = stats.capacity_bytes - stats.used_bytes
    assert reserve - 2 * MAX_VALUE_BYTES < left < reserve + 2 * MAX_VALUE_BYTES
    place.engine.batch({b"\x10urgent": bytes(MAX_VALUE_BYTES)}, token, urgent=True)
    for write in (bytes(MAX_VALUE_BYTES), b"", None):
        with pytest.raises(EngineFullError):
            place.engine.batch({b"\x10more": write, b"\x10else": write}, token)
    place.engine.batch({}, token)
    place.engine.settle()
    with place.engine.snapshot() as snapshot:
        assert snapshot.get(b"\x10urgent") == bytes(MAX_VALUE_BYTES)
        assert snapshot.get(b"\x10more") is None
    most = {b"\x10%04d" % number: None for number in range(count // 2)}
    place.engine.batch(most, token, urgent=True)
    place.engine.batch({b"\x10more": b"1"}, token)


def test_a_reserve_has_an_end(place: Place) -> None:
    token = place.engine.acquire()
    fill(place.engine, token)
    rows = {b"\x10u%04d" % number: bytes(MAX_VALUE_BYTES) for number in range(120)}
    with pytest.raises(EngineFullError):
        place.engine.batch(rows, token, urgent=True)


def test_a_copy_holds_one_commit_and_is_a_store_of_its_own(place: Place, tmp_path: Path) -> None:
    token = place.engine.acquire()
    old = {b"\x10%d" % number: bytes(1_000) for number in range(200)}
    place.engine.batch(old, token)
    place.engine.copy(tmp_path / "copy")
    place.engine.batch({b"\x10new": b"1"}, token)
    copy = place.copied_to(tmp_path / "copy")
    with copy.snapshot() as snapshot:
        assert rows(snapshot) == old
    copy.close()
    with place.engine.snapshot() as snapshot:
        assert rows(snapshot) == old | {b"\x10new": b"1"}


def test_a_copy_is_never_made_over_another(place: Place, tmp_path: Path) -> None:
    place.engine.acquire()
    place.engine.copy(tmp_path / "copy")
    with pytest.raises(EngineError):
        place.engine.copy(tmp_path / "copy")


def test_stats_follow_what_is_stored(place: Place) -> None:
    token = place.engine.acquire()
    empty = place.engine.stats()
    many = {b"\x10%d" % number: bytes(MAX_VALUE_BYTES) for number in range(10)}
    place.engine.batch(many, token)
    full = place.engine.stats()
    assert full.used_bytes - empty.used_bytes >= 10 * MAX_VALUE_BYTES
    assert full.capacity_bytes == empty.capacity_bytes > full.used_bytes
    place.engine.batch(dict.fromkeys(many), token)
    assert place.engine.stats().used_bytes <= empty.used_bytes + 4096


KEYS = st.binary(max_size=3).map(lambda tail: ROOM + tail) | st.sampled_from(
    [ROOM + bytes((letter,)) for letter in b"abc\x00\xff"]
)
VALUES = st.none() | st.binary(max_size=40) | st.just(bytes(5000))


class EngineMachine(RuleBasedStateMachine):
    """Compare an engine with a dict, over batches, snapshots, restarts and crashes."""

    engine_kind: str

    @initialize()
    def open(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.place = Place(self.engine_kind, Path(self.directory.name))
        self.token = self.place.engine.acquire()
        self.model: Model = {}
        self.views: list[tuple[Snapshot, Model]] = []

    @rule(writes=st.dictionaries(KEYS, VALUES, max_size=8))
    def batch(self, writes: dict[bytes, bytes | None]) -> None:
        self.place.engine.batch(writes, self.token)
        self.model = {
            key: value for key, value in (self.model | writes).items() if value is not None
        }

    @precondition(lambda self: len(self.views) < 4)
    @rule()
    def look(self) -> None:
        self.views.append((self.place.engine.snapshot(), dict(self.model)))

    @precondition(lambda self: self.views)
    @rule(number=st.integers(0, 3))
    def close_a_view(self, number: int) -> None:
        view, _ = self.views.pop(number % len(self.views))
        view.close()

    @rule(
        start=KEYS,
        end=KEYS | st.just(END),
        reverse=st.booleans(),
        limit=st.none() | st.integers(0, 4),
    )
    def read(self, start: bytes, end: bytes, reverse: bool, limit: int | None) -> None:
        with self.place.engine.snapshot() as now:
            for view, model in [*self.views, (now, self.model)]:
                found = list(view.range(start, end, reverse=reverse, limit=limit))
                assert found == expected_range(model, start, end, reverse=reverse, limit=limit)
                assert view.get(start) == model.get(start)

    @rule()
    def settle(self) -> None:
        self.place.engine.settle()

    @rule(seed=st.none() | st.integers(0, 9))
    def restart(self, seed: int | None) -> None:
        self.views.clear()
        engine = self.place.reopen() if seed is None else self.place.crash(Random(seed))
        self.token = engine.acquire()

    @invariant()
    def every_view_is_as_it_was(self) -> None:
        for view, model in self.views:
            assert rows(view) == model

    def teardown(self) -> None:
        self.place.engine.close()
        self.directory.cleanup()


class LmdbMachine(EngineMachine):
    engine_kind = "lmdb"


class MemoryMachine(EngineMachine):
    engine_kind = "memory"


LmdbMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30)
MemoryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)

TestLmdbMachine = LmdbMachine.TestCase
TestMemoryMachine = MemoryMachine.TestCase
