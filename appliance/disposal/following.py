"""Follow orders across sites: carry out at a branch what came, hear at headquarters what was done.

Nothing is remembered but what the log says: an order without a whole receipt of this branch is to
be carried out, and one of which a hold keeps something again once the holds are others.
"""

from __future__ import annotations

import logging
from itertools import groupby
from operator import is_
from typing import TYPE_CHECKING

from appliance.context import SITE
from appliance.disposal.commands import CarryOrder
from appliance.disposal.decide_runs import answers
from appliance.disposal.limits import ORDER_GROUPS
from appliance.disposal.orders import Order
from appliance.disposal.replies import OrderCarried
from appliance.disposal.runs import Execute, Runner
from appliance.sites.authority import why_no_destruction
from store.errors import LimitError

if TYPE_CHECKING:
    from appliance.core import Core

logger = logging.getLogger("strongroom.disposal")


class Follower:
    """Watches what comes from other sites. Belongs to the trio thread.

    Args:
        core: the site's state.
        execute: gives commands to the writer.
        runner: confirms runs.
    """

    def __init__(self, core: Core, execute: Execute, runner: Runner) -> None:
        self._core = core
        self._execute = execute
        self._runner = runner
        self._holds: object = None
        self._heard: tuple[object, ...] = ()
        self._waits = ""

    async def follow(self) -> None:
        """Do what is due now: orders at a branch, answers to them at headquarters."""
        if self._core.sites.is_branch:
            await self._carry_out_all()
        else:
            await self._hear()

    @property
    def is_awaited(self) -> bool:
        """Whether there are orders that can be carried out now; O(orders) at a branch."""
        core = self._core
        if not core.sites.is_branch or not self.due():
            return False
        return not why_no_destruction(core.sites, core.reading())

    # --- at a branch ------------------------------------------------------------------------------

    def due(self) -> list[Order]:
        """Return the orders to be carried out now, in the order in which they were given."""
        across, site = self._core.disposal.across, self._core.sites.number
        is_changed = self._holds is not self._core.disposal.active
        found = []
        for order in across.known.values():
            receipt = across.receipt(site, order.number)
            if receipt is None or receipt.left or (receipt.held_back and is_changed):
                found.append(order)
        return found

    async def _carry_out_all(self) -> None:
        holds, due = self._core.disposal.active, self.due()
        why = why_no_destruction(self._core.sites, self._core.reading()) if due else ""
        if why != self._waits:
            self._waits = why
            logger.warning("orders.wait", extra={"error": why or "none"})
        if why:
            return
        for _, orders in groupby(due, key=lambda order: order.run):
            await self._carry_out_run(list(orders))
        self._holds = holds

    async def _carry_out_run(self, orders: list[Order]) -> None:
        """Carry out what belongs to one run of headquarters, as one run here."""
        run = held_back = 0
        try:
            for order in orders:
                carried = await self._carry_out(order, run)
                run, held_back = carried.run, held_back + carried.held_back
        finally:
            await self._runner.confirm(run, held_back)

    async def _carry_out(self, order: Order, run: int) -> OrderCarried:
        most = ORDER_GROUPS
        while True:
            try:
                command = CarryOrder(order.number, run, most)
                carried: OrderCarried = await self._execute(SITE, command)
            except LimitError:
                if most == 1:
                    raise
                most //= 2
                continue
            run = carried.run
            if not carried.left:
                return carried

    # --- at headquarters --------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Confirm again the runs of which the branches have told more since."""
        known = self._core.disposal
        heard = (known.across.known, known.across.receipts, known.across.lost)
        if self._heard and all(map(is_, heard, self._heard)):
            return
        for number in sorted(known.across.runs()):
            run = known.runs.get(number)
            confirmed = None if run is None else run.confirmed
            if confirmed is not None and confirmed.sites != answers(self._core, number):
                await self._runner.confirm(number, confirmed.held_back)
        self._heard = heard
