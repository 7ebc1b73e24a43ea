"""The log on the real engine, the real disk and the real writer's thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from nacl.signing import SigningKey

from store.clocks import SystemClock, SystemEntropy
from store.disk import FileDisk
from store.engine.lmdb import LmdbEngine
from store.engine.txn import Txn
from store.fence import Fence
from store.oplog import Draft, Op, OpLog
from store.streams import Streams
from store.vault import NoWrap, Vault
from store.writer import Completion, Writer
from tests.store.logbox import SITE_KEY, founding, message, privileged, sign

T = TypeVar("T")

ENTROPY = SystemEntropy()


class Site:
    """One start of a site on a directory of the operating system."""

    def __init__(self, path: Path, *, is_new: bool, key: SigningKey = SITE_KEY) -> None:
        signer = partial(sign, key=key)
        self.engine = LmdbEngine(path / "db", map_bytes=64 << 20)
        self.token = self.engine.acquire()
        keys = FileDisk(path / "keys")
        fence = Fence(FileDisk(path / "data"))
        with closing(self.engine.snapshot()) as snapshot:
            txn = Txn(snapshot)
            if is_new:
                vault = Vault.create(txn, keys, ENTROPY, NoWrap())
                streams = Streams(vault, ENTROPY)
                self.log = OpLog.create(
                    txn,
                    vault,
                    streams,
                    fence,
                    entropy=ENTROPY,
                    sign=signer,
                    verify_key=bytes(key.verify_key),
                )
            else:
                vault = Vault.open(txn, keys, ENTROPY, NoWrap())
                streams = Streams.load(txn, vault, ENTROPY)
                self.log = OpLog.open(txn, vault, streams, fence, entropy=ENTROPY, sign=signer)
            if txn.writes:
                self.engine.batch(txn.writes, self.token)

    def run(self, drafts: list[Draft]) -> list[Op]:
        """Append through the writer's thread and wait for everything to be durable."""
        return self.work([partial(self.log.append, draft=draft) for draft in drafts])

    def work(self, commands: list[Callable[..., T]]) -> list[T]:
        """Let the writer's thread call each with ``txn`` and ``now_ms``; wait until durable."""
        done: SimpleQueue[list[Completion[T]]] = SimpleQueue()
        failures: list[BaseException] = []

        def decide(txn: Txn, actor: None, command: Callable[..., T], now_ms: int) -> T:
            return command(txn, now_ms=now_ms)

        writer = Writer(
            self.engine,
            decide,
            SystemClock(),
            done.put,
            before_commit=self.log.before_commit,
            failed=failures.append,
            token=self.token,
        )
        writer.start()
        for command in commands:
            writer.submit(None, command, None)
        writer.stop()
        assert failures == []
        outcomes: list[T] = []
        while len(outcomes) < len(commands):
            for completion in done.get_nowait():
                assert completion.error is None
                assert completion.outcome is not None
                outcomes.append(completion.outcome)
        return outcomes

    def check(self, expected: list[Op]) -> None:
        with closing(self.engine.snapshot()) as snapshot:
            assert list(self.log.replay(snapshot)) == expected
            assert list(self.log.verify(snapshot)) == []


def test_the_log_survives_stops_and_crashes_on_real_parts(tmp_path: Path) -> None:
    drafts = [message(n % 7) for n in range(1_400)] + [privileged(), founding()]
    site = Site(tmp_path, is_new=True)
    expected = site.run(drafts)
    site.check(expected)
    site.log.close()
    site.engine.close()

    site = Site(tmp_path, is_new=False)
    assert site.log.breach is None
    expected += site.run(drafts[:50])
    site.engine.close()  # without telling the fence, as a killed process would

    site = Site(tmp_path, is_new=False)
    assert site.log.breach is None
    site.check(expected)
    assert site.log.head.seq == len(expected)
    site.engine.close()
