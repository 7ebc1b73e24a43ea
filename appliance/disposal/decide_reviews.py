"""Decide reviews: reading others' conversations, by two people's word and for some hours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appliance.context import Context, refuse
from appliance.directory.requests import canonical_json
from appliance.disposal import decide_requests, rights, selection
from appliance.disposal.commands import RequestReview
from appliance.disposal.escrow import Kept
from appliance.disposal.limits import REVIEW_HOURS_MAX
from appliance.disposal.replies import Requested
from appliance.disposal.state import Request
from appliance.evidence import decide as evidence
from appliance.evidence.walk import Sight
from appliance.policy import predicate as predicates
from appliance.policy.approvals import State
from appliance.policy.durations import HOUR_MS
from appliance.policy.predicate import Predicate

if TYPE_CHECKING:
    from appliance.core import Core

ACT: Final = "review"


def request(core: Core, ctx: Context, command: RequestReview) -> Requested:
    """Decide ``review.request``; the time-box begins with the approval.

    Codes: as ``selection.resolve``, request.invalid.
    """
    officer = rights.signed(ctx, command, rights.READERS)
    predicate = selection.resolve(core, command.selection)
    if not 0 < command.hours <= REVIEW_HOURS_MAX:
        raise refuse("request.invalid")
    text = predicates.canonical_json(predicate)
    arguments = canonical_json({"hours": command.hours, "predicate": msgspec.json.decode(text)})
    made, done = decide_requests.propose(core, ctx, officer, ACT, arguments, command.reason)
    return Requested(
        made.number, made.body.digest.hex(), 0, 0, 0, 0, 0 if done else made.body.expires_ms
    )


def until_ms(request: Request) -> int:
    """Return when an approved review ends, in Unix ms as requests count them."""
    arguments = msgspec.json.decode(request.body.arguments, type=dict[str, Any])
    return request.approval.approved_ms + int(arguments["hours"]) * HOUR_MS


def _is_over(core: Core, request: Request) -> bool:
    return decide_requests.now_ms(core) >= until_ms(request)


def authority(core: Core, ctx: Context, number: int) -> Predicate:
    """Return what an approved review may read; see ``appliance.evidence.decide.Authority``.

    Either of the two may read. Codes: approval.unknown, approval.unapproved, review.over,
    permission.denied.
    """
    known = decide_requests.known(core, number, ACT)
    if known.approval.state is State.OPEN:
        raise refuse("approval.unapproved")
    if known.approval.state is not State.APPROVED or _is_over(core, known):
        raise refuse("review.over")
    if ctx.actor.person not in (known.approval.person, known.approval.approver):
        raise refuse("permission.denied")
    return known.predicate


def _sight(core: Core, ctx: Context) -> Sight:
    """Return what a review sees: also what is kept for a hold alone, and nothing that is over."""
    kept, is_aged = Kept(core, ctx.txn), core.is_over()
    return Sight(
        partial(core.log.reveal, ctx.txn),
        lambda op: kept.is_free(op) or is_aged(op),
        kept.targeting,
    )


def _page(core: Core, ctx: Context, command: evidence.Page) -> evidence.Selected:
    may = partial(authority, core)
    return evidence.decide_page(ctx, command, authority=may, sight=_sight(core, ctx))


def _reconstruct(core: Core, ctx: Context, command: evidence.Reconstruct) -> evidence.Chosen:
    may = partial(authority, core)
    return evidence.decide_reconstruct(ctx, command, authority=may, sight=_sight(core, ctx))


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    RequestReview: request,
    evidence.Page: _page,
    evidence.Reconstruct: _reconstruct,
}
