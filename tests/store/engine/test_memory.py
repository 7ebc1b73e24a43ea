"""Check the simulated medium: what a power cut keeps, tears and loses."""

from __future__ import annotations

from random import Random

import pytest

from store.engine.memory import Medium, MemoryEngine
from store.errors import EngineError, EngineFullError
from store.faults import CutAt, PowerCut

SEEDS = range(20)


def rows(medium: Medium) -> dict[bytes, bytes]:
    with MemoryEngine(medium).snapshot() as snapshot:
        return dict(snapshot.range(b"\x10", b"\x11"))


def medium_with_one_row() -> tuple[Medium, MemoryEngine, int]:
    medium = Medium()
    engine = MemoryEngine(medium)
    token = engine.acquire()
    engine.batch({b"\x10a": b"old"}, token)
    return medium, engine, token


def test_a_batch_in_flight_is_there_wholly_or_not_at_all() -> None:
    outcomes = set()
    for seed in SEEDS:
        medium, engine, token = medium_with_one_row()
        medium.probe = CutAt(0)
        with pytest.raises(PowerCut):
            engine.batch({b"\x10a": b"new", b"\x10b": b"new"}, token)
        assert rows(medium) == {b"\x10a": b"old"}
        medium.crash(Random(seed))
        outcomes.add(tuple(sorted(rows(medium).items())))
    assert outcomes == {
        ((b"\x10a", b"old"),),
        ((b"\x10a", b"new"), (b"\x10b", b"new")),
    }


def test_a_durable_batch_survives_every_plain_crash() -> None:
    for seed in SEEDS:
        medium, engine, token = medium_with_one_row()
        medium.probe = CutAt(1)
        with pytest.raises(PowerCut):
            engine.batch({b"\x10b": b"new"}, token)
        medium.crash(Random(seed))
        assert rows(medium) == {b"\x10a": b"old", b"\x10b": b"new"}


def test_losing_the_newest_meta_page_undoes_one_commit_unless_it_was_settled() -> None:
    for is_settled in (False, True):
        medium, engine, token = medium_with_one_row()
        engine.batch({b"\x10a": None, b"\x10b": b"new"}, token)
        if is_settled:
            engine.settle()
        medium.crash(Random(1), lose_newest_meta=True)
        assert rows(medium) == ({b"\x10b": b"new"} if is_settled else {b"\x10a": b"old"})


def test_settling_is_two_commits_between_its_own_steps() -> None:
    medium, engine, _ = medium_with_one_row()
    medium.probe = probe = CutAt()
    engine.settle()
    assert probe.seen == ["settle", *["batch", "committed"] * 2, "settled"]


def test_a_cut_during_settling_never_undoes_what_was_settled_before() -> None:
    for step in range(6):
        medium, engine, _ = medium_with_one_row()
        medium.probe = CutAt(step)
        with pytest.raises(PowerCut):
            engine.settle()
        medium.crash(Random(step))
        assert rows(medium) == {b"\x10a": b"old"}


def test_the_same_seed_crashes_the_same_way() -> None:
    def run(seed: int) -> dict[bytes, bytes]:
        medium, engine, token = medium_with_one_row()
        medium.probe = CutAt(0)
        with pytest.raises(PowerCut):
            engine.batch({b"\x10b": b"new"}, token)
        medium.crash(Random(seed))
        return rows(medium)

    assert [run(seed) for seed in SEEDS] == [run(seed) for seed in SEEDS]


def test_a_crash_ends_the_engine_and_its_snapshots() -> None:
    medium, engine, token = medium_with_one_row()
    snapshot = engine.snapshot()
    medium.crash(Random(1))
    with pytest.raises(EngineError):
        snapshot.get(b"\x10a")
    with pytest.raises(EngineError):
        engine.batch({}, token)


@pytest.mark.parametrize(
    ("error", "outcomes"),
    [(EngineFullError("full"), {1}), (EngineError("input/output error"), {1, 2})],
)
def test_a_probe_answers_for_the_device(error: EngineError, outcomes: set[int]) -> None:
    def probe(step: str) -> None:
        if step == "batch":
            raise error

    found = set()
    for seed in SEEDS:
        medium, engine, token = medium_with_one_row()
        medium.probe = probe
        with pytest.raises(type(error)):
            engine.batch({b"\x10b": b"new"}, token)
        medium.crash(Random(seed))
        found.add(len(rows(medium)))
    assert found == outcomes


def test_every_byte_ever_written_is_kept_when_asked() -> None:
    medium = Medium(retain=True)
    engine = MemoryEngine(medium)
    token = engine.acquire()
    engine.batch({b"\x10key-one": b"value-one"}, token)
    engine.batch({b"\x10key-one": b"value-two"}, token)
    engine.batch({b"\x10key-one": None}, token)
    medium.probe = CutAt(0)
    with pytest.raises(PowerCut):
        engine.batch({b"\x10key-two": b"value-three"}, token)
    written = medium.every_byte()
    for piece in (b"key-one", b"value-one", b"value-two", b"key-two", b"value-three"):
        assert piece in written
    with pytest.raises(ValueError, match="retain"):
        Medium().every_byte()


def test_opening_again_closes_the_engine_before() -> None:
    medium, engine, token = medium_with_one_row()
    successor = MemoryEngine(medium)
    with pytest.raises(EngineError):
        engine.batch({b"\x10b": b"2"}, token)
    engine.close()
    successor.batch({b"\x10b": b"2"}, successor.acquire())
    assert rows(medium) == {b"\x10a": b"old", b"\x10b": b"2"}


def test_snapshots_left_open_can_be_counted() -> None:
    medium, engine, _ = medium_with_one_row()
    with engine.snapshot():
        assert len(medium.snapshots) == 1
    assert not medium.snapshots
