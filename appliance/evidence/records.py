"""Gather what an export tells of each record: versions, events, who was there, receipts, proofs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from appliance.disposal.escrow import Kept
from appliance.evidence import lines, openings, tombstones, versions
from appliance.evidence.openings import Opened, Prover
from appliance.evidence.rosters import Roster, Rosters
from appliance.evidence.walk import Found
from appliance.messaging import receipts
from appliance.messaging.model import Conversation
from appliance.messaging.receipts import NOTHING, Receipt
from appliance.positions import format_key
from store import hlc
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.tables import TARGET

if TYPE_CHECKING:
    from appliance.core import Core


class Gathered(NamedTuple):
    """A record's line, and the line about its conversation that it refers to."""

    context: lines.Conversation
    record: lines.Record


@dataclass(frozen=True, slots=True)
class _Setting:
    """A roster as a line, with the members' marks sorted for counting."""

    line: lines.Conversation
    roster: Roster
    marks: dict[bytes, Receipt]
    delivered: list[int]
    read: list[int]


class Collector:
    """Gathers on one view of the store, with the names of this moment."""

    def __init__(self, reader: Reader, core: Core) -> None:
        self._reader = reader
        self._core = core
        self._prover = Prover(reader)
        self._open = partial(openings.open_row, core.log, reader)
        self._kept = Kept(core, reader)
        self._rosters: tuple[bytes, Rosters] | None = None
        self._setting: _Setting | None = None

    def record(self, found: Found) -> Gathered | lines.Destroyed:
        """Return what there is to tell; a tombstone when the message has gone meanwhile.

        Raises ``StaleSnapshotError`` when keys were destroyed since the view was taken, and
        ``IntegrityError`` or ``FormatError`` for what does not open.
        """
        known = self._core.conversations.get(found.conversation)
        if known is None or not found.is_there:
            return self.tombstone(found)
        try:
            root = self._open(*found.place)
        except PartGoneError:
            return self.tombstone(found)
        setting = self._setting_of(known, root.op.key)
        return Gathered(setting.line, self._record(root, setting))

    def tombstone(self, found: Found) -> lines.Destroyed:
        """Return the line for a message that is gone, or nobody's to read."""
        origin, seq = found.place
        (row,) = (each for _, each in self._core.log.records(self._reader, origin, seq, seq))
        return tombstones.line(row, found.conversation, hlc.millis(found.entry.key))

    def _record(self, root: Opened, setting: _Setting) -> lines.Record:
        targets = list(self._targets(root))
        opened = {each.op.id: each for each in targets if each is not None} | {root.op.id: root}
        history = versions.history(root.op, (op.op for op in targets if op is not None))
        delivered, read = _receipts(setting, root)
        return lines.Record(
            id=root.op.id.pack().hex(),
            conversation=setting.line.conversation,
            context=setting.line.context,
            key=format_key(root.op.key),
            at=root.op.received_ms,
            state=lines.ESCROWED if root.is_hidden else _state(history),
            copy_of=root.op.target.hex(),
            delivered=delivered,
            read=read,
            lost=targets.count(None),
            versions=tuple(self._operation(opened[op.id]) for op in history.versions),
            events=tuple(self._operation(opened[op.id]) for op in history.events),
        )

    def _targets(self, root: Opened) -> Iterator[Opened | None]:
        """Yield what targets a message; None for each of which nothing is left."""
        place = (root.op.origin, root.op.id.seq)
        rows = (TARGET.columns(key)[2:] for key, _ in self._reader.range(*TARGET.span(*place)))
        for each in chain(rows, self._kept.targeting(place)):
            try:
                yield self._open(*each)
            except PartGoneError:
                yield None

    def _operation(self, opened: Opened) -> lines.Operation:
        op = opened.op
        return lines.Operation(
            id=op.id.pack().hex(),
            kind=openings.kind_name(op.kind),
            by=self.named(op.actor),
            device=op.device.hex(),
            n=op.counter,
            at=op.received_ms,
            key=format_key(op.key),
            content=openings.content(op.kind, op.body),
            proof=self._prover.prove(opened),
        )

    def named(self, person: bytes) -> lines.Named:
        """Return a person with the names known now."""
        known = self._core.directory.person(person)
        if known is None:
            return lines.Named(person.hex(), "", "")
        return lines.Named(person.hex(), known.login, known.name)

    # --- who was there --------------------------------------------------------------------------

    def _setting_of(self, known: Conversation, key: int) -> _Setting:
        """Return who was there and how far they are; the one used last is remembered."""
        if self._rosters is None or self._rosters[0] != known.id:
            self._rosters, self._setting = (known.id, Rosters(known, self._core.directory)), None
        roster = self._rosters[1].at(key)
        if self._setting is None or self._setting.roster is not roster:
            self._setting = self._make_setting(known, roster)
        return self._setting

    def _make_setting(self, known: Conversation, roster: Roster) -> _Setting:
        table = receipts.of_conversation(self._reader, known.pseudonym)
        marks = {each.person: table.get(each.pseudonym, NOTHING) for each in roster.members}
        line = lines.Conversation(
            context="",
            conversation=known.id.hex(),
            kind=known.kind,
            title=known.title,
            labels=known.labels,
            retention_class=known.retention_class,
            archived=known.archived,
            created_at=known.created.at,
            members=tuple(self._member(person, receipt) for person, receipt in marks.items()),
        )
        line = lines.named(line)
        delivered = sorted(each.delivered_key for each in marks.values())
        read = sorted(each.read_key for each in marks.values())
        return _Setting(line, roster, marks, delivered, read)

    def _member(self, person: bytes, receipt: Receipt) -> lines.Member:
        known = self._core.directory.person(person)
        return lines.Member(
            person=person.hex(),
            login=known.login if known is not None else "",
            name=known.name if known is not None else "",
            unit=known.unit if known is not None else "",
            delivered_key=format_key(receipt.delivered_key) if receipt.delivered_key else "",
            delivered_at=receipt.delivered_ms,
            read_key=format_key(receipt.read_key) if receipt.read_key else "",
            read_at=receipt.read_ms,
        )


def _state(history: versions.History) -> str:
    if history.root.body is None:
        return lines.BODY_DESTROYED
    return lines.RECALLED if history.is_recalled else lines.PRESENT


def _receipts(setting: _Setting, root: Opened) -> tuple[int, int]:
    """Return how many members other than the author have received and read a message."""
    key = root.op.key
    delivered = len(setting.delivered) - bisect_left(setting.delivered, key)
    read = len(setting.read) - bisect_left(setting.read, key)
    own = setting.marks.get(root.op.actor, NOTHING)
    return delivered - (own.delivered_key >= key), read - (own.read_key >= key)
