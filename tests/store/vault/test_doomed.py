"""Marks for destruction: what they cost, where they end, and that rollbacks take them back."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.engine.memory import MAX_BATCH_BYTES
from store.engine.txn import Txn
from store.errors import BatchFullError, LimitError
from store.tables import EPOCH, Table
from store.vault import Locator, ggm
from store.vault.doomed import Doomed
from store.vault.limits import (
    EPOCH_PARTS,
    EPOCHS_PER_SWITCH,
    STANDARD,
    SWITCH_BYTES_MAX,
)
from store.writer import COMMIT_RESERVE_BYTES
from tests.store.vault.harness import CONTEXT, Store


@contextmanager
def transaction(store: Store) -> Iterator[Txn]:
    """Give a transaction that is never committed."""
    with store.engine.snapshot() as snapshot:
        yield Txn(snapshot)


def filled(streams: int, classes: int = 1, parts: int = 1) -> Store:
    """Make a store with some parts in each of some streams."""
    store = Store()
    with store.transaction() as txn:
        for stream in list(range(1, streams + 1)) * parts:
            store.vault.seal(txn, stream, STANDARD + stream % classes, b"", CONTEXT, 0)
    return store


def marks(store: Store) -> Doomed:
    assert store.vault._doomed is not None
    return store.vault._doomed[1]


def written(txn: Txn) -> int:
    """Return the bytes of all rows in a transaction."""
    return sum(len(key) + len(value or b"") for key, value in txn.writes.items())


def switch_bytes(txn: Txn) -> int:
    """Return the bytes of the rows that a switch has written."""
    tables = (Table.FOREST, Table.EPOCH)
    return sum(
        len(key) + len(value or b"") for key, value in txn.writes.items() if key[0] in tables
    )


parts_of = st.one_of(
    st.sets(st.integers(0, EPOCH_PARTS - 1), min_size=1, max_size=40),
    st.just(set(range(0, EPOCH_PARTS, 4))),
    st.just(set(range(1, EPOCH_PARTS))),
    st.just(set(range(EPOCH_PARTS))),
)


@given(
    st.lists(st.dictionaries(st.integers(1, 4), parts_of, min_size=1), min_size=1, max_size=4),
    st.sets(st.integers(1, 6)),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_switch_writes_no_more_than_was_reserved(
    orders: list[dict[int, set[int]]], whole: set[int], is_closed: bool
) -> None:
    store = filled(6, classes=3)
    if is_closed:
        store.close_epochs()
    for order in orders:
        with store.engine.snapshot() as snapshot:
            txn = Txn(snapshot)
            for stream, indices in order.items():
                half = sorted(indices)[::2]
                store.vault.doom(txn, [Locator(stream, 0, index) for index in half])
                store.vault.doom(txn, [Locator(stream, 0, index) for index in indices])
            store.vault.doom(txn, [Locator(stream, 0, 0) for stream in whole])
            reserved = marks(store).reserved_bytes
            assert reserved == txn.bytes_written - written(txn)
            switch = store.vault.begin_switch(txn)
        if switch is None:
            assert reserved == 0  # all of it was gone before
            continue
        assert 0 < switch_bytes(txn) <= reserved
        assert txn.bytes_written == written(txn)
        switch.write()
        store.engine.batch(txn.writes, store.token)
        switch.finish(store.engine)


def test_the_ways_to_many_epochs_are_counted_once() -> None:
    store = filled(126)
    with transaction(store) as txn:
        store.vault.doom(txn, [Locator(1, 0, 0)])
        one = txn.bytes_written
        store.vault.doom(txn, [Locator(stream, 0, 0) for stream in range(2, 127)])
        row = txn.bytes_written - one
    assert 6 * 4_062 < one < 6 * 4_100 + 800
    assert row == 125 * (15 + len(store_row(store)) + ggm.PUNCTURE_BYTES)


def store_row(store: Store) -> bytes:
    with store.engine.snapshot() as snapshot:
        return snapshot.get(EPOCH.key(1, 0)) or b""


def test_the_bounds_leave_room_for_each_other() -> None:
    assert 2 * SWITCH_BYTES_MAX <= MAX_BATCH_BYTES
    assert SWITCH_BYTES_MAX + COMMIT_RESERVE_BYTES < MAX_BATCH_BYTES


class TestLimits:
    """Beyond what one switch may do, nothing is marked."""

    def test_epochs(self) -> None:
        store = filled(EPOCHS_PER_SWITCH + 1)
        everything = [Locator(stream, 0, 0) for stream in range(1, EPOCHS_PER_SWITCH + 2)]
        with transaction(store) as txn:
            with pytest.raises(LimitError) as caught:
                store.vault.doom(txn, everything)
            assert caught.type is LimitError
            assert marks(store).is_empty
            assert txn.bytes_written == 0
            store.vault.doom(txn, everything[:-1])
            before = txn.bytes_written
            with pytest.raises(BatchFullError):
                store.vault.doom(txn, everything[-1:])
            assert txn.bytes_written == before
            store.vault.doom(txn, [Locator(1, 0, 1)])  # an epoch that is marked anyway

    def test_whole_epochs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("store.vault.doomed.EMPTIED_PER_SWITCH", 3)
        store = filled(5)
        store.close_epochs()
        with transaction(store) as txn:
            with pytest.raises(LimitError) as caught:
                store.vault.doom(txn, [Locator(stream, 0, 0) for stream in range(1, 6)])
            assert caught.type is LimitError
            store.vault.doom(txn, [Locator(stream, 0, 0) for stream in range(1, 4)])
            with pytest.raises(BatchFullError):
                store.vault.doom(txn, [Locator(4, 0, 0)])
            store.vault.doom(txn, [Locator(1, 0, 0)])
            assert set(marks(store).emptied) == {(1, 0), (2, 0), (3, 0)}

    def test_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = filled(40)
        one_epoch = 6 * 4_100 + 1_000
        monkeypatch.setattr("store.vault.doomed.SWITCH_BYTES_MAX", one_epoch)
        with transaction(store) as txn:
            store.vault.doom(txn, [Locator(1, 0, 0)])
            with pytest.raises(BatchFullError):
                store.vault.doom(txn, [Locator(1, 0, index) for index in range(9)])
            with pytest.raises(BatchFullError):
                store.vault.doom(txn, [Locator(stream, 0, 0) for stream in range(1, 40)])

    def test_a_command_crowded_out_by_an_earlier_one_has_the_next_batch(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("store.vault.doomed.EPOCHS_PER_SWITCH", 2)
        store = Store()
        parts = [store.kept(1, stream)[0] for stream in range(1, 5)]
        found = store.try_run(
            lambda txn: store.destroy(txn, parts[:2]),
            lambda txn: store.destroy(txn, parts[2:]),
            lambda txn: store.keep(txn, b"text"),
        )
        assert [type(each.error) for each in found] == [type(None), type(None), type(None)]
        assert store.vault.generation == 3

    def test_a_command_that_wants_too_much_fails_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("store.vault.doomed.EPOCHS_PER_SWITCH", 2)
        store = Store()
        parts = [store.kept(1, stream)[0] for stream in range(1, 5)]
        found = store.try_run(
            lambda txn: store.destroy(txn, parts),
            lambda txn: store.destroy(txn, parts[:2]),
        )
        assert [type(each.error) for each in found] == [LimitError, type(None)]
        assert store.vault.generation == 2


PARTS = 6

steps = st.lists(
    st.tuples(
        st.dictionaries(
            st.integers(1, 4),
            st.one_of(st.just(set(range(PARTS))), st.sets(st.integers(0, PARTS - 1), min_size=1)),
            min_size=1,
            max_size=3,
        ),
        st.booleans(),
    ),
    max_size=8,
)


@given(steps, st.booleans())
@settings(deadline=None)
def test_marks_and_rollbacks_in_any_order_leave_what_was_kept(
    plan: list[tuple[dict[int, set[int]], bool]], is_closed: bool
) -> None:
    store = filled(4, parts=PARTS)
    if is_closed:
        store.close_epochs()
    punctured: dict[tuple[int, int], set[int]] = {}
    emptied: set[tuple[int, int]] = set()
    with transaction(store) as txn:
        for parts, is_kept in plan:
            mark = txn.savepoint()
            before = dict(txn.writes), txn.bytes_written
            locators = [Locator(s, 0, index) for s, found in parts.items() for index in found]
            store.vault.doom(txn, locators)
            if not is_kept:
                txn.rollback(mark)
                assert (dict(txn.writes), txn.bytes_written) == before
                continue
            for stream, found in parts.items():
                name = (stream, 0)
                if is_closed and len(found) == PARTS and name not in punctured:
                    emptied.add(name)
                elif name not in emptied:
                    punctured[name] = punctured.get(name, set()) | found
        if store.vault._doomed is not None:
            doomed = marks(store)
            assert {name: each.removed for name, each in doomed.punctured.items()} == punctured
            assert {each.end for each in doomed.punctured.values()} <= {
                PARTS if is_closed else EPOCH_PARTS
            }
            assert set(doomed.emptied) == emptied
            assert doomed.reserved_bytes == txn.bytes_written - written(txn)
            assert doomed.reserved_bytes == reserved_at_once(store, doomed)
            txn.rollback(0)
            assert doomed.is_empty
            assert txn.bytes_written == 0


def reserved_at_once(store: Store, found: Doomed) -> int:
    """Return what the same marks reserve in a transaction in which nothing was rolled back."""
    with transaction(store) as txn:
        again = Doomed()
        root, punctured = store.vault._root(), found.punctured.items()
        again.add_parts(txn, root, {name: {min(each.removed)} for name, each in punctured})
        again.add_parts(txn, root, {name: set(each.removed) for name, each in punctured})
        again.add_parts(txn, root, {name: set(range(PARTS)) for name in found.emptied})
        return again.reserved_bytes


def test_keys_that_were_rolled_back_are_not_remembered() -> None:
    store = Store()
    with transaction(store) as txn:
        locator, _ = store.vault.seal(txn, 7, STANDARD, b"lost", CONTEXT, 0)
        store.vault.doom(txn, [locator])
        txn.rollback(0)
        again, _ = store.vault.seal(txn, 7, STANDARD, b"kept", CONTEXT, 0)
        assert again == locator
        store.vault.doom(txn, [again])  # opens its row under the new leaf's key
        assert store.vault.begin_switch(txn) is not None


class WeakTxn(Txn):
    """A transaction whose end can be seen."""

    __slots__ = ("__weakref__",)


def test_marks_and_switch_do_not_keep_their_transaction() -> None:
    """In a cycle it would keep one of the engine's few snapshots."""
    store = Store()
    others = store.kept(1, stream=8)
    store.close_epochs()
    parts = store.kept(2)
    txn = WeakTxn(store.engine.snapshot())
    watched = weakref.ref(txn)
    store.vault.doom(txn, [*parts[:1], *others])
    switch = store.vault.begin_switch(txn)
    gc.disable()
    del txn
    assert watched() is None
    gc.enable()
    assert switch is not None
