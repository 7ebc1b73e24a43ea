"""Two sites on the real engine, the real disk and the real writer's thread end with one log."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random

from store.engine.txn import Txn
from store.ids import Origin
from store.oplog import Entry
from store.shipping import Shipment
from store.tables import SEGMENT
from store.vault import STANDARD
from tests.store.logbox import founding, message, privileged
from tests.store.sitepair import BRANCH_KEY, LANES, about, essence, lane_of, note
from tests.store.test_oplog_lmdb import Site

PIECE = 40


def test_what_one_site_made_another_one_has(tmp_path: Path) -> None:
    drafts = [note(n % 9, n % 4, bytes((0x91, n % 128))) for n in range(600)]
    for name in ("sender", "receiver"):
        (tmp_path / name).mkdir()
    sender = Site(tmp_path / "sender", is_new=True, key=BRANCH_KEY)
    sender.run([*drafts, about(1, 0), founding(), privileged()])
    origin = Origin(sender.log.node, sender.log.head.incarnation)
    pieces, rows = cut(sender)

    receiver = Site(tmp_path / "receiver", is_new=True)
    deliver(receiver, origin, pieces[: len(pieces) // 2], [])
    receiver.engine.close()  # without telling the fence, as a killed process would

    receiver = Site(tmp_path / "receiver", is_new=False)
    assert deliver(receiver, origin, pieces, rows) == [True] * len(rows)
    same(sender, receiver, origin)
    receiver.engine.close()
    sender.engine.close()


def cut(sender: Site) -> tuple[list[list[Shipment]], list[bytes]]:
    """Return a site's log in pieces of one lane each, and its closed segments."""
    rng, pieces = Random(7), []
    with closing(sender.engine.snapshot()) as reader:
        lanes = [
            [
                sender.log.ship(reader, 1, record)
                for _seq, record in sender.log.lane(reader, 1, lane, 0, 1_000)
            ]
            for lane in LANES
        ]
        rows = [row for _key, row in reader.range(*SEGMENT.span(1))]
    while lanes := [lane for lane in lanes if lane]:
        lane = rng.choice(lanes)
        pieces.append(lane[:PIECE])
        del lane[:PIECE]
    assert rows
    return pieces, rows


def deliver(
    receiver: Site, origin: Origin, pieces: list[list[Shipment]], rows: list[bytes]
) -> list[bool]:
    """Receive pieces among commands of the receiver's own; tell what of ``rows`` is proved."""
    log = receiver.log

    def take(txn: Txn, now_ms: int, piece: list[Shipment]) -> list[Entry | None]:
        number = log.add_origin(txn, origin, bytes(BRANCH_KEY.verify_key), is_whole=True)
        return [
            log.receive(
                txn,
                number,
                shipment,
                retention_class=STANDARD,
                now_ms=now_ms,
                lane=lane_of(shipment),
            )
            for shipment in piece
        ]

    def prove(txn: Txn, now_ms: int, row: bytes) -> bool:
        del now_ms
        number = log.number_of(origin)
        assert number is not None
        return log.attest(txn, number, row)

    receiver.work([partial(take, piece=piece) for piece in pieces])
    receiver.run([message(3)])
    return receiver.work([partial(prove, row=row) for row in rows])


def same(sender: Site, receiver: Site, origin: Origin) -> None:
    number = receiver.log.number_of(origin)
    assert number is not None
    with closing(receiver.engine.snapshot()) as there, closing(sender.engine.snapshot()) as here:
        expected = [essence(entry) for entry in sender.log.scan(here, 1)]
        assert [essence(entry) for entry in receiver.log.scan(there, number)] == expected
        assert receiver.log.prefix(there, number) == sender.log.prefix(here, 1)
        replayed = [entry.pos for entry in receiver.log.replay(there)]
        assert replayed == list(range(1, receiver.log.head.pos + 1))
        assert list(receiver.log.verify(there)) == []
