"""State what must hold of records that ended at some site, and of those that a hold keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from appliance.disposal import scope
from appliance.disposal.orders import DONE, HELD
from appliance.operations import (
    BodyStruct,
    DestructionIntent,
    DestructionOrder,
    HoldPlaced,
    HoldReleased,
    Kind,
    decode,
)
from appliance.site import Site
from appliance.sites.limits import EXPIRED_MS
from store import hlc
from store.ids import OpId
from store.oplog import Op
from store.records import PartState, Record
from store.tables import LOG
from tests.appliance.disposal.thief import Thief
from tests.appliance.simulation import World
from tests.appliance.sites import invariants

Place = tuple[int, int]


def what_is_destroyed_opens_nowhere(world: World) -> None:
    """I8: no byte that a site's devices ever held opens to what was destroyed there."""
    thief = Thief.of(world.medium, world.keys)
    for place, record in _rows(world):
        if record.body_state is PartState.DESTROYED:
            assert not any(thief.bodies(place)), f"a destroyed body opens at {place}"


def what_headquarters_lacks_was_destroyed_where_it_was_made(
    sites: Sequence[Site], names: Iterable[bytes]
) -> None:
    """I1, where records end: a message is gone because a run of its site or of headquarters did."""
    ends = {site.core.log.node: list(_ends(site)) for site in sites}
    hub = sites[0]
    with hub.ports.engine.snapshot() as reader:
        gone = [OpId.unpack(name) for name in names if not invariants.is_there(hub, reader, name)]
    for name in gone:
        runs = ends[hub.core.log.node] + ends[name.node]
        assert any(scope.leaf(end.key, name) in end.leaves for end in runs), "gone without a run"


def orders_are_carried_out(sites: Iterable[Site]) -> None:
    """I8, across sites: what headquarters ordered to end is nowhere, but where a hold keeps it."""
    hub, *branches = sites
    across = hub.core.disposal.across
    for order in across.known.values():
        answers = across.answers(hub.core.sites, order.run)
        assert {each.state for each in answers} <= {DONE, HELD}, "an order is not answered"
        with hub.ports.engine.snapshot() as reader:
            body = hub.core.body_of(hub.core.log.read(reader, *order.place))
        assert isinstance(body, DestructionOrder)
        for branch in branches:
            for target in body.targets:
                _is_nowhere(branch, OpId.unpack(target))


def _is_nowhere(site: Site, name: OpId) -> None:
    log = site.core.log
    with site.ports.engine.snapshot() as reader:
        place = log.find(reader, name)
        if place is None:
            return
        state = Record.unpack(reader.get(LOG.key(*place)) or b"").body_state
    assert state is not PartState.PRESENT, f"{place} was ordered to end, and is shown"
    if state is PartState.ESCROWED:
        assert invariants.is_kept(site, place), "no hold keeps it"


def nothing_is_destroyed_against_a_hold(site: Site, authors: dict[bytes, bytes]) -> None:
    """I9: nothing ends at a site while it knows of a hold on who wrote it."""
    ends = list(_ends(site))
    for hold in _holds(site):
        held = [OpId.unpack(name) for name, author in authors.items() if author in hold.persons]
        for end in ends:
            if hold.pos < end.pos < hold.released_pos:
                leaves = {scope.leaf(end.key, name) for name in held}
                assert leaves.isdisjoint(end.leaves), "what was held is destroyed"


class _End(NamedTuple):
    """One slice of a run: where it stands, and the leaves of what it destroyed."""

    pos: int
    key: bytes
    leaves: frozenset[bytes]


class _Hold(NamedTuple):
    """A hold on persons, from one position of a site's log to another."""

    persons: tuple[bytes, ...]
    pos: int
    released_pos: int


def _ends(site: Site) -> Iterator[_End]:
    with site.ports.engine.snapshot() as reader:
        before: dict[int, int] = {}
        for op, body in _said(site, Kind.DESTRUCTION_INTENT):
            assert isinstance(body, DestructionIntent)
            if not site.core.log.is_own(op.origin):  # another site's runs have numbers of its own
                continue
            leaves = list(scope.leaves(reader, body.run))[before.get(body.run, 0) : body.parts]
            before[body.run] = body.parts
            yield _End(op.pos, body.scope_key, frozenset(leaves))


def _holds(site: Site) -> Iterator[_Hold]:
    released = {}
    for op, body in _said(site, Kind.HOLD_RELEASED):
        assert isinstance(body, HoldReleased)
        released[body.hold] = op.pos
    for op, body in _said(site, Kind.HOLD_PLACED):
        assert isinstance(body, HoldPlaced)
        yield _Hold(body.predicate.persons, op.pos, released.get(body.hold, 1 << 62))


def nothing_is_destroyed_without_a_lease(branch: Site) -> None:
    """I11: whatever a branch destroys, headquarters has confirmed its authority not long before."""
    granted_ms = 0
    for op, _ in _said(branch, Kind.LEASE_GRANTED, Kind.DESTRUCTION_INTENT):
        if not branch.core.log.is_own(op.origin):
            continue
        if op.kind == Kind.LEASE_GRANTED:
            granted_ms = hlc.millis(op.t)
        else:
            assert granted_ms, "a branch destroys that was never confirmed"
            assert hlc.millis(op.t) - granted_ms < EXPIRED_MS, "a branch destroys on an old lease"


def _said(site: Site, *kinds: Kind) -> Iterator[tuple[Op, BodyStruct]]:
    """Yield the operations of some kinds that a site has, in the order in which they came."""
    with site.ports.engine.snapshot() as reader:
        for entry in site.core.log.replay(reader):
            if isinstance(entry, Op) and entry.kind in kinds and entry.body is not None:
                yield entry, decode(entry.kind, entry.body)


def _rows(world: World) -> Iterator[tuple[Place, Record]]:
    for key in list(world.medium.rows.irange(*LOG.span(), inclusive=(True, False))):
        origin, seq = LOG.columns(key)
        yield (origin, seq), Record.unpack(world.medium.rows[key])
