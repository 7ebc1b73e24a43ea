"""Reads begin anew when a destruction has made their snapshot stale, and not for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from store import reading
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import PartGoneError
from store.reading import READ_ATTEMPTS
from store.vault import Locator, StaleSnapshotError
from tests.store.vault.harness import CONTEXT, Store

Part = tuple[Locator, bytes]


def destroy(store: Store, part: Part) -> None:
    """Destroy one part: a whole root switch."""
    with store.engine.snapshot() as snapshot:
        txn = Txn(snapshot)
        store.vault.doom(txn, [part[0]])
        switch = store.vault.begin_switch(txn)
        assert switch is not None
        switch.write()
        store.engine.batch(txn.writes, store.token)
        switch.finish(store.engine)


class Scene:
    """A store in which something is destroyed during each of the first reads."""

    def __init__(self, destructions: int) -> None:
        self.store = Store()
        self.kept = self.store.seal(b"kept", stream=1)
        self._doomed = [self.store.seal(b"doomed", stream=2) for _ in range(destructions)]
        self.reads = 0

    def opening(self, part: Part) -> Callable[[Reader], bytes]:
        def open_it(reader: Reader) -> bytes:
            self.reads += 1
            if self._doomed:
                destroy(self.store, self._doomed.pop())
            self.store.vault.purge()
            return self.store.vault.unseal(reader, *part, CONTEXT)

        return open_it


def test_without_a_destruction_one_snapshot_is_enough() -> None:
    scene = Scene(0)
    assert reading.read(scene.store.engine, scene.opening(scene.kept)) == b"kept"
    assert scene.reads == 1


@pytest.mark.parametrize("destructions", [1, 3, READ_ATTEMPTS - 1])
def test_what_survives_is_read_from_a_newer_snapshot(destructions: int) -> None:
    scene = Scene(destructions)
    assert reading.read(scene.store.engine, scene.opening(scene.kept)) == b"kept"
    assert scene.reads == destructions + 1


def test_a_read_that_is_always_too_late_gives_up() -> None:
    scene = Scene(READ_ATTEMPTS)
    with pytest.raises(StaleSnapshotError):
        reading.read(scene.store.engine, scene.opening(scene.kept))
    assert scene.reads == READ_ATTEMPTS


def test_every_snapshot_is_closed() -> None:
    for destructions in (0, 2, READ_ATTEMPTS):
        scene = Scene(destructions)
        try:
            reading.read(scene.store.engine, scene.opening(scene.kept))
        except StaleSnapshotError:
            assert destructions == READ_ATTEMPTS
        assert scene.store.medium.snapshots == set()


def test_what_was_destroyed_is_gone_and_no_reason_to_try_again() -> None:
    scene = Scene(0)
    destroy(scene.store, scene.kept)
    with pytest.raises(PartGoneError):
        reading.read(scene.store.engine, scene.opening(scene.kept))
    assert scene.reads == 1
