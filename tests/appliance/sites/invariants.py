"""State what must hold at headquarters and branches once every line has been whole for a while.

Each function takes sites and proves one thing; the names are those of the requirement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from appliance import check
from appliance.disposal.escrow import Kept
from appliance.limits import UNREAD
from appliance.messaging import feed, receipts, targets, timeline, unread
from appliance.site import Site
from appliance.sites.reach import Reach, reach
from store import hlc
from store.engine.contract import Reader
from store.feeds import FEED_ROW
from store.ids import OpId, Origin, StreamKind
from store.oplog import Op
from store.records import PartState, Record
from store.skeleton import Skeleton
from store.tables import FEED, LOG, SEGMENT

RESUMES = ((0.5, 64), (0.9, 1))
"""From where of all that they heard clients resume in a proof, and in pages of how many events."""


def nothing_is_lost(hub: Site, branch: Site) -> None:
    """I1: headquarters has every operation of a branch, whatever its incarnation was then."""
    ours, theirs = hub.core.log, branch.core.log
    with hub.ports.engine.snapshot() as here, branch.ports.engine.snapshot() as there:
        for number, row in theirs.origins.items():
            if not row.is_own:
                continue
            made = dict(theirs.records(there, number))
            known = ours.number_of(row.origin)
            records = [] if known is None else ours.records(here, known)
            kept = {seq: record.skeleton for seq, record in records}
            if theirs.has_rest(number):
                _is_said_again(branch, made, kept)
                continue
            assert kept == {seq: record.skeleton for seq, record in made.items()}, "lost"


def _is_said_again(branch: Site, made: dict[int, Record], kept: dict[int, bytes]) -> None:
    """Prove of a log that went on differently that nothing of it is here only under its name."""
    own = branch.core.log
    with branch.ports.engine.snapshot() as reader:
        for record in made.values():
            name = Skeleton.unpack(record.skeleton).id
            is_there = kept.get(name.seq) == record.skeleton
            if is_there or record.envelope_state is not PartState.PRESENT:
                continue
            number = own.number_of(Origin(name.node, name.incarnation))
            assert number is not None
            op = own.entry(reader, number, record)
            assert isinstance(op, Op)
            assert reach(op.kind, op.stream.kind) in (Reach.SITE, Reach.KEPT), (
                "it is not said again"
            )


def logs_are_proven(hub: Site, branch: Site) -> None:
    """Headquarters has every statement of a branch about its log, and each one holds."""
    ours, theirs = hub.core.log, branch.core.log
    with hub.ports.engine.snapshot() as here, branch.ports.engine.snapshot() as there:
        for number, row in theirs.origins.items():
            if row.is_own and not theirs.has_rest(number):
                closed = [value for _key, value in there.range(*SEGMENT.span(number))]
                known = ours.number_of(row.origin)
                assert known is not None
                assert [value for _key, value in here.range(*SEGMENT.span(known))] == closed


def nothing_is_there_twice(site: Site) -> None:
    """I2: no operation has two places, and no command that was sent once had its effect twice."""
    for places in _feeds(site):
        assert len(places) == len(set(places)), "an operation is in a feed twice"
    with site.ports.engine.snapshot() as reader:
        applied = [
            entry.id
            for entry in site.core.log.replay(reader)
            if site.core.log.place_of(entry.id) == (entry.origin, entry.id.seq)
        ]
    assert len(applied) == len(set(applied)), "an operation has been applied twice"


def acknowledged_stands_in_order(hub: Site, conv: bytes, names: list[bytes]) -> None:
    """I1, I2, I3: what a device was told is kept stands there, once each, as it was sent.

    Unless it was destroyed since, be it before headquarters heard of it.
    """
    known = hub.core.conversations.get(conv)
    assert known is not None
    with hub.ports.engine.snapshot() as reader:
        rows = timeline.entries(reader, known.pseudonym, [(0, hlc.LIMIT)], 0, hlc.LIMIT)
        shown = [entry.id.pack() for entry in rows]
        kept = [name for name in names if is_there(hub, reader, name)]
    assert [name for name in shown if name in set(names)] == kept


def is_there(site: Site, reader: Reader, name: bytes) -> bool:
    """Tell whether a site that knows of a message still has its body."""
    place = site.core.log.find(reader, OpId.unpack(name))
    assert place is not None, "what was acknowledged was never heard of"
    return Record.unpack(reader.get(LOG.key(*place)) or b"").body_state is PartState.PRESENT


def is_kept(site: Site, place: tuple[int, int]) -> bool:
    """Tell whether an operation is hidden at a site, and a hold keeps it."""
    with site.ports.engine.snapshot() as reader:
        state = Record.unpack(reader.get(LOG.key(*place)) or b"").body_state
        op = site.core.log.read(reader, *place)
        return state is PartState.ESCROWED and Kept(site.core, reader).is_held(op)


def causes_come_first(hub: Site) -> None:
    """I4: what an operation speaks of was applied before it, and so was its conversation.

    Headquarters that was set back has lost what it said itself, and is sent again what others had
    said before in the order in which they come back.
    """
    log = hub.core.log
    was_set_back = sum(row.is_own for row in log.origins.values()) > 1
    with hub.ports.engine.snapshot() as reader:
        places = {entry.id: entry.pos for entry in log.replay(reader)}
        for entry in log.replay(reader):
            if not isinstance(entry, Op) or entry.is_quarantined:
                continue
            if entry.target:
                cause = places.get(OpId.unpack(entry.target), entry.pos)
                assert cause < entry.pos or was_set_back, "an effect without its cause"
            known = hub.core.conversations.get(entry.stream.id)
            if known is not None and entry.stream.kind is StreamKind.CONVERSATION:
                direct = known.is_direct  # two sites may begin one: the later is still its
                assert direct or known.created.pos <= entry.pos, "said before it was begun"


def cursors_have_no_gap(site: Site) -> None:
    """I6: whoever asks for what followed a position gets all of it, in the order of positions.

    For everybody at home here: from any cursor and in pages of any size they hear the same, and
    every message that they may read is among it.
    """
    core = site.core
    with site.ports.engine.snapshot() as reader:
        positions = [entry.pos for entry in core.log.replay(reader)]
        assert positions == sorted(set(positions)), "positions do not rise"
        for person in core.directory.people():
            if not core.sites.is_home(person.id):
                continue
            heard = _heard(site, reader, person.id, 0, feed.ROWS)
            assert heard == sorted(set(heard)), "a client hears out of order, or twice"
            for share, page in RESUMES:
                start = int(share * len(heard))
                cursor = heard[start - 1] if start else 0
                again = _heard(site, reader, person.id, cursor, page)
                assert again == heard[start:], "a client that resumes misses something"
            assert set(_readable(site, reader, person.id)) <= set(heard), "a client never hears"


def _heard(site: Site, reader: Reader, person: bytes, pos: int, page: int) -> list[int]:
    """Return the positions of what a client is told that resumes after one, page by page."""
    core, found = site.core, list[int]()
    upto: int | None = pos
    while upto is not None:
        missed = feed.events_after(reader, core.log, core.conversations, person, upto, page)
        found += [at for at, _ in missed.events]
        assert missed.upto is None or missed.upto > upto, "a client's cursor does not move"
        upto = missed.upto
    return found


def _readable(site: Site, reader: Reader, person: bytes) -> Iterator[int]:
    """Yield the positions of all messages that somebody may read and that are here."""
    core = site.core
    for known in map(core.conversations.get, core.conversations.current(person)):
        assert known is not None
        member = known.members[person]
        for entry in timeline.entries(reader, known.pseudonym, [(0, hlc.LIMIT)], 0, hlc.LIMIT):
            op = core.log.read(reader, entry.origin, entry.id.seq)
            if op.body is not None and member.hears(entry.key):
                yield entry.pos


def unread_is_what_it_counts(site: Site) -> None:
    """I7: unread is each message of somebody else that was heard and came after the read mark."""
    core = site.core
    with site.ports.engine.snapshot() as reader:
        read = partial(core.log.read, reader)
        for known in map(core.conversations.get, core.conversations.ids()):
            assert known is not None
            entries = timeline.entries(reader, known.pseudonym, [(0, hlc.LIMIT)], 0, hlc.LIMIT)
            messages = [(entry, read(entry.origin, entry.id.seq)) for entry in entries]
            recalled = {op.id for _, op in messages if targets.standing(reader, read, op).recalled}
            for member in known.members.values():
                if not core.sites.is_home(member.person):
                    continue
                receipt = receipts.get(reader, known.pseudonym, member.pseudonym)
                waiting = [
                    op
                    for entry, op in messages
                    if op.actor != member.person
                    and op.id not in recalled
                    and member.hears(entry.key)
                    and entry.pos > receipt.read_pos
                ]
                log, state = core.log, core.conversations
                counted = unread.count(reader, log, state, known, member, receipt)
                assert counted == min(len(waiting), UNREAD), "unread is not what was not read"


def nothing_is_out_of_scope(branch: Site) -> None:
    """I10: a branch holds nothing of a conversation in which nobody was ever at home there."""
    core = branch.core
    with branch.ports.engine.snapshot() as reader:
        for number, row in core.log.origins.items():
            if row.is_own:
                continue
            for _seq, record in core.log.records(reader, number):
                if record.body_state is not PartState.PRESENT:
                    continue
                stream = core.streams.stream(record.locator.stream)
                if stream is None or stream.kind is not StreamKind.CONVERSATION:
                    continue
                known = core.conversations.get(stream.id)
                assert known is not None
                people = (*known.members, *known.former)
                assert any(map(core.sites.is_home, people)), "a body outside the scope"


def views_follow_the_log(site: Site) -> None:
    """I5, for one site: what it shows is what its log says; every chain and segment verifies."""
    with site.ports.engine.snapshot() as reader:
        assert check.check(site.core, reader) == []


def all_but_proofs(sites: Iterable[Site]) -> None:
    """Prove all that does not need the statements of segments; the first is headquarters."""
    hub, *branches = sites
    for site in (hub, *branches):
        views_follow_the_log(site)
        nothing_is_there_twice(site)
        cursors_have_no_gap(site)
        unread_is_what_it_counts(site)
    causes_come_first(hub)
    for branch in branches:
        nothing_is_lost(hub, branch)
        nothing_is_out_of_scope(branch)


def all_hold(sites: Iterable[Site]) -> None:
    """Prove all of it; the first site is headquarters."""
    hub, *branches = sites
    all_but_proofs((hub, *branches))
    for branch in branches:
        logs_are_proven(hub, branch)


def _feeds(site: Site) -> Iterator[list[tuple[int, int]]]:
    """Yield the places (origin number, seq) in each conversation's feed, by position."""
    core = site.core
    with site.ports.engine.snapshot() as reader:
        for known in map(core.conversations.get, core.conversations.ids()):
            assert known is not None
            rows = reader.range(*FEED.span(known.pseudonym))
            yield [FEED_ROW.unpack(value)[:2] for _key, value in rows]
