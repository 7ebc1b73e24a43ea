"""Two sites with a log each, and what travels between them, as the tests of receiving need it."""

from __future__ import annotations

from nacl.signing import SigningKey

from store import shipping
from store.engine.contract import Reader
from store.ids import Origin
from store.ops import Draft, Entry, Op
from store.records import Record
from store.shipping import Shipment
from store.skeleton import OpClass
from store.tables import TIMELINE, Table
from store.vault import STANDARD
from tests.store.logbox import LANE_KINDS, Box, conversation, message, person

BRANCH_KEY = SigningKey(bytes(range(1, 33)))
LANES = range(4)


def branch(seed: int | str = "branch") -> Box:
    return Box(seed, BRANCH_KEY).create()


def headquarters(seed: int | str = "headquarters") -> Box:
    return Box(seed).create()


def note(number: int, lane: int, body: bytes = b"\x91\xa2hi", **changes: object) -> Draft:
    """Return a message of a kind that belongs in ``lane``."""
    return message(number, body, kind=LANE_KINDS + lane, lane=lane, **changes)


def about(number: int, lane: int) -> Draft:
    """Return what a person's keys hold about a conversation, and asks to be seen in it."""
    return note(number, lane, stream=person(7), op_class=OpClass.CONTROL, in_timeline=True)


def shipped(box: Box, lane: int | None = None, number: int = 1) -> list[Shipment]:
    """Return an origin's operations as they leave, of one lane or of all in their order."""

    def work(reader: Reader) -> list[Shipment]:
        return [
            box.log.ship(reader, number, record)
            for _seq, record in box.log.records(reader, number)
            if lane is None or record.lane == lane
        ]

    return box.read(work)


def lane_of(shipment: Shipment) -> int:
    envelope = shipping.envelope_of(shipment)
    return envelope.kind % 4 if envelope is not None and envelope.kind >= LANE_KINDS else 0


def origin_of(box: Box) -> Origin:
    return Origin(box.log.node, box.log.head.incarnation)


def join(receiver: Box, sender: Box, *, is_whole: bool = True) -> int:
    """Let a site know another one's origin; return its number there."""
    key = bytes(sender.key.verify_key)
    return receiver.commit(
        lambda txn: receiver.log.add_origin(txn, origin_of(sender), key, is_whole=is_whole)
    )


def receive(
    receiver: Box,
    number: int,
    *shipments: Shipment,
    lane: int | None = None,
    is_quarantined: bool = False,
    late: bool = False,
) -> list[Entry | None]:
    now = receiver.clock.wall_ms()
    return receiver.commit(
        lambda txn: [
            receiver.log.receive(
                txn,
                number,
                shipment,
                retention_class=STANDARD,
                now_ms=now,
                lane=lane_of(shipment) if lane is None else lane,
                is_quarantined=is_quarantined,
                late=late,
            )
            for shipment in shipments
        ]
    )


def essence(entry: Entry) -> tuple[object, ...]:
    """Return what is the same of an operation at every site."""
    if not isinstance(entry, Op):
        return entry.id, entry.op_class, entry.op_hash
    names = "id kind op_class stream actor device counter t floor key conversation target seen"
    same = tuple(getattr(entry, name) for name in names.split())
    return (*same, entry.body, entry.op_hash, entry.received_ms, entry.in_timeline, entry.lane)


def held(box: Box, number: int) -> list[tuple[object, ...]]:
    return [essence(entry) for entry in box.read(lambda reader: list(box.log.scan(reader, number)))]


def timeline(box: Box, number: int) -> list[tuple[int | bytes, ...]]:
    """Return key and name of everything in a conversation's timeline, in order."""
    feed = box.streams.pseudonym(conversation(number))
    columns = [TIMELINE.columns(key) for key in sorted(box.rows(Table.TIMELINE))]
    return [each[1:] for each in columns if each[0] == feed]


def positions(box: Box) -> list[int]:
    """Return the positions of all operations in a store, rising."""
    return sorted(Record.unpack(row).pos for row in box.rows(Table.LOG).values())
