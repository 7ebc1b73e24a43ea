"""Check the one writer: order, durability before delivery, isolation of failures, bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread, get_ident

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.clocks import ManualClock
from store.engine.contract import MAX_VALUE_BYTES, Engine
from store.engine.lmdb import LmdbEngine
from store.engine.memory import Medium, MemoryEngine
from store.engine.txn import Txn
from store.errors import (
    EngineError,
    EngineFullError,
    FencedError,
    LimitError,
    OverloadedError,
    ReserveError,
    StoreError,
)
from store.faults import CutAt, PowerCut
from store.writer import (
    BATCH_TARGET_BYTES,
    COMMIT_RESERVE_BYTES,
    MAX_BATCH_COMMANDS,
    MAX_QUEUED_COMMANDS,
    Abandon,
    Completion,
    Writer,
)
from tests.store.desk import (
    WAIT_SECONDS,
    Command,
    Desk,
    Spy,
    decide,
    put,
    put_bytes,
    put_then_fail,
    read,
)

MAP_BYTES = 256 << 20


def test_outcomes_come_in_order_after_one_commit() -> None:
    desk = Desk()
    found = desk.run(a=put("a"), b=read("a"), c=put("c"))
    assert found == [
        Completion("a", "a", None),
        Completion("b", b"1", None),
        Completion("c", "c", None),
    ]
    assert desk.spy.events == [{b"a", b"c"}, "a", "b", "c"]
    assert desk.writer.run_pending() == 0


def test_a_command_gets_its_actor_and_the_time_of_its_batch() -> None:
    calls: list[tuple[str, int]] = []

    def note(txn: Txn, actor: str, command: Command, now_ms: int) -> object:
        calls.append((actor, now_ms))
        desk.clock.advance(1)
        return None

    desk = Desk(decide=note)
    desk.submit(a=read("x"), b=read("x"))
    desk.writer.run_pending()
    desk.run(c=read("x"))
    assert calls == [("alice", 1000), ("alice", 1000), ("alice", 1002)]


def test_a_failing_command_is_rolled_back_alone() -> None:
    desk = Desk()
    found = desk.run(a=put("a"), bad=put_then_fail("x"), b=read("x"), c=put("c"))
    assert [each.outcome for each in found] == ["a", None, None, "c"]
    assert [type(each.error) for each in found] == [type(None), KeyError, type(None), type(None)]
    assert desk.rows() == {b"a": b"1", b"c": b"1"}
    assert desk.failures == []


def test_memory_beside_the_rows_goes_back_with_a_failing_command() -> None:
    counter = [0]

    def count(fails: bool) -> Command:
        def command(txn: Txn) -> object:
            old = counter[0]
            txn.on_rollback(lambda: counter.__setitem__(0, old))
            counter[0] += 1
            if fails:
                raise RuntimeError
            return counter[0]

        return command

    desk = Desk()
    found = desk.run(a=count(False), b=count(True), c=count(False))
    assert [each.outcome for each in found] == [1, None, 2]
    desk.spy.error = EngineFullError("full")
    desk.run(d=count(False), e=put("e"))
    assert counter == [2]


class TestLostBatches:
    """What a full disk took back may be on it: that is abandoned before anything else."""

    def writer(self, engine: Engine, abandon: Abandon) -> Writer[str, Command, object]:
        self.done: list[Completion[object]] = []
        self.failures: list[BaseException] = []
        return Writer(
            engine,
            decide,
            ManualClock(),
            self.done.extend,
            abandon_lost=abandon,
            failed=self.failures.append,
            urgent=frozenset((Urgent,)),
        )

    def outcomes(self) -> list[object]:
        return [each.error or each.outcome for each in self.done]

    def test_before_the_next_batch_and_once(self) -> None:
        spy = Spy(MemoryEngine())

        def abandon(engine: Engine, token: int, *, urgent: bool) -> None:
            assert engine is spy
            spy.events.append("abandoned urgently" if urgent else "abandoned")

        writer = self.writer(spy, abandon)
        for turn, (key, is_full) in enumerate(
            [("a", False), ("b", True), ("c", False), ("d", False), ("e", True)]
        ):
            spy.error = EngineFullError("full") if is_full else None
            writer.submit("alice", put(key), turn)
            writer.run_pending()
        spy.error = None
        writer.submit("alice", Urgent("f"), 5)
        writer.run_pending()
        assert spy.events == [{b"a"}, "abandoned", {b"c"}, {b"d"}, "abandoned urgently", {b"f"}]
        assert self.failures == []

    def test_if_that_does_not_fit_either_the_command_fails_and_it_is_tried_again(self) -> None:
        spy, full = Spy(MemoryEngine()), EngineFullError("full")
        room = iter((False, False, True))

        def abandon(engine: Engine, token: int, *, urgent: bool) -> None:
            if not next(room):
                raise full

        writer = self.writer(spy, abandon)
        spy.error = full
        for key in "abcd":
            writer.submit("alice", put(key), key)
            writer.run_pending()
            spy.error = None
        assert self.outcomes() == [full, full, full, "d"]
        assert self.failures == []

    def test_if_that_fails_the_writer_ends(self) -> None:
        spy, broken = Spy(MemoryEngine()), EngineError("broken")

        def abandon(engine: Engine, token: int, *, urgent: bool) -> None:
            raise broken

        writer = self.writer(spy, abandon)
        spy.error = EngineFullError("full")
        writer.submit("alice", put("a"), "a")
        writer.run_pending()
        writer.submit("alice", put("b"), "b")
        writer.run_pending()
        assert self.outcomes()[1:] == self.failures == [broken]
        assert spy.events == []

    def test_a_batch_of_which_nothing_was_written_leaves_nothing(self) -> None:
        spy, turns = Spy(MemoryEngine()), []

        def abandon(engine: Engine, token: int, *, urgent: bool) -> None:
            turns.append(token)

        writer = self.writer(spy, abandon)
        spy.error = ReserveError("full but for its reserve")
        for key in "ab":
            writer.submit("alice", put(key), key)
            writer.run_pending()
        assert turns == []


class Urgent:
    """A command of a type that may use the reserve."""

    def __init__(self, key: str) -> None:
        self._put = put(key)

    def __call__(self, txn: Txn) -> object:
        return self._put(txn)


def test_reading_alone_costs_no_commit() -> None:
    desk = Desk()
    desk.run(a=read("a"), bad=put_then_fail("x"))
    assert desk.spy.events == ["a", "bad"]
    assert desk.writer.stats().commits == 0


def test_what_is_due_is_closed_once_in_each_batch() -> None:
    def close(txn: Txn, now_ms: int) -> None:
        txn.put(b"closed", b"%d:%d" % (now_ms, len(txn.writes)))

    desk = Desk(before_commit=close)
    desk.run(a=put("a"), b=put("b"))
    assert desk.rows() == {b"a": b"1", b"b": b"1", b"closed": b"1000:2"}
    desk.clock.advance(5)
    desk.run(c=read("a"))
    assert desk.rows()[b"closed"] == b"1005:0"


def test_a_batch_has_a_limited_number_of_commands() -> None:
    desk = Desk()
    for number in range(MAX_BATCH_COMMANDS + 1):
        desk.writer.submit("alice", put(f"k{number}"), number)
    assert desk.writer.run_pending() == MAX_BATCH_COMMANDS
    assert desk.writer.run_pending() == 1
    assert [each.context for each in desk.completions()] == list(range(MAX_BATCH_COMMANDS + 1))


def test_a_batch_that_wrote_much_is_closed_early() -> None:
    desk = Desk()
    desk.submit(a=put_bytes("a", BATCH_TARGET_BYTES + MAX_VALUE_BYTES), b=put("b"))
    assert desk.writer.run_pending() == 1
    assert desk.writer.run_pending() == 1


def test_a_command_too_large_for_the_rest_of_a_batch_goes_into_the_next() -> None:
    desk = Desk()
    runs = []

    def large(txn: Txn) -> object:
        runs.append(txn.savepoint())
        put_bytes("large", desk.spy.max_batch_bytes - COMMIT_RESERVE_BYTES)(txn)
        return "large"

    desk.submit(a=put_bytes("a", BATCH_TARGET_BYTES - MAX_VALUE_BYTES), large=large, b=put("b"))
    assert [desk.writer.run_pending() for _ in range(3)] == [1, 1, 1]
    assert [each.outcome for each in desk.completions()] == ["a", "large", "b"]
    assert len(runs) == 2
    assert runs[0] > runs[1] == 0


def test_a_command_too_large_for_any_batch_fails_alone() -> None:
    desk = Desk()
    huge = put_bytes("huge", desk.spy.max_batch_bytes)
    found = desk.run(a=read("a"), huge=huge, b=put("b"))
    assert isinstance(found[1].error, LimitError)
    assert found[2] == Completion("b", "b", None)
    assert desk.rows() == {b"b": b"1"}
    assert desk.failures == []


def test_a_full_disk_voids_what_was_built_on_it_and_the_writer_goes_on() -> None:
    undone: list[str] = []

    def close(txn: Txn, now_ms: int) -> None:
        txn.on_rollback(lambda: undone.append("closing"))

    desk = Desk(before_commit=close)
    desk.spy.error = full = EngineFullError("full")
    found = desk.run(a=read("x"), b=put("x"), c=read("x"), bad=put_then_fail("y"))
    assert found == [
        Completion("a", None, None),
        Completion("b", None, full),
        Completion("c", None, full),  # it had read what is lost
        Completion("bad", None, full),
    ]
    assert undone == ["closing"]
    desk.spy.error = None
    assert desk.run(d=put("d")) == [Completion("d", "d", None)]
    assert desk.rows() == {b"d": b"1"}
    assert desk.failures == []


@pytest.mark.parametrize("error", [EngineError("broken"), FencedError("stale"), OSError("odd")])
def test_any_other_engine_failure_ends_the_writer(error: Exception) -> None:
    undone: list[str] = []

    def memory(txn: Txn) -> object:
        txn.on_rollback(lambda: undone.append("memory"))
        return None

    desk = Desk()
    desk.spy.error = error
    waiting = [f"w{number}" for number in range(MAX_BATCH_COMMANDS)]
    desk.submit(a=memory, b=put("b"), **{name: read("b") for name in waiting})
    desk.writer.run_pending()
    assert [each.context for each in desk.completions()] == ["a", "b", *waiting]
    assert {each.error for each in desk.completions()} == {error}
    assert {each.outcome for each in desk.completions()} == {None}
    assert undone == ["memory"]
    assert desk.failures == [error]
    with pytest.raises(EngineError):
        desk.submit(c=read("b"))
    assert desk.writer.run_pending() == 0
    desk.writer.stop()
    assert len(desk.failures) == 1


def test_a_fenced_writer_ends() -> None:
    engine = MemoryEngine()
    desk = Desk(engine)
    engine.acquire()
    found = desk.run(a=put("a"))
    assert isinstance(found[0].error, FencedError)
    assert len(desk.failures) == 1


def test_a_failure_before_the_commit_ends_the_writer_and_commits_nothing() -> None:
    def close(txn: Txn, now_ms: int) -> None:
        raise RuntimeError("a mistake of ours")

    desk = Desk(before_commit=close)
    found = desk.run(a=put("a"))
    assert isinstance(found[0].error, RuntimeError)
    assert desk.rows() == {}
    assert [type(failure) for failure in desk.failures] == [RuntimeError]


def test_a_failing_undo_ends_the_writer_and_commits_nothing() -> None:
    def undo() -> None:
        raise RuntimeError("memory is no longer to be trusted")

    def command(txn: Txn) -> object:
        txn.put(b"bad", b"")
        txn.on_rollback(undo)
        raise KeyError

    desk = Desk()
    desk.submit(a=put("a"), b=command, c=put("c"))
    desk.writer.run_pending()
    assert [each.context for each in desk.completions()] == ["a", "b", "c"]
    assert all(isinstance(each.error, RuntimeError) for each in desk.completions())
    assert desk.rows() == {}
    assert len(desk.failures) == 1


def test_a_store_that_cannot_be_read_fails_the_command() -> None:
    desk = Desk()
    desk.submit(a=read("a"), b=read("b"))
    desk.spy.close()
    desk.writer.run_pending()
    assert [each.context for each in desk.completions()] == ["a", "b"]
    assert all(isinstance(each.error, EngineError) for each in desk.completions())
    assert len(desk.failures) == 1


def test_a_delivery_that_raises_ends_the_writer_after_the_commit() -> None:
    desk = Desk()
    contexts: list[object] = []

    def deliver(completions: list[Completion[object]]) -> None:
        contexts.extend(each.context for each in completions)
        raise RuntimeError("a mistake of ours")

    writer: Writer[str, Command, object] = Writer(
        desk.spy, decide, desk.clock, deliver, failed=desk.failures.append
    )
    writer.submit("alice", put("a"), "a")
    writer.run_pending()
    assert contexts == ["a"]
    assert desk.rows() == {b"a": b"1"}
    assert len(desk.failures) == 1


def test_more_commands_than_the_queue_holds_are_refused_and_later_taken() -> None:
    desk = Desk()
    for number in range(MAX_QUEUED_COMMANDS):
        desk.writer.submit("alice", read("a"), number)
    with pytest.raises(OverloadedError):
        desk.submit(late=read("a"))
    assert desk.writer.stats().queued == MAX_QUEUED_COMMANDS
    desk.writer.run_pending()
    desk.submit(late=read("a"))
    desk.writer.stop()
    assert [each.context for each in desk.completions()] == [*range(MAX_QUEUED_COMMANDS), "late"]


def test_stopping_inline_carries_out_what_was_submitted() -> None:
    desk = Desk()
    desk.submit(a=put("a"), b=put("b"))
    desk.writer.stop()
    desk.writer.stop()
    assert desk.rows() == {b"a": b"1", b"b": b"1"}
    with pytest.raises(OverloadedError):
        desk.submit(c=put("c"))


def test_a_power_cut_passes_through_and_nothing_is_delivered() -> None:
    for step in (0, 1):
        medium = Medium()
        desk = Desk(MemoryEngine(medium))
        medium.probe = CutAt(step)
        desk.submit(a=put("a"))
        with pytest.raises(PowerCut):
            desk.writer.run_pending()
        assert desk.batches == []
        with pytest.raises(EngineError):
            desk.submit(b=put("b"))


@given(
    plan=st.lists(st.sampled_from(["put", "fail", "read", "full", "run"]), max_size=30),
    seed=st.integers(0, 100),
)
def test_what_is_acknowledged_is_exactly_what_survives(plan: list[str], seed: int) -> None:
    medium = Medium()
    desk = Desk(MemoryEngine(medium))
    for number, step in enumerate([*plan, "run"]):
        name = f"k{number}"
        if step == "run":
            desk.writer.run_pending()
            desk.spy.error = None
        elif step == "full":
            desk.spy.error = EngineFullError("full")
        else:
            makers = {"put": put, "fail": put_then_fail, "read": read}
            desk.submit(**{name: makers[step](name)})
    medium.crash(Random(seed))
    with MemoryEngine(medium).snapshot() as snapshot:
        survivors = {key.decode() for key, _ in snapshot.range(b"k", b"l")}
    done = {each.outcome for each in desk.completions() if each.error is None}
    assert survivors == done - {None}
    submitted = [step for step in plan if step in ("put", "fail", "read")]
    assert len(desk.completions()) == len(submitted)


@pytest.fixture(params=["lmdb", "memory"])
def threaded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    engine: Engine = (
        LmdbEngine(tmp_path / "data", map_bytes=MAP_BYTES)
        if request.param == "lmdb"
        else MemoryEngine()
    )
    desk = Desk(engine)
    yield desk
    desk.writer.stop()
    engine.close()


def test_in_a_thread_nothing_is_delivered_before_it_is_durable(threaded: Desk) -> None:
    threaded.spy.gate = Event()
    threaded.writer.start()
    threaded.submit(a=put("a"))
    assert threaded.spy.entered.wait(WAIT_SECONDS)
    assert not threaded.delivered.is_set()
    threaded.spy.gate.set()
    assert threaded.delivered.wait(WAIT_SECONDS)
    assert threaded.spy.events == [{b"a"}, "a"]


def test_while_one_batch_syncs_the_next_one_gathers(threaded: Desk) -> None:
    threaded.spy.gate = Event()
    threaded.writer.start()
    threaded.submit(a=put("a"))
    assert threaded.spy.entered.wait(WAIT_SECONDS)
    threaded.submit(**{f"n{number}": put(f"n{number}") for number in range(50)})
    threaded.spy.gate.set()
    threaded.writer.stop()
    assert [len(batch) for batch in threaded.batches] == [1, 50]


def test_many_threads_submit_and_each_keeps_its_order(threaded: Desk) -> None:
    threaded.writer.start()
    count = 300

    def submit(name: str) -> None:
        for number in range(count):
            threaded.writer.submit(name, put(f"{name}{number}"), (name, number))

    senders = [Thread(target=submit, args=(name,)) for name in "xyz"]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    threaded.writer.stop()
    contexts = [each.context for each in threaded.completions()]
    for name in "xyz":
        mine = [
            context for context in contexts if isinstance(context, tuple) and context[0] == name
        ]
        assert mine == [(name, number) for number in range(count)]
    assert len(threaded.rows()) == 3 * count
    assert threaded.writer.stats().commands == 3 * count
    assert threaded.writer.stats().commits == len(threaded.batches)


def test_deciding_and_delivering_happen_in_one_other_thread(threaded: Desk) -> None:
    threaded.writer.start()
    threaded.submit(a=lambda txn: get_ident())
    assert threaded.delivered.wait(WAIT_SECONDS)
    assert threaded.batches[0][0].outcome not in (None, get_ident())


def test_stopping_drains_and_no_command_is_left_without_an_answer(threaded: Desk) -> None:
    threaded.writer.start()
    taken: list[int] = []
    lock = Lock()

    def submit(first: int) -> None:
        for number in range(first, first + 100_000):
            try:
                threaded.writer.submit("alice", put(f"k{number}"), number)
            except StoreError:
                return
            with lock:
                taken.append(number)

    senders = [Thread(target=submit, args=(start,)) for start in (0, 1_000_000)]
    for sender in senders:
        sender.start()
    assert threaded.delivered.wait(WAIT_SECONDS)
    threaded.writer.stop()
    for sender in senders:
        sender.join()
    answered = [each.context for each in threaded.completions()]
    assert sorted(answered, key=str) == sorted(taken, key=str)
    assert threaded.writer.run_pending() == 0


def test_a_failure_in_the_thread_answers_everything_and_ends_it(threaded: Desk) -> None:
    threaded.spy.error = EngineError("broken")
    threaded.submit(a=put("a"), b=put("b"))
    threaded.writer.start()
    assert threaded.delivered.wait(WAIT_SECONDS)
    threaded.writer.stop()
    assert [each.context for each in threaded.completions()] == ["a", "b"]
    assert threaded.failures == [threaded.spy.error]


def test_a_power_cut_in_the_thread_is_told_and_ends_it() -> None:
    medium = Medium()
    desk = Desk(MemoryEngine(medium))
    medium.probe = CutAt(0)
    desk.submit(a=put("a"))
    desk.writer.start()
    desk.writer.stop()
    assert [type(failure) for failure in desk.failures] == [PowerCut]
    assert desk.batches == []


def test_an_urgent_command_has_a_batch_of_its_own_and_may_use_the_reserve() -> None:
    class Urgent(str):
        """What goes alone."""

        __slots__ = ()

    medium = Medium()
    engine = MemoryEngine(medium)
    done: list[Completion[object]] = []

    def write(txn: Txn, actor: str, command: str, now_ms: int) -> object:
        txn.put(command.encode(), bytes(100))
        return command

    writer: Writer[str, str, object] = Writer(
        engine,
        write,
        ManualClock(),
        done.extend,
        failed=lambda error: None,
        urgent=frozenset((Urgent,)),
    )
    for number in range(20):
        writer.submit("alice", f"before {number}", number)
    writer.run_pending()
    done.clear()
    medium.capacity_bytes = medium.used_bytes * 11 // 10
    for number, command in enumerate(("a", Urgent("b"), "c")):
        writer.submit("alice", command, number)
    assert [writer.run_pending() for _ in range(4)] == [1, 1, 1, 0]
    errors = [type(each.error) for each in done]
    assert errors == [ReserveError, type(None), ReserveError]
