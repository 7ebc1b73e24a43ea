"""End a decommissioned site over the administration socket, and hand its ledger out before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import trio

from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.disposal import export
from appliance.disposal.limits import LEDGER_LINES
from store import reading
from transports.wire.errors import Refusal

RUN: Final = "decommission.run"
FINISH: Final = "decommission.finish"


class End(Protocol):
    """What ends the site of a running appliance."""

    async def expect_replicas(self) -> None:
        """Raise ``Refusal`` unless every key replica is there, in step."""
        ...

    async def finish(self) -> str:
        """End sessions, destroy the root everywhere and return the closing note."""
        ...


class Page(Arguments, frozen=True):
    """Which page: the cursor that came with the one before, empty for the first."""

    after: str = ""


async def last_ledger(host: Host, arguments: Page) -> Answer:
    """Hand out a page of the ledger as the end has left it, before its keys are gone."""
    core = host.site.core
    if core.disposal.decommissioned is None:
        raise Refusal("decommission.undecided")

    def page(reader: Any) -> export.Page:
        origin = core.log.head.origin
        return export.page(core.log, reader, origin, arguments.after, LEDGER_LINES)

    lines, after = await trio.to_thread.run_sync(reading.read, host.site.ports.engine, page)
    return {"lines": lines, "after": after}


OPERATIONS: Final[Mapping[str, Operation]] = {
    "decommission.ledger": Operation(Page, last_ledger),
}
"""What the peer's uid alone allows, by name."""
