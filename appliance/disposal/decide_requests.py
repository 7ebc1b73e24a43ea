"""Decide acts that take two people: ask, agree, refuse, and carry out what is due.

The first officer's command becomes a request; what it would do, how long it waits and until when
it can be approved are fixed then, and the digest over all of that is what the second officer
signs (``appliance.policy.approvals``). Acts that the site can carry out by itself, in one
transaction, stand in ``PERFORM``: they happen with the approval, or once their cooling-off is
over. The others are begun by an officer.

Cooling-offs and expiries count by a time that no wall clock moves (``now_ms``): whoever sets that
of the machine, in one leap or in steps too small to be noticed, shortens no wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from appliance.context import Context, refuse
from appliance.directory.limits import REASON_CHARACTERS
from appliance.directory.model import Person
from appliance.directory.names import clean_text
from appliance.disposal import numbers, rights, scope
from appliance.disposal.commands import ApproveRequest, RejectRequest, Settle, SignRequest
from appliance.disposal.limits import OPEN_REQUESTS
from appliance.disposal.replies import Approved
from appliance.disposal.state import Request
from appliance.operations import (
    Kind,
    RequestApproved,
    RequestClosed,
    RequestMade,
    RequestSigned,
)
from appliance.policy import approvals
from appliance.policy.approvals import State
from store.ids import AUDIT_STREAM
from transports.wire.errors import Refusal

if TYPE_CHECKING:
    from appliance.core import Core

Perform = Callable[["Core", Context, Request], None]
"""Carries out an approved act in a transaction of its own or of the approval."""

ASKERS: Final[dict[str, frozenset[str]]] = {"review": rights.READERS}
"""Who may ask for an act, where that is not officers alone; who approves is always an officer."""

PERFORM: Final[dict[str, Perform]] = {}
"""Acts that the site carries out by itself; the modules that know them enter themselves."""


def propose(
    core: Core,
    ctx: Context,
    officer: Person,
    act: str,
    arguments: str,
    reason: str,
    *,
    dry_run: bytes = b"",
    records: int = 0,
) -> tuple[Request, bool]:
    """Ask for an act, or agree to the same one that another officer has asked for.

    Returns the request and whether it was carried out. Acts with a dry run are never agreed to
    by asking for the same: their approval names the digest.
    """
    known = _same(core, officer, act, arguments)
    if known is not None and not dry_run:
        return _agree(core, ctx, officer, known)
    if sum(each.is_open for each in core.disposal.requests.values()) >= OPEN_REQUESTS:
        raise refuse("approval.limit")
    policy = core.disposal.policies.current
    number = numbers.take(ctx.txn, "request")
    cooling_ms = policy.cooling_ms if approvals.ACTS[act].has_cooling else 0
    expires_ms = now_ms(core) + policy.expires_ms
    digest = approvals.digest(
        act, arguments, dry_run, records, cooling_ms, expires_ms, number, core.log.node
    )
    body = RequestMade(
        number,
        act,
        arguments,
        clean_text(reason, REASON_CHARACTERS),
        dry_run,
        records,
        cooling_ms,
        expires_ms,
        digest,
        officer.public_key,
        ctx.actor.signed,
    )
    ctx.append(Kind.REQUEST_MADE, body, stream=AUDIT_STREAM)
    return core.disposal.requests[number], False


def sign(core: Core, ctx: Context, command: SignRequest) -> Approved:
    """Decide ``request.sign``: by who asked; once is enough.

    Codes: approval.unknown, approval.digest, approval.state, permission.denied.
    """
    officer = rights.signed(ctx, command, rights.READERS)
    request = known(core, command.request)
    if command.digest != request.body.digest.hex():
        raise refuse("approval.digest")
    if request.approval.person != officer.id or request.body.public_key != officer.public_key:
        raise refuse("permission.denied")
    if request.approval.state is not State.OPEN:
        raise refuse("approval.state")
    if request.signed is None:
        body = RequestSigned(request.number, ctx.actor.signed)
        ctx.append(Kind.REQUEST_SIGNED, body, stream=AUDIT_STREAM)
    return Approved(request.number, False, 0)


def approve(core: Core, ctx: Context, command: ApproveRequest) -> Approved:
    """Decide ``request.approve``: by another officer than the one who asked.

    Codes: approval.unknown, approval.digest, approval.unsigned, approval.requester_gone, and
    those of ``Approval``.
    """
    officer = rights.signed(ctx, command)
    request = known(core, command.request)
    if command.digest != request.body.digest.hex():
        raise refuse("approval.digest")
    request, done = _agree(core, ctx, officer, request)
    return Approved(request.number, done, 0 if done else ready_ms(core, request) or 0)


def reject(core: Core, ctx: Context, command: RejectRequest) -> Approved:
    """Decide ``request.reject``: by any officer, also by who asked."""
    rights.signed(ctx, command)
    request = known(core, command.request)
    request.approval.reject()
    close(ctx, request, State.REJECTED, clean_text(command.reason, REASON_CHARACTERS))
    return Approved(command.request, False, 0)


def settle(core: Core, ctx: Context, command: Settle) -> None:
    """Close what nobody approved in time; carry out what waits for nothing any more.

    An act that has become impossible meanwhile is closed as rejected, with the code.
    """
    del command
    for request in list(core.disposal.requests.values()):
        if not request.is_open:
            continue
        if _is_late(core, request):
            close(ctx, request, State.EXPIRED, "")
        elif is_ready(core, request) and request.body.act in PERFORM:
            _perform(core, ctx, request)


def needs_settling(core: Core) -> bool:
    """Tell whether ``settle`` would do anything now; O(requests)."""
    return any(
        request.is_open
        and (_is_late(core, request) or (is_ready(core, request) and request.body.act in PERFORM))
        for request in core.disposal.requests.values()
    )


def now_ms(core: Core) -> int:
    """Return the time by which requests wait and expire, in Unix ms."""
    return core.disposal.counted_ms(core.reading())


def _is_late(core: Core, request: Request) -> bool:
    approval = request.approval
    return approval.state is State.OPEN and now_ms(core) >= approval.expires_ms


def ready_ms(core: Core, request: Request) -> int | None:
    """Return when a request may be carried out (Unix ms); None unless it is approved.

    When two people confirm the clock, or time is proven for the first time, a cooling-off begins
    again: nobody knows how much of it has passed.
    """
    at_ms, cooling_ms = request.approval.ready_ms, request.approval.cooling_ms
    if at_ms is None or not cooling_ms:
        return at_ms
    begun_ms = max(core.disposal.confirmed_ms, core.disposal.counted_since_ms)
    return max(at_ms, begun_ms + cooling_ms)


def is_ready(core: Core, request: Request) -> bool:
    """Tell whether a request is approved and its cooling-off over; not while the clock jumps."""
    at_ms = ready_ms(core, request)
    if at_ms is None or now_ms(core) < at_ms:
        return False
    return not request.approval.cooling_ms or not core.disposal.is_jumping(core.reading())


def known(core: Core, number: int, *acts: str) -> Request:
    """Return a request by its number, of one of ``acts`` if given; raises "approval.unknown"."""
    request = core.disposal.requests.get(number)
    if request is None or (acts and request.body.act not in acts):
        raise refuse("approval.unknown")
    return request


def close(ctx: Context, request: Request, outcome: State, reason: str) -> None:
    """End a request, and forget which records it meant."""
    body = RequestClosed(request.number, outcome.value, reason, ctx.actor.signed)
    ctx.append(Kind.REQUEST_CLOSED, body, stream=AUDIT_STREAM)
    scope.drop_order(ctx.txn, request.number)


def _agree(core: Core, ctx: Context, officer: Person, request: Request) -> tuple[Request, bool]:
    agreed_ms = now_ms(core)
    request.approval.approve(officer.id, officer.public_key, agreed_ms)
    first = core.directory.person(request.approval.person)
    askers = ASKERS.get(request.body.act, rights.OFFICER)
    if first is None or not first.is_active or not ctx.sites.offices(first) & askers:
        raise refuse("approval.requester_gone")
    if request.body.dry_run and request.signed is None:
        raise refuse("approval.unsigned")
    body = RequestApproved(request.number, officer.public_key, ctx.actor.signed, agreed_ms)
    ctx.append(Kind.REQUEST_APPROVED, body, stream=AUDIT_STREAM)
    agreed = core.disposal.requests[request.number]
    perform = PERFORM.get(request.body.act)
    if perform is None or not is_ready(core, agreed):
        return agreed, False
    perform(core, ctx, agreed)
    close(ctx, agreed, State.DONE, "")
    return core.disposal.requests[request.number], True


def _perform(core: Core, ctx: Context, request: Request) -> None:
    try:
        PERFORM[request.body.act](core, ctx, request)
    except Refusal as refusal:
        close(ctx, request, State.REJECTED, refusal.code)
    else:
        close(ctx, request, State.DONE, "")


def _same(core: Core, officer: Person, act: str, arguments: str) -> Request | None:
    """Return an open request by somebody else for exactly this."""
    for request in core.disposal.requests.values():
        is_same = (request.body.act, request.body.arguments) == (act, arguments)
        is_anothers = request.approval.person != officer.id
        if is_same and is_anothers and request.approval.state is State.OPEN:
            return request
    return None


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    SignRequest: sign,
    ApproveRequest: approve,
    RejectRequest: reject,
    Settle: settle,
}
