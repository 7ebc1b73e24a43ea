"""Make the lines of one page, and the site's signature under the whole export at its end.

Works on a snapshot, outside the writer, when the trace of what is shown is durable.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from appliance.directory.limits import DAY_MS
from appliance.evidence import cursors, lines
from appliance.evidence.cursors import Cursor, Phase, Position, Tally
from appliance.evidence.decide import Chosen, Selected
from appliance.evidence.records import Collector, Gathered
from appliance.evidence.selection import both, chosen_pseudonyms
from appliance.evidence.tombstones import Tombstones
from appliance.policy.predicate import Predicate
from appliance.version import program_version
from store import hlc, reading
from store.engine.contract import Engine, Reader
from store.errors import PartGoneError

if TYPE_CHECKING:
    from appliance.core import Core

_WHOLE = 1000
"""Progress of a whole export, in thousandths."""

_PSEUDONYMS = 1 << 64


@dataclass(frozen=True, slots=True)
class Sheet:
    """One page as it is handed out.

    ``after`` is the cursor for the next page, empty behind the last. ``group`` names the
    conversation (hex) and day (ISO) of the records in it, or is empty. ``progress`` counts
    thousandths, roughly.
    """

    lines: tuple[bytes, ...]
    after: str
    group: tuple[str, str] | None
    progress: int
    tally: Tally


def page(engine: Engine, core: Core, selected: Selected) -> Sheet:
    """Return the lines of a page; O(records, and operations of the segments they are in)."""
    return reading.read(engine, lambda reader: _page(reader, core, selected))


def reconstruct(engine: Engine, core: Core, chosen: Chosen) -> Gathered:
    """Return one message with all its versions; raises ``PartGoneError`` when it has just gone."""

    def gather(reader: Reader) -> Gathered:
        gathered = Collector(reader, core).record(chosen.found)
        if isinstance(gathered, lines.Destroyed):
            raise PartGoneError("the message is destroyed")
        return gathered

    return reading.read(engine, gather)


class _Sheet:
    """A page in the making: lines, and what they come to."""

    def __init__(self, cursor: Cursor) -> None:
        self.lines: list[bytes] = []
        self.chain = cursor.chain
        self.context = cursor.context
        self.tally = cursor.tally

    def add(self, line: lines.Line) -> None:
        """Add a line."""
        data = lines.encode(line)
        self.lines.append(data)
        self.chain = lines.chain(self.chain, data)

    def add_record(self, gathered: Gathered | lines.Destroyed) -> None:
        """Add a record, behind the line about its conversation unless that was the last such."""
        if isinstance(gathered, lines.Destroyed):
            self.add(gathered)
            self.tally = self.tally._replace(destroyed=self.tally.destroyed + 1)
            return
        if gathered.context.context != self.context:
            self.context = gathered.context.context
            self.add(gathered.context)
        self.add(gathered.record)
        operations = (*gathered.record.versions, *gathered.record.events)
        self.tally = self.tally._replace(
            records=self.tally.records + 1,
            operations=self.tally.operations + len(operations),
            pending=self.tally.pending + sum(each.proof.is_pending for each in operations),
        )


def _page(reader: Reader, core: Core, selected: Selected) -> Sheet:
    sheet, position = _Sheet(selected.cursor), selected.position
    collector = Collector(reader, core)
    if selected.started_ms:
        sheet.add(_header(core, collector, selected))
    for found in selected.found:
        sheet.add_record(collector.record(found))
    if selected.cursor.position.phase is Phase.DESTROYED:
        stones, position = _tombstones(reader, core, selected)
        for stone in stones:
            sheet.add_record(stone)
    if position.phase is Phase.DONE:
        sheet.add(_end(core, sheet))
        return Sheet(tuple(sheet.lines), "", None, _WHOLE, sheet.tally)
    cursor = Cursor(
        selected.cursor.binding,
        selected.cursor.horizon,
        position,
        sheet.tally,
        sheet.chain,
        "" if selected.command.by_day else sheet.context,
    )
    after = cursors.write(cursor, core.sign)
    progress = _progress(core, selected, position)
    return Sheet(tuple(sheet.lines), after, _group(selected), progress, sheet.tally)


def _tombstones(
    reader: Reader, core: Core, selected: Selected
) -> tuple[list[lines.Destroyed], Position]:
    wanted = both(selected.approved, selected.asked)
    stones = Tombstones(reader, core, wanted, selected.cursor.horizon)
    return stones.page(selected.cursor.position)


def _header(core: Core, collector: Collector, selected: Selected) -> lines.Header:
    sites = {row.origin.node: row.verify_key for row in core.log.origins.values()}
    return lines.Header(
        schema=lines.SCHEMA,
        site=core.site_name,
        node=core.log.node.hex(),
        sites=tuple(lines.SiteKey(node.hex(), key.hex()) for node, key in sorted(sites.items())),
        program=program_version(),
        request=selected.command.request,
        by=collector.named(selected.person),
        reason=selected.command.reason,
        asked=_scope(collector, selected.asked),
        approved=_scope(collector, selected.approved),
        started_at=selected.started_ms,
    )


def _scope(collector: Collector, predicate: Predicate) -> lines.Scope:
    return lines.Scope(
        tuple(collector.named(person) for person in predicate.persons),
        tuple(each.hex() for each in predicate.conversations),
        predicate.units,
        predicate.labels,
        predicate.from_ms,
        predicate.until_ms,
    )


def _end(core: Core, sheet: _Sheet) -> lines.End:
    unsigned = lines.End(*sheet.tally, sheet.chain.hex(), b"")
    signature = core.sign(lines.end_bytes(unsigned, core.log.node))
    return lines.End(*sheet.tally, sheet.chain.hex(), signature)


def _group(selected: Selected) -> tuple[str, str] | None:
    if not selected.found:
        return None
    conversation, day = selected.found[0].group
    date = datetime.fromtimestamp(day * DAY_MS / 1000, UTC).date()
    return conversation.hex(), date.isoformat()


def _progress(core: Core, selected: Selected, position: Position) -> int:
    """Return about how much is done, in thousandths: by conversations, and by time in the last."""
    if position.phase is not Phase.RECORDS:
        return _WHOLE - 1
    chosen = chosen_pseudonyms(both(selected.approved, selected.asked), core.conversations)
    if chosen is None:
        return position.place * _WHOLE // _PSEUDONYMS
    before = sum(each < position.place for each in chosen)
    done = (_WHOLE * before + _within(core, position)) // max(len(chosen), 1)
    return min(done, _WHOLE - 1)


def _within(core: Core, position: Position) -> int:
    """Return how far the walk is in its conversation, in thousandths of the time it covers."""
    stream = core.streams.stream(position.place)
    known = None if stream is None else core.conversations.get(stream.id)
    if known is None or not position.key:
        return 0
    first = hlc.millis(known.created.key)
    span = hlc.millis(core.conversations.front(known.pseudonym).key) - first
    return min(_WHOLE, max(0, hlc.millis(position.key) - first) * _WHOLE // max(span, 1))
