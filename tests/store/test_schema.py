"""A store says which version its rows have; newer ones are refused, older ones brought up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.engine.memory import MemoryEngine
from store.engine.txn import Txn
from store.errors import FormatError, StoreError
from store.schema import (
    SCHEMA,
    NewerSchemaError,
    Step,
    bring_up,
    bring_up_store,
    expect_known,
    schema_of,
)
from store.tables import meta_key

ROW = meta_key("schema")


def appending(letter: bytes) -> Step:
    """A step that shows in which order steps were taken."""

    def convert(txn: Txn) -> None:
        txn.put(b"\x10taken", (txn.get(b"\x10taken") or b"") + letter)

    return Step(letter.decode(), convert)


STEPS = [appending(letter) for letter in (b"a", b"b", b"c")]


def test_a_new_store_gets_the_version_of_this_program() -> None:
    engine = MemoryEngine()
    assert bring_up_store(engine, engine.acquire()) == ["note the version"]
    with engine.snapshot() as reader:
        assert schema_of(reader) == expect_known(reader) == SCHEMA


def test_a_store_of_this_version_is_not_written() -> None:
    engine = MemoryEngine()
    token = engine.acquire()
    bring_up_store(engine, token)
    with engine.snapshot() as reader:
        txn = Txn(reader)
        assert bring_up(txn) == []
        assert not txn.writes


@given(st.lists(st.integers(0, 3), max_size=5).map(sorted))
def test_each_step_is_taken_once_and_in_order(openings: list[int]) -> None:
    engine = MemoryEngine()
    token = engine.acquire()
    taken = [name for count in openings for name in bring_up_store(engine, token, STEPS[:count])]
    newest = max(openings, default=0)
    assert taken == [step.name for step in STEPS[:newest]]
    with engine.snapshot() as reader:
        assert (reader.get(b"\x10taken") or b"").decode() == "".join(taken)
        assert schema_of(reader) == newest


def test_a_step_that_fails_leaves_the_store_as_it_was() -> None:
    engine = MemoryEngine()
    token = engine.acquire()
    bring_up_store(engine, token, STEPS[:1])

    def fail(txn: Txn) -> None:
        txn.delete(b"\x10taken")
        raise StoreError("no")

    with pytest.raises(StoreError):
        bring_up_store(engine, token, [*STEPS[:2], Step("fail", fail)])
    with engine.snapshot() as reader:
        assert (schema_of(reader), reader.get(b"\x10taken")) == (1, b"a")


def test_a_newer_store_is_refused_before_anything_is_written() -> None:
    engine = MemoryEngine()
    token = engine.acquire()
    bring_up_store(engine, token, STEPS)
    with engine.snapshot() as reader:
        txn = Txn(reader)
        with pytest.raises(NewerSchemaError, match="schema 3, this program knows 2"):
            bring_up(txn, STEPS[:2])
        assert not txn.writes


@pytest.mark.parametrize("row", [b"", b"\x01", b"\x00\x01\x00"])
def test_a_row_that_is_no_version_is_refused(row: bytes) -> None:
    engine = MemoryEngine()
    engine.batch({ROW: row}, engine.acquire())
    with engine.snapshot() as reader, pytest.raises(FormatError):
        schema_of(reader)
