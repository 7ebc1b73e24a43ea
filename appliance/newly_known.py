"""Let operations of other sites count whose kind this build has come to know.

A branch or headquarters of a newer version may send kinds that are unknown here. They are logged,
passed on, and have no effect (``appliance.sites.unknown``). When a build that knows the kind
starts, each of them is judged as it would have been on arrival, and every view is written anew
from the log, theirs included.
"""

from __future__ import annotations

from typing import Final

from appliance.operations import SPECS, Kind, decode
from appliance.revival import rebuild_views
from appliance.sites.belief import is_well_formed
from appliance.sites.reach import may_come_from_branch
from appliance.sites.unknown import noted
from store.engine.contract import Engine
from store.engine.txn import Txn
from store.errors import PartGoneError
from store.ids import SITE_STREAM
from store.logreader import LogReader
from store.oplog import Op
from store.ports import Entropy
from store.records import QUARANTINED, Record
from store.streams import Streams
from store.tables import LOG, REGISTER
from store.vault import Vault

OPERATIONS_IN_BATCH: Final = 256
"""Operations judged in one batch, each of at most 64 KiB."""


def catch_up(engine: Engine, token: int, vault: Vault, entropy: Entropy) -> int:
    """Let operations count whose kind this build knows by now; return how many there were.

    To be called before the site's state is loaded. Costs one look where nothing waits, else
    O(store). Interrupted, it begins again with the next start.
    """
    with engine.snapshot() as reader:
        known = [each for each in noted(reader) if each.kind in SPECS]
        if not known:
            return 0
        streams = Streams.load(reader, vault, entropy)
        log = LogReader.load(reader, vault, streams)
        site = streams.pseudonym(SITE_STREAM) or 0
        is_branch = reader.get(REGISTER.key(site, Kind.SITE_HEADQUARTERS, 0)) is not None
        for start in range(0, len(known), OPERATIONS_IN_BATCH):
            txn = Txn(reader)
            for each in known[start : start + OPERATIONS_IN_BATCH]:
                _judge(txn, log, (each.origin, each.seq), is_branch=is_branch)
            engine.batch(txn.writes, token)
    rebuild_views(engine, token, vault, entropy)
    for start in range(0, len(known), OPERATIONS_IN_BATCH):
        done = known[start : start + OPERATIONS_IN_BATCH]
        engine.batch({each.key: None for each in done}, token)
    return len(known)


def _judge(txn: Txn, log: LogReader, place: tuple[int, int], *, is_branch: bool) -> None:
    """Quarantine an operation that no honest site makes, now that this can be told."""
    try:
        op = log.read(txn, *place)
    except PartGoneError:
        return
    if op.body is not None and not _is_sound(op, is_branch=is_branch):
        record = Record.unpack(txn.get(LOG.key(*place)) or b"")
        marked = record._replace(flags=record.flags | QUARANTINED)
        txn.put(LOG.key(*place), marked.pack())


def _is_sound(op: Op, *, is_branch: bool) -> bool:
    """Tell whether an operation is one of its kind; a branch believes what headquarters passes."""
    try:
        body = decode(op.kind, op.body or b"")
    except (ValueError, KeyError):
        return False
    may_be = is_branch or may_come_from_branch(op.kind)
    return may_be and is_well_formed(op.kind, op.stream, body)
