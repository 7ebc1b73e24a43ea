"""Decide orders and what is told of runs: request, begin, confirm, list, certify.

The confirmed operation says everything that a certificate says, so that the certificate can show
its opening and stand alone once the audit stream has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appliance.context import Context, refuse
from appliance.directory.model import REMOVED
from appliance.directory.requests import canonical_json
from appliance.disposal import (
    certificate,
    decide_clock,
    decide_requests,
    ledgering,
    orders,
    reading,
    rights,
    scope,
    selection,
)
from appliance.disposal.commands import (
    Confirm,
    ListRequests,
    ListRuns,
    OrderFound,
    RunFound,
    ShowCertificate,
    ShowScopeKey,
)
from appliance.disposal.decide_slices import ORDERED, bucketed
from appliance.disposal.limits import BUCKET_RECORDS, ORDER_RECORDS, RUNS_LISTED
from appliance.disposal.replies import (
    Certificate,
    Requested,
    RequestItem,
    Requests,
    RunItem,
    Runs,
    RunStarted,
    ScopeKey,
    SiteItem,
)
from appliance.disposal.state import Request, Run
from appliance.messaging.model import Place
from appliance.operations import (
    Approval,
    DestructionConfirmed,
    DestructionIntent,
    Kind,
    ReplicaState,
    SiteAnswer,
)
from appliance.policy import predicate as predicates
from appliance.policy.approvals import MS_PER_SECOND, State
from appliance.policy.predicate import Predicate
from appliance.policy.rules import policy_hash
from appliance.version import program_version
from store.ids import AUDIT_STREAM
from store.merkle import Frontier

if TYPE_CHECKING:
    from appliance.core import Core

LOCAL: Final = "LOCAL"
REPLICAS: Final = "REPLICAS"
COMPLETE: Final = "COMPLETE"
RUNNING: Final = "RUNNING"

DECOMMISSION: Final = "decommission"
TAKE_TWO: Final = frozenset((*ORDERED.values(), DECOMMISSION))
"""Causes that carry a request out."""


# --- orders -----------------------------------------------------------------------------------


def dry_run(places: tuple[Place, ...]) -> bytes:
    """Return the hash of what an order would destroy: places in order."""
    return sha256(canonical_json(sorted(places)).encode()).digest()


def request(core: Core, ctx: Context, command: OrderFound) -> Requested:
    """Decide ``destroy.request`` with what its dry run has found.

    At headquarters only: an order must reach everybody. Codes: site.not_headquarters, as
    ``selection.resolve``, order.empty, order.limit, person.not_removed.
    """
    if ctx.sites.is_branch:
        raise refuse("site.not_headquarters")
    asked = command.command
    officer = rights.signed(ctx, asked)
    predicate = selection.resolve(core, asked.selection)
    if asked.erase:
        _check_erasure(core, predicate)
    if len(command.places) > ORDER_RECORDS:
        raise refuse("order.limit")
    if not command.places and not asked.erase:
        raise refuse("order.empty")
    text = predicates.canonical_json(predicate)
    arguments = canonical_json({"predicate": msgspec.json.decode(text)})
    made, _ = decide_requests.propose(
        core,
        ctx,
        officer,
        "erase" if asked.erase else "destroy",
        arguments,
        asked.reason,
        dry_run=dry_run(command.places),
        records=len(command.places),
    )
    scope.put_order(ctx.txn, made.number, sorted(command.places))
    return Requested(
        made.number,
        made.body.digest.hex(),
        len(command.places),
        command.held,
        command.young,
        made.body.cooling_ms // 1_000,
        made.body.expires_ms,
    )


def begin(core: Core, ctx: Context, command: RunFound) -> RunStarted:
    """Decide ``destroy.run`` with what its predicate finds now.

    Codes: approval.*, clock.unproven, approval.outgrown.
    """
    rights.signed(ctx, command.command)
    known = decide_requests.known(core, command.command.request, *ORDERED)
    approved = scope.order(ctx.txn, known.number)
    is_within = approved.issuperset(command.places)
    now_ms = decide_requests.now_ms(core)
    now = known.approval.run(
        now_ms, dry_run(command.places), len(command.places), is_within=is_within
    )
    if decide_clock.proven_ms(core) is None:
        raise refuse("clock.unproven")
    left_ms = (decide_requests.ready_ms(core, known) or 0) - now_ms
    if left_ms > 0:
        raise refuse("approval.cooling", after=left_ms / MS_PER_SECOND)
    if now.state is State.OUTGROWN:
        decide_requests.close(ctx, known, State.OUTGROWN, "")
        return RunStarted(known.number, outgrown=True)
    core.disposal.orders.append(known.number)
    return RunStarted(known.number, outgrown=False)


def _check_erasure(core: Core, predicate: Predicate) -> None:
    if predicate != Predicate(persons=predicate.persons) or len(predicate.persons) != 1:
        raise refuse("selection.invalid")
    person = core.directory.person(predicate.persons[0])
    if person is None or person.state != REMOVED:
        raise refuse("person.not_removed")


# --- runs -------------------------------------------------------------------------------------


def confirm(core: Core, ctx: Context, command: Confirm) -> RunItem:
    """Decide that a run is over; by the site alone, after the effacement. Code: run.unknown."""
    assert ctx.actor.is_site, "only the site's own service confirms"
    intent = _known(core, command.run).intent
    tree = scope.frontier(ctx.txn, intent.run)
    state = state_of(intent.generations[1], command.replicas, answers(core, intent.run))
    record(core, ctx, intent, tree, command, state)
    return _item(core, core.disposal.runs[intent.run])


def record(
    core: Core,
    ctx: Context,
    intent: DestructionIntent,
    tree: Frontier,
    command: Confirm,
    state: str,
) -> None:
    """Append what a run's certificate says, close its request, and sign a checkpoint over it."""
    asked = core.disposal.requests.get(intent.request)
    policies = core.disposal.policies
    body = DestructionConfirmed(
        intent.run,
        intent.cause,
        intent.request,
        asked.body.dry_run if asked else b"",
        _approvals(asked),
        policies.number,
        policy_hash(policies.current),
        intent.parts,
        bucketed(intent.counts, BUCKET_RECORDS),
        command.held_back,
        tree.root(),
        tree.size,
        intent.generations,
        core.vault.evidence.tier if core.vault.evidence else "file",
        command.evidence,
        tuple(ReplicaState(*each) for each in command.replicas),
        state,
        command.devices_asked,
        command.devices_answered,
        intent.started_ms,
        ctx.now,
        core.disposal.clock.source,
        program_version(),
        asked.body.digest if asked else b"",
        answers(core, intent.run),
    )
    if asked is not None and asked.is_open and intent.cause in TAKE_TWO:
        decide_requests.close(ctx, asked, State.DONE, "")
    ctx.append(Kind.DESTRUCTION_CONFIRMED, body, stream=AUDIT_STREAM)
    ledgering.checkpoint(core, ctx.txn)


def state_of(
    last_generation: int,
    replicas: tuple[tuple[str, int], ...],
    sites: tuple[SiteAnswer, ...] = (),
) -> str:
    """Return how far a destruction has come, from what key replicas and branches answered."""
    followed = sum(generation > last_generation for _, generation in replicas)
    if followed == len(replicas):
        return COMPLETE if orders.is_everywhere(sites) else REPLICAS
    return REPLICAS if followed else LOCAL


def answers(core: Core, run: int) -> tuple[SiteAnswer, ...]:
    """Return how each branch stands to a run of headquarters; at a branch there is none."""
    return () if core.sites.is_branch else core.disposal.across.answers(core.sites, run)


def listed(core: Core, ctx: Context, command: ListRuns) -> Runs:
    """Decide ``run.list``: by an officer or auditor, recorded."""
    rights.signed(ctx, command, rights.READERS)
    reading.note(ctx, "runs")
    newest = list(core.disposal.runs.values())[: -1 - min(command.limit, RUNS_LISTED) : -1]
    return Runs(tuple(_item(core, run) for run in newest))


def certify(core: Core, ctx: Context, command: ShowCertificate) -> Certificate:
    """Decide ``run.certificate``; codes: run.unknown, run.unconfirmed."""
    rights.signed(ctx, command, rights.READERS)
    run = _known(core, command.run)
    if run.confirmed is None:
        raise refuse("run.unconfirmed")
    reading.note(ctx, "certificate")
    ledgering.checkpoint(core, ctx.txn)
    return Certificate(command.run, certificate.build(core.log, ctx.txn, run.place))


def show_scope(core: Core, ctx: Context, command: ShowScopeKey) -> ScopeKey:
    """Decide ``run.scope``: hand out what tells whether a run destroyed a message."""
    rights.signed(ctx, command, rights.READERS)
    run = _known(core, command.run)
    reading.note(ctx, "scope")
    leaves = tuple(scope.leaves(ctx.txn, command.run))
    return ScopeKey(command.run, run.intent.scope_key, leaves)


def requests(core: Core, ctx: Context, command: ListRequests) -> Requests:
    """Decide ``request.list``: by an officer or auditor, recorded."""
    rights.signed(ctx, command, rights.READERS)
    reading.note(ctx, "requests")
    return Requests(
        tuple(
            _request_item(core, each)
            for each in core.disposal.requests.values()
            if command.closed or each.is_open
        )
    )


def _known(core: Core, number: int) -> Run:
    run = core.disposal.runs.get(number)
    if run is None:
        raise refuse("run.unknown")
    return run


def _approvals(asked: Request | None) -> tuple[Approval, ...]:
    if asked is None:
        return ()
    if asked.signed is None or asked.approved is None:
        return ()
    first = Approval(asked.approval.person, asked.body.public_key, asked.signed.signed)
    second = Approval(asked.approval.approver, asked.approved.public_key, asked.approved.signed)
    return (first, second)


def _item(core: Core, run: Run) -> RunItem:
    intent, confirmed = run.intent, run.confirmed
    return RunItem(
        intent.run,
        intent.cause,
        confirmed.state if confirmed else RUNNING,
        intent.request,
        intent.parts,
        confirmed.held_back if confirmed else 0,
        confirmed.devices_asked if confirmed else 0,
        confirmed.devices_answered if confirmed else 0,
        intent.started_ms,
        confirmed.confirmed_ms if confirmed else 0,
        tuple(map(_site_item, answers(core, intent.run))),
    )


def _site_item(answer: SiteAnswer) -> SiteItem:
    return SiteItem(answer.name, answer.state, answer.destroyed, answer.held_back, answer.absent)


def _request_item(core: Core, asked: Request) -> RequestItem:
    body, approval = asked.body, asked.approval
    state = approval.state.value
    if approval.state is State.APPROVED and decide_requests.is_ready(core, asked):
        state = "ready"
    return RequestItem(
        body.request,
        body.act,
        state,
        selection.login(core, approval.person),
        selection.login(core, approval.approver),
        body.reason,
        body.arguments,
        body.dry_run.hex(),
        body.records,
        body.cooling_ms // 1_000,
        body.digest.hex(),
        asked.made_ms,
        approval.approved_ms,
        decide_requests.ready_ms(core, asked) or 0,
        body.expires_ms,
        asked.closed_ms,
    )


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    OrderFound: request,
    RunFound: begin,
    Confirm: confirm,
    ListRuns: listed,
    ListRequests: requests,
    ShowCertificate: certify,
    ShowScopeKey: show_scope,
}
