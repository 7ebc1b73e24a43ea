"""Give an operation of another site its row in the log, and show it like one of our own.

Its parts are sealed under this site's keys. What does not come along is ``DROPPED``, and may be
filled in when it comes after all; what was destroyed here stays so, whoever sends it.
"""

from __future__ import annotations

from typing import NamedTuple

from store import feeds, hlc, ops, records, shipping
from store.engine.txn import Txn
from store.envelope import Envelope
from store.ids import OpId
from store.limits import CLOCK_AHEAD_MS
from store.ops import Op, Remnant
from store.origins import OriginRow
from store.records import PartState, Record
from store.shipping import Shipment
from store.streams import Streams, feed_stream
from store.tables import LOG
from store.vault import CONTROL, Locator, Vault

NO_CHAIN = bytes(32)
"""Chain of a row that was received: numbers come out of order, see ``store.attestation``."""

NOWHERE = Locator(0, 0, 0)
"""Where the key of nothing is."""


class Arrival(NamedTuple):
    """An operation that came, and what this site decides about it.

    ``bones`` and ``digest`` are its skeleton and op_hash, ``known`` the row it has here already.
    """

    number: int
    origin: OriginRow
    shipment: Shipment
    bones: bytes
    digest: bytes
    known: Record | None
    pos: int
    retention_class: int
    now_ms: int
    lane: int
    is_quarantined: bool
    late: bool

    @property
    def key(self) -> bytes:
        """The key of its LOG row."""
        return LOG.key(self.number, self.shipment.seq)


def brings_news(known: Record, shipment: Shipment) -> bool:
    """Tell whether a shipment has a part that was dropped here, or never came."""
    if known.envelope_state is PartState.DROPPED:
        return bool(shipment.envelope)
    is_hidden = known.body_state in (PartState.DROPPED, PartState.ESCROWED)
    if known.envelope_state is PartState.PRESENT and is_hidden:
        return shipment.body is not None
    return False


def is_ahead(envelope: Envelope, arrival: Arrival) -> bool:
    """Tell whether the operation's timeline key is not to be believed.

    Headquarters, to which the whole log comes, judges by its clock; all others follow it.
    """
    if arrival.origin.is_partial:
        return arrival.shipment.is_ahead
    key = hlc.key(envelope.t, envelope.floor)
    return arrival.shipment.is_ahead or hlc.millis(key) > arrival.now_ms + CLOCK_AHEAD_MS


def log_bare(txn: Txn, arrival: Arrival) -> Remnant:
    """Write the row of an operation that is new here and of which no part came."""
    flags = _flags(arrival)
    gone = records.states(PartState.DROPPED, PartState.DROPPED)
    row = records.pack(flags, arrival.bones, NO_CHAIN, arrival.pos, NOWHERE, b"", gone)
    txn.put(arrival.key, row)
    return Remnant(
        _op_id(arrival),
        arrival.number,
        arrival.shipment.op_class,
        arrival.digest,
        arrival.pos,
        NOWHERE.stream,
        PartState.DROPPED,
    )


def log(txn: Txn, vault: Vault, streams: Streams, arrival: Arrival, envelope: Envelope) -> Op:
    """Write the row of an operation whose envelope came, and its rows in the views."""
    shipment, known = arrival.shipment, arrival.known
    assert shipment.stream is not None, "a shipment with an envelope has a stream"
    pseudonym = streams.ensure(txn, shipment.stream, arrival.now_ms)
    named = feed_stream(shipment.stream, envelope.conversation)
    feed = pseudonym if named is shipment.stream else streams.ensure(txn, named, arrival.now_ms)
    flags = _flags(arrival, envelope)
    if known is not None and known.envelope_state is PartState.PRESENT:
        # It is shown already. The key that opens the envelope alone must not outlive this row.
        flags = known.flags
        vault.doom(txn, [known.locator])
    body = _seal(txn, vault, pseudonym, flags, arrival)
    op = ops.build(
        _op_id(arrival),
        arrival.number,
        shipment.op_class,
        envelope,
        shipment.stream,
        pseudonym,
        feed,
        body,
        arrival.digest,
        arrival.pos,
        flags,
    )
    feeds.show(txn, op, feeds.head(txn, feed))
    return op


def _seal(txn: Txn, vault: Vault, pseudonym: int, flags: int, arrival: Arrival) -> bytes | None:
    """Seal what came and put the row; return the body as far as it is kept.

    An envelope alone stays as long as its stream does, as when its body was destroyed here.
    """
    known, parts = arrival.known, shipping.parts_of(arrival.shipment)
    body, body_state = parts.body, PartState.PRESENT
    if known is not None and known.body_state is PartState.DESTROYED:
        body = None
    if body is None:
        body_state = PartState.DROPPED if known is None else known.body_state
        plaintext = records.envelope_only(parts.envelope_salt, parts.envelope)
    else:
        plaintext = records.whole(parts.salt, parts.envelope, body)
    retention_class = CONTROL if body is None else arrival.retention_class
    locator, sealed = vault.seal(
        txn, pseudonym, retention_class, plaintext, arrival.digest, arrival.now_ms
    )
    chain = NO_CHAIN if known is None else known.chain
    part_states = records.states(PartState.PRESENT, body_state)
    txn.put(
        arrival.key,
        records.pack(flags, arrival.bones, chain, arrival.pos, locator, sealed, part_states),
    )
    return body


def _flags(arrival: Arrival, envelope: Envelope | None = None) -> int:
    """Return the row's flags; without an envelope nothing is known of time and timeline."""
    flags = records.lane_flags(arrival.lane if arrival.known is None else arrival.known.lane)
    if arrival.late:
        flags |= records.LATE
    if arrival.is_quarantined:
        flags |= records.QUARANTINED
    if envelope is None:
        return flags
    shipment = arrival.shipment
    if is_ahead(envelope, arrival):
        flags |= records.AHEAD
    if ops.is_in_timeline(
        shipment.stream,
        shipment.op_class,
        envelope.conversation,
        envelope.target,
        asks=shipment.in_timeline,
    ):
        flags |= records.TIMELINE
    return flags


def _op_id(arrival: Arrival) -> OpId:
    return OpId(*arrival.origin.origin, arrival.shipment.seq)
