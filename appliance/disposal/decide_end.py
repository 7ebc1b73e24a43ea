"""Decide the end of a site: asked by one officer, approved by another, carried out by either.

The decision is the last thing that the ledger says: what ends, on whose word, and that the root
of all keys is to be effaced here and in every key replica. It cannot say that this was done,
since nothing can be written without the root; the closing note does
(``appliance.disposal.ending``). From this decision on nothing else is decided, but that a key
replica whose device is gone is waited for no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appliance.backup_age import NoteBackup
from appliance.context import Context, refuse
from appliance.directory.requests import canonical_json
from appliance.disposal import certificate, decide_requests, decide_runs, numbers, remains, rights
from appliance.disposal.commands import (
    ApproveRequest,
    Confirm,
    EndAsked,
    EndFound,
    ListRequests,
    NameReplica,
    RejectRequest,
    RetireReplica,
    SignRequest,
)
from appliance.disposal.decide_slices import added
from appliance.disposal.replies import Ended, Requested
from appliance.disposal.state import Request
from appliance.health import Probe
from appliance.operations import DestructionIntent, Kind, SiteDecommissioned
from appliance.policy.approvals import MS_PER_SECOND
from store.ids import AUDIT_STREAM, SITE_STREAM
from store.merkle import Frontier

if TYPE_CHECKING:
    from appliance.core import Core

ACT: Final = "decommission"
CLOSING: Final = "CLOSING"
"""The state of the certificate: the keys end after it was made."""

DECIDED: Final = "decommission.decided"
"""What everything else is refused with, once the site has been ended."""

EVIDENCE: Final = (
    "root.0 and root.1 are effaced after this entry, here and in each key replica named below; "
    "the closing note, signed by the site's key, says that it was done"
)

STILL_DECIDED: Final = frozenset(
    (
        EndFound,
        RetireReplica,
        SignRequest,
        ApproveRequest,
        RejectRequest,
        ListRequests,
        NameReplica,
        Probe,
        NoteBackup,
    )
)
"""What is decided once the site has been ended."""


def request(core: Core, ctx: Context, command: EndAsked) -> Requested:
    """Decide ``decommission.request``; codes: hold.active, decommission.minimum."""
    asked = command.command
    officer = rights.signed(ctx, asked)
    _expect_free(core, is_young=command.is_young and not asked.transferred)
    seen = [core.log.head.pos, core.log.ledger.size]
    made, _ = decide_requests.propose(
        core,
        ctx,
        officer,
        ACT,
        canonical_json({"transferred": asked.transferred}),
        asked.reason,
        dry_run=sha256(canonical_json(seen).encode()).digest(),
        records=command.records,
    )
    body = made.body
    cooling_seconds = body.cooling_ms // MS_PER_SECOND
    return Requested(
        made.number, body.digest.hex(), body.records, 0, 0, cooling_seconds, body.expires_ms
    )


def run(core: Core, ctx: Context, command: EndFound) -> Ended:
    """Decide ``decommission.run``; once it is decided, return the same certificate again.

    Codes: approval.*, clock.unproven (from what was prepared), hold.active,
    decommission.minimum, decommission.moved.
    """
    rights.signed(ctx, command.command)
    ended = core.disposal.decommissioned
    if ended is None:
        known = decide_requests.known(core, command.command.request, ACT)
        _expect_ready(core, ctx, known)
        arguments = msgspec.json.decode(known.body.arguments, type=dict[str, bool])
        _expect_free(core, is_young=command.is_young and not arguments["transferred"])
        if command.generation != core.vault.generation:
            raise refuse("decommission.moved")
        ended = _end(core, ctx, known, command)
    place = core.disposal.runs[ended.run].place
    return Ended(ended.run, certificate.build(core.log, ctx.txn, place))


def _expect_ready(core: Core, ctx: Context, known: Request) -> None:
    now_ms = decide_requests.now_ms(core)
    known.approval.run(now_ms, known.body.dry_run, known.body.records)
    left_ms = (decide_requests.ready_ms(core, known) or 0) - now_ms
    if left_ms > 0:
        raise refuse("approval.cooling", after=left_ms / MS_PER_SECOND)
    if core.disposal.is_jumping(core.reading()):
        raise refuse("clock.unproven")


def _expect_free(core: Core, *, is_young: bool) -> None:
    """Raise while anything must be kept: a hold outlives everything, a minimum is law."""
    if core.disposal.active_holds():
        raise refuse("hold.active")
    if is_young:
        raise refuse("decommission.minimum")


def _end(core: Core, ctx: Context, known: Request, command: EndFound) -> SiteDecommissioned:
    tree = Frontier(command.size, command.peaks)
    remains.extend(core.log, ctx.txn, tree, command.scope_key, dict(command.upto))
    number = numbers.take(ctx.txn, "run")
    ended = SiteDecommissioned(number, known.number, ctx.actor.signed)
    ctx.append(Kind.SITE_DECOMMISSIONED, ended, stream=SITE_STREAM)
    generation = core.vault.generation
    intent = DestructionIntent(
        number,
        1,
        decide_runs.DECOMMISSION,
        known.number,
        core.disposal.policies.number,
        command.scope_key,
        tree.root(),
        tree.size,
        added((), Counter({(name, day): records for name, day, records in command.counts})),
        (generation, generation),
        ctx.now,
    )
    ctx.append(Kind.DESTRUCTION_INTENT, intent, stream=AUDIT_STREAM)
    replicas = tuple((each.name, generation) for each in core.disposal.replicas.values())
    confirmed = Confirm(number, 0, (EVIDENCE,), replicas, 0, 0)
    decide_runs.record(core, ctx, intent, tree, confirmed, CLOSING)
    return ended


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    EndAsked: request,
    EndFound: run,
}
