"""Hand out evidence: pages of an export, and single messages with all their versions.

What is asked for is decided by a signed command (``appliance.evidence.decide``). When its
trace is durable, what it may show is gathered here, in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
import trio

from appliance.administration.contract import Answer, Host
from appliance.directory.commands import Command
from appliance.evidence import bundle
from appliance.evidence.decide import REQUESTS, Chosen, Selected


async def show_page(host: Host, selected: Selected) -> Answer:
    """Return one page of an export: its lines, and the cursor of the next one."""
    site = host.site
    sheet = await trio.to_thread.run_sync(bundle.page, site.ports.engine, site.core, selected)
    return {
        "lines": [line.decode() for line in sheet.lines],
        "after": sheet.after,
        "group": list(sheet.group) if sheet.group is not None else [],
        "progress": sheet.progress,
        **sheet.tally._asdict(),
    }


async def show_message(host: Host, chosen: Chosen) -> Answer:
    """Return one message with all its versions, and who was in its conversation."""
    site = host.site
    gathered = await trio.to_thread.run_sync(
        bundle.reconstruct, site.ports.engine, site.core, chosen
    )
    answer: Answer = msgspec.to_builtins(gathered._asdict())
    return answer


AFTERWARDS: Final[Mapping[str, Callable[[Host, Any], Awaitable[Answer]]]] = {
    "evidence.page": show_page,
    "evidence.reconstruct": show_message,
}
"""What follows a signed command of this room, by its name: from the decision to the answer."""

SIGNED: Final[Mapping[str, type[Command]]] = REQUESTS
"""Signed requests of this room, by name."""

__all__ = ["AFTERWARDS", "SIGNED", "show_message", "show_page"]
