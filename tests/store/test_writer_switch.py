"""Check the writer's steps around a root switch, and how commands share what one may do."""

from __future__ import annotations

import pytest

from store.engine.contract import MAX_VALUE_BYTES, Engine
from store.engine.txn import Txn
from store.errors import (
    BatchFullError,
    EngineError,
    EngineFullError,
    FencedError,
    IntegrityError,
    LimitError,
)
from store.writer import COMMIT_RESERVE_BYTES, Completion, RootSwitch
from tests.store.desk import Desk, put, put_bytes, read


class Switching:
    """A writer whose batches switch the root when a command asks for it, step by step noted."""

    def __init__(self) -> None:
        self.fails: dict[str, Exception] = {}
        self.wanted = 0
        self.desk = Desk(before_commit=self.close, begin_switch=self.begin)
        self.events = self.desk.spy.events

    def destroy(self, txn: Txn) -> object:
        """Be a command that writes nothing but asks for a switch."""
        txn.on_rollback(lambda: setattr(self, "wanted", self.wanted - 1))
        self.wanted += 1
        return "destroyed"

    def close(self, txn: Txn, now_ms: int) -> None:
        self.events.append("closed")

    def begin(self, txn: Txn) -> RootSwitch | None:
        assert txn.get(b"unwritten") is None  # the snapshot is still open
        if not self.wanted:
            return None
        txn.put(b"generation", b"2")
        self.step("begin")
        return self

    def write(self) -> None:
        self.step("write")

    def finish(self, engine: Engine) -> object:
        assert engine is self.desk.spy
        self.step("finish")
        self.wanted = 0
        return None

    def withdraw(self) -> None:
        self.step("withdraw")

    def step(self, name: str) -> None:
        self.events.append(name)
        if name in self.fails:
            raise self.fails[name]


class TestRootSwitch:
    """A batch that destroys: the new root before the commit, the old one's end after it."""

    def test_the_steps_come_in_their_order_and_nothing_is_told_before_the_last(self) -> None:
        world = Switching()
        world.desk.run(a=put("a"), b=world.destroy)
        order = ["closed", "begin", "write", {b"a", b"generation"}, "finish", "a", "b"]
        assert world.events == order
        assert world.desk.spy.urgent == [True]

    def test_a_batch_that_destroys_nothing_goes_its_old_way(self) -> None:
        world = Switching()
        world.desk.run(a=put("a"))
        assert world.events == ["closed", {b"a"}, "a"]
        assert world.desk.spy.urgent == [False]

    @pytest.mark.parametrize("error", [LimitError("much"), IntegrityError("bad"), KeyError("odd")])
    def test_one_that_cannot_begin_voids_the_batch_and_the_writer_goes_on(
        self, error: Exception
    ) -> None:
        world = Switching()
        world.fails = {"begin": error}
        found = world.desk.run(x=read("a"), a=put("a"), b=world.destroy, c=read("a"))
        assert [each.error for each in found] == [None, error, error, error]
        assert world.events == ["closed", "begin", "x", "a", "b", "c"]
        assert world.wanted == 0
        assert world.desk.run(d=put("d")) == [Completion("d", "d", None)]
        assert world.desk.rows() == {b"d": b"1"}
        assert world.desk.failures == []

    @pytest.mark.parametrize("where", ["write", "commit"])
    def test_on_a_full_disk_the_new_root_is_withdrawn_and_the_writer_goes_on(
        self, where: str
    ) -> None:
        world = Switching()
        full = EngineFullError("full")
        if where == "commit":
            world.desk.spy.error = full
        else:
            world.fails = {"write": full}
        found = world.desk.run(a=put("a"), b=world.destroy)
        assert [each.error for each in found] == [full, full]
        assert world.events == ["closed", "begin", "write", "withdraw", "a", "b"]
        assert world.wanted == 0
        world.fails, world.desk.spy.error = {}, None
        assert world.desk.run(b=world.destroy) == [Completion("b", "destroyed", None)]
        assert world.desk.rows() == {b"generation": b"2"}
        assert world.desk.failures == []

    @pytest.mark.parametrize("error", [EngineError("broken"), FencedError("stale"), OSError("odd")])
    @pytest.mark.parametrize("where", ["write", "commit", "finish"])
    def test_any_other_failure_ends_the_writer_and_effaces_nothing(
        self, where: str, error: Exception
    ) -> None:
        self.check_end(where, error)

    def test_a_full_disk_after_the_commit_ends_the_writer_too(self) -> None:
        self.check_end("finish", EngineFullError("full"))

    def check_end(self, where: str, error: Exception) -> None:
        world = Switching()
        if where == "commit":
            world.desk.spy.error = error
        else:
            world.fails = {where: error}
        found = world.desk.run(a=put("a"), b=world.destroy)
        assert [each.error for each in found] == [error, error]
        assert "withdraw" not in world.events
        assert world.desk.failures == [error]
        with pytest.raises(EngineError):
            world.desk.submit(c=put("c"))

    def test_a_root_that_cannot_be_withdrawn_ends_the_writer(self) -> None:
        world = Switching()
        error = EngineError("the device is gone")
        world.fails = {"write": EngineFullError("full"), "withdraw": error}
        assert world.desk.run(b=world.destroy)[0].error is error
        assert world.desk.failures == [error]


def wants_room(txn: Txn) -> object:
    """Be a command for which there is room only in a batch of its own."""
    if txn.savepoint():
        raise BatchFullError("another command was first")
    txn.put(b"roomy", b"1")
    return "roomy"


def test_a_command_without_room_in_a_batch_begins_the_next() -> None:
    desk = Desk()
    desk.submit(a=put("a"), roomy=wants_room, b=put("b"))
    assert [desk.writer.run_pending() for _ in range(2)] == [1, 2]
    assert [each.outcome for each in desk.completions()] == ["a", "roomy", "b"]


def test_a_command_without_room_in_any_batch_fails_alone() -> None:
    def never(txn: Txn) -> object:
        raise BatchFullError("never")

    desk = Desk()
    found = desk.run(never=never, a=put("a"))
    assert isinstance(found[0].error, BatchFullError)
    assert found[1].outcome == "a"


def test_reserved_bytes_crowd_out_as_written_ones_do() -> None:
    def reserve(txn: Txn) -> object:
        txn.reserve(desk.spy.max_batch_bytes - COMMIT_RESERVE_BYTES - 100)
        txn.put(b"small", b"1")
        return "small"

    desk = Desk()
    desk.submit(a=put_bytes("a", MAX_VALUE_BYTES), small=reserve, b=put("b"))
    assert [desk.writer.run_pending() for _ in range(3)] == [1, 1, 1]
    assert [each.outcome for each in desk.completions()] == ["a", "small", "b"]
