"""A store with a log on the simulated engine and disks, as the tests of the log need it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from random import Random
from typing import TypeVar

from nacl.signing import SigningKey

from store.clocks import ManualClock, SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.engine.txn import Txn
from store.fence import UNREADABLE, Fence
from store.ids import Stream, StreamKind
from store.logcheck import Finding
from store.logreader import LogReader
from store.oplog import Draft, Op, OpClass, OpLog
from store.streams import Streams
from store.tables import Table
from store.vault import AUDIT, CONTROL, STANDARD, NoWrap, Vault

T = TypeVar("T")

SITE_KEY = SigningKey(bytes(range(32)))
LANE_KINDS = 400
"""Kinds from here on are in the lane of their remainder by four, all others in lane 0."""


def sign(message: bytes, key: SigningKey = SITE_KEY) -> bytes:
    return bytes(key.sign(message).signature)


def lane_of(op: Op) -> int:
    """Return the lane that the drafts of the tests are in."""
    return op.kind % 4 if op.kind >= LANE_KINDS else 0


def conversation(number: int) -> Stream:
    return Stream(StreamKind.CONVERSATION, number.to_bytes(16, "big"))


def person(number: int) -> Stream:
    return Stream(StreamKind.PERSON, number.to_bytes(16, "big"))


def message(number: int = 1, body: bytes = b"\x91\xa2hi", **changes: object) -> Draft:
    stream = conversation(number)
    fields = {
        "kind": 7,
        "op_class": OpClass.MESSAGE,
        "stream": stream,
        "retention_class": STANDARD,
        "actor": b"a" * 16,
        "device": b"d" * 16,
        "counter": 5,
        "conversation": stream.id,
        "body": body,
    }
    return Draft(**(fields | changes))  # type: ignore[arg-type]


def privileged(body: bytes = b"\x91\x01") -> Draft:
    return Draft(
        kind=40,
        op_class=OpClass.PRIVILEGED,
        stream=Stream(StreamKind.AUDIT, bytes(16)),
        retention_class=AUDIT,
        actor=b"o" * 16,
        body=body,
    )


def founding(body: bytes = b"\x91\x02") -> Draft:
    return Draft(
        kind=1,
        op_class=OpClass.CONTROL,
        stream=None,
        retention_class=CONTROL,
        actor=b"a" * 16,
        body=body,
        in_timeline=True,
    )


class Box:
    """One site's store; ``create`` it, then ``commit`` to it, ``crash`` it and ``open`` it."""

    vault: Vault
    streams: Streams
    log: OpLog

    def __init__(self, seed: int | str = 0, key: SigningKey = SITE_KEY) -> None:
        self.key = key
        self.medium = Medium()
        self.data = MemoryDisk()
        self.keys = MemoryDisk()
        self.entropy = SeededEntropy(seed)
        self.clock = ManualClock()
        self.machine = UNREADABLE
        self.engine = MemoryEngine(self.medium)
        self.token = self.engine.acquire()

    def create(self) -> Box:
        with closing(self.engine.snapshot()) as snapshot:
            txn = Txn(snapshot)
            self.vault = Vault.create(txn, self.keys, self.entropy, NoWrap())
            self.streams = Streams(self.vault, self.entropy)
            self.log = OpLog.create(
                txn,
                self.vault,
                self.streams,
                Fence(self.data, self.machine),
                entropy=self.entropy,
                sign=self.sign,
                verify_key=bytes(self.key.verify_key),
            )
            self.engine.batch(txn.writes, self.token)
        return self

    def open(self) -> Box:
        """Start again on the same disks, as a new process would."""
        self.engine = MemoryEngine(self.medium)
        self.token = self.engine.acquire()
        with closing(self.engine.snapshot()) as snapshot:
            txn = Txn(snapshot)
            self.vault = Vault.open(txn, self.keys, self.entropy, NoWrap())
            self.streams = Streams.load(txn, self.vault, self.entropy)
            fence = Fence(self.data, self.machine)
            self.log = OpLog.open(
                txn, self.vault, self.streams, fence, entropy=self.entropy, sign=self.sign
            )
            if txn.writes:
                self.engine.batch(txn.writes, self.token)
        return self

    def crash(self, seed: int = 0) -> Box:
        """Cut the power: what was not synced is lost or torn."""
        rng = Random(seed)
        self.medium.probe = self.data.probe = self.keys.probe = None
        self.medium.crash(rng)
        self.data.crash(rng)
        self.keys.crash(rng)
        return self

    def commit(self, work: Callable[[Txn], T]) -> T:
        """Run ``work`` as one batch of the writer."""
        with closing(self.engine.snapshot()) as snapshot:
            txn = Txn(snapshot)
            result = work(txn)
            self.log.before_commit(txn, self.clock.wall_ms())
            if txn.writes:
                self.engine.batch(txn.writes, self.token)
        return result

    def append(self, *drafts: Draft) -> list[Op]:
        now = self.clock.wall_ms()
        return self.commit(lambda txn: [self.log.append(txn, draft, now) for draft in drafts])

    def read(self, work: Callable[[Txn], T]) -> T:
        """Run ``work`` on a view of the last commit."""
        with closing(self.engine.snapshot()) as snapshot:
            return work(Txn(snapshot))

    def sign(self, data: bytes) -> bytes:
        return sign(data, self.key)

    def findings(self) -> list[Finding]:
        return self.read(lambda reader: list(self.log.verify(reader, lane_of)))

    def fresh_reader(self) -> LogReader:
        """Read the log as a program without the running one's memory does."""

        def load(reader: Txn) -> LogReader:
            vault = Vault.open(reader, self.keys, self.entropy, NoWrap())
            return LogReader.load(reader, vault, Streams.load(reader, vault, self.entropy))

        return self.read(load)

    def rows(self, *tables: Table) -> dict[bytes, bytes]:
        """Return the stored rows of some tables, or of all."""
        return {
            key: value for key, value in self.medium.rows.items() if not tables or key[0] in tables
        }
