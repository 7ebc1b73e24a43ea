"""Change the root of all keys while somebody reads, as destructions do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from appliance.site import Site
from store.engine.contract import Engine, Snapshot
from store.engine.txn import Txn
from store.vault import STANDARD, StaleSnapshotError


def destroy_something(site: Site, engine: Engine) -> None:
    """Change the root, as a destruction does; nothing that anybody asks for is destroyed."""
    token = site.writer._token
    with engine.snapshot() as snapshot:
        txn = Txn(snapshot)
        locator, _ = site.vault.seal(txn, 1 << 40, STANDARD, b"waste", bytes(32), 0)
        engine.batch(txn.writes, token)
    with engine.snapshot() as snapshot:
        txn = Txn(snapshot)
        site.vault.doom(txn, [locator])
        switch = site.vault.begin_switch(txn)
        assert switch is not None
        switch.write()
        engine.batch(txn.writes, token)
        switch.finish(engine)
    site.vault.purge()


class RestlessSnapshot:
    """A snapshot during which the root is changed after some reads."""

    def __init__(self, engine: RestlessEngine, snapshot: Snapshot, reads: int) -> None:
        self._engine = engine
        self._snapshot = snapshot
        self._reads = reads

    def get(self, key: bytes) -> bytes | None:
        self._reads -= 1
        if self._reads == 0:
            destroy_something(self._engine.site, self._engine.real)
        return self._snapshot.get(key)

    def range(self, *args: Any, **options: Any) -> Iterator[tuple[bytes, bytes]]:
        return self._snapshot.range(*args, **options)

    def close(self) -> None:
        self._snapshot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine.stale += kind is StaleSnapshotError
        self.close()


class RestlessEngine:
    """The engine as readers meet it; ``plan`` tells for each snapshot the read that is too late.

    0 stands for none. ``stale`` counts the reads that had to be given up.
    """

    def __init__(self, site: Site, plan: Callable[[], int]) -> None:
        self.site = site
        self.real = site.ports.engine
        self.stale = 0
        self._plan = plan

    def snapshot(self) -> RestlessSnapshot:
        return RestlessSnapshot(self, self.real.snapshot(), self._plan())
