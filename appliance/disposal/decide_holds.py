"""Decide legal holds: one officer places, two release, and reading the list is recorded.

A hold is silent: nobody but officers and auditors learns of it, and what it covers looks to
everybody else as it did before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appliance.context import Context, refuse
from appliance.directory.limits import NAME_CHARACTERS, REASON_CHARACTERS
from appliance.directory.names import clean_name, clean_text
from appliance.directory.requests import canonical_json
from appliance.disposal import decide_requests, numbers, reading, rights, selection
from appliance.disposal.commands import ListHolds, PlaceHold, ReleaseHold
from appliance.disposal.limits import ACTIVE_HOLDS, HOLDS_PER_SITE
from appliance.disposal.replies import HoldChanged, HoldItem, Holds
from appliance.disposal.state import Hold, Request
from appliance.operations import HoldPlaced, HoldReleased, Kind
from store.ids import SITE_STREAM

if TYPE_CHECKING:
    from appliance.core import Core

ACT: Final = "hold.release"


def place(core: Core, ctx: Context, command: PlaceHold) -> HoldChanged:
    """Decide ``hold.place``; codes: as ``selection.resolve``, person.name, hold.limit."""
    rights.signed(ctx, command)
    predicate = selection.resolve(core, command.selection)
    if len(core.disposal.active) >= ACTIVE_HOLDS:
        raise refuse("hold.limit")
    name = clean_name(command.name[:NAME_CHARACTERS])
    number = numbers.take(ctx.txn, "hold") + ctx.sites.number * HOLDS_PER_SITE
    reason = clean_text(command.reason, REASON_CHARACTERS)
    body = HoldPlaced(number, name, predicate, reason, ctx.actor.signed)
    ctx.append(Kind.HOLD_PLACED, body, stream=SITE_STREAM)
    return HoldChanged(number, 0, True)


def release(core: Core, ctx: Context, command: ReleaseHold) -> HoldChanged:
    """Decide ``hold.release``: the first officer asks, the second one ends it.

    At headquarters only (site.not_headquarters): a branch may keep records and never let them go.
    """
    if ctx.sites.is_branch:
        raise refuse("site.not_headquarters")
    officer = rights.signed(ctx, command)
    _active(core, command.hold)
    arguments = canonical_json({"hold": command.hold})
    request, done = decide_requests.propose(core, ctx, officer, ACT, arguments, command.reason)
    ready_ms = decide_requests.ready_ms(core, request) or 0
    return HoldChanged(command.hold, request.body.request, not done, ready_ms)


def listed(core: Core, ctx: Context, command: ListHolds) -> Holds:
    """Decide ``hold.list``: by an officer or auditor; the reading is a leaf of the ledger."""
    rights.signed(ctx, command, rights.READERS)
    reading.note(ctx, "holds")
    return Holds(
        tuple(
            _item(core, hold)
            for hold in core.disposal.holds.values()
            if command.released or not hold.released
        )
    )


def _item(core: Core, hold: Hold) -> HoldItem:
    body = hold.body
    return HoldItem(
        body.hold,
        body.name,
        not hold.released,
        selection.login(core, hold.by),
        body.reason,
        selection.named(core, body.predicate),
        hold.placed_ms,
        hold.released_ms,
    )


def _active(core: Core, number: int) -> Hold:
    hold = core.disposal.holds.get(number)
    if hold is None or hold.released:
        raise refuse("hold.unknown")
    return hold


def _perform(core: Core, ctx: Context, request: Request) -> None:
    number = msgspec.json.decode(request.body.arguments, type=dict[str, int])["hold"]
    _active(core, number)
    body = HoldReleased(number, request.body.request, request.body.reason, ctx.actor.signed)
    ctx.append(Kind.HOLD_RELEASED, body, stream=SITE_STREAM)


decide_requests.PERFORM[ACT] = _perform

DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    PlaceHold: place,
    ReleaseHold: release,
    ListHolds: listed,
}
