"""Turn a slice of an ordered run into orders to the branches, in the slice's own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance.context import Context
from appliance.disposal import numbers
from appliance.disposal.limits import ORDER_TARGETS
from appliance.operations import DestructionOrder, Kind
from store.ids import SITE_STREAM, OpId

if TYPE_CHECKING:
    from appliance.core import Core


def spread(
    core: Core, ctx: Context, run: int, parts: Sequence[OpId], *, is_of_person: bool
) -> None:
    """Order every branch to destroy what a slice has destroyed; nothing where there is none.

    ``is_of_person``: among the parts is what the directory knows of the person to be erased.
    """
    holders = tuple(each.site for each in core.sites.branches.values() if each.approved_ms)
    if not holders:
        return
    intent = core.disposal.runs[run].intent
    request = core.disposal.requests[intent.request]
    for start in range(0, len(parts), ORDER_TARGETS):
        body = DestructionOrder(
            numbers.take(ctx.txn, "order"),
            run,
            intent.cause,
            request.body.digest,
            intent.scope_root,
            tuple(part.pack() for part in parts[start : start + ORDER_TARGETS]),
            request.predicate.persons[0] if is_of_person else b"",
            holders,
        )
        ctx.append(Kind.DESTRUCTION_ORDER, body, stream=SITE_STREAM)
