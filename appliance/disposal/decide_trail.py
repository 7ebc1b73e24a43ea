"""Decide reading the trail, what devices say they have dropped, and which key replicas count."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appliance.context import Context, refuse
from appliance.directory.requests import canonical_json
from appliance.disposal import decide_requests, export, numbers, reading, rights, selection
from appliance.disposal.commands import ExportLedger, NameReplica, ReadTrail, RetireReplica
from appliance.disposal.limits import LEDGER_LINES, TRAIL_ENTRIES
from appliance.disposal.replies import LedgerPage, Requested, Trail, TrailEntry
from appliance.disposal.state import Request
from appliance.messaging import targets
from appliance.operations import (
    BodyStruct,
    DeviceWiped,
    Kind,
    PrivilegedRead,
    ReplicaNamed,
    ReplicaRetired,
)
from store.errors import PartGoneError
from store.ids import SITE_STREAM, Stream, StreamKind
from store.ledger import Leaf, LeafKind
from transports.wire import schema

if TYPE_CHECKING:
    from appliance.core import Core

_NUMBERED: Final = ("run", "hold", "request", "version", "replica", "day")
"""Fields that name what an act was about."""

RETIRE: Final = "replica.retire"


def read(core: Core, ctx: Context, command: ReadTrail) -> Trail:
    """Decide ``audit.read``: leaves of the ledger after an index; itself a leaf."""
    rights.signed(ctx, command, rights.READERS)
    ledger = core.log.ledger
    size = ledger.size
    first = command.after + 1 if command.after >= 0 else max(0, size - command.limit)
    last = min(size, first + max(1, min(command.limit, TRAIL_ENTRIES)))
    entries = tuple(_entry(core, ctx, leaf) for leaf in ledger.leaves(ctx.txn, first, last))
    reading.note(ctx, "trail")
    return Trail(entries, size)


def export_ledger(core: Core, ctx: Context, command: ExportLedger) -> LedgerPage:
    """Decide ``ledger.export``: a page of the export's lines; the first one is recorded."""
    rights.signed(ctx, command, rights.READERS)
    if not command.after:
        reading.note(ctx, "ledger")
    page = export.page(core.log, ctx.txn, core.log.head.origin, command.after, LEDGER_LINES)
    return LedgerPage(*page)


def wiped(core: Core, ctx: Context, command: schema.Wiped) -> schema.Ok:
    """Decide the frame ``wiped``: this device has dropped what a run destroyed, and all before."""
    device = ctx.actor.device
    if not device or command.certificate not in core.disposal.runs:
        raise refuse("run.unknown")
    if core.disposal.wiped.get(device, 0) < command.certificate:
        stream = Stream(StreamKind.DEVICE, device)
        ctx.append(Kind.DEVICE_WIPED, DeviceWiped(command.certificate), stream=stream)
    return schema.Ok(re=command.id or 0)


def name_replica(core: Core, ctx: Context, command: NameReplica) -> int:
    """Decide that destruction waits for one more key replica; by the site alone."""
    assert ctx.actor.is_site, "the operator names replicas through the site"
    for known in core.disposal.replicas.values():
        if known.identity == command.identity:
            return known.number
    number = numbers.take(ctx.txn, "replica")
    body = ReplicaNamed(number, command.name, command.identity)
    ctx.append(Kind.REPLICA_NAMED, body, stream=SITE_STREAM)
    return number


def retire(core: Core, ctx: Context, command: RetireReplica) -> Requested:
    """Decide ``replica.retire``: two officers say that a replica is gone for good."""
    officer = rights.signed(ctx, command)
    if not any(each.name == command.replica for each in core.disposal.replicas.values()):
        raise refuse("replica.unknown")
    arguments = canonical_json({"replica": command.replica})
    made, _ = decide_requests.propose(core, ctx, officer, RETIRE, arguments, command.reason)
    return Requested(made.number, made.body.digest.hex(), 0, 0, 0, 0, made.body.expires_ms)


def _perform_retire(core: Core, ctx: Context, request: Request) -> None:
    name = msgspec.json.decode(request.body.arguments, type=dict[str, str])["replica"]
    for known in list(core.disposal.replicas.values()):
        if known.name == name:
            body = ReplicaRetired(known.number, request.number, ctx.actor.signed)
            ctx.append(Kind.REPLICA_RETIRED, body, stream=SITE_STREAM)


def _entry(core: Core, ctx: Context, leaf: Leaf) -> TrailEntry:
    """Describe a leaf; what its operation said about whom stays out of it."""
    if leaf.reference.kind is LeafKind.SEGMENT:
        return TrailEntry(leaf.index, "segment", "", "", 0, "", leaf.data)
    try:
        op = core.log.read(ctx.txn, leaf.reference.origin, leaf.reference.seq)
    except PartGoneError:
        return TrailEntry(leaf.index, "act", "destroyed", "", 0, "", leaf.data)
    act = Kind(op.kind).name.lower().replace("_", ".")
    by = selection.login(core, op.actor)
    detail = _detail(targets.body_of(op))
    return TrailEntry(leaf.index, "act", act, by, op.received_ms, detail, op.id.pack())


def _detail(body: BodyStruct | None) -> str:
    """Say by number what an act was about, and of a read what was read; no name, no reason."""
    if isinstance(body, PrivilegedRead):
        record = f" of record {body.target.hex()}" if body.target else ""
        return f"{body.what}{record}"
    for name in _NUMBERED:
        number = getattr(body, name, 0)
        if isinstance(number, int) and number:
            return f"{name} {number}"
    return ""


decide_requests.PERFORM[RETIRE] = _perform_retire

DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    ReadTrail: read,
    ExportLedger: export_ledger,
    schema.Wiped: wiped,
    NameReplica: name_replica,
    RetireReplica: retire,
}
