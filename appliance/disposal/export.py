"""Write the ledger, and the scope of a run, as the texts that the offline verifier reads.

    ledger export
    strongroom-ledger/1
    log: strongroom/<NodeId>/<Inc>
    site key: <base64>
    day keys: <number>
    day key: <first day> <base64 of the key> <base64 of its certification>     once for each
    checkpoints: <number>
    <note of five lines>                                                       once for each
    leaves: <number>
    operation <op_hash in hex>  or  segment <statement in hex>                 once for each

    scope
    strongroom-scope/1
    run: <number>
    key: <hex>
    <leaf in hex>                                                              once for each

An export ends where its newest checkpoint does: what came later is not signed yet.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from appliance.context import refuse
from store import notes, verifier
from store.engine.contract import Reader
from store.errors import IntegrityError
from store.ledger import LeafKind, Ledger
from store.logreader import LogReader
from store.tables import CHECKPOINT

_KINDS: Final = {LeafKind.OP: "operation", LeafKind.SEGMENT: "segment"}
_NOTE_LINES: Final = 5


class Page(NamedTuple):
    """Some lines of an export, each without its newline; ``after`` is empty on the last page."""

    lines: tuple[str, ...]
    after: str


class _Cursor(NamedTuple):
    """Where a page begins: behind the checkpoint of size ``noted``, at leaf ``leaf``."""

    origin: int
    size: int
    noted: int
    leaf: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


def lines(log: LogReader, reader: Reader, origin: int) -> Iterator[str]:
    """Yield the lines of an origin's ledger up to its newest checkpoint, with their newlines.

    Streams: memory does not grow with the leaves. Raises ``IntegrityError`` when there is no
    checkpoint, and for a leaf that the log does not bear out.
    """
    start = _start(reader, origin)
    yield from (line + "\n" for line in _head(log, reader, start))
    for note in _notes(reader, start):
        yield from (line + "\n" for line in note)
    yield f"leaves: {start.size}\n"
    yield from (line + "\n" for line in _leaves(reader, start))


def page(log: LogReader, reader: Reader, origin: int, after: str, most: int) -> Page:
    """Return one page of what ``lines`` yields: about ``most`` lines (the first has every key).

    ``after`` is the page before's, or empty for the first one of this origin. Later pages are
    of the same tree, however it has grown. Refuses ("request.invalid") an ``after`` that no page
    has given, and raises as ``lines`` does.
    """
    found: list[str] = []
    at = _read_cursor(reader, after) if after else _start(reader, origin)
    if not after:
        found += _head(log, reader, at)
    if at.noted < at.size:
        for note in _notes(reader, at):
            found += note
            at = at._replace(noted=int(note[1]))
            if len(found) >= most:
                break
        if at.noted < at.size:
            return Page(tuple(found), str(at))
        found.append(f"leaves: {at.size}")
    end = min(at.size, at.leaf + max(0, most - len(found)))
    found += _leaves(reader, at._replace(size=end))
    return Page(tuple(found), str(at._replace(leaf=end)) if end < at.size else "")


def scope(run: int, key: bytes, leaves: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a run's scope, with their newlines; ``key`` has 32 bytes.

    Who has it can tell for any message whether the run destroyed it.
    """
    yield f"{verifier.SCOPE}\n"
    yield f"run: {run}\n"
    yield f"key: {key.hex()}\n"
    yield from (f"{leaf.hex()}\n" for leaf in leaves)


def _start(reader: Reader, origin: int) -> _Cursor:
    newest = notes.newest_checkpoint(reader, origin)
    if newest is None:
        raise IntegrityError("the ledger has no checkpoint")
    return _Cursor(origin, newest.size, -1, 0)


def _read_cursor(reader: Reader, text: str) -> _Cursor:
    try:
        cursor = _Cursor(*map(int, text.split(".")))
        known = reader.get(CHECKPOINT.key(cursor.origin, cursor.size)) is not None
    except (TypeError, ValueError, struct.error):
        raise refuse("request.invalid") from None
    if not known or not 0 <= cursor.leaf < cursor.size or not 0 <= cursor.noted <= cursor.size:
        raise refuse("request.invalid")
    return cursor


def _head(log: LogReader, reader: Reader, start: _Cursor) -> Iterator[str]:
    """Yield what comes before the checkpoints; reads them all for their keys."""
    row = log.origins[start.origin]
    kept = [each.day_key for each in notes.checkpoints(reader, start.origin)]
    keys = sorted(set(kept))
    yield verifier.LEDGER
    yield f"log: {notes.log_name(row.origin)}"
    yield f"site key: {b64encode(row.verify_key).decode()}"
    yield f"day keys: {len(keys)}"
    yield from (f"day key: {key.text}" for key in keys)
    yield f"checkpoints: {len(kept)}"


def _notes(reader: Reader, at: _Cursor) -> Iterator[list[str]]:
    """Yield the lines of each checkpoint behind the one noted, up to the export's last."""
    for kept in notes.checkpoints(reader, at.origin, at.noted):
        if kept.size > at.size:
            return
        found = kept.note.decode().split("\n")[:-1]
        if len(found) != _NOTE_LINES:
            raise IntegrityError("a checkpoint that this site did not write")
        yield found


def _leaves(reader: Reader, at: _Cursor) -> Iterator[str]:
    ledger = Ledger.open(reader, at.origin)
    for leaf in ledger.leaves(reader, at.leaf, at.size):
        yield f"{_KINDS[leaf.reference.kind]} {leaf.data[1:].hex()}"
